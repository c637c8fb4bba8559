//! The demo's world: five cities with a POP and an ISP each, four cloud regions with an origin each, and how far they are.
//!
//! Times are round trips between cloud regions, the region in or nearest to each city standing for it (New York:
//! N. Virginia), in milliseconds, to the whole one. Source: the cloudping table of relab/hotstuff (commit 3179c6e6, MIT).
//! Invariant: one address tells the place. 127.X.n.* is city n, 127.X.(200+k).1 is origin k; so an origin knows from
//! where it is asked, and a resolver how far a server is, by looking at an address.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use hickory_proto::rr::Name;

use super::resolver::{Delegation, NameServer};

/// The mesh zone.
pub const ZONE: &str = "lb.demo";
/// The service in `refer` mode that the story follows.
pub const WWW: &str = "www.lb.demo";
/// The same servers in `answer` mode.
pub const API: &str = "api.lb.demo";
/// How many cities, POPs, nodes and ISPs.
pub const CITIES: usize = 5;
/// How many origins.
pub const ORIGINS: usize = 4;
/// Third octet of origin 0, less one.
const ORIGIN_BASE: u8 = 200;
/// Preference of the claim of the node in the ISP's own city.
pub const OWN_PREFERENCE: u16 = 10;
/// Preference of the claim of the next node.
pub const NEXT_PREFERENCE: u16 = 20;

/// A city: one POP with a node, one ISP with a resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct City(usize);

/// An origin server in a cloud region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(usize);

struct CityFacts {
    node: &'static str,
    place: &'static str,
    location: &'static str,
    isp: &'static str,
    /// The city whose node is the next claimant of this ISP.
    next: usize,
    /// To each city's node.
    to_cities_ms: [u64; CITIES],
    /// To each origin.
    to_origins_ms: [u64; ORIGINS],
}

const FACTS: [CityFacts; CITIES] = [
    CityFacts {
        node: "fra",
        place: "Frankfurt",
        location: "50.11, 8.68",
        isp: "Main Telecom",
        next: 1,
        to_cities_ms: [1, 91, 206, 164, 232],
        to_origins_ms: [26, 91, 206, 164],
    },
    CityFacts {
        node: "nyc",
        place: "New York",
        location: "40.71, -74.01",
        isp: "Hudson Fibre",
        next: 0,
        to_cities_ms: [91, 1, 119, 228, 157],
        to_origins_ms: [70, 5, 119, 228],
    },
    CityFacts {
        node: "sao",
        place: "Sao Paulo",
        location: "-23.55, -46.63",
        isp: "Paulista Net",
        next: 1,
        to_cities_ms: [206, 119, 1, 334, 259],
        to_origins_ms: [181, 117, 4, 334],
    },
    CityFacts {
        node: "sin",
        place: "Singapore",
        location: "1.35, 103.82",
        isp: "Merlion Cable",
        next: 4,
        to_cities_ms: [164, 228, 334, 1, 78],
        to_origins_ms: [181, 226, 334, 2],
    },
    CityFacts {
        node: "tyo",
        place: "Tokyo",
        location: "35.68, 139.69",
        isp: "Sumida Online",
        next: 3,
        to_cities_ms: [232, 157, 259, 78, 1],
        to_origins_ms: [203, 155, 259, 79],
    },
];

const ORIGIN_FACTS: [(&str, &str); ORIGINS] =
    [("dub", "Ireland"), ("iad", "Virginia"), ("gru", "Sao Paulo"), ("sin", "Singapore")];

impl City {
    /// All cities.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..CITIES).map(Self)
    }

    /// The city of a node, by the node's name.
    pub fn by_node(name: &str) -> Option<Self> {
        FACTS.iter().position(|facts| facts.node == name).map(Self)
    }

    fn facts(self) -> &'static CityFacts {
        &FACTS[self.0]
    }

    /// The node's name, which is the first label of its cut.
    pub fn node(self) -> &'static str {
        self.facts().node
    }

    /// The city's name.
    pub fn place(self) -> &'static str {
        self.facts().place
    }

    /// Where it is, as a configuration says it.
    pub fn location(self) -> &'static str {
        self.facts().location
    }

    /// The ISP's name.
    pub fn isp(self) -> &'static str {
        self.facts().isp
    }

    /// The city whose node claims this ISP next.
    pub fn next_claimant(self) -> Self {
        Self(self.facts().next)
    }

    /// 0 for the first.
    pub fn index(self) -> usize {
        self.0
    }

    /// Round trip to another city.
    pub fn to_city(self, other: Self) -> Duration {
        Duration::from_millis(self.facts().to_cities_ms[other.0])
    }

    /// Round trip to an origin.
    pub fn to_origin(self, origin: Origin) -> Duration {
        Duration::from_millis(self.facts().to_origins_ms[origin.0])
    }

    /// The origin with the shortest round trip.
    pub fn best_origin(self) -> Origin {
        Origin::all().min_by_key(|origin| self.to_origin(*origin)).unwrap_or(Origin(0))
    }

    /// The name of the service in this node's cut.
    pub fn in_cut(self) -> String {
        format!("www.{}.{ZONE}", self.node())
    }
}

impl Origin {
    /// All origins.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..ORIGINS).map(Self)
    }

    /// The server's id in the catalogue.
    pub fn id(self) -> &'static str {
        ORIGIN_FACTS[self.0].0
    }

    /// The region's name.
    pub fn place(self) -> &'static str {
        ORIGIN_FACTS[self.0].1
    }
}

