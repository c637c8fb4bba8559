//! Places on a globe, and a network made up between them.
//!
//! The made-up one is for runs without a file: cities in a few clusters, cables that are never straight, last miles that
//! differ, and carriers that meet at a few hubs only, so that the way next door may lead over another country. It is not
//! real, and its figures are no claim about the world; it has what makes steering hard in the real sets, detours that no
//! map shows.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::latencies::Latencies;

/// Half of the Earth's mean radius times two, in km.
const DIAMETER_KM: f64 = 12_742.0;
/// Light in fibre, there and back.
const KM_PER_MS: f64 = 100.0;

/// So many carriers share the places.
const CARRIERS: usize = 6;
/// Where carriers meet: Frankfurt, London, Ashburn, Los Angeles, Miami, Tokyo, Singapore, Sao Paulo, Sydney.
const HUBS: [Place; 9] = [
    Place { lat: 50.1, lon: 8.7 },
    Place { lat: 51.5, lon: -0.1 },
    Place { lat: 39.0, lon: -77.5 },
    Place { lat: 34.1, lon: -118.2 },
    Place { lat: 25.8, lon: -80.2 },
    Place { lat: 35.7, lon: 139.7 },
    Place { lat: 1.4, lon: 103.8 },
    Place { lat: -23.6, lon: -46.6 },
    Place { lat: -33.9, lon: 151.2 },
];

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
    // Who carries a place's traffic, and where those carriers meet the others.
    let carrier: Vec<usize> = (0..count).map(|_| rng.random_range(0..CARRIERS)).collect();
    let hubs: Vec<Vec<Place>> =
        (0..CARRIERS).map(|_| (0..3).map(|_| HUBS[rng.random_range(0..HUBS.len())]).collect()).collect();
    // One number a pair, the same in both directions.
    let winding: Vec<f64> = (0..count * count).map(|_| 1.25 + 0.35 * rng.random::<f64>()).collect();
    Latencies::new(places.clone(), |a, b| {
        let (from, to) = (places[a], places[b]);
        let by_hub = |hub: &Place| from.km_to(*hub) + hub.km_to(to);
        let km = if carrier[a] == carrier[b] {
            from.km_to(to)
        } else {
            hubs[carrier[a]].iter().chain(&hubs[carrier[b]]).map(by_hub).fold(f64::INFINITY, f64::min)
        };
        km / KM_PER_MS * winding[a.min(b) * count + a.max(b)] + last_mile[a] + last_mile[b]
    })
}
