//! The core of measuring: targets in, probe orders out; outcomes in, rows out. No sockets, no clock.
//!
//! ```text
//! targets ──> Scheduler ──order──> (shell probes) ──attempt──> Filter ──reading──> rows
//!                 one per distinct probe                          │       one per target: health, and the
//!   nodes, demand ──> pace                          isolation, damping:    distance from another probe
//!                                                   may hold readings back  where one is asked for
//! ```
//!
//! Each distinct probe has one filter; each target of it gets a row with the same reading. A target whose pace was
//! edited keeps what was learnt; one that is asked another question (port, path, address) starts as unknown.
//!
//! **Invariant:** a row shows its probe's own reading, with three exceptions. While the node suspects itself or is isolated
//! ([`super::isolation`]) a server that fell together with all others shows its last good one, and goes on from there when
//! the network is back. One that keeps coming and going ([`super::damping`]) is held down for a while, as long as a steady one
//! is up: it is better than one that is dead. And one that could not be probed for [`STALE`] of its present intervals is
//! unknown.

mod row;
#[cfg(test)]
mod tests;
mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tracing::Span;

pub use self::row::{Measurements, ProbeReport, Role, Row};
use self::watched::Watched;
use super::filter::State;
use super::isolation::{self, Standing};
use super::outcome::{Attempt, Outcome};
use super::pace::{IDLE, Nodes, Pace, Why};
use super::schedule::{ProbeId, ProbeOrder, Scheduler};
use super::target::{Probe, Target};

/// Targets measured by one node; the rest is left out, in the order of names, and counted. At the usual 2 s these are
/// 8,000 probes a second, which is more than one node should do.
pub const MAX_TARGETS: usize = 16_384;
/// Intervals without a sample after which a row is unknown: one more than the usual fall count.
pub const STALE: u32 = 4;

/// How soon others should hear of what a result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing changed: the probe is no longer wanted.
    None,
    /// Some figures.
    Figures,
    /// The state of a row, or whether we are isolated.
    State,
}

/// What of a node's surroundings bears on how often it probes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// The live nodes, which share the servers' budgets.
    pub nodes: Nodes,
    /// Services that nobody asks for here.
    pub idle: BTreeSet<String>,
}

/// The core: see the module's header.
#[derive(Debug)]
pub struct Board<R> {
    scheduler: Scheduler<R>,
    watched: BTreeMap<ProbeId, Watched>,
    rows: Vec<Arc<Row>>,
    /// The probes of each row: of health, and of distance if that is another.
    sources: Vec<(ProbeId, Option<ProbeId>)>,
    surroundings: Surroundings,
    /// Probes whose newest sample was an answer: as long as there is one, we are connected.
    answering: usize,
    standing: Standing,
    left_out: usize,
    /// Of the first verdict that changed since somebody asked.
    verdict: Option<Span>,
}

impl<R: Rng> Board<R> {
    /// An empty board; `seed` is the node's, see [`Scheduler::new`].
    pub fn new(seed: [u8; 32], rng: R) -> Self {
        Self {
            scheduler: Scheduler::new(seed, rng),
            watched: BTreeMap::new(),
            rows: Vec::new(),
            sources: Vec::new(),
            surroundings: Surroundings::default(),
            answering: 0,
            standing: Standing::Connected,
            left_out: 0,
            verdict: None,
        }
    }

    /// Makes `targets` what this node measures. Of several with one service and server the last counts.
    pub fn set_targets(&mut self, now: Duration, targets: &[Target]) {
        let mut named: BTreeMap<(&str, &str), &Target> =
            targets.iter().map(|target| ((target.service.as_str(), target.server.as_str()), target)).collect();
        self.left_out = named.len().saturating_sub(MAX_TARGETS);
        while named.len() > MAX_TARGETS {
            named.pop_last();
        }
        let probes = named.values().flat_map(|target| [Some(target.health()), target.latency()]);
        self.scheduler.set_probes(now, probes.flatten().collect::<BTreeSet<_>>());

        let old = std::mem::take(&mut self.watched);
        let mut by_question: BTreeMap<_, Vec<ProbeId>> = BTreeMap::new();
        for (id, watched) in &old {
            by_question.entry(watched.probe.question()).or_default().push(*id);
        }
        for (probe, id) in self.scheduler.probes() {
            let known = old.get(&id).or_else(|| old.get(by_question.get(&probe.question())?.first()?));
            let watched = known.map_or_else(|| Watched::new(probe.clone()), |known| known.of(probe.clone()));
            self.watched.insert(id, watched);
        }
        self.answering = self.watched.values().filter(|watched| watched.filter.failing() == Some(false)).count();
        self.standing = self.judge();
        self.rows.clear();
        self.sources.clear();
        for target in named.into_values() {
            let id_of = |probe: &Probe| self.scheduler.id_of(probe);
            let Some(health) = id_of(&target.health()) else { continue };
            let latency = target.latency().as_ref().and_then(id_of).filter(|id| *id != health);
            for id in [Some(health), latency].into_iter().flatten() {
                if let Some(watched) = self.watched.get_mut(&id) {
                    watched.rows.push(self.rows.len());
                }
            }
            self.sources.push((health, latency));
            self.rows.push(Arc::new(Row::unknown(target.clone())));
        }
        for index in 0..self.rows.len() {
            if let Some(row) = self.row(now, index) {
                self.rows[index] = Arc::new(row);
            }
        }
        self.set_paces(now);
    }

