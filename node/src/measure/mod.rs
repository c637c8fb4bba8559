//! Measuring the servers from here: how far each is, and whether it answers.
//!
//! ```text
//!               Wanted (watch)                          Measurements (watch)
//! catalogue ─────────────> Prober: one task ─────────────────────> pages, DNS snapshot, `nigh latency`
//!                            │  ▲
//!                     orders │  │ attempts            core:   board (schedule, pace, filter, isolation, damping), deadband
//!                            ▼  │                     shells: tcp, web, icmp, dns, command, attempt, and this file's task
//!                       one task per probe in flight
//! ```
//!
//! The core takes the time as an argument and does no I/O; everything that knows a socket or a clock is in the shells.
//! Times are since the process's epoch, given at [`spawn`].
//!
//! **Invariants:** at most [`schedule::MAX_IN_FLIGHT`] probes are out; a probe that panics is a probe not made, and
//! nothing else; rows are given out at once when a state changes, otherwise every [`GIVE_OUT`] at most.

pub mod alarm;
pub mod attempt;
pub mod board;
pub mod command;
pub mod damping;
pub mod deadband;
pub mod dns;
pub mod filter;
pub mod icmp;
pub mod isolation;
pub mod load;
pub mod orca;
pub mod order;
pub mod outcome;
pub mod pace;
pub mod schedule;
pub mod target;
pub mod tcp;
pub mod web;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub use self::attempt::Means;
pub use self::board::{Measurements, ProbeReport, Row};
pub use self::deadband::Deadband;
pub use self::filter::{Reading, State};
pub use self::pace::NodeKey;
pub use self::target::{ProbeKind, ProbeSpec, Probing, Target};
pub use self::tcp::Sources;

use self::attempt::Tools;
use self::board::{Board, Change, Surroundings};
use self::outcome::{Attempt, Outcome};
use self::pace::Nodes;
use self::schedule::{ProbeId, ProbeOrder};
use crate::telemetry::Cause;

/// Least time between two sets of rows that differ in figures only. Nobody acts on figures faster than the deadband's
/// second; a tenth of that keeps 500 results a second from becoming 500 wake-ups of everyone downstream.
pub const GIVE_OUT: Duration = Duration::from_millis(100);

/// Reports asked for at a time: there is one operator, and a dashboard or two.
const REPORTS: usize = 8;

/// What a prober needs to know of its node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's own public key: spreads the phases of nodes, and names it among them.
    pub seed: NodeKey,
    /// With what it probes.
    pub means: Means,
    /// Time zero of the process.
    pub epoch: Instant,
}

/// What is to be measured, and what bears on how often.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The servers.
    pub targets: Arc<Vec<Target>>,
    /// The other nodes that are alive: all share the servers' budgets.
    pub others: Arc<BTreeSet<NodeKey>>,
    /// Services that nobody asks for here.
    pub idle: Arc<BTreeSet<String>>,
}

/// The running task; it ends when this is dropped, or when the sender of its targets is.
#[derive(Debug)]
pub struct Prober {
    measurements: watch::Receiver<Arc<Measurements>>,
    reporter: Reporter,
    cause: Arc<Cause>,
    _task: AbortOnDropHandle<()>,
}

impl Prober {
    /// The rows, always the newest.
    pub fn measurements(&self) -> watch::Receiver<Arc<Measurements>> {
        self.measurements.clone()
    }

    /// The span of the verdict that changed the rows.
    pub fn cause(&self) -> Arc<Cause> {
        self.cause.clone()
    }

    /// For those who want to see each probe.
    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }
}

/// Asks the running task what it is doing.
#[derive(Clone, Debug)]
pub struct Reporter {
    asking: mpsc::Sender<oneshot::Sender<Vec<ProbeReport>>>,
}

impl Reporter {
    /// Every probe of every target; nothing once the task has ended.
    pub async fn probes(&self) -> Vec<ProbeReport> {
        let (answer, answered) = oneshot::channel();
        if self.asking.send(answer).await.is_err() {
            return Vec::new();
        }
        answered.await.unwrap_or_default()
    }
}

/// Starts to measure what is wanted. Must be called within a tokio runtime.
pub fn spawn(settings: Settings, wanted: watch::Receiver<Wanted>) -> Prober {
    let (sender, measurements) = watch::channel(Arc::default());
    let (asking, asked) = mpsc::channel(REPORTS);
    // Jitter needs to differ between nodes, not between runs, and is no secret.
    let board = Board::new(settings.seed, ChaCha8Rng::from_seed(settings.seed));
    let cause = Arc::new(Cause::default());
    let task = Task {
        cause: cause.clone(),
        tools: Arc::new(Tools::new(settings.means.clone())),
        settings,
        board,
        probes: JoinSet::new(),
        sender,
        given: None,
        pending: Change::None,
        obstacle: String::new(),
        wanted: Wanted::default(),
    };
    let task = AbortOnDropHandle::new(tokio::spawn(task.run(wanted, asked)));
    Prober { measurements, reporter: Reporter { asking }, cause, _task: task }
}

