//! The short way against the long way, over worlds and questions drawn from a seed.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use crate::{
    AllDown, Arrival, Choice, Claim, Cost, Counters, Duty, Handler, Label, Milli, Mode, Node, Objective, Override,
    Pace, Pin, Policy, Row, RowState, RrSet, Server, Service, Snapshot, Standing, Sticky, Terms, World, Zone,
};

const NODES: [&str; 5] = ["fra", "nyc", "tyo", "syd", "a-rather-long-name-of-a-node-that-takes-its-room"];
const HOSTS: [&str; 8] = ["www", "api", "a.b", "deep.er.down", "pool", "", "*.pool", "x.pool"];
const ZONES: [&str; 3] = ["lb.example.com.", "Inner.lb.example.com.", "other.org."];

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.roll(all.len() as u64) as usize]
    }

    fn address(&mut self) -> IpAddr {
        let last = self.roll(6) as u8;
        if self.one_in(3) { [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)].into() } else { [192, 0, 2, last].into() }
    }

    fn label(&mut self) -> Label {
        self.of(&NODES).parse().unwrap()
    }

    fn host(&mut self) -> Name {
        let (host, zone) = (*self.of(&HOSTS), *self.of(&ZONES));
        Name::from_ascii(if host.is_empty() { zone.to_owned() } else { format!("{host}.{zone}") }).unwrap()
    }

    fn world(&mut self) -> World {
        let mut world = World::new(self.label());
        let standings = [Standing::Alive, Standing::Alive, Standing::Alive, Standing::Draining, Standing::Dead];
        for zone in ZONES.iter().take(1 + self.roll(3) as usize) {
            world.zones.push(Zone { apex: Name::from_ascii(zone).unwrap(), nameservers: Vec::new() });
        }
        for node in NODES {
            let serves = (0..self.roll(3)).map(|_| self.label()).chain([node.parse().unwrap()]).collect();
            let addresses = (0..self.roll(3)).map(|_| self.address()).collect();
            let standing = *self.of(&standings);
            world.nodes.push(Node { label: node.parse().unwrap(), pop: String::new(), addresses, serves, standing });
        }
        for prefix in ["0.0.0.0/0", "203.0.113.0/24", "203.0.113.0/28", "198.51.100.0/24", "2001:db8::/32"] {
            for _ in 0..self.roll(3) {
                let (node, preference) = (self.label(), self.roll(3) as u16);
                world.claims.insert(Claim {
                    node,
                    prefix: prefix.parse().unwrap(),
                    preference,
                    proven: false,
                    rtt: None,
                });
            }
        }
        if self.one_in(3) {
            world.lingering.push(self.label());
        }
        for _ in 0..4 + self.roll(12) {
            self.service(&mut world);
        }
        for _ in 0..self.roll(3) {
            let data = RData::TXT(TXT::new(vec!["text".into()]));
            world.records.push(RrSet { name: self.host(), rtype: RecordType::TXT, ttl: 60, data: vec![data] });
        }
        if self.one_in(4) {
            let data = RData::A(A::new(192, 0, 2, 99));
            world.records.push(RrSet { name: self.host(), rtype: RecordType::A, ttl: 60, data: vec![data] });
        }
        world
    }

    fn service(&mut self, world: &mut World) {
        let name = self.host();
        let states = [RowState::Up, RowState::Up, RowState::Down, RowState::Unknown];
        let mut servers = Vec::new();
        for at in 0..self.roll(6) {
            let id = format!("s{at}");
            for node in NODES {
                if self.one_in(3) {
                    continue;
                }
                world.rows.push(Row {
                    node: node.parse().unwrap(),
                    service: name.clone(),
                    server: id.clone(),
                    state: *self.of(&states),
                    rtt: (!self.one_in(5)).then(|| Duration::from_millis(1 + self.roll(4))),
                    loss: 0.0,
                    load: self.one_in(2).then(|| self.roll(12) as f32 / 10.0),
                    as_of: Duration::ZERO,
                    why: String::new(),
                });
            }
            servers.push(Server { id, address: self.address(), weight: self.roll(3) as u16, terms: self.terms(at) });
        }
        world.services.push(Service {
            name,
            mode: if self.one_in(3) { Mode::Answer } else { Mode::Refer },
            ttl: 20 + self.roll(3) as u32,
            answers: 1 + self.roll(3) as u8,
            spread: Duration::from_millis(self.roll(3)),
            https: None,
            svcb: None,
            policy: self.policy(),
            servers,
        });
    }

    fn terms(&mut self, at: u64) -> Terms {
        let duties = [Duty::Up, Duty::Up, Duty::Up, Duty::Drain, Duty::Off];
        Terms {
            tier: self.roll(2) as u8,
            place: at as u16,
            duty: *self.of(&duties),
            canary: Milli(if self.one_in(5) { 30_000 } else { 0 }),
            cost: Cost { default: Milli(self.roll(3) as u32 * 500), nodes: BTreeMap::new() },
        }
    }

    /// Half of them say nothing.
    fn policy(&mut self) -> Policy {
        if self.one_in(2) {
            return Policy::default();
        }
        let fixed = AllDown::Addresses(vec![self.address(), self.address()]);
        let downs = [AllDown::LastGood, AllDown::All, AllDown::None, fixed];
        let mut weight = |most| Milli(self.roll(most) as u32 * 500);
        let objective = Objective { latency: weight(3), loss: weight(2), load: weight(2), cost: weight(2) };
        let overrides = (0..self.roll(3)).map(|_| self.overriding()).collect();
        Policy {
            choice: if self.one_in(3) { Choice::First } else { Choice::Best },
            objective,
            sticky: if self.one_in(3) { Sticky::None } else { Sticky::Client },
            min_up: self.roll(3) as u16,
            all_down: self.of(&downs).clone(),
            ttl_min: self.one_in(2).then_some(5),
            pace: Pace { fall: Duration::from_secs(self.roll(30)), rise: Duration::from_secs(self.roll(30)) },
            overrides,
        }
    }

    fn overriding(&mut self) -> Override {
        let prefixes = ["203.0.113.0/24", "203.0.113.0/28", "198.51.0.0/16", "0.0.0.0/0"];
        let prefix = (!self.one_in(3)).then(|| self.of(&prefixes).parse().unwrap());
        let node = self.one_in(3).then(|| self.label());
        let servers = (0..1 + self.roll(3)).map(|_| format!("s{}", self.roll(6))).collect();
        Override {
            prefix,
            node,
            to: if self.one_in(3) { Pin::Tier(self.roll(2) as u8) } else { Pin::Servers(servers) },
        }
    }

    /// A question, mostly for something that is there, in mixed case.
    fn question(&mut self) -> Vec<u8> {
        let mut name = self.host();
        if self.one_in(2) {
            let (zone, host) = (Name::from_ascii(self.of(&ZONES)).unwrap(), *self.of(&HOSTS));
            let label = self.label();
            let cut = zone.prepend_label(label.as_str()).unwrap();
            name = Name::from_ascii(host).unwrap().append_domain(&cut).unwrap();
            if self.one_in(8) {
                // Below the name of one of the cut's servers.
                let server = cut.prepend_label(format!("ns-{label}")).unwrap();
                name = server.prepend_label("below").unwrap();
            }
        }
        if self.one_in(8) {
            name = name.prepend_label("ns-fra").unwrap();
        }
        let qtype = *self.of(&[RecordType::A, RecordType::A, RecordType::AAAA, RecordType::TXT]);
        let mut message = Message::new(self.roll(65536) as u16, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(name, qtype));
        message.metadata.recursion_desired = self.one_in(2);
        if !self.one_in(3) {
            let mut edns = Edns::new();
            edns.set_max_payload(*self.of(&[512, 1232, 4096]));
            edns.set_dnssec_ok(self.one_in(2));
            if self.one_in(2) {
                let subnet = [[203, 0, 113, 0], [198, 51, 100, 0], [8, 8, 8, 0]];
                let subnet = ClientSubnet::new(IpAddr::from(*self.of(&subnet)), 24, 0);
                edns.options_mut().insert(EdnsOption::Subnet(subnet));
            }
            message.edns = Some(edns);
        }
        let mut octets = message.to_vec().unwrap();
        // The long way points at no name in another case.
        let mixed = self.one_in(2);
        for octet in &mut octets[12..] {
            if mixed && octet.is_ascii_lowercase() && self.one_in(3) {
                *octet = octet.to_ascii_uppercase();
            }
        }
        octets
    }
}

