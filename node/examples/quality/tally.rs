//! What a way to choose was worth.

/// Choices, each against the best there was.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    exact: usize,
    near: usize,
    excess_ms: f64,
    ratios: Vec<f64>,
}

/// The figures of a tally.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Figures {
    /// Share of choices that nothing would have beaten.
    pub exact: f64,
    /// Share within a tenth or 2 ms of the best.
    pub near: f64,
    /// How much slower than the best, on average.
    pub excess_ms: f64,
    /// Chosen over best, for the client that only a tenth fares worse than.
    pub ratio_p90: f64,
    /// The same for a hundredth.
    pub ratio_p99: f64,
}

impl Tally {
    /// Notes a choice.
    pub fn note(&mut self, chosen_ms: f64, best_ms: f64) {
        self.exact += usize::from(chosen_ms <= best_ms);
        self.near += usize::from(chosen_ms <= (best_ms * 1.1).max(best_ms + 2.0));
        self.excess_ms += chosen_ms - best_ms;
        self.ratios.push(chosen_ms / best_ms);
    }

    /// How many were noted.
    pub fn count(&self) -> usize {
        self.ratios.len()
    }

    /// What they come to; NaN of nothing.
    pub fn figures(&self) -> Figures {
        let count = self.ratios.len() as f64;
        let mut ratios = self.ratios.clone();
        ratios.sort_by(f64::total_cmp);
        let at = |part: f64| ratios.get((ratios.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN);
        Figures {
            exact: self.exact as f64 / count,
            near: self.near as f64 / count,
            excess_ms: self.excess_ms / count,
            ratio_p90: at(0.9),
            ratio_p99: at(0.99),
        }
    }
}