struct Task {
    cause: Arc<Cause>,
    settings: Settings,
    tools: Arc<Tools>,
    board: Board<ChaCha8Rng>,
    probes: JoinSet<(ProbeId, Attempt)>,
    sender: watch::Sender<Arc<Measurements>>,
    given: Option<Duration>,
    pending: Change,
    /// The last reason of our own for which a probe was not made: a thousand probes have it at once, one line tells.
    obstacle: String,
    wanted: Wanted,
}

impl Task {
    async fn run(
        mut self,
        mut wanted: watch::Receiver<Wanted>,
        mut asked: mpsc::Receiver<oneshot::Sender<Vec<ProbeReport>>>,
    ) {
        let epoch = self.settings.epoch;
        wanted.mark_changed();
        loop {
            while let Some(order) = self.board.poll(self.now()) {
                self.probes.spawn(make(order, self.tools.clone()));
            }
            let due = self.board.poll_timeout();
            let give = self.give_at();
            tokio::select! {
                biased;
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let new = wanted.borrow_and_update().clone();
                    self.aim(new);
                }
                Some(done) = self.probes.join_next() => {
                    self.take(done);
                    while let Some(done) = self.probes.try_join_next() {
                        self.take(done);
                    }
                }
                Some(answer) = asked.recv() => {
                    // Nobody waits any more: then nobody is told.
                    let _ = answer.send(self.board.report(self.now()));
                }
                () = until(epoch, due) => {}
                () = until(epoch, give) => {}
            }
            if self.pending == Change::State || self.give_at().is_some_and(|at| at <= self.now()) {
                self.give_out();
            }
        }
    }

    fn aim(&mut self, new: Wanted) {
        let now = self.now();
        if !Arc::ptr_eq(&new.others, &self.wanted.others) || !Arc::ptr_eq(&new.idle, &self.wanted.idle) {
            let nodes = Nodes::new(self.settings.seed, (*new.others).clone());
            self.board.set_surroundings(now, Surroundings { nodes, idle: (*new.idle).clone() });
        }
        if !Arc::ptr_eq(&new.targets, &self.wanted.targets) {
            self.board.set_targets(now, &new.targets);
            self.tools.keep_only(|probe| self.board.wants(probe));
            let left_out = self.board.measurements(now).left_out;
            if left_out > 0 {
                tracing::warn!(
                    left_out,
                    most = board::MAX_TARGETS,
                    "too many servers: some are not measured by this node"
                );
            }
            self.pending = Change::State;
        }
        self.wanted = new;
    }

    fn now(&self) -> Duration {
        self.settings.epoch.elapsed()
    }

    /// When figures that changed are given out.
    fn give_at(&self) -> Option<Duration> {
        (self.pending > Change::None).then(|| self.given.map_or(Duration::ZERO, |given| given + GIVE_OUT))
    }

    fn take(&mut self, done: Result<(ProbeId, Attempt), tokio::task::JoinError>) {
        // An error could only be a panic outside of the probe or an abort; neither has an id to give back.
        let Ok((id, attempt)) = done else { return };
        if let Outcome::NotMade(why) = &attempt.outcome
            && *why != self.obstacle
        {
            tracing::warn!(%why, "a probe could not be made; servers keep their state until it can");
            self.obstacle.clone_from(why);
        }
        let change = self.board.handle_result(self.now(), id, attempt);
        self.pending = self.pending.max(change);
    }

    fn give_out(&mut self) {
        let now = self.now();
        let measurements = self.board.measurements(now);
        if measurements.isolated != self.sender.borrow().isolated {
            if measurements.isolated {
                tracing::warn!("no probe is answered any more: keeping the last good order");
            } else {
                tracing::info!("probes are answered again: no longer isolated");
            }
        }
        if let Some(span) = self.board.take_verdict() {
            self.cause.put(measurements.at, span);
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
async fn make(order: ProbeOrder, tools: Arc<Tools>) -> (ProbeId, Attempt) {
    let attempt = tools.make(&order.probe).await;
    let (server, kind) = (order.probe.address, order.probe.spec.kind.as_str());
    match &attempt.outcome {
        Outcome::Answered(took) => tracing::trace!(%server, kind, ?took, "probe answered"),
        Outcome::Failed(why) => tracing::debug!(%server, kind, %why, "probe failed"),
        Outcome::NotMade(why) => tracing::debug!(%server, kind, %why, "probe not made"),
    }
    (order.id, attempt)
}

#[cfg(test)]
mod tests;
