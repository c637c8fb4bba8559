//! The clock of edits: a hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014).
//!
//! An edit made after seeing another must win over it, even if the second operator's clock is behind; and of two edits
//! that did not see each other the later one by the clock should win. A stamp is the wall clock in milliseconds, or the
//! highest one seen if that is ahead, with a counter that rises while the milliseconds stand still.
//!
//! **Invariant:** [`Clock::next`] is strictly above every stamp the clock has seen or given.
//!
//! A clock that is far ahead would win for that long over everybody else's edits, so such stamps are refused, but only
//! where an edit is admitted ([`bound`]). A merge that refused them would leave nodes with different clocks with
//! different catalogues.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nigh_gossip::Stamp;

/// How far a stamp may be ahead of the clock where an edit is admitted. Machines without NTP are off by minutes;
/// more than this is a wrong date.
pub const MAX_AHEAD: Duration = Duration::from_secs(600);

/// A moment on the clock of edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Hlc {
    /// Unix time in milliseconds; a stamp's `major`.
    pub millis: u64,
    /// Orders moments within a millisecond; a stamp's `minor`.
    pub counter: u64,
}

impl From<Stamp> for Hlc {
    fn from(stamp: Stamp) -> Self {
        Self { millis: stamp.major, counter: stamp.minor }
    }
}

/// A stamp lies too far in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "stamped {} ahead of this host's clock, where at most {} are allowed; set the clock right (timedatectl), here or \
     where the edit was signed",
    humantime::format_duration(*.ahead),
    humantime::format_duration(MAX_AHEAD)
)]
pub struct TooFarAhead {
    /// By how much, to the second.
    pub ahead: Duration,
}

/// Gives out stamps for edits.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    highest: Hlc,
}

impl Clock {
    /// A clock that has seen these stamps.
    pub fn after(seen: impl IntoIterator<Item = Hlc>) -> Self {
        Self { highest: seen.into_iter().max().unwrap_or_default() }
    }

    /// The next moment at the wall clock's `now_millis`.
    ///
    /// # Errors
    /// [`TooFarAhead`] if what was seen is so far ahead that the edit would not be admitted.
    pub fn next(&mut self, now_millis: u64) -> Result<Hlc, TooFarAhead> {
        let next = if now_millis > self.highest.millis {
            Hlc { millis: now_millis, counter: 0 }
        } else {
            match self.highest.counter.checked_add(1) {
                Some(counter) => Hlc { millis: self.highest.millis, counter },
                None => Hlc { millis: self.highest.millis.saturating_add(1), counter: 0 },
            }
        };
        bound(next, now_millis)?;
        self.highest = next;
        Ok(next)
    }
}

/// The wall clock, for the shells that edit and admit.
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Refuses a stamp that is too far ahead of the clock.
///
/// # Errors
/// [`TooFarAhead`], with the distance.
pub fn bound(stamp: Hlc, now_millis: u64) -> Result<(), TooFarAhead> {
    let ahead = Duration::from_millis(stamp.millis.saturating_sub(now_millis));
    if ahead > MAX_AHEAD {
        return Err(TooFarAhead { ahead: Duration::from_secs(ahead.as_secs()) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stamps_follow_the_clock_and_never_fall_behind() {
        let mut clock = Clock::after([Hlc { millis: 1000, counter: 7 }]);
        let given = [500, 1000, 2000, 2000].map(|now| clock.next(now).unwrap());
        let expected = [(1000, 8), (1000, 9), (2000, 0), (2000, 1)];
        assert_eq!(given.map(|hlc| (hlc.millis, hlc.counter)), expected);
    }

    #[test]
    fn a_stamp_from_next_year_is_refused_where_an_edit_is_admitted() {
        let day = 24 * 3600 * 1000;
        let error = Clock::after([Hlc { millis: day, counter: 0 }]).next(0).unwrap_err();
        assert_eq!(error.ahead, Duration::from_secs(24 * 3600));
        let text = error.to_string();
        assert!(text.starts_with("stamped 1day ahead of this host's clock, where at most 10m are allowed"), "{text}");
        assert_eq!(bound(Hlc { millis: 600_000, counter: u64::MAX }, 0), Ok(()));
    }

    proptest! {
        #[test]
        fn every_stamp_is_above_all_before(
            seen in prop::collection::vec((0u64..100_000, any::<u64>()), 0..5),
            nows in prop::collection::vec(0u64..100_000, 1..20),
        ) {
            let seen: Vec<Hlc> = seen.into_iter().map(|(millis, counter)| Hlc { millis, counter }).collect();
            let mut highest = seen.iter().copied().max().unwrap_or_default();
            let mut clock = Clock::after(seen);
            for now in nows {
                let next = clock.next(now).unwrap();
                prop_assert!(next > highest);
                highest = next;
            }
        }
    }
}
