//! One path's RTT, held still on purpose: a client does not care about half a millisecond, and every move is a page
//! that is signed and sent to every node.
//!
//! It has two speeds:
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
//! deviation of the window).
//!
//! Which server is *given* does not follow from this value alone: see [`crate::measure::order`].

use std::time::Duration;

use super::window::{FAST, WINDOW, deviation, median};

/// Answers a level needs before the slow median may move the value.
pub const SLOW_LEAST: usize = WINDOW / 2;
/// The fast median moves the value when it differs by more than 1/5 of it ...
const FAST_PART: u32 = 5;
/// ... and by more than this many times the path's own spread. On the Seattle testbed's personal devices a factor of 2
/// spares 6 % of the moves for 4 % more time lost, and 6 spares 12 % for 12 %: a knob with little in it, kept low.
const SPREAD_FACTOR: u32 = 2;
/// The slow median moves the value when it differs by more than 1/50 of it and [`SLOW_STEP`].
pub const SLOW_PART: u32 = 50;
/// See [`SLOW_PART`].
pub const SLOW_STEP: Duration = Duration::from_millis(1);

/// The value, and how much of the window it rests on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steady {
    value: Option<Duration>,
    /// How many of the newest answers belong to the present level.
    level: usize,
}

impl Steady {
    /// Moves the value, if the newest answer gives reason to. The answers are newest first, and not empty.
    pub fn settle(&mut self, newest_first: &[Duration]) {
        self.level = (self.level + 1).min(newest_first.len());
        let level = median(&newest_first[..self.level]);
        let Some(held) = self.value.filter(|_| self.level >= FAST) else {
            self.value = Some(level);
            return;
        };
        let fast = median(&newest_first[..FAST]);
        if fast.abs_diff(held) > (held / FAST_PART).max(deviation(newest_first) * SPREAD_FACTOR) {
            self.level = FAST / 2 + 1;
            self.value = Some(median(&newest_first[..self.level]));
        } else if self.level >= SLOW_LEAST && level.abs_diff(held) > held / SLOW_PART + SLOW_STEP {
            self.value = Some(level);
        }
    }

    /// The value; nothing before the first answer.
    pub fn value(&self) -> Option<Duration> {
        self.value
    }
}
