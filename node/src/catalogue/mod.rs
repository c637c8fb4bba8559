//! The catalogue: which zones and services the mesh answers for, edited by operators through any node.
//!
//! ```text
//!   services.toml ─ file ─▶ Catalogue ──┐
//!                                       plan ─▶ changes ─ sign (operator key, HLC) ─▶ pages ─▶ any node ─▶ every node
//!   replica ─ record ─▶ Records ────────┘                                                               │
//!                          └─ join ─▶ Catalogue ◀────────────────────────────────────────────────────────┘
//! ```
//!
//! A catalogue is a set of **records**, each one a signed register of its own: a zone, a service's policy, one server
//! of a service, the static DNS records of one name and type. So two operators who edit different servers at the same moment both win, and a change of one server
//! is one page of a few hundred bytes. A removed thing is a record too (a tombstone), or an old copy would bring it
//! back.
//!
//! **Invariant:** the catalogue of a node is a function of the set of its records; in which order they came is lost.
//! **Invariant:** what a record says is never trusted to be sensible. The bounds are checked when it is read, and a
//! record beyond them is left out and reported, on all nodes alike.

pub mod admission;
pub mod arrival;
mod file;
pub mod hlc;
pub mod name;
pub mod operators;
pub mod origin;
mod plan;
pub mod record;
mod records;
pub mod rotation;
mod static_records;
mod svc_params;
#[cfg(test)]
mod tests;
mod wire;
mod zone_file;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::{Name, RData};
use hickory_proto::serialize::binary::BinEncodable;
use nigh_gossip::Table;

pub use nigh_dns::{
    AllDown, Choice, Cost, Duty, MAX_OVERRIDES, Milli, Objective, Override, Pin, Policy as Steering, Sticky, SvcParams,
};

use crate::config::{ConfigErrors, Label};
use crate::measure::target::{Probing, Target};

pub use origin::Origin;
pub use plan::{Change, plan, set_state, sign};
pub(crate) use plan::{all_down_text, objective_text};
pub use records::{Problem, Records};

/// The table that catalogue records are pages of.
pub const TABLE: Table = Table(32);

/// Mesh zones: each costs every node an apex and every cut once more.
pub const MAX_ZONES: usize = 64;
/// Services of all zones. Ten times what the figures ask for, and bounded as every node probes all of them.
pub const MAX_SERVICES: usize = 10_000;
/// Servers of one service: more cannot be told apart in one row table, and need a balancer of their own in front.
pub const MAX_SERVERS: usize = 256;
/// The longest that an answer may be kept: a server that died is asked for that long.
pub const MAX_TTL: u32 = 3600;
/// Addresses in one answer: as many as fit a plain UDP message beside everything else.
pub const MAX_ANSWERS: u8 = 8;
/// The widest spread: beyond a second of difference nothing is "equally near".
pub const MAX_SPREAD: Duration = Duration::from_secs(1);
/// Octets of the parameters of an HTTPS or SVCB record: with addresses in it and beside it, it still fits a datagram.
pub const MAX_SVC_BYTES: usize = 512;
/// The weight of a criterion: a thousand milliseconds for one of latency leave nothing to anything else.
pub const MAX_WEIGHT: Milli = Milli(1_000_000);
/// The cost of a server, in units of the operator's choice.
pub const MAX_COST: Milli = Milli(1_000_000_000);
/// Nodes from which a server costs something else than from others: with their names they still fit a page.
pub const MAX_COST_NODES: usize = 64;
/// Addresses that are given when all servers are down: as many as in any answer.
pub const MAX_FIXED: usize = MAX_ANSWERS as usize;
/// What the overrides of a service may take of its record, as `override_bytes` counts.
pub const MAX_OVERRIDE_BYTES: usize = 4096;
/// The name servers of one zone, as many as the DNS puts into an NS set.
pub const MAX_NAMESERVERS: usize = 8;

/// RRsets of static records in all zones: each is a page, of which a replica holds 100,000.
pub const MAX_RRSETS: usize = 10_000;
/// The data of one RRset: with its names it must fit a page of 8 KiB.
pub const MAX_RRSET_BYTES: usize = 5 * 1024;
/// The records of one RRset: what a message of 64 KiB could still hold, if they are small.
pub const MAX_RRSET_RECORDS: usize = 1024;
/// The longest TTL of static records: a week, beyond which resolvers do not go.
pub const MAX_STATIC_TTL: u32 = 604_800;

/// The zones and services that the mesh answers for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The mesh zones, by apex.
    pub zones: BTreeMap<Name, Zone>,
    /// The services, by host name.
    pub services: BTreeMap<Name, Service>,
    /// The static records, by name and number of the type.
    pub records: BTreeMap<(Name, u16), RrSet>,
}

/// A zone that is delegated to the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    /// The nodes that stand in its NS set; empty: the first few by name.
    pub nameservers: Vec<Label>,
}

/// The static records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RrSet {
    /// Of all of them, in seconds.
    pub ttl: u32,
    /// What they say, in the order of their bytes.
    pub data: Vec<RData>,
}

impl RrSet {
    /// A set of these records, in whatever order they come.
    pub(crate) fn new(ttl: u32, mut data: Vec<RData>) -> Self {
        data.sort_by_cached_key(|data| data.to_bytes().unwrap_or_default());
        Self { ttl, data }
    }
}

/// A host name with its pool of servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// How its addresses are given out and its servers measured.
    pub policy: Policy,
    /// The pool, by id.
    pub servers: BTreeMap<String, Server>,
}

