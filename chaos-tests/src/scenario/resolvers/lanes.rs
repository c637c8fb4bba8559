//! The resolvers of a case: each at its seat with fresh processes, asked side by side.
//!
//! A lane that has failed does nothing more; the others go on, and its failure stands in the table.

use super::judge::{Landing, landing};
use super::places::{REFERRAL_TTL, ROOT, Seat, both, sixth};
use crate::bed::bind::Bind;
use crate::bed::kresd::Kresd;
use crate::bed::pdns::Pdns;
use crate::bed::resolver::{self, Manner, Resolver};
use crate::bed::stub::{Reply, Stub};
use crate::bed::unbound::Unbound;
use crate::bed::{Bed, START_PATIENCE};
use crate::lab::Daemon;
use crate::lab::wait::{Look, until};
use anyhow::{Context, Result, anyhow, bail};
use hickory_proto::rr::RecordType;
use std::net::IpAddr;
use std::time::Duration;

/// A resolver and where it sits.
pub struct Kind {
    /// The program.
    pub resolver: &'static dyn Resolver,
    /// Its seat; its host is named like the program.
    pub seat: Seat,
}

/// All resolvers.
pub static KINDS: [Kind; 4] = [
    Kind { resolver: &Unbound, seat: Seat(0) },
    Kind { resolver: &Bind, seat: Seat(1) },
    Kind { resolver: &Pdns, seat: Seat(2) },
    Kind { resolver: &Kresd, seat: Seat(3) },
];

/// A lookup of a case.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What it was for.
    pub what: &'static str,
    /// How long it took.
    pub took: Duration,
    /// Where it led, if it led to an origin.
    pub origin: Option<&'static str>,
}

/// One resolver in one case.
pub struct Lane {
    /// Which.
    pub kind: &'static Kind,
    /// How it is configured.
    pub manner: Manner,
    /// Where it listens.
    pub address: IpAddr,
    /// Its lookups so far.
    pub asked: Vec<Asked>,
    /// What else was seen.
    pub notes: Vec<String>,
    /// What went wrong.
    pub fault: Option<String>,
    stub: Stub,
    daemon: Daemon,
}

impl Lane {
    /// Starts the resolver of this kind; it is not ready yet.
    pub fn launch(bed: &Bed, kind: &'static Kind, manner: &Manner, by_ipv6: bool) -> Result<Self> {
        let own = kind.seat.address();
        let address: IpAddr = if by_ipv6 { sixth(own).into() } else { own.into() };
        let host = kind.resolver.name();
        let daemon = resolver::launch(bed, kind.resolver, host, address, &both(ROOT), manner)?;
        let stub = Stub::inside(bed.space(host)?, address)?;
        Ok(Self {
            kind,
            manner: manner.clone(),
            address,
            asked: Vec::new(),
            notes: Vec::new(),
            fault: None,
            stub,
            daemon,
        })
    }

    /// The program's name, which is also the host's.
    pub fn name(&self) -> &'static str {
        self.kind.resolver.name()
    }

    /// Waits until it can resolve a name of the private root.
    pub fn ready(&mut self) -> Result<()> {
        let what = format!("{} resolves ns.lab", self.name());
        until(&what, START_PATIENCE, || {
            self.daemon.alive()?;
            Ok(resolver::ready(&self.stub))
        })
    }

    /// An error if it has ended.
    pub fn alive(&mut self) -> Result<()> {
        self.daemon.alive()
    }

    /// A client of its own, for a thread or with a source address.
    pub fn client(&self, bed: &Bed, source: Option<IpAddr>) -> Result<Stub> {
        let space = bed.space(self.name())?;
        match source {
            Some(source) => Stub::inside_from(space, source, self.address),
            None => Stub::inside(space, self.address),
        }
    }

    /// Asks, whatever comes.
    pub fn ask(&mut self, what: &'static str, name: &str, kind: RecordType) -> Result<Reply> {
        let lookup = self.stub.ask(name, kind);
        let origin = lookup.outcome.as_ref().ok().and_then(|reply| Some(landing(reply).ok()?.origin));
        self.asked.push(Asked { what, took: lookup.took, origin });
        lookup.outcome.map_err(|failure| anyhow!("{what}: {name}: {failure} after {} tries", lookup.tries))
    }

    /// Asks for an address, which must be there.
    pub fn land(&mut self, what: &'static str, name: &str, kind: RecordType) -> Result<Landing> {
        let reply = self.ask(what, name, kind)?;
        landing(&reply).with_context(|| format!("{what}: {name}"))
    }

    /// Asks for an IPv4 address, which must be of this origin.
    pub fn reach(&mut self, what: &'static str, name: &str, origin: &str) -> Result<Landing> {
        let landing = self.land(what, name, RecordType::A)?;
        if landing.origin != origin {
            bail!("{what}: {name} led to {} (by way of {:?}) instead of {origin}", landing.origin, landing.via);
        }
        Ok(landing)
    }

    /// Asks until the answer is a fresh one, as its TTL shows, so many times. Every answer must be good.
    pub fn refreshes(&mut self, name: &str, count: usize) -> Result<Vec<Landing>> {
        let mut before = self.land("before refreshes", name, RecordType::A)?;
        let mut fresh = Vec::new();
        let what = format!("{} has refreshed {name} {count} times", self.name());
        until(&what, REFERRAL_TTL, || {
            let lookup = self.stub.ask(name, RecordType::A);
            let reply = lookup.outcome.map_err(|failure| anyhow!("refresh of {name}: {failure}"))?;
            let landing = landing(&reply).with_context(|| format!("refresh of {name}"))?;
            if landing.ttl > before.ttl {
                self.asked.push(Asked { what: "refresh", took: lookup.took, origin: Some(landing.origin) });
                fresh.push(landing.clone());
            }
            before = landing;
            Ok(if fresh.len() >= count { Look::Done(()) } else { Look::NotYet(format!("{} times", fresh.len())) })
        })?;
        Ok(fresh)
    }
}

/// Does something with all lanes side by side. What fails in one is its fault, and ends it.
pub fn each(lanes: &mut [Lane], work: impl Fn(&mut Lane) -> Result<()> + Sync) {
    std::thread::scope(|scope| {
        for lane in lanes.iter_mut().filter(|lane| lane.fault.is_none()) {
            scope.spawn(|| {
                if let Err(error) = work(lane) {
                    lane.fault = Some(format!("{error:#}"));
                }
            });
        }
    });
}
