//! Who stands where: points of presence, origins and how far everything is from everything.
//!
//! Three sources, one shape (round trips between sites): a generated globe, a list of places with latitude and
//! longitude, or a square matrix of measured round trips. A seed decides which sites become points of presence and
//! which origins, so a plan can name them by number.
//!
//! **Invariant:** the same source, seed and counts give the same geography.

use anyhow::{Context, Result, bail};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Points of presence that addresses are laid out for.
pub const POPS_MAX: usize = 50;
/// Origins that addresses are laid out for.
pub const ORIGINS_MAX: usize = 40;
/// Between two hosts of one site.
const AT_HOME_MS: f64 = 1.0;
/// Kilometres of fibre that a round trip of a millisecond reaches, cables being longer than the crow flies.
const KM_PER_MS: f64 = 75.0;
const EARTH_KM: f64 = 6371.0;
/// Longest round trip that is taken from a file: more is a typing error, or seconds.
const ROUND_TRIP_MAX_MS: f64 = 5000.0;
/// Where people live, roughly: generated sites gather around these.
const HUBS: [(f64, f64); 8] = [
    (50.0, 8.0),
    (41.0, -75.0),
    (37.0, -120.0),
    (-23.0, -46.0),
    (1.3, 104.0),
    (35.0, 137.0),
    (19.0, 73.0),
    (-33.0, 151.0),
];

/// How far apart sites are, in milliseconds of round trip.
#[derive(Clone, Debug, PartialEq)]
pub struct Distances {
    names: Vec<String>,
    round_trip_ms: Vec<Vec<f64>>,
}

impl Distances {
    /// Sites scattered around the places where people live.
    pub fn generated(sites: usize, random: &mut impl Rng) -> Self {
        let places = (0..sites).map(|number| {
            let (latitude, longitude) = HUBS[number % HUBS.len()];
            let near = |middle: f64, random: &mut dyn FnMut() -> f64| middle + random() * 20.0 - 10.0;
            let mut chance = || random.random_range(0.0..1.0);
            (format!("s{number:02}"), near(latitude, &mut chance), near(longitude, &mut chance))
        });
        Self::of_places(&places.collect::<Vec<_>>())
    }

    /// Lines of `name,latitude,longitude`; a first line that is none is a heading.
    pub fn of_list(text: &str) -> Result<Self> {
        let read = |line: &str| {
            let mut words = line.split(',').map(str::trim);
            let (name, latitude, longitude) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let on_globe = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
            on_globe.then(|| (name.to_owned(), latitude, longitude))
        };
        let mut places = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match read(line) {
                Some(place) => places.push(place),
                None if number == 0 => {}
                None => bail!("line {}: `name,latitude,longitude` is expected, not {line:?}", number + 1),
            }
        }
        Ok(Self::of_places(&places))
    }

    /// A square of comma-separated round trips in milliseconds.
    pub fn of_matrix(text: &str) -> Result<Self> {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let mut round_trip_ms = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            let row: Vec<f64> = line
                .split(',')
                .map(|cell| cell.trim().parse().ok().filter(|ms| (0.0..=ROUND_TRIP_MAX_MS).contains(ms)))
                .collect::<Option<_>>()
                .with_context(|| format!("line {}: milliseconds from 0 to {ROUND_TRIP_MAX_MS} expected", number + 1))?;
            if row.len() != lines.len() {
                bail!("line {}: {} columns in a matrix of {} lines", number + 1, row.len(), lines.len());
            }
            round_trip_ms.push(row);
        }
        Ok(Self { names: (0..lines.len()).map(|number| format!("s{number:02}")).collect(), round_trip_ms })
    }

    fn of_places(places: &[(String, f64, f64)]) -> Self {
        let row = |a: &(String, f64, f64)| places.iter().map(|b| kilometres(a, b) / KM_PER_MS).collect();
        Self {
            names: places.iter().map(|(name, ..)| name.clone()).collect(),
            round_trip_ms: places.iter().map(row).collect(),
        }
    }

    /// The round trip between two sites, one of which may be the other.
    fn round_trip(&self, a: usize, b: usize) -> Duration {
        let there = |a: usize, b: usize| self.round_trip_ms.get(a).and_then(|row| row.get(b)).copied().unwrap_or(0.0);
        Duration::from_secs_f64(if a == b { AT_HOME_MS } else { AT_HOME_MS + (there(a, b) + there(b, a)) / 2.0 } / 1e3)
    }
}

