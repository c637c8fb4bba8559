//! The core against scripted servers, in virtual time: what is sent, in which order, and what is believed.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr as _;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::lookup::{AVOID, Lookup, Outgoing, Resolver, STRANGER, Step, TIMEOUT, Transport};
use super::{Answer, Delegation, Ending, Got, NameServer};

const PORT: u16 = 5300;
const NYC: u8 = 2;
const FRA: u8 = 1;
const SAO: u8 = 3;
const SIN: u8 = 4;
const ORIGIN: u8 = 201;
/// How long fra takes, the asking ISP's own node.
const NEAR: Duration = Duration::from_millis(2);
/// How long the others take.
const FAR: Duration = Duration::from_millis(80);

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap()
}

fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn a(owner: &str, ttl: u32, last: u8) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A::new(192, 0, 2, last)))
}

fn ns(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::NS(NS(name(target))))
}

fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

fn soa(owner: &str, ttl: u32, minimum: u32) -> Record {
    let soa = SOA::new(name(owner), name("hostmaster.lb.demo."), 1, 1, 1, 1, minimum);
    Record::from_rdata(name(owner), ttl, RData::SOA(soa))
}

/// A scripted reply; the question is filled in from the query.
#[derive(Default)]
struct Script {
    aa: bool,
    tc: bool,
    code: Option<ResponseCode>,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

/// `www.lb.demo` as a DNS-B answers it for a resolver of fra: the alias, with the cut's servers and glue.
fn refer_to_fra() -> Script {
    Script {
        aa: true,
        answers: vec![cname("www.lb.demo.", 60, "www.fra.lb.demo.")],
        authorities: vec![
            ns("fra.lb.demo.", 3600, "ns-fra.fra.lb.demo."),
            ns("fra.lb.demo.", 3600, "ns-nyc.fra.lb.demo."),
        ],
        additionals: vec![a("ns-fra.fra.lb.demo.", 3600, FRA), a("ns-nyc.fra.lb.demo.", 3600, NYC)],
        ..Script::default()
    }
}

fn addresses_of_fra() -> Script {
    Script { aa: true, answers: vec![a("www.fra.lb.demo.", 5, ORIGIN)], ..Script::default() }
}

/// A resolver in virtual time with its lookup under way.
struct Bed {
    resolver: Resolver,
    now: Duration,
    lookup: Option<Lookup>,
}

impl Bed {
    /// DNS-A delegates `lb.demo` to sao and sin; the cut of fra is served by fra and nyc.
    fn new() -> Self {
        let servers = [("ns-sao.lb.demo.", SAO), ("ns-sin.lb.demo.", SIN)]
            .map(|(server, last)| NameServer { name: name(server), addresses: vec![ip(last)] });
        let hint = Delegation { zone: name("lb.demo."), servers: servers.to_vec() };
        Self { resolver: Resolver::new(hint, PORT, 7), now: Duration::ZERO, lookup: None }
    }

    fn ask(&mut self, text: &str) -> Step {
        let (lookup, step) = self.resolver.begin(self.now, name(text), RecordType::A);
        self.lookup = Some(lookup);
        step
    }

    /// The scripted reply from `last`, after `after`. `None`: the resolver goes on waiting.
    fn reply_from(&mut self, out: &Outgoing, last: u8, after: Duration, script: Script) -> Option<Step> {
        self.now += after;
        let query = Message::from_vec(&out.packet).unwrap();
        let mut message = Message::response(query.metadata.id, query.metadata.op_code);
        message.metadata.authoritative = script.aa;
        message.metadata.truncation = script.tc;
        message.metadata.response_code = script.code.unwrap_or(ResponseCode::NoError);
        message.queries = query.queries;
        message.answers = script.answers;
        message.authorities = script.authorities;
        message.additionals = script.additionals;
        let packet = message.to_vec().unwrap();
        self.resolver.on_packet(self.lookup.as_mut().unwrap(), self.now, ip(last), &packet)
    }

    fn reply(&mut self, out: &Outgoing, script: Script) -> Step {
        let IpAddr::V4(to) = out.to.ip() else { unreachable!() };
        let last = to.octets()[3];
        self.reply_from(out, last, if last == FRA { NEAR } else { FAR }, script).expect("the reply is taken")
    }