fn both(world: World) -> [Handler; 2] {
    let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::build(world).0));
    let short = Handler::new(snapshot, Arc::new(Counters::new()));
    [short.clone(), short.long_way_only()]
}

/// All of a message but the case of names, in which the two differ: one points at the question, the other does not. As
/// text, because hickory's records are equal when their TTLs are not.
fn text(octets: &[u8]) -> String {
    format!("{:?}", Message::from_vec(octets).unwrap()).to_lowercase()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_say_the_same(seed: u64, source in any::<[u8; 4]>()) {
        let mut dice = Dice(seed);
        let [short, long] = both(dice.world());
        for _ in 0..40 {
            let packet = dice.question();
            let source = *dice.of(&[[203, 0, 113, 3], [203, 0, 113, 77], [198, 51, 100, 7], source]);
            let arrival = Arrival::udp(SocketAddr::new(source.into(), 53), Duration::ZERO);
            let [short, long] = [&short, &long].map(|handler| handler.respond(&packet, arrival).unwrap());
            prop_assert_eq!(&short[..12], &long[..12], "the header of the reply to {:02x?}", packet);
            prop_assert_eq!(text(&short), text(&long), "to {:02x?}", packet);
            prop_assert!(short.len() <= long.len(), "compressed less than the long way: {:02x?}", short);
        }
    }
}

/// Else the test above would compare the long way with itself.
#[test]
fn most_questions_for_services_go_the_short_way() {
    let mut taken = 0;
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let [short, _] = both(dice.world());
        for _ in 0..40 {
            let packet = dice.question();
            let arrival = Arrival::udp("203.0.113.3:53".parse().unwrap(), Duration::ZERO);
            taken += u32::from(short.takes_the_short_way(&packet, arrival));
        }
    }
    assert!(taken > 200 * 40 / 8, "{taken}");
}
