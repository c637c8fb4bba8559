//! What the board gives out: rows for steering, and reports for operators.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Span, info_span};

use super::STALE;
use crate::measure::filter::{Reading, State};
use crate::measure::outcome::{Outcome, Seen};
use crate::measure::pace::Pace;
use crate::measure::target::{Probe, Target};
use crate::telemetry::TARGET;

/// One server of one service, and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was asked for.
    pub target: Arc<Target>,
    /// What was found: whether it is up by the probe of health, how far it is by that of distance if there is one.
    pub reading: Reading,
    /// The pause between two probes of its health at present: how soon it would be known better.
    pub every: Duration,
    /// It answers, and is held down because it went down too often.
    pub flapping: bool,
    /// The share of its capacity in use, as it reports, held still.
    pub load: Option<f32>,
    /// What its last answer showed beside.
    pub seen: Seen,
}

impl Row {
    pub(crate) fn unknown(target: Target) -> Self {
        let reading = Reading {
            state: State::Unknown,
            rtt: None,
            path: None,
            srtt: None,
            spread: None,
            loss: 0.0,
            sampled: None,
            why: String::new(),
            held: false,
        };
        let every = target.probe.health.interval;
        Self { target: Arc::new(target), reading, every, flapping: false, load: None, seen: Seen::default() }
    }
}

impl Row {
    /// Up, though it comes and goes.
    pub(super) fn spare(&mut self) {
        self.flapping = false;
        self.reading.state = State::Up;
        self.reading.why.clear();
    }

    /// Whether its last sample is so young that it says how the server is now; after a stop of the process it is not.
    pub fn is_fresh(&self, now: Duration) -> bool {
        let patience = self.every * STALE + self.target.probe.health.timeout;
        self.reading.sampled.is_some_and(|at| now <= at + patience)
    }
}

/// All rows of a node at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurements {
    /// When, on the process's clock.
    pub at: Duration,
    /// It is me: all probes failed together. The rows then show the last good readings.
    pub isolated: bool,
    /// Sorted by service, then server.
    pub rows: Vec<Arc<Row>>,
    /// Targets beyond [`super::MAX_TARGETS`], not measured.
    pub left_out: usize,
}

impl Measurements {
    /// The row of one server.
    pub fn row(&self, service: &str, server: &str) -> Option<&Arc<Row>> {
        let wanted = (service, server);
        self.rows
            .binary_search_by(|row| (row.target.service.as_str(), row.target.server.as_str()).cmp(&wanted))
            .ok()
            .map(|index| &self.rows[index])
    }
}

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Up or down.
    Health,
    /// How far.
    Latency,
    /// Both.
    Both,
}

impl Role {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Latency => "latency",
            Self::Both => "both",
        }
    }
}

/// One probe of one target, as an operator wants to see it.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// Whose.
    pub target: Arc<Target>,
    /// What is asked.
    pub probe: Arc<Probe>,
    /// What for.
    pub role: Role,
    /// How often at present, and why.
    pub pace: Pace,
    /// Until it is made next; nothing while it is out.
    pub next: Option<Duration>,
    /// What came of it last, and how long ago.
    pub last: Option<(Duration, Outcome)>,
    /// What its own counts say of the server.
    pub state: State,
    /// Equal outcomes in a row, up to now.
    pub streak: u32,
    /// What its last answer showed beside.
    pub seen: Seen,
    /// What is left of its falls, see [`crate::measure::damping`].
    pub penalty: f64,
    /// Held down for so long, because it fell too often.
    pub held_for: Option<Duration>,
}

pub(super) fn log_state(old: &Row, new: &Row) {
    let (service, server) = (&new.target.service, &new.target.server);
    let (old, state, address) = (old.reading.state, new.reading.state, new.target.address);
    match state {
        // At the start everything is news; it is in the rows, too.
        State::Up if old == State::Unknown => {
            tracing::debug!(%service, %server, ?old, new = ?state, rtt = ?new.reading.rtt, "server state")
        }
        State::Down => {
            tracing::info!(%service, %server, %address, ?old, new = ?state, why = %new.reading.why, "server state")
        }
        _ => tracing::info!(%service, %server, %address, ?old, new = ?state, rtt = ?new.reading.rtt, "server state"),
    }
}

/// The span of a change of verdict, which lasts until others know.
pub(super) fn span(old: &Row, new: &Row) -> Span {
    info_span!(
        target: TARGET,
        "verdict",
        service = %new.target.service,
        server = %new.target.server,
        address = %new.target.address,
        from = ?old.reading.state,
        to = ?new.reading.state,
        why = %new.reading.why,
        rtt_ms = new.reading.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
        every_ms = new.every.as_secs_f64() * 1e3,
    )
}
