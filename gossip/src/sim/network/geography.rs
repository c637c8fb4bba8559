//! Where hosts stand, and how long a packet travels between two places.
//!
//! Sites are cities or measured hosts; nodes are put at sites at random, by population where it is known, each with a
//! last mile of its own. Between sites the one-way delay is half the round trip of a table: measured, or a millisecond
//! of round trip per 100 km of great circle (light in glass) times a path that is 1.4 times as long as the crow's.
//! Delays are whole microseconds computed once per pair of sites, so ten thousand hosts need no table of their own.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng, RngExt};

use super::cities::CITIES;

/// Round trip per kilometre of great circle.
const US_PER_KM: f64 = 10.0 * 1.4;
/// Two sites are never nearer than this, one way.
const NEAREST_US: u32 = 250;
/// A host's own line, one way: from a rack in the exchange to a good access line.
const LAST_MILE_US: std::ops::Range<u32> = 100..3000;
const EARTH_RADIUS_KM: f64 = 6371.0;
/// Sites a file may name: the table is a number for every pair.
const MAX_SITES: usize = 4096;

/// Why a text is no geography.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GeographyError {
    /// The first line is none that is known.
    #[error(
        "the first line is {0:?}; known are `src,dst,avg_ms,…` (round trips between names), `name,lat,lon,population` \
         (places) and `i,j,s1,…` (round trips between numbers)"
    )]
    UnknownHeader(String),
    /// A line cannot be read.
    #[error("line {line}: {text:?} is not {wanted}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What stands there.
        text: String,
        /// What should.
        wanted: &'static str,
    },
    /// Fewer than two sites, or more than 4,096.
    #[error("{0} sites; between 2 and 4096 are of use")]
    Sites(usize),
}

/// Sites and the delays between them.
#[derive(Clone, Debug)]
pub struct Geography {
    sites: usize,
    /// One-way microseconds, row by row.
    one_way: Vec<u32>,
    /// Sums of the sites' weights up to and with each.
    weights: Vec<u64>,
}

/// Where a host stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    site: u32,
    last_mile: u32,
}

impl Geography {
    /// The cities of the world by population.
    #[must_use]
    pub fn world() -> Self {
        let places: Vec<(f64, f64, u64)> = CITIES.iter().map(|city| (city.1, city.2, city.3)).collect();
        Self::sphere(&places)
    }

    /// One site, hosts a fraction of a millisecond apart: a data centre, or one machine.
    #[must_use]
    pub fn one_site() -> Self {
        Self { sites: 1, one_way: vec![0], weights: vec![1] }
    }

    /// Reads a table of round trips (`src,dst,avg_ms,…` or `i,j,s1,…`, milliseconds) or of places
    /// (`name,lat,lon,population`). Pairs without a value get that of the other direction, else the shortest detour.
    ///
    /// # Errors
    /// [`GeographyError`], with the line.
    pub fn parse(text: &str) -> Result<Self, GeographyError> {
        let header = text.lines().next().unwrap_or_default();
        if header.starts_with("src,dst,avg_ms") || header.starts_with("i,j,s1") {
            Self::pairs(text)
        } else if header.starts_with("name,lat,lon,population") {
            let mut places = Vec::new();
            for (line, fields) in rows(text) {
                let wanted = "a name, a latitude, a longitude and a population";
                let field = |n: usize| fields.get(n).and_then(|field| field.parse::<f64>().ok());
                let (Some(lat), Some(lon)) = (field(1), field(2)) else {
                    return Err(GeographyError::Line { line, text: fields.join(","), wanted });
                };
                let people = field(3).unwrap_or(1.0); // Unknown of some small places.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
                places.push((lat, lon, people.max(1.0) as u64));
            }
            bounded(places.len())?;
            Ok(Self::sphere(&places))
        } else {
            Err(GeographyError::UnknownHeader(header.chars().take(60).collect()))
        }
    }

    fn sphere(places: &[(f64, f64, u64)]) -> Self {
        let mut one_way = Vec::with_capacity(places.len() * places.len());
        for a in places {
            one_way.extend(places.iter().map(|b| micros(great_circle_km(*a, *b) * US_PER_KM / 2.0).max(NEAREST_US)));
        }
        Self { sites: places.len(), one_way, weights: sums(places.iter().map(|place| place.2)) }
    }

    fn pairs(text: &str) -> Result<Self, GeographyError> {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut measured = Vec::new();
        for (line, fields) in rows(text) {
            let wanted = "two places and round trips in milliseconds";
            let &[a, b, ref values @ ..] = &fields[..] else {
                return Err(GeographyError::Line { line, text: fields.join(","), wanted });
            };
            let next = numbers.len();
            let a = *numbers.entry(a).or_insert(next);
            let next = numbers.len();
            let b = *numbers.entry(b).or_insert(next);
            // The first value that is one: the average of a pair, or the first slice in which it was measured.
            let value = values.iter().filter_map(|field| field.parse::<f64>().ok()).find(|ms| *ms > 0.0);
            measured.extend(value.map(|ms| (a, b, micros(ms * 500.0))));
        }
        let sites = numbers.len();
        bounded(sites)?;
        let mut table: Vec<Option<u32>> = vec![None; sites * sites];
        for &(a, b, us) in &measured {
            table[a * sites + b] = Some(us);
        }
        for &(a, b, us) in &measured {
            table[b * sites + a].get_or_insert(us);
        }
        let detour = |a: usize, b: usize| {
            (0..sites).filter_map(|via| Some(table[a * sites + via]?.saturating_add(table[via * sites + b]?))).min()
        };
        let far = measured.iter().map(|(_, _, us)| *us).max().unwrap_or(NEAREST_US);
        let one_way = (0..sites * sites)
            .map(|at| match (at / sites, at % sites) {
                (a, b) if a == b => NEAREST_US,
                (a, b) => table[at].or_else(|| detour(a, b)).unwrap_or(far).max(NEAREST_US),
            })
            .collect();
        Ok(Self { sites, one_way, weights: sums(std::iter::repeat_n(1, sites)) })
    }

