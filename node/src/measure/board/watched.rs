//! One distinct probe: what is known by it, and what is shown of that.

use std::sync::Arc;
use std::time::Duration;

use super::row::{ProbeReport, Role, Row};
use super::{Pace, STALE};
use crate::measure::damping::Damping;
use crate::measure::filter::{Filter, Reading, State};
use crate::measure::isolation::{Standing, Witness};
use crate::measure::load::Gauge;
use crate::measure::orca::Report;
use crate::measure::outcome::{Attempt, Outcome, Seen};
use crate::measure::target::{Probe, Target};

/// What rows say of a server that is held down for its falls.
const FLAPPING: &str = "flapping: it answers, and went down too often to be used yet";

#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) probe: Arc<Probe>,
    pub(super) filter: Filter,
    /// The filter as it was right after the last answer.
    pub(super) good: Option<Filter>,
    /// Its rows.
    pub(super) rows: Vec<usize>,
    /// How often it is made when nothing is in doubt.
    pub(super) pace: Pace,
    /// How often the server fell.
    damping: Damping,
    /// What was shown before damping, when it was last looked at.
    noticed: State,
    seen: Seen,
    /// How busy the server says it is.
    gauge: Gauge,
    last: Option<(Duration, Outcome)>,
    /// When a probe was last made, and how often it should have been then. Samples that are forgiven leave the filter's word
    /// for it behind.
    made: Option<(Duration, Duration)>,
    streak: u32,
}

impl Watched {
    pub(super) fn new(probe: Arc<Probe>) -> Self {
        let filter = Filter::new(probe.spec.rise, probe.spec.fall);
        Self {
            probe,
            filter,
            good: None,
            rows: Vec::new(),
            pace: Pace::FULL,
            damping: Damping::default(),
            noticed: State::Unknown,
            seen: Seen::default(),
            gauge: Gauge::default(),
            last: None,
            made: None,
            streak: 0,
        }
    }

    /// The same for another probe with the same question.
    pub(super) fn of(&self, probe: Arc<Probe>) -> Self {
        let (rise, fall) = (probe.spec.rise, probe.spec.fall);
        let counted = |filter: &Filter| filter.clone().with_counts(rise, fall);
        Self {
            filter: counted(&self.filter),
            good: self.good.as_ref().map(counted),
            rows: Vec::new(),
            probe,
            ..self.clone()
        }
    }

    pub(super) fn record(&mut self, now: Duration, attempt: Attempt) {
        let answered = matches!(attempt.outcome, Outcome::Answered(_));
        let before = self.filter.failing().map(|failing| !failing);
        let made = !matches!(attempt.outcome, Outcome::NotMade(_));
        let every = self.pace.stretch(self.probe.spec.interval);
        // A process that was stopped for so long knows no more of its health than at the start.
        let slower = self.made.map_or(every, |(_, before)| before.max(every));
        if made && self.is_stale(now, slower) {
            self.filter.doubt();
        }
        self.filter.record(now, &attempt.outcome);
        if answered {
            self.good = Some(self.filter.clone());
            let report = attempt.seen.load.as_deref().and_then(Report::read);
            self.gauge.record(now, report.and_then(|report| report.load()));
        }
        if attempt.seen != Seen::default() || answered {
            self.seen = attempt.seen;
        }
        if made {
            self.made = Some((now, every));
            self.streak = if before == Some(answered) { self.streak.saturating_add(1) } else { 1 };
        }
        self.last = Some((now, attempt.outcome));
    }

    /// Whether it was last made so long ago, where it should be made `every` so often, that it says nothing any more.
    fn is_stale(&self, now: Duration, every: Duration) -> bool {
        let patience = every * STALE + self.probe.spec.timeout;
        self.made.is_some_and(|(at, _)| at + patience < now)
    }

    /// Whether it is held down for its falls.
    pub(super) fn is_suppressed(&self, now: Duration) -> bool {
        self.damping.is_suppressed(now)
    }

    /// What of it bears on whom to blame.
    pub(super) fn testimony(&self) -> (Option<bool>, State) {
        (self.filter.failing(), self.filter.state())
    }

    pub(super) fn witness(&self) -> Witness {
        Witness {
            address: self.probe.address,
            // As it is made: a thin one has not been answered for long without anything being wrong.
            interval: self.pace.stretch(self.probe.spec.interval),
            timeout: self.probe.spec.timeout,
            failing: self.filter.failing(),
            answered: self.filter.answered().zip(self.good.as_ref().map(Filter::state)),
            state: self.filter.state(),
        }
    }

    /// Whether the last outcome contradicts what is held of the server, or nothing is held yet.
    pub(super) fn in_doubt(&self) -> bool {
        match self.filter.state() {
            State::Unknown => true,
            State::Up => self.filter.failing() == Some(true),
            State::Down => self.filter.failing() == Some(false),
        }
    }

    /// The reading, unless it is held back because it may be me.
    fn own(&self, standing: &Standing) -> (Reading, bool) {
        match &self.good {
            Some(good) if standing.holds(&self.witness()) => (good.reading(), true),
            _ => (self.filter.reading(), false),
        }
    }

    /// Takes note of a fall.
    pub(super) fn notice(&mut self, now: Duration, standing: &Standing) {
        let state = match self.good.as_ref().filter(|_| standing.holds(&self.witness())) {
            Some(good) => good.state(),
            None => self.filter.state(),
        };
        if (self.noticed, state) == (State::Up, State::Down) {
            self.damping.fell(now);
        }
        self.noticed = state;
    }

    /// The row of a target whose health it says; `latency` says how far it is, if that is another.
    pub(super) fn row(
        &self,
        now: Duration,
        standing: &Standing,
        target: Arc<Target>,
        every: Duration,
        latency: Option<&Watched>,
    ) -> Row {
        let (mut reading, held) = self.own(standing);
        if held && matches!(standing, Standing::Isolated { .. }) && reading.state == State::Up {
            reading.held = true;
        }
        if !held && self.is_stale(now, every) {
            reading.state = State::Unknown;
        }
        if let Some(latency) = latency {
            let (other, _) = latency.own(standing);
            // One that never answered that probe is placed by what there is: nowhere would be wronger.
            if other.rtt.is_some() {
                (reading.rtt, reading.srtt, reading.spread) = (other.rtt, other.srtt, other.spread);
                // By this servers are put in order: it must be of the path that the time is of.
                reading.path = other.path;
            }
            reading.loss = other.loss;
            if reading.why.is_empty() {
                reading.why = other.why;
            }
        }
        let flapping = !held && reading.state == State::Up && self.is_suppressed(now);
        if flapping {
            reading.state = State::Down;
            reading.why = FLAPPING.to_owned();
        }
        let load = self.gauge.told().or_else(|| latency.and_then(|latency| latency.gauge.told()));
        Row { target, reading, every, flapping, load, seen: self.seen.clone() }
    }

    pub(super) fn report(
        &self,
        now: Duration,
        target: &Arc<Target>,
        role: Role,
        pace: Pace,
        due: Option<Duration>,
    ) -> ProbeReport {
        ProbeReport {
            target: target.clone(),
            probe: self.probe.clone(),
            role,
            pace,
            next: due.map(|due| due.saturating_sub(now)),
            last: self.last.as_ref().map(|(at, outcome)| (now.saturating_sub(*at), outcome.clone())),
            state: self.filter.state(),
            streak: self.streak,
            seen: self.seen.clone(),
            penalty: self.damping.penalty(now),
            held_for: self.damping.held_for(now),
        }
    }
}
