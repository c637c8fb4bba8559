//! What holds for every packet, whatever is in it.
//!
//! - No packet makes a node panic.
//! - Every reply parses, answers the question that was asked (byte for byte, or with an error and none), and is no
//!   longer than the asker takes.
//! - A delegation is never authoritative, unless a CNAME of ours leads to it; its name servers are inside the cut, and
//!   come with addresses or with TC.
//! - A node that serves a cut never delegates it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test: panics are its verdict")]

mod world_text;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use hickory_proto::serialize::binary::DecodeError;
use nigh_dns::{Arrival, Counters, Handler, LARGEST_UDP, Transport};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use proptest::test_runner::TestCaseError;

const WORLD: &str = include_str!("world_text/everything.txt");

const TCP: Transport = Transport::Tcp { idle: Duration::from_secs(10) };

const NODES: [&str; 6] = ["fra", "nyc", "tyo", "ams", "lhr", "lax"];

/// The cuts that each node serves.
fn serves(node: &str) -> &'static [&'static str] {
    match node {
        "fra" => &["fra", "nyc", "old"],
        "nyc" => &["nyc", "fra"],
        "tyo" => &["tyo"],
        "ams" => &["ams", "lhr", "lax"],
        "lhr" => &["lhr", "ams", "lax"],
        _ => &["lax"],
    }
}

fn handler(node: &str) -> Handler {
    let mut world = world_text::WorldText::default();
    WORLD.lines().for_each(|line| world.line(line).unwrap());
    let node = node.parse().unwrap();
    let snapshot = match node == "fra".parse().unwrap() {
        true => world.snapshot(None).0,
        false => world.snapshot(Some(&node)).0,
    };
    Handler::new(Arc::new(ArcSwap::from_pointee(snapshot)), Arc::new(Counters::new()))
}

/// Size, version and client subnet.
type Opt = (u16, u8, Option<(IpAddr, u8)>);

/// A question, with everything that can vary.
#[derive(Clone, Debug)]
struct Asked {
    node: &'static str,
    name: Name,
    qtype: u16,
    class: u16,
    source: IpAddr,
    edns: Option<Opt>,
    opcode: u8,
    tcp: bool,
}

fn label() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => select(vec!["www", "deep", "down", "empty", "ns-fra", "ns-lhr", "ns-", "WWW", "_tcp", "*", "old"])
            .prop_map(|label| label.as_bytes().to_vec()),
        4 => select(NODES.to_vec()).prop_map(|label| label.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..64),
    ]
}

fn name() -> impl Strategy<Value = Name> {
    let apex = select(vec!["lb.example.com.", "eu.lb.example.com.", "LB.Example.COM.", "example.com.", "."]);
    (vec(label(), 0..4), vec(label(), 0..1), apex).prop_map(|(mut labels, more, apex)| {
        labels.extend(more);
        labels.extend(Name::from_ascii(apex).unwrap().iter().map(<[u8]>::to_vec));
        // Labels of 63 octets can add up to more than a name holds: then the end is enough.
        Name::from_labels(labels.clone())
            .unwrap_or_else(|_| Name::from_labels(labels.split_off(labels.len() - 3)).unwrap())
    })
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        select(vec!["203.0.113.9", "203.0.113.200", "192.0.2.53", "198.18.0.1", "8.8.8.8", "2001:db8:c::1", "::1"])
            .prop_map(|address| address.parse().unwrap()),
        any::<IpAddr>(),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let types = prop_oneof![
        6 => select(vec![1_u16, 28, 2, 6, 5, 43, 255, 16]),
        1 => any::<u16>(),
    ];
    let subnet = proptest::option::of((address(), 0..=140_u8));
    let edns = proptest::option::of((any::<u16>(), prop_oneof![8 => Just(0), 1 => any::<u8>()], subnet));
    let rare = (prop_oneof![9 => Just(1_u16), 1 => any::<u16>()], prop_oneof![15 => Just(0_u8), 1 => 0..16_u8]);
    (select(NODES.to_vec()), name(), types, address(), edns, rare, any::<bool>()).prop_map(
        |(node, name, qtype, source, edns, (class, opcode), tcp)| Asked {
            node,
            name,
            qtype,
            class,
            source,
            edns,
            opcode,
            tcp,
        },
    )
}

