//! The simulated network: who reaches whom, how long it takes, which connections are open.
//!
//! Hosts are spread over a plane; a one-way delay is 0.5 ms plus the distance, up to about 70 ms, with up to 10 %
//! jitter. A connection delivers in order, as QUIC and TCP streams do.

use std::{collections::BTreeMap, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Index;
use crate::time::Moment;

/// A connection across a cut is noticed after this long; a healed one survives. QUIC's idle timeout in the shell.
pub(super) const IDLE: Duration = Duration::from_secs(5);

/// One connection among all that ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection(u64);

pub(super) struct Network {
    rng: ChaCha8Rng,
    places: Vec<(u64, u64)>,
    groups: Vec<usize>,
    open: BTreeMap<(Index, Index), Connection>,
    opened: u64,
    /// Last arrival per direction: streams are ordered.
    arrived: BTreeMap<(Index, Index), Moment>,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            places: Vec::new(),
            groups: Vec::new(),
            open: BTreeMap::new(),
            opened: 0,
            arrived: BTreeMap::new(),
        }
    }

    pub(super) fn add_host(&mut self) {
        let place = (self.rng.random_range(0..50_000), self.rng.random_range(0..50_000));
        self.places.push(place);
        self.groups.push(0);
    }

    pub(super) fn partition(&mut self, group: impl Fn(Index) -> usize) {
        for (node, of) in self.groups.iter_mut().enumerate() {
            *of = group(node);
        }
    }

    pub(super) fn reaches(&self, a: Index, b: Index) -> bool {
        self.groups[a] == self.groups[b]
    }

    /// One-way delay without jitter.
    pub(super) fn delay(&self, a: Index, b: Index) -> Duration {
        let ((ax, ay), (bx, by)) = (self.places[a], self.places[b]);
        let (dx, dy) = (ax.abs_diff(bx), ay.abs_diff(by));
        Duration::from_micros(500 + (dx * dx + dy * dy).isqrt())
    }

    /// When something sent now arrives, in order after what was sent before.
    pub(super) fn arrival(&mut self, now: Moment, from: Index, to: Index) -> Moment {
        let delay = self.delay(from, to);
        let jitter = delay.mul_f64(self.rng.random_range(0.0..0.1));
        let last = self.arrived.entry((from, to)).or_default();
        *last = (*last).max(now + delay + jitter);
        *last
    }

    /// Opens a connection if the two reach each other and have none.
    pub(super) fn connect(&mut self, a: Index, b: Index) -> Option<Connection> {
        if a == b || !self.reaches(a, b) || self.connection(a, b).is_some() {
            return None;
        }
        self.opened += 1;
        self.open.insert(pair(a, b), Connection(self.opened));
        Some(Connection(self.opened))
    }

    pub(super) fn connection(&self, a: Index, b: Index) -> Option<Connection> {
        self.open.get(&pair(a, b)).copied()
    }

    pub(super) fn is_open(&self, a: Index, b: Index, connection: Connection) -> bool {
        self.connection(a, b) == Some(connection)
    }

    pub(super) fn close(&mut self, a: Index, b: Index) -> Option<Connection> {
        self.open.remove(&pair(a, b))
    }

    /// Closes all connections of a host; says who was at the other ends.
    pub(super) fn close_all(&mut self, node: Index) -> Vec<(Index, Connection)> {
        let mut ends = Vec::new();
        self.open.retain(|(a, b), connection| {
            let of_node = *a == node || *b == node;
            if of_node {
                ends.push((if *a == node { *b } else { *a }, *connection));
            }
            !of_node
        });
        ends
    }

    /// Open connections whose ends no longer reach each other.
    pub(super) fn severed(&self) -> Vec<(Index, Index, Connection)> {
        self.open
            .iter()
            .filter(|((a, b), _)| !self.reaches(*a, *b))
            .map(|((a, b), connection)| (*a, *b, *connection))
            .collect()
    }
}

fn pair(a: Index, b: Index) -> (Index, Index) {
    (a.min(b), a.max(b))
}