    pub(super) fn place(&self, rng: &mut impl Rng) -> Place {
        let total = self.weights.last().copied().unwrap_or(1);
        let drawn = rng.random_range(0..total);
        let site = self.weights.partition_point(|sum| *sum <= drawn);
        let last_mile = rng.random_range(LAST_MILE_US) / if self.sites == 1 { 20 } else { 1 };
        Place { site: u32::try_from(site).unwrap_or(0), last_mile }
    }

    /// One-way delay without jitter.
    pub(super) fn one_way(&self, from: Place, to: Place) -> Duration {
        let path = self.one_way[from.site as usize * self.sites + to.site as usize];
        Duration::from_micros(u64::from(path + from.last_mile + to.last_mile))
    }
}

/// Lines after the first, cut at commas, with their numbers.
fn rows(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let lines = text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(line, text)| (line + 1, text.trim_end().split(',').collect()))
}

fn bounded(sites: usize) -> Result<(), GeographyError> {
    if (2..=MAX_SITES).contains(&sites) { Ok(()) } else { Err(GeographyError::Sites(sites)) }
}

fn sums(weights: impl Iterator<Item = u64>) -> Vec<u64> {
    weights
        .scan(0u64, |sum, weight| {
            *sum = sum.saturating_add(weight);
            Some(*sum)
        })
        .collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and a minute is enough")]
fn micros(us: f64) -> u32 {
    us.clamp(0.0, 60e6) as u32
}

/// The haversine formula.
fn great_circle_km((lat_a, lon_a, _): (f64, f64, u64), (lat_b, lon_b, _): (f64, f64, u64)) -> f64 {
    let (lat_a, lat_b) = (lat_a.to_radians(), lat_b.to_radians());
    let (half_lat, half_lon) = ((lat_b - lat_a) / 2.0, (lon_b - lon_a).to_radians() / 2.0);
    let h = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
    2.0 * EARTH_RADIUS_KM * h.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn between(geography: &Geography, a: u32, b: u32) -> u128 {
        let at = |site| Place { site, last_mile: 0 };
        geography.one_way(at(a), at(b)).as_millis()
    }

    #[test]
    fn the_world_has_the_round_trips_that_are_measured_in_it() {
        let city = |name: &str| u32::try_from(CITIES.iter().position(|city| city.0 == name).unwrap()).unwrap();
        let world = Geography::world();
        // Measured round trips: about 75 ms, 240 ms and 10 ms.
        assert!((30..45).contains(&between(&world, city("London"), city("New York"))));
        assert!((105..130).contains(&between(&world, city("London"), city("Sydney"))));
        assert!((1..5).contains(&between(&world, city("London"), city("Paris"))));
    }

    #[test]
    fn measured_pairs_are_read_and_gaps_filled() {
        let text = "src,dst,avg_ms,min_ms\nA,B,100.0,90\nB,C,40,1\nC,D,20,1\nD,A,,\nA,D,7,1\n";
        let geography = Geography::parse(text).unwrap();
        let [a, b, c, d] = [0, 1, 2, 3];
        assert_eq!(between(&geography, a, b), 50);
        assert_eq!(between(&geography, b, a), 50, "the other direction");
        assert_eq!(between(&geography, d, a), 3, "an empty field is none");
        assert_eq!(between(&geography, a, c), 13, "a detour through D");
        let numbered = Geography::parse("i,j,s1,s2\n0,1,,30\n1,2,4,5\n").unwrap();
        assert_eq!((between(&numbered, 0, 1), between(&numbered, 2, 0)), (15, 17));
    }

    #[test]
    fn places_draw_hosts_by_population() {
        let geography = Geography::parse("name,lat,lon,population\nBig,0,0,9999\nSmall,0,90,\n").unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let big = (0..1000).filter(|_| geography.place(&mut rng).site == 0).count();
        assert!(big > 990, "{big}");
        assert!((65..75).contains(&between(&geography, 0, 1)), "a quarter of the way round");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        assert!(matches!(Geography::parse("a,b\n1,2\n"), Err(GeographyError::UnknownHeader(_))));
        let places = "name,lat,lon,population\nA,1,2,3\nB,x,2,3\n";
        assert!(matches!(Geography::parse(places), Err(GeographyError::Line { line: 3, .. })));
        assert_eq!(Geography::parse("i,j,s1\n").unwrap_err(), GeographyError::Sites(0));
    }
}
