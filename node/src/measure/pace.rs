//! How often to probe what: at the full rate, or more slowly for a reason.
//!
//! **Thin.** All nodes measure all servers, so a server of a mesh of a thousand nodes would get 500 probes a second at the
//! usual 2 s. Its budget bounds what it gets from all of them together. Where the full rate of all nodes would be over it,
//! half of the budget goes to as many nodes as it can keep at the full rate, chosen by rendezvous hashing (Thaler and
//! Ravishankar 1998: the highest hashes of node and server; a node that joins or dies changes one choice), and the others
//! share the other half. Everybody computes the same from the live members; nothing is agreed upon.
//!
//! **Idle.** Servers of services that nobody asked this node for in a while are probed [`IDLE`] times as slowly.
//!
//! **In doubt, at once.** A probe whose last outcome contradicts what is held of its server runs at the full rate until
//! that is decided, and so does one that knows nothing yet: slowness costs the time until a first sign, never more. That
//! is `fall` probes of one node, within a budget that is an average.
//!
//! **Invariant:** the factors of all nodes together keep within the budget, but for doubt and for [`MAX_FACTOR`].
//!
//! Rejected: agreeing on a schedule (a protocol, and a failure mode for each of its messages); one prober per region that
//! all believe (health is *from here*).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::target::MAX_INTERVAL;

/// Idle services are probed this many times as slowly.
pub const IDLE: u32 = 10;
/// The most that a probe is slowed down: rows older than minutes are no measurements.
pub const MAX_FACTOR: u32 = 100;

/// Names a node: its public key.
pub type NodeKey = [u8; 32];

/// How often a probe is made, and why not more often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pace {
    /// Intervals between two probes.
    pub factor: u32,
    /// Why.
    pub why: Why,
}

/// Why a probe runs at its pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Nothing is against the full rate.
    #[default]
    Full,
    /// The server's budget: other nodes probe it fully.
    Thin,
    /// Nobody asks for its services here.
    Idle,
    /// It would be slower, but for the doubt.
    Doubt,
}

impl Why {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Thin => "thin",
            Self::Idle => "idle",
            Self::Doubt => "doubt",
        }
    }
}

impl Pace {
    /// Each interval.
    pub const FULL: Self = Self { factor: 1, why: Why::Full };

    /// The pause between two probes of that interval.
    pub fn stretch(self, interval: Duration) -> Duration {
        interval.saturating_mul(self.factor.max(1)).min(MAX_INTERVAL.max(interval))
    }
}

/// How the probes of one server are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Nodes at the full rate.
    pub full: usize,
    /// How many times as slow the others are.
    pub factor: u32,
}

/// Shares out a budget of probes per second among `nodes`, each of which would make `rate` of them.
pub fn share(nodes: usize, rate: f64, budget: f64) -> Share {
    let nodes = nodes.max(1);
    let all = nodes as f64 * rate;
    if !all.is_finite() || all <= budget {
        return Share { full: nodes, factor: 1 };
    }
    let half = budget / 2.0;
    // At least one looks closely, whatever the budget: else nobody would.
    let full = ((half / rate) as usize).clamp(1, nodes);
    let thin = (nodes - full) as f64 * rate;
    let left = (budget - full as f64 * rate).max(half / 2.0);
    Share { full, factor: ((thin / left).ceil() as u32).clamp(1, MAX_FACTOR) }
}

/// The live nodes of the mesh, and this one among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    me: NodeKey,
    others: BTreeSet<NodeKey>,
}

