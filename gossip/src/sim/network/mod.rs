//! The simulated network: how long a packet takes between two hosts, whether it gets there, and who is cut off.
//!
//! Delay: the [`geography`]'s, with up to a share of it as jitter. Loss: per packet, on its own, see [`stream`].
//! Cuts: groups of hosts that reach only their own (partitions, islands) and single directions. A cut does not drop
//! what is under way: the transport sends it again, so it arrives once the path is back, if the connection lived.

mod cities;
pub(super) mod geography;
pub(super) mod stream;

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Index;
use crate::time::Moment;
use geography::{Geography, Place};
use stream::Path;

/// A connection across a cut is noticed after this long; a healed one survives. QUIC's idle timeout in the shell.
pub(super) const IDLE: Duration = Duration::from_secs(5);
/// A packet of a handshake that got lost is sent again after this long, then twice as long (RFC 9002 section 6.2.2).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(1);
/// Tries of one handshake packet; the dialler tries again anyway.
const HANDSHAKE_TRIES: u32 = 4;

pub(super) struct Network {
    pub(super) rng: ChaCha8Rng,
    geography: Geography,
    places: Vec<Place>,
    /// Nothing is cut; saves two look-ups per message.
    whole: bool,
    groups: Vec<u32>,
    /// Directions in which nothing arrives.
    one_way: BTreeSet<(u32, u32)>,
    /// Share of packets that are lost.
    pub(super) loss: f64,
    /// A packet takes up to this share of its delay longer.
    pub(super) jitter: f64,
}

impl Network {
    pub(super) fn new(seed: u64, geography: Geography) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            geography,
            places: Vec::new(),
            whole: true,
            groups: Vec::new(),
            one_way: BTreeSet::new(),
            loss: 0.0,
            jitter: 0.1,
        }
    }

    pub(super) fn add_host(&mut self) {
        let place = self.geography.place(&mut self.rng);
        self.places.push(place);
        self.groups.push(0);
    }

    pub(super) fn partition(&mut self, group: impl Fn(Index) -> usize) {
        for (node, of) in self.groups.iter_mut().enumerate() {
            *of = u32::try_from(group(node)).unwrap_or(u32::MAX);
        }
        self.look();
    }

    pub(super) fn cut_one_way(&mut self, from: u32, to: u32) {
        self.one_way.insert((from, to));
        self.look();
    }

    pub(super) fn heal(&mut self) {
        self.groups.fill(0);
        self.one_way.clear();
        self.look();
    }

    fn look(&mut self) {
        self.whole = self.one_way.is_empty() && self.groups.iter().all(|group| *group == 0);
    }

    /// Whether packets from one host arrive at the other.
    pub(super) fn reaches(&self, from: u32, to: u32) -> bool {
        self.whole || (self.groups[from as usize] == self.groups[to as usize] && !self.one_way.contains(&(from, to)))
    }

    /// One-way delay without jitter.
    pub(super) fn delay(&self, from: u32, to: u32) -> Duration {
        self.geography.one_way(self.places[from as usize], self.places[to as usize])
    }

    pub(super) fn path(&self, from: u32, to: u32) -> Path {
        let there = self.delay(from, to);
        Path { there, back: self.delay(to, from), loss: self.loss, jitter: there.mul_f64(self.jitter) }
    }

    /// When one flight of a handshake arrives, if it leaves now; `None` if it was lost too often.
    pub(super) fn handshake(&mut self, now: Moment, from: u32, to: u32) -> Option<Moment> {
        let (mut leaves, mut wait) = (now, HANDSHAKE_TIMEOUT);
        for _ in 0..HANDSHAKE_TRIES {
            if self.loss == 0.0 || !self.rng.random_bool(self.loss) {
                return Some(leaves + self.delay(from, to));
            }
            leaves = leaves + wait;
            wait *= 2;
        }
        None
    }
}
