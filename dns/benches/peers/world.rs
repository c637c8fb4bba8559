//! What the benches answer from: 1,000 services with four servers each, thirty nodes that all measured them, and any
//! number of claims. The same each time.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hickory_proto::rr::Name;
use ipnet::{IpNet, Ipv4Net};
use nigh_dns::{Claim, Label, Mode, Node, Policy, Row, RowState, Server, Service, Standing, Terms, World, Zone};

/// Services, and names in the zones of the other servers.
pub const SERVICES: usize = 1000;

/// The zone.
pub const ZONE: &str = "lb.example.com";

/// The node that answers.
pub const ME: &str = "fra";

const NODES: usize = 30;
const SERVERS: u8 = 4;

/// The labels of a service below its zone.
pub fn service(at: usize) -> String {
    format!("service-{at}")
}

/// Everybody has rows and a cut of its own. The node that answers claims loopback, where the questions come from, and a
/// third of all other claims.
pub fn world(claims: usize) -> World {
    let labels: Vec<Label> =
        (0..NODES).map(|at| if at == 0 { ME.to_owned() } else { format!("node-{at}") }.parse().unwrap()).collect();
    let mut world = World::new(labels[0].clone());
    world.zones.push(Zone { apex: Name::from_ascii(ZONE).unwrap(), nameservers: Vec::new() });
    world.nodes.extend(labels.iter().enumerate().map(|(at, label)| Node {
        label: label.clone(),
        pop: String::new(),
        addresses: vec![IpAddr::from([192, 0, 2, at as u8 + 1])],
        serves: vec![label.clone()],
        standing: Standing::Alive,
    }));
    world.claims = loopback(&labels[0]).into_iter().collect();
    world.claims.extend(prefixes(claims).enumerate().map(|(at, prefix)| {
        let node = if at % 3 == 0 { 0 } else { at % NODES };
        Claim { node: labels[node].clone(), prefix, preference: 10, proven: false, rtt: None }
    }));
    for at in 0..SERVICES {
        let name = Name::from_ascii(format!("{}.{ZONE}.", service(at))).unwrap();
        world.rows.extend(labels.iter().flat_map(|node| rows(node, &name)));
        world.services.push(Service {
            name,
            mode: Mode::Refer,
            ttl: 20,
            answers: 1,
            spread: Duration::ZERO,
            https: None,
            svcb: None,
            policy: Policy::default(),
            servers: (0..SERVERS).map(|id| server(at, id)).collect(),
        });
    }
    world
}

fn server(service: usize, id: u8) -> Server {
    let [.., high, low] = (service as u32).to_be_bytes();
    Server {
        id: format!("s{id}"),
        address: Ipv4Addr::new(198, 18 + high, low, id + 1).into(),
        weight: 1,
        terms: Terms::default(),
    }
}

fn rows(node: &Label, service: &Name) -> impl Iterator<Item = Row> {
    (0..SERVERS).map(|server| Row {
        node: node.clone(),
        service: service.clone(),
        server: format!("s{server}"),
        state: RowState::Up,
        rtt: Some(Duration::from_millis(10 + u64::from(server))),
        loss: 0.0,
        load: None,
        as_of: Duration::ZERO,
        why: String::new(),
    })
}

/// Small blocks in a large one, so that the questions' own addresses meet no shallow part of the table.
fn loopback(me: &Label) -> Vec<Claim> {
    let blocks = (0..=255).map(|third| Ipv4Net::new(Ipv4Addr::new(127, 0, third, 0), 24));
    let blocks = blocks.chain([Ipv4Net::new(Ipv4Addr::new(127, 0, 0, 0), 8)]);
    blocks
        .map(|block| Claim {
            node: me.clone(),
            prefix: block.unwrap().into(),
            preference: 10,
            proven: false,
            rtt: None,
        })
        .collect()
}

/// Prefixes of about the lengths that the Internet's routing table has: three in five are /24, the rest longer than /15.
/// None covers loopback. A few come twice.
fn prefixes(count: usize) -> impl Iterator<Item = IpNet> {
    let mut random = Random::new(1);
    (0..count).map(move |_| {
        let first = random.below(222) as u32 + 1;
        let first = if first >= 127 { first + 1 } else { first };
        let address = Ipv4Addr::from(first << 24 | random.next() as u32 >> 8);
        let length = if random.below(5) < 3 { 24 } else { 16 + random.below(8) as u8 };
        IpNet::from(Ipv4Net::new(address, length).unwrap().trunc())
    })
}

/// SplitMix64: random enough for loads, and the same each time.
pub struct Random(u64);

impl Random {
    /// Its numbers follow from the seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// One of so many.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
