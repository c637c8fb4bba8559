//! What the node tells its operators, as plain data: the JSON of the API, and what the tables are made from.
//!
//! Fields may be added, never renamed: scripts read them. Units stand last in names. Both sides use these types, so
//! `nigh status` of one version reads a node of the next one (unknown fields are skipped).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::probes::{MeasureStatus, ProbeLine, ProbedLine};

/// The node at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The node itself.
    pub node: NodeStatus,
    /// Its place in the mesh.
    pub mesh: MeshStatus,
    /// What it answered.
    pub dns: DnsStatus,
    /// Its right to be there.
    #[serde(default)]
    pub admission: AdmissionStatus,
    /// What it answers for.
    pub catalogue: CatalogueStatus,
    /// The snapshot that packets are answered from.
    pub snapshot: SnapshotStatus,
    /// The resolvers that it is a client of.
    #[serde(default)]
    pub resolvers: Vec<ResolverLine>,
    /// What it found by its own probes.
    #[serde(default)]
    pub measuring: MeasureStatus,
    /// What someone should look at; empty when all is well.
    pub warnings: Vec<String>,
}

/// The node itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// Its name, which names its cut.
    pub name: String,
    /// Its public key.
    pub id: String,
    /// Its point of presence; may be empty.
    pub pop: String,
    /// The version of nigh.
    pub version: String,
    /// Seconds since the process started.
    pub uptime_s: u64,
    /// Whether it is leaving.
    pub draining: bool,
}

/// The node's place in the mesh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MeshStatus {
    /// The operator's public key.
    pub id: String,
    /// Nodes known, this one included.
    pub members: usize,
    /// Those that are alive.
    pub alive: usize,
    /// Peers linked to now.
    pub links: usize,
    /// Pages held.
    pub pages: usize,
    /// Equal on nodes with equal pages.
    pub state_hash: String,
}

/// The node's right to be in the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdmissionStatus {
    /// What holds.
    pub state: Admission,
    /// Until when, in Unix seconds; none without a certificate.
    pub ends: Option<u64>,
    /// Another process runs with this node's key, and this one fell silent for it.
    pub silenced: bool,
    /// Members of which two pages of one version are held.
    pub equivocations: usize,
}

/// Whether a node may be in the mesh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Admission {
    /// It is a member.
    Admitted,
    /// Its certificate has ended.
    Ended,
    /// It was a member until it was revoked.
    Revoked,
    /// No operator has admitted it yet.
    #[default]
    Waiting,
}

impl Admission {
    /// The word for it, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
            Self::Waiting => "waiting",
        }
    }
}

/// A node that an operator admitted, or revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberLine {
    /// The name it was given; empty if its certificate is not held.
    pub name: String,
    /// Its public key.
    pub id: String,
    /// What holds.
    pub admission: Admission,
    /// Where it stands; absent if it has never spoken.
    pub verdict: Verdict,
    /// Whether this node is linked to it.
    pub linked: bool,
    /// Within which its claims count.
    #[schemars(with = "Vec<String>")]
    pub prefixes: Vec<IpNet>,
    /// When its certificate ends, in Unix seconds.
    pub ends: Option<u64>,
    /// Seconds until then; negative if it has ended.
    pub ends_in_s: Option<i64>,
    /// Whether this is the node that answers.
    #[serde(rename = "self")]
    pub is_self: bool,
}

/// A key that writes for the operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorLine {
    /// How people call it.
    pub name: String,
    /// The public key.
    pub id: String,
    /// What holds.
    pub state: OperatorState,
    /// What it may write, if it is appointed: `catalogue`, `admissions`.
    pub rights: Vec<String>,
    /// When that was said last, in Unix milliseconds; nothing for the root.
    pub since_ms: Option<u64>,
    /// Records of the catalogue held here that it signed.
    pub catalogue: usize,
    /// Certificates and revocations held here that it signed.
    pub admissions: usize,
}

/// Whether a key writes for the operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorState {
    /// It names the mesh: it may write everything, and appoints the others.
    Root,
    /// The root appointed it.
    Appointed,
    /// The root did, but as many as may were appointed before it.
    TooMany,
    /// The root did once.
    Dismissed,
}

impl OperatorState {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Appointed => "appointed",
            Self::TooMany => "one too many",
            Self::Dismissed => "dismissed",
        }
    }
}

