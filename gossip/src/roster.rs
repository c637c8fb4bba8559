//! Who is admitted, who links to whom, and who watches whom: the same answer at every node with the same certificates.
//!
//! Admitted nodes are sorted by id and numbered; a [`Seat`] is that number, so what is known of each node is a vector.
//! They stand on K = 8 rings. A node links to its live successor and predecessor on every ring, and is watched by its
//! live predecessors (Fireflies, Johansen et al. 2006). The union of 8 random rings is an expander: a flood crosses
//! 10,000 nodes in 4-5 hops. There is no peer sampling to poison, and places on the rings are hashes over a serial that
//! the operator drew, so nobody can grind a key until it stands next to a victim. Up to [`FULL_MESH`] admitted nodes
//! everyone links to everyone.
//!
//! **Invariant:** a roster never changes. An admission or a revocation makes a new one, and the seats of the old one
//! mean nothing in it.
//!
//! Rejected: HyParView (37 hops at 10,000 nodes, splits persist); links to arbitrary peers (nobody can check them);
//! ordering the rings by who is live (every death would move everybody).

use crate::id::NodeId;

/// Rings, and so watchers of a node.
pub(crate) const RINGS: usize = 8;
/// Up to this many admitted nodes every pair is linked: 16 links, as many as the rings would give.
pub(crate) const FULL_MESH: usize = 2 * RINGS + 1;

/// The place of an admitted node in its roster's order of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(u32);

impl Seat {
    /// Where this node's entry is in a vector by seat.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The admitted nodes and their rings: 96 bytes a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    /// In ascending order: the index is the seat.
    ids: Box<[NodeId]>,
    /// All rings, one after the other: which seat stands at each place.
    rings: Box<[u32]>,
    /// The place of each seat on each ring.
    places: Box<[[u32; RINGS]]>,
}

#[derive(Clone, Copy)]
enum Way {
    Forwards,
    Backwards,
}

