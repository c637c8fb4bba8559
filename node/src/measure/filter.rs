//! From samples to a decision: is this server up, and how far is it?
//!
//! One [`Filter`] per probe keeps the last 30 samples and three views of them.
//!
//! **Up or down** is counted: `fall` failures in a row take a server down, `rise` successes bring it back. The first
//! success alone decides at the start, so that a new node answers well within one interval.
//!
//! **The RTT that steers** ([`Reading::rtt`]) is held still on purpose: a client does not care about half a
//! millisecond, but answers that flap between two equal servers cost caches and connections. It has two speeds:
//! - fast: when the median of the last 5 answers is off by more than 20 %, the path has changed. The middle of those 5
//!   and what came after it form a new *level*; older answers say nothing about it and are left out from then on.
//!   (Without levels the slow median would still remember the old path and pull the value straight back.)
//! - slow: when the median of the level, up to 30 answers, is off by more than 2 % and 1 ms, the value follows it.
//!   Only a level of 15 or more may do that: fewer are no calmer than the fast median.
//!
//! A level shorter than 5 is still settling and the value follows its median, so that a first, unlucky answer (cold
//! ARP, cold caches) does not stick.
//!
//! On a noisy path 20 % is nothing, so the fast threshold grows with the path's own spread (twice the median absolute
//! deviation of the window). Figures on real paths are with [`SPREAD_FACTOR`].
//!
//! **What people see** ([`Reading::srtt`], [`Reading::spread`]) is the smoothed RTT and its variation of RFC 6298,
//! section 2, with its weights of 1/8 and 1/4. It is not used to decide: one lost packet and retransmission moves it for
//! a dozen samples, a median not at all.
//!
//! **Invariant:** the state changes only in [`Filter::record`], and the steering RTT only by a success there.
//!
//! Rejected: "lowest RTT wins" on raw samples (flaps); hysteresis on the last value alone (strands on a bad path);
//! a mean instead of a median (follows outliers).

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;

/// Samples kept per probe: one minute at the usual 2 s, and what the slow median is taken over.
pub const WINDOW: usize = 30;
/// Samples of the fast median: the fewest that shrug off two outliers.
pub const FAST: usize = 5;
/// Answers a level needs before the slow median may move the value.
pub const SLOW_LEAST: usize = WINDOW / 2;
/// The fast median moves the value when it differs by more than 1/5 of it ...
const FAST_PART: u32 = 5;
/// ... and by more than this many times the path's own spread.
///
/// Measured by letting the lowest value be the answer, each choice made before the sample it is judged by: on four
/// pairs of real alternative paths (github SmartMonitoringSchemes/ParsimoniousMonitoring, a week in 2-minute steps)
/// the answer changes 0.06 times an hour and costs 0.9 ms against always being right; raw samples change it 5.8 times.
/// Those calm paths do not care about this factor. On the Seattle testbed's personal devices a factor of 2 spares 6 %
/// of the moves for 4 % more time lost, and 6 spares 12 % for 12 %: a knob with little in it, kept low.
pub const SPREAD_FACTOR: u32 = 2;
/// The slow median moves the value when it differs by more than 1/50 of it and [`SLOW_STEP`].
const SLOW_PART: u32 = 50;
/// See [`SLOW_PART`].
const SLOW_STEP: Duration = Duration::from_millis(1);

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

/// What a filter has to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Up or down.
    pub state: State,
    /// The RTT that steers; kept while the server is down, as the last good one.
    pub rtt: Option<Duration>,
    /// Smoothed RTT, RFC 6298; for people.
    pub srtt: Option<Duration>,
    /// RTT variation, RFC 6298; for people.
    pub spread: Option<Duration>,
    /// Share of the window's samples that failed, 0 to 1.
    pub loss: f32,
    /// When the last sample came, on the process's clock.
    pub sampled: Option<Duration>,
    /// Why the last failed probe failed; empty when no sample of the window did.
    pub why: String,
}

