//! Is it them, or is it me?
//!
//! When every server seems to die in the same moment, the likelier explanation is that this node has lost its network.
//! Then it must not tell the mesh that all origins are down, must not reshuffle its answers, and should let other
//! claimants take over its resolvers (the claims are withdrawn elsewhere; here it is only found out).
//!
//! The rule, a pure function of what the probes saw last ([`judge`]):
//! 1. Every probe that was ever made failed the last time, and
//! 2. on at least two addresses, a server that was up *fell together* with the others: its last answer came no longer
//!    before the last answer of all than two intervals and a timeout. Servers that died one after the other over an
//!    hour are dead servers; the last one to go does not make me isolated.
//! 3. That much is a *suspicion*: verdicts are held back. Once servers on two addresses have failed as often as takes
//!    a server down, it is certain enough: *isolated*.
//!
//! Suspicion comes before certainty because servers are probed one after the other: the first would be published as
//! down a moment before the second could show that it is us.
//!
//! **Invariant:** any answer from anywhere ends it at once.
//!
//! Rejected: asking a well-known host (a dependency on strangers, and blocked in many POPs); counting mesh links (the
//! mesh may be on another path than the origins; the verdict about the *node* is the mesh's own business).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::filter::State;

/// Addresses that have to fall together: with one, nothing tells its death from mine.
const ADDRESSES_LEAST: usize = 2;
/// What stands beside the last good reading of a server while no probe is answered.
pub const HELD: &str = "as it was: no probe is answered";
/// How the warning of an isolated node begins.
pub const NO_ANSWER: &str = "no probe is answered here";
/// How many intervals back a last answer may lie to count as "fell together": one for the phase, one for a lost packet.
const INTERVALS_BACK: u32 = 2;

/// What one probe has seen.
#[derive(Clone, Copy, Debug)]
pub struct Witness {
    /// Whom it asks.
    pub address: IpAddr,
    /// How often.
    pub interval: Duration,
    /// How long it waits.
    pub timeout: Duration,
    /// Whether its newest sample failed; `None` before the first.
    pub failing: Option<bool>,
    /// When it was last answered, and whether the server was up then.
    pub answered: Option<(Duration, State)>,
    /// Up or down by its own counts.
    pub state: State,
}

/// What the witnesses say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Failures are the servers' own.
    Connected,
    /// It may be me: hold verdicts back.
    Suspect {
        /// The last answer from anywhere.
        last_answer: Duration,
    },
    /// It is me.
    Isolated {
        /// The last answer from anywhere.
        last_answer: Duration,
    },
}

/// What an isolated node warns of. Of the `others` that measure, `alike` say the same: it may be the servers after all, and
/// only a person can tell what nodes have in common. It changes nothing: every one of them answers by its last good order.
pub fn warning(alike: usize, others: usize) -> String {
    let compared = match (alike, others) {
        (_, 0) => {
            "no other node is there to compare with, so it is this node's way out, or all servers are down".into()
        }
        (0, _) => "others are answered, so it is this node that is cut off".into(),
        (alike, others) if alike == others => format!("nor at any other node ({others}): all servers seem to be down"),
        (alike, others) => format!("nor at {alike} of {others} others: servers are down, or what these nodes share is"),
    };
    format!(
        "{NO_ANSWER}; {compared}. Its claims are withdrawn, and it answers by what it measured before; \
         `nigh probes` shows each"
    )
}

impl Standing {
    /// Whether a probe's own verdict is held back because it fell together with the others.
    pub fn holds(&self, witness: &Witness) -> bool {
        match self {
            Standing::Connected => false,
            Standing::Suspect { last_answer } | Standing::Isolated { last_answer } => witness.fell_at(*last_answer),
        }
    }
}

impl Witness {
    fn fell_at(&self, last_answer: Duration) -> bool {
        let back = self.interval * INTERVALS_BACK + self.timeout;
        self.answered.is_some_and(|(at, state)| state == State::Up && last_answer.saturating_sub(at) <= back)
    }
}

