//! Who links to whom, and who watches whom: the same answer at every node with the same members.
//!
//! Members stand on K = 8 rings, each ordered by a hash of (ring, id). A node links to its live successor and
//! predecessor on every ring, and is watched by its live predecessors (Fireflies, Johansen et al. 2006). The union of
//! 8 random rings is an expander: a flood crosses 10,000 nodes in 4-5 hops. There is no peer sampling to poison.
//! Up to [`FULL_MESH`] members everyone links to everyone.
//!
//! Rejected: HyParView (37 hops at 10,000 nodes, splits persist); links to arbitrary peers (nobody can check them).

use std::collections::{BTreeMap, BTreeSet};

use crate::id::NodeId;

/// Rings, and so watchers of a node.
pub(crate) const RINGS: usize = 8;
/// Up to this many members every pair is linked: 16 links, as many as the rings would give.
pub(crate) const FULL_MESH: usize = 2 * RINGS + 1;

/// The rings over one set of members.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    rings: Vec<Vec<NodeId>>,
    /// The place of each member on each ring.
    places: BTreeMap<NodeId, [usize; RINGS]>,
}

impl Overlay {
    pub(crate) fn new(members: &BTreeSet<NodeId>) -> Self {
        let mut places: BTreeMap<NodeId, [usize; RINGS]> = members.iter().map(|id| (*id, [0; RINGS])).collect();
        let mut rings = Vec::with_capacity(RINGS);
        for ring in 0..RINGS {
            let mut order: Vec<(u64, NodeId)> = members.iter().map(|id| (position(ring, id), *id)).collect();
            order.sort_unstable();
            for (place, (_, id)) in order.iter().enumerate() {
                if let Some(places) = places.get_mut(id) {
                    places[ring] = place;
                }
            }
            rings.push(order.into_iter().map(|(_, id)| id).collect());
        }
        Self { rings, places }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.places.keys().copied()
    }

    /// The live members that `id` should be linked to.
    pub(crate) fn neighbours(&self, id: NodeId, live: impl Fn(NodeId) -> bool + Copy) -> BTreeSet<NodeId> {
        if self.len() <= FULL_MESH {
            return self.members().filter(|other| *other != id && live(*other)).collect();
        }
        (0..RINGS).flat_map(|ring| [self.walk(ring, id, 1, live), self.walk(ring, id, -1, live)]).flatten().collect()
    }

    /// The members whose opinion of `id` counts: its live predecessor on each ring, or everyone in a small mesh.
    pub(crate) fn watchers(&self, id: NodeId, live: impl Fn(NodeId) -> bool + Copy) -> BTreeSet<NodeId> {
        if self.len() <= FULL_MESH {
            return self.members().filter(|other| *other != id && live(*other)).collect();
        }
        (0..RINGS).filter_map(|ring| self.walk(ring, id, -1, live)).collect()
    }

    /// The members that `id` watches.
    pub(crate) fn watched_by(&self, id: NodeId, live: impl Fn(NodeId) -> bool + Copy) -> BTreeSet<NodeId> {
        if self.len() <= FULL_MESH {
            return self.members().filter(|other| *other != id).collect();
        }
        // On each ring: everyone from my successor up to and including the first that is live. The dead ones between
        // are watched too: somebody must notice that they are back.
        let mut watched = BTreeSet::new();
        for ring in 0..RINGS {
            let Some(places) = self.places.get(&id) else { return watched };
            let order = &self.rings[ring];
            for step in 1..order.len() {
                let other = order[(places[ring] + step) % order.len()];
                watched.insert(other);
                if live(other) {
                    break;
                }
            }
        }
        watched
    }

    /// The next live member from `id` on a ring, forwards or backwards.
    fn walk(&self, ring: usize, id: NodeId, step: isize, live: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let order = &self.rings[ring];
        let length = isize::try_from(order.len()).ok()?;
        let from = isize::try_from(self.places.get(&id)?[ring]).ok()?;
        (1..length)
            .map(|n| order[usize::try_from((from + n * step).rem_euclid(length)).unwrap_or(0)])
            .find(|other| live(*other))
    }
}

fn position(ring: usize, id: &NodeId) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("nigh overlay ring 1");
    hasher.update(&[u8::try_from(ring).unwrap_or(u8::MAX)]);
    hasher.update(id.as_bytes());
    let mut position = [0; 8];
    position.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_be_bytes(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(n: u8) -> BTreeSet<NodeId> {
        (1..=n).map(|i| ed25519_dalek::SigningKey::from_bytes(&[i; 32]).verifying_key().into()).collect()
    }

    #[test]
    fn links_are_mutual_and_few() {
        let members = members(60);
        let overlay = Overlay::new(&members);
        for id in &members {
            let neighbours = overlay.neighbours(*id, |_| true);
            assert!((8..=16).contains(&neighbours.len()), "{}", neighbours.len());
            for other in neighbours {
                assert!(overlay.neighbours(other, |_| true).contains(id));
            }
        }
    }

    #[test]
    fn watching_is_the_mirror_of_being_watched_even_past_the_dead() {
        let members = members(60);
        let dead: BTreeSet<NodeId> = members.iter().copied().step_by(3).collect();
        let overlay = Overlay::new(&members);
        let live = |id| !dead.contains(&id);
        for id in &members {
            for watcher in overlay.watchers(*id, live) {
                assert!(live(watcher) && overlay.watched_by(watcher, live).contains(id));
            }
        }
    }

    #[test]
    fn a_small_mesh_is_full() {
        let members = members(17);
        let overlay = Overlay::new(&members);
        for id in &members {
            assert_eq!(overlay.neighbours(*id, |_| true).len(), 16);
        }
    }
}
