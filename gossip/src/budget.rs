//! Tokens that come back with time: so much at once, and then a rate.

use crate::time::Moment;

/// What is left of a budget, kept in millionths, so that a rate of 8 a second is exact at microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    left: u64,
    at: Moment,
}

impl Budget {
    /// A full one.
    pub(crate) fn new(now: Moment, burst: u64) -> Self {
        Self { left: burst * 1_000_000, at: now }
    }

    /// Takes `cost` if it is there.
    pub(crate) fn take(&mut self, now: Moment, cost: u64, rate: u64, burst: u64) -> bool {
        self.refill(now, rate, burst);
        let left = self.left.checked_sub(cost * 1_000_000);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Whether `cost` was there when it was last looked at.
    #[cfg(feature = "shell")]
    pub(crate) fn has(&self, cost: u64) -> bool {
        self.left >= cost * 1_000_000
    }

    /// Brings back what time gave; says whether all of it is there again.
    pub(crate) fn refill(&mut self, now: Moment, rate: u64, burst: u64) -> bool {
        let back = now.0.saturating_sub(self.at.0).saturating_mul(rate);
        self.left = self.left.saturating_add(back).min(burst * 1_000_000);
        self.at = now;
        self.left == burst * 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_lets_a_burst_through_and_then_the_rate() {
        let mut budget = Budget::new(Moment::ZERO, 10);
        let taken = |budget: &mut Budget, now: u64| (0..100).take_while(|_| budget.take(Moment(now), 1, 8, 10)).count();
        assert_eq!(taken(&mut budget, 0), 10);
        assert_eq!(taken(&mut budget, 500_000), 4);
        assert_eq!(taken(&mut budget, 600_000), 0);
        assert_eq!(taken(&mut budget, u64::MAX), 10);
    }
}
