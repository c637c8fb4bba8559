//! The parts of a world, each as the geography and the plan want it.

use super::disk::DISK_MIB;
use super::fault::Fault;
use super::geography::{Geography, Pop};
use super::plan::Plan;
use super::world::{DNS_A, NOWHERE, NOWHERE_HOST, ROOT, SERVICE, ZONE};
use crate::bed::nigh::{Claim, Node, Operator, Settings};
use crate::bed::{Bed, Host, named, nginx};
use crate::lab::{Daemon, ram};
use crate::machine;
use anyhow::{Context, Result};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// Nodes through which others join.
const BOOTSTRAP: usize = 2;
/// How long a node answers after it was told to end.
const ANSWER_FOR: Duration = Duration::from_secs(2);
/// The file that a node's clock is read from, beside its state.
const CLOCK: &str = "clock";

pub(super) fn start_dns_a(bed: &Bed, delegated: &[(&str, Vec<IpAddr>)]) -> Result<Daemon> {
    named::start(bed, "dns-a", DNS_A, &[named::lab_zone(&[DNS_A.into()], delegated)])
}

/// Starts a node, with what the plan's faults need: a small disk, a clock of its own.
pub(super) fn start_node(
    operator: &Operator,
    bed: &Bed,
    plan: &Plan,
    number: usize,
    settings: Settings,
) -> Result<Node> {
    let faults: Vec<&Fault> = plan.faults.iter().map(|planned| &planned.fault).collect();
    let clock = faults.iter().any(|fault| matches!(fault, Fault::Clock { node, .. } if *node == number));
    let small = faults.iter().any(|fault| matches!(fault, Fault::DiskFull { node } if *node == number));
    let mut environment = Vec::new();
    if clock {
        let file = bed.run().host_directory(&settings.name)?.join(CLOCK);
        fs::write(&file, "+0\n").with_context(|| format!("writing {}", file.display()))?;
        let library = machine::faketime().context("no libfaketime: run chaos-tests/install-packages")?;
        environment = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
            // Read again every second; timers keep the kernel's monotonic clock, files their times.
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec();
    }
    let prepare = |state: &Path| if small { ram::mount(state, DISK_MIB) } else { Ok(()) };
    match plan.other.as_deref().filter(|_| plan.of_the_other_version().contains(&number)) {
        Some(other) => operator.with(other).start_node_in(bed, settings, environment, prepare),
        None => operator.start_node_in(bed, settings, environment, prepare),
    }
}

pub(super) fn hosts(geography: &Geography, plan: &Plan) -> Vec<Host> {
    let host = |name: &str, address| Host::new(name, "", address);
    let mut hosts = vec![host("root", ROOT), host("dns-a", DNS_A), host(NOWHERE_HOST, NOWHERE)];
    for pop in &geography.pops {
        hosts.extend([host(&pop.node, pop.address), host(&pop.isp, pop.resolver).with([pop.renumbered.into()])]);
    }
    hosts.extend(super::hostile::hosts(plan));
    hosts.extend(geography.origins.iter().map(|origin| host(&origin.id, origin.address)));
    hosts
}

/// A node claims its ISP, and as the next best the ISP of those to which it is nearest.
pub(super) fn settings(geography: &Geography, pop: &Pop) -> Settings {
    let claim = |of: &Pop, preference| Claim { prefix: format!("{}/32", of.resolver), preference };
    let mut claims = vec![claim(pop, 10)];
    let next_of = geography.pops.iter().filter(|other| geography.neighbour(other).is_some_and(|n| n.node == pop.node));
    claims.extend(next_of.map(|other| claim(other, 20)));
    Settings {
        name: pop.node.clone(),
        pop: pop.site.clone(),
        address: pop.address,
        also: None,
        answer_for: Some(ANSWER_FOR),
        bootstrap: geography
            .pops
            .iter()
            .take(BOOTSTRAP)
            .filter(|first| *first != pop)
            .map(|first| first.address)
            .collect(),
        claims,
        extra: String::new(),
        finds: None,
    }
}

/// The catalogue; `listed` are the zone's name servers, all that there are if it is empty.
pub(super) fn catalogue(geography: &Geography, listed: &[&str]) -> String {
    let nameservers = match listed {
        [] => String::new(),
        listed => format!("nameservers = {listed:?}\n"),
    };
    let mut text = format!(
        r#"[[zone]]
name = "{ZONE}"
{nameservers}
[[service]]
name = "{SERVICE}"
ttl = 1

[service.probe]
kind = "http"
port = {port}
path = "/healthz"
interval = "1s"
timeout = "900ms"
fall = 2
"#,
        port = nginx::PORT,
    );
    for origin in &geography.origins {
        text.push_str(&format!("\n[[service.server]]\nid = \"{}\"\naddress = \"{}\"\n", origin.id, origin.address));
    }
    text
}

/// Sets the clock of a node that was started with one of its own.
pub(super) fn set_clock(node: &Node, minutes: i64) -> Result<()> {
    let file = node.state().with_file_name(CLOCK);
    fs::write(&file, format!("{minutes:+}m\n")).with_context(|| format!("writing {}", file.display()))
}
