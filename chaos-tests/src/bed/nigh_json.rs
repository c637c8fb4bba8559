//! What `nigh`'s reading commands print with `--json`: the parts that scenarios use.
//!
//! Written down here a second time, on purpose: a field that is renamed breaks operators' scripts, and so a scenario.

use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};

/// The parts of `nigh status --json` that scenarios use.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// The mesh as this node sees it.
    pub mesh: Mesh,
    /// What its DNS side has done.
    pub dns: Counters,
    /// What the catalogue holds.
    pub catalogue: CatalogueSize,
    /// The resolvers that it asks.
    #[serde(default)]
    pub resolvers: Vec<ResolverRow>,
}

/// The mesh as a node sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Mesh {
    /// Nodes known.
    pub members: u64,
    /// Nodes alive, itself included.
    pub alive: u64,
    /// A digest of the replicated state: equal on nodes that hold the same.
    pub state_hash: String,
    /// Of a later version (`chaos-tests/versions`): the nodes whose new table it has read.
    #[serde(default)]
    pub later: Vec<String>,
}

/// How much is in the catalogue.
#[derive(Clone, Debug, Deserialize)]
pub struct CatalogueSize {
    /// Services.
    pub services: u64,
    /// Servers of all services.
    pub servers: u64,
}

/// Answers by kind.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Counters {
    /// All queries.
    pub queries: u64,
    /// Sent to another node's cut, as DNS-B.
    pub referrals: u64,
    /// Sent to a cut that this node serves itself, with the addresses.
    pub referrals_with_addresses: u64,
    /// Answered as DNS-LB, in its own cut.
    pub cut_answers: u64,
    /// Answered as the backup of another cut.
    pub backup_answers: u64,
    /// Answered in a cut that nobody serves any more.
    pub orphan_answers: u64,
    /// Answered at once, because the service or the client wants it so.
    pub direct_answers: u64,
    /// Answered at once, because nobody claims the client.
    pub unclaimed_answers: u64,
    /// Delegations to cuts.
    pub delegations: u64,
}

impl Counters {
    /// Answers in the role of DNS-B.
    pub fn as_dns_b(&self) -> u64 {
        self.referrals
            + self.referrals_with_addresses
            + self.orphan_answers
            + self.direct_answers
            + self.unclaimed_answers
            + self.delegations
    }

    /// What was added since `earlier`. A node that was restarted in between counts from nothing.
    pub fn since(&self, earlier: &Self) -> Self {
        let grown = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now);
        Self {
            queries: grown(self.queries, earlier.queries),
            referrals: grown(self.referrals, earlier.referrals),
            referrals_with_addresses: grown(self.referrals_with_addresses, earlier.referrals_with_addresses),
            cut_answers: grown(self.cut_answers, earlier.cut_answers),
            backup_answers: grown(self.backup_answers, earlier.backup_answers),
            orphan_answers: grown(self.orphan_answers, earlier.orphan_answers),
            unclaimed_answers: grown(self.unclaimed_answers, earlier.unclaimed_answers),
            direct_answers: grown(self.direct_answers, earlier.direct_answers),
            delegations: grown(self.delegations, earlier.delegations),
        }
    }
}

/// A row of `nigh peers --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// alive, dead, left or draining.
    pub verdict: String,
    /// The cuts that it serves.
    pub cuts: Vec<String>,
}

/// A resolver in `nigh status --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct ResolverRow {
    /// Where it is asked.
    pub address: SocketAddr,
    /// It does not answer any more.
    pub lost: bool,
    /// Round-trip time of an answer from its cache.
    pub rtt_ms: Option<f64>,
    /// The addresses that its questions leave from.
    pub egress: Vec<EgressRow>,
}

/// An address that questions leave from.
#[derive(Clone, Debug, Deserialize)]
pub struct EgressRow {
    /// The address.
    pub address: IpAddr,
    /// proven, seen, public or outside.
    pub state: String,
}

/// A row of `nigh claims --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct ClaimRow {
    /// What is claimed.
    pub prefix: String,
    /// By whom.
    pub node: String,
    /// Its certificate does not allow it: it counts nowhere.
    #[serde(default)]
    pub void: bool,
    /// Another node vouches for it.
    pub proven: bool,
    /// Which.
    pub witness: Option<String>,
    /// Round-trip time to the resolver.
    pub rtt_ms: Option<f64>,
}

/// A row of `nigh equivocations --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Equivocation {
    /// Who signed both pages.
    pub name: String,
}

/// A row of `nigh latency --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// Who measured.
    pub node: String,
    /// The server measured.
    pub server: String,
    /// Its state from there.
    pub state: String,
    /// Round-trip time.
    pub rtt_ms: Option<f64>,
    /// Why the state is what it is.
    #[serde(default)]
    pub why: String,
}

/// `nigh pools --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Imports {
    /// Origins.
    pub pools: Vec<Pool>,
    /// Zones held by this node.
    pub zones: Vec<HeldZone>,
}

/// One origin.
#[derive(Clone, Debug, Deserialize)]
pub struct Pool {
    /// Its name.
    pub origin: String,
    /// fresh, kept or none.
    pub state: String,
    /// Why it is not fresh.
    pub trouble: String,
}

/// One zone.
#[derive(Clone, Debug, Deserialize)]
pub struct HeldZone {
    /// Its name.
    pub zone: String,
}

/// A row of `nigh delegations --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Delegation {
    /// The mesh zone.
    pub zone: String,
    /// Who keeps it.
    pub keepers: Vec<String>,
    /// Whether this node does.
    pub acting: bool,
    /// Why it does not work.
    pub trouble: String,
}

/// A row of `nigh services --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its servers.
    pub servers: Vec<Server>,
}

/// A server of a service.
#[derive(Clone, Debug, Deserialize)]
pub struct Server {
    /// Its id.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::Counters;

    #[test]
    fn counters_of_a_restarted_node_begin_again() {
        let before = Counters { queries: 100, cut_answers: 90, ..Counters::default() };
        let after = Counters { queries: 130, cut_answers: 7, ..Counters::default() };
        let grown = after.since(&before);
        assert_eq!((grown.queries, grown.cut_answers), (30, 7));
    }
}