fn kilometres(a: &(String, f64, f64), b: &(String, f64, f64)) -> f64 {
    let (a_latitude, b_latitude) = (a.1.to_radians(), b.1.to_radians());
    let (latitude, longitude) = ((b_latitude - a_latitude) / 2.0, (b.2 - a.2).to_radians() / 2.0);
    let haversine = latitude.sin().powi(2) + a_latitude.cos() * b_latitude.cos() * longitude.sin().powi(2);
    2.0 * EARTH_KM * haversine.sqrt().min(1.0).asin()
}

/// A point of presence: a node, and an ISP's resolver with its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pop {
    /// The node, and its host.
    pub node: String,
    /// The ISP's host.
    pub isp: String,
    /// The site's name, for people.
    pub site: String,
    at: usize,
    /// The node's address.
    pub address: Ipv4Addr,
    /// The resolver's.
    pub resolver: Ipv4Addr,
    /// The one that its questions come from when its ISP renumbers.
    pub renumbered: Ipv4Addr,
}

/// A web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its id in the catalogue, and its host.
    pub id: String,
    at: usize,
    /// Its address.
    pub address: Ipv4Addr,
}

/// The world of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Geography {
    distances: Distances,
    /// The points of presence.
    pub pops: Vec<Pop>,
    /// The origins.
    pub origins: Vec<Origin>,
}

impl Geography {
    /// Chooses so many points of presence, each at a site of its own, and origins, among the sites.
    pub fn draw(distances: Distances, pops: usize, origins: usize, seed: u64) -> Result<Self> {
        if !(2..=POPS_MAX).contains(&pops) || !(1..=ORIGINS_MAX).contains(&origins) {
            bail!("2 to {POPS_MAX} points of presence and 1 to {ORIGINS_MAX} origins can be laid out");
        }
        let sites = distances.names.len();
        if sites < pops + origins {
            bail!("{sites} sites are too few for {pops} points of presence and {origins} origins");
        }
        let mut order: Vec<usize> = (0..sites).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let octet = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        let pop = |(number, at): (usize, &usize)| Pop {
            node: format!("n{:02}", number + 1),
            isp: format!("isp{:02}", number + 1),
            site: distances.names[*at].clone(),
            at: *at,
            address: Ipv4Addr::new(10, octet(number + 1), 0, 2),
            resolver: Ipv4Addr::new(10, octet(number + 1), 0, 53),
            renumbered: Ipv4Addr::new(10, octet(number + 1), 1, 53),
        };
        let origin = |(number, at): (usize, &usize)| Origin {
            id: format!("o{:02}", number + 1),
            at: *at,
            address: Ipv4Addr::new(10, octet(number + 200), 0, 80),
        };
        Ok(Self {
            pops: order.iter().take(pops).enumerate().map(pop).collect(),
            origins: order.iter().skip(pops).take(origins).enumerate().map(origin).collect(),
            distances,
        })
    }

    /// Where a host stands; what is neither a point of presence nor an origin stands with the first node.
    fn site(&self, host: &str) -> usize {
        let pop = self.pops.iter().find(|pop| pop.node == host || pop.isp == host).map(|pop| pop.at);
        let origin = self.origins.iter().find(|origin| origin.id == host).map(|origin| origin.at);
        pop.or(origin).or(self.pops.first().map(|pop| pop.at)).unwrap_or_default()
    }

    /// Has a resolver go by its first address, whichever it asked from: its cache is one.
    pub fn name_resolver(&self, address: &mut SocketAddr) {
        if let Some(pop) = self.pops.iter().find(|pop| IpAddr::from(pop.renumbered) == address.ip()) {
            address.set_ip(pop.resolver.into());
        }
    }