impl Nodes {
    /// This node and the others that are alive.
    pub fn new(me: NodeKey, mut others: BTreeSet<NodeKey>) -> Self {
        others.remove(&me);
        Self { me, others }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// Whether this node is one of the `full` that probe `server` at the full rate.
    pub fn is_full(&self, server: IpAddr, full: usize) -> bool {
        if full >= self.count() {
            return true;
        }
        let server = word_of(server);
        let mine = (weight(&self.me, server), self.me);
        self.others.iter().filter(|other| (weight(other, server), **other) > mine).take(full).count() < full
    }

    /// The pace of each server, given what one node would ask of it a second and its budget.
    pub fn paces(&self, demand: &BTreeMap<IpAddr, (f64, f64)>) -> BTreeMap<IpAddr, Pace> {
        let pace = |(server, (rate, budget)): (&IpAddr, &(f64, f64))| {
            let share = share(self.count(), *rate, *budget);
            let full = share.factor <= 1 || self.is_full(*server, share.full);
            (*server, if full { Pace::FULL } else { Pace { factor: share.factor, why: Why::Thin } })
        };
        demand.iter().map(pace).collect()
    }
}

/// The hash by which nodes are ranked for a server, equal on every node. Thousands of servers times a thousand nodes are
/// ranked when a member comes or goes, so it is a mixer (splitmix64's) over two words that are hashes already.
fn weight(node: &NodeKey, server: u64) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&node[..8]);
    let mut mixed = (u64::from_be_bytes(word) ^ server).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn word_of(server: IpAddr) -> u64 {
    let hash = match server {
        IpAddr::V4(v4) => blake3::hash(&v4.octets()),
        IpAddr::V6(v6) => blake3::hash(&v6.octets()),
    };
    let mut word = [0; 8];
    word.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mesh(count: u32) -> Vec<NodeKey> {
        (0..count).map(|n| *blake3::hash(&n.to_be_bytes()).as_bytes()).collect()
    }

    fn seen_by(me: NodeKey, all: &[NodeKey]) -> Nodes {
        Nodes::new(me, all.iter().copied().collect())
    }

    fn server(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn a_small_mesh_probes_fully_and_a_large_one_shares() {
        assert_eq!(share(5, 0.5, 50.0), Share { full: 5, factor: 1 });
        assert_eq!(share(100, 0.5, 50.0), Share { full: 100, factor: 1 });
        assert_eq!(share(1_000, 0.5, 50.0), Share { full: 50, factor: 19 });
        // 10,000 nodes cannot be kept within it at a factor that still measures.
        assert_eq!(share(10_000, 0.5, 50.0), Share { full: 50, factor: MAX_FACTOR });
        assert_eq!(share(3, 10.0, 1.0).full, 1);
    }

    #[test]
    fn all_nodes_agree_on_who_looks_closely_and_the_load_is_spread() {
        let all = mesh(200);
        let mut chosen: BTreeMap<NodeKey, usize> = BTreeMap::new();
        for n in 0..100 {
            let full: Vec<_> = all.iter().filter(|me| seen_by(**me, &all).is_full(server(n), 20)).collect();
            assert_eq!(full.len(), 20);
            full.into_iter().for_each(|node| *chosen.entry(*node).or_default() += 1);
        }
        // Ten each expected.
        assert!(chosen.values().all(|times| (1..=25).contains(times)), "{:?}", chosen.values().max());
    }

    #[test]
    fn a_death_changes_one_choice() {
        let all = mesh(50);
        let chosen = |all: &[NodeKey]| -> BTreeSet<NodeKey> {
            all.iter().copied().filter(|me| seen_by(*me, all).is_full(server(1), 10)).collect()
        };
        let before = chosen(&all);
        for dead in 0..50 {
            let rest: Vec<_> = all.iter().copied().filter(|node| *node != all[dead]).collect();
            let gone = before.difference(&chosen(&rest)).count();
            assert_eq!(gone, usize::from(before.contains(&all[dead])));
        }
    }

    proptest! {
        #[test]
        fn together_they_keep_within_the_budget(nodes in 1usize..3_000, rate in 0.01f64..20.0, budget in 1f64..1_000.0) {
            let share = share(nodes, rate, budget);
            prop_assert!((1..=nodes).contains(&share.full) && (1..=MAX_FACTOR).contains(&share.factor));
            let together = share.full as f64 * rate + (nodes - share.full) as f64 * rate / f64::from(share.factor);
            // One node alone may be over it, and the longest pause has its bound.
            let excused = share.full == 1 || share.factor == MAX_FACTOR;
            prop_assert!(together <= budget * 1.001 || excused, "{together} of {budget}: {share:?}");
        }
    }
}
