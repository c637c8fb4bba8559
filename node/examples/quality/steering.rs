//! nigh itself: a world with what the matrix says, and the function that answers queries asked for each client.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hickory_proto::rr::Name;
use ipnet::IpNet;
use nigh_dns::{
    Claim, Family, Label, Mode, Node, Row, RowState, Server, Service, Snapshot, Standing, World, Zone, decide,
};

/// A mesh that has measured, and is asked.
pub struct Steering {
    snapshot: Snapshot,
    me: Label,
    service: Name,
}

/// What a node says of a resolver.
#[derive(Clone, Copy, Debug)]
pub struct Claimed {
    pub node: usize,
    pub resolver: usize,
    pub rtt_ms: f64,
}

impl Steering {
    /// Of so many origins; `rows` has for each node the round trip to each origin, NaN where there is none.
    pub fn new(origins: usize, rows: &[Vec<f64>], claims: impl IntoIterator<Item = Claimed>) -> Result<Self, String> {
        let apex: Name = "lb.example.".parse().map_err(|error| format!("{error}"))?;
        let service: Name = "www.lb.example.".parse().map_err(|error| format!("{error}"))?;
        let labels: Vec<Label> = (0..rows.len()).map(label).collect::<Result<_, _>>()?;
        let me = labels.first().cloned().ok_or("no nodes")?;
        let mut world = World::new(me.clone());
        world.zones.push(Zone { apex, nameservers: Vec::new() });
        world.nodes = labels.iter().enumerate().map(|(at, label)| node(at, label)).collect();
        world.claims = claims
            .into_iter()
            .map(|claimed| Claim {
                node: labels[claimed.node].clone(),
                prefix: IpNet::from(resolver(claimed.resolver)),
                preference: 10,
                proven: true,
                rtt: Some(duration(claimed.rtt_ms)),
            })
            .collect();
        world.services.push(Service {
            name: service.clone(),
            mode: Mode::Refer,
            ttl: 60,
            answers: 1,
            spread: Duration::ZERO,
            https: None,
            svcb: None,
            policy: nigh_dns::Policy::default(),
            servers: (0..origins)
                .map(|at| Server {
                    id: at.to_string(),
                    address: address(192, at),
                    weight: 1,
                    terms: nigh_dns::Terms::default(),
                })
                .collect(),
        });
        world.rows = labels
            .iter()
            .zip(rows)
            .flat_map(|(label, row)| row.iter().enumerate().map(move |(at, ms)| (label, at, *ms)))
            .filter(|(_, _, ms)| !ms.is_nan())
            .map(|(label, at, ms)| Row {
                node: label.clone(),
                service: service.clone(),
                server: at.to_string(),
                state: RowState::Up,
                rtt: Some(duration(ms)),
                loss: 0.0,
                load: None,
                as_of: Duration::ZERO,
                why: String::new(),
            })
            .collect();
        let (snapshot, problems) = Snapshot::build(world);
        match problems.first() {
            Some(problem) => Err(problem.to_string()),
            None => Ok(Self { snapshot, me, service }),
        }
    }

    /// The origin that a resolver is given.
    pub fn choice(&self, asked_by: usize) -> Option<usize> {
        let decision = decide(&self.snapshot, &self.me, &self.service, Family::V4, resolver(asked_by))?;
        decision.ranking.chosen().next()?.server.id.parse().ok()
    }
}

fn label(at: usize) -> Result<Label, String> {
    format!("n{at}").parse().map_err(|error| format!("{error}"))
}

fn node(at: usize, label: &Label) -> Node {
    Node {
        label: label.clone(),
        pop: label.to_string(),
        addresses: vec![address(198, at)],
        serves: vec![label.clone()],
        standing: Standing::Alive,
    }
}

fn resolver(at: usize) -> IpAddr {
    address(10, at)
}

fn address(first: u8, at: usize) -> IpAddr {
    let [_, b, c, d] = u32::try_from(at).unwrap_or(u32::MAX).to_be_bytes();
    Ipv4Addr::new(first, b, c, d).into()
}

fn duration(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}
