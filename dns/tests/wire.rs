//! Whole queries at random, each octet of them written here, against an independent decoder: `fuzz/src/decode.rs` reads,
//! `fuzz/src/rules.rs` judges (id, question octet for octet, sizes, TC, counts, AA, OPT, options).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test: panics are its verdict")]

#[path = "../fuzz/src/decode.rs"]
#[allow(dead_code, reason = "the fuzzers look at less, or more")]
mod decode;
#[path = "../fuzz/src/rules.rs"]
mod rules;
mod world_text;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use nigh_dns::{Arrival, Counters, Handler, Label, Snapshot};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use proptest::test_runner::TestCaseError;

const NOW: Duration = Duration::from_secs(1_700_000_000);

/// One for each node of the world, and one that knows nothing.
static HANDLERS: LazyLock<Vec<Handler>> = LazyLock::new(|| {
    let mut world = world_text::WorldText::default();
    include_str!("world_text/everything.txt").lines().for_each(|line| world.line(line).unwrap());
    let nodes: Vec<Label> = ["fra", "nyc", "tyo", "ams", "lhr", "lax"].map(|node| node.parse().unwrap()).into();
    let mut snapshots: Vec<Snapshot> = nodes.iter().map(|node| world.snapshot(Some(node)).0).collect();
    snapshots.push(Snapshot::empty("fra".parse().unwrap()));
    let handler = |snapshot| Handler::new(Arc::new(ArcSwap::from_pointee(snapshot)), Arc::new(Counters::new()));
    snapshots.into_iter().map(|snapshot| handler(snapshot).with_cookies([7; 16])).collect()
});

/// A query, with everything that can vary.
#[derive(Clone, Debug)]
struct Asked {
    handler: usize,
    source: IpAddr,
    udp: bool,
    id: u16,
    opcode: u8,
    flags: u16,
    name: Vec<Vec<u8>>,
    qtype: u16,
    qclass: u16,
    edns: Option<Edns>,
}

#[derive(Clone, Debug)]
struct Edns {
    size: u16,
    version: u8,
    flags: u16,
    options: Vec<(u16, Vec<u8>)>,
}

/// A client subnet as RFC 7871 wants it.
fn subnet() -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), any::<[u8; 16]>(), 0..=128_u8).prop_map(|(six, address, length)| {
        let length = if six { length } else { length % 33 };
        let mut octets = vec![0, if six { 2 } else { 1 }, length, 0];
        octets.extend(&address[..usize::from(length).div_ceil(8)]);
        if let (Some(last), 1..) = (octets.last_mut(), length % 8) {
            *last &= 0xff << (8 - length % 8);
        }
        octets
    })
}

fn edns() -> impl Strategy<Value = Edns> {
    let option = prop_oneof![
        4 => subnet().prop_map(|subnet| (8, subnet)),
        2 => any::<[u8; 8]>().prop_map(|client| (10, client.to_vec())),
        2 => vec(any::<u8>(), 16..=40).prop_map(|cookie| (10, cookie)),
        1 => Just((3, Vec::new())),
        1 => Just((11, Vec::new())),
        1 => vec(Just(0_u8), 0..100).prop_map(|padding| (12, padding)),
        1 => (any::<u16>(), vec(any::<u8>(), 0..40)),
    ];
    let version = prop_oneof![9 => Just(0_u8), 1 => any::<u8>()];
    (any::<u16>(), version, any::<u16>(), vec(option, 0..5)).prop_map(|(size, version, flags, options)| Edns {
        size,
        version,
        flags,
        options,
    })
}

