//! What a path is like: the view by which servers are put in order, see [`crate::measure::order`].

use std::time::Duration;

use super::window::{FAST, WINDOW, sorted};

/// A path, from the answers of its window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// The mean of the faster three quarters. Nearly as still as the minimum, for what disturbs an RTT only ever adds to
    /// it, and that is most of what is left out; yet a path that is fast for a third of the time is not mistaken for a
    /// fast one, as it would be by the minimum or the faster half.
    pub usual: Duration,
    /// From the tenth to the ninetieth percentile: how far it swings. Not the median absolute deviation, which is
    /// nothing on a path with two levels of which one has the majority.
    pub swing: Duration,
    /// The same, without the newest [`FAST`]: how far it swung until now. A step of the path does not hide itself in it.
    pub swung: Duration,
    /// The fastest of the newest [`FAST`].
    pub fastest: Duration,
    /// The slowest of them.
    pub slowest: Duration,
    /// How many answers this rests on.
    pub answers: usize,
}

impl Path {
    /// From answers, newest first; of none everything is zero.
    pub fn of(newest_first: &[Duration]) -> Self {
        let all = sorted(newest_first);
        let quick = &newest_first[..newest_first.len().min(FAST)];
        let old = if newest_first.len() >= 2 * FAST { sorted(&newest_first[FAST..]) } else { all.clone() };
        let most = &all[..(all.len() * 3).div_ceil(4)];
        Self {
            usual: most.iter().sum::<Duration>() / u32::try_from(most.len().max(1)).unwrap_or(u32::MAX),
            swing: swing(&all),
            swung: swing(&old),
            fastest: quick.iter().min().copied().unwrap_or_default(),
            slowest: quick.iter().max().copied().unwrap_or_default(),
            answers: all.len(),
        }
    }

    /// Of a server of which the last run left an RTT and nothing else.
    pub fn remembered(rtt: Duration) -> Self {
        Self { usual: rtt, fastest: rtt, slowest: rtt, ..Self::default() }
    }
}

const _: () = assert!(2 * FAST <= WINDOW, "there must be something beside the newest");

fn swing(sorted: &[Duration]) -> Duration {
    let Some(last) = sorted.len().checked_sub(1) else { return Duration::ZERO };
    // Rounded to the nearest: of 30 the fourth and the twenty-seventh.
    let at = |tenths: usize| sorted[(last * tenths + 5) / 10];
    at(9) - at(1)
}
