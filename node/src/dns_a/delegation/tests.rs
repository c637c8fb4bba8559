#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { min: 2, max: 3, settle: Duration::from_secs(100) };

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn zone() -> Name {
    name("lb.example.com.")
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn labels(text: &str) -> BTreeSet<Label> {
    text.split_whitespace().map(label).collect()
}

/// Nodes `a` to `f`; capitals are gone; two at each site.
fn nodes(text: &str) -> Vec<Candidate> {
    text.chars()
        .map(|letter| {
            let n = letter.to_ascii_lowercase() as u8 - b'a';
            Candidate {
                label: label(&letter.to_ascii_lowercase().to_string()),
                site: format!("site {}", n / 2),
                addresses: [IpAddr::from([192, 0, 2, n])].into(),
                is_alive: letter.is_ascii_lowercase(),
                is_wanted: true,
            }
        })
        .collect()
}

fn watch(nodes: &[Candidate], listed: &str) -> Watch {
    let mut watch = Watch::default();
    watch.look(at(0), nodes, &labels(listed));
    watch
}

/// Chosen when all have been as they are for so long.
fn chosen(seconds: u64, listed: &str, who: &str) -> String {
    let nodes = nodes(who);
    let chosen = choose(at(seconds), &labels(listed), &nodes, &watch(&nodes, listed), &BOUNDS);
    chosen.iter().map(Label::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn nodes_of_different_sites_are_taken_up_to_the_most() {
    assert_eq!(chosen(100, "", "abcdef"), "a c e");
    assert_eq!(chosen(100, "b", "abcdef"), "b c e");
    assert_eq!(chosen(100, "a b c", "abcdef"), "a b c", "who is there stays");
    assert_eq!(chosen(100, "a b c d e", "abcdef"), "a c e", "and too many do not");
    assert_eq!(chosen(0, "", "abcdef"), "a c", "in need nobody waits, beyond it all do");
}

#[test]
fn a_death_counts_when_it_has_settled_and_never_below_the_least() {
    assert_eq!(chosen(99, "a c e", "aCef"), "a c e");
    assert_eq!(chosen(100, "a c e", "aCef"), "a e f");
    assert_eq!(chosen(100, "a c e", "ACE"), "a c", "nobody else is there");
    assert_eq!(chosen(100, "a c e", ""), "a c", "nodes that nobody knows");
    assert_eq!(chosen(0, "a c e", "ACEbd"), "b d e", "too few are there: at once, in place of those that are gone");
    let mut watch = watch(&nodes("aCe"), "a c e");
    watch.look(at(99), &nodes("ace"), &labels("a c e"));
    watch.look(at(101), &nodes("aCe"), &labels("a c e"));
    let chosen = choose(at(200), &labels("a c e"), &nodes("aCe"), &watch, &BOUNDS);
    assert_eq!(chosen, labels("a c e"), "it was back in between");
}

#[test]
fn who_the_catalogue_wants_comes_first() {
    let mut nodes = nodes("abc");
    nodes[0].is_wanted = false;
    assert_eq!(choose(at(0), &BTreeSet::new(), &nodes, &watch(&nodes, ""), &BOUNDS), labels("b c"));
}

fn seen(text: &str) -> Seen {
    let mut seen = Seen::default();
    for label in text.split_whitespace() {
        let server = if label.contains('.') { name(label) } else { name(&format!("ns-{label}.lb.example.com.")) };
        if !label.contains('.') {
            let n = label.as_bytes()[0] - b'a';
            seen.glue.insert(server.clone(), [IpAddr::from([192, 0, 2, n])].into());
        }
        seen.servers.insert(server);
    }
    seen
}

fn texts(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| {
            let data = match &record.data {
                RData::Update0(_) => "-".to_owned(),
                data => data.to_string(),
            };
            format!("{} {} {} {data}", record.name, record.dns_class, record.record_type())
        })
        .collect()
}

#[test]
fn a_change_touches_its_own_records_and_only_if_they_are_as_seen() {
    let seen = seen("a c ns1.hoster.example.");
    let change = Change::new(&zone(), &seen, &labels("a e"), &nodes("aCe")).unwrap();
    let said = change.to_string();
    assert_eq!(
        said,
        "+ NS ns-e.lb.example.com, - NS ns-c.lb.example.com, - addresses of ns-c.lb.example.com, \
         ns-e.lb.example.com = 192.0.2.4"
    );
    let message = change.message(7, &zone(), &name("example.com."), &seen);
    assert_eq!(message.queries[0], Query::query(name("example.com."), RecordType::SOA));
    assert_eq!(
        texts(&message.answers),
        [
            "lb.example.com. IN NS ns-a.lb.example.com.",
            "lb.example.com. IN NS ns-c.lb.example.com.",
            "lb.example.com. IN NS ns1.hoster.example.",
            "ns-c.lb.example.com. IN A 192.0.2.2",
            "ns-c.lb.example.com. NONE AAAA -",
            "ns-e.lb.example.com. NONE A -",
            "ns-e.lb.example.com. NONE AAAA -",
        ]
    );
    assert_eq!(
        texts(&message.authorities),
        [
            "ns-c.lb.example.com. ANY A -",
            "ns-e.lb.example.com. IN A 192.0.2.4",
            "lb.example.com. IN NS ns-e.lb.example.com.",
            "lb.example.com. NONE NS ns-c.lb.example.com.",
        ]
    );
    assert_eq!(change.applied(&seen), self::seen("a e ns1.hoster.example."));
    assert_eq!(Change::new(&zone(), &change.applied(&seen), &labels("a e"), &nodes("aCe")), None, "then all is well");
}

#[test]
fn glue_follows_the_nodes_and_a_first_delegation_must_be_the_first() {
    let mut moved = nodes("ac");
    moved[1].addresses = ["2001:db8::c".parse().unwrap()].into();
    let change = Change::new(&zone(), &seen("a c"), &labels("a c"), &moved).unwrap();
    assert_eq!(change.to_string(), "ns-c.lb.example.com = 2001:db8::c");
    let first = Change::new(&zone(), &Seen::default(), &labels("a"), &nodes("a")).unwrap();
    let message = first.message(7, &zone(), &name("example.com."), &Seen::default());
    assert_eq!(texts(&message.answers)[0], "lb.example.com. NONE NS -");
}

#[test]
fn a_parents_reply_is_a_referral_or_none_and_nothing_else() {
    let mut reply = Message::new(7, MessageType::Response, OpCode::Query);
    assert!(Seen::read(&zone(), &reply).is_err(), "neither");
    reply.add_authority(Record::from_rdata(zone(), 60, RData::NS(NS(name("NS-a.lb.example.com.")))));
    reply.add_additional(Record::from_rdata(name("ns-A.lb.example.com."), 60, RData::A(A::new(192, 0, 2, 0))));
    reply.add_additional(Record::from_rdata(name("other.example.com."), 60, RData::A(A::new(192, 0, 2, 9))));
    assert_eq!(Seen::read(&zone(), &reply), Ok(seen("a")));
    assert_eq!(seen("a x.example.").nodes(&zone()), labels("a"));
    reply.metadata.truncation = true;
    assert!(Seen::read(&zone(), &reply).is_err());
    reply.metadata.truncation = false;
    reply.metadata.response_code = ResponseCode::Refused;
    assert!(Seen::read(&zone(), &reply).is_err());
    let mut own = Message::new(7, MessageType::Response, OpCode::Query);
    own.metadata.authoritative = true;
    own.add_answer(Record::from_rdata(zone(), 60, RData::NS(NS(name("ns-a.lb.example.com.")))));
    assert!(Seen::read(&zone(), &own).unwrap_err().contains("answers for the mesh zone itself"));
    let mut many = Message::new(7, MessageType::Response, OpCode::Query);
    many.add_authorities(
        (0..100).map(|n| Record::from_rdata(zone(), 60, RData::NS(NS(name(&format!("ns-{n}.lb.example.com.")))))),
    );
    assert!(Seen::read(&zone(), &many).is_err());
}

proptest! {
    /// Whoever dies and whatever is listed: bounds hold, one step is enough, and an UPDATE leaves foreign servers alone.
    #[test]
    fn bounds_hold_and_one_change_is_enough(
        alive in prop::collection::vec(any::<bool>(), 6),
        there in prop::collection::vec(any::<bool>(), 6),
        foreign: bool,
        seconds in 0..200u64,
    ) {
        let letters = |flags: &[bool]| -> Vec<String> {
            flags.iter().enumerate().filter(|(_, is)| **is).map(|(n, _)| char::from(b'a' + n as u8).to_string()).collect()
        };
        let text: String = alive
            .iter()
            .enumerate()
            .map(|(n, is)| char::from(if *is { b'a' } else { b'A' } + n as u8))
            .collect();
        let nodes = nodes(&text);
        let listed = letters(&there).join(" ");
        let seen = seen(&format!("{listed}{}", if foreign { " ns1.hoster.example." } else { "" }));
        let watch = watch(&nodes, &listed);
        let chosen = choose(at(seconds), &labels(&listed), &nodes, &watch, &BOUNDS);
        let available = alive.iter().filter(|is| **is).count();
        prop_assert!(chosen.len() <= BOUNDS.max);
        prop_assert!(chosen.len() >= BOUNDS.min.min(labels(&listed).len()).max(BOUNDS.min.min(available)), "{:?}", chosen);
        if let Some(change) = Change::new(&zone(), &seen, &chosen, &nodes) {
            let after = change.applied(&seen);
            prop_assert_eq!(after.servers.contains(&name("ns1.hoster.example.")), foreign);
            prop_assert_eq!(after.nodes(&zone()), chosen.clone());
            prop_assert_eq!(choose(at(seconds), &chosen, &nodes, &watch, &BOUNDS), chosen);
            let message = change.message(1, &zone(), &name("example.com."), &seen);
            let touched = |record: &Record| record.name == zone() || record.name.to_string().starts_with("ns-");
            prop_assert!(message.authorities.iter().all(touched));
            prop_assert!(message.to_vec().is_ok());
        }
    }
}
