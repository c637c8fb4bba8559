#![allow(clippy::unwrap_used)]
//! Walks through worlds that are written down: who answers what to which name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, NULL, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use proptest::prelude::*;

use super::report::{By, Came, Ending, Role, Trace, View};
use super::walk::{Ask, Explained, Heard, Known, MAX_ASKED, Next, Plan, Walk};
use super::{reading, roots};

/// What servers say: by address and asked name, or to every name.
#[derive(Default)]
struct World {
    said: BTreeMap<(IpAddr, String), Said>,
}

#[derive(Clone)]
enum Said {
    Message(Box<Message>),
    /// Over UDP only its head.
    Long(Box<Message>),
    NoEdns(Box<Message>),
    Silence,
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

/// A message: `aa`, a code in capitals, and records such as `an lb.lab NS ns.lb.lab`, `ns`, `ar` by section.
fn message(text: &str) -> Message {
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    for line in text.split(';').map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["aa"] => message.metadata.authoritative = true,
            ["REFUSED"] => message.metadata.response_code = ResponseCode::Refused,
            ["NXDOMAIN"] => message.metadata.response_code = ResponseCode::NXDomain,
            ["FORMERR"] => message.metadata.response_code = ResponseCode::FormErr,
            [section, owner, rtype, data] => {
                let data = match *rtype {
                    "A" => RData::A(A(data.parse().unwrap())),
                    "NS" => RData::NS(NS(name(data))),
                    "CNAME" => RData::CNAME(CNAME(name(data))),
                    _ => RData::SOA(SOA::new(name(data), name("hostmaster.lab"), 1, 2, 3, 4, 30)),
                };
                let record = Record::from_rdata(name(owner), 60, data);
                match *section {
                    "an" => message.answers.push(record),
                    "ns" => message.authorities.push(record),
                    _ => message.additionals.push(record),
                }
            }
            odd => panic!("{odd:?}"),
        }
    }
    message
}

impl World {
    fn says(mut self, server: &str, asked: &str, text: &str) -> Self {
        self.said.insert((server.parse().unwrap(), asked.to_owned()), Said::Message(Box::new(message(text))));
        self
    }

    fn is(mut self, server: &str, asked: &str, said: Said) -> Self {
        self.said.insert((server.parse().unwrap(), asked.to_owned()), said);
        self
    }

    fn hear(&self, ask: &Ask) -> Heard {
        let at = |asked: &str| self.said.get(&(ask.server.ip(), asked.to_owned()));
        let whole = |message: &Message| Heard::Reply(Box::new(message.clone()), 100);
        match at(&reading::plain(&ask.name)).or_else(|| at("*")) {
            Some(Said::Message(message) | Said::Long(message)) if ask.tcp => whole(message),
            Some(Said::Message(message)) => whole(message),
            Some(Said::Long(_)) => {
                let mut cut = Message::new(0, MessageType::Response, OpCode::Query);
                cut.metadata.truncation = true;
                whole(&cut)
            }
            Some(Said::NoEdns(_)) if ask.edns => whole(&self::message("FORMERR")),
            Some(Said::NoEdns(message)) => whole(message),
            Some(Said::Silence) | None => Heard::Nothing("no reply".into()),
        }
    }

    fn walk(&self, plan: Plan, explain: impl Fn(&str, &Name) -> Result<Explained, String>) -> Trace {
        let (mut walk, mut next) = Walk::begin(plan);
        for _ in 0..2 * MAX_ASKED {
            next = match next {
                Next::Done(trace) => return *trace,
                Next::Ask(ask) => walk.heard(self.hear(&ask), Duration::from_millis(10)),
                Next::Explain { node, name } => walk.explained(explain(&node, &name), Duration::from_millis(1)),
            };
        }
        panic!("the walk does not end");
    }

    fn trace(&self, asked: &str) -> Trace {
        self.walk(plan(asked), |_, _| Err("nobody was to be asked".into()))
    }
}

fn plan(asked: &str) -> Plan {
    let start = roots::own(&["10.0.0.53".parse().unwrap()]);
    Plan { name: name(asked), rtype: RecordType::A, start, port: 53, resolver: None, mesh: None, beside: false }
}

const ROOT: &str = "10.0.0.53";
const DNS_A: &str = "10.0.1.53";
const FRA: &str = "10.49.0.2";
const TYO: &str = "10.81.0.2";