    /// Takes in which nodes are alive and what is asked for here.
    pub fn set_surroundings(&mut self, now: Duration, surroundings: Surroundings) {
        if self.surroundings != surroundings {
            self.surroundings = surroundings;
            self.set_paces(now);
        }
    }

    /// The next probe to make, if one is due.
    pub fn poll(&mut self, now: Duration) -> Option<ProbeOrder> {
        self.scheduler.poll(now)
    }

    /// When to poll next, as far as is known now.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.scheduler.poll_timeout()
    }

    /// Whether this probe is wanted.
    pub fn wants(&self, probe: &Probe) -> bool {
        self.scheduler.id_of(probe).is_some()
    }

    /// Takes in what came of an order. Results of probes that are no longer wanted are dropped here.
    pub fn handle_result(&mut self, now: Duration, id: ProbeId, attempt: Attempt) -> Change {
        if !self.scheduler.finish(id, !matches!(attempt.outcome, Outcome::Answered(_))) {
            return Change::None;
        }
        let answered = matches!(attempt.outcome, Outcome::Answered(_));
        let before = self.watched.get(&id).map(Watched::testimony);
        if answered && self.standing != Standing::Connected {
            self.forgive(now);
        }
        let Some(watched) = self.watched.get_mut(&id) else { return Change::None };
        self.answering -= usize::from(watched.filter.failing() == Some(false));
        watched.record(now, attempt);
        self.answering += usize::from(watched.filter.failing() == Some(false));
        let testified = before != Some(watched.testimony());
        // Says nothing new about whom to blame: spares a look at every probe per result while all of them fail.
        let standing = if testified { self.judge() } else { self.standing };
        if standing == self.standing {
            self.set_pace(now, id);
            return self.show(now, id);
        }
        let isolated = |standing: &Standing| matches!(standing, Standing::Isolated { .. });
        let flipped = isolated(&standing) != isolated(&self.standing);
        self.standing = standing;
        let ids: Vec<_> = self.watched.keys().copied().collect();
        let mut shown = Change::Figures;
        for id in ids {
            self.set_pace(now, id);
            shown = shown.max(self.show(now, id));
        }
        if flipped { Change::State } else { shown }
    }

    /// The rows as they are now.
    pub fn measurements(&self, now: Duration) -> Measurements {
        Measurements {
            at: now,
            isolated: matches!(self.standing, Standing::Isolated { .. }),
            rows: self.rows.clone(),
            left_out: self.left_out,
        }
    }

    /// The span of the first verdict that changed since this was asked last.
    pub fn take_verdict(&mut self) -> Option<Span> {
        self.verdict.take()
    }

    /// Every probe of every target, as an operator wants to see it.
    pub fn report(&self, now: Duration) -> Vec<ProbeReport> {
        let mut reports = Vec::new();
        for (row, (health, latency)) in self.rows.iter().zip(&self.sources) {
            let roles = match latency {
                None => vec![(Role::Both, *health)],
                Some(latency) => vec![(Role::Health, *health), (Role::Latency, *latency)],
            };
            for (role, id) in roles {
                let (Some(watched), Some((pace, due))) = (self.watched.get(&id), self.scheduler.timing(id)) else {
                    continue;
                };
                reports.push(watched.report(now, &row.target, role, pace, due));
            }
        }
        reports
    }

    /// What failed while I was cut off is no evidence against the servers: they go on from where they were, and fall
    /// together again if this answer was but a gap in the outage. After a mere suspicion there is some evidence: who was
    /// counted out in it gets one more try.
    fn forgive(&mut self, now: Duration) {
        for watched in self.watched.values_mut() {
            if !self.standing.holds(&watched.witness()) {
                continue;
            }
            match (&self.standing, &watched.good) {
                (Standing::Isolated { .. }, Some(good)) => watched.filter = good.clone().resumed(now),
                _ if watched.filter.state() == State::Down => watched.filter.spare(),
                _ => {}
            }
        }
        self.answering = self.watched.values().filter(|watched| watched.filter.failing() == Some(false)).count();
    }

    fn judge(&self) -> Standing {
        // The common case, without looking at every probe.
        if self.answering > 0 {
            return Standing::Connected;
        }
        isolation::judge(&self.watched.values().map(Watched::witness).collect::<Vec<_>>())
    }

    /// Finds how often each probe is to be made, but for doubt.
    fn set_paces(&mut self, now: Duration) {
        let mut demand: BTreeMap<IpAddr, (f64, f64)> = BTreeMap::new();
        for watched in self.watched.values() {
            demand.entry(watched.probe.address).or_insert((0.0, f64::MAX)).0 +=
                watched.probe.spec.interval.as_secs_f64().recip();
        }
        let mut busy: BTreeSet<ProbeId> = BTreeSet::new();
        for (row, (health, latency)) in self.rows.iter().zip(&self.sources) {
            if let Some((_, budget)) = demand.get_mut(&row.target.address) {
                *budget = budget.min(f64::from(row.target.probe.budget.max(1)));
            }
            if !self.surroundings.idle.contains(&row.target.service) {
                busy.extend([Some(*health), *latency].into_iter().flatten());
            }
        }
        let paces = self.surroundings.nodes.paces(&demand);
        for (id, watched) in &mut self.watched {
            let share = paces.get(&watched.probe.address).copied().unwrap_or(Pace::FULL);
            let idle = Pace { factor: IDLE, why: Why::Idle };
            watched.pace = if busy.contains(id) || share.factor >= IDLE { share } else { idle };
        }
        let ids: Vec<_> = self.watched.keys().copied().collect();
        ids.into_iter().for_each(|id| self.set_pace(now, id));
    }

    /// Has a probe made as often as it should be now.
    fn set_pace(&mut self, now: Duration, id: ProbeId) {
        let Some(watched) = self.watched.get(&id) else { return };
        let doubt = watched.in_doubt() || self.standing != Standing::Connected;
        let pace = match watched.pace {
            pace if pace.factor > 1 && doubt => Pace { factor: 1, why: Why::Doubt },
            pace => pace,
        };
        self.scheduler.set_pace(now, id, pace);
    }

    /// Brings the rows of a probe up to date.
    fn show(&mut self, now: Duration, id: ProbeId) -> Change {
        let Some(watched) = self.watched.get_mut(&id) else { return Change::None };
        watched.notice(now, &self.standing);
        let indices = watched.rows.clone();
        let mut change = Change::Figures;
        for index in indices {
            let Some(new) = self.row(now, index) else { continue };
            let old = &mut self.rows[index];
            if old.reading.state != new.reading.state {
                change = Change::State;
                row::log_state(old, &new);
                self.verdict.get_or_insert(row::span(old, &new));
            }
            *old = Arc::new(new);
        }
        change
    }

    fn row(&self, now: Duration, index: usize) -> Option<Row> {
        let (health, latency) = *self.sources.get(index)?;
        let latency = latency.and_then(|id| self.watched.get(&id));
        let every = |watched: &Watched, id| {
            let (pace, _) = self.scheduler.timing(id).unwrap_or_default();
            pace.stretch(watched.probe.spec.interval)
        };
        let watched = self.watched.get(&health)?;
        let target = self.rows.get(index)?.target.clone();
        let mut row = watched.row(now, &self.standing, target, every(watched, health), latency);
        if row.flapping && !self.a_steady_one_is_up(now, index) {
            row.spare();
        }
        Some(row)
    }

    /// Whether another server of the service and the family is up that did not come and go.
    fn a_steady_one_is_up(&self, now: Duration, index: usize) -> bool {
        let Some(own) = self.rows.get(index).map(|row| &row.target) else { return false };
        let first = self.rows.partition_point(|row| row.target.service < own.service);
        let others = self.rows.iter().zip(&self.sources).enumerate().skip(first);
        others.take_while(|(_, (row, _))| row.target.service == own.service).any(|(other, (row, (health, _)))| {
            other != index
                && row.target.address.is_ipv4() == own.address.is_ipv4()
                && row.reading.state == State::Up
                && self.watched.get(health).is_some_and(|watched| !watched.is_suppressed(now))
        })
    }
}
