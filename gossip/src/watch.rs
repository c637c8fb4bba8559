//! Whom I hear, and whom I accuse: the observer's half of failure detection.
//!
//! Every link carries a heartbeat each [`BEAT_EVERY`]; anything that arrives counts as one. A watched member that was
//! silent for [`SILENCE`] plus two round trips is accused. A closed connection is a hint, never a verdict: the dialler
//! tries again at once, and the same silence decides.
//!
//! **Invariant:** a watcher that was itself stopped accuses nobody (Lifeguard, Dadgar et al. 2017). When a tick comes
//! late, the time that I slept is added to every member's account.

use std::{collections::BTreeMap, time::Duration};

use crate::{id::NodeId, time::Moment, verdict::WatchRow};

/// A heartbeat on every link: five in [`SILENCE`], so one lost packet and its repair on a stream stay unnoticed.
pub const BEAT_EVERY: Duration = Duration::from_millis(200);
/// Silence before an accusation, for a link without delay.
pub const SILENCE: Duration = Duration::from_secs(1);
/// How long a member that I have never heard may take to be reached: dialling, a handshake, one retry.
const FIRST_CONTACT: Duration = Duration::from_secs(4);
/// A tick this much late means that I was not running.
const STALL: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// Last sign of life of each watched member; in the future for one that is still owed a first contact.
    heard: BTreeMap<NodeId, Moment>,
    accused: BTreeMap<NodeId, u64>,
    tick_due: Moment,
}

impl Watch {
    /// A sign of life.
    pub(crate) fn handle_heard(&mut self, now: Moment, from: NodeId) {
        if let Some(heard) = self.heard.get_mut(&from) {
            *heard = now;
        }
    }

    /// A higher incarnation of a member was learnt: somebody heard it just now, so it gets a fresh account.
    pub(crate) fn handle_refuted(&mut self, now: Moment, member: NodeId) {
        self.accused.remove(&member);
        self.heard.entry(member).and_modify(|heard| *heard = (*heard).max(now + SILENCE));
    }

    /// Looks at the clock. `watched` are the members I answer for with their incarnation and smoothed RTT; the next
    /// tick is expected after `period`.
    pub(crate) fn handle_tick(&mut self, now: Moment, period: Duration, watched: &BTreeMap<NodeId, (u64, Duration)>) {
        let slept = now.since(self.tick_due);
        if self.tick_due != Moment::ZERO && slept > STALL {
            for heard in self.heard.values_mut() {
                *heard = (*heard + slept).min(now).max(*heard);
            }
        }
        self.tick_due = now + period;
        self.heard.retain(|id, _| watched.contains_key(id));
        self.accused.retain(|id, _| watched.contains_key(id));
        for (id, (incarnation, rtt)) in watched {
            let heard = *self.heard.entry(*id).or_insert(now + FIRST_CONTACT);
            if now.since(heard) > SILENCE + 2 * *rtt {
                self.accused.insert(*id, *incarnation);
            } else {
                self.accused.remove(id);
            }
        }
    }

    /// My accusations, as rows for my watch page.
    pub(crate) fn rows(&self) -> Vec<WatchRow> {
        self.accused
            .iter()
            .take(crate::verdict::MAX_ACCUSED)
            .map(|(accused, incarnation)| WatchRow { accused: *accused, incarnation: *incarnation })
            .collect()
    }

    /// Whether at least a quarter of those that I watch are silent.
    pub(crate) fn hears_little(&self) -> bool {
        !self.accused.is_empty() && self.accused.len() * 4 >= self.heard.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    fn id(n: u8) -> NodeId {
        ed25519_dalek::SigningKey::from_bytes(&[n; 32]).verifying_key().into()
    }

    fn ms(n: u64) -> Moment {
        Moment(n * 1000)
    }

    fn watched(rtt_ms: u64) -> BTreeMap<NodeId, (u64, Duration)> {
        BTreeMap::from([(id(1), (7, Duration::from_millis(rtt_ms)))])
    }

    /// Ticks every 100 ms over a span; says when the first accusation stood.
    fn first_accusation(watch: &mut Watch, from: u64, to: u64, rtt_ms: u64) -> Option<u64> {
        (from..=to).step_by(100).find(|t| {
            watch.handle_tick(ms(*t), TICK, &watched(rtt_ms));
            !watch.rows().is_empty()
        })
    }

    #[test]
    fn silence_is_accused_after_a_second_and_two_round_trips() {
        for (rtt, expected) in [(0, 3100), (200, 3500)] {
            let mut watch = Watch::default();
            assert_eq!(first_accusation(&mut watch, 1000, 2000, rtt), None);
            watch.handle_heard(ms(2000), id(1));
            assert_eq!(first_accusation(&mut watch, 2100, 9000, rtt), Some(expected));
            assert_eq!(watch.rows(), [WatchRow { accused: id(1), incarnation: 7 }]);
        }
    }

    #[test]
    fn a_member_never_heard_gets_longer() {
        let mut watch = Watch::default();
        assert_eq!(first_accusation(&mut watch, 1000, 20_000, 0), Some(6100));
    }

    #[test]
    fn a_watcher_that_slept_accuses_nobody() {
        let mut watch = Watch::default();
        assert_eq!(first_accusation(&mut watch, 1000, 2000, 0), None);
        watch.handle_heard(ms(2000), id(1));
        // Five seconds without a tick, then the clock goes on: a full second of silence is needed again.
        assert_eq!(first_accusation(&mut watch, 7000, 20_000, 0), Some(8000));
    }

    #[test]
    fn hearing_it_again_or_a_refutation_takes_the_accusation_back() {
        let mut watch = Watch::default();
        assert!(first_accusation(&mut watch, 1000, 20_000, 0).is_some());
        watch.handle_heard(ms(20_050), id(1));
        watch.handle_tick(ms(20_100), TICK, &watched(0));
        assert_eq!(watch.rows(), []);
        assert!(first_accusation(&mut watch, 20_200, 30_000, 0).is_some());
        watch.handle_refuted(ms(30_000), id(1));
        assert_eq!(watch.rows(), []);
    }
}