/// Root, DNS-A and two nodes; `fra` claims whoever asks.
fn world() -> World {
    let cut = "ns fra.lb.lab NS ns-fra.fra.lb.lab; ar ns-fra.fra.lb.lab A 10.49.0.2";
    World::default()
        .says(ROOT, "*", "ns lab NS ns.lab; ar ns.lab A 10.0.1.53")
        .says(
            DNS_A,
            "*",
            "ns lb.lab NS ns-tyo.lb.lab; ns lb.lab NS ns-fra.lb.lab; ar ns-tyo.lb.lab A 10.81.0.2; ar ns-fra.lb.lab A 10.49.0.2",
        )
        .says(TYO, "www.lb.lab", &format!("aa; an www.lb.lab CNAME www.fra.lb.lab; {cut}"))
        .says(FRA, "www.fra.lb.lab", "aa; an www.fra.lb.lab A 10.49.1.80")
}

fn came(trace: &Trace) -> Vec<(Role, &str, Came)> {
    trace.steps.iter().map(|step| (step.role, step.zone.as_str(), step.came)).collect()
}

#[test]
fn the_chain_is_walked_to_its_end_and_each_server_known_for_what_it_is() {
    let trace = world().trace("www.lb.lab");
    let expected = [
        (Role::Root, ".", Came::Referral),
        (Role::DnsA, "lab", Came::Referral),
        (Role::DnsB, "lb.lab", Came::Alias),
        (Role::DnsLb, "fra.lb.lab", Came::Answer),
    ];
    assert_eq!(came(&trace), expected);
    assert_eq!((trace.ending, trace.faults, trace.took_ms), (Ending::Answer, 0, 40.0));
    assert_eq!(trace.records, ["www.lb.lab. 60 IN CNAME www.fra.lb.lab.", "www.fra.lb.lab. 60 IN A 10.49.1.80"]);
}

#[test]
fn a_silent_server_and_a_lame_one_are_faults_and_the_next_one_is_asked() {
    let trace = world().is(TYO, "www.lb.lab", Said::Silence).says(FRA, "www.lb.lab", "REFUSED").trace("www.lb.lab");
    assert_eq!((trace.ending, trace.faults), (Ending::Failed, 2));
    assert!(trace.why.contains("no server of lb.lab"), "{}", trace.why);
    assert!(trace.steps.last().unwrap().faults[0].contains("it does not serve lb.lab"), "{:?}", trace.steps);

    // The parent's referral once more, and one to somewhere beside: nobody follows them.
    for sideways in
        ["ns lb.lab NS ns-fra.lb.lab; ar ns-fra.lb.lab A 10.49.0.2", "ns nyc.lb.lab NS ns.nyc.lb.lab", "ns . NS a.root"]
    {
        let good = "aa; an www.lb.lab A 10.49.1.80";
        let trace = world().says(TYO, "www.lb.lab", sideways).says(FRA, "www.lb.lab", good).trace("www.lb.lab");
        assert_eq!((trace.ending, trace.faults), (Ending::Answer, 1), "{trace:?}");
        assert_eq!(trace.steps[2].came, Came::Lame);
        assert!(trace.steps[2].faults[0].starts_with("refers to "), "{:?}", trace.steps[2]);
    }
}

#[test]
fn what_is_cut_short_is_asked_for_over_tcp_and_who_chokes_on_edns_without() {
    let answer = Box::new(message("aa; an www.fra.lb.lab A 10.49.1.80"));
    let trace = world().is(FRA, "www.fra.lb.lab", Said::Long(answer.clone())).trace("www.lb.lab");
    assert_eq!((trace.ending, trace.faults), (Ending::Answer, 0));
    let by: Vec<By> = trace.steps.iter().map(|step| step.by).collect();
    assert_eq!(by, [By::Udp, By::Udp, By::Udp, By::Udp, By::Tcp]);
    let trace = world().is(FRA, "www.fra.lb.lab", Said::NoEdns(answer)).trace("www.lb.lab");
    assert_eq!((trace.ending, trace.faults), (Ending::Answer, 1));
}

#[test]
fn the_address_of_a_name_server_elsewhere_is_looked_up_on_a_way_aside() {
    let trace = world()
        .says(DNS_A, "www.lb.lab", "ns lb.lab NS node.hoster.lab")
        .says(DNS_A, "node.hoster.lab", "aa; an node.hoster.lab A 10.81.0.2")
        .trace("www.lb.lab");
    assert_eq!(trace.ending, Ending::Answer);
    assert_eq!(trace.steps[2].side_way.as_deref(), Some("node.hoster.lab"));
    assert_eq!(trace.steps[3].server.ip().to_string(), TYO);
    // One inside the zone cannot be looked up: that is a fault of DNS-A, and the end.
    let trace = world().says(DNS_A, "www.lb.lab", "ns lb.lab NS ns-fra.lb.lab").trace("www.lb.lab");
    assert_eq!((trace.ending, trace.faults), (Ending::Failed, 1));
    assert!(trace.steps[1].faults[0].contains("no address (glue) for ns-fra.lb.lab"), "{:?}", trace.steps[1]);
}

