//! The parts that a scenario builds its world of: hosts on an emulated WAN, and the daemons and clients on them.
//!
//! One file a part; each knows how to configure its program for this world and how to tell that it is ready. A host has an
//! IPv4 address, and more of both families if it is given them.

pub mod asker;
pub mod bind;
pub mod cable;
pub mod dns_a;
pub mod http;
pub mod knock;
pub mod kresd;
pub mod named;
pub mod nginx;
pub mod nigh;
pub mod nigh_json;
pub mod pdns;
pub mod pulse;
pub mod resolver;
pub mod scripted;
pub mod signer;
pub mod spray;
pub mod stub;
pub mod unbound;
pub mod wire;

use crate::lab::{Daemon, Namespace, Run, netns};
use crate::machine;
use crate::wan::{DEVICE, Link, Port, Wan};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Every address of a bed is reached through the WAN: 10.0.0.0/8 and fd00::/8.
const PREFIX_LEN: u8 = 8;
/// A daemon on a busy machine with two processors is up in well under a second; this is for a bad day.
pub const START_PATIENCE: Duration = Duration::from_secs(20);

/// A host of a bed.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name: of its namespace, its directory, and its end of a link.
    pub name: String,
    /// Where it stands, as the delay table calls it.
    pub region: &'static str,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its other addresses.
    pub more: Vec<IpAddr>,
}

impl Host {
    /// A host.
    pub fn new(name: impl Into<String>, region: &'static str, address: Ipv4Addr) -> Self {
        Self { name: name.into(), region, address, more: Vec::new() }
    }

    /// The same with more addresses.
    #[must_use]
    pub fn with(mut self, more: impl IntoIterator<Item = IpAddr>) -> Self {
        self.more.extend(more);
        self
    }

    /// All its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(self.address.into()).chain(self.more.iter().copied())
    }
}

/// Hosts in namespaces on a WAN. Dropped, all of it is gone.
pub struct Bed {
    // The order matters: devices before namespaces, namespaces before the run's directory.
    wan: Wan,
    spaces: BTreeMap<String, Namespace>,
    run: Run,
}

impl Bed {
    /// Makes the hosts and connects them, each pair by the link that `link` gives from the first to the second.
    pub fn build(run: Run, hosts: &[Host], seed: u64, link: impl Fn(&Host, &Host) -> Result<Link>) -> Result<Self> {
        let mut spaces = BTreeMap::new();
        let mut ports = Vec::new();
        for host in hosts {
            let space = run.namespace(&host.name)?;
            ports.push(Port {
                name: host.name.clone(),
                namespace: space.name().to_owned(),
                addresses: host.addresses().map(|address| (address, PREFIX_LEN)).collect(),
            });
            spaces.insert(host.name.clone(), space);
        }
        let wan = Wan::start(&ports, seed)?;
        for from in hosts {
            for to in hosts.iter().filter(|to| to.name != from.name) {
                wan.set(&from.name, &to.name, link(from, to)?)?;
            }
        }
        Ok(Self { wan, spaces, run })
    }

    /// The WAN, to be changed live.
    pub fn wan(&self) -> &Wan {
        &self.wan
    }

    /// The run, for its directory.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The namespace of a host.
    pub fn space(&self, host: &str) -> Result<&Namespace> {
        self.spaces.get(host).with_context(|| format!("no host {host} in this bed"))
    }

    /// From which of its addresses a host's packets leave, if their program leaves that to the routing table.
    pub fn leaves_from(&self, host: &str, source: Ipv4Addr) -> Result<()> {
        let route = format!("route replace 10.0.0.0/{PREFIX_LEN} dev {DEVICE} proto kernel scope link src {source}");
        netns::configure(self.space(host)?.name(), &[route])
    }

    /// Starts a program on a host; its log is `PROGRAM.log` in the host's directory.
    pub fn daemon(&self, host: &str, program: &str, command: Command) -> Result<Daemon> {
        let log = self.run.host_directory(host)?.join(format!("{program}.log"));
        Daemon::start(&format!("{program} on {host}"), command, Some(self.space(host)?), log)
    }
}

/// Writes a file of a bed.
fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// A Debian daemon that may be started with our own configuration.
///
/// AppArmor lets `named` and `unbound` at their usual paths read only their usual directories, so where it is on,
/// a copy in the host's directory is started: profiles go by path.
fn runnable(name: &str, directory: &Path) -> Result<PathBuf> {
    let Some(program) = machine::program(name) else {
        bail!("no {name} on this machine: run chaos-tests/install-packages");
    };
    if apparmor() { private_copy(&program, directory) } else { Ok(program) }
}

fn apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|state| state.starts_with('Y'))
}

fn private_copy(program: &Path, directory: &Path) -> Result<PathBuf> {
    let name = program.file_name().with_context(|| format!("{} has no name", program.display()))?;
    let copy = directory.join(name);
    fs::copy(program, &copy).with_context(|| format!("copying {} to {}", program.display(), copy.display()))?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::private_copy;
    use std::process::Command;

    #[test]
    fn a_private_copy_of_a_program_runs() {
        let directory = tempfile::tempdir().unwrap();
        let copy = private_copy(&crate::machine::program("true").unwrap(), directory.path()).unwrap();
        assert!(copy.starts_with(directory.path()));
        assert!(Command::new(copy).status().unwrap().success());
    }
}
