//! The filter against change points that people marked in real traces (RIPE Atlas; W. Shao et al., "One-to-One
//! Matching of RTT and Path Changes", ITC 29, 2017).

use std::time::Duration;

use nigh::measure::filter::{Filter, WINDOW};
use nigh::measure::outcome::Outcome;

use crate::recordings::Labelled;

/// What the filter made of the marks.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Matched {
    pub traces: usize,
    pub hours: f64,
    /// Marks where the medians of the window before and after differ by 20 % or 2 % + 1 ms: what it promises to follow.
    pub marks: usize,
    /// ... of which the told value moved within a window.
    pub followed: usize,
    /// Samples from the mark to the move, on average.
    pub lag_samples: f64,
    /// Moves an hour with no mark within a window before it.
    pub unmarked_per_hour: f64,
}

/// Replays the traces.
pub fn run(traces: &[Labelled]) -> Matched {
    let (mut hours, mut marks, mut followed, mut lag, mut unmarked) = (0.0, 0, 0, 0_usize, 0_usize);
    for trace in traces {
        let mut filter = Filter::new(2, 3);
        let mut moves = Vec::new();
        for (at, (now, sample)) in trace.samples.iter().enumerate() {
            let before = filter.reading().rtt;
            if let Some(rtt) = sample {
                filter.record(*now, &Outcome::Answered(*rtt));
            }
            if at >= WINDOW && filter.reading().rtt != before {
                moves.push(at);
            }
        }
        let at_mark = |mark: &Duration| trace.samples.iter().position(|(now, _)| now == mark);
        let marked: Vec<usize> = trace.changes.iter().filter_map(at_mark).collect();
        for mark in marked.iter().filter(|mark| is_followable(trace, **mark)) {
            marks += 1;
            if let Some(moved) = moves.iter().find(|moved| (*mark..mark + WINDOW).contains(moved)) {
                followed += 1;
                lag += moved - mark;
            }
        }
        let explained = |moved: &usize| marked.iter().any(|mark| (*mark..mark + WINDOW).contains(moved));
        unmarked += moves.iter().filter(|moved| !explained(moved)).count();
        if let (Some((first, _)), Some((last, _))) = (trace.samples.first(), trace.samples.last()) {
            hours += last.saturating_sub(*first).as_secs_f64() / 3600.0;
        }
    }
    Matched {
        traces: traces.len(),
        hours,
        marks,
        followed,
        lag_samples: lag as f64 / followed.max(1) as f64,
        unmarked_per_hour: unmarked as f64 / hours,
    }
}

fn is_followable(trace: &Labelled, mark: usize) -> bool {
    let median = |samples: &[(Duration, Option<Duration>)]| {
        let mut answers: Vec<Duration> = samples.iter().filter_map(|(_, sample)| *sample).collect();
        answers.sort_unstable();
        answers.get(answers.len() / 2).copied()
    };
    let before = median(&trace.samples[mark.saturating_sub(WINDOW)..mark]);
    let after = median(&trace.samples[mark..(mark + WINDOW).min(trace.samples.len())]);
    match (before, after) {
        (Some(before), Some(after)) => before.abs_diff(after) > before / 50 + Duration::from_millis(1),
        _ => false,
    }
}
