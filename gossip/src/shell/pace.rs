//! How fast one peer is read: so much work at once, and then a rate.
//!
//! Every page that arrives costs a signature to verify (some 50 us), on the one thread that also keeps the heartbeats. A
//! member that sends without end would have all of that thread, and have its node accused. So each peer has a budget of
//! work, kept over its reconnects; when it is spent, its stream waits unread and flow control (RFC 9000 section 4) stops
//! the sender. Nothing is lost, and nobody else's stream waits.
//!
//! Source: the generic cell rate algorithm (ITU-T I.371), in its form of a theoretical arrival time.
//!
//! **Invariant:** in any time `t` a peer costs at most [`BURST`] + [`RATE`] t units, and one message.

use std::{collections::BTreeMap, sync::Arc, sync::Mutex, time::Duration};

use crate::{id::NodeId, message::Message, time::Moment};

/// Units in a second: a fifth of a core. A mesh of 10,000 brings its nodes a tenth of it over all links together.
const RATE: u64 = 4000;
/// Units at once: the 16,000 pages that hold a million claims, should one peer give them all to a node with an empty disk.
const BURST: u64 = 16_000;
/// Bytes that count as a unit, beside the message and its pages: what a long list costs to decode.
const UNIT: usize = 4096;
/// Budgets kept of peers that are not connected, until they are full again.
const KEPT: usize = 1024;

/// One peer's budget.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When all that was spent will have come back.
    whole_at: u64,
}

impl Pace {
    /// Spends; gives how long to wait before more is read.
    pub(super) fn spend(&mut self, now: Moment, units: u64) -> Duration {
        self.whole_at = self.whole_at.max(now.0).saturating_add(units.saturating_mul(1_000_000) / RATE);
        let may_be_ahead = BURST * 1_000_000 / RATE;
        Duration::from_micros(self.whole_at.saturating_sub(now.0).saturating_sub(may_be_ahead))
    }

    fn is_whole(&self, now: Moment) -> bool {
        self.whole_at <= now.0
    }
}

/// What a message costs us.
pub(super) fn units(message: &Message, bytes: usize) -> u64 {
    let pages = match message {
        Message::News(frames) | Message::Given(frames) => frames.len(),
        _ => 0,
    };
    (1 + pages + bytes / UNIT) as u64
}

/// The budgets of all peers.
#[derive(Debug, Default)]
pub(super) struct Paces(BTreeMap<NodeId, Arc<Mutex<Pace>>>);

impl Paces {
    /// That of a peer, which its readers share.
    pub(super) fn of(&mut self, now: Moment, peer: NodeId) -> Arc<Mutex<Pace>> {
        if self.0.len() >= KEPT && !self.0.contains_key(&peer) {
            self.0.retain(|_, pace| Arc::strong_count(pace) > 1 || !is_whole(pace, now));
        }
        self.0.entry(peer).or_default().clone()
    }
}

fn is_whole(pace: &Mutex<Pace>, now: Moment) -> bool {
    pace.lock().map_or(true, |pace| pace.is_whole(now))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;

    use super::*;

    const SECOND: u64 = 1_000_000;

    /// Units that one gets who sends whenever it may, in so many seconds.
    fn got(pace: &mut Pace, each: u64, seconds: u64) -> u64 {
        let (mut now, mut got) = (0, 0);
        while now < seconds * SECOND {
            got += each;
            now += u64::try_from(pace.spend(Moment(now), each).as_micros()).unwrap();
        }
        got
    }

    #[test]
    fn a_burst_is_read_at_once_and_then_the_rate() {
        for each in [1, 65, 500] {
            let ten = got(&mut Pace::default(), each, 10);
            let expected = BURST + 10 * RATE;
            assert!((expected..=expected + 2 * each).contains(&ten), "{ten} units, {each} at a time; {expected}");
        }
        let mut pace = Pace::default();
        assert_eq!(pace.spend(Moment(0), BURST), Duration::ZERO);
        assert_eq!(pace.spend(Moment(0), RATE), Duration::from_secs(1));
        assert_eq!(pace.spend(Moment(60 * SECOND), BURST), Duration::ZERO, "it is whole again");
        assert!(pace.spend(Moment(0), u64::MAX) > Duration::from_secs(3600), "and never overflows");
    }

    #[test]
    fn an_honest_peer_never_waits() {
        // Steady news of a mesh of 10,000 over one link, and a beat five times a second.
        let mut pace = Pace::default();
        for tick in 0..10_000 {
            assert_eq!(pace.spend(Moment(tick * 10_000), 2), Duration::ZERO);
        }
    }

    #[test]
    fn a_budget_outlives_the_connection_and_only_what_is_whole_is_forgotten() {
        let peer = |n: u32| {
            let mut seed = [1; 32];
            seed[..4].copy_from_slice(&n.to_be_bytes());
            NodeId::from(SigningKey::from_bytes(&seed).verifying_key())
        };
        let mut paces = Paces::default();
        let _ = paces.of(Moment(0), peer(0)).lock().unwrap().spend(Moment(0), BURST + RATE);
        for n in 1..2 * u32::try_from(KEPT).unwrap() {
            drop(paces.of(Moment(SECOND), peer(n)));
        }
        assert!(paces.0.len() <= KEPT);
        let wait = paces.of(Moment(SECOND), peer(0)).lock().unwrap().spend(Moment(SECOND), RATE);
        assert_eq!(wait, Duration::from_secs(1), "it came back with what it had left");
    }

    #[test]
    fn pages_and_length_are_what_costs() {
        assert_eq!(units(&Message::Root { salt: 0, root: [0; 16] }, 30), 1);
        assert_eq!(units(&Message::Have(vec![0; 2000]), 16_000), 4);
        assert_eq!(units(&Message::News(Vec::new()), 2 * UNIT), 3);
    }
}
