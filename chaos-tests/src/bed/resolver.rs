//! DNS-ISP: the resolver of an ISP. Scenarios name none; which program it is, is an argument.

use super::stub::Stub;
use super::{Bed, START_PATIENCE, named, write};
use crate::lab::Daemon;
use crate::lab::wait::{Look, until};
use anyhow::Result;
use hickory_proto::rr::RecordType;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What a resolver is to do in a bed.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// Where its configuration and whatever it writes belong.
    pub directory: &'a Path,
    /// Where it listens, on port 53, and the source of its own queries.
    pub address: Ipv4Addr,
    /// A file with the hints of the private root. Nothing is signed: validation must be off.
    pub root_hints: &'a Path,
}

/// A resolver program. At its defaults otherwise: the scenarios are about what real ISPs run.
pub trait Resolver {
    /// Its name in logs and tables.
    fn name(&self) -> &'static str;

    /// Writes the configuration and gives the command that runs it in the foreground, as root, as one process
    /// (a process that changes its user or has workers would outlive a killed harness).
    fn prepare(&self, task: &Task<'_>) -> Result<Command>;
}

/// Starts a resolver on a host and waits until it can resolve a name of the private root.
pub fn start(bed: &Bed, resolver: &dyn Resolver, host: &str, address: Ipv4Addr, root: Ipv4Addr) -> Result<Daemon> {
    let directory = bed.run().host_directory(host)?;
    let root_hints = directory.join("root.hints");
    write(&root_hints, &named::root_hints(root))?;
    let command = resolver.prepare(&Task { directory: &directory, address, root_hints: &root_hints })?;
    let mut daemon = bed.daemon(host, resolver.name(), command)?;
    let client = Stub::inside(bed.space(host)?, address)?;
    until(&format!("{} on {host} resolves ns.lab", resolver.name()), START_PATIENCE, || {
        daemon.alive()?;
        Ok(match client.ask_once("ns.lab", RecordType::A, Duration::from_millis(500)) {
            Ok(reply) if reply.is_good() => Look::Done(()),
            Ok(reply) => Look::NotYet(reply.code.to_string()),
            Err(failure) => Look::NotYet(failure.to_string()),
        })
    })?;
    Ok(daemon)
}