impl Roster {
    /// Takes the admitted nodes with the serials of their certificates, in any order. Of a node that is named twice
    /// the highest serial counts.
    pub(crate) fn new(admitted: impl IntoIterator<Item = (NodeId, u64)>) -> Self {
        let mut admitted: Vec<(NodeId, u64)> = admitted.into_iter().collect();
        admitted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        admitted.dedup_by_key(|(id, _)| *id);
        admitted.truncate(u32::MAX as usize);
        let positions: Vec<[u64; RINGS]> = positions(&admitted);
        let mut rings = Vec::with_capacity(RINGS * admitted.len());
        let mut places = vec![[0; RINGS]; admitted.len()];
        let mut order: Vec<(u64, u32)> = Vec::with_capacity(admitted.len());
        for ring in 0..RINGS {
            order.clear();
            order.extend(positions.iter().zip(0..).map(|(position, seat)| (position[ring], seat)));
            order.sort_unstable();
            for (place, (_, seat)) in (0..).zip(&order) {
                places[*seat as usize][ring] = place;
            }
            rings.extend(order.iter().map(|(_, seat)| *seat));
        }
        Self { ids: admitted.into_iter().map(|(id, _)| id).collect(), rings: rings.into(), places: places.into() }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn seat(&self, id: &NodeId) -> Option<Seat> {
        self.ids.binary_search(id).ok().and_then(|index| u32::try_from(index).ok()).map(Seat)
    }

    /// The id of a seat of this roster.
    pub(crate) fn id(&self, seat: Seat) -> NodeId {
        self.ids[seat.index()]
    }

    pub(crate) fn seats(&self) -> impl DoubleEndedIterator<Item = Seat> + ExactSizeIterator + use<> {
        (0..u32::try_from(self.len()).unwrap_or(u32::MAX)).map(Seat)
    }

    /// The node whose id begins with these eight bytes, big endian: so origins are named on the wire. Two keys that
    /// share them would be work of 2^64; of such a pair neither is found.
    pub(crate) fn seat_of_prefix(&self, prefix: u64) -> Option<Seat> {
        let first = self.ids.partition_point(|id| first_bytes(id) < prefix);
        let matches = |index: usize| self.ids.get(index).is_some_and(|id| first_bytes(id) == prefix);
        (matches(first) && !matches(first + 1)).then_some(first).and_then(|index| u32::try_from(index).ok()).map(Seat)
    }

    /// The live nodes that `seat` should be linked to, in ascending order. Mutual between live nodes.
    pub(crate) fn neighbours(&self, seat: Seat, live: impl Fn(Seat) -> bool + Copy) -> Vec<Seat> {
        if self.is_full_mesh() {
            return self.seats().filter(|other| *other != seat && live(*other)).collect();
        }
        let mut found = Vec::with_capacity(2 * RINGS);
        for ring in 0..RINGS {
            found.extend(self.walk(ring, seat, Way::Forwards).find(|other| live(*other)));
            found.extend(self.walk(ring, seat, Way::Backwards).find(|other| live(*other)));
        }
        distinct(found)
    }

    /// The nodes whose opinion of `seat` counts: its live predecessor on each ring, or everyone live in a small mesh.
    /// In ascending order.
    pub(crate) fn watchers(&self, seat: Seat, live: impl Fn(Seat) -> bool + Copy) -> Vec<Seat> {
        if self.is_full_mesh() {
            return self.seats().filter(|other| *other != seat && live(*other)).collect();
        }
        let mut found = Vec::with_capacity(RINGS);
        for ring in 0..RINGS {
            found.extend(self.walk(ring, seat, Way::Backwards).find(|other| live(*other)));
        }
        distinct(found)
    }

    /// The nodes that `seat` watches, in ascending order: on each ring everyone from its successor up to and including
    /// the first that is live. The dead between are watched too: somebody must notice that they are back.
    ///
    /// Nodes that left, or never started, stand between as well; whoever asks knows which have an incarnation.
    pub(crate) fn watched_by(&self, seat: Seat, live: impl Fn(Seat) -> bool + Copy) -> Vec<Seat> {
        if self.is_full_mesh() {
            return self.seats().filter(|other| *other != seat).collect();
        }
        let mut found = Vec::with_capacity(RINGS);
        for ring in 0..RINGS {
            for other in self.walk(ring, seat, Way::Forwards) {
                found.push(other);
                if live(other) {
                    break;
                }
            }
        }
        distinct(found)
    }

    fn is_full_mesh(&self) -> bool {
        self.len() <= FULL_MESH
    }

    /// Everyone else on a ring, in order, beginning next to `seat`.
    fn walk(&self, ring: usize, seat: Seat, way: Way) -> impl Iterator<Item = Seat> + '_ {
        let length = self.len();
        let order = &self.rings[ring * length..(ring + 1) * length];
        let mut place = self.places[seat.index()][ring] as usize;
        (1..length).map(move |_| {
            place = match way {
                Way::Forwards if place + 1 == length => 0,
                Way::Forwards => place + 1,
                Way::Backwards if place == 0 => length - 1,
                Way::Backwards => place - 1,
            };
            Seat(order[place])
        })
    }
}

fn distinct(mut seats: Vec<Seat>) -> Vec<Seat> {
    seats.sort_unstable();
    seats.dedup();
    seats
}

fn first_bytes(id: &NodeId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *id.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Where each node stands on each ring: one hash of 64 bytes over its serial and id, eight bytes for each ring.
fn positions(admitted: &[(NodeId, u64)]) -> Vec<[u64; RINGS]> {
    let keyed = blake3::Hasher::new_derive_key("nigh roster rings 2");
    let place = |(id, serial): &(NodeId, u64)| {
        let mut hasher = keyed.clone();
        hasher.update(&serial.to_be_bytes()).update(id.as_bytes());
        let mut bytes = [0; 8 * RINGS];
        hasher.finalize_xof().fill(&mut bytes);
        let mut chunks = bytes.chunks_exact(8);
        std::array::from_fn(|_| chunks.next().map_or(0, |chunk| chunk.iter().fold(0, |n, b| n << 8 | u64::from(*b))))
    };
    admitted.iter().map(place).collect()
}

#[cfg(test)]
pub(crate) mod tests;
