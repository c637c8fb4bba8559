//! What a node knows, as plain data: the only input of a [`Snapshot`](crate::Snapshot).
//!
//! Whoever fills it in (one file of the node, tests, an operator's what-if) needs to know nothing of packets, and this
//! crate nothing of how the data came here. Nothing in a world has to be consistent: it is a view of replicated tables
//! that arrive in any order, so a row may name a server that the catalogue no longer has. What does not fit together is
//! left out when the snapshot is built, and said in a [`Problem`](crate::Problem).

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::rdata::svcb::{SvcParamKey, SvcParamValue};
use hickory_proto::rr::{Name, RData, RecordType};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{ClaimTable, Label, Networks, Policy, Rank, Terms};

/// Everything that answers are made from.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// Number of this state of the world on this node; shown, never sent.
    pub serial: u64,
    /// The SOA serial: equal on nodes whose catalogue is equal.
    pub zone_serial: u32,
    /// The node that answers.
    pub me: Label,
    /// Cuts that this node no longer lists as its own but still answers for, because resolvers may hold NS records
    /// that name it: kept until the NS TTL and a margin have passed.
    pub lingering: Vec<Label>,
    /// The mesh zones.
    pub zones: Vec<Zone>,
    /// All members, this node included.
    pub nodes: Vec<Node>,
    /// Which node is near which resolvers.
    pub claims: ClaimTable,
    /// Whose addresses are, for clients whom nobody claims; may be empty.
    pub networks: Networks,
    /// The catalogue's services.
    pub services: Vec<Service>,
    /// The catalogue's static records: what stands in the zones beside services.
    pub records: Vec<RrSet>,
    /// What each node measured of each server.
    pub rows: Vec<Row>,
}

impl World {
    /// A world with one node and nothing else in it.
    pub fn new(me: Label) -> Self {
        Self {
            serial: 0,
            zone_serial: 0,
            me,
            lingering: Vec::new(),
            zones: Vec::new(),
            nodes: Vec::new(),
            claims: ClaimTable::new(),
            networks: Networks::default(),
            services: Vec::new(),
            records: Vec::new(),
            rows: Vec::new(),
        }
    }
}

/// A zone that is delegated to the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name, such as `lb.example.com`.
    pub apex: Name,
    /// The nodes in its NS set; empty: the first [`MOST_NAMESERVERS`](crate::MOST_NAMESERVERS) nodes by name.
    pub nameservers: Vec<Label>,
}

/// How the mesh sees a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Answers; gets referrals.
    Alive,
    /// Is about to leave: still serves its cuts, gets no new referrals.
    Draining,
    /// The mesh has agreed that it is dead.
    Dead,
    /// Has said goodbye.
    Left,
}

impl Standing {
    /// May stand in the NS set of a cut: somebody answers there.
    pub fn answers(self) -> bool {
        matches!(self, Self::Alive | Self::Draining)
    }

    /// May be sent new resolvers.
    pub fn takes_referrals(self) -> bool {
        self == Self::Alive
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Draining => "draining",
            Self::Dead => "dead",
            Self::Left => "left",
        })
    }
}

/// A member of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, which is also the name of its cut.
    pub label: Label,
    /// The point of presence, for people.
    pub pop: String,
    /// Where it answers DNS: glue. A node without any is never listed as a name server.
    pub addresses: Vec<IpAddr>,
    /// The cuts that it says it serves, its own included. Only a node itself puts a cut here: a backup volunteers, it
    /// is never appointed.
    pub serves: Vec<Label>,
    /// How the mesh sees it.
    pub standing: Standing,
}

/// "The resolvers in this prefix are near me."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who says so.
    pub node: Label,
    /// Where the resolvers are.
    pub prefix: IpNet,
    /// Among claims of one prefix the lowest wins.
    pub preference: u16,
    /// Was it found by asking the resolvers themselves? False: it stands in a configuration.
    pub proven: bool,
    /// The round trip from the node to the resolvers, if it was measured.
    pub rtt: Option<Duration>,
}

impl Claim {
    /// The order of claims of one prefix: the least wins. Lower preference first, then proven before configured, then the
    /// shorter round trip, then the lower name.
    pub fn rank(&self) -> (Rank, &Label) {
        (Rank::new(self.preference, self.proven, self.rtt), &self.node)
    }
}

/// How a node answers for a service when it is asked as DNS-B.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// With a CNAME into the claimant's cut.
    #[default]
    Refer,
    /// With addresses, from the claimant's rows.
    Answer,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Refer => "refer",
            Self::Answer => "answer",
        })
    }
}

/// A name that clients ask for, with its pool of servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The name, in a mesh zone.
    pub name: Name,
    /// How to answer as DNS-B.
    pub mode: Mode,
    /// TTL of the addresses, in seconds; the longest, where the policy lets it be shorter.
    pub ttl: u32,
    /// At most so many addresses in one answer.
    pub answers: u8,
    /// Servers whose score is within this of the best share the clients by weight.
    pub spread: Duration,
    /// What an HTTPS record says beside the addresses (RFC 9460); nothing: there is no HTTPS record.
    pub https: Option<SvcParams>,
    /// What an SVCB record says; nothing: there is none.
    pub svcb: Option<SvcParams>,
    /// How its servers are chosen.
    pub policy: Policy,
    /// The pool.
    pub servers: Vec<Server>,
}

/// Parameters of HTTPS and SVCB records, in any order; address hints are left out, because servers are steered.
pub type SvcParams = Vec<(SvcParamKey, SvcParamValue)>;

/// The records of one name and type (an RRset, RFC 2181 section 5) that the operators wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RrSet {
    /// The name, in a mesh zone; its first label may be `*` (RFC 4592).
    pub name: Name,
    /// The type of all of them.
    pub rtype: RecordType,
    /// The TTL of all of them (RFC 2181 section 5.2), in seconds.
    pub ttl: u32,
    /// What they say.
    pub data: Vec<RData>,
}

/// An origin server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name within the service.
    pub id: String,
    /// Its address.
    pub address: IpAddr,
    /// Its share among servers that are equally near; 0: none, as long as another is up.
    pub weight: u16,
    /// On what terms it is in the pool.
    pub terms: Terms,
}

/// What a node sees of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RowState {
    /// It answers.
    Up,
    /// Not known yet.
    #[default]
    Unknown,
    /// It does not answer.
    Down,
}

impl std::fmt::Display for RowState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Unknown => "unknown",
            Self::Down => "down",
        })
    }
}

/// One node's measurement of one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Who measured.
    pub node: Label,
    /// The service that the server belongs to.
    pub service: Name,
    /// The server's id.
    pub server: String,
    /// Does it answer?
    pub state: RowState,
    /// Round-trip time; also the last one of a server that is down.
    pub rtt: Option<Duration>,
    /// Share of probes lost, 0 to 1.
    pub loss: f32,
    /// Share of its capacity in use, as it reports; 1 is all of it.
    pub load: Option<f32>,
    /// When it was last confirmed, on the monotonic clock of the process that builds the world.
    pub as_of: Duration,
    /// Why the state is what it is, such as `connect: refused`; may be empty.
    pub why: String,
}