#[test]
fn denials_end_a_walk_and_are_held_to_what_the_strictest_resolver_wants() {
    let deny = |text: &str| world().says(TYO, "no.lb.lab", text).trace("no.lb.lab");
    let trace = deny("aa; NXDOMAIN; ns lb.lab SOA ns-fra.lb.lab");
    assert_eq!((trace.ending, trace.faults), (Ending::NxDomain, 0));
    let trace = deny("aa; ns lb.lab SOA ns-fra.lb.lab");
    assert_eq!((trace.ending, trace.faults), (Ending::NoData, 0));
    for (text, fault) in [
        ("NXDOMAIN; ns lb.lab SOA ns-fra.lb.lab", "PowerDNS"),
        ("aa; NXDOMAIN", "without a SOA"),
        ("aa; ns lab SOA ns.lab", "the SOA of lab, not of lb.lab"),
    ] {
        let trace = deny(text);
        assert!(trace.steps[2].faults.len() == 1 && trace.steps[2].faults[0].contains(fault), "{text}: {trace:?}");
    }
}

fn of_resolver() -> Plan {
    let nodes = BTreeMap::from([(FRA.parse().unwrap(), "fra".to_owned()), (TYO.parse().unwrap(), "tyo".to_owned())]);
    let mesh = Some(Known { zones: vec![name("lb.lab")], nodes });
    Plan { resolver: Some("10.49.0.53".parse().unwrap()), mesh, ..plan("www.lb.lab") }
}

#[test]
fn a_resolvers_view_is_explained_by_the_node_that_was_asked_and_walked_on_from() {
    // With a subnet a node answers at once.
    let world = world().says(TYO, "www.lb.lab", "aa; an www.lb.lab A 10.49.1.80");
    let trace = world.walk(of_resolver(), |node, asked| {
        assert_eq!((node, reading::plain(asked).as_str()), ("tyo", "www.lb.lab"));
        let text =
            "aa; an www.lb.lab CNAME www.fra.lb.lab; ns fra.lb.lab NS ns.fra.lb.lab; ar ns.fra.lb.lab A 10.49.0.2";
        Ok(Explained { message: message(text), records: vec!["alias".into()], why: "it claims him".into() })
    });
    assert_eq!((trace.view, trace.ending, trace.faults), (View::Explained, Ending::Answer, 0));
    let by: Vec<(Role, By)> = trace.steps[2..].iter().map(|step| (step.role, step.by)).collect();
    assert_eq!(by, [(Role::DnsB, By::Udp), (Role::DnsB, By::Explain), (Role::DnsLb, By::Udp)]);
    assert_eq!(trace.took_ms, 40.0, "an explanation is nothing that a resolver waits for");

    // One that explains nothing leaves what the packet said.
    let trace = world.walk(of_resolver(), |_, _| Err("draining".into()));
    assert_eq!((trace.view, trace.ending), (View::Own, Ending::Answer));
    assert!(trace.notes.iter().any(|note| note.contains("draining")), "{:?}", trace.notes);
}

#[test]
fn servers_beside_the_way_are_asked_too_and_what_is_wrong_with_them_is_a_fault() {
    let beside = || Plan { beside: true, ..plan("www.lb.lab") };
    let walk = |world: World| world.walk(beside(), |_, _| Err("nobody was to be asked".into()));
    let alias = "aa; an www.lb.lab CNAME www.fra.lb.lab";
    let well = walk(world().says(FRA, "www.lb.lab", alias));
    assert_eq!((well.ending, well.faults, well.took_ms), (Ending::Answer, 0, 40.0));
    let last = well.steps.last().unwrap();
    assert_eq!((last.beside, last.role, last.server.ip().to_string()), (true, Role::DnsB, FRA.to_owned()));
    let page = super::show::page(&well);
    assert!(page.contains("the other server beside the way") && page.contains("after 4 questions"), "{page}");

    let faulty = |world: World| {
        let trace = walk(world);
        assert_eq!((trace.ending, trace.faults), (Ending::Answer, 1), "{trace:?}");
        trace.steps.last().unwrap().faults[0].clone()
    };
    assert!(faulty(world()).contains("no reply"));
    assert!(faulty(world().says(FRA, "www.lb.lab", "REFUSED")).contains("does not serve lb.lab"));
    let denial = "aa; NXDOMAIN; ns lb.lab SOA ns-fra.lb.lab";
    assert!(faulty(world().says(FRA, "www.lb.lab", denial)).contains("denies what 10.81.0.2 has"));
    let two = "ns lab NS ns.lab; ns lab NS ns2.lab; ar ns.lab A 10.0.1.53; ar ns2.lab A 10.0.2.53";
    let old = "aa; NXDOMAIN; ns lab SOA ns.lab";
    let secondary = world().says(ROOT, "*", two).says("10.0.2.53", "*", old).says(FRA, "www.lb.lab", alias);
    assert!(walk(secondary).steps.iter().any(|step| step.role == Role::DnsA && step.beside && step.faults.len() == 1));
}

