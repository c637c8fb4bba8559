//! What several nodes near a resolver know together of the way from it to an origin.
//!
//! A node's row is what *its* users see. A resolver 20 ms away is not there, and where two origins differ by less than
//! that, the row says little. Every node that knows its round trip to the resolver has something to add:
//! - its row, counted by nearness: a mean with weights of 1/rtt^3;
//! - the triangle inequality: the way to an origin is at least |row - rtt| and at most row + rtt, and the narrowest
//!   bounds of all nodes hold.
//!
//! The estimate is the mean of both, the middle of the bounds being the second. Internet paths break the inequality
//! now and then, so bounds alone do worse than the nearest row.

/// A node's round trip to the resolver and its row, in ms.
pub struct Witness<'r> {
    pub rtt_ms: f64,
    pub row: &'r [f64],
}

/// Estimates the way from the resolver to an origin; NaN if nobody knows it.
pub fn estimate(witnesses: &[Witness<'_>], origin: usize) -> f64 {
    let (mut sum, mut weights, mut low, mut high) = (0.0, 0.0, 0.0_f64, f64::INFINITY);
    for witness in witnesses {
        let way = witness.row[origin];
        if way.is_nan() {
            continue;
        }
        let weight = witness.rtt_ms.powi(-3);
        sum += weight * way;
        weights += weight;
        low = low.max((way - witness.rtt_ms).abs());
        high = high.min(way + witness.rtt_ms);
    }
    if weights == 0.0 { f64::NAN } else { (sum / weights + (low + high) / 2.0) / 2.0 }
}
