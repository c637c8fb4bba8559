//! Places on a globe, and a network made up between them.
//!
//! The made-up one is for runs without a file: cities in a few clusters, cables that are never straight, last miles that
//! differ, and a tenth of the pairs routed badly. It is not real, and its figures are no claim about the world; it has
//! what makes steering hard in the real sets, detours that no map shows.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::latencies::Latencies;

/// Half of the Earth's mean radius times two, in km.
const DIAMETER_KM: f64 = 12_742.0;
/// Light in fibre, there and back.
const KM_PER_MS: f64 = 100.0;

/// Latitude and longitude in degrees.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub lat: f64,
    pub lon: f64,
}

impl Place {
    /// The great circle between two places, in km (haversine).
    pub fn km_to(self, other: Self) -> f64 {
        let (lat_a, lat_b) = (self.lat.to_radians(), other.lat.to_radians());
        let half = |a: f64, b: f64| ((b - a) / 2.0).sin().powi(2);
        let h = half(lat_a, lat_b) + lat_a.cos() * lat_b.cos() * half(self.lon.to_radians(), other.lon.to_radians());
        DIAMETER_KM * h.sqrt().min(1.0).asin()
    }
}

/// A network of this many places.
pub fn made_up(count: usize, seed: u64) -> Latencies {
    /// Where people are: latitude, longitude, how far the cluster reaches in degrees, its part of all places.
    const CLUSTERS: [(f64, f64, f64, f64); 7] = [
        (49.0, 10.0, 9.0, 0.30),
        (39.0, -85.0, 12.0, 0.24),
        (36.0, -119.0, 5.0, 0.08),
        (-22.0, -47.0, 7.0, 0.08),
        (33.0, 125.0, 10.0, 0.16),
        (5.0, 104.0, 9.0, 0.09),
        (-32.0, 147.0, 5.0, 0.05),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut places = Vec::with_capacity(count);
    let mut last_mile = Vec::with_capacity(count);
    for _ in 0..count {
        let mut draw = rng.random::<f64>();
        let found = CLUSTERS.iter().find(|cluster| {
            draw -= cluster.3;
            draw <= 0.0
        });
        let (lat, lon, reach, _) = *found.unwrap_or(&CLUSTERS[0]);
        let mut near = |middle: f64| middle + reach * (rng.random::<f64>() + rng.random::<f64>() - 1.0) * 1.5;
        places.push(Place { lat: near(lat), lon: near(lon) });
        last_mile.push(0.3 + 4.0 * rng.random::<f64>().powi(3));
    }
    // One number a pair, the same in both directions.
    let detours: Vec<f64> = (0..count * count)
        .map(|_| {
            let usual = 1.25 + 0.5 * rng.random::<f64>();
            if rng.random::<f64>() < 0.1 { usual + 2.0 * rng.random::<f64>() } else { usual }
        })
        .collect();
    Latencies::new(places.clone(), |a, b| {
        let fibre = places[a].km_to(places[b]) / KM_PER_MS;
        fibre * detours[a.min(b) * count + a.max(b)] + last_mile[a] + last_mile[b]
    })
}