/// Addresses and ports of one demo: everything below 127.X.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The second octet, which tells demos apart.
    pub x: u8,
    /// Port of every node's DNS.
    pub dns_port: u16,
    /// Port of every node's mesh transport.
    pub mesh_port: u16,
    /// Port of every origin.
    pub http_port: u16,
    /// Port of every node's dashboard.
    pub admin_port: u16,
}

impl Plan {
    fn address(&self, third: usize, fourth: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, self.x, u8::try_from(third).unwrap_or(u8::MAX), fourth))
    }

    /// The node's address.
    pub fn node(&self, city: City) -> IpAddr {
        self.address(city.0 + 1, 1)
    }

    /// Where a browser finds the node's dashboard.
    pub fn dashboard(&self, city: City) -> String {
        format!("http://{}:{}/", self.node(city), self.admin_port)
    }

    /// The ISP's resolver.
    pub fn resolver(&self, city: City) -> IpAddr {
        self.address(city.0 + 1, 53)
    }

    /// Another resolver of the same ISP, for a cold cache.
    pub fn fresh_resolver(&self, city: City, number: u8) -> IpAddr {
        self.address(city.0 + 1, 53u8.saturating_add(number))
    }

    /// The ISP's network, which holds all of its resolvers.
    pub fn network(&self, city: City) -> String {
        format!("127.{}.{}.0/24", self.x, city.0 + 1)
    }

    /// The origin's address.
    pub fn origin(&self, origin: Origin) -> IpAddr {
        self.address(usize::from(ORIGIN_BASE) + origin.0 + 1, 1)
    }

    /// The city at an address.
    pub fn city_at(&self, address: IpAddr) -> Option<City> {
        let third = self.third_octet(address)?;
        City::all().find(|city| city.0 + 1 == usize::from(third))
    }

    /// The origin at an address.
    pub fn origin_at(&self, address: IpAddr) -> Option<Origin> {
        let third = self.third_octet(address)?;
        Origin::all().find(|origin| usize::from(ORIGIN_BASE) + origin.0 + 1 == usize::from(third))
    }

    fn third_octet(&self, address: IpAddr) -> Option<u8> {
        match address {
            IpAddr::V4(v4) if v4.octets()[0] == 127 && v4.octets()[1] == self.x => Some(v4.octets()[2]),
            _ => None,
        }
    }

    /// What the zone owner's DNS-A would say: the mesh zone's servers with glue. `first` comes first, as DNS-A turns
    /// the order from answer to answer.
    pub fn delegation(&self, first: City) -> anyhow::Result<Delegation> {
        let mut servers = Vec::new();
        for turn in 0..CITIES {
            let city = City((first.0 + turn) % CITIES);
            let name = zone_name(&format!("ns-{}.{ZONE}", city.node()))?;
            servers.push(NameServer { name, addresses: vec![self.node(city)] });
        }
        Ok(Delegation { zone: zone_name(ZONE)?, servers })
    }
}

/// A name, fully qualified.
pub fn zone_name(text: &str) -> anyhow::Result<Name> {
    let mut name = Name::from_str(text).with_context(|| format!("{text} is not a domain name"))?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::demo::resolver::lookup::TIMEOUT;

    const PLAN: Plan = Plan { x: 77, dns_port: 5300, mesh_port: 4242, http_port: 8080, admin_port: 8053 };

    #[test]
    fn an_address_tells_the_place_and_nothing_else_does() {
        for city in City::all() {
            assert_eq!(PLAN.city_at(PLAN.node(city)), Some(city));
            assert_eq!(PLAN.city_at(PLAN.fresh_resolver(city, 3)), Some(city));
            assert_eq!(PLAN.origin_at(PLAN.node(city)), None);
        }
        for origin in Origin::all() {
            assert_eq!(PLAN.origin_at(PLAN.origin(origin)), Some(origin));
            assert_eq!(PLAN.city_at(PLAN.origin(origin)), None);
        }
        for other in ["127.78.1.1", "10.77.1.1", "::1"] {
            assert_eq!(PLAN.city_at(other.parse().unwrap()), None);
        }
    }

    #[test]
    fn every_city_has_one_best_origin_and_every_origin_is_somebodys_best() {
        let mut used = Vec::new();
        for city in City::all() {
            let best = city.best_origin();
            let mut times: Vec<_> = Origin::all().map(|origin| city.to_origin(origin)).collect();
            times.sort();
            let gap = times[1].saturating_sub(times[0]);
            assert!(gap.as_millis() >= 40, "{}: a busy machine must not swap the first two", city.place());
            used.push(best);
        }
        used.sort();
        used.dedup();
        assert_eq!(used.len(), ORIGINS);
    }

    #[test]
    fn the_world_is_symmetric_and_no_way_is_longer_than_a_resolver_waits() {
        for a in City::all() {
            assert_ne!(a.next_claimant(), a);
            for b in City::all() {
                assert_eq!(a.to_city(b), b.to_city(a));
                assert!(a.to_city(b) + Duration::from_millis(50) < TIMEOUT);
            }
        }
    }

    #[test]
    fn the_delegation_names_every_node_once_beginning_where_it_is_told() {
        for first in City::all() {
            let delegation = PLAN.delegation(first).unwrap();
            assert_eq!(delegation.servers[0].addresses, [PLAN.node(first)]);
            let mut all: Vec<_> = delegation.servers.iter().flat_map(|server| server.addresses.clone()).collect();
            all.sort();
            assert_eq!(all, City::all().map(|city| PLAN.node(city)).collect::<Vec<_>>());
        }
    }
}