#[test]
fn a_parent_that_does_not_delegate_a_zone_of_the_mesh_is_a_fault_and_no_dns_b() {
    let denial = "aa; NXDOMAIN; ns lab SOA ns.lab";
    let trace = World::default().says(ROOT, "*", denial).walk(
        Plan { start: roots::at(ROOT.parse().unwrap(), name("lab")), resolver: None, ..of_resolver() },
        |_, _| Err("nobody was to be asked".into()),
    );
    assert_eq!((trace.ending, trace.faults, trace.steps[0].role), (Ending::NxDomain, 1, Role::Zone));
    assert!(trace.steps[0].faults[0].contains("does not delegate lb.lab"), "{:?}", trace.steps[0].faults);
}

#[test]
fn nothing_asked_took_no_time_and_says_where_else_to_begin() {
    let (mut walk, _) = Walk::begin(plan("www.lb.lab"));
    let Next::Done(trace) = walk.heard(Heard::NoWay, Duration::ZERO) else { panic!() };
    assert!(trace.took_ms.is_sign_positive(), "not -0.0 ms");
    assert!(trace.why.contains("--server ADDRESS --zone ZONE"), "{}", trace.why);
}

#[test]
fn the_root_is_not_told_who_asks() {
    let (mut walk, next) = Walk::begin(of_resolver());
    let Next::Ask(ask) = next else { panic!("{next:?}") };
    assert_eq!(ask.subnet, None);
    let Next::Ask(ask) = walk.heard(world().hear(&ask), Duration::ZERO) else { panic!() };
    assert_eq!(ask.subnet, of_resolver().resolver);
}

#[test]
fn a_family_without_a_way_is_left_out_and_that_is_said_once() {
    let start = roots::own(&["10.0.0.53".parse().unwrap(), "fd00::53".parse().unwrap(), "fd00::54".parse().unwrap()]);
    let (mut walk, next) = Walk::begin(Plan { start, ..plan("www.lb.lab") });
    assert!(matches!(next, Next::Ask(ask) if ask.server.is_ipv4()));
    let next = walk.heard(Heard::Nothing("silence".into()), Duration::ZERO);
    assert!(matches!(next, Next::Ask(ask) if ask.server.is_ipv6()));
    let Next::Done(trace) = walk.heard(Heard::NoWay, Duration::ZERO) else { panic!() };
    assert_eq!((trace.ending, trace.steps.len(), trace.notes.len()), (Ending::Failed, 1, 1));
}

proptest! {
    /// Whatever servers say, a walk ends, and nothing panics.
    #[test]
    fn every_walk_ends(replies in prop::collection::vec((0..6u8, 0..4u8, any::<bool>()), 1..40)) {
        let (mut walk, mut next) = Walk::begin(of_resolver());
        let names = ["lab", "lb.lab", "fra.lb.lab", "www.lb.lab", "www.fra.lb.lab", "a.b.www.fra.lb.lab"];
        for turn in 0..4 * MAX_ASKED {
            let (which, kind, aa) = replies[turn % replies.len()];
            let at = names[usize::from(which)];
            next = match next {
                Next::Done(_) => return Ok(()),
                Next::Explain { .. } => walk.explained(Err("no".into()), Duration::ZERO),
                Next::Ask(ask) => {
                    let asked = reading::plain(&ask.name);
                    let mut reply = message(&match kind {
                        0 => format!("ns {at} NS ns.{at}; ar ns.{at} A 10.0.0.{which}"),
                        1 => format!("an {asked} CNAME {at}"),
                        2 => format!("ns {at} NS elsewhere{which}.lab"),
                        _ => format!("ns {at} SOA {at}"),
                    });
                    reply.metadata.authoritative = aa;
                    reply.metadata.truncation = aa && which == 0;
                    walk.heard(Heard::Reply(Box::new(reply), 1), Duration::ZERO)
                }
            };
        }
        prop_assert!(matches!(next, Next::Done(_)), "it goes on");
    }

    #[test]
    fn no_message_panics(octets: Vec<u8>) {
        if let Ok(message) = Message::from_vec(&octets) {
            let _ = reading::read(&message, &name("lb.lab"), &name("www.lb.lab"), RecordType::A);
        }
    }
}

#[test]
fn a_record_of_another_type_is_an_answer_too() {
    let txt = RData::Unknown { code: RecordType::TXT, rdata: NULL::new() };
    let mut reply = message("aa");
    reply.answers.push(Record::from_rdata(name("www.lb.lab"), 60, txt));
    let read = reading::read(&reply, &name("lb.lab"), &name("www.lb.lab"), RecordType::TXT).unwrap();
    assert!(matches!(read.found, reading::Found::Records(records) if records.len() == 1));
}
