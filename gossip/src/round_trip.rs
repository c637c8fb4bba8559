//! How far a peer is: the least round trip of late.
//!
//! A beat that was lost comes again a round trip later, and one that met a busy host waits: both only add. So the path
//! is the least that was seen (the windowed minimum of Cardwell et al., BBR, 2016), and what comes on top is for
//! [`crate::liveness`], which allows for lateness of its own.
//!
//! **Invariant:** at most the least sample of the last [`WINDOW`], so a path that got longer is known after two.
//!
//! Rejected: the smoothed mean (RFC 6298): at 20 % loss it moved by more than a tenth all the time, and each node of the
//! mesh published its round trips as often as it may.

use std::time::Duration;

use crate::time::Moment;

/// A window is open so long; the one before it counts too. At 20 % loss most beats wait for something sent again, and ten
/// seconds may pass without one that did not.
const WINDOW: Duration = Duration::from_secs(60);

/// The round trips to one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundTrip {
    open: Option<(Moment, Duration)>,
    before: Option<Duration>,
}

impl RoundTrip {
    /// A beat came back.
    pub(crate) fn handle_sample(&mut self, now: Moment, sample: Duration) {
        match &mut self.open {
            Some((since, least)) if now.since(*since) < WINDOW => *least = sample.min(*least),
            _ => {
                self.before = self.open.map(|(_, least)| least);
                self.open = Some((now, sample));
            }
        }
    }

    /// It is known without samples.
    pub(crate) fn set(&mut self, round_trip: Duration) {
        *self = Self { open: Some((Moment::ZERO, round_trip)), before: None };
    }

    /// The least of late, once one beat has come back.
    pub(crate) fn least(&self) -> Option<Duration> {
        self.open.map(|(_, least)| self.before.map_or(least, |before| before.min(least)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn least_of(samples: impl IntoIterator<Item = (u64, u64)>) -> Option<Duration> {
        let mut trips = RoundTrip::default();
        samples.into_iter().for_each(|(at, sample)| trips.handle_sample(Moment(at * 1000), ms(sample)));
        trips.least()
    }

    #[test]
    fn what_was_sent_again_does_not_count() {
        assert_eq!(least_of([]), None);
        assert_eq!(least_of([(0, 40)]), Some(ms(40)));
        assert_eq!(least_of([(0, 40), (400, 105), (800, 41), (1_200, 190)]), Some(ms(40)));
        let mostly_late = (0..1_000).map(|n| (n * 400, if n % 5 == 0 { 40 } else { 105 }));
        assert_eq!(least_of(mostly_late), Some(ms(40)));
    }

    #[test]
    fn a_path_that_got_longer_is_known_after_two_windows_and_a_shorter_one_at_once() {
        let longer = |until: u64| (0..until).step_by(400).map(|at| (at, if at < 5_000 { 40 } else { 90 }));
        assert_eq!(least_of(longer(119_000)), Some(ms(40)), "a window may be of bad luck");
        assert_eq!(least_of(longer(121_000)), Some(ms(90)));
        assert_eq!(least_of(longer(121_000).chain([(121_000, 30)])), Some(ms(30)));
    }
}
