#![allow(clippy::unwrap_used)]
use super::{Hostile, Malice, Spent, Truth, Word};
use crate::bed::nigh_json::{ClaimRow, Peer, Row};
use crate::bed::wire::Said;
use crate::storm::fault::Fault;
use crate::storm::history::{History, Spell};
use crate::storm::hostile::TRAP;
use hickory_proto::op::{Message, MessageType, Query};
use hickory_proto::rr::rdata::{A, CNAME, NS};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 53);

fn history(malice: Malice) -> History {
    let (from, until) = (Duration::from_secs(10), Duration::from_secs(30));
    History::of(vec![Spell { fault: Fault::Hostile { malice }, from, until }])
}

fn truth() -> Truth {
    Truth {
        hostile: [("x01".to_owned(), "10.251.0.0/24".to_owned())].into(),
        claims: [("n01".to_owned(), "10.1.0.53/32".to_owned())].into(),
        here: ["n01".to_owned(), "n02".to_owned()].into(),
        ..Truth::default()
    }
}

fn claim(node: &str, prefix: &str, void: bool) -> ClaimRow {
    let (node, prefix) = (node.to_owned(), prefix.to_owned());
    ClaimRow { prefix, node, void, proven: false, witness: None, rtt_ms: None }
}

/// What an honest node says when all is well, hostile member included.
fn word() -> Word {
    let claims = vec![
        claim("n01", "10.1.0.53/32", false),
        claim("x01", "10.251.0.0/24", false),
        claim("x01", "0.0.0.0/0", true),
    ];
    let row = |node: &str, state: &str| Row {
        node: node.to_owned(),
        server: "o01".to_owned(),
        state: state.to_owned(),
        rtt_ms: Some(1.0),
        why: String::new(),
    };
    let peer = |name: &str| Peer { name: name.to_owned(), verdict: "alive".to_owned(), cuts: Vec::new() };
    Word {
        by: "n02".to_owned(),
        claims,
        rows: vec![row("n01", "up"), row("x01", "down")],
        peers: vec![peer("n01"), peer("x01")],
        caught: BTreeSet::new(),
    }
}

fn judged(word: &Word, truth: &Truth) -> Result<String, String> {
    let mut hostile = Hostile::default();
    hostile.note(word, truth);
    hostile.verdict(&history(Malice::Claims)).map_err(|error| format!("{error:#}"))
}

#[test]
fn a_liar_that_is_held_to_its_certificate_is_no_finding() {
    judged(&word(), &truth()).unwrap();
    let unheard = Word { claims: vec![claim("n01", "10.1.0.53/32", false)], ..word() };
    assert!(judged(&unheard, &truth()).unwrap_err().contains("proves nothing"));
}

#[test]
fn a_list_of_others_cuts_that_nobody_heard_of_proves_nothing() {
    let verdict = |cuts: &[&str]| {
        let mut said = word();
        said.peers[1].cuts = cuts.iter().map(|cut| (*cut).to_owned()).collect();
        said.rows[1].why = "nobody answers".to_owned();
        let mut hostile = Hostile::default();
        hostile.note(&said, &truth());
        hostile.verdict(&history(Malice::Lies)).is_ok()
    };
    assert!(verdict(&["x01", "n01"]) && !verdict(&["x01"]));
}

#[test]
fn measurements_that_nobody_heard_of_prove_nothing() {
    let verdict = |why: &str| {
        let mut said = word();
        said.peers[1].cuts = vec!["x01".to_owned(), "n01".to_owned()];
        said.rows[1].why = why.to_owned();
        let mut hostile = Hostile::default();
        hostile.note(&said, &truth());
        hostile.verdict(&history(Malice::Lies)).map_err(|error| format!("{error:#}"))
    };
    assert!(verdict("nobody answers").unwrap().contains("1 false measurements"));
    assert!(verdict("").unwrap_err().contains("measurements that are lies: this proves nothing"));
}

#[test]
fn claims_that_count_outside_the_certificate_are_found() {
    let mut said = word();
    said.claims.push(claim("x01", "10.1.0.53/32", false));
    assert!(judged(&said, &truth()).unwrap_err().contains("claims 10.1.0.53/32, and it counts"));
}

#[test]
fn others_pages_that_are_not_as_they_wrote_them_are_found() {
    let mut more = word();
    more.claims.push(claim("n01", "10.9.0.0/16", false));
    assert!(judged(&more, &truth()).unwrap_err().contains("n01 claims 10.9.0.0/16"));
    let mut fewer = word();
    fewer.claims.remove(0);
    assert!(judged(&fewer, &truth()).unwrap_err().contains("n01 claims 10.1.0.53/32"));
    let mut down = word();
    down.rows[0].state = "Down".to_owned();
    assert!(judged(&down, &truth()).unwrap_err().contains("o01 is down for n01"));
}