    /// The round trip between two hosts.
    pub fn round_trip(&self, a: &str, b: &str) -> Duration {
        self.distances.round_trip(self.site(a), self.site(b))
    }

    /// The origins by distance from a point of presence, nearest first.
    pub fn by_distance(&self, pop: &Pop) -> Vec<(Duration, &Origin)> {
        let mut origins: Vec<_> =
            self.origins.iter().map(|origin| (self.distances.round_trip(pop.at, origin.at), origin)).collect();
        origins.sort_by_key(|(distance, origin)| (*distance, origin.address));
        origins
    }

    /// The point of presence after `pop` that is nearest to it.
    pub fn neighbour(&self, pop: &Pop) -> Option<&Pop> {
        let others = self.pops.iter().filter(|other| other.node != pop.node);
        others.min_by_key(|other| (self.distances.round_trip(pop.at, other.at), other.node.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Distances, Geography, POPS_MAX};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::net::{Ipv4Addr, SocketAddr};

    fn globe(seed: u64) -> Geography {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        Geography::draw(Distances::generated(30, &mut random), 8, 5, seed).unwrap()
    }

    #[test]
    fn a_resolver_has_one_name_for_both_of_its_addresses() {
        let globe = globe(7);
        let pop = &globe.pops[3];
        let named = |address: Ipv4Addr| {
            let mut address = SocketAddr::from((address, 4711));
            globe.name_resolver(&mut address);
            address
        };
        assert_eq!(named(pop.renumbered), SocketAddr::from((pop.resolver, 4711)));
        assert_eq!(named(pop.address), SocketAddr::from((pop.address, 4711)));
    }

    #[test]
    fn a_seed_gives_one_world_and_another_seed_another() {
        assert_eq!(globe(7), globe(7));
        assert_ne!(globe(7), globe(8));
    }

    #[test]
    fn distances_are_of_this_earth() {
        let list = "city,lat,lon\nFrankfurt,50.1,8.7\nNew York,40.7,-74.0\nSydney,-33.9,151.2\n";
        let world = Geography::draw(Distances::of_list(list).unwrap(), 2, 1, 1).unwrap();
        for a in ["n01", "n02", "o01"] {
            for b in ["n01", "n02", "o01"] {
                let (there, back) = (world.round_trip(a, b), world.round_trip(b, a));
                assert_eq!(there, back);
                assert!(there.as_millis() >= 1 && there.as_millis() < 300, "{a} {b} {there:?}");
            }
        }
        let places = Distances::of_list(list).unwrap();
        let transatlantic = places.round_trip(0, 1).as_millis();
        assert!((75..95).contains(&transatlantic), "6,200 km: {transatlantic} ms");
    }

    #[test]
    fn bad_files_are_refused_with_their_line() {
        let error = |result: anyhow::Result<Distances>| format!("{:#}", result.unwrap_err());
        assert!(error(Distances::of_matrix("0,1\n1,x\n")).contains("line 2"));
        assert!(error(Distances::of_matrix("0,1\n1\n")).contains("line 2: 1 columns"));
        assert!(error(Distances::of_matrix("0,-1\n1,0\n")).contains("line 1"));
        assert!(error(Distances::of_list("a,1,2\nb,91,2\n")).contains("line 2"));
        let two = Distances::of_matrix("0,5\n7,0\n").unwrap();
        assert_eq!(two.round_trip(0, 1).as_micros(), 7000, "the mean of both directions, and the way at home");
        assert!(Geography::draw(two.clone(), 2, 1, 1).is_err());
        assert!(Geography::draw(two, POPS_MAX + 1, 1, 1).is_err());
    }

    #[test]
    fn origins_are_ordered_by_distance() {
        let world = globe(3);
        for pop in &world.pops {
            let order = world.by_distance(pop);
            assert_eq!(order.len(), world.origins.len());
            assert!(order.windows(2).all(|pair| pair[0].0 <= pair[1].0));
            assert_eq!(order[0].0, world.round_trip(&pop.isp, &order[0].1.id));
            assert_ne!(world.neighbour(pop).unwrap().node, pop.node);
        }
    }
}
