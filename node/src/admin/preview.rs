//! What an edit would change, as plain data: the JSON of `/v1/preview` and of `nigh apply --dry-run --json`.
//!
//! Fields may be added, never renamed, as in [`super::report`].

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Records that might be applied: the base64 of their bodies, which nobody has signed. A signed edit could be applied by
/// whoever saw it, so for a look none is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    /// The bodies.
    pub records: Vec<String>,
}

/// Who would get other servers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Preview {
    /// The services whose records differ, by name.
    pub services: Vec<ServicePreview>,
    /// Services that were left out, because there are too many.
    pub services_left_out: usize,
}

/// What an edit would change for the clients of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServicePreview {
    /// The service's name.
    pub service: String,
    /// Servers that no node has measured as they would be: they get nobody before that.
    pub unmeasured: Vec<String>,
    /// Where something changes, by node.
    pub changes: Vec<NodePreview>,
    /// Nodes at which something changes, and those that decide at all.
    pub nodes_changed: usize,
    /// Nodes that decide for somebody.
    pub nodes: usize,
    /// Claimed prefixes of resolvers that would get something else.
    pub claims_changed: usize,
    /// Lines that were left out, because there are too many.
    pub left_out: usize,
}

/// What an edit would change for those clients that a node decides for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodePreview {
    /// The node.
    pub node: String,
    /// "v4" or "v6".
    pub family: String,
    /// Only clients in it; none: all but those that an override names.
    #[schemars(with = "Option<String>")]
    pub clients: Option<IpNet>,
    /// Claimed prefixes of resolvers that the node decides for now, and that this is about.
    pub claims: usize,
    /// Some of them.
    #[schemars(with = "Vec<String>")]
    pub examples: Vec<IpNet>,
    /// What they get now.
    pub before: Given,
    /// What they would get.
    pub after: Given,
}

/// What clients get.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Given {
    /// The servers, those of most clients first.
    pub servers: Vec<ServerShare>,
    /// Addresses in place of servers, because none is up.
    pub instead: Vec<IpAddr>,
    /// Is no server known to be up?
    pub failed_open: bool,
}

/// A server's part of the clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerShare {
    /// Its id.
    pub server: String,
    /// The part that gets it first, 0 to 1.
    pub part: f64,
}
