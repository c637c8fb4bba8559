//! What people see: the smoothed RTT and its variation of RFC 6298, section 2, with its weights of 1/8 and 1/4. It is
//! not used to decide: one lost packet and retransmission moves it for a dozen samples, a median not at all.

use std::time::Duration;

/// SRTT and RTTVAR.
#[derive(Clone, Copy, Debug)]
pub struct Smoothed {
    /// The smoothed round trip.
    pub srtt: Duration,
    /// Its variation.
    pub rttvar: Duration,
}

impl Smoothed {
    /// RFC 6298, section 2.2 and 2.3, without the retransmission timeout that TCP derives from it.
    pub fn with(old: Option<Self>, rtt: Duration) -> Self {
        match old {
            None => Self { srtt: rtt, rttvar: rtt / 2 },
            // "RTTVAR <- (1 - beta) * RTTVAR + beta * |SRTT - R'|", which "MUST" come before SRTT's own update.
            Some(old) => {
                Self { rttvar: old.rttvar * 3 / 4 + old.srtt.abs_diff(rtt) / 4, srtt: old.srtt * 7 / 8 + rtt / 8 }
            }
        }
    }
}
