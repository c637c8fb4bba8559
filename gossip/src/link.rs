//! One link's way out: a bounded queue that keeps only the newest version of a page.
//!
//! **Invariant:** a slow peer costs at most [`QUEUE_BYTES`] and [`QUEUE_CONTROL`] messages. What does not fit is
//! dropped and left to repair. Heartbeats are made when the link takes one, so they are never old and never queue.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    message::{Beat, Message, PAGES_PER_MESSAGE},
    page::{Key, Page},
    time::Moment,
};

/// Bytes of pages waiting for one peer: a second of 8 Mbit/s.
pub(crate) const QUEUE_BYTES: usize = 1 << 20;
/// Repair messages waiting for one peer. A peer that takes none gets no more.
pub(crate) const QUEUE_CONTROL: usize = 16;
/// Repair messages answered for one peer in a second. Each costs a walk over the whole replica; two honest nodes that
/// find each other different exchange at most 15 (see the engine's ticks).
const REPAIRS: u32 = 20;
/// A round trip longer than this measured somebody's stall: after a pause of a minute, every beat that waited in the
/// socket would say so, and neither the watcher's patience nor the choice of backups may rest on that.
const MAX_SAMPLE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct Link {
    beat_due: bool,
    control: VecDeque<Message>,
    pages: BTreeMap<Key, Page>,
    order: VecDeque<Key>,
    bytes: usize,
    /// Repair messages that this peer may still send in this second.
    repairs: u32,
    /// The peer's clock as last received, and when.
    last_clock: Option<(u64, Moment)>,
    rtt: Option<Duration>,
    /// Pages that did not fit.
    pub(crate) dropped: u64,
    /// Since when the overlay does not ask for this link.
    pub(crate) unwanted_since: Option<Moment>,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self { beat_due: true, repairs: REPAIRS, ..Self::default() }
    }

    pub(crate) fn beat(&mut self) {
        self.beat_due = true;
    }

    /// Called once a second.
    pub(crate) fn refill_repairs(&mut self) {
        self.repairs = REPAIRS;
    }

    /// Whether one more repair message of this peer is looked at; what is not, its next exchange makes good.
    pub(crate) fn take_repair(&mut self) -> bool {
        let left = self.repairs.checked_sub(1);
        self.repairs = left.unwrap_or(0);
        left.is_some()
    }

    pub(crate) fn push(&mut self, message: Message) {
        if self.control.len() < QUEUE_CONTROL {
            self.control.push_back(message);
        }
    }

    pub(crate) fn push_page(&mut self, page: Page) {
        let key = page.key();
        let more = page.to_bytes().len();
        if let Some(queued) = self.pages.get_mut(&key) {
            if queued.stamp() < page.stamp() {
                self.bytes = self.bytes - queued.to_bytes().len() + more;
                *queued = page;
            }
        } else if self.bytes + more > QUEUE_BYTES {
            self.dropped += 1;
        } else {
            self.bytes += more;
            self.order.push_back(key);
            self.pages.insert(key, page);
        }
    }

    /// The next message for this peer, if there is one.
    pub(crate) fn poll_transmit(&mut self, now: Moment) -> Option<Message> {
        if std::mem::take(&mut self.beat_due) {
            let echo = self.last_clock.map(|(clock, at)| (clock, now.0.saturating_sub(at.0)));
            return Some(Message::Beat(Beat { clock: now.0, echo }));
        }
        if let Some(message) = self.control.pop_front() {
            return Some(message);
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < PAGES_PER_MESSAGE {
            let Some(page) = self.order.pop_front().and_then(|key| self.pages.remove(&key)) else { break };
            bytes += page.to_bytes().len();
            batch.push(page);
        }
        self.bytes -= bytes;
        (!batch.is_empty()).then_some(Message::Pages(batch))
    }

    pub(crate) fn handle_beat(&mut self, now: Moment, beat: Beat) {
        self.last_clock = Some((beat.clock, now));
        let Some((mine, held)) = beat.echo else { return };
        let Some(sample) = now.0.checked_sub(mine).and_then(|there_and_back| there_and_back.checked_sub(held)) else {
            return; // A clock that I never sent.
        };
        let sample = Duration::from_micros(sample);
        if sample > MAX_SAMPLE {
            return;
        }
        // RFC 6298 section 2: SRTT <- 7/8 SRTT + 1/8 R'.
        self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
    }

    /// Smoothed round-trip time, once one beat has come back.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::page::{MAX_BODY, Owner, Slot, Table};

    fn page(slot: u32, version: u64, size: usize) -> Page {
        let signing = SigningKey::from_bytes(&[1; 32]);
        let key = Key { owner: Owner::Node(signing.verifying_key().into()), table: Table(16), slot: Slot::page(slot) };
        Page::sign(&signing, key, 1, version, vec![1; size])
    }

    #[test]
    fn a_slow_peer_gets_the_newest_version_once() {
        let mut link = Link::new();
        for version in 0..1000 {
            link.push_page(page(0, version, 10));
        }
        assert!(matches!(link.poll_transmit(Moment::ZERO), Some(Message::Beat(_))));
        assert_eq!(link.poll_transmit(Moment::ZERO), Some(Message::Pages(vec![page(0, 999, 10)])));
        assert_eq!(link.poll_transmit(Moment::ZERO), None);
    }

    #[test]
    fn the_queue_is_bounded_and_empties_to_zero() {
        let mut link = Link::new();
        for slot in 0..1000 {
            link.push_page(page(slot, 0, MAX_BODY));
            link.push(Message::Want(vec![]));
        }
        assert!(link.bytes <= QUEUE_BYTES && link.dropped > 0);
        assert_eq!(link.control.len(), QUEUE_CONTROL);
        while link.poll_transmit(Moment::ZERO).is_some() {}
        assert_eq!((link.bytes, link.pages.len(), link.order.len()), (0, 0, 0));
    }

    #[test]
    fn the_round_trip_leaves_out_the_time_the_peer_held_it() {
        let mut link = Link::new();
        link.handle_beat(Moment(50_000), Beat { clock: 9, echo: Some((10_000, 30_000)) });
        assert_eq!(link.rtt(), Some(Duration::from_millis(10)));
        // Clocks that never were mine are not believed.
        link.handle_beat(Moment(60_000), Beat { clock: 9, echo: Some((u64::MAX, 0)) });
        link.handle_beat(Moment(60_000), Beat { clock: 9, echo: Some((0, u64::MAX)) });
        // I was stopped for a minute while its answer lay in my socket, or it makes its death look like a long path.
        link.handle_beat(Moment(60_000_000), Beat { clock: 9, echo: Some((60_000, 0)) });
        assert_eq!(link.rtt(), Some(Duration::from_millis(10)));
    }
}
