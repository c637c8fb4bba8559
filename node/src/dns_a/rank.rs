//! Who does a thing that few should do: rendezvous hashing (Thaler and Ravishankar, 1996) over those who can.
//!
//! Every node computes the same order for a duty from the set of nodes alone, and a node that dies changes nothing but
//! its own places.

use nigh_gossip::{NodeId, Slot};

/// How many do it.
pub const DOING: usize = 3;
/// How many may try when those before them fail. Were it all, a DNS-A that is down would be asked by the whole mesh.
pub const TRYING: usize = 9;

/// The first [`TRYING`] of `able` for a duty, in the order of their turn. Those with a lower class come first.
pub fn first(duty: &Slot, able: impl IntoIterator<Item = (u8, NodeId)>) -> Vec<NodeId> {
    let duty = u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at: usize| duty.0[at]));
    let mut first: Vec<(u8, u64, NodeId)> = Vec::with_capacity(TRYING + 1);
    for (class, node) in able {
        let one = (class, score(duty, node), node);
        if first.len() < TRYING || first.last().is_some_and(|last| one < *last) {
            let at = first.partition_point(|other| *other < one);
            first.insert(at, one);
            first.truncate(TRYING);
        }
    }
    first.into_iter().map(|(.., node)| node).collect()
}

/// Of those in order, who do it now: the first [`DOING`] that do not fail, and those before them, who try again.
pub fn doing(order: &[NodeId], most: usize, fails: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
    let mut well = 0;
    order
        .iter()
        .copied()
        .take_while(|node| {
            let needed = well < most;
            well += usize::from(!fails(*node));
            needed
        })
        .collect()
}

/// Keys of nodes and slots are hashes already; the finaliser of splitmix64 (Steele, Lea, Flood 2014) mixes them.
fn score(duty: u64, node: NodeId) -> u64 {
    let bytes = node.as_bytes();
    let mut mixed = duty;
    for chunk in bytes.chunks_exact(8) {
        let word = chunk.iter().fold(0, |word: u64, byte| word << 8 | u64::from(*byte));
        mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ word;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    mixed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    fn nodes(count: u8) -> Vec<NodeId> {
        (0..count).map(|n| ed25519_dalek::SigningKey::from_bytes(&[n; 32]).verifying_key().into()).collect()
    }

    fn duty(n: u32) -> Slot {
        let mut slot = [0; 16];
        slot.copy_from_slice(&blake3::hash(&n.to_be_bytes()).as_bytes()[..16]);
        Slot(slot)
    }

    fn plain(nodes: &[NodeId]) -> impl Iterator<Item = (u8, NodeId)> + '_ {
        nodes.iter().map(|node| (0, *node))
    }

    #[test]
    fn a_death_changes_nothing_but_the_places_behind_it() {
        let nodes = nodes(40);
        for n in 0..50 {
            let order = first(&duty(n), plain(&nodes));
            assert_eq!(order.len(), TRYING);
            let rest: Vec<NodeId> = nodes.iter().copied().filter(|node| *node != order[1]).collect();
            let mut expected = order.clone();
            expected.remove(1);
            assert_eq!(first(&duty(n), plain(&rest))[..TRYING - 1], expected);
        }
    }

    #[test]
    fn duties_are_spread() {
        let nodes = nodes(10);
        let mut held: BTreeMap<NodeId, usize> = BTreeMap::new();
        for n in 0..1000 {
            *held.entry(first(&duty(n), plain(&nodes))[0]).or_default() += 1;
        }
        assert!(held.len() == 10 && held.values().all(|count| (60..160).contains(count)), "{held:?}");
    }

    #[test]
    fn the_better_class_comes_first_and_who_fails_is_helped_out() {
        let nodes = nodes(20);
        let order = first(&duty(1), nodes.iter().enumerate().map(|(n, node)| (u8::from(n >= 2), *node)));
        assert!(nodes[..2].contains(&order[0]) && nodes[..2].contains(&order[1]));
        assert_eq!(doing(&order, DOING, |_| false), order[..3]);
        assert_eq!(doing(&order, DOING, |node| node == order[0]), order[..4]);
        assert_eq!(doing(&order, DOING, |_| true), order);
    }
}