/// The samples of one probe.
#[derive(Clone, Debug)]
pub struct Filter {
    /// At least 1 each, see [`super::target::ProbeSpec::clamped`].
    rise: u32,
    fall: u32,
    /// Oldest first; `None` is a failure.
    window: VecDeque<Option<Duration>>,
    /// How many of the newest answers belong to the present level.
    level: usize,
    state: State,
    /// Equal outcomes in a row, up to now.
    streak: u32,
    rtt: Option<Duration>,
    smoothed: Option<Smoothed>,
    sampled: Option<Duration>,
    answered: Option<Duration>,
    why: String,
    obstacle: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Smoothed {
    srtt: Duration,
    rttvar: Duration,
}

impl Filter {
    /// A filter without samples.
    pub fn new(rise: u32, fall: u32) -> Self {
        Self {
            rise,
            fall,
            window: VecDeque::with_capacity(WINDOW),
            level: 0,
            state: State::Unknown,
            streak: 0,
            rtt: None,
            smoothed: None,
            sampled: None,
            answered: None,
            why: String::new(),
            obstacle: None,
        }
    }

    /// The same samples, judged by other counts from the next one on.
    pub fn with_counts(mut self, rise: u32, fall: u32) -> Self {
        (self.rise, self.fall) = (rise, fall);
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
        self.state = State::Up;
        self.streak = self.fall.saturating_sub(1);
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
        let same = self.window.back().is_some_and(|last| last.is_some() == sample.is_some());
        self.streak = if same { self.streak.saturating_add(1) } else { 1 };
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(sample);
        if let Some(rtt) = sample {
            self.answered = Some(now);
            self.smooth(rtt);
            self.settle_rtt();
        }
        self.state = self.next_state(sample.is_some());
    }

    /// What there is to say now.
    pub fn reading(&self) -> Reading {
        let failed = self.window.iter().filter(|sample| sample.is_none()).count();
        let why = match &self.obstacle {
            Some(obstacle) => obstacle.clone(),
            None if failed > 0 => self.why.clone(),
            None => String::new(),
        };
        Reading {
            state: self.state,
            rtt: self.rtt,
            srtt: self.smoothed.map(|s| s.srtt),
            spread: self.smoothed.map(|s| s.rttvar),
            // At most 30 each: exact in f32.
            loss: if failed == 0 { 0.0 } else { failed as f32 / self.window.len() as f32 },
            sampled: self.sampled,
            why,
        }
    }

    /// Up or down, as the counts have it.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the newest sample was a failure; `None` before the first.
    pub fn failing(&self) -> Option<bool> {
        self.window.back().map(Option::is_none)
    }

    /// When a probe was last answered.
    pub fn answered(&self) -> Option<Duration> {
        self.answered
    }

    fn next_state(&self, success: bool) -> State {
        match (self.state, success) {
            (State::Unknown, true) => State::Up,
            (State::Down, true) if self.streak >= self.rise => State::Up,
            (State::Up | State::Unknown, false) if self.streak >= self.fall => State::Down,
            (state, _) => state,
        }
    }

    /// RFC 6298, section 2.2 and 2.3, without the retransmission timeout that TCP derives from it.
    fn smooth(&mut self, rtt: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => Smoothed { srtt: rtt, rttvar: rtt / 2 },
            // "RTTVAR <- (1 - beta) * RTTVAR + beta * |SRTT - R'|", which "MUST" come before SRTT's own update.
            Some(old) => {
                Smoothed { rttvar: old.rttvar * 3 / 4 + old.srtt.abs_diff(rtt) / 4, srtt: old.srtt * 7 / 8 + rtt / 8 }
            }
        });
    }

    /// Moves the steering RTT, if the newest answer gives reason to.
    fn settle_rtt(&mut self) {
        let newest_first: Vec<Duration> = self.window.iter().rev().filter_map(|sample| *sample).collect();
        self.level = (self.level + 1).min(newest_first.len());
        let level = median(&newest_first[..self.level]);
        let Some(held) = self.rtt.filter(|_| self.level >= FAST) else {
            self.rtt = Some(level);
            return;
        };
        let fast = median(&newest_first[..FAST]);
        if fast.abs_diff(held) > (held / FAST_PART).max(spread(&newest_first) * SPREAD_FACTOR) {
            self.level = FAST / 2 + 1;
            self.rtt = Some(median(&newest_first[..self.level]));
        } else if self.level >= SLOW_LEAST && level.abs_diff(held) > held / SLOW_PART + SLOW_STEP {
            self.rtt = Some(level);
        }
    }
}

