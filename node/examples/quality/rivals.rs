//! Ways to choose a path over time: nigh's own, and those that it is measured against.
//!
//! Each is told all samples of a round and then stands by its choice for the next.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nigh::measure::deadband::{Deadband, Told, Verdict};
use nigh::measure::filter::{Filter, State};
use nigh::measure::order::{Entrant, Line};
use nigh::measure::outcome::{Failure, Outcome};

/// One way to choose.
pub trait Rival {
    /// Takes in a round.
    fn record(&mut self, now: Duration, samples: &[Option<f64>]);
    /// The path it stands by.
    fn choice(&self) -> usize;
}

/// What a probe of so much patience makes of a sample.
pub fn outcome(ms: f64, timeout_ms: f64) -> Outcome {
    if ms < timeout_ms {
        Outcome::Answered(Duration::from_secs_f64(ms / 1e3))
    } else {
        Outcome::Failed(Failure::Timeout(Duration::from_secs_f64(timeout_ms / 1e3)))
    }
}

/// nigh: filter, order, what of it is published, and the sorting that every answering node does.
pub struct Nigh {
    filters: Vec<Filter>,
    line: Line<usize>,
    page: Deadband<usize>,
    timeout_ms: f64,
}

impl Nigh {
    pub fn new(paths: usize, timeout_ms: f64) -> Self {
        // The catalogue's defaults.
        let filters = (0..paths).map(|_| Filter::new(2, 3)).collect();
        Self { filters, line: Line::default(), page: Deadband::default(), timeout_ms }
    }
}

impl Rival for Nigh {
    fn record(&mut self, now: Duration, samples: &[Option<f64>]) {
        for (filter, sample) in self.filters.iter_mut().zip(samples) {
            if let Some(ms) = sample {
                filter.record(now, &outcome(*ms, self.timeout_ms));
            }
        }
        let readings: Vec<_> = self.filters.iter().map(Filter::reading).collect();
        let up = readings.iter().enumerate().filter(|(_, reading)| reading.state == State::Up);
        let entrants: BTreeMap<usize, Entrant> =
            up.filter_map(|(at, reading)| Some((at, Entrant { rtt: reading.rtt?, path: reading.path? }))).collect();
        let steers = self.line.settle(&entrants);
        let rows = readings.iter().enumerate().map(|(at, reading)| {
            (
                at,
                Told {
                    state: reading.state,
                    rtt: steers.get(&at).copied().or(reading.rtt),
                    loss_permille: 0,
                    load_permille: None,
                    held: false,
                },
            )
        });
        let verdict = self.page.offer(now, rows.collect());
        debug_assert!(!matches!(verdict, Verdict::Wait(_)), "rounds are more than a second apart");
    }

    fn choice(&self) -> usize {
        let rank = |told: &Told| (told.state != State::Up, told.state == State::Down, told.rtt);
        self.page.told().iter().min_by_key(|(at, told)| (rank(told), **at)).map_or(0, |(at, _)| *at)
    }
}

/// The lowest value of something that is kept of every path.
struct Lowest(Vec<f64>);

impl Lowest {
    fn choice(&self) -> usize {
        let values = self.0.iter().enumerate();
        values.min_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at)
    }
}

/// The last sample decides.
pub struct Raw(Lowest);

impl Raw {
    pub fn new(paths: usize) -> Self {
        Self(Lowest(vec![f64::INFINITY; paths]))
    }
}

impl Rival for Raw {
    fn record(&mut self, _: Duration, samples: &[Option<f64>]) {
        for (last, sample) in self.0.0.iter_mut().zip(samples) {
            *last = sample.unwrap_or(*last);
        }
    }

    fn choice(&self) -> usize {
        self.0.choice()
    }
}

/// A moving average of an eighth, and a change only for a gain of a fifth.
pub struct Ewma {
    average: Lowest,
    choice: usize,
}

impl Ewma {
    pub fn new(paths: usize) -> Self {
        Self { average: Lowest(vec![f64::INFINITY; paths]), choice: 0 }
    }
}

impl Rival for Ewma {
    fn record(&mut self, _: Duration, samples: &[Option<f64>]) {
        for (average, ms) in self.average.0.iter_mut().zip(samples).filter_map(|(a, ms)| Some((a, (*ms)?))) {
            *average = if average.is_finite() { *average * 7.0 / 8.0 + ms / 8.0 } else { ms };
        }
        let best = self.average.choice();
        let held = self.average.0.get(self.choice).copied().unwrap_or(f64::INFINITY);
        if self.average.0.get(best).is_some_and(|best| *best < held * 0.8) {
            self.choice = best;
        }
    }

    fn choice(&self) -> usize {
        self.choice
    }
}

/// The lowest of the last ten minutes.
pub struct Minimum {
    windows: Vec<VecDeque<(Duration, f64)>>,
    lowest: Lowest,
}

impl Minimum {
    const SPAN: Duration = Duration::from_secs(600);

    pub fn new(paths: usize) -> Self {
        Self { windows: vec![VecDeque::new(); paths], lowest: Lowest(vec![f64::INFINITY; paths]) }
    }
}

impl Rival for Minimum {
    fn record(&mut self, now: Duration, samples: &[Option<f64>]) {
        for ((window, lowest), sample) in self.windows.iter_mut().zip(&mut self.lowest.0).zip(samples) {
            while window.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= Self::SPAN) {
                window.pop_front();
            }
            window.extend(sample.map(|ms| (now, ms)));
            *lowest = window.iter().map(|(_, ms)| *ms).fold(f64::INFINITY, f64::min);
        }
    }

    fn choice(&self) -> usize {
        self.lowest.choice()
    }
}
