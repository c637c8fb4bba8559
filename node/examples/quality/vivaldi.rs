//! Network coordinates: F. Dabek, R. Cox, F. Kaashoek and R. Morris, "Vivaldi: A Decentralized Network Coordinate
//! System", SIGCOMM 2004, figure 3, in the plane with the heights of section 5.4.
//!
//! Every place takes part, the clients too, which is more than any resolver would do: a generous rival.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::latencies::Latencies;

/// How far a sample moves a coordinate and its error estimate: the paper's c_c and c_e (section 4.1).
const GAIN: f64 = 0.25;
/// Samples per place: far more than it needs to settle.
const ROUNDS: usize = 400;
/// Neighbours that a place measures: the paper's experiments have 64.
const NEIGHBOURS: usize = 64;
/// A height never reaches the plane, or a place could not leave it again.
const LEAST_HEIGHT: f64 = 0.1;

#[derive(Clone, Copy, Debug)]
struct Coordinate {
    x: f64,
    y: f64,
    height: f64,
    error: f64,
}

/// Where each place came to rest.
#[derive(Clone, Debug)]
pub struct Vivaldi {
    coordinates: Vec<Coordinate>,
}

impl Vivaldi {
    /// Lets the places find their coordinates.
    pub fn settle(latencies: &Latencies, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let count = latencies.len();
        let start = Coordinate { x: 0.0, y: 0.0, height: LEAST_HEIGHT, error: 1.0 };
        let mut this = Self { coordinates: vec![start; count] };
        let neighbours: Vec<Vec<usize>> =
            (0..count).map(|_| (0..NEIGHBOURS).map(|_| rng.random_range(0..count)).collect()).collect();
        for round in 0..ROUNDS {
            for (place, neighbours) in neighbours.iter().enumerate() {
                let other = neighbours[round % NEIGHBOURS];
                let rtt = latencies.get(place, other);
                if !rtt.is_nan() {
                    let angle = rng.random::<f64>() * std::f64::consts::TAU;
                    this.update(place, other, rtt, angle);
                }
            }
        }
        this
    }

    /// The round trip that the coordinates promise.
    pub fn distance(&self, a: usize, b: usize) -> f64 {
        let (a, b) = (self.coordinates[a], self.coordinates[b]);
        (a.x - b.x).hypot(a.y - b.y) + a.height + b.height
    }

    /// Two places at one point part at a random angle.
    fn update(&mut self, place: usize, other: usize, rtt: f64, angle: f64) {
        let predicted = self.distance(place, other);
        let far = self.coordinates[other];
        let own = &mut self.coordinates[place];
        let weight = own.error / (own.error + far.error);
        let sample_error = (predicted - rtt).abs() / rtt;
        own.error = (sample_error * GAIN * weight + own.error * (1.0 - GAIN * weight)).max(1e-3);
        let force = GAIN * weight * (rtt - predicted);
        let (dx, dy) = (own.x - far.x, own.y - far.y);
        let plane = dx.hypot(dy);
        let (ux, uy) = if plane > 1e-9 { (dx / plane, dy / plane) } else { (angle.cos(), angle.sin()) };
        // Section 5.4: the norm of a vector with a height is that of its plane part plus the heights.
        let norm = (plane + own.height + far.height).max(1e-9);
        let part = if plane > 1e-9 { plane / norm } else { 1.0 };
        own.x += ux * force * part;
        own.y += uy * force * part;
        own.height = (own.height + force * (own.height + far.height) / norm).max(LEAST_HEIGHT);
    }
}
