//! The filter as a whole.
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
    let noise =
        |filter: &mut Filter| feed(filter, &[10, 30, 10, 30, 20].repeat(6).into_iter().map(answer).collect::<Vec<_>>());
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
fn an_outage_is_no_loss_of_the_path_once_it_is_over() {
    let mut filter = Filter::new(2, 3);
    // It was started after this node.
    feed(&mut filter, &[failure(), failure()]);
    assert_eq!(filter.reading().loss, 1.0);
    feed(&mut filter, &[answer(20)]);
    assert_eq!((filter.reading().state, filter.reading().loss, filter.reading().why.as_str()), (State::Up, 0.0, ""));
    // One lost packet of ten is.
    feed(&mut filter, &[vec![answer(20); 8], vec![failure()]].concat());
    assert!((filter.reading().loss - 0.1).abs() < 1e-6);
    feed(&mut filter, &vec![failure(); 9]);
    assert_eq!(filter.reading().state, State::Down);
    feed(&mut filter, &[answer(20), answer(20)]);
    assert_eq!((filter.reading().state, filter.reading().loss), (State::Up, 0.0));
}

#[test]
fn the_reason_goes_when_the_window_has_forgotten_the_failure() {
    let mut filter = Filter::new(2, 3);
    feed(&mut filter, &[answer(20), failure()]);
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
    assert_eq!((filter.reading().srtt, filter.reading().spread), (Some(ms(110)), Some(Duration::from_micros(57_500))));
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
