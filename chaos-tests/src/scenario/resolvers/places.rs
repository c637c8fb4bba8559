//! Who stands where: hosts, claims, zones and the catalogue.
//!
//! Every host has an IPv6 address that reads like its IPv4 address: 10.49.0.2 and fd00::10:49:0:2.

use crate::bed::named::{self, ZoneFile};
use crate::bed::nigh::{Claim, Settings};
use crate::bed::{Host, nginx};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The mesh zone.
pub const ZONE: &str = "lb.lab";
/// The service that most cases ask for.
pub const SERVICE: &str = "www.lb.lab";
/// A second one, for a resolver that knows the first.
pub const SECOND: &str = "api.lb.lab";
/// One with an empty name above it.
pub const DEEP: &str = "app.deep.down.lb.lab";
/// One whose answers do not fit into 512 octets: a long name, and many addresses of IPv6.
pub const WIDE: &str = "wide-and-still-wider-than-any-name-that-anybody-should-give.\
a-label-that-is-nearly-as-long-as-a-label-may-be-in-the-dns.\
and-another-one-that-says-nothing-but-takes-its-octets.lb.lab";
/// One that any name below `apps.lb.lab.` is, but for those that are there themselves.
pub const APPS: &str = "*.apps.lb.lab";
/// A static TXT record that does not fit into 512 octets, as many strings of as many octets.
pub const LARGE: (&str, usize, usize) = ("large.lb.lab", 4, 200);
/// A static CNAME into [`SERVICE`], in the mesh zone itself.
pub const INNER: &str = "inner.lb.lab";
/// A name in a zone that the mesh does not serve: an alias of [`SERVICE`].
pub const ALIAS: &str = "www.shop.lab";
/// TTL of all addresses, in seconds: short, so that refreshes come soon. (Knot Resolver makes at least 5 of it.)
pub const SERVICE_TTL: u32 = 2;
/// TTL of a CNAME into a cut, as nodes send it.
pub const REFERRAL_TTL: Duration = Duration::from_secs(60);
/// How long a node answers after it was told to leave.
pub const ANSWER_FOR: Duration = Duration::from_secs(8);
/// Addresses of the wide service: as many as an answer may hold.
const WIDE_ADDRESSES: u16 = 8;

/// The private root's name server.
pub const ROOT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
/// The name server of `lab.` and `shop.lab.`
pub const DNS_A: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 53);
/// The scripted servers of the experiment: of a zone, and of a cut below it.
pub const ASKED: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 53);
/// See [`ASKED`].
pub const CUT: Ipv4Addr = Ipv4Addr::new(10, 49, 2, 53);
/// The zone of the experiment.
pub const EXPERIMENT: &str = "exp.lab";

/// A host's IPv6 address.
pub fn sixth(address: Ipv4Addr) -> Ipv6Addr {
    // Decimal digits read as hexadecimal ones.
    let [a, b, c, d] = address
        .octets()
        .map(|octet| u16::from(octet / 100) * 0x100 + u16::from(octet / 10 % 10) * 0x10 + u16::from(octet % 10));
    Ipv6Addr::new(0xfd00, 0, 0, 0, a, b, c, d)
}

/// Both addresses of a host.
pub fn both(address: Ipv4Addr) -> [IpAddr; 2] {
    [address.into(), sixth(address).into()]
}

/// A node's place.
#[derive(Clone, Copy, Debug)]
pub struct Pop {
    /// The node.
    pub node: &'static str,
    /// For the delay table.
    pub region: &'static str,
    /// Its address.
    pub address: Ipv4Addr,
    /// What it claims by IPv4, each with its preference.
    claims: &'static [(&'static str, u16)],
}

/// All nodes. The resolvers stand beside `fra`; each of them has a second address that `tyo` claims.
pub const POPS: [Pop; 5] = [
    Pop {
        node: "fra",
        region: "eu-central-1",
        address: Ipv4Addr::new(10, 49, 0, 2),
        claims: &[("10.49.0.0/16", 10), ("fd00::10:49:0:0/96", 10)],
    },
    Pop {
        node: "lon",
        region: "eu-west-2",
        address: Ipv4Addr::new(10, 44, 0, 2),
        claims: &[("10.49.0.0/16", 20), ("fd00::10:49:0:0/96", 20)],
    },
    Pop { node: "nyc", region: "us-east-1", address: Ipv4Addr::new(10, 1, 0, 2), claims: &[("10.1.0.0/16", 10)] },
    Pop {
        node: "ohi",
        region: "us-east-2",
        address: Ipv4Addr::new(10, 2, 0, 2),
        claims: &[("10.49.0.0/16", 30), ("10.2.0.0/16", 10)],
    },
    Pop {
        node: "tyo",
        region: "ap-northeast-1",
        address: Ipv4Addr::new(10, 81, 0, 2),
        claims: &[
            ("10.81.0.0/16", 10),
            ("10.49.10.54/32", 10),
            ("10.49.11.54/32", 10),
            ("10.49.12.54/32", 10),
            ("10.49.13.54/32", 10),
        ],
    },
];

