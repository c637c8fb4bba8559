//! Up or down, by counting: `fall` failures in a row take a server down, `rise` successes bring it back.
//!
//! The first success alone decides at the start, so that a new node answers well within one interval.

use serde::{Deserialize, Serialize};

/// Whether a server answers, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not known yet.
    Unknown,
    /// Answers.
    Up,
    /// Does not.
    Down,
}

/// The state of one server, and what it takes to change it.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    /// At least 1 each, see [`ProbeSpec::clamped`](crate::measure::target::ProbeSpec::clamped).
    rise: u32,
    fall: u32,
    state: State,
    /// Equal outcomes in a row, up to now.
    streak: u32,
    /// The newest outcome.
    last: Option<bool>,
}

impl Health {
    /// Nothing known.
    pub fn new(rise: u32, fall: u32) -> Self {
        Self { rise, fall, state: State::Unknown, streak: 0, last: None }
    }

    /// Judges by other counts from the next outcome on.
    pub fn set_counts(&mut self, rise: u32, fall: u32) {
        (self.rise, self.fall) = (rise, fall);
    }

    /// Up again, on probation: the next failure takes it down.
    pub fn spare(&mut self) {
        self.state = State::Up;
        self.streak = self.fall.saturating_sub(1);
    }

    /// As at the start: the next success decides, or `fall` failures.
    pub fn doubt(&mut self) {
        *self = Self::new(self.rise, self.fall);
    }

    /// Takes in an outcome.
    pub fn record(&mut self, success: bool) {
        self.streak = if self.last == Some(success) { self.streak.saturating_add(1) } else { 1 };
        self.last = Some(success);
        self.state = match (self.state, success) {
            (State::Unknown, true) => State::Up,
            (State::Down, true) if self.streak >= self.rise => State::Up,
            (State::Up | State::Unknown, false) if self.streak >= self.fall => State::Down,
            (state, _) => state,
        };
    }

    /// Up or down.
    pub fn state(&self) -> State {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(rise: u32, fall: u32, outcomes: &str) -> String {
        let mut health = Health::new(rise, fall);
        let letter = |state| match state {
            State::Unknown => '?',
            State::Up => 'U',
            State::Down => 'D',
        };
        outcomes
            .chars()
            .map(|outcome| {
                health.record(outcome == '+');
                letter(health.state())
            })
            .collect()
    }

    #[test]
    fn rise_and_fall_after_a_quick_first_decision() {
        // (rise, fall, samples, state after each)
        for (rise, fall, samples, wanted) in [
            (2, 3, "+", "U"),
            (2, 3, "---", "??D"),
            (2, 3, "--+", "??U"),
            (2, 3, "+--+---", "UUUUUUD"),
            (2, 3, "---+-++", "??DDDDU"),
            (1, 1, "+-+-", "UDUD"),
            (5, 2, "--+++++", "?DDDDDU"),
        ] {
            assert_eq!(states(rise, fall, samples), wanted, "rise {rise} fall {fall} {samples}");
        }
    }

    #[test]
    fn who_is_spared_falls_with_the_next_failure() {
        let mut health = Health::new(2, 3);
        (0..3).for_each(|_| health.record(false));
        health.spare();
        assert_eq!(health.state(), State::Up);
        health.record(false);
        assert_eq!(health.state(), State::Down);
    }
}
