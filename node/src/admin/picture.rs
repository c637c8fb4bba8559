//! What the dashboard draws, as plain data: the JSON of `/v1/map`, `/v1/heat`, `/v1/coverage`, `/v1/history` and `/v1/events`.
//!
//! Fields may be added, never renamed, as in [`super::report`]. Every list has a bound, and what was left out is counted:
//! a page that lies open on a wall asks again and again, of a mesh of any size.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report::{ClaimLine, ServerState, Verdict};

/// The nodes, and who is linked to whom.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MeshMap {
    /// The nodes, by name.
    pub nodes: Vec<MapNode>,
    /// Round trips that nodes measured to others, each pair once.
    pub links: Vec<MapLink>,
    /// Nodes and links that were left out, because there are too many.
    pub left_out: usize,
}

/// A node on the map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MapNode {
    /// Its name.
    pub name: String,
    /// Its point of presence; may be empty.
    pub pop: String,
    /// Degrees north and east, if its operator says so.
    pub location: Option<[f64; 2]>,
    /// Where it stands.
    pub verdict: Verdict,
    /// Whether the node that answers is linked to it.
    pub linked: bool,
    /// The version of nigh that it runs.
    pub version: String,
    /// Where resolvers reach it.
    pub dns_addresses: Vec<IpAddr>,
    /// The cuts that it serves, its own and those that it backs up.
    pub cuts: Vec<String>,
    /// The claims that its certificate allows.
    pub claims: usize,
    /// How many quarters of them it leaves to others for now, because it is asked too much.
    pub pressure: u8,
    /// Whether this is the node that answers.
    #[serde(rename = "self")]
    pub is_self: bool,
}

/// Two nodes that measure each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MapLink {
    /// One of them ...
    pub a: String,
    /// ... and the other, in order of name.
    pub b: String,
    /// The round trip; of two that were measured the shorter.
    pub rtt_ms: f64,
}

/// Claims that someone looked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// The claims, by prefix, best first.
    pub claims: Vec<ClaimLine>,
    /// How many more there are.
    pub left_out: usize,
}

/// A service as each node sees it: who would get what, and why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heat {
    /// Its name.
    pub service: String,
    /// Its servers, the columns.
    pub servers: Vec<HeatServer>,
    /// The nodes, this one first, then by name.
    pub rows: Vec<HeatRow>,
    /// Nodes and servers that were left out, because there are too many.
    pub left_out: usize,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeatServer {
    /// The server's id within the service.
    pub id: String,
    /// Its address.
    pub address: IpAddr,
    /// "up", "drain" or "off": what the operator wants.
    pub state: String,
    /// The lower comes first.
    pub tier: u8,
}

/// A row: what one node sees, and what its resolvers get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeatRow {
    /// The node.
    pub node: String,
    /// Its point of presence; may be empty.
    pub pop: String,
    /// Where it stands; only one that is alive or draining decides.
    pub verdict: Verdict,
    /// Whether no server is known to be up, so that the answer may be wrong.
    pub failed_open: bool,
    /// Addresses given in place of servers.
    pub instead: Vec<IpAddr>,
    /// A cell for each server, in their order.
    pub cells: Vec<HeatCell>,
}

/// What a node sees of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeatCell {
    /// Does it answer?
    pub state: ServerState,
    /// The smoothed round trip; the last good one of a server that is down.
    pub rtt_ms: Option<f64>,
    /// The part of probes lost, from 0 to 1.
    pub loss: f64,
    /// The part of its capacity in use, as it reports.
    pub load: Option<f64>,
    /// The part of the node's clients that get it first, from 0 to 1.
    pub share: f64,
    /// A few words, such as "connect: refused".
    pub why: String,
}

/// What a node remembers of itself: samples at equal steps, and what happened in the mesh.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryReport {
    /// Seconds from one sample to the next.
    pub step_s: u32,
    /// The most samples that are kept at this step.
    pub most: usize,
    /// The samples, the oldest first.
    pub samples: Columns,
    /// What happened, the oldest first.
    pub happenings: Vec<Happening>,
}

/// Samples column by column: a tenth of the text that rows would be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Columns {
    /// Unix time in seconds, at the end of each sample.
    pub time_s: Vec<u64>,
    /// Referrals a second.
    pub referrals: Vec<f32>,
    /// Answers a second in a cut.
    pub cut: Vec<f32>,
    /// Answers a second at once, to clients whose place is known.
    pub direct: Vec<f32>,
    /// Answers a second at once, to clients that nobody claims.
    pub unclaimed: Vec<f32>,
    /// Other answers a second: zones, static records, name servers.
    pub other: Vec<f32>,
    /// Denials and errors a second.
    pub negative: Vec<f32>,
    /// Questions a second over the rate limit.
    pub limited: Vec<f32>,
    /// The median over services of the round trip to what this node's clients get.
    pub rtt_ms: Vec<Option<f32>>,
    /// The worst service's.
    pub rtt_worst_ms: Vec<Option<f32>>,
    /// Services whose answer to this node's clients changed.
    pub changes: Vec<u32>,
    /// Members alive.
    pub alive: Vec<u32>,
    /// Members known.
    pub members: Vec<u32>,
}

/// One sample, as it is told at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// Unix time in seconds.
    pub time_s: u64,
    /// The number of the snapshot that was answered from: what was read under another one is old.
    pub serial: u64,
    /// Referrals a second.
    pub referrals: f32,
    /// Answers a second in a cut.
    pub cut: f32,
    /// Answers a second at once, to clients whose place is known.
    pub direct: f32,
    /// Answers a second at once, to clients that nobody claims.
    pub unclaimed: f32,
    /// Other answers a second.
    pub other: f32,
    /// Denials and errors a second.
    pub negative: f32,
    /// Questions a second over the rate limit.
    pub limited: f32,
    /// The median over services of the round trip to what this node's clients get.
    pub rtt_ms: Option<f32>,
    /// The worst service's.
    pub rtt_worst_ms: Option<f32>,
    /// Services whose answer to this node's clients changed.
    pub changes: u32,
    /// Members alive.
    pub alive: u32,
    /// Members known.
    pub members: u32,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Happening {
    /// Rises by one.
    pub id: u64,
    /// Unix time in seconds.
    pub time_s: u64,
    /// What kind of thing.
    pub kind: HappeningKind,
    /// How it is to be taken.
    pub tone: Tone,
    /// In words.
    pub text: String,
}

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HappeningKind {
    /// A member came, went, died or is back.
    Member,
    /// A server went up or down, as this node sees it.
    Server,
    /// Clients of this node get another server.
    Answer,
    /// The operator's edit arrived.
    Catalogue,
    /// A warning came or went.
    Warning,
    /// This node itself.
    Node,
}

/// How something is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// It is as it should be again.
    Good,
    /// It is so.
    Plain,
    /// Someone might look.
    Look,
    /// Something is broken.
    Bad,
}

/// How far back the history is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// Half an hour, by the second.
    #[default]
    Short,
    /// A day.
    Day,
}