/// Them or me.
pub fn judge(witnesses: &[Witness]) -> Standing {
    if witnesses.iter().any(|witness| witness.failing == Some(false)) {
        return Standing::Connected;
    }
    let Some(last_answer) = witnesses.iter().filter_map(|witness| witness.answered).map(|(at, _)| at).max() else {
        return Standing::Connected;
    };
    let fallen = || witnesses.iter().filter(|witness| witness.failing == Some(true) && witness.fell_at(last_answer));
    let addresses: BTreeSet<_> = fallen().map(|witness| witness.address).collect();
    let down: BTreeSet<_> =
        fallen().filter(|witness| witness.state == State::Down).map(|witness| witness.address).collect();
    if addresses.len() < ADDRESSES_LEAST {
        Standing::Connected
    } else if down.len() < ADDRESSES_LEAST {
        Standing::Suspect { last_answer }
    } else {
        Standing::Isolated { last_answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// A server that was up and last answered at `answered`, and has failed since until its counts say `state`.
    fn fell(address: u8, answered: u64, state: State) -> Witness {
        Witness {
            address: IpAddr::from([192, 0, 2, address]),
            interval: seconds(2),
            timeout: seconds(1),
            failing: Some(true),
            answered: Some((seconds(answered), State::Up)),
            state,
        }
    }

    #[test]
    fn the_warning_compares_with_the_others() {
        for (alike, others, wanted) in [
            (0, 0, "no other node is there to compare with"),
            (0, 2, "so it is this node that is cut off"),
            (1, 2, "nor at 1 of 2 others"),
            (2, 2, "nor at any other node (2): all servers seem to be down"),
        ] {
            let warning = warning(alike, others);
            assert!(warning.starts_with(NO_ANSWER) && warning.contains(wanted), "{warning}");
        }
    }

    #[test]
    fn who_is_to_blame() {
        use State::{Down, Unknown, Up};
        let suspect = Standing::Suspect { last_answer: seconds(100) };
        let isolated = Standing::Isolated { last_answer: seconds(100) };
        let well = Witness { failing: Some(false), ..fell(9, 101, Up) };
        let silent = Witness { failing: None, answered: None, ..fell(8, 0, Unknown) };
        let never = Witness { answered: None, ..fell(7, 0, Down) };
        let flapping = Witness { answered: Some((seconds(100), Down)), ..fell(6, 0, Down) };
        for (name, witnesses, wanted) in [
            ("no probes", vec![], Standing::Connected),
            ("one of two", vec![fell(1, 100, Down), well], Standing::Connected),
            ("all, first failures", vec![fell(1, 100, Up), fell(2, 99, Up)], suspect),
            ("all, one counted out", vec![fell(1, 100, Down), fell(2, 99, Up)], suspect),
            ("all, two counted out", vec![fell(1, 100, Down), fell(2, 99, Down)], isolated),
            ("two ports of one address", vec![fell(1, 100, Down), fell(1, 99, Down)], Standing::Connected),
            ("one after the other", vec![fell(1, 40, Down), fell(2, 100, Down)], Standing::Connected),
            ("just together", vec![fell(1, 95, Down), fell(2, 100, Down)], isolated),
            ("just apart", vec![fell(1, 94, Down), fell(2, 100, Down)], Standing::Connected),
            ("never up", vec![never, Witness { address: IpAddr::from([192, 0, 2, 3]), ..never }], Standing::Connected),
            ("the dead do not testify", vec![fell(1, 100, Down), never], Standing::Connected),
            ("nor does a lucky answer of a dead one", vec![fell(1, 100, Down), flapping], Standing::Connected),
            ("but they do not object either", vec![fell(1, 100, Down), fell(2, 100, Down), never], isolated),
            ("nor does one not yet asked", vec![fell(1, 100, Down), fell(2, 100, Down), silent], isolated),
            ("any answer ends it", vec![fell(1, 100, Down), fell(2, 100, Down), well], Standing::Connected),
        ] {
            assert_eq!(judge(&witnesses), wanted, "{name}");
        }
    }

    #[test]
    fn only_those_that_fell_together_are_held() {
        let isolated = Standing::Isolated { last_answer: seconds(100) };
        assert!(isolated.holds(&fell(1, 99, State::Down)));
        assert!(!isolated.holds(&fell(1, 20, State::Down)));
        assert!(!Standing::Connected.holds(&fell(1, 99, State::Down)));
    }
}