fn name() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let words = "www deep down empty ns-fra ns-lhr ns- *  _tcp old fra nyc tyo ams lhr lax txt mail alias away whoami";
    let words: Vec<&str> = words.split_whitespace().collect();
    let label = prop_oneof![
        9 => select(words).prop_map(|label| label.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..64),
    ];
    let apex = select(vec!["lb.example.com", "eu.lb.example.com", "LB.Example.COM", "example.com", "com", ""]);
    (vec(label, 0..4), apex, any::<u32>()).prop_map(|(mut labels, apex, case)| {
        labels.extend(apex.split('.').filter(|label| !label.is_empty()).map(|label| label.as_bytes().to_vec()));
        // As resolvers do that use 0x20.
        for (at, octet) in labels.iter_mut().flatten().enumerate() {
            if octet.is_ascii_alphabetic() && case >> (at % 32) & 1 == 1 {
                *octet ^= 0x20;
            }
        }
        while labels.iter().map(|label| label.len() + 1).sum::<usize>() > 254 {
            labels.remove(0);
        }
        labels
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let qtype = prop_oneof![8 => select(vec![1_u16, 28, 2, 6, 5, 15, 16, 43, 48, 65, 255, 257]), 1 => any::<u16>()];
    let qclass = prop_oneof![15 => Just(1_u16), 1 => any::<u16>()];
    let opcode = prop_oneof![15 => Just(0_u8), 1 => 0..16_u8];
    let source = prop_oneof![
        select(vec!["203.0.113.9", "203.0.113.200", "192.0.2.53", "8.8.8.8", "2001:db8:c::1"])
            .prop_map(|address| address.parse().unwrap()),
        any::<IpAddr>(),
    ];
    let header = (any::<u16>(), opcode, any::<u16>());
    (0..7_usize, source, any::<bool>(), header, name(), qtype, qclass, of(edns())).prop_map(
        |(handler, source, udp, (id, opcode, flags), name, qtype, qclass, edns)| Asked {
            handler,
            source,
            udp,
            id,
            opcode,
            flags: flags & 0x07f0,
            name,
            qtype,
            qclass,
            edns,
        },
    )
}

impl Asked {
    fn packet(&self) -> Vec<u8> {
        let mut packet = self.id.to_be_bytes().to_vec();
        packet.extend((self.flags | u16::from(self.opcode) << 11).to_be_bytes());
        packet.extend([0, 1, 0, 0, 0, 0, 0, u8::from(self.edns.is_some())]);
        for label in &self.name {
            packet.push(label.len() as u8);
            packet.extend(label);
        }
        packet.push(0);
        packet.extend([self.qtype.to_be_bytes(), self.qclass.to_be_bytes()].concat());
        if let Some(edns) = &self.edns {
            packet.extend([0, 0, 41]);
            packet.extend(edns.size.to_be_bytes());
            packet.extend([0, edns.version]);
            packet.extend(edns.flags.to_be_bytes());
            let length: usize = edns.options.iter().map(|(_, data)| data.len() + 4).sum();
            packet.extend((length as u16).to_be_bytes());
            for (code, data) in &edns.options {
                packet.extend(code.to_be_bytes());
                packet.extend((data.len() as u16).to_be_bytes());
                packet.extend(data);
            }
        }
        packet
    }

    fn reply(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let source = SocketAddr::new(self.source, 53);
        let tcp = Arrival::tcp(source, NOW, Duration::from_secs(10));
        HANDLERS[self.handler].respond(packet, if self.udp { Arrival::udp(source, NOW) } else { tcp })
    }

    /// What must be there, beside what must not be.
    fn check(&self, reply: &[u8]) -> Result<(), TestCaseError> {
        let said = decode::message(reply).unwrap();
        prop_assert_eq!(said.questions.len(), 1);
        let code = said.flags & 15;
        let Some(edns) = &self.edns else {
            prop_assert!(said.opts().next().is_none());
            return Ok(());
        };
        let opt = said.opts().next().unwrap();
        let options = opt.options().unwrap();
        let has = |code: u16| options.iter().any(|(other, _)| *other == code);
        let wants = |code: u16| edns.options.iter().any(|(other, _)| *other == code);
        let extended = (opt.ttl >> 20) as u16 & 0xff0 | code;
        prop_assert_eq!(extended == 16, edns.version > 0);
        if edns.version > 0 || code == 1 {
            return Ok(());
        }
        prop_assert_eq!(has(3), wants(3), "NSID");
        prop_assert_eq!(has(10), wants(10), "cookie");
        prop_assert_eq!(has(11), wants(11) && !self.udp, "keepalive");
        // RFC 7871 section 7.2.1: an authority that was told a subnet says for which the answer holds.
        prop_assert_eq!(has(8), wants(8) && said.flags & 0x0400 != 0, "subnet");
        // RFC 8914: whoever is refused is told why.
        prop_assert!(has(15) || !matches!(code, 4 | 5), "no extended error");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_query_gets_the_reply_that_it_must(asked in asked()) {
        let packet = asked.packet();
        let reply = asked.reply(&packet);
        rules::check(&packet, reply.as_deref(), asked.udp).map_err(TestCaseError::fail)?;
        asked.check(&reply.unwrap())?;
    }

    /// Broken in a few places, and cut.
    #[test]
    fn no_broken_query_breaks_a_rule(
        asked in asked(),
        hits in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in of(any::<proptest::sample::Index>()),
    ) {
        let mut packet = asked.packet();
        for (at, octet) in hits {
            let at = at.index(packet.len());
            packet[at] = octet;
        }
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len()));
        }
        rules::check(&packet, asked.reply(&packet).as_deref(), asked.udp).map_err(TestCaseError::fail)?;
    }
}