    fn silence(&mut self, out: &Outgoing) -> Step {
        self.now = out.give_up_at;
        self.resolver.on_timeout(self.lookup.as_mut().unwrap(), self.now)
    }
}

fn sent(step: Step) -> Outgoing {
    match step {
        Step::Send(out) => out,
        Step::Done(answer) => panic!("expected a query, but it ended: {answer:?}"),
    }
}

fn done(step: Step) -> Answer {
    match step {
        Step::Done(answer) => answer,
        Step::Send(out) => panic!("expected the end, but it asks {}", out.to),
    }
}

fn asked(out: &Outgoing) -> (IpAddr, String) {
    let query = Message::from_vec(&out.packet).unwrap();
    (out.to.ip(), query.queries[0].name.to_string())
}

fn is(last: u8, text: &str) -> (IpAddr, String) {
    (ip(last), text.to_owned())
}

/// A cold lookup through sao, to the end.
fn warm(bed: &mut Bed) -> Answer {
    let out = sent(bed.ask("www.lb.demo."));
    let out = sent(bed.reply(&out, refer_to_fra()));
    done(bed.reply(&out, addresses_of_fra()))
}

#[test]
fn an_alias_with_its_cut_leads_to_the_cuts_own_server() {
    let mut bed = Bed::new();
    let out = sent(bed.ask("www.lb.demo."));
    assert_eq!(asked(&out), is(SAO, "www.lb.demo."));
    assert_eq!((out.to.port(), out.transport), (PORT, Transport::Udp));
    let out = sent(bed.reply(&out, refer_to_fra()));
    assert_eq!(asked(&out), is(FRA, "www.fra.lb.demo."));
    let answer = done(bed.reply(&out, addresses_of_fra()));
    assert_eq!(answer.ending, Ending::Addresses(vec![ip(ORIGIN)]));
    assert_eq!(answer.canonical, name("www.fra.lb.demo."));
    assert_eq!(answer.took, FAR + NEAR);
    let cut = Some(name("fra.lb.demo."));
    let hops: Vec<_> = answer.hops.iter().map(|hop| (hop.server, hop.got.clone())).collect();
    let alias = Got::Alias { target: name("www.fra.lb.demo."), cut };
    assert_eq!(hops, [(ip(SAO), alias), (ip(FRA), Got::Addresses)]);
}

#[test]
fn alias_and_addresses_in_one_message_end_the_lookup_and_leave_the_cut_for_the_refresh() {
    let mut bed = Bed::new();
    let out = sent(bed.ask("www.lb.demo."));
    let mut whole = refer_to_fra();
    whole.answers.push(a("www.fra.lb.demo.", 5, ORIGIN));
    assert_eq!(done(bed.reply(&out, whole)).ending, Ending::Addresses(vec![ip(ORIGIN)]));
    bed.now += Duration::from_secs(5);
    let out = sent(bed.ask("www.lb.demo."));
    assert_eq!(asked(&out), is(FRA, "www.fra.lb.demo."));
}

#[test]
fn a_delegation_is_followed_and_remembered() {
    let mut bed = Bed::new();
    let out = sent(bed.ask("www.fra.lb.demo."));
    assert_eq!(asked(&out), is(SAO, "www.fra.lb.demo."));
    let mut referral = refer_to_fra();
    referral.aa = false;
    referral.answers.clear();
    let out = sent(bed.reply(&out, referral));
    assert_eq!(asked(&out), is(FRA, "www.fra.lb.demo."));
    let answer = done(bed.reply(&out, addresses_of_fra()));
    assert_eq!(answer.hops[0].got, Got::Referral(name("fra.lb.demo.")));
    let out = sent(bed.ask("api.fra.lb.demo."));
    assert_eq!(asked(&out), is(FRA, "api.fra.lb.demo."));
}

#[test]
fn what_is_held_lives_exactly_for_its_ttl() {
    let mut bed = Bed::new();
    warm(&mut bed);
    let fetched = bed.now;
    bed.now = fetched + ms(4_999);
    let answer = done(bed.ask("www.lb.demo."));
    assert_eq!((answer.address(), answer.hops.len()), (Some(ip(ORIGIN)), 0));
    // The addresses have run out, the alias and the cut have not: straight to the own server, known to be near.
    bed.now = fetched + ms(5_000);
    assert_eq!(asked(&sent(bed.ask("www.lb.demo."))), is(FRA, "www.fra.lb.demo."));
    // The alias has run out as well: back to a DNS-B, the one that is known.
    bed.now = fetched + Duration::from_secs(60);
    assert_eq!(asked(&sent(bed.ask("www.lb.demo."))), is(SAO, "www.lb.demo."));
}

#[test]
fn a_server_is_left_for_one_never_asked_only_if_it_is_as_slow_as_the_other_side_of_the_world() {
    for (took, next) in [(NEAR, FRA), (STRANGER - ms(1), FRA), (STRANGER + ms(1), NYC)] {
        let mut bed = Bed::new();
        let out = sent(bed.ask("www.lb.demo."));
        let out = sent(bed.reply(&out, refer_to_fra()));
        done(bed.reply_from(&out, FRA, took, addresses_of_fra()).unwrap());
        bed.now += Duration::from_secs(5);
        assert_eq!(asked(&sent(bed.ask("www.lb.demo."))).0, ip(next), "{took:?}");
    }
}

#[test]
fn a_silent_server_costs_one_timeout_and_is_then_avoided() {
    let mut bed = Bed::new();
    warm(&mut bed);
    bed.now += Duration::from_secs(5);
    let out = sent(bed.ask("www.lb.demo."));
    assert_eq!(asked(&out).0, ip(FRA));
    assert_eq!(out.give_up_at, bed.now + TIMEOUT);
    let began = bed.now;
    let out = sent(bed.silence(&out));
    assert_eq!(asked(&out), is(NYC, "www.fra.lb.demo."));
    let answer = done(bed.reply(&out, addresses_of_fra()));
    assert_eq!(answer.took, TIMEOUT + FAR);
    assert_eq!((answer.hops[0].got.clone(), answer.answered_by()), (Got::Silence, Some(ip(NYC))));
    // The next name goes to the backup at once ...
    assert_eq!(asked(&sent(bed.ask("api.fra.lb.demo."))).0, ip(NYC));
    // ... and after the penalty the quickest is tried again.
    bed.now = began + TIMEOUT + AVOID;
    assert_eq!(asked(&sent(bed.ask("api.fra.lb.demo."))).0, ip(FRA));
}

#[test]
fn all_servers_silent_is_a_failure_and_not_a_hang() {
    let mut bed = Bed::new();
    let out = sent(bed.ask("www.lb.demo."));
    let out = sent(bed.silence(&out));
    assert_eq!(asked(&out).0, ip(SIN));
    let answer = done(bed.silence(&out));
    assert!(matches!(answer.ending, Ending::Failed(_)), "{answer:?}");
    assert_eq!(answer.took, TIMEOUT * 2);
}

#[test]
fn a_server_that_was_silent_for_one_zone_may_answer_for_the_next() {
    let mut bed = Bed::new();
    let out = sent(bed.ask("www.lb.demo."));
    assert_eq!(asked(&out).0, ip(SAO));
    let out = sent(bed.silence(&out));
    assert_eq!(asked(&out).0, ip(SIN));
    let mut with_sao = refer_to_fra();
    with_sao.additionals = vec![a("ns-fra.fra.lb.demo.", 3600, FRA), a("ns-nyc.fra.lb.demo.", 3600, SAO)];
    let out = sent(bed.reply(&out, with_sao));
    assert_eq!(asked(&out).0, ip(FRA));
    let out = sent(bed.silence(&out));
    assert_eq!(asked(&out), is(SAO, "www.fra.lb.demo."), "the last resort, but asked");
    done(bed.reply(&out, addresses_of_fra()));
}

#[test]
fn nodata_and_nxdomain_are_held_for_the_lower_of_ttl_and_minimum() {
    let mut bed = Bed::new();
    for (text, code, ending) in
        [("a.lb.demo.", None, Ending::NoData), ("b.lb.demo.", Some(ResponseCode::NXDomain), Ending::NxDomain)]
    {
        let out = sent(bed.ask(text));
        let denial = Script { aa: true, code, authorities: vec![soa("lb.demo.", 30, 10)], ..Script::default() };
        assert_eq!(done(bed.reply(&out, denial)).ending, ending);
        let fetched = bed.now;
        bed.now = fetched + ms(9_999);
        assert_eq!(done(bed.ask(text)).ending, ending);
        bed.now = fetched + ms(10_000);
        sent(bed.ask(text));
    }
}

#[test]
fn replies_that_strict_resolvers_refuse_make_the_server_lame() {
    let lateral = || ns("fra.lb.demo.", 3600, "ns-fra.fra.lb.demo.");
    let glue = || a("ns-fra.fra.lb.demo.", 3600, FRA);
    let cases: Vec<(&str, Script)> = vec![
        // Asked as a server of fra.lb.demo, refers for fra.lb.demo: the finding that shapes the design.
        ("not below", Script { authorities: vec![lateral()], additionals: vec![glue()], ..Script::default() }),
        ("not below", Script { authorities: vec![ns("lb.demo.", 60, "ns.lb.demo.")], ..Script::default() }),
        (
            "not on the way",
            Script { authorities: vec![ns("x.fra.lb.demo.", 60, "a.x.fra.lb.demo.")], ..Script::default() },
        ),
        ("without authority", Script { answers: vec![a("www.fra.lb.demo.", 5, ORIGIN)], ..Script::default() }),
        ("denies without authority", Script { authorities: vec![soa("fra.lb.demo.", 30, 30)], ..Script::default() }),
        ("with the SOA of", Script { aa: true, authorities: vec![soa("lb.demo.", 30, 30)], ..Script::default() }),
        ("neither", Script { aa: true, ..Script::default() }),
        ("says", Script { code: Some(ResponseCode::Refused), ..Script::default() }),
        (
            "loop",
            Script { aa: true, answers: vec![cname("www.fra.lb.demo.", 60, "www.fra.lb.demo.")], ..Script::default() },
        ),
    ];
    for (why, script) in cases {
        let mut bed = Bed::new();
        let out = sent(bed.ask("www.lb.demo."));
        let out = sent(bed.reply(&out, refer_to_fra()));
        let out = sent(bed.reply(&out, script));
        assert_eq!(asked(&out), is(NYC, "www.fra.lb.demo."), "{why}: the other server of the cut is asked");
        let answer = done(bed.reply(&out, addresses_of_fra()));
        assert!(matches!(&answer.hops[1].got, Got::Unusable(text) if text.contains(why)), "{why}: {answer:?}");
    }
}

#[test]
fn servers_without_glue_inside_the_cut_are_not_used() {
    let mut bed = Bed::new();
    let out = sent(bed.ask("www.fra.lb.demo."));
    let sibling = Script {
        authorities: vec![ns("fra.lb.demo.", 60, "ns-fra.lb.demo.")],
        additionals: vec![a("ns-fra.lb.demo.", 60, FRA)],
        ..Script::default()
    };
    let out = sent(bed.reply(&out, sibling));
    assert_eq!(asked(&out), is(SIN, "www.fra.lb.demo."));
}

#[test]
fn aliases_without_end_are_given_up() {
    let mut bed = Bed::new();
    let mut out = sent(bed.ask("n0.lb.demo."));
    for n in 0.. {
        let (from, to) = (format!("n{n}.lb.demo."), format!("n{}.lb.demo.", n + 1));
        let alias = Script { aa: true, answers: vec![cname(&from, 0, &to)], ..Script::default() };
        match bed.reply(&out, alias) {
            Step::Send(next) => out = next,
            Step::Done(answer) => {
                assert_eq!(answer.ending, Ending::Failed("too many aliases".to_owned()));
                assert_eq!(answer.hops.len(), 9);
                return;
            }
        }
    }
}

#[test]
fn a_cut_with_ttl_zero_is_good_for_the_lookup_that_brought_it() {
    let mut bed = Bed::new();
    let out = sent(bed.ask("www.fra.lb.demo."));
    let referral = Script {
        authorities: vec![ns("fra.lb.demo.", 0, "ns-fra.fra.lb.demo.")],
        additionals: vec![a("ns-fra.fra.lb.demo.", 0, FRA)],
        ..Script::default()
    };
    let out = sent(bed.reply(&out, referral));
    assert_eq!(asked(&out).0, ip(FRA));
    done(bed.reply(&out, addresses_of_fra()));
    assert_eq!(asked(&sent(bed.ask("api.fra.lb.demo."))).0, ip(SAO));
}

#[test]
fn only_the_awaited_reply_is_taken() {
    let mut bed = Bed::new();
    let out = sent(bed.ask("www.lb.demo."));
    assert_eq!(bed.reply_from(&out, FRA, ms(1), refer_to_fra()), None, "from another address");
    let mut other = out.clone();
    other.packet[0] ^= 1;
    assert_eq!(bed.reply_from(&other, SAO, ms(1), refer_to_fra()), None, "with another id");
    let mut other = out.clone();
    let at = 12 + 2;
    other.packet[at] = b'x';
    assert_eq!(bed.reply_from(&other, SAO, ms(1), refer_to_fra()), None, "to another question");
    let lookup = bed.lookup.as_mut().unwrap();
    assert_eq!(bed.resolver.on_packet(lookup, bed.now, ip(SAO), &[0xff; 40]), None, "no DNS at all");
    sent(bed.reply(&out, refer_to_fra()));
}

#[test]
fn a_truncated_reply_is_fetched_over_tcp_from_the_same_server() {
    let mut bed = Bed::new();
    let out = sent(bed.ask("www.lb.demo."));
    let out = sent(bed.reply(&out, Script { tc: true, aa: true, ..Script::default() }));
    assert_eq!((asked(&out).0, out.transport), (ip(SAO), Transport::Tcp));
    let out = sent(bed.reply(&out, refer_to_fra()));
    assert_eq!((asked(&out).0, out.transport), (ip(FRA), Transport::Udp));
}