#[test]
fn a_conviction_by_the_liar_alone_is_found() {
    let mut said = word();
    said.peers[0].verdict = "dead".to_owned();
    assert!(judged(&said, &truth()).unwrap_err().contains("n01 was convicted, and lives"));
}

#[test]
fn one_that_equivocates_must_be_named_and_nobody_else() {
    let truth = Truth { two_faced: ["x01".to_owned()].into(), ..truth() };
    assert!(judged(&word(), &truth).unwrap_err().contains("x01 equivocates, and is not named"));
    judged(&Word { caught: ["x01".to_owned()].into(), ..word() }, &truth).unwrap();
    judged(&Word { caught: ["x01".to_owned(), String::new()].into(), ..word() }, &truth).unwrap();
    let both = ["n01".to_owned(), "x01".to_owned()].into();
    assert!(judged(&Word { caught: both, ..word() }, &truth).unwrap_err().contains("n01 is named"));
}

#[test]
fn what_is_left_of_the_revoked_is_found() {
    let truth = Truth { gone: ["x01".to_owned()].into(), ..truth() };
    let said = judged(&word(), &truth).unwrap_err();
    assert!(said.contains("x01 is revoked, and claims") && said.contains("x01 is revoked, and alive"), "{said}");
}

#[test]
fn too_much_work_in_a_flood_is_found() {
    let spent = |cpu| Spent { cpu: Duration::from_millis(cpu), time: Duration::from_secs(10) };
    let judged = |cpu| {
        let mut hostile = Hostile { void: 1, ..Hostile::default() };
        hostile.calm.insert(0, spent(300));
        hostile.flood.insert(0, spent(cpu));
        hostile.verdict(&history(Malice::Floods)).map_err(|error| format!("{error:#}"))
    };
    assert!(judged(2700).unwrap().contains("27 % of a core (n01), 3 % at rest"));
    assert!(judged(2900).unwrap_err().contains("too much work"));
}

fn said(from: [u8; 4], to: Ipv4Addr, answer: Option<(&str, RData)>) -> Said {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii("www.lb.lab.").unwrap(), RecordType::A));
    if let Some((name, data)) = answer {
        message.metadata.message_type = MessageType::Response;
        message.add_answer(Record::from_rdata(Name::from_ascii(name).unwrap(), 60, data));
    }
    Said {
        at: Duration::ZERO,
        from: SocketAddr::from((from, 53)),
        to: SocketAddr::from((to, 53)),
        tcp: false,
        passed: true,
        size: 0,
        message,
    }
}

fn read(said: Said) -> Result<String, String> {
    let mut hostile = Hostile { void: 1, ..Hostile::default() };
    hostile.read(&[said], &[IpAddr::from(RESOLVER)]);
    hostile.verdict(&history(Malice::Claims)).map_err(|error| format!("{error:#}"))
}

#[test]
fn resolvers_that_come_to_know_the_liar_are_found_on_the_wire() {
    let (honest, liar) = ([10, 2, 0, 2], Malice::Claims.address());
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let cname = |target: &str| Some(("www.lb.lab.", RData::CNAME(CNAME(name(target)))));
    read(said(honest, RESOLVER, cname("www.n01.lb.lab."))).unwrap();
    assert!(read(said(honest, RESOLVER, cname("www.x01.lb.lab."))).unwrap_err().contains("referred"));
    let trap = || Some(("www.lb.lab.", RData::A(A(TRAP))));
    assert!(read(said(honest, RESOLVER, trap())).unwrap_err().contains("another's mouth"));
    assert!(read(said(liar.octets(), RESOLVER, trap())).unwrap_err().contains("x01 answered"));
    read(said(liar.octets(), Ipv4Addr::new(10, 99, 0, 1), trap())).unwrap();
    assert!(read(said(RESOLVER.octets(), liar, None)).unwrap_err().contains("x01 was asked"));
    read(said(RESOLVER.octets(), Malice::Lies.address(), None)).unwrap();
    let ns = |of, server: &str| Some((of, RData::NS(NS(name(server)))));
    assert!(read(said(honest, RESOLVER, ns("lb.lab.", "ns-x01.x01.lb.lab."))).unwrap_err().contains("mesh zone"));
    read(said(honest, RESOLVER, ns("n01.lb.lab.", "ns-x02.n01.lb.lab."))).unwrap();
}