/// Two pages of one key and version: who signed both lied, or its key is in use twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EquivocationLine {
    /// Who signed both; the name it was given, if it has one.
    pub name: String,
    /// Its public key.
    pub id: String,
    /// The table of the pages.
    pub table: u16,
    /// Their version.
    pub version: [u64; 2],
    /// The page that is kept: signed header, signature and body, in base64.
    pub kept: String,
    /// The other one.
    pub lost: String,
}

/// What the node answered since its start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DnsStatus {
    /// The addresses it answers on.
    pub listen: Vec<SocketAddr>,
    /// How many of each kind: queries, referrals, cut answers and so on.
    #[serde(flatten)]
    pub counters: BTreeMap<String, u64>,
}

impl DnsStatus {
    /// Takes a struct of counters; fields that are no whole numbers are left out.
    pub fn new(listen: Vec<SocketAddr>, counters: &impl Serialize) -> Self {
        let fields = match serde_json::to_value(counters) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let counters = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?))).collect();
        Self { listen, counters }
    }
}

/// How much there is to answer for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogueStatus {
    /// Mesh zones.
    pub zones: usize,
    /// Services in them.
    pub services: usize,
    /// Servers of all services.
    pub servers: usize,
    /// Names and types of static records.
    #[serde(default)]
    pub records: usize,
}

/// The snapshot that packets are answered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotStatus {
    /// Its number on this node.
    pub serial: u64,
}

/// Where a member stands, derived by every node alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// In service.
    Alive,
    /// Leaving: no new resolvers are sent to it.
    Draining,
    /// A majority of its watchers say so.
    Dead,
    /// It said so itself.
    Left,
    /// It has never spoken.
    Absent,
}

impl Verdict {
    /// The word for it, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Draining => "draining",
            Self::Dead => "dead",
            Self::Left => "left",
            Self::Absent => "absent",
        }
    }
}

/// A member of the mesh, as this node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// Its name; empty until its profile has come.
    pub name: String,
    /// Its public key.
    pub id: String,
    /// Its point of presence; may be empty.
    pub pop: String,
    /// Where it stands.
    pub verdict: Verdict,
    /// Whether this node is linked to it.
    pub linked: bool,
    /// The round trip on that link.
    pub rtt_ms: Option<f64>,
    /// Rises when it refutes its own death, and at each start.
    pub incarnation: u64,
    /// Where the mesh reaches it.
    pub mesh_addresses: Vec<SocketAddr>,
    /// Where resolvers reach it.
    pub dns_addresses: Vec<IpAddr>,
    /// The cuts it serves, its own and those it backs up.
    pub cuts: Vec<String>,
    /// Whether two pages of one version, signed by it, are held.
    #[serde(default)]
    pub equivocated: bool,
    /// The version of nigh that it runs; empty until its profile has come.
    #[serde(default)]
    pub version: String,
    /// Whether this is the node that answers.
    #[serde(rename = "self")]
    pub is_self: bool,
}

/// A claim in force or masked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimLine {
    /// The resolvers claimed.
    #[schemars(with = "String")]
    pub prefix: IpNet,
    /// The node that claims them.
    pub node: String,
    /// Lower wins.
    pub preference: u16,
    /// Where the node stands; only a live one's claims count.
    pub verdict: Verdict,
    /// Whether it is the one that resolvers in this prefix are sent to.
    pub best: bool,
    /// The node's certificate does not allow it: it counts nowhere.
    #[serde(default)]
    pub void: bool,
    /// Another node has put its name to having seen the resolver there.
    #[serde(default)]
    pub proven: bool,
    /// That node's name.
    #[serde(default)]
    pub witness: Option<String>,
    /// Seconds since it said so.
    #[serde(default)]
    pub proof_age_s: Option<u64>,
    /// The round trip to the resolver, from its cache.
    #[serde(default)]
    pub rtt_ms: Option<f64>,
}

/// A network whose resolvers nobody claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnclaimedLine {
    /// The network.
    #[schemars(with = "String")]
    pub network: IpNet,
    /// How often it asked this node in about the last quarter of an hour: an estimate from samples.
    pub questions: u64,
    /// By how much that may be too high.
    pub error: u64,
    /// The node that is estimated to be nearest to it.
    pub nearest: Option<String>,
    /// By what: the node claims its neighbours, or most of what is claimed of its operator or in its country.
    #[serde(default)]
    pub by: Option<nigh_dns::Guess>,
    /// The number of the autonomous system that it belongs to, if a table says so.
    #[serde(default)]
    pub operator: Option<u32>,
    /// The two letters of the country that it lies in, if a table says so.
    #[serde(default)]
    pub country: Option<String>,
}

