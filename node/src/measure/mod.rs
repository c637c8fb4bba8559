//! Measuring the servers from here: how far each is, and whether it answers.
//!
//! ```text
//!               targets (watch)                         Measurements (watch)
//! catalogue ─────────────> Prober: one task ─────────────────────> pages, DNS snapshot, `nigh latency`
//!                            │  ▲
//!                     orders │  │ outcomes            core:   board (schedule, filter, isolation), deadband
//!                            ▼  │                     shells: tcp, http, and this file's task
//!                       one task per probe in flight
//! ```
//!
//! The core takes the time as an argument and does no I/O; everything that knows a socket or a clock is in `tcp`,
//! `http` and here. Times are since the process's epoch, given at [`spawn`].
//!
//! **Invariants:** at most [`schedule::MAX_IN_FLIGHT`] probes are out; a probe that panics is a probe not made, and
//! nothing else; rows are given out at once when a state changes, otherwise every [`GIVE_OUT`] at most.

pub mod board;
pub mod deadband;
pub mod filter;
pub mod http;
pub mod isolation;
pub mod outcome;
pub mod schedule;
pub mod target;
pub mod tcp;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub use self::board::{Measurements, Row};
pub use self::deadband::Deadband;
pub use self::filter::{Reading, State};
pub use self::target::{ProbeKind, ProbeSpec, Target};
pub use self::tcp::Sources;

use self::board::{Board, Change};
use self::outcome::Outcome;
use self::schedule::{ProbeId, ProbeOrder};

/// Least time between two sets of rows that differ in figures only. Nobody acts on figures faster than the deadband's
/// second; a tenth of that keeps 500 results a second from becoming 500 wake-ups of everyone downstream.
pub const GIVE_OUT: Duration = Duration::from_millis(100);

/// What a prober needs to know of its node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's own number, its public key for instance: spreads the phases of nodes.
    pub seed: [u8; 32],
    /// Addresses to probe from.
    pub sources: Sources,
    /// Time zero of the process.
    pub epoch: Instant,
}

/// The running task; it ends when this is dropped, or when the sender of its targets is.
#[derive(Debug)]
pub struct Prober {
    measurements: watch::Receiver<Arc<Measurements>>,
    _task: AbortOnDropHandle<()>,
}

impl Prober {
    /// The rows, always the newest.
    pub fn measurements(&self) -> watch::Receiver<Arc<Measurements>> {
        self.measurements.clone()
    }
}

/// Starts to measure whatever `targets` holds. Must be called within a tokio runtime.
pub fn spawn(settings: Settings, targets: watch::Receiver<Arc<Vec<Target>>>) -> Prober {
    let (sender, measurements) = watch::channel(Arc::default());
    // Jitter needs to differ between nodes, not between runs, and is no secret.
    let board = Board::new(settings.seed, ChaCha8Rng::from_seed(settings.seed));
    let task = Task {
        settings,
        board,
        probes: JoinSet::new(),
        sender,
        given: None,
        pending: Change::None,
        obstacle: String::new(),
    };
    Prober { measurements, _task: AbortOnDropHandle::new(tokio::spawn(task.run(targets))) }
}

struct Task {
    settings: Settings,
    board: Board<ChaCha8Rng>,
    probes: JoinSet<(ProbeId, Outcome)>,
    sender: watch::Sender<Arc<Measurements>>,
    given: Option<Duration>,
    pending: Change,
    /// The last reason of our own for which a probe was not made: a thousand probes have it at once, one line tells.
    obstacle: String,
}

impl Task {
    async fn run(mut self, mut targets: watch::Receiver<Arc<Vec<Target>>>) {
        let epoch = self.settings.epoch;
        targets.mark_changed();
        loop {
            while let Some(order) = self.board.poll(self.now()) {
                self.probes.spawn(make(order, self.settings.sources));
            }
            let due = self.board.poll_timeout();
            let give = self.give_at();
            tokio::select! {
                biased;
                changed = targets.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wanted = targets.borrow_and_update().clone();
                    self.board.set_targets(self.now(), &wanted);
                    let left_out = self.board.measurements(self.now()).left_out;
                    if left_out > 0 {
                        tracing::warn!(left_out, most = board::MAX_TARGETS, "too many servers: some are not measured by this node");
                    }
                    self.pending = Change::State;
                }
                Some(done) = self.probes.join_next() => {
                    self.take(done);
                    while let Some(done) = self.probes.try_join_next() {
                        self.take(done);
                    }
                }
                () = until(epoch, due) => {}
                () = until(epoch, give) => {}
            }
            if self.pending == Change::State || self.give_at().is_some_and(|at| at <= self.now()) {
                self.give_out();
            }
        }
    }

    fn now(&self) -> Duration {
        self.settings.epoch.elapsed()
    }

    /// When figures that changed are given out.
    fn give_at(&self) -> Option<Duration> {
        (self.pending > Change::None).then(|| self.given.map_or(Duration::ZERO, |given| given + GIVE_OUT))
    }

    fn take(&mut self, done: Result<(ProbeId, Outcome), tokio::task::JoinError>) {
        // An error could only be a panic outside of the probe or an abort; neither has an id to give back.
        let Ok((id, outcome)) = done else { return };
        if let Outcome::NotMade(why) = &outcome
            && *why != self.obstacle
        {
            tracing::warn!(%why, "a probe could not be made; servers keep their state until it can");
            self.obstacle.clone_from(why);
        }
        let change = self.board.handle_result(self.now(), id, &outcome);
        self.pending = self.pending.max(change);
    }

    fn give_out(&mut self) {
        let now = self.now();
        let measurements = self.board.measurements(now);
        if measurements.isolated != self.sender.borrow().isolated {
            if measurements.isolated {
                tracing::warn!("all probes fail at once: this node seems cut off; keeping the last good order");
            } else {
                tracing::info!("probes are answered again: no longer isolated");
            }
        }
        self.sender.send_replace(Arc::new(measurements));
        self.given = Some(now);
        self.pending = Change::None;
    }
}

async fn until(epoch: Instant, at: Option<Duration>) {
    match at {
        Some(at) => tokio::time::sleep_until(epoch + at).await,
        None => std::future::pending().await,
    }
}

/// Makes one probe. Whatever happens in it, the id comes back, or its slot would be lost for good.
async fn make(order: ProbeOrder, sources: Sources) -> (ProbeId, Outcome) {
    let spec = &order.probe.spec;
    let server = SocketAddr::new(order.probe.address, spec.port);
    let probe = async {
        match &spec.kind {
            ProbeKind::Tcp => tcp::probe(server, sources, spec.timeout).await,
            ProbeKind::Http { path, host, expect } => {
                http::probe(server, http::Question { path, host, expect: *expect }, sources, spec.timeout).await
            }
        }
    };
    let outcome = AssertUnwindSafe(probe).catch_unwind().await;
    let outcome =
        outcome.unwrap_or_else(|_| Outcome::NotMade("not probed: a bug in the probe, see the log".to_owned()));
    match &outcome {
        Outcome::Answered(took) => tracing::trace!(%server, ?took, "probe answered"),
        Outcome::Failed(why) => tracing::debug!(%server, %why, "probe failed"),
        Outcome::NotMade(why) => tracing::debug!(%server, %why, "probe not made"),
    }
    (order.id, outcome)
}

#[cfg(test)]
mod tests;