/// The node that claims the resolvers, and the one that is next.
pub const OWN: &str = "fra";
/// See [`OWN`].
pub const NEXT: &str = "lon";

/// A web server.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Its region, which is also its id in the catalogue and its host.
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

/// The origin nearest to the resolvers.
pub const NEAREST: &str = "eu-central-1";
/// The origin nearest to `tyo`.
pub const FAR: &str = "ap-northeast-1";

/// A resolver's place, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat(pub u8);

impl Seat {
    /// Where it listens and asks from.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 49, 10 + self.0, 53)
    }

    /// Another address that its queries may leave from, claimed by `tyo`.
    pub fn second(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 49, 10 + self.0, 54)
    }

    /// Two clients in one subnet near Frankfurt, and two in one near Tokyo.
    pub fn clients(self) -> [Ipv4Addr; 4] {
        [(49, 1), (49, 2), (81, 1), (81, 2)].map(|(net, host)| Ipv4Addr::new(10, net, 100 + self.0, host))
    }

    /// All addresses that its queries may leave from.
    pub fn egress(self) -> [IpAddr; 3] {
        [self.address().into(), self.second().into(), sixth(self.address()).into()]
    }
}

/// The addresses of the wide service's servers: all on one host.
fn wide_addresses() -> impl Iterator<Item = IpAddr> {
    let [base, _, _] = ORIGINS.map(|origin| sixth(origin.address).segments());
    (0..WIDE_ADDRESSES).map(move |number| {
        let [a, b, c, d, e, f, g, h] = base;
        Ipv6Addr::new(a, b, c, d, e, f, g, h + 0x100 + number).into()
    })
}

/// The addresses on which an origin's web server listens.
pub fn web_addresses(origin: &Origin) -> Vec<IpAddr> {
    let mut addresses = both(origin.address).to_vec();
    if origin.region == NEAREST {
        addresses.extend(wide_addresses());
    }
    addresses
}

/// Every host of the bed; the resolvers' hosts have these names.
pub fn hosts(resolvers: &[(&str, Seat)]) -> Vec<Host> {
    let also = |address: Ipv4Addr| [IpAddr::from(sixth(address))];
    let mut hosts = vec![
        Host::new("root", "eu-west-2", ROOT).with(also(ROOT)),
        Host::new("dns-a", "us-east-2", DNS_A).with(also(DNS_A)),
        Host::new("asked", "us-east-2", ASKED),
        Host::new("cut", "eu-central-1", CUT),
    ];
    hosts.extend(POPS.iter().map(|pop| Host::new(pop.node, pop.region, pop.address).with(also(pop.address))));
    hosts.extend(ORIGINS.iter().map(|origin| {
        let more = web_addresses(origin).into_iter().skip(1);
        Host::new(origin.region, origin.region, origin.address).with(more)
    }));
    hosts.extend(resolvers.iter().map(|(name, seat)| {
        let clients = seat.clients().map(IpAddr::from);
        Host::new(*name, "eu-central-1", seat.address()).with(seat.egress().into_iter().skip(1)).with(clients)
    }));
    hosts
}

/// The zones of DNS-A: `lab.`, to be signed, and `shop.lab.`
pub fn zones() -> [ZoneFile; 2] {
    let nodes: Vec<(&str, Vec<IpAddr>)> = POPS.iter().map(|pop| (pop.node, both(pop.address).to_vec())).collect();
    let mut lab = named::lab_zone(&both(DNS_A), &nodes);
    lab.text
        .push_str(&format!("shop.lab. NS ns.lab.\n{EXPERIMENT}. NS ns.{EXPERIMENT}.\nns.{EXPERIMENT}. A {ASKED}\n"));
    let shop = named::head("shop.lab.", "ns.lab.")
        + &format!("shop.lab. NS ns.lab.\nmail.shop.lab. A {DNS_A}\n{ALIAS}. CNAME {SERVICE}.\n");
    [lab, ZoneFile { apex: "shop.lab.".to_owned(), text: shop }]
}

/// What a node is to be.
pub fn settings(pop: &Pop) -> Settings {
    Settings {
        name: pop.node.to_owned(),
        pop: pop.region.to_owned(),
        address: pop.address,
        also: Some(sixth(pop.address).into()),
        answer_for: Some(ANSWER_FOR),
        // The first node starts alone; the others join through it, and a node that comes back through any.
        bootstrap: POPS.iter().filter(|other| other.node != pop.node).map(|other| other.address).collect(),
        claims: pop
            .claims
            .iter()
            .map(|(prefix, preference)| Claim { prefix: (*prefix).to_owned(), preference: *preference })
            .collect(),
        finds: None,
        extra: String::new(),
    }
}

