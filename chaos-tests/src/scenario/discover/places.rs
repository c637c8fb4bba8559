//! Who stands where.

use crate::bed::bind::Bind;
use crate::bed::kresd::Kresd;
use crate::bed::nigh::{Finds, Settings};
use crate::bed::pdns::Pdns;
use crate::bed::resolver::Resolver;
use crate::bed::unbound::Unbound;
use crate::bed::{Host, nginx};
use crate::scenario::resolvers::places::sixth;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

/// The mesh zone.
pub const ZONE: &str = "lb.lab";
/// A service in it.
pub const SERVICE: &str = "www.lb.lab";
/// From one round of discovery to the next: a minute would be long to wait for.
pub const EVERY: Duration = Duration::from_secs(2);
/// How long the claim of an address that is no longer used is kept.
pub const GRACE: Duration = Duration::from_secs(60);

/// The private root's name server.
pub const ROOT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
/// The name server of `lab.`
pub const DNS_A: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 53);
/// The origin of the service, in Frankfurt.
pub const ORIGIN: Ipv4Addr = Ipv4Addr::new(10, 49, 1, 80);

/// A point of presence: a node, and the ISP that it is a client of.
pub struct Pop {
    /// The node.
    pub node: &'static str,
    /// For the delay table.
    pub region: &'static str,
    /// The second octet of all addresses there.
    net: u8,
    /// The ISP's resolver; its host has its name.
    pub resolver: &'static dyn Resolver,
}

/// All of them.
pub static POPS: [Pop; 4] = [
    Pop { node: "fra", region: "eu-central-1", net: 49, resolver: &Unbound },
    Pop { node: "lon", region: "eu-west-2", net: 44, resolver: &Bind },
    Pop { node: "nyc", region: "us-east-1", net: 1, resolver: &Pdns },
    Pop { node: "tyo", region: "ap-northeast-1", net: 81, resolver: &Kresd },
];

impl Pop {
    /// The node's address.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.net, 0, 2)
    }

    /// Where its resolver listens.
    pub fn isp(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.net, 10, 53)
    }

    /// From where the resolver's questions leave, by both families.
    pub fn egress(&self) -> [IpAddr; 2] {
        [self.isp().into(), sixth(self.isp()).into()]
    }

    /// Another address of the resolver's.
    pub fn second(&self) -> IpAddr {
        Ipv4Addr::new(10, self.net, 10, 54).into()
    }

    /// One that the node's certificate does not allow.
    pub fn outside(&self) -> IpAddr {
        Ipv4Addr::new(10, 200, self.net, 53).into()
    }
}

/// Every host of the bed.
pub fn hosts() -> Vec<Host> {
    let both = |address: Ipv4Addr| [IpAddr::from(sixth(address))];
    let mut hosts = vec![
        Host::new("root", "eu-west-2", ROOT).with(both(ROOT)),
        Host::new("dns-a", "us-east-2", DNS_A).with(both(DNS_A)),
        Host::new("origin", "eu-central-1", ORIGIN),
    ];
    for pop in &POPS {
        hosts.push(Host::new(pop.node, pop.region, pop.address()).with(both(pop.address())));
        let more = [sixth(pop.isp()).into(), pop.second(), pop.outside()];
        hosts.push(Host::new(pop.resolver.name(), pop.region, pop.isp()).with(more));
    }
    hosts
}

/// What a node is to be; its resolv.conf is `file`.
pub fn settings(pop: &Pop, file: &Path) -> Settings {
    Settings {
        name: pop.node.to_owned(),
        pop: pop.region.to_owned(),
        address: pop.address(),
        also: Some(sixth(pop.address()).into()),
        answer_for: None,
        bootstrap: POPS.iter().take(1).filter(|first| first.node != pop.node).map(Pop::address).collect(),
        claims: Vec::new(),
        extra: String::new(),
        finds: Some(Finds {
            file: file.to_owned(),
            every: EVERY,
            allowed: vec![format!("10.{}.0.0/16", pop.net), format!("{}/96", sixth(Ipv4Addr::new(10, pop.net, 0, 0)))],
        }),
    }
}

/// The catalogue.
pub fn catalogue() -> String {
    format!(
        "[[zone]]\nname = \"{ZONE}\"\n\n[[service]]\nname = \"{SERVICE}\"\nttl = 2\n[service.probe]\nkind = \"tcp\"\n\
         port = {}\ninterval = \"1s\"\n\n[[service.server]]\nid = \"one\"\naddress = \"{ORIGIN}\"\n",
        nginx::PORT
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{POPS, hosts, settings};
    use crate::scenario::delays;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn no_two_hosts_share_an_address_and_certificates_cover_what_they_should() {
        let mut seen = BTreeSet::new();
        for host in hosts() {
            delays::one_way(host.region, "us-east-1").unwrap();
            assert!(host.addresses().all(|address| seen.insert(address)), "{}", host.name);
        }
        for pop in &POPS {
            let allowed = settings(pop, Path::new("/f")).finds.unwrap().allowed;
            let net = format!("10.{}.", pop.net);
            assert!(allowed[0].starts_with(&net) && pop.isp().to_string().starts_with(&net));
            assert!(!pop.outside().to_string().starts_with(&net));
        }
    }
}
