//! Which resolvers are mine: found by asking through them, and proven by who was asked.
//!
//! ```text
//!   this node ──nonce.4.nyc.whoami.lb.example.com?──▶ DNS-ISP ──the same, from its egress address──▶ node nyc
//!        ▲                                              │                                             │ signs what it saw
//!        └───────────────── "source=203.0.113.53" "proof=…" ◀─────────────────────────────────────────┘
//!   rounds ─▶ findings ─▶ told ─▶ pages: the claim, its evidence ─▶ every node: judge ─▶ ranked above configured ones
//! ```
//!
//! `rounds` decides what is asked and what follows; `exchange` and `system` are its sockets and files, and this file the
//! task around them. `statement` is what nodes say for each other, `witness` says it, `judge` checks it at every node.
//!
//! **Invariants:** nothing is claimed outside of the certificate, or for a public resolver. No merge reads a clock: a
//! statement's age counts where claims are ranked. A resolver's answer is input from a wire: it is believed as far as a
//! member has signed it.

mod egress;
mod exchange;
pub mod finding;
pub mod findings;
pub mod judge;
pub mod public;
pub mod rounds;
#[cfg(test)]
mod rounds_tests;
pub mod shown;
pub mod statement;
pub mod system;
pub mod told;
pub mod witness;

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use nigh_gossip::NodeId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub use egress::MAX_EGRESS;
pub use findings::{Findings, Origin};
pub use rounds::{Candidate, Settings, Sight};
pub use statement::{DRAWN, Nonce, Statement, Worthless};
pub use witness::Witness;

use rounds::{Discovery, Outcome};
use system::System;

/// Resolvers that one node asks: more than any host is given.
pub const MAX_RESOLVERS: usize = 8;
/// Addresses that one node claims because it found them. Each costs every other node a signature to check; beyond that
/// the operator claims prefixes.
pub const MAX_EGRESS_OF_NODE: usize = 256;

/// A statement, with what of its nonce was drawn: with the claimant's key it can be checked by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What was drawn.
    pub drawn: [u8; DRAWN],
    /// What was said.
    pub statement: Statement,
}

impl Proof {
    /// Checks the signature for a claimant of a mesh, and the address that it claims.
    ///
    /// # Errors
    /// [`Worthless::Signature`].
    pub fn verify(&self, mesh: NodeId, claimant: NodeId, address: IpAddr) -> Result<(), Worthless> {
        let label = Nonce::new(mesh, claimant, self.drawn).label();
        self.statement.verify(mesh, label.as_bytes(), address)
    }
}

/// Which resolvers are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Those of the configuration.
    pub configured: Vec<SocketAddr>,
    /// The file with those that the system uses.
    pub system: Option<PathBuf>,
}

impl Sources {
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.configured.is_empty() && self.system.is_none()
    }
}

/// The running task; it ends when this is dropped.
#[derive(Debug)]
pub struct Finder {
    findings: watch::Receiver<Arc<Findings>>,
    _task: AbortOnDropHandle<()>,
}

impl Finder {
    /// What was found, always the newest; the first value says nothing.
    pub fn findings(&self) -> watch::Receiver<Arc<Findings>> {
        self.findings.clone()
    }
}

/// Starts to look. `sight` is what can be asked of the mesh; times are since `epoch`.
pub fn spawn(settings: Settings, sources: Sources, epoch: Instant, sight: watch::Receiver<Arc<Sight>>) -> Finder {
    let (found, findings) = watch::channel(Arc::default());
    let task = tokio::spawn(run(settings, sources, epoch, sight, found));
    Finder { findings, _task: AbortOnDropHandle::new(task) }
}

async fn run(
    settings: Settings,
    sources: Sources,
    epoch: Instant,
    mut sight: watch::Receiver<Arc<Sight>>,
    found: watch::Sender<Arc<Findings>>,
) {
    let mut seed = [0; 32];
    if getrandom::fill(&mut seed).is_err() {
        tracing::error!("no randomness from the system: resolvers are not looked for");
        return;
    }
    let mut core = Discovery::new(settings, ChaCha8Rng::from_seed(seed));
    let configured: Vec<_> = sources.configured.iter().map(|address| (*address, Origin::Configured)).collect();
    core.handle_resolvers(epoch.elapsed(), &configured);
    let mut system = sources.system.as_deref().map(System::new);
    let mut asked: JoinSet<(u64, Outcome)> = JoinSet::new();
    let mut look = Instant::now();
    loop {
        let now = epoch.elapsed();
        if let Some(system) = system.as_mut().filter(|_| Instant::now() >= look) {
            look = Instant::now() + system::LOOK;
            match system.look() {
                Some(Ok(listed)) => {
                    tracing::info!(resolvers = ?listed, "the system's resolvers");
                    let listed = listed.into_iter().map(|address| (address, Origin::System));
                    let all: Vec<_> = listed.chain(configured.iter().copied()).collect();
                    core.handle_resolvers(now, &all);
                }
                Some(Err(why)) => tracing::warn!("{why}: the resolvers found before stay"),
                None => {}
            }
        }
        core.handle_timeout(now);
        while let Some(ask) = core.poll_ask() {
            asked.spawn(async move {
                let exchange = AssertUnwindSafe(exchange::ask(ask.to, &ask.name, ask.rtype)).catch_unwind();
                // A fault of ours must not leave a question open for ever.
                (ask.id, exchange.await.unwrap_or_else(|_| Outcome::Silent("a fault in nigh; please report it".into())))
            });
        }
        if let Some(findings) = core.poll_findings() {
            say_what_changed(&found.borrow(), &findings);
            found.send_replace(Arc::new(findings));
        }
        let timer = core.poll_timeout(now).map(|at| epoch + at);
        let wake = [timer, system.as_ref().map(|_| look)].into_iter().flatten().min();
        tokio::select! {
            Some(ended) = asked.join_next() => if let Ok((id, outcome)) = ended {
                core.handle_outcome(epoch.elapsed(), crate::run::unix().as_secs(), id, outcome);
            },
            changed = sight.changed() => {
                if changed.is_err() {
                    return; // The node has ended.
                }
                let new = sight.borrow_and_update().clone();
                core.handle_sight(epoch.elapsed(), (*new).clone());
            }
            () = tokio::time::sleep_until(wake.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))) => {}
        }
    }
}

/// The log of it: what came, what went.
fn say_what_changed(before: &Findings, after: &Findings) {
    for resolver in &after.resolvers {
        let old = before.resolvers.iter().find(|old| old.address == resolver.address);
        for egress in &resolver.egress {
            let known = old.and_then(|old| old.egress.iter().find(|held| held.address == egress.address));
            if known.is_none_or(|known| known.proof.is_none() && egress.proof.is_some()) {
                let proven = egress.proof.is_some();
                tracing::info!(resolver = %resolver.address, egress = %egress.address, proven, public = egress.public, "a resolver asks from here");
            }
        }
        for gone in old.into_iter().flat_map(|old| &old.egress) {
            if !resolver.egress.iter().any(|egress| egress.address == gone.address) {
                tracing::info!(resolver = %resolver.address, egress = %gone.address, "the resolver no longer asks from here");
            }
        }
        if resolver.lost && !old.is_some_and(|old| old.lost) {
            tracing::warn!(resolver = %resolver.address, "a resolver does not answer any more: nothing is claimed for it");
        }
    }
}
