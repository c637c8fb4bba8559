//! From samples to what can be decided upon: is this server up, and how far is it?
//!
//! One [`Filter`] per probe keeps the last 30 samples and several views of them, each in a file of its own:
//!
//! ```text
//!             ┌─ health    up or down, counted
//! sample ─────┼─ window ─┬─ steady    the RTT that is told: holds still, moves at two speeds
//!             │          ├─ path      what the path is like: by this servers are put in order (measure::order)
//!             │          └─ loss
//!             └─ smoothed  RFC 6298, for people
//! ```
//!
//! **Invariant:** the state changes only in [`Filter::record`], and the RTT only by a success there.
//!
//! Rejected: "lowest RTT wins" on raw samples (flaps); hysteresis on the last value alone (strands on a bad path);
//! a mean instead of a median (follows outliers). Figures of all of them: `cargo run --example quality -- series`.

mod health;
mod path;
mod smoothed;
mod steady;
mod window;

use std::time::Duration;

pub use self::health::State;
pub use self::path::Path;
pub use self::steady::{SLOW_LEAST, SLOW_PART, SLOW_STEP};
pub use self::window::{FAST, LIFETIME, WINDOW};

use self::health::Health;
use self::smoothed::Smoothed;
use self::steady::Steady;
use self::window::Window;
use super::outcome::Outcome;

/// What a filter has to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Up or down.
    pub state: State,
    /// The RTT of the path, held still; kept while the server is down, as the last good one.
    pub rtt: Option<Duration>,
    /// What the path is like, once it has answered.
    pub path: Option<Path>,
    /// Smoothed RTT, RFC 6298; for people.
    pub srtt: Option<Duration>,
    /// RTT variation, RFC 6298; for people.
    pub spread: Option<Duration>,
    /// Share of the window's samples that failed, 0 to 1. An outage is no loss: it counts from when the server came up.
    pub loss: f32,
    /// When the last sample came, on the process's clock.
    pub sampled: Option<Duration>,
    /// Why the last failed probe failed; empty when no sample of the window did.
    pub why: String,
    /// It stands as it was, because none of this node's probes is answered any more.
    pub held: bool,
}

/// The samples of one probe.
#[derive(Clone, Debug)]
pub struct Filter {
    health: Health,
    window: Window,
    steady: Steady,
    path: Option<Path>,
    smoothed: Option<Smoothed>,
    sampled: Option<Duration>,
    answered: Option<Duration>,
    why: String,
    obstacle: Option<String>,
}

impl Filter {
    /// A filter without samples.
    pub fn new(rise: u32, fall: u32) -> Self {
        Self {
            health: Health::new(rise, fall),
            window: Window::default(),
            steady: Steady::default(),
            path: None,
            smoothed: None,
            sampled: None,
            answered: None,
            why: String::new(),
            obstacle: None,
        }
    }

    /// The same samples, judged by other counts from the next one on.
    pub fn with_counts(mut self, rise: u32, fall: u32) -> Self {
        self.health.set_counts(rise, fall);
        self
    }

    /// The same, given the benefit of an answer at `now`: for one that is taken up again after an outage of our own.
    pub fn resumed(mut self, now: Duration) -> Self {
        self.answered = Some(now);
        self
    }

    /// Up again, on probation: the next failure takes it down. For one that was counted out while in doubt whether the
    /// failures were its own.
    pub fn spare(&mut self) {
        self.health.spare();
    }

    /// What was known of its health is too old: as at the start, the next answer decides. Distances stay.
    pub fn doubt(&mut self) {
        self.health.doubt();
    }

    /// Takes in what came of a probe.
    pub fn record(&mut self, now: Duration, outcome: &Outcome) {
        let sample = match outcome {
            Outcome::NotMade(why) => {
                self.obstacle = Some(why.clone());
                return;
            }
            Outcome::Answered(rtt) => Some(*rtt),
            Outcome::Failed(failure) => {
                self.why = failure.to_string();
                None
            }
        };
        self.obstacle = None;
        self.sampled = Some(now);
        self.window.push(now, sample);
        let before = self.health.state();
        self.health.record(sample.is_some());
        if before != State::Up && self.health.state() == State::Up {
            self.window.forget_failures();
        }
        if let Some(rtt) = sample {
            self.answered = Some(now);
            self.smoothed = Some(Smoothed::with(self.smoothed, rtt));
            let newest_first = self.window.answers();
            self.steady.settle(&newest_first);
            self.path = Some(Path::of(&newest_first));
        }
    }

    /// What there is to say now.
    pub fn reading(&self) -> Reading {
        let why = match &self.obstacle {
            Some(obstacle) => obstacle.clone(),
            None if self.window.failed() > 0 => self.why.clone(),
            None => String::new(),
        };
        Reading {
            state: self.health.state(),
            rtt: self.steady.value(),
            path: self.path,
            srtt: self.smoothed.map(|smoothed| smoothed.srtt),
            spread: self.smoothed.map(|smoothed| smoothed.rttvar),
            loss: self.window.loss(),
            sampled: self.sampled,
            why,
            held: false,
        }
    }

    /// Up or down, as the counts have it.
    pub fn state(&self) -> State {
        self.health.state()
    }

    /// Whether the newest sample was a failure; `None` before the first.
    pub fn failing(&self) -> Option<bool> {
        self.window.failing()
    }

    /// When a probe was last answered.
    pub fn answered(&self) -> Option<Duration> {
        self.answered
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod truth;
