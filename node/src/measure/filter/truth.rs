//! The filter against made-up paths of which the truth is known. Every path has its own seed, so each run is the same.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{FAST, Filter, State, WINDOW};
use crate::measure::order::{Entrant, Line};
use crate::measure::outcome::{Failure, Outcome};

const SECOND: Duration = Duration::from_secs(1);
const SEEDS: u64 = 20;

/// A path: round by round its true round trip in ms, and what disturbs it.
struct Truth {
    rng: ChaCha8Rng,
    /// Added to every sample, at most, evenly.
    noise: f64,
    /// One in twenty takes so much longer.
    spike: f64,
    /// Share of samples lost.
    loss: f64,
}

impl Truth {
    fn new(seed: u64, noise: f64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), noise, spike: 0.0, loss: 0.0 }
    }

    fn sample(&mut self, ms: f64) -> Outcome {
        let spike = if self.rng.random::<f64>() < 0.05 { self.spike } else { 0.0 };
        let rtt = ms + self.noise * self.rng.random::<f64>() + spike;
        if self.rng.random::<f64>() < self.loss {
            return Outcome::Failed(Failure::Timeout(SECOND));
        }
        Outcome::Answered(Duration::from_secs_f64(rtt / 1e3))
    }
}

/// The told value after each round, in ms.
fn replay(truth: &mut Truth, path: impl IntoIterator<Item = f64>) -> (Filter, Vec<f64>) {
    let mut filter = Filter::new(2, 3);
    let mut told = Vec::new();
    for (round, ms) in path.into_iter().enumerate() {
        filter.record(SECOND * 2 * round as u32, &truth.sample(ms));
        told.push(filter.reading().rtt.map_or(f64::NAN, |rtt| rtt.as_secs_f64() * 1e3));
    }
    (filter, told)
}

fn moves(told: &[f64]) -> usize {
    told.windows(2).filter(|pair| pair[0] != pair[1] && !pair[0].is_nan()).count()
}

#[test]
fn a_constant_path_is_told_once_it_has_settled_and_then_stands_still() {
    for seed in 0..SEEDS {
        let (_, told) = replay(&mut Truth::new(seed, 0.4), vec![25.0; 2000]);
        assert_eq!(moves(&told[FAST..]), 0, "seed {seed}");
        assert!((told[1999] - 25.2).abs() < 0.5, "seed {seed}: {}", told[1999]);
    }
}

#[test]
fn spikes_and_noise_hardly_ever_move_it() {
    for seed in 0..SEEDS {
        let mut truth = Truth { spike: 400.0, ..Truth::new(seed, 5.0) };
        let (_, told) = replay(&mut truth, vec![25.0; 2000]);
        assert!(moves(&told[WINDOW..]) <= 20, "seed {seed}: {}", moves(&told[WINDOW..]));
        assert!((told[1999] - 27.5).abs() < 3.0, "seed {seed}: {}", told[1999]);
    }
}

#[test]
fn a_step_is_followed_within_four_samples_and_a_small_one_within_the_window() {
    for seed in 0..SEEDS {
        let path = |to: f64| std::iter::repeat_n(30.0, 100).chain(std::iter::repeat_n(to, 100));
        let lag = |told: &[f64], to: f64| told[100..].iter().position(|ms| (ms - to).abs() < 2.0).unwrap();
        let (_, told) = replay(&mut Truth::new(seed, 1.0), path(60.0));
        assert!(lag(&told, 60.0) < FAST, "seed {seed}: {}", lag(&told, 60.0));
        let (_, told) = replay(&mut Truth::new(seed, 1.0), path(34.0));
        assert!(lag(&told, 34.0) < WINDOW, "seed {seed}: {}", lag(&told, 34.0));
        assert!(moves(&told[100..]) <= 2, "seed {seed}");
    }
}

#[test]
fn a_drift_is_followed_and_never_far_behind() {
    for seed in 0..SEEDS {
        // From 40 to 60 ms in half an hour.
        let path: Vec<f64> = (0..900).map(|round| 40.0 + 20.0 * f64::from(round) / 900.0).collect();
        let (_, told) = replay(&mut Truth::new(seed, 0.5), path.clone());
        let worst = told[WINDOW..].iter().zip(&path[WINDOW..]).map(|(told, ms)| (told - ms).abs()).fold(0.0, f64::max);
        assert!(worst < 4.0, "seed {seed}: {worst}");
        assert!(moves(&told[WINDOW..]) < 20, "seed {seed}: {}", moves(&told[WINDOW..]));
    }
}

