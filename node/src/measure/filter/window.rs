//! The last samples of a path, and what can be read off them.
//!
//! **Invariant:** at most [`WINDOW`] samples, and none but the newest is older than [`LIFETIME`].

use std::collections::VecDeque;
use std::time::Duration;

/// Samples kept per probe: one minute at the usual 2 s, and what the slow view is taken over.
pub const WINDOW: usize = 30;
/// Samples of the quick view: the fewest that shrug off two outliers.
pub const FAST: usize = 5;
/// A sample older than this says nothing about a path of today: on calm paths 1.2 % of round trips are off by more than
/// a tenth after an hour (RIPE Atlas, see `examples/quality`), on others that is soon over.
pub const LIFETIME: Duration = Duration::from_secs(3600);

/// Samples with their times, oldest first; `None` is a failure.
#[derive(Clone, Debug, Default)]
pub struct Window {
    samples: VecDeque<(Duration, Option<Duration>)>,
}

impl Window {
    /// Takes in a sample; what is too old by then goes.
    pub fn push(&mut self, now: Duration, sample: Option<Duration>) {
        let dead = |(at, _): &(Duration, Option<Duration>)| now.saturating_sub(*at) > LIFETIME;
        while self.samples.len() == WINDOW || self.samples.front().is_some_and(dead) {
            self.samples.pop_front();
        }
        self.samples.push_back((now, sample));
    }

    /// The answers, newest first.
    pub fn answers(&self) -> Vec<Duration> {
        self.samples.iter().rev().filter_map(|(_, sample)| *sample).collect()
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.samples.iter().filter(|(_, sample)| sample.is_none()).count()
    }

    /// The outage is over: what failed in it says nothing about the path.
    pub fn forget_failures(&mut self) {
        self.samples.retain(|(_, sample)| sample.is_some());
    }

    /// The share of samples that failed, 0 to 1.
    pub fn loss(&self) -> f32 {
        // At most 30 each: exact in f32.
        if self.samples.is_empty() { 0.0 } else { self.failed() as f32 / self.samples.len() as f32 }
    }

    /// Whether the newest is a failure; `None` before the first.
    pub fn failing(&self) -> Option<bool> {
        self.samples.back().map(|(_, sample)| sample.is_none())
    }
}

/// The median; of an even number the lower middle, for what disturbs an RTT only ever adds to it. Zero of nothing.
pub fn median(values: &[Duration]) -> Duration {
    let sorted = sorted(values);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// Median absolute deviation.
pub fn deviation(values: &[Duration]) -> Duration {
    let middle = median(values);
    median(&values.iter().map(|value| value.abs_diff(middle)).collect::<Vec<_>>())
}

/// In rising order.
pub fn sorted(values: &[Duration]) -> Vec<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted
}
