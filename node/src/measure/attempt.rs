//! Shell: makes one probe, whatever its kind, with its further tries.
//!
//! Tries share the probe's time in equal parts, so that a probe with retries ends when one without would. A try that was
//! not made for a reason of our own is not tried again: the reason would be the same.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;

use super::command::Commands;
use super::outcome::{Attempt, Outcome};
use super::target::{Probe, ProbeKind};
use super::tcp::{self, Sources};
use super::web::{self, Web, tls::Tls};
use super::{dns, icmp};
use crate::config::Config;

/// What probes of one node share.
#[derive(Debug)]
pub struct Tools {
    sources: Sources,
    web: Web,
    commands: Commands,
}

/// What the node's own configuration says of probes.
#[derive(Clone, Debug, Default)]
pub struct Means {
    /// Addresses to probe from.
    pub sources: Sources,
    /// Where files of certificate authorities are.
    pub authorities: Option<PathBuf>,
    /// Where the programs are that may be run.
    pub commands: Option<PathBuf>,
}

impl Means {
    /// What a configuration gives.
    pub fn of(config: &Config) -> Self {
        let mut sources = Sources::default();
        for address in &config.measure.source {
            match address {
                std::net::IpAddr::V4(v4) => sources.v4 = Some(*v4),
                std::net::IpAddr::V6(v6) => sources.v6 = Some(*v6),
            }
        }
        Self { sources, authorities: config.measure.authorities.clone(), commands: config.measure.commands.clone() }
    }
}

impl Tools {
    /// By these means.
    pub fn new(means: Means) -> Self {
        Self {
            sources: means.sources,
            web: Web::new(Tls::new(means.authorities)),
            commands: Commands::new(means.commands),
        }
    }

    /// Lets go of what was kept for probes that are no longer made.
    pub fn keep_only(&self, wanted: impl Fn(&Probe) -> bool) {
        self.web.keep_only(wanted);
    }

    /// Makes one probe. A bug in it is a probe that was not made.
    pub async fn make(&self, probe: &Probe) -> Attempt {
        let made = AssertUnwindSafe(self.tries(probe)).catch_unwind().await;
        made.unwrap_or_else(|_| Outcome::NotMade("not probed: a bug in the probe, see the log".to_owned()).into())
    }

    async fn tries(&self, probe: &Probe) -> Attempt {
        let tries = probe.spec.retries + 1;
        let timeout = probe.spec.timeout / tries;
        let mut attempt = self.once(probe, timeout).await;
        for _ in 1..tries {
            if !matches!(attempt.outcome, Outcome::Failed(_)) {
                break;
            }
            attempt = self.once(probe, timeout).await;
        }
        attempt
    }

    async fn once(&self, probe: &Probe, timeout: Duration) -> Attempt {
        let (sources, server) = (self.sources, SocketAddr::new(probe.address, probe.spec.port));
        match &probe.spec.kind {
            ProbeKind::Tcp => tcp::probe(server, sources, timeout).await.into(),
            ProbeKind::Http(http) => web::get::probe(&self.web, probe, http, sources, timeout).await,
            ProbeKind::Grpc(grpc) => web::grpc::probe(&self.web, probe, grpc, sources, timeout).await,
            ProbeKind::Icmp => icmp::probe(probe.address, sources, timeout).await.into(),
            ProbeKind::Dns(dns) => dns::probe(server, dns, sources, timeout).await.into(),
            ProbeKind::Command(argv) => self.commands.probe(server, argv, timeout).await.into(),
        }
    }
}
