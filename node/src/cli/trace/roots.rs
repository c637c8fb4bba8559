//! Where a walk begins: at the root, at a root of one's own, or at one server.

use std::net::IpAddr;

use hickory_proto::rr::Name;

use super::reading::{Delegation, NameServer};

/// The largest file of hints that is read: IANA's has 3 KiB.
pub(crate) const MAX_HINTS: u64 = 256 << 10;

/// The root's servers, as IANA publishes them (root hints of 2024).
const ROOT: [(&str, &str, &str); 13] = [
    ("a.root-servers.net.", "198.41.0.4", "2001:503:ba3e::2:30"),
    ("b.root-servers.net.", "170.247.170.2", "2801:1b8:10::b"),
    ("c.root-servers.net.", "192.33.4.12", "2001:500:2::c"),
    ("d.root-servers.net.", "199.7.91.13", "2001:500:2d::d"),
    ("e.root-servers.net.", "192.203.230.10", "2001:500:a8::e"),
    ("f.root-servers.net.", "192.5.5.241", "2001:500:2f::f"),
    ("g.root-servers.net.", "192.112.36.4", "2001:500:12::d0d"),
    ("h.root-servers.net.", "198.97.190.53", "2001:500:1::53"),
    ("i.root-servers.net.", "192.36.148.17", "2001:7fe::53"),
    ("j.root-servers.net.", "192.58.128.30", "2001:503:c27::2:30"),
    ("k.root-servers.net.", "193.0.14.129", "2001:7fd::1"),
    ("l.root-servers.net.", "199.7.83.42", "2001:500:9f::42"),
    ("m.root-servers.net.", "202.12.27.33", "2001:dc3::35"),
];

/// The root's servers.
pub(crate) fn iana() -> Delegation {
    let server = |(name, v4, v6): &(&str, &str, &str)| NameServer {
        name: Name::from_ascii(name).ok(),
        addresses: [v4, v6].iter().filter_map(|address| address.parse().ok()).collect(),
    };
    Delegation { zone: Name::root(), servers: ROOT.iter().map(server).collect(), ttl: 0 }
}

/// A root of one's own at these addresses.
pub(crate) fn own(addresses: &[IpAddr]) -> Delegation {
    let server = |address: &IpAddr| NameServer { name: Some(Name::root()), addresses: vec![*address] };
    Delegation { zone: Name::root(), servers: addresses.iter().map(server).collect(), ttl: 0 }
}

/// One server, asked as a server of a zone.
pub(crate) fn at(address: IpAddr, zone: Name) -> Delegation {
    Delegation { zone, servers: vec![NameServer { name: None, addresses: vec![address] }], ttl: 0 }
}

/// A file of hints, as resolvers read it: `NAME [TTL] [IN] A|AAAA ADDRESS` a line, and NS lines that are not needed.
pub(crate) fn hints(text: &str) -> Result<Delegation, String> {
    let mut servers: Vec<NameServer> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split(';').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let [owner, .., rtype, data] = words.as_slice() else { continue };
        if !rtype.eq_ignore_ascii_case("A") && !rtype.eq_ignore_ascii_case("AAAA") {
            continue;
        }
        let at = |problem: String| format!("line {}: {problem}", number + 1);
        let address: IpAddr = data.parse().map_err(|_| at(format!("{data} is no address")))?;
        let mut name = Name::from_ascii(owner).map_err(|error| at(format!("{owner}: {error}")))?.to_lowercase();
        name.set_fqdn(true);
        match servers.iter_mut().find(|server| server.name.as_ref() == Some(&name)) {
            Some(server) => server.addresses.push(address),
            None => servers.push(NameServer { name: Some(name), addresses: vec![address] }),
        }
    }
    if servers.is_empty() {
        return Err("no address of a root server in it: lines such as \"a.root. 3600 A 192.0.2.1\" are expected".into());
    }
    Ok(Delegation { zone: Name::root(), servers, ttl: 0 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hints_are_read_as_resolvers_do() {
        let text = "; hints\n. 3600 NS a.root.\na.root. 3600 IN A 10.0.0.53\nA.ROOT. 3600 AAAA fd00::1 ; six\n";
        let root = hints(text).unwrap();
        let [server] = root.servers.as_slice() else { panic!("{root:?}") };
        assert_eq!(server.addresses, ["10.0.0.53".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
        assert_eq!(hints("a.root. A ten\n").unwrap_err(), "line 1: ten is no address");
        assert!(hints(". NS a.root.").is_err());
    }

    #[test]
    fn the_root_has_thirteen_servers_with_two_addresses_each() {
        let root = iana();
        assert!(root.servers.len() == 13 && root.servers.iter().all(|server| server.addresses.len() == 2), "{root:?}");
    }
}
