//! What a node remembers of itself, for plots and for "what happened?": samples, and happenings.
//!
//! ```text
//!   recorder ─ every second ─▶ Observation ─▶ History ─▶ Sample, Happenings ─▶ whoever watches
//!   (the running node)                          │
//!                                               └─ half an hour by the second, a day by the half minute, 500 happenings
//! ```
//!
//! It is a comfort, no record: a restart forgets it, and who wants years has Prometheus. Nothing here is on the way of a
//! packet: counters are read as they stand, and answers are compared by asking the snapshot what it gives.
//!
//! **Invariant:** its size is fixed by the constants below, whatever the mesh does. Rejected: a file, which would need an
//! owner, a format and a limit, and serve only what Prometheus does better.

mod changes;
mod recorder;
mod ring;

use std::collections::VecDeque;

use crate::admin::picture::{Happening, HistoryReport, Sample, Span};

pub use changes::{Observation, Shared, Totals};
pub use recorder::{Feed, MOST_WATCHERS, News, TooMany, record};

use changes::Changes;
use ring::Ring;

/// From one observation to the next, in seconds: people see a second, and a counter is read in microseconds.
pub const STEP_S: u32 = 1;
/// Samples by the second: half an hour.
const SHORT: usize = 1800;
/// Seconds in a sample of the long memory.
const DAY_STEP_S: u32 = 30;
/// Samples of the long memory: a day.
const DAY: usize = 2880;
/// Happenings that are remembered: more than anyone scrolls through.
const HAPPENINGS: usize = 500;

/// The memory.
#[derive(Debug)]
pub struct History {
    short: Ring,
    day: Ring,
    changes: Changes,
    happenings: VecDeque<Happening>,
    next_id: u64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            short: Ring::new(SHORT, STEP_S),
            day: Ring::new(DAY, DAY_STEP_S),
            changes: Changes::default(),
            happenings: VecDeque::with_capacity(HAPPENINGS),
            next_id: 1,
        }
    }
}

impl History {
    /// Takes an observation; says what to tell those who watch. Nothing at the first, which has nothing before it.
    pub fn handle(&mut self, time_s: u64, seen: Observation) -> (Option<Sample>, Vec<Happening>) {
        let serial = seen.serial;
        let (sample, found) = self.changes.handle(time_s, seen);
        let happenings: Vec<Happening> = found
            .into_iter()
            .map(|(kind, tone, text)| {
                let id = self.next_id;
                self.next_id += 1;
                Happening { id, time_s, kind, tone, text }
            })
            .collect();
        for happening in &happenings {
            if self.happenings.len() == HAPPENINGS {
                self.happenings.pop_front();
            }
            self.happenings.push_back(happening.clone());
        }
        let sample = sample.map(|sample| Sample { time_s, serial, ..sample });
        if let Some(sample) = &sample {
            self.short.add(sample);
            self.day.add(sample);
        }
        (sample, happenings)
    }

    /// What is remembered.
    pub fn report(&self, span: Span) -> HistoryReport {
        let ring = match span {
            Span::Short => &self.short,
            Span::Day => &self.day,
        };
        HistoryReport {
            step_s: ring.step_s(),
            most: ring.most(),
            samples: ring.columns(),
            happenings: self.happenings.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::admin::picture::{HappeningKind, Tone};
    use crate::admin::report::Verdict;

    fn seen(queries: u64) -> Observation {
        let mut seen = Observation { totals: Totals { cut: queries, ..Totals::default() }, ..Observation::default() };
        seen.members.insert("fra".into(), Verdict::Alive);
        seen
    }

    #[test]
    fn rates_are_of_what_was_counted_between_two_looks() {
        let mut history = History::default();
        assert_eq!(history.handle(100, seen(50)), (None, Vec::new()), "the first look has nothing before it");
        let (sample, _) = history.handle(101, seen(70));
        assert_eq!(sample.unwrap().cut, 20.0);
        let (sample, _) = history.handle(105, seen(90)); // the machine slept
        assert_eq!((sample.unwrap().cut, sample.unwrap().time_s), (5.0, 105));
        let (sample, _) = history.handle(105, seen(99)); // the clock was set back
        assert_eq!(sample, None);
        let columns = history.report(Span::Short).samples;
        assert_eq!((columns.time_s, columns.cut, columns.alive), (vec![101, 105], vec![20.0, 5.0], vec![1, 1]));
    }

    #[test]
    fn the_day_is_a_mean_of_the_seconds_and_a_sum_of_changes() {
        let mut history = History::default();
        for second in 0..=60u64 {
            let mut now = seen(second * 10);
            now.answers.insert("www".into(), vec![if second % 20 < 10 { "a" } else { "b" }.into()]);
            history.handle(1020 + second, now); // a multiple of the step
        }
        let day = history.report(Span::Day);
        assert_eq!((day.step_s, day.samples.time_s.len()), (30, 2));
        assert_eq!(day.samples.cut, [10.0, 10.0]);
        assert_eq!(day.samples.changes.iter().sum::<u32>(), 6);
    }

    #[test]
    fn the_memory_does_not_grow() {
        let mut history = History::default();
        for second in 0..200_000u64 {
            let mut now = seen(second);
            let verdict = if second % 2 == 0 { Verdict::Alive } else { Verdict::Dead };
            now.members.insert("nyc".into(), verdict);
            history.handle(second, now);
        }
        let (short, day) = (history.report(Span::Short), history.report(Span::Day));
        assert_eq!((short.samples.time_s.len(), day.samples.time_s.len()), (SHORT, DAY));
        assert_eq!(short.happenings.len(), HAPPENINGS);
        let last = short.happenings.last().unwrap();
        assert_eq!((last.time_s, last.kind, last.tone), (199_999, HappeningKind::Member, Tone::Bad));
        assert!(short.happenings.windows(2).all(|pair| pair[1].id == pair[0].id + 1));
        assert_eq!(*short.samples.time_s.last().unwrap(), 199_999);
    }
}