/// How a service's addresses are given out and its servers measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How a node answers as DNS-B.
    pub mode: Mode,
    /// Seconds that an answer may be kept.
    pub ttl: u32,
    /// The most addresses in an answer.
    pub answers: u8,
    /// Servers within this of the best share by weight.
    pub spread: Duration,
    /// How the servers are measured.
    pub probe: Box<Probing>,
    /// What an HTTPS record says beside the addresses (RFC 9460), in order of the keys; nothing: there is none.
    pub https: Option<SvcParams>,
    /// The same of an SVCB record.
    pub svcb: Option<SvcParams>,
    /// The name whose addresses are servers too.
    pub origin: Option<Box<Origin>>,
    /// How its servers are chosen. Its pace is what the probe makes it, and not told here.
    pub steering: Box<Steering>,
}

/// What an override takes of a record, at most: its prefix and framing, and its names.
pub(crate) fn override_bytes(this: &Override) -> usize {
    let ids = match &this.to {
        Pin::Servers(ids) => ids.iter().map(|id| id.len() + 2).sum(),
        Pin::Tier(_) => 0,
    };
    32 + this.node.as_ref().map_or(0, |node| node.as_str().len()) + ids
}

/// How a node answers as DNS-B. The catalogue's own word for it: records outlive the types of the answering crate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// With a CNAME into the claimant's cut.
    #[default]
    Refer,
    /// With addresses, from the claimant's rows.
    Answer,
}

impl Mode {
    /// The word for it in files and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refer => "refer",
            Self::Answer => "answer",
        }
    }
}

/// One server of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub address: IpAddr,
    /// Its share among those equally near.
    pub weight: u16,
    /// Servers of a lower tier come first.
    pub tier: u8,
    /// Its place in the file, where that is the order of failover; 0 elsewhere.
    pub place: u16,
    /// Whether it is in service. Nothing: the file does not say, so what a command said stands; without one it is.
    pub state: Option<Duty>,
    /// So many percent of the clients get it, and no others do; 0: as any server.
    pub canary: Milli,
    /// What it costs to use it.
    pub cost: Cost,
}

impl Server {
    /// A server on no special terms.
    pub fn new(address: IpAddr, weight: u16) -> Self {
        let (state, canary, cost) = (None, Milli(0), Cost::default());
        Self { address, weight, tier: 0, place: 0, state, canary, cost }
    }

    /// A server of which nothing but its address is known.
    pub fn at(address: IpAddr) -> Self {
        Self::new(address, file::DEFAULT_WEIGHT)
    }
}

impl Catalogue {
    /// Each server of each service, as it is to be probed.
    pub fn targets(&self) -> Vec<Target> {
        let of_service = |(name, service): (&Name, &Service)| {
            let (name, probe) = (name::text(name), &*service.policy.probe);
            let servers = service.servers.iter();
            let target = servers.map(|(id, server)| Target {
                service: name.clone(),
                server: id.clone(),
                address: server.address,
                probe: probe.clone(),
            });
            target.collect::<Vec<_>>()
        };
        self.services.iter().flat_map(of_service).collect()
    }

    /// Reads `services.toml`.
    ///
    /// # Errors
    /// Every mistake in the text, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        Self::parse_with(text, |_| Err("no file can be read from here".to_owned()))
    }

    /// Reads `services.toml` and the zone files that it names, whose texts `zone_file` has, by the path as it is written.
    ///
    /// # Errors
    /// Every mistake in all of the texts, those of a zone file at the place where it is named, with its own line.
    pub fn parse_with(text: &str, zone_file: impl Fn(&str) -> Result<String, String>) -> Result<Self, ConfigErrors> {
        file::parse(text, &zone_file)
    }

    /// What the records say together. Whatever does not fit is left out and reported: servers of a service that is
    /// gone, services outside all zones, kinds of records that a later version wrote.
    pub fn from_records(records: &Records) -> (Self, Vec<Problem>) {
        records.join()
    }

    /// Takes over what a command said of servers, where the file says nothing of it. Returns whom: they are not in use
    /// although the file has them.
    pub fn keep_states(&mut self, current: &Self) -> Vec<(Name, String, Duty)> {
        let mut kept = Vec::new();
        for (host, service) in &mut self.services {
            let Some(held) = current.services.get(host) else { continue };
            for (id, server) in service.servers.iter_mut().filter(|(_, server)| server.state.is_none()) {
                // "Up" by an earlier file is no more than what is so anyway.
                let said = held.servers.get(id).and_then(|server| server.state).filter(|duty| *duty != Duty::Up);
                if let Some(duty) = said {
                    server.state = Some(duty);
                    kept.push((host.clone(), id.clone(), duty));
                }
            }
        }
        kept
    }

    /// How many servers all services have.
    pub fn server_count(&self) -> usize {
        self.services.values().map(|service| service.servers.len()).sum()
    }

    /// What stands at or below the cut of one of `nodes`, such as "service www.fra.lb.example.com": that name is what
    /// node `fra` answers for `www.lb.example.com`, so nothing else can have it.
    pub fn in_cuts_of<'a>(&self, nodes: impl IntoIterator<Item = &'a Label>) -> Vec<(String, Label)> {
        let nodes: Vec<&Label> = nodes.into_iter().collect();
        let services = self.services.keys().map(|name| (name, format!("service {}", name::text(name))));
        let records = self.records.keys().map(|(name, rtype)| (name, format!("record {}", name::set(name, *rtype))));
        let mut found = Vec::new();
        for (name, what) in services.chain(records) {
            let Some(top) = self.zones.keys().find_map(|zone| name::below(name, zone)) else { continue };
            if let Some(node) = nodes.iter().find(|node| node.as_str() == top) {
                found.push((what, (*node).clone()));
            }
        }
        found
    }
}