/// A resolver that this node is a client of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResolverLine {
    /// Where it is asked.
    pub address: SocketAddr,
    /// "configured" or "system".
    pub origin: String,
    /// It does not answer any more, and nothing is claimed for it.
    pub lost: bool,
    /// The round trip of an answer from its cache.
    pub rtt_ms: Option<f64>,
    /// The addresses that its questions leave from.
    pub egress: Vec<EgressLine>,
    /// What is wrong; empty when all is well.
    pub why: String,
}

/// An address that a resolver's questions leave from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EgressLine {
    /// The address.
    pub address: IpAddr,
    /// What became of it.
    pub state: EgressState,
    /// Who has seen it, if another node has.
    pub witness: Option<String>,
    /// Seconds since it was last seen.
    pub age_s: u64,
    /// Why it is not claimed, or not proven; empty when it is.
    pub why: String,
}

/// What became of an address that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EgressState {
    /// Claimed, and another node vouches for it.
    Proven,
    /// Claimed, though only this node has seen it.
    Seen,
    /// A public resolver's, and so nobody's.
    Public,
    /// The certificate does not allow it.
    Outside,
}

impl EgressState {
    /// The word for it, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Seen => "seen",
            Self::Public => "public",
            Self::Outside => "outside",
        }
    }
}

/// One node's measurement of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyLine {
    /// Who measured.
    pub node: String,
    /// The service.
    pub service: String,
    /// The server's id within the service.
    pub server: String,
    /// Its address, if the catalogue still has it.
    pub address: Option<IpAddr>,
    /// What was found.
    pub state: ServerState,
    /// The smoothed round trip.
    pub rtt_ms: Option<f64>,
    /// The part of probes lost, from 0 to 1.
    pub loss: f64,
    /// The part of its capacity in use, as it reports; none: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// Seconds since it was last confirmed.
    pub age_s: f64,
    /// A few words, such as "connect: refused".
    pub why: String,
    /// It answers, and is held down because it went down too often; known of this node's own rows only.
    #[serde(default)]
    pub flapping: bool,
}

/// What a node found a server to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// It answers probes.
    Up,
    /// It does not.
    Down,
    /// Not measured yet, or measured too long ago.
    Unknown,
}

impl ServerState {
    /// The word for it, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// A service as the catalogue has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceLine {
    /// Its host name.
    pub name: String,
    /// "refer" or "answer".
    pub mode: String,
    /// Seconds that an answer may be kept.
    pub ttl: u32,
    /// The most addresses in an answer.
    pub answers: u8,
    /// Servers within this of the best share by weight.
    pub spread_ms: f64,
    /// "best" or "first".
    #[serde(default)]
    pub choose: String,
    /// What counts, such as "latency 1 + load 0.5".
    #[serde(default)]
    pub objective: String,
    /// How many servers of a tier must be up for it to serve.
    #[serde(default)]
    pub min_up: u16,
    /// What is given when all is down: "last-good", "all", "none", or addresses.
    #[serde(default)]
    pub all_down: String,
    /// "client" or "none".
    #[serde(default)]
    pub sticky: String,
    /// The least TTL; none: it is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_min: Option<u32>,
    /// What holds for some clients, or as some nodes see it.
    #[serde(default)]
    pub overrides: Vec<OverrideLine>,
    /// How its servers are measured.
    pub probe: ProbeLine,
    /// Its servers, by id.
    pub servers: Vec<ServerLine>,
}

/// What holds for some clients, or as some nodes see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OverrideLine {
    /// For clients in it; none: for all.
    #[schemars(with = "Option<String>")]
    pub prefix: Option<IpNet>,
    /// Where this node decides; none: everywhere.
    pub node: Option<String>,
    /// To these servers; empty: to a tier.
    pub servers: Vec<String>,
    /// To this tier.
    pub tier: Option<u8>,
}

/// One server of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerLine {
    /// Its id within the service.
    pub id: String,
    /// Its address.
    pub address: IpAddr,
    /// Its share among those equally near.
    pub weight: u16,
    /// The lower comes first.
    #[serde(default)]
    pub tier: u8,
    /// "up", "drain" or "off".
    #[serde(default)]
    pub state: String,
    /// The percent of the clients that get it, if it is a canary.
    #[serde(default)]
    pub canary_percent: f64,
    /// What it costs to use it.
    #[serde(default)]
    pub cost: f64,
    /// The same, from nodes that differ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cost_of: BTreeMap<String, f64>,
}
