//! DNS-ISP: the resolver of an ISP. Scenarios name none; which program it is, and what it is told, are arguments.

use super::signer::Anchor;
use super::stub::Stub;
use super::{Bed, START_PATIENCE, named, write};
use crate::lab::Daemon;
use crate::lab::wait::{Look, until};
use anyhow::Result;
use hickory_proto::rr::RecordType;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What a resolver does otherwise than by its defaults (but that it does not validate, unless it has an anchor).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Its queries leave from whatever address the routing table chooses, not from the one where it listens.
    pub routed: bool,
    /// Its queries leave from these addresses, by their families. Empty: from the one where it listens.
    pub sources: Vec<IpAddr>,
    /// Its queries go by TCP only.
    pub tcp: bool,
    /// What it says that it takes by UDP.
    pub udp_size: Option<u16>,
    /// QNAME minimisation (RFC 9156) without falling back to whole names, where a resolver knows such a form.
    pub strict_minimisation: bool,
    /// Letters of random case in its questions ("0x20").
    pub random_case: bool,
    /// It sends its client's subnet, a /24, with questions for names in this zone (RFC 7871).
    pub client_subnet: Option<String>,
    /// It validates below this anchor, and makes negative answers from NSEC records that it holds (RFC 8198).
    pub anchor: Option<Anchor>,
}

impl Manner {
    /// The sources of a family.
    pub fn sources_of(&self, ipv4: bool) -> impl Iterator<Item = IpAddr> {
        self.sources.iter().copied().filter(move |source| source.is_ipv4() == ipv4)
    }

    /// Whether it has several sources of one family.
    pub fn is_a_farm(&self) -> bool {
        self.sources_of(true).count() > 1 || self.sources_of(false).count() > 1
    }
}

/// What a resolver is to do in a bed.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// Where its configuration and whatever it writes belong.
    pub directory: &'a Path,
    /// Where it listens, on port 53, and unless its manner says otherwise the source of its own queries; then its family
    /// is the only one that it speaks.
    pub address: IpAddr,
    /// A file with the hints of the private root, which is not signed.
    pub root_hints: &'a Path,
    /// How it differs from its defaults.
    pub manner: &'a Manner,
}

/// A resolver program. At its defaults otherwise: the scenarios are about what real ISPs run.
pub trait Resolver: Sync {
    /// Its name in logs and tables.
    fn name(&self) -> &'static str;

    /// Why it cannot be told to be so, if it cannot.
    fn lacks(&self, manner: &Manner) -> Option<&'static str> {
        let _ = manner;
        None
    }

    /// Writes the configuration and gives the command that runs it in the foreground, as root, as one process
    /// (a process that changes its user or has workers would outlive a killed harness).
    fn prepare(&self, task: &Task<'_>) -> Result<Command>;
}

/// Starts a resolver on a host and waits until it can resolve a name of the private root.
pub fn start(
    bed: &Bed,
    resolver: &dyn Resolver,
    host: &str,
    address: IpAddr,
    root: &[IpAddr],
    manner: &Manner,
) -> Result<Daemon> {
    let mut daemon = launch(bed, resolver, host, address, root, manner)?;
    let client = Stub::inside(bed.space(host)?, address)?;
    until(&format!("{} on {host} resolves ns.lab", resolver.name()), START_PATIENCE, || {
        daemon.alive()?;
        Ok(ready(&client))
    })?;
    Ok(daemon)
}

/// Starts a resolver on a host without waiting for it.
pub fn launch(
    bed: &Bed,
    resolver: &dyn Resolver,
    host: &str,
    address: IpAddr,
    root: &[IpAddr],
    manner: &Manner,
) -> Result<Daemon> {
    let directory = bed.run().host_directory(host)?;
    let root_hints = directory.join("root.hints");
    write(&root_hints, &named::root_hints(root))?;
    let command = resolver.prepare(&Task { directory: &directory, address, root_hints: &root_hints, manner })?;
    bed.daemon(host, resolver.name(), command)
}

/// Whether a resolver can resolve a name of the private root by now.
pub fn ready(client: &Stub) -> Look<()> {
    match client.ask_once("ns.lab", RecordType::A, Duration::from_millis(500)) {
        Ok(reply) if reply.is_good() => Look::Done(()),
        Ok(reply) => Look::NotYet(reply.code.to_string()),
        Err(failure) => Look::NotYet(failure.to_string()),
    }
}

/// Checks what a resolver's configuration holds: these lines when it is told nothing and speaks IPv4; when it is told
/// all that there is and speaks IPv6, these others, and not its own source address, which the routing table chooses.
#[cfg(test)]
pub(crate) fn assert_told(text: fn(&Task<'_>) -> String, plain: &[&str], everything: &[&str], absent: &str) {
    let (directory, root_hints) = (Path::new("/bed"), Path::new("/bed/root.hints"));
    let told = |address, manner: &Manner, lines: &[&str]| {
        let said = text(&Task { directory, address, root_hints, manner });
        for line in lines {
            assert!(said.contains(line), "{line}: {said}");
        }
        said
    };
    told(std::net::Ipv4Addr::new(10, 0, 0, 9).into(), &Manner::default(), plain);
    let anchor = Anchor { zone: "lab.".to_owned(), tag: 1, algorithm: 13, kind: 2, digest: "AB".to_owned() };
    let manner = Manner {
        routed: true,
        sources: Vec::new(),
        tcp: true,
        udp_size: Some(512),
        strict_minimisation: true,
        random_case: true,
        client_subnet: Some("lb.lab".to_owned()),
        anchor: Some(anchor),
    };
    let said = told(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9).into(), &manner, everything);
    assert!(!said.contains(absent), "the routing table chooses: {said}");
}