/// The median; of an even number the lower middle, for what disturbs an RTT only ever adds to it. Zero of nothing.
fn median(values: &[Duration]) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// Median absolute deviation.
fn spread(values: &[Duration]) -> Duration {
    let middle = median(values);
    median(&values.iter().map(|value| value.abs_diff(middle)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::measure::outcome::Failure;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn answer(millis: u64) -> Outcome {
        Outcome::Answered(ms(millis))
    }

    fn failure() -> Outcome {
        Outcome::Failed(Failure::Timeout(SECOND))
    }

    /// Feeds the outcomes one second apart; gives back the steering RTT after each, in ms.
    fn feed(filter: &mut Filter, outcomes: &[Outcome]) -> Vec<Option<u128>> {
        outcomes
            .iter()
            .map(|outcome| {
                let now = filter.reading().sampled.unwrap_or_default() + SECOND;
                filter.record(now, outcome);
                filter.reading().rtt.map(|rtt| rtt.as_millis())
            })
            .collect()
    }

    fn states(rise: u32, fall: u32, outcomes: &str) -> String {
        let mut filter = Filter::new(rise, fall);
        let letter = |state| match state {
            State::Unknown => '?',
            State::Up => 'U',
            State::Down => 'D',
        };
        outcomes
            .chars()
            .map(|c| {
                feed(&mut filter, &[if c == '+' { answer(20) } else { failure() }]);
                letter(filter.state())
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
    fn two_outliers_in_five_do_not_move_it_and_a_change_of_path_does_within_three_samples() {
        let mut filter = Filter::new(2, 3);
        feed(&mut filter, &vec![answer(20); 10]);
        assert_eq!(feed(&mut filter, &[answer(90), answer(90), answer(20)]), [Some(20); 3]);
        feed(&mut filter, &vec![answer(20); 10]);
        // 15 % is below the fast threshold; 50 % is not.
        assert_eq!(feed(&mut filter, &vec![answer(23); 5]), [Some(20); 5]);
        assert_eq!(feed(&mut filter, &vec![answer(30); 4]), [Some(20), Some(20), Some(30), Some(30)]);
    }

    #[test]
    fn a_new_level_is_not_pulled_back_by_the_old_one() {
        let mut filter = Filter::new(2, 3);
        feed(&mut filter, &vec![answer(20); 30]);
        let moved = feed(&mut filter, &vec![answer(40); 40]);
        assert_eq!(moved.iter().filter(|rtt| **rtt == Some(40)).count(), 38, "{moved:?}");
    }

    #[test]
    fn a_slow_drift_is_followed_by_the_slow_median() {
        let mut filter = Filter::new(2, 3);
        feed(&mut filter, &vec![answer(100); 30]);
        // 10 %: never enough for the fast one.
        let moved = feed(&mut filter, &vec![answer(110); 30]);
        assert_eq!(moved[10], Some(100));
        assert_eq!(moved[29], Some(110));
        // 2 % + 1 ms is 3.2 ms: this is not.
        assert_eq!(feed(&mut filter, &vec![answer(113); 30])[29], Some(110));
    }

    #[test]
    fn a_short_level_is_not_yet_trusted_with_small_moves() {
        let mut filter = Filter::new(2, 3);
        feed(&mut filter, &vec![answer(100); FAST]);
        let moved = feed(&mut filter, &vec![answer(106); SLOW_LEAST - FAST]);
        assert_eq!(moved.iter().position(|rtt| *rtt == Some(106)), Some(SLOW_LEAST - FAST - 1), "{moved:?}");
    }

    #[test]
    fn an_unlucky_first_answer_does_not_stick() {
        let mut filter = Filter::new(2, 3);
        assert_eq!(
            feed(&mut filter, &[answer(60), answer(20), answer(21), answer(20), answer(20)]),
            [Some(60), Some(20), Some(21), Some(20), Some(20)]
        );
    }

    #[test]
    fn a_noisy_path_needs_more_than_twenty_percent() {
        let noise = |filter: &mut Filter| {
            feed(filter, &[10, 30, 10, 30, 20].repeat(6).into_iter().map(answer).collect::<Vec<_>>())
        };
        let mut noisy = Filter::new(2, 3);
        noise(&mut noisy);
        // Spread 10 ms, threshold 20 ms: a swing from 20 to 35 ms is within what this path does anyway.
        assert_eq!(feed(&mut noisy, &vec![answer(35); 5]), [Some(20); 5]);
        let mut calm = Filter::new(2, 3);
        feed(&mut calm, &vec![answer(20); 30]);
        assert_eq!(feed(&mut calm, &vec![answer(35); 5])[4], Some(35));
    }

    #[test]
    fn a_server_that_is_down_keeps_its_last_rtt_and_starts_afresh() {
        let mut filter = Filter::new(2, 3);
        feed(&mut filter, &vec![answer(20); 10]);
        assert_eq!(feed(&mut filter, &vec![failure(); WINDOW])[WINDOW - 1], Some(20));
        let reading = filter.reading();
        assert_eq!((reading.state, reading.loss, reading.why.as_str()), (State::Down, 1.0, "timeout after 1s"));
        assert_eq!(feed(&mut filter, &[answer(70)]), [Some(70)]);
    }

    #[test]
    fn the_reason_goes_when_the_window_has_forgotten_the_failure() {
        let mut filter = Filter::new(2, 3);
        feed(&mut filter, &[failure()]);
        feed(&mut filter, &vec![answer(20); WINDOW - 1]);
        assert_eq!(filter.reading().why, "timeout after 1s");
        assert!((filter.reading().loss - 1.0 / 30.0).abs() < 1e-6);
        feed(&mut filter, &[answer(20)]);
        assert_eq!((filter.reading().why.as_str(), filter.reading().loss), ("", 0.0));
    }

    #[test]
    fn a_probe_that_was_not_made_is_no_sample_but_is_told() {
        let mut filter = Filter::new(1, 1);
        feed(&mut filter, &[answer(20)]);
        let before = filter.reading();
        filter.record(SECOND * 9, &Outcome::NotMade("not probed: connect: too many open files".into()));
        let after = filter.reading();
        assert!(after.why.starts_with("not probed"), "{}", after.why);
        assert_eq!(Reading { why: before.why.clone(), ..after }, before);
    }

    #[test]
    fn smoothing_is_that_of_rfc_6298() {
        let mut filter = Filter::new(2, 3);
        feed(&mut filter, &[answer(100)]);
        assert_eq!((filter.reading().srtt, filter.reading().spread), (Some(ms(100)), Some(ms(50))));
        feed(&mut filter, &[answer(180)]);
        // RTTVAR = 3/4 * 50 + 1/4 * 80, SRTT = 7/8 * 100 + 1/8 * 180
        assert_eq!(
            (filter.reading().srtt, filter.reading().spread),
            (Some(ms(110)), Some(Duration::from_micros(57_500)))
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_the_value_lies_among_the_answers(samples in prop::collection::vec(prop::option::of(0u64..500), 1..120)) {
            let mut filter = Filter::new(2, 3);
            for (i, sample) in samples.iter().enumerate() {
                let before = filter.reading();
                filter.record(SECOND * i as u32, &sample.map_or_else(failure, answer));
                let after = filter.reading();
                let seen: Vec<_> = samples[..=i].iter().flatten().map(|millis| ms(*millis)).collect();
                prop_assert_eq!(after.rtt.is_some(), !seen.is_empty());
                if let Some(rtt) = after.rtt {
                    prop_assert!(seen.contains(&rtt));
                }
                prop_assert!((0.0..=1.0).contains(&after.loss));
                if sample.is_none() {
                    prop_assert_eq!(before.rtt, after.rtt);
                }
                prop_assert_eq!(after.why.is_empty(), after.loss == 0.0);
            }
        }

        #[test]
        fn a_steady_path_is_found_whatever_came_before(
            past in prop::collection::vec(prop::option::of(0u64..500), 0..60),
            steady in 1u64..500,
        ) {
            let mut filter = Filter::new(2, 3);
            let past: Vec<_> = past.iter().map(|sample| sample.map_or_else(failure, answer)).collect();
            feed(&mut filter, &past);
            feed(&mut filter, &vec![answer(steady); WINDOW]);
            let reading = filter.reading();
            let held = reading.rtt.unwrap();
            prop_assert!(held.abs_diff(ms(steady)) <= held / SLOW_PART + SLOW_STEP, "{held:?}");
            prop_assert_eq!((reading.state, reading.loss), (State::Up, 0.0));
        }
    }
}
