//! A private root and DNS-A, the zone owner's name server, on BIND 9.

use super::stub::Stub;
use super::{Bed, START_PATIENCE, runnable, write};
use crate::lab::Daemon;
use crate::lab::wait::{Look, until};
use anyhow::Result;
use hickory_proto::rr::RecordType;
use std::net::Ipv4Addr;
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
pub fn root_zone(root: Ipv4Addr, dns_a: Ipv4Addr) -> ZoneFile {
    let mut text = head(".", "a.root.");
    text.push_str(&format!(". NS a.root.\na.root. A {root}\nlab. NS ns.lab.\nns.lab. A {dns_a}\n"));
    ZoneFile { apex: ".".to_owned(), text }
}

/// `lab.` at DNS-A: it delegates `lb.lab.` to these nodes by names inside the mesh zone, with their glue.
pub fn lab_zone(dns_a: Ipv4Addr, nodes: &[(&str, Ipv4Addr)]) -> ZoneFile {
    let mut text = head("lab.", "ns.lab.");
    text.push_str(&format!("lab. NS ns.lab.\nns.lab. A {dns_a}\n"));
    for (node, address) in nodes {
        text.push_str(&format!("lb.lab. NS ns-{node}.lb.lab.\nns-{node}.lb.lab. A {address}\n"));
    }
    ZoneFile { apex: "lab.".to_owned(), text }
}

fn head(apex: &str, server: &str) -> String {
    format!("$TTL {TTL}\n{apex} SOA {server} hostmaster.lab. 1 3600 600 86400 30\n")
}

/// The hints by which a resolver finds this root.
pub fn root_hints(root: Ipv4Addr) -> String {
    format!(". {TTL} NS a.root.\na.root. {TTL} A {root}\n")
}

/// Starts BIND on a host for one zone and waits until it answers for it.
pub fn start(bed: &Bed, host: &str, address: Ipv4Addr, zone: &ZoneFile) -> Result<Daemon> {
    let directory = bed.run().host_directory(host)?;
    write(&directory.join("zone"), &zone.text)?;
    write(&directory.join("named.conf"), &configuration(&directory.display().to_string(), address, &zone.apex))?;
    let mut command = Command::new(runnable("named", &directory)?);
    command.args(["-4", "-g", "-n", "1", "-c"]).arg(directory.join("named.conf"));
    let mut daemon = bed.daemon(host, "named", command)?;
    let client = Stub::inside(bed.space(host)?, address)?;
    until(&format!("BIND on {host} serves {}", zone.apex), START_PATIENCE, || {
        daemon.alive()?;
        Ok(match client.ask_once(&zone.apex, RecordType::SOA, Duration::from_millis(200)) {
            Ok(reply) if reply.is_good() => Look::Done(()),
            Ok(reply) => Look::NotYet(reply.code.to_string()),
            Err(failure) => Look::NotYet(failure.to_string()),
        })
    })?;
    Ok(daemon)
}

fn configuration(directory: &str, address: Ipv4Addr, apex: &str) -> String {
    format!(
        r#"options {{
    directory "{directory}";
    listen-on {{ {address}; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    lock-file none;
    session-keyfile "{directory}/session.key";
    recursion no;
    dnssec-validation no;
    notify no;
}};
controls {{ }};
zone "{apex}" {{ type primary; file "zone"; }};
"#
    )
}

#[cfg(test)]
mod tests {
    use super::{lab_zone, root_zone};
    use std::net::Ipv4Addr;

    #[test]
    fn dns_a_delegates_to_every_node_by_an_in_domain_name_with_glue() {
        let nodes = [("fra", Ipv4Addr::new(10, 1, 0, 2)), ("nyc", Ipv4Addr::new(10, 2, 0, 2))];
        let zone = lab_zone(Ipv4Addr::new(10, 0, 1, 53), &nodes);
        assert_eq!(zone.apex, "lab.");
        for line in [
            "lb.lab. NS ns-fra.lb.lab.\nns-fra.lb.lab. A 10.1.0.2\n",
            "lb.lab. NS ns-nyc.lb.lab.\nns-nyc.lb.lab. A 10.2.0.2\n",
        ] {
            assert!(zone.text.contains(line), "{}", zone.text);
        }
    }

    #[test]
    fn the_root_knows_itself_and_dns_a() {
        let zone = root_zone(Ipv4Addr::new(10, 0, 0, 53), Ipv4Addr::new(10, 0, 1, 53));
        assert!(zone.text.contains("\n. NS a.root.\na.root. A 10.0.0.53\nlab. NS ns.lab.\nns.lab. A 10.0.1.53\n"));
    }
}
