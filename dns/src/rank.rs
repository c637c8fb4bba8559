//! How good a claim is beside others of the same prefix.
//!
//! The operators' word goes first: the lower preference wins. Then a claim that was proven (the resolvers in it were seen
//! to answer the node) beats one that only stands in a configuration, then the shorter round trip. All of it is one small
//! number, so that a table of a million claims can hold it and compare it at once.
//!
//! **Invariant:** the order is a function of what travels, so every node that holds the same claims picks the same winner.
//! Round trips count in steps of a tenth of a millisecond: a finer difference is no reason to prefer anybody, and the name
//! decides. What is above three seconds counts as three.

use std::fmt;
use std::time::Duration;

use crate::steer::Millis;

/// Preference, whether proven, and round trip: the lower the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(u32);

/// The bit that a claim has which was not proven.
const CONFIGURED: u32 = 1 << 15;
/// The round trip that nobody measured: behind all others.
const UNMEASURED: u32 = CONFIGURED - 1;
/// The step in which round trips count.
const STEP: Duration = Duration::from_micros(100);

impl Rank {
    /// Of a claim's parts.
    pub fn new(preference: u16, proven: bool, rtt: Option<Duration>) -> Self {
        let steps = |rtt: Duration| (rtt.as_micros() / STEP.as_micros()).min(u128::from(UNMEASURED - 1)) as u32;
        let configured = if proven { 0 } else { CONFIGURED };
        Self(u32::from(preference) << 16 | configured | rtt.map_or(UNMEASURED, steps))
    }

    /// As a table keeps it.
    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }

    /// From what a table kept.
    pub(crate) fn of_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The operator's preference.
    pub fn preference(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Was the claim proven?
    pub fn proven(self) -> bool {
        self.0 & CONFIGURED == 0
    }

    /// The round trip, in steps of a tenth of a millisecond.
    pub fn rtt(self) -> Option<Duration> {
        let steps = self.0 & UNMEASURED;
        (steps != UNMEASURED).then(|| STEP * steps)
    }
}

/// How the claim came about: `proven, 3.1 ms` or `configured`.
impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.proven() { "proven" } else { "configured" })?;
        self.rtt().map_or(Ok(()), |rtt| write!(f, ", {}", Millis(rtt)))
    }
}

impl fmt::Debug for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({self})", self.preference())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Rank;

    #[test]
    fn preference_goes_before_proof_and_proof_before_distance() {
        let rank = |preference, proven, micros: u64| {
            Rank::new(preference, proven, (micros > 0).then(|| Duration::from_micros(micros)))
        };
        let in_order = [
            rank(0, false, 0),
            rank(1, true, 3_140),
            rank(1, true, 3_200),
            rank(1, true, 3_600_000_000),
            rank(1, true, 0),
            rank(1, false, 100),
            rank(1, false, 0),
            rank(u16::MAX, true, 1),
        ];
        assert!(in_order.is_sorted_by(|a, b| a < b), "{in_order:?}");
        assert_eq!(rank(1, true, 3_140), rank(1, true, 3_199), "a tenth of a millisecond is the least that counts");
    }

    #[test]
    fn a_rank_says_what_it_was_made_of() {
        let rank = Rank::new(7, true, Some(Duration::from_micros(3_140)));
        assert_eq!((rank.preference(), rank.proven(), rank.rtt()), (7, true, Some(Duration::from_micros(3_100))));
        assert_eq!(rank.to_string(), "proven, 3.1 ms");
        let rank = Rank::new(u16::MAX, false, None);
        assert_eq!((rank.preference(), rank.proven(), rank.rtt()), (u16::MAX, false, None));
        assert_eq!(rank.to_string(), "configured");
    }
}
