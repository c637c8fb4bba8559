//! What a running node offers to its operators.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::str::FromStr;

use hickory_proto::rr::RecordType;
use nigh_gossip::{NodeId, Page};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalogue::{name, operators::Operators, record::Record};
use crate::history::Feed;

use super::dns_a_report::{DelegationLine, Imports};
use super::picture::{Heat, MeshMap};
use super::preview::Preview;
use super::report::{
    ClaimLine, EquivocationLine, LatencyLine, MemberLine, OperatorLine, Peer, ProbedLine, ServiceLine, Status,
    UnclaimedLine,
};

/// The node as the admin server sees it. Every answer is a copy of one moment's state; nothing here waits but
/// [`Source::submit`] and [`Source::probes`].
pub trait Source: Send + Sync + 'static {
    /// The mesh's id, which is its root key.
    fn mesh_id(&self) -> NodeId;
    /// Whose records are taken: the root's, and those of the keys that it appointed.
    fn operators(&self) -> Operators;
    /// The same keys and the dismissed, with what each signed.
    fn operator_lines(&self) -> Vec<OperatorLine>;
    /// The node at a glance.
    fn status(&self) -> Status;
    /// What it counted, as Prometheus reads it.
    fn metrics(&self) -> String;
    /// All members, this node included, by name.
    fn peers(&self) -> Vec<Peer>;
    /// All nodes that an operator admitted or revoked, by name.
    fn members(&self) -> Vec<MemberLine>;
    /// Proofs that a key signed two pages of one version.
    fn equivocations(&self) -> Vec<EquivocationLine>;
    /// All claims, by prefix, best first.
    fn claims(&self) -> Vec<ClaimLine>;
    /// The networks that nobody claims and that asked this node most, the busiest first.
    fn unclaimed(&self) -> Vec<UnclaimedLine>;
    /// All rows: who measured what.
    fn latency(&self) -> Vec<LatencyLine>;
    /// This node's own probes, by service and server.
    fn probes(&self) -> impl Future<Output = Vec<ProbedLine>> + Send;
    /// All services, by name.
    fn services(&self) -> Vec<ServiceLine>;
    /// The nodes with their places, and who is linked to whom.
    fn map(&self) -> MeshMap;
    /// A service as each node sees it, and what its clients get.
    ///
    /// # Errors
    /// There is no service of that name.
    fn heat(&self, service: &str) -> Result<Heat, Refusal>;
    /// What the node remembers of itself, and tells those who watch.
    fn feed(&self) -> &Feed;
    /// What was imported from DNS-A, by origin.
    fn pools(&self) -> Imports;
    /// The delegations that some node keeps at DNS-A, by zone.
    fn delegations(&self) -> Vec<DelegationLine>;
    /// What would be answered, and why.
    ///
    /// # Errors
    /// A name outside all zones, or a node that is not known.
    fn explain(&self, query: &ExplainQuery) -> Result<Explained, Refusal>;
    /// The catalogue's records, tombstones included.
    fn catalogue(&self) -> Vec<Page>;
    /// Certificates, revocations and the appointments of operators, as they were signed.
    fn admissions(&self) -> Vec<Page>;
    /// What these records would change, were they signed and taken.
    fn preview(&self, proposal: Vec<Record>) -> Preview;
    /// Takes signed records, certificates and revocations, which the server has found admissible, into the replica and spreads them.
    fn submit(&self, pages: Vec<Page>) -> impl Future<Output = Result<Submitted, Refusal>> + Send;
    /// Begins to drain, as SIGTERM does.
    fn drain(&self);
}

/// "What would NAME be answered to a query from ADDRESS?"
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainQuery {
    /// The queried name.
    pub name: String,
    /// The address that the query comes from: the resolver's.
    pub from: IpAddr,
    /// The queried type.
    #[serde(rename = "type", default)]
    pub rtype: QueryType,
    /// The node that is asked; this one if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// A record type that can be asked for, by its mnemonic or as `TYPE65280`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", example = &"AAAA")]
pub struct QueryType(pub RecordType);

impl Default for QueryType {
    fn default() -> Self {
        Self(RecordType::A)
    }
}

impl FromStr for QueryType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        name::record_type(&text.to_ascii_uppercase()).map(Self)
    }
}

impl TryFrom<String> for QueryType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<QueryType> for String {
    fn from(rtype: QueryType) -> Self {
        rtype.to_string()
    }
}

impl fmt::Display for QueryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&name::mnemonic(self.0.into()))
    }
}

/// An explanation in both of its forms.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// For programs.
    pub json: serde_json::Value,
    /// For people.
    pub text: String,
}

impl Explained {
    /// Writes out an explanation.
    ///
    /// # Errors
    /// [`RefusalKind::Internal`] if it has no JSON form, which would be a fault of ours.
    pub fn new(explanation: &(impl Serialize + fmt::Display)) -> Result<Self, Refusal> {
        let json = serde_json::to_value(explanation).map_err(|e| Refusal {
            kind: RefusalKind::Internal,
            error: format!("the explanation has no JSON form: {e}"),
            hint: "this is a fault in nigh; please report it".into(),
        })?;
        Ok(Self { json, text: explanation.to_string() })
    }
}

/// What became of submitted records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// Records that were new here.
    pub accepted: usize,
    /// Records that were here already, or in a newer version.
    pub superseded: usize,
}

/// Why a request was not met, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// Whose turn it is.
    #[serde(skip)]
    pub kind: RefusalKind,
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hint.is_empty() { f.write_str(&self.error) } else { write!(f, "{}; {}", self.error, self.hint) }
    }
}

impl std::error::Error for Refusal {}

/// Whose turn it is after a refusal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request is wrong: the caller's.
    Invalid,
    /// What was asked for is not here.
    NotFound,
    /// The signer may not do this.
    Forbidden,
    /// Whoever asks has not said who it is.
    Unknown,
    /// Not now: try again later.
    Unavailable,
    /// A fault of ours.
    #[default]
    Internal,
}