#[test]
fn loss_is_told_and_does_not_move_the_value() {
    for seed in 0..SEEDS {
        let mut truth = Truth { loss: 0.2, ..Truth::new(seed, 1.0) };
        let (filter, told) = replay(&mut truth, vec![25.0; 500]);
        assert_eq!(moves(&told[WINDOW..]), 0, "seed {seed}");
        let loss = filter.reading().loss;
        assert!((0.0..=0.5).contains(&loss), "seed {seed}: {loss}");
        assert!(loss > 0.0, "seed {seed}");
    }
}

#[test]
fn a_path_that_falls_silent_is_down_after_three_and_forgets_in_an_hour() {
    let mut filter = Filter::new(2, 3);
    let mut truth = Truth::new(1, 0.0);
    (0..40).for_each(|round| filter.record(SECOND * round, &truth.sample(20.0)));
    truth.loss = 1.0;
    (40..43).for_each(|round| filter.record(SECOND * round, &truth.sample(20.0)));
    assert_eq!((filter.state(), filter.reading().path.unwrap().answers), (State::Down, WINDOW));
    truth.loss = 0.0;
    filter.record(SECOND * 43 + super::LIFETIME, &truth.sample(90.0));
    let reading = filter.reading();
    assert_eq!(reading.path.unwrap().answers, 1);
    assert_eq!((reading.loss, reading.rtt), (0.0, Some(Duration::from_millis(90))));
}

/// Two paths through filter and order: the rounds at which the first server changed.
fn duel(seed: u64, noise: [f64; 2], ms: impl Fn(usize, &mut ChaCha8Rng) -> [f64; 2], rounds: usize) -> Vec<usize> {
    let mut truths = [Truth::new(seed, noise[0]), Truth::new(seed + 1000, noise[1])];
    let mut filters = [Filter::new(2, 3), Filter::new(2, 3)];
    let mut rng = ChaCha8Rng::seed_from_u64(seed + 2000);
    let (mut line, mut first, mut changes) = (Line::default(), None, Vec::new());
    for round in 0..rounds {
        for ((filter, truth), ms) in filters.iter_mut().zip(&mut truths).zip(ms(round, &mut rng)) {
            filter.record(SECOND * 2 * round as u32, &truth.sample(ms));
        }
        let readings = filters.iter().map(Filter::reading).enumerate();
        let entrants: BTreeMap<usize, Entrant> = readings
            .map(|(at, reading)| (at, Entrant { rtt: reading.rtt.unwrap(), path: reading.path.unwrap() }))
            .collect();
        let now = line.settle(&entrants).iter().min_by_key(|(_, told)| **told).map(|(at, _)| *at);
        if round >= WINDOW && now != first {
            changes.push(round);
        }
        first = now;
    }
    changes
}

#[test]
fn equal_paths_do_not_take_turns() {
    // The last is a path that takes 30 to 90 ms, evenly: such a one may change its mind twice an hour.
    for (noise, most) in [(0.2, 0), (3.0, 0), (60.0, 70)] {
        let changes: usize = (0..SEEDS).map(|seed| duel(seed, [noise; 2], |_, _| [30.0, 30.0], 3000).len()).sum();
        assert!(changes <= most, "noise {noise}: {changes} changes in {} hours", SEEDS * 3000 * 2 / 3600);
    }
}

#[test]
fn a_path_that_got_worse_is_left_in_seconds_if_much_and_in_a_minute_if_little() {
    for seed in 0..SEEDS {
        let step = |to: f64, other: f64| {
            let left = duel(seed, [1.0; 2], move |round, _| [if round < 100 { 20.0 } else { to }, other], 200);
            left.first().copied().unwrap_or(usize::MAX).saturating_sub(100)
        };
        assert!(step(60.0, 30.0) <= FAST, "seed {seed}: {}", step(60.0, 30.0));
        assert!(step(28.0, 24.0) < WINDOW, "seed {seed}: {}", step(28.0, 24.0));
    }
}

#[test]
fn a_path_that_is_fast_one_time_in_three_does_not_pass_for_a_fast_one() {
    for seed in 0..SEEDS {
        let bimodal = |_: usize, rng: &mut ChaCha8Rng| [40.0, if rng.random::<f64>() < 0.3 { 20.0 } else { 80.0 }];
        let changes = duel(seed, [1.0; 2], bimodal, 1000);
        assert!(changes.len() <= 1, "seed {seed}: {changes:?}");
    }
}
