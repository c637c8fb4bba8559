//! What a walk saw, as plain data: the JSON of `nigh trace`, and what the page for people is made of.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

/// A walk from its first question to its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Trace {
    /// The name asked for.
    pub(crate) name: String,
    /// The type asked for.
    #[serde(rename = "type")]
    pub(crate) rtype: String,
    /// Whose view was wanted; none: this host's own.
    pub(crate) resolver: Option<IpAddr>,
    /// How that view was had.
    pub(crate) view: View,
    /// Every question, in order.
    pub(crate) steps: Vec<Step>,
    /// How it ended.
    pub(crate) ending: Ending,
    /// The records of the answer.
    pub(crate) records: Vec<String>,
    /// Why it failed; empty if it did not.
    pub(crate) why: String,
    /// How long the questions took that a resolver asks, too.
    pub(crate) took_ms: f64,
    /// What resolvers stumble over, of all steps.
    pub(crate) faults: usize,
    /// What is worth knowing of it all.
    pub(crate) notes: Vec<String>,
}

/// How a resolver's view was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum View {
    /// It is this host's own: nobody else's was asked for, or none could be had.
    Own,
    /// The server took the client subnet that came with the question.
    Subnet,
    /// A node explained what it answers that resolver.
    Explained,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ending {
    /// There are records.
    Answer,
    /// The name has none of that type.
    NoData,
    /// There is no such name.
    NxDomain,
    /// What a resolver tells as SERVFAIL.
    Failed,
}

/// One question to one server, and what came.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Step {
    /// What the server is in this chain.
    pub(crate) role: Role,
    /// As a server of which zone it was asked.
    pub(crate) zone: String,
    /// Its address.
    pub(crate) server: SocketAddr,
    /// Its name, as its parent has it.
    pub(crate) server_name: Option<String>,
    /// The node that it says it is.
    pub(crate) node: Option<String>,
    /// The name asked for.
    pub(crate) asked: String,
    /// The type asked for.
    #[serde(rename = "type")]
    pub(crate) rtype: String,
    /// How.
    pub(crate) by: By,
    /// Until the reply, or until it was given up.
    pub(crate) took_ms: f64,
    /// The length of the reply.
    pub(crate) octets: Option<usize>,
    /// What kind of reply it is.
    pub(crate) came: Came,
    /// In words.
    pub(crate) means: String,
    /// The records that matter.
    pub(crate) records: Vec<String>,
    /// The name servers that came along, with their addresses.
    pub(crate) servers: Vec<String>,
    /// What resolvers stumble over.
    pub(crate) faults: Vec<String>,
    /// What is worth knowing.
    pub(crate) notes: Vec<String>,
    /// The name server whose address was wanted; none: the walk's own question.
    pub(crate) side_way: Option<String>,
    /// Asked when the walk had ended, because another resolver may come to this server.
    pub(crate) beside: bool,
}

/// What a server is in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Role {
    /// Of the root.
    #[serde(rename = "root")]
    Root,
    /// Between the root and DNS-A, or beside the chain.
    #[serde(rename = "zone")]
    Zone,
    /// The one that delegates the mesh zone.
    #[serde(rename = "DNS-A")]
    DnsA,
    /// A node that chooses who answers.
    #[serde(rename = "DNS-B")]
    DnsB,
    /// A node that answers from its measurements.
    #[serde(rename = "DNS-LB")]
    DnsLb,
}

impl Role {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Zone => "zone",
            Self::DnsA => "DNS-A",
            Self::DnsB => "DNS-B",
            Self::DnsLb => "DNS-LB",
        }
    }
}

/// How a question travelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    /// In a datagram.
    Udp,
    /// Over a connection.
    Tcp,
    /// Not as a packet: a node was asked through its API what it would answer.
    Explain,
}

impl By {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Explain => "explained",
        }
    }
}

/// What kind of reply it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Came {
    /// The records.
    Answer,
    /// An alias, and no more.
    Alias,
    /// The servers of a zone further down.
    Referral,
    /// No records of that type.
    NoData,
    /// No such name.
    NxDomain,
    /// Cut short: to be asked over TCP.
    Truncated,
    /// Something that no resolver uses.
    Lame,
    /// Nothing in time, or an error of the network.
    Silence,
}
