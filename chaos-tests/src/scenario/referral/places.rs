//! Who stands where: the hosts, what each node claims, and the catalogue.

use crate::bed::nigh::{Claim, Settings};
use crate::bed::{Host, nginx};
use crate::scenario::delays;
use anyhow::Result;
use std::net::Ipv4Addr;
use std::time::Duration;

/// The mesh zone.
pub const ZONE: &str = "lb.lab";
/// The service.
pub const SERVICE: &str = "www.lb.lab";
/// Its first label.
pub const SERVICE_LABEL: &str = "www";
/// TTL of the service's addresses: short, so that every look by a client is nearly a fresh one.
pub const SERVICE_TTL: u32 = 1;
/// TTL of a referral (the CNAME), as nodes send it.
pub const REFERRAL_TTL: Duration = Duration::from_secs(60);
/// Preference of a claim on the own ISP, and on those for which the node is the next best. Lower wins.
const OWN: u16 = 10;
const NEXT: u16 = 20;

/// The private root's name server.
pub const ROOT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
/// The name server of `lab.`.
pub const DNS_A: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 53);

/// A web server.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Its region, which is also its id in the catalogue, its host, and what it answers.
    pub region: &'static str,
    /// Its address.
    pub address: Ipv4Addr,
}

/// All web servers.
pub const ORIGINS: [Origin; 3] = [
    Origin { region: "eu-central-1", address: Ipv4Addr::new(10, 49, 1, 80) },
    Origin { region: "us-east-1", address: Ipv4Addr::new(10, 1, 1, 80) },
    Origin { region: "ap-northeast-1", address: Ipv4Addr::new(10, 81, 1, 80) },
];

/// A node's place.
#[derive(Clone, Copy, Debug)]
pub struct Pop {
    /// The node.
    pub node: &'static str,
    /// For people.
    pub city: &'static str,
    /// For the delay table.
    pub region: &'static str,
    /// The node's address.
    pub address: Ipv4Addr,
}

/// All nodes.
pub const POPS: [Pop; 3] = [
    Pop { node: "fra", city: "Frankfurt", region: "eu-central-1", address: Ipv4Addr::new(10, 49, 0, 2) },
    Pop { node: "nyc", city: "New York", region: "us-east-1", address: Ipv4Addr::new(10, 1, 0, 2) },
    Pop { node: "tyo", city: "Tokyo", region: "ap-northeast-1", address: Ipv4Addr::new(10, 81, 0, 2) },
];

/// An ISP with a resolver and clients.
#[derive(Clone, Copy, Debug)]
pub struct Isp {
    /// Its host.
    pub name: &'static str,
    /// For the delay table.
    pub region: &'static str,
    /// Its resolver; clients sit beside it.
    pub resolver: Ipv4Addr,
    /// What nodes claim of it.
    pub prefix: &'static str,
    /// The node at its POP.
    pub own: &'static str,
    /// The node that claims it as the next best.
    pub next: &'static str,
}

/// All ISPs.
pub const ISPS: [Isp; 2] = [
    Isp {
        name: "isp-fra",
        region: "eu-central-1",
        resolver: Ipv4Addr::new(10, 49, 0, 53),
        prefix: "10.49.0.53/32",
        own: "fra",
        next: "nyc",
    },
    Isp {
        name: "isp-tyo",
        region: "ap-northeast-1",
        resolver: Ipv4Addr::new(10, 81, 0, 53),
        prefix: "10.81.0.53/32",
        own: "tyo",
        next: "nyc",
    },
];

impl Isp {
    /// The origin that its clients should get: of `origins`, the one nearest to its POP.
    pub fn nearest<'a>(&self, origins: impl IntoIterator<Item = &'a str>) -> Result<&'a str> {
        delays::nearest(self.region, origins)
    }
}

/// The regions of all origins.
pub fn origin_names() -> impl Iterator<Item = &'static str> {
    ORIGINS.iter().map(|origin| origin.region)
}

/// Every host of the bed.
pub fn hosts() -> Vec<Host> {
    let mut hosts = vec![Host::new("root", "eu-west-2", ROOT), Host::new("dns-a", "us-east-2", DNS_A)];
    hosts.extend(POPS.iter().map(|pop| Host::new(pop.node, pop.region, pop.address)));
    hosts.extend(ORIGINS.iter().map(|origin| Host::new(origin.region, origin.region, origin.address)));
    hosts.extend(ISPS.iter().map(|isp| Host::new(isp.name, isp.region, isp.resolver)));
    hosts
}

/// What a node is to be.
pub fn settings(pop: &Pop) -> Settings {
    let claims = ISPS
        .iter()
        .filter_map(|isp| {
            let preference = match pop.node {
                node if node == isp.own => OWN,
                node if node == isp.next => NEXT,
                _ => return None,
            };
            Some(Claim { prefix: isp.prefix.to_owned(), preference })
        })
        .collect();
    Settings {
        name: pop.node.to_owned(),
        pop: pop.city.to_owned(),
        address: pop.address,
        also: None,
        answer_for: None,
        // The first node starts alone; the others join through it.
        bootstrap: POPS.iter().take(1).filter(|first| first.node != pop.node).map(|first| first.address).collect(),
        claims,
        finds: None,
        extra: String::new(),
    }
}

/// The catalogue with these origins.
pub fn catalogue(origins: &[&str]) -> String {
    let mut text = format!(
        r#"[[zone]]
name = "{ZONE}"

[[service]]
name = "{SERVICE}"
ttl = {SERVICE_TTL}

[service.probe]
kind = "http"
port = {port}
path = "/healthz"
interval = "1s"
timeout = "900ms"
"#,
        port = nginx::PORT,
    );
    for origin in ORIGINS.iter().filter(|origin| origins.contains(&origin.region)) {
        text.push_str(&format!("\n[[service.server]]\nid = \"{}\"\naddress = \"{}\"\n", origin.region, origin.address));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{ISPS, POPS, catalogue, delays, hosts, origin_names, settings};

    #[test]
    fn the_table_has_every_delay_that_the_bed_needs() {
        for from in hosts() {
            for to in hosts() {
                delays::one_way(from.region, to.region).unwrap();
            }
        }
    }

    #[test]
    fn every_isp_has_its_own_node_the_next_one_and_an_origin_of_its_own() {
        for isp in &ISPS {
            assert_eq!(isp.nearest(origin_names()).unwrap(), isp.region);
            let preferences: Vec<(&str, u16)> = POPS
                .iter()
                .flat_map(|pop| settings(pop).claims.into_iter().map(|claim| (pop.node, claim)))
                .filter(|(_, claim)| claim.prefix == isp.prefix)
                .map(|(node, claim)| (node, claim.preference))
                .collect();
            assert!(preferences.contains(&(isp.own, 10)) && preferences.contains(&(isp.next, 20)), "{preferences:?}");
            assert_eq!(preferences.len(), 2);
        }
    }

    #[test]
    fn a_catalogue_lists_only_the_origins_asked_for() {
        let text = catalogue(&["us-east-1"]);
        assert!(text.contains("id = \"us-east-1\"\naddress = \"10.1.1.80\""), "{text}");
        assert!(!text.contains("eu-central-1"), "{text}");
    }
}
