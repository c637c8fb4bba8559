//! A server's load as others may act on it: smoothed, and standing still until it has really moved.
//!
//! Utilization jumps from one report to the next, and whoever follows it at once sends everybody to the server that has
//! just become idle, and away from it again: the herd that every load balancer with a feedback knows. So a report counts
//! for [`SMOOTHING`], and what is told holds still until the smoothed figure is off by [`STEP`], for [`HOLD`] at least.
//! That bounds what a row costs the mesh, too.
//!
//! A server that no longer reports is forgotten after [`MISSING`] answers without a word.

use std::time::Duration;

/// The time constant of the mean: reports of half a minute ago hardly count.
pub const SMOOTHING: Duration = Duration::from_secs(10);
/// What is told is off by at most this share.
pub const STEP: f32 = 0.05;
/// What is told stays so long at least.
pub const HOLD: Duration = Duration::from_secs(5);
/// So many answers without a report, and there is none any more.
pub const MISSING: u32 = 10;

/// See the module's header.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauge {
    smooth: Option<(Duration, f32)>,
    told: Option<(Duration, f32)>,
    missing: u32,
}

impl Gauge {
    /// Takes in what an answer told.
    pub fn record(&mut self, now: Duration, load: Option<f32>) {
        let Some(load) = load.filter(|load| load.is_finite()) else {
            self.missing = self.missing.saturating_add(1);
            if self.missing >= MISSING {
                *self = Self { missing: self.missing, ..Self::default() };
            }
            return;
        };
        self.missing = 0;
        let smooth = match self.smooth {
            None => load,
            Some((at, held)) => {
                let passed = now.saturating_sub(at).as_secs_f32() / SMOOTHING.as_secs_f32();
                held + (load - held) * (1.0 - (-passed).exp())
            }
        };
        self.smooth = Some((now, smooth));
        let stays = self.told.is_some_and(|(at, told)| (smooth - told).abs() < STEP || now < at + HOLD);
        if !stays {
            self.told = Some((now, smooth));
        }
    }

    /// What is told: the share of the server's capacity in use.
    pub fn told(&self) -> Option<f32> {
        self.told.map(|(_, told)| told)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(at: u64) -> Duration {
        Duration::from_secs(at)
    }

    #[test]
    fn the_first_report_is_told_and_noise_is_not() {
        let mut gauge = Gauge::default();
        let mut told = Vec::new();
        for at in 0..60 {
            gauge.record(seconds(at), Some(if at % 2 == 0 { 0.48 } else { 0.52 }));
            told.push(gauge.told());
        }
        assert!(told.iter().all(|load| *load == Some(0.48)), "{told:?}");
    }

    #[test]
    fn a_step_is_told_within_seconds_and_not_all_at_once() {
        let mut gauge = Gauge::default();
        gauge.record(seconds(0), Some(0.2));
        let mut changes = 0;
        let mut before = gauge.told();
        for at in 10..70 {
            gauge.record(seconds(at), Some(0.8));
            changes += u32::from(gauge.told() != before);
            before = gauge.told();
        }
        assert!((2..=8).contains(&changes), "{changes} rows for one step");
        assert!(before.is_some_and(|told| (told - 0.8).abs() < STEP), "{before:?}");
    }

    #[test]
    fn who_is_silent_is_forgotten() {
        let mut gauge = Gauge::default();
        gauge.record(seconds(0), Some(0.7));
        for at in 1..u64::from(MISSING) {
            gauge.record(seconds(at), None);
            assert_eq!(gauge.told(), Some(0.7));
        }
        gauge.record(seconds(99), None);
        assert_eq!(gauge.told(), None);
        gauge.record(seconds(100), Some(0.1));
        assert_eq!(gauge.told(), Some(0.1));
    }

    proptest! {
        /// Whatever is reported, what is told stands for a while, lies among what was reported, and follows it.
        #[test]
        fn what_is_told_holds_still(reports in prop::collection::vec((1..4u64, 0.0f32..2.0), 1..100)) {
            let mut gauge = Gauge::default();
            let (mut now, mut last) = (0, None);
            for (wait, load) in &reports {
                now += wait;
                let before = gauge.told();
                gauge.record(seconds(now), Some(*load));
                if gauge.told() != before {
                    prop_assert!(last.is_none_or(|last| now - last >= HOLD.as_secs()));
                    last = Some(now);
                }
                prop_assert!(gauge.told().is_some_and(|told| (0.0..2.0).contains(&told)));
            }
            for _ in 0..30 {
                now += 2;
                gauge.record(seconds(now), Some(1.0));
            }
            prop_assert!(gauge.told().is_some_and(|told| (told - 1.0).abs() < 2.0 * STEP));
        }
    }
}