impl Asked {
    fn packet(&self) -> Option<Vec<u8>> {
        let mut message = Message::new(0xbeef, MessageType::Query, OpCode::from_u8(self.opcode));
        let mut query = Query::query(self.name.clone(), RecordType::from(self.qtype));
        query.set_query_class(DNSClass::from(self.class));
        message.add_query(query);
        message.edns = self.edns.map(|(size, version, subnet)| {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            edns.set_version(version);
            if let Some((address, length)) = subnet {
                edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new(address, length, 0)));
            }
            edns
        });
        // A subnet longer than its family cannot be written down.
        message.to_vec().ok()
    }

    fn limit(&self) -> usize {
        match (self.tcp, self.edns) {
            (true, _) => usize::from(u16::MAX),
            (false, None) => 512,
            (false, Some((size, ..))) => usize::from(size.clamp(512, LARGEST_UDP)),
        }
    }

    fn arrival(&self) -> Arrival {
        let transport = if self.tcp { TCP } else { Transport::Udp };
        Arrival { source: SocketAddr::new(self.source, 53), transport, at: Duration::ZERO }
    }
}

/// What holds for the reply to a question.
fn check(asked: &Asked, packet: &[u8], reply: &[u8]) -> Result<(), TestCaseError> {
    prop_assert!(reply.len() <= asked.limit(), "{} octets, {} are taken", reply.len(), asked.limit());
    let message = Message::from_vec(reply).map_err(|error| TestCaseError::fail(format!("does not parse: {error}")))?;
    prop_assert_eq!(&reply[..2], &packet[..2]);
    prop_assert!(message.metadata.message_type == MessageType::Response && !message.metadata.recursion_available);
    let question = 12..12 + asked.name.iter().map(|label| label.len() + 1).sum::<usize>() + 5;
    prop_assert_eq!(reply.get(question.clone()), packet.get(question));
    prop_assert_eq!(message.edns.is_some(), asked.edns.is_some());

    let nameservers: Vec<_> = message.authorities.iter().filter(|r| r.record_type() == RecordType::NS).collect();
    let cname = message.answers.iter().any(|r| r.record_type() == RecordType::CNAME);
    let Some(cut) = nameservers.first().map(|record| record.name.clone()) else {
        return Ok(());
    };
    let delegation = message.answers.is_empty();
    prop_assert!(!delegation || !message.metadata.authoritative, "an authoritative delegation");
    prop_assert!(delegation || cname, "name servers beside an answer that is no referral");
    prop_assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    for record in nameservers {
        let RData::NS(server) = &record.data else { unreachable!() };
        prop_assert!(cut.zone_of(&server.0), "{} is not inside {}", server.0, cut);
        let glue = message.additionals.iter().any(|glue| glue.name == server.0);
        prop_assert!(glue || message.metadata.truncation, "no glue for {}", server.0);
    }
    if delegation {
        prop_assert!(cut.zone_of(&asked.name));
        let own = cut.iter().next().map(|label| String::from_utf8_lossy(label).to_lowercase()).unwrap_or_default();
        prop_assert!(!serves(asked.node).contains(&own.as_str()), "{} delegates {own}, which it serves", asked.node);
        let option = message.edns.as_ref().map(|edns| edns.options().as_ref().len());
        prop_assert!(option.unwrap_or(0) == 0, "a client subnet in a delegation");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_question_gets_a_reply_that_keeps_the_rules(asked in asked()) {
        let Some(packet) = asked.packet() else { return Ok(()) };
        let reply = handler(asked.node).respond(&packet, asked.arrival());
        check(&asked, &packet, &reply.unwrap())?;
    }

    #[test]
    fn no_bytes_do_harm(bytes in vec(any::<u8>(), 0..600)) {
        garbage(&bytes)?;
    }

    #[test]
    fn no_broken_question_does_harm(
        asked in asked(),
        hits in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let Some(mut packet) = asked.packet() else { return Ok(()) };
        for (at, byte) in hits {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len()));
        }
        garbage(&packet)?;
    }
}

