//! How good a server is: one sum in milliseconds, and what it is made of.
//!
//! ```text
//!   score = latency * round-trip ms + loss * percent lost + load * percent used + cost * units of cost
//! ```
//!
//! A sum in milliseconds, so that the spread means the same for every objective, and an operator can ask "how many
//! milliseconds further away may a server be that is 10 % less busy?" and write the answer down.
//!
//! A server that reports no load counts as the busiest that does: silence must not win. If none reports, load is
//! nothing that could tell them apart.
//!
//! Rejected: ratios to the best of each criterion, where one server that leaves changes the order of the others.

use std::time::Duration;

use crate::{Milli, Objective};

use super::Seen;

/// How good a server is; the least is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    /// The sum.
    pub total: Duration,
    /// For its round-trip time.
    pub latency: Duration,
    /// For its losses.
    pub loss: Duration,
    /// For its load.
    pub load: Duration,
    /// For its cost.
    pub cost: Duration,
}

impl Score {
    /// Nothing: the round-trip time counts, and is not known.
    pub(super) fn new(objective: &Objective, seen: Option<&Seen>, busiest: f32, cost: Milli) -> Option<Self> {
        let latency = match seen.and_then(|seen| seen.rtt) {
            _ if objective.latency.0 == 0 => Duration::ZERO,
            // As it was measured, to the nanosecond.
            Some(rtt) if objective.latency == Milli::ONE => rtt,
            Some(rtt) => nanos(rtt.as_nanos() * u128::from(objective.latency.0) / 1000),
            None => return None,
        };
        let loss = percent(objective.loss, seen.map_or(0.0, |seen| seen.loss));
        let load = percent(objective.load, seen.and_then(|seen| seen.load).unwrap_or(busiest));
        // Thousandths of milliseconds by thousandths of units are nanoseconds.
        let cost = nanos(u128::from(objective.cost.0) * u128::from(cost.0));
        let total = [loss, load, cost].into_iter().fold(latency, Duration::saturating_add);
        Some(Self { total, latency, loss, load, cost })
    }
}

/// So much for each percent of a share. A thousandth of a millisecond for a thousandth of the share is 100 ns.
fn percent(each: Milli, share: f32) -> Duration {
    // In 0..=65535 whatever the float is: casts saturate, NaN becomes 0.
    let permille = (share * 1000.0).round() as u16;
    nanos(u128::from(each.0) * u128::from(permille) * 100)
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::RowState;

    fn seen(rtt: Option<u64>, loss: f32, load: Option<f32>) -> Seen {
        let rtt = rtt.map(Duration::from_millis);
        Seen { state: RowState::Up, rtt, loss, load, as_of: Duration::ZERO, why: String::new() }
    }

    const ALL: Objective = Objective { latency: Milli(500), loss: Milli(10_000), load: Milli(200), cost: Milli(3000) };

    #[test]
    fn each_part_is_in_milliseconds() {
        let score = Score::new(&ALL, Some(&seen(Some(40), 0.02, Some(0.5))), 1.0, Milli(1500)).unwrap();
        let parts = [score.latency, score.loss, score.load, score.cost].map(|part| part.as_secs_f64() * 1000.0);
        assert_eq!(parts, [20.0, 20.0, 10.0, 4.5]);
        assert_eq!(score.total, Duration::from_micros(54_500));
    }

    #[test]
    fn latency_alone_is_the_time_that_was_measured() {
        let seen = Seen { rtt: Some(Duration::from_nanos(1_234_567)), ..seen(None, 0.5, Some(0.9)) };
        let score = Score::new(&Objective::default(), Some(&seen), 1.0, Milli(9)).unwrap();
        assert_eq!(score.total, Duration::from_nanos(1_234_567));
    }

    #[test]
    fn without_a_time_there_is_a_score_only_where_time_is_nothing() {
        assert_eq!(Score::new(&ALL, Some(&seen(None, 0.0, None)), 0.0, Milli(0)), None);
        let timeless = Objective { latency: Milli(0), ..ALL };
        let score = Score::new(&timeless, None, 0.25, Milli(1000)).unwrap();
        assert_eq!(score.total, Duration::from_millis(5 + 3), "the busiest's load, and the cost");
    }

    #[test]
    fn no_number_overflows() {
        let most =
            Objective { latency: Milli(u32::MAX), loss: Milli(u32::MAX), load: Milli(u32::MAX), cost: Milli(u32::MAX) };
        for share in [f32::NAN, f32::INFINITY, -1.0, f32::MAX] {
            let wild = Seen { rtt: Some(Duration::MAX), ..seen(None, share, Some(share)) };
            assert!(Score::new(&most, Some(&wild), share, Milli(u32::MAX)).is_some());
        }
    }
}
