//! A private root and DNS-A, the zone owner's name server, on BIND 9.

use super::stub::Stub;
use super::{Bed, START_PATIENCE, runnable, write};
use crate::lab::Daemon;
use crate::lab::wait::{Look, until};
use anyhow::Result;
use hickory_proto::rr::RecordType;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

/// TTL of everything in these zones: longer than any scenario, as delegations are.
const TTL: u32 = 3600;

/// A zone file.
#[derive(Clone, Debug)]
pub struct ZoneFile {
    /// The zone's name, with the dot at the end.
    pub apex: String,
    /// Its records.
    pub text: String,
}

/// The root: it knows itself and who serves `lab.`.
pub fn root_zone(root: &[IpAddr], dns_a: &[IpAddr]) -> ZoneFile {
    let mut text = head(".", "a.root.");
    text.push_str(&format!(". NS a.root.\n{}", addresses("a.root.", root)));
    text.push_str(&format!("lab. NS ns.lab.\n{}", addresses("ns.lab.", dns_a)));
    ZoneFile { apex: ".".to_owned(), text }
}

/// `lab.` at DNS-A: it delegates `lb.lab.` to these nodes by names inside the mesh zone, with their glue.
pub fn lab_zone(dns_a: &[IpAddr], nodes: &[(&str, Vec<IpAddr>)]) -> ZoneFile {
    let mut text = head("lab.", "ns.lab.");
    text.push_str(&format!("lab. NS ns.lab.\n{}", addresses("ns.lab.", dns_a)));
    for (node, own) in nodes {
        let name = format!("ns-{node}.lb.lab.");
        text.push_str(&format!("lb.lab. NS {name}\n{}", addresses(&name, own)));
    }
    ZoneFile { apex: "lab.".to_owned(), text }
}

/// The SOA record of a zone whose name server is DNS-A, and the default TTL of what follows.
pub fn head(apex: &str, server: &str) -> String {
    format!("$TTL {TTL}\n{apex} SOA {server} hostmaster.lab. 1 3600 600 86400 30\n")
}

/// The address records of a name.
pub fn addresses(name: &str, addresses: &[IpAddr]) -> String {
    let kind = |address: &IpAddr| if address.is_ipv4() { "A" } else { "AAAA" };
    addresses.iter().map(|address| format!("{name} {} {address}\n", kind(address))).collect()
}

/// The hints by which a resolver finds this root.
pub fn root_hints(root: &[IpAddr]) -> String {
    format!(". {TTL} NS a.root.\n{}", addresses(&format!("a.root. {TTL}"), root))
}

/// Starts BIND on a host for some zones, on all its addresses, and waits until it answers for all of them.
pub fn start(bed: &Bed, host: &str, address: Ipv4Addr, zones: &[ZoneFile]) -> Result<Daemon> {
    let directory = bed.run().host_directory(host)?;
    let mut text = configuration(&directory.display().to_string());
    for (number, zone) in zones.iter().enumerate() {
        let file = format!("zone-{number}");
        write(&directory.join(&file), &zone.text)?;
        text.push_str(&format!("zone \"{}\" {{ type primary; file \"{file}\"; }};\n", zone.apex));
    }
    write(&directory.join("named.conf"), &text)?;
    let mut command = Command::new(runnable("named", &directory)?);
    command.args(["-g", "-n", "1", "-c"]).arg(directory.join("named.conf"));
    let mut daemon = bed.daemon(host, "named", command)?;
    let client = Stub::inside(bed.space(host)?, address)?;
    for zone in zones {
        until(&format!("BIND on {host} serves {}", zone.apex), START_PATIENCE, || {
            daemon.alive()?;
            Ok(match client.ask_once(&zone.apex, RecordType::SOA, Duration::from_millis(200)) {
                Ok(reply) if reply.is_good() => Look::Done(()),
                Ok(reply) => Look::NotYet(reply.code.to_string()),
                Err(failure) => Look::NotYet(failure.to_string()),
            })
        })?;
    }
    Ok(daemon)
}

fn configuration(directory: &str) -> String {
    format!(
        r#"options {{
    directory "{directory}";
    listen-on {{ any; }};
    listen-on-v6 {{ any; }};
    pid-file none;
    lock-file none;
    session-keyfile "{directory}/session.key";
    recursion no;
    dnssec-validation no;
    notify no;
}};
controls {{ }};
"#
    )
}

#[cfg(test)]
mod tests {
    use super::{lab_zone, root_hints, root_zone};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    const ROOT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));
    const DNS_A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 53));
    const SIXTH: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));

    #[test]
    fn dns_a_delegates_to_every_node_by_an_in_domain_name_with_glue() {
        let nodes = [("fra", vec![Ipv4Addr::new(10, 1, 0, 2).into()]), ("nyc", vec![ROOT, SIXTH])];
        let zone = lab_zone(&[DNS_A], &nodes);
        assert_eq!(zone.apex, "lab.");
        for line in [
            "lb.lab. NS ns-fra.lb.lab.\nns-fra.lb.lab. A 10.1.0.2\n",
            "lb.lab. NS ns-nyc.lb.lab.\nns-nyc.lb.lab. A 10.0.0.53\nns-nyc.lb.lab. AAAA fd00::1\n",
        ] {
            assert!(zone.text.contains(line), "{}", zone.text);
        }
    }

    #[test]
    fn the_root_knows_itself_and_dns_a_and_the_hints_know_the_root() {
        let zone = root_zone(&[ROOT], &[DNS_A]);
        assert!(zone.text.contains("\n. NS a.root.\na.root. A 10.0.0.53\nlab. NS ns.lab.\nns.lab. A 10.0.1.53\n"));
        assert_eq!(
            root_hints(&[ROOT, SIXTH]),
            ". 3600 NS a.root.\na.root. 3600 A 10.0.0.53\na.root. 3600 AAAA fd00::1\n"
        );
    }
}