fn udp() -> Arrival {
    Arrival::udp("192.0.2.53:53".parse().unwrap(), Duration::ZERO)
}

/// Whatever came: no panic, and a reply, if any, is short, parses, and belongs to the packet.
fn garbage(bytes: &[u8]) -> Result<(), TestCaseError> {
    let handler = handler("fra");
    for transport in [Transport::Udp, TCP] {
        let Some(reply) = handler.respond(bytes, Arrival { transport, ..udp() }) else {
            prop_assert!(bytes.len() < 12 || bytes[2] & 0x80 != 0, "a query was dropped");
            continue;
        };
        prop_assert!(transport == TCP || reply.len() <= usize::from(LARGEST_UDP));
        prop_assert_eq!(&reply[..2], &bytes[..2]);
        prop_assert!(reply[2] & 0x80 != 0);
        let message = Message::from_vec(&reply);
        // A client subnet of no bits goes back in whichever family it came; hickory knows few.
        if let Err(DecodeError::UnknownAddressFamily(_)) = message {
            continue;
        }
        prop_assert!(message.is_ok(), "{:?} for {:?}", message, bytes);
        let questions = u16::from_be_bytes([reply[4], reply[5]]);
        if questions == 1 {
            let name: usize = message.unwrap().queries[0].name().iter().map(|label| label.len() + 1).sum();
            prop_assert_eq!(&reply[12..12 + name + 5], &bytes[12..12 + name + 5]);
        }
    }
    Ok(())
}

/// A question whose name is a pointer would mean something else in the reply, whose header differs.
#[test]
fn a_compressed_question_is_an_error_without_a_question() {
    let query = |name: &[u8]| {
        let mut packet = b"\x08\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
        packet.extend(name);
        packet.extend(b"\x00\x01\x00\x01");
        packet
    };
    for name in [&b"\xc0\x00"[..], b"\x03www\xc0\x0b"] {
        let reply = handler("fra").respond(&query(name), udp()).unwrap();
        assert_eq!(reply, b"\x08\x00\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00", "FORMERR and nothing else");
    }
    let plain = handler("fra").respond(&query(b"\x00"), udp()).unwrap();
    assert_eq!((plain[3], plain.len()), (5, 17), "REFUSED, with the question");
}

/// RFC 9619: one question. And hickory sets memory aside for as many as the header says: that must stay harmless.
#[test]
fn any_other_number_of_questions_is_an_error() {
    for count in [0_u16, 2, u16::MAX] {
        let mut packet = b"\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
        packet[4..6].copy_from_slice(&count.to_be_bytes());
        for _ in 0..count.min(2) {
            packet.extend(b"\x03www\x02lb\x07example\x03com\x00\x00\x01\x00\x01");
        }
        let reply = handler("fra").respond(&packet, udp()).unwrap();
        assert_eq!(reply, b"\x12\x34\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00");
    }
}

/// RFC 7871 section 6: the option goes back as it came, in whichever family, FAMILY 0 of `dig +subnet=0` included.
#[test]
fn a_subnet_of_no_family_comes_back() {
    let mut query =
        *b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03www\x02lb\x07example\x03com\x00\x00\x01\x00\x01\
        \x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x08\x00\x08\x00\x04\x00\x00\x00\x00";
    for family in [0_u16, 257] {
        let at = query.len() - 4;
        query[at..at + 2].copy_from_slice(&family.to_be_bytes());
        let reply = handler("fra").respond(&query, udp()).unwrap();
        assert_eq!(reply[3] & 0x0f, 0);
        assert_eq!(reply[reply.len() - 19..], query[query.len() - 19..], "the same OPT record");
        garbage(&query).unwrap();
    }
}
