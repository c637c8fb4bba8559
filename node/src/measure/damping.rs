//! A server that keeps coming and going is left out for a while.
//!
//! Each time it goes down costs clients failed connections and answers that change, and a server that was down five times
//! in the last minutes will be down again soon. As with routes of BGP (RFC 2439): each fall adds [`PENALTY`], which decays
//! by half every [`HALF_LIFE`]; above [`SUPPRESS`] the server is held down although it answers, below [`REUSE`] it is used
//! again. A ceiling bounds how long it can be held after its last fall ([`longest`]).
//!
//! Four falls in quick succession or five within a half-life begin it, so that a restart, a deployment in two steps or an outage of the network that
//! came back twice do not. It only ever holds down what other servers can stand in for: when all are down the policy of the
//! service decides, as always.
//!
//! **Invariant:** the penalty is a function of the times of the falls; what is asked, and when, changes nothing.

use std::time::Duration;

/// What one fall costs; a number without a unit, as in RFC 2439.
pub const PENALTY: f64 = 1000.0;
/// Above this a server is held down.
pub const SUPPRESS: f64 = 3500.0;
/// Below this it is used again.
pub const REUSE: f64 = 1000.0;
/// In which time half of the penalty is forgotten.
pub const HALF_LIFE: Duration = Duration::from_secs(120);
/// The highest penalty: eight times [`REUSE`], three half-lives away from it.
const CEILING: f64 = 8000.0;

/// The longest that a server is held down after its last fall.
pub fn longest() -> Duration {
    HALF_LIFE.mul_f64((CEILING / REUSE).log2())
}

/// How a server has behaved.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Damping {
    penalty: f64,
    /// When it was that.
    at: Duration,
    suppressed: bool,
}

impl Damping {
    /// The server went down.
    pub fn fell(&mut self, now: Duration) {
        let penalty = self.penalty(now) + PENALTY;
        self.suppressed = self.is_suppressed(now) || penalty > SUPPRESS;
        (self.penalty, self.at) = (penalty.min(CEILING), now);
    }

    /// What is left of its falls.
    pub fn penalty(&self, now: Duration) -> f64 {
        let half_lives = now.saturating_sub(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.penalty * (-half_lives).exp2()
    }

    /// Whether it is to be held down.
    pub fn is_suppressed(&self, now: Duration) -> bool {
        self.suppressed && self.penalty(now) >= REUSE
    }

    /// Until it is used again, if it does not fall again.
    pub fn held_for(&self, now: Duration) -> Option<Duration> {
        let half_lives = (self.penalty(now) / REUSE).log2();
        self.is_suppressed(now).then(|| HALF_LIFE.mul_f64(half_lives.max(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn after(falls: &[u64]) -> Damping {
        let mut damping = Damping::default();
        falls.iter().for_each(|at| damping.fell(seconds(*at)));
        damping
    }

    #[test]
    fn a_few_falls_are_forgiven_and_many_are_not() {
        for (falls, held) in [
            (&[][..], false),
            (&[0], false),
            (&[0, 20, 40], false),
            (&[0, 10, 20, 30, 40], true),
            (&[0, 120, 240, 360, 480, 600], false),
            (&[0, 30, 60, 90, 120, 150, 180], true),
        ] {
            let last = falls.last().copied().unwrap_or_default();
            assert_eq!(after(falls).is_suppressed(seconds(last)), held, "{falls:?}");
        }
    }

    #[test]
    fn it_is_used_again_when_it_said() {
        let damping = after(&[0, 10, 20, 30, 40]);
        let now = seconds(45);
        let held = damping.held_for(now).unwrap_or_default();
        assert!(damping.is_suppressed(now + held - seconds(1)) && !damping.is_suppressed(now + held + seconds(1)));
        assert!((seconds(180)..seconds(300)).contains(&held), "{held:?}");
        // A fall after that begins from what is left.
        let mut again = damping;
        again.fell(now + held + seconds(1));
        assert!(!again.is_suppressed(now + held + seconds(1)));
    }

    proptest! {
        #[test]
        fn nobody_is_held_longer_than_the_longest(pauses in prop::collection::vec(0u64..300, 1..60), later in 0u64..1000) {
            let mut damping = Damping::default();
            let mut now = Duration::ZERO;
            for pause in pauses {
                now += seconds(pause);
                damping.fell(now);
            }
            prop_assert!(damping.held_for(now).unwrap_or_default() <= longest() + seconds(1));
            let then = now + seconds(later);
            prop_assert_eq!(damping.held_for(then).is_some(), damping.is_suppressed(then));
            prop_assert!(!damping.is_suppressed(now + longest() + seconds(1)));
        }
    }
}
