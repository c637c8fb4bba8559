//! What the node tells its operators of DNS-A: pools that were imported, zones held for that, delegations kept.
//!
//! As with the other reports, fields may be added, never renamed.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that is imported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Imports {
    /// Origins of services, as all nodes hold them.
    pub pools: Vec<PoolLine>,
    /// Zones that this node holds now to look names up in.
    pub zones: Vec<ZoneLine>,
}

/// One origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolLine {
    /// The name.
    pub origin: String,
    /// Who is asked for it; empty: the importing node's resolver.
    pub from: Vec<SocketAddr>,
    /// The services that have it.
    pub services: Vec<String>,
    /// What is held.
    pub state: PoolState,
    /// The node whose answer holds.
    pub held_by: Option<String>,
    /// The nodes that ask now, in order of their turn.
    pub importers: Vec<String>,
    /// The addresses that hold.
    pub addresses: Vec<IpAddr>,
    /// Why they are not what DNS-A says now; empty if they are.
    pub trouble: String,
}

/// What is held of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PoolState {
    /// What DNS-A says.
    Fresh,
    /// What it said last.
    Kept,
    /// Nothing yet.
    None,
}

impl PoolState {
    /// The word for it, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Kept => "kept",
            Self::None => "none",
        }
    }
}

/// One zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ZoneLine {
    /// Its name.
    pub zone: String,
    /// The serial of the copy.
    pub serial: u32,
    /// Address and alias records in it.
    pub records: usize,
}

/// One delegation that some node keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DelegationLine {
    /// The mesh zone.
    pub zone: String,
    /// The nodes whose turn it is, nearly always one.
    pub keepers: Vec<String>,
    /// Whether this node is one of them: only then it knows the rest.
    pub acting: bool,
    /// Whether it is configured on this node, and there only to say what it would do.
    pub dry_run: Option<bool>,
    /// The name servers that the parent lists; none before the first look.
    pub listed: Option<Vec<String>>,
    /// The nodes that it should list.
    pub wanted: Vec<String>,
    /// What would be changed next; empty: nothing.
    pub planned: String,
    /// What was changed last; empty: nothing since the start.
    pub done: String,
    /// Why it does not work; empty if it does.
    pub trouble: String,
}
