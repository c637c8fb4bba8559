//! Ways to choose, played over recorded paths.
//!
//! Each choice is made before the sample that it is judged by. The first ten minutes, or at least three rounds, are not
//! counted: everybody has to hear something first.

use std::time::Duration;

use nigh::measure::filter::{Filter, State};

use crate::recordings::Recording;
use crate::rivals::{Ewma, Minimum, Nigh, Raw, Rival, outcome};

/// Not counted.
const WARM_UP: Duration = Duration::from_secs(600);
/// A path is bad when its median of five rounds is this much slower than the best path's ...
const BAD_FACTOR: f64 = 1.2;
/// ... and by this much.
const BAD_MS: f64 = 5.0;

/// What a way was worth, over all cases.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Worth {
    pub changes_per_hour: f64,
    /// Against the best path of each moment.
    pub loss_mean_ms: f64,
    pub loss_p99_ms: f64,
    pub loss_worst_ms: f64,
    /// How long it stayed on a path that had become bad.
    pub leave_mean_s: f64,
    pub leave_worst_s: f64,
}

/// A way to choose by name; `None` is the oracle, which knows the sample before it comes.
type Maker = fn(usize, f64) -> Option<Box<dyn Rival>>;

/// The ways, in the order of the table.
const WAYS: [(&str, Maker); 5] = [
    ("nigh", |paths, timeout_ms| Some(Box::new(Nigh::new(paths, timeout_ms)))),
    ("last sample, lowest wins", |paths, _| Some(Box::new(Raw::new(paths)))),
    ("average of 1/8, a fifth better", |paths, _| Some(Box::new(Ewma::new(paths)))),
    ("minimum of ten minutes", |paths, _| Some(Box::new(Minimum::new(paths)))),
    ("oracle", |_, _| None),
];

/// Plays all ways.
pub fn run(recording: &Recording, timeout_ms: f64) -> Vec<(&'static str, Worth)> {
    WAYS.iter().map(|(name, make)| (*name, play(recording, timeout_ms, *make))).collect()
}

fn play(recording: &Recording, timeout_ms: f64, make: Maker) -> Worth {
    let step = recording.step.as_secs_f64();
    let (mut changes, mut rounds) = (0_usize, 0_usize);
    let (mut losses, mut stays) = (Vec::new(), Vec::new());
    for case in &recording.cases {
        let smooth: Vec<Vec<f64>> = case.paths.iter().map(|path| medians_of_five(path)).collect();
        let mut rival = make(case.paths.len(), timeout_ms);
        let warm = ((WARM_UP.as_secs_f64() / step).ceil() as usize).max(3);
        let (mut held, mut bad_for) = (None, 0_usize);
        for round in 0..case.rounds() {
            let samples = case.at(round);
            let best = best_of(&samples);
            let choice = rival.as_ref().map_or(best, |rival| Some(rival.choice()));
            if let (true, Some(choice), Some(best)) = (round >= warm, choice, best) {
                rounds += 1;
                changes += usize::from(held.is_some_and(|held| held != choice));
                held = Some(choice);
                if let (Some(chosen), Some(best)) = (samples[choice], samples[best]) {
                    losses.push(chosen - best);
                }
                let least = smooth.iter().map(|path| path[round]).fold(f64::INFINITY, f64::min);
                if smooth[choice][round] > (least * BAD_FACTOR).max(least + BAD_MS) {
                    bad_for += 1;
                } else if bad_for > 0 {
                    stays.push(std::mem::take(&mut bad_for) as f64 * step);
                }
            }
            if let Some(rival) = &mut rival {
                rival.record(recording.step * u32::try_from(round).unwrap_or(u32::MAX), &samples);
            }
        }
        stays.extend((bad_for > 0).then_some(bad_for as f64 * step));
    }
    losses.sort_by(f64::total_cmp);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    Worth {
        changes_per_hour: changes as f64 / (rounds as f64 * step / 3600.0),
        loss_mean_ms: mean(&losses),
        loss_p99_ms: losses.get(losses.len() * 99 / 100).copied().unwrap_or(0.0),
        loss_worst_ms: losses.last().copied().unwrap_or(0.0),
        leave_mean_s: mean(&stays),
        leave_worst_s: stays.iter().copied().fold(0.0, f64::max),
    }
}

fn best_of(samples: &[Option<f64>]) -> Option<usize> {
    let answered = samples.iter().enumerate().filter_map(|(at, sample)| Some((at, (*sample)?)));
    answered.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at)
}

/// The median of the rounds around each; infinite where none answered.
fn medians_of_five(path: &[Option<f64>]) -> Vec<f64> {
    let around = |at: usize| {
        let from = at.saturating_sub(2);
        let mut near: Vec<f64> = path[from..(at + 3).min(path.len())].iter().flatten().copied().collect();
        near.sort_by(f64::total_cmp);
        near.get(near.len().saturating_sub(1) / 2).copied().unwrap_or(f64::INFINITY)
    };
    (0..path.len()).map(around).collect()
}

/// How often a server that answers is taken for dead.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Alarms {
    pub timeout_ms: f64,
    pub fall: u32,
    /// Share of probes by which a server was declared dead.
    pub probes: f64,
    /// Share of the time for which it was held for dead.
    pub time: f64,
    /// Share of server-hours in which it happened at least once.
    pub server_hours: f64,
}

/// What `fall` answers in a row that come after the time-out make of paths that live.
pub fn false_alarms(recording: &Recording, timeout_ms: f64, fall: u32) -> Alarms {
    let per_hour = ((3600.0 / recording.step.as_secs_f64()) as usize).max(1);
    let (mut hours, mut hours_with, mut probes, mut alarms, mut down) = (0, 0, 0, 0, 0);
    for path in recording.cases.iter().flat_map(|case| &case.paths) {
        let mut filter = Filter::new(2, fall);
        for hour in path.chunks(per_hour) {
            let before = alarms;
            for ms in hour.iter().flatten() {
                let was = filter.state();
                filter.record(Duration::ZERO, &outcome(*ms, timeout_ms));
                probes += 1;
                down += usize::from(filter.state() == State::Down);
                alarms += usize::from(filter.state() == State::Down && was != State::Down);
            }
            hours += 1;
            hours_with += usize::from(alarms > before);
        }
    }
    let share = |part: usize, all: usize| part as f64 / all.max(1) as f64;
    Alarms {
        timeout_ms,
        fall,
        probes: share(alarms, probes),
        time: share(down, probes),
        server_hours: share(hours_with, hours),
    }
}