/// What stands in the mesh zone beside the services, as a zone file.
pub fn static_records() -> String {
    let (_, strings, octets) = LARGE;
    let large: Vec<String> = (0..strings).map(|_| format!("\"{}\"", "x".repeat(octets))).collect();
    format!(
        "$TTL 300\n@ TXT \"v=spf1 -all\"\n@ MX 10 mail.shop.lab.\n*.wild TXT \"any\"\ninner CNAME www\nlarge TXT {}\n",
        large.join(" ")
    )
}

/// The catalogue, which names the file of [`static_records`] so, and how many servers it has in all.
pub fn catalogue(records: &str) -> (String, usize) {
    let fourth: Vec<(String, IpAddr)> =
        ORIGINS.iter().map(|origin| (origin.region.to_owned(), origin.address.into())).collect();
    let mut all = fourth.clone();
    all.extend(ORIGINS.iter().map(|origin| (format!("{}-v6", origin.region), sixth(origin.address).into())));
    let wide: Vec<(String, IpAddr)> =
        wide_addresses().enumerate().map(|(number, address)| (format!("wide-{number}"), address)).collect();
    let mut text = format!("[[zone]]\nname = \"{ZONE}\"\nrecords = \"{records}\"\n");
    let mut servers = 0;
    for (name, options, pool) in [
        (SERVICE, "", &all),
        (SECOND, "", &fourth),
        (DEEP, "", &fourth),
        (APPS, "", &fourth),
        (ZONE, "mode = \"answer\"\n", &fourth),
        (WIDE, "answers = 8\nspread = \"1s\"\n", &wide),
    ] {
        text.push_str(&format!("\n[[service]]\nname = \"{name}\"\nttl = {SERVICE_TTL}\n{options}"));
        if name == SERVICE {
            text.push_str("[service.https]\nalpn = [\"h2\"]\n");
        }
        text.push_str(&format!("[service.probe]\nkind = \"tcp\"\nport = {}\ninterval = \"2s\"\n", nginx::PORT));
        for (id, address) in pool {
            servers += 1;
            text.push_str(&format!("\n[[service.server]]\nid = \"{id}\"\naddress = \"{address}\"\n"));
        }
    }
    (text, servers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{DEEP, POPS, ROOT, Seat, WIDE, catalogue, hosts, settings, sixth, static_records, zones};
    use crate::scenario::delays;
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    #[test]
    fn the_table_has_every_delay_and_no_two_hosts_share_an_address() {
        let hosts = hosts(&[("unbound", Seat(0)), ("bind", Seat(1))]);
        let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
        for from in &hosts {
            assert!(from.addresses().all(|address| seen.insert(address)), "{} shares an address", from.name);
            for to in &hosts {
                delays::one_way(from.region, to.region).unwrap();
            }
        }
    }

    #[test]
    fn an_ipv6_address_reads_like_the_other_one() {
        assert_eq!(sixth(ROOT).to_string(), "fd00::10:0:0:53");
        assert_eq!(sixth("10.49.113.205".parse().unwrap()).to_string(), "fd00::10:49:113:205");
    }

    #[test]
    fn every_resolver_is_claimed_by_fra_and_its_second_address_by_tyo() {
        for seat in (0..4).map(Seat) {
            let second = format!("{}/32", seat.second());
            let tyo = settings(POPS.iter().find(|pop| pop.node == "tyo").unwrap());
            assert!(tyo.claims.iter().any(|claim| claim.prefix == second), "{second}");
            assert!(seat.address().to_string().starts_with("10.49."));
        }
    }

    #[test]
    fn zones_and_catalogue_have_what_the_cases_ask_for() {
        let (text, servers) = catalogue("lb.lab.zone");
        assert!(WIDE.len() > 160 && WIDE.split('.').all(|label| label.len() < 64), "{WIDE}");
        for name in [DEEP, WIDE] {
            assert!(text.contains(&format!("name = \"{name}\"")));
        }
        assert_eq!(servers, 6 + 3 + 3 + 3 + 3 + 8);
        assert!(text.contains("records = \"lb.lab.zone\"") && static_records().len() > 4 * 200);
        let [lab, shop] = zones();
        assert!(lab.text.contains("exp.lab. NS ns.exp.lab.\nns.exp.lab. A 10.0.2.53\n"));
        assert!(shop.text.ends_with("www.shop.lab. CNAME www.lb.lab.\n"));
    }
}
