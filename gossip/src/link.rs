//! One link's way out: bounded queues that keep only the newest version of a page.
//!
//! Four kinds of traffic, in this order: heartbeats (made when the link takes one, so they are never old and never
//! queue), the small messages of trees and repair, news (urgent before the rest), pages that the peer lacks.
//!
//! **Invariant:** a slow peer costs at most [`QUEUE_BYTES`] for each kind of page and [`QUEUE_CONTROL`] messages. What
//! does not fit is dropped and left to repair.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    bits::Bits,
    frame::Frame,
    message::{Beat, Graft, Message, PAGES_PER_MESSAGE},
    page::{Key, Page},
    repair::Listed,
    round_trip::RoundTrip,
    time::Moment,
};

/// Bytes of pages of one kind waiting for one peer: a second of 8 Mbit/s.
pub(crate) const QUEUE_BYTES: usize = 1 << 20;
/// Repair messages waiting for one peer. A peer that takes none gets no more.
pub(crate) const QUEUE_CONTROL: usize = 16;
/// Notices, prunes and grafts waiting for one peer, each eight bytes: ten seconds of a mesh of 10,000.
pub(crate) const QUEUE_NOTICES: usize = 2048;
/// Repair messages answered for one peer in a second. Each costs a look at many pages; two honest nodes that find each
/// other different exchange at most 15 (see the engine's ticks).
const REPAIRS: u32 = 20;
/// Salted roots of one peer are looked at no more often than this. An honest one sends a salt in each 64th of its rounds,
/// to one of its sixteen peers.
const SALTED_EVERY: Duration = Duration::from_secs(10);
/// Bytes of pages that one peer may have by asking for single ones, in a second. An honest peer misses a few of what
/// was news a moment ago; eight bytes that ask for a page of eight kilobytes must not be answered at any rate.
const GRAFTED_BYTES: usize = QUEUE_BYTES;
/// A round trip longer than this measured somebody's stall: after a pause of a minute, every beat that waited in the
/// socket would say so, and neither the watcher's patience nor the choice of backups may rest on that.
const MAX_SAMPLE: Duration = Duration::from_secs(2);

/// Pages waiting, the newest version of each.
#[derive(Debug, Default)]
struct Queue {
    frames: BTreeMap<Key, Frame>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Queue {
    /// Whether it is waiting now.
    fn push(&mut self, frame: Frame) -> bool {
        let key = frame.header().key;
        if let Some(queued) = self.frames.get_mut(&key) {
            if queued.header().stamp < frame.header().stamp {
                // The peer will not see the version between, so a delta against it would lead nowhere.
                let frame = Frame { delta: None, ..frame };
                let bytes = self.bytes - queued.size() + frame.size();
                if bytes > QUEUE_BYTES {
                    return false;
                }
                self.bytes = bytes;
                *queued = frame;
            }
            return true;
        }
        if self.bytes + frame.size() > QUEUE_BYTES {
            return false;
        }
        self.bytes += frame.size();
        self.order.push_back(key);
        self.frames.insert(key, frame);
        true
    }

    fn is_consistent(&self) -> bool {
        self.bytes == self.frames.values().map(Frame::size).sum::<usize>()
            && self.bytes <= QUEUE_BYTES
            && self.order.len() == self.frames.len()
    }

    fn pop(&mut self) -> Vec<Frame> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < PAGES_PER_MESSAGE {
            let Some(frame) = self.order.pop_front().and_then(|key| self.frames.remove(&key)) else { break };
            bytes += frame.size();
            batch.push(frame);
        }
        self.bytes -= bytes;
        batch
    }
}

#[derive(Debug, Default)]
pub(crate) struct Link {
    /// The peer has shown that it is a member.
    pub(crate) greeted: bool,
    /// Since when it is here.
    pub(crate) since: Moment,
    /// When something came from the peer.
    pub(crate) heard: Moment,
    /// Origins whose news the peer is only told of.
    pub(crate) lazy: Bits,
    /// The peer watches me, and when in a round it is its turn to be sent a beat. It is told of news as well.
    pub(crate) turn: Option<u64>,
    /// When the peer was last sent a beat.
    pub(crate) beaten: Moment,
    /// I asked the peer to send me news of everyone.
    pub(crate) feeds: bool,
    /// The salt of my root that the peer has not answered.
    pub(crate) asked: Option<u64>,
    /// I sent sums: the peer may list digests.
    pub(crate) expects_digests: bool,
    /// I listed digests: the peer may want pages.
    pub(crate) expects_want: bool,
    /// When a salted root of this peer was last looked at.
    salted: Option<Moment>,
    /// Of how many parallel exchanges of repair this peer has which.
    pub(crate) share: Option<(u8, u8)>,
    /// Since when the overlay does not ask for this link.
    pub(crate) unwanted_since: Option<Moment>,
    /// The first message, before any other.
    hello: Option<Message>,
    beat_due: Option<bool>,
    control: VecDeque<Message>,
    prune: Vec<u64>,
    graft: Graft,
    have: Vec<u64>,
    have_due: bool,
    urgent: Queue,
    news: Queue,
    given: Queue,
    /// Proofs against liars, on their way once each.
    proofs: VecDeque<[Page; 2]>,
    /// Asked for once the pages above are out: the peer may then see that it wants nothing.
    want: Vec<Listed>,
    /// Repair messages that this peer may still send in this second.
    repairs: u32,
    /// Bytes that this peer may still be given in this second because it asked for single pages.
    grafted: usize,
    /// The peer's clock as last received, and when.
    last_clock: Option<(u64, Moment)>,
    rtt: RoundTrip,
    /// Pages that did not fit.
    pub(crate) dropped: u64,
}

impl Link {
    /// A link that begins with this message.
    pub(crate) fn new(now: Moment, hello: Message) -> Self {
        Self { since: now, heard: now, hello: Some(hello), repairs: REPAIRS, grafted: GRAFTED_BYTES, ..Self::default() }
    }

    /// For tests: which bound does not hold.
    pub(crate) fn inconsistency(&self) -> Option<String> {
        for (name, queue) in [("urgent", &self.urgent), ("news", &self.news), ("given", &self.given)] {
            if !queue.is_consistent() {
                let (frames, order) = (queue.frames.len(), queue.order.len());
                return Some(format!("{name}: {} bytes, {frames} frames, {order} in order", queue.bytes));
            }
        }
        let notices =
            [self.prune.len(), self.have.len(), self.graft.digests.len(), self.graft.origins.len()].into_iter().max();
        let wanted: usize = self.want.iter().map(|listed| listed.digests.len()).sum();
        let holds = self.control.len() <= QUEUE_CONTROL
            && notices <= Some(QUEUE_NOTICES)
            && self.proofs.len() <= QUEUE_CONTROL
            && self.want.len() <= crate::repair::BUCKETS
            && wanted * 8 <= crate::message::MAX_MESSAGE;
        (!holds).then(|| format!("{} control, {notices:?} notices, {wanted} wanted", self.control.len()))
    }

    /// A heartbeat is due.
    pub(crate) fn beat(&mut self) {
        self.beat_due.get_or_insert(false);
    }

    /// Whether a heartbeat is due.
    pub(crate) fn beats(&self) -> bool {
        self.beat_due.is_some()
    }

    /// A heartbeat that asks for one back is due.
    pub(crate) fn probe(&mut self) {
        self.beat_due = Some(true);
    }

    /// Called once a second.
    pub(crate) fn refill(&mut self) {
        self.repairs = REPAIRS;
        self.grafted = GRAFTED_BYTES;
    }

    /// Whether one more repair message of this peer is looked at; what is not, its next exchange makes good.
    pub(crate) fn take_repair(&mut self) -> bool {
        let left = self.repairs.checked_sub(1);
        self.repairs = left.unwrap_or(0);
        left.is_some()
    }

    /// Whether a salted root of this peer is looked at now: it costs a hash of every page.
    pub(crate) fn take_salted(&mut self, now: Moment) -> bool {
        let due = self.salted.is_none_or(|last| now.since(last) >= SALTED_EVERY);
        if due {
            self.salted = Some(now);
        }
        due
    }

    pub(crate) fn push_proof(&mut self, proof: [Page; 2]) {
        if self.proofs.len() < QUEUE_CONTROL {
            self.proofs.push_back(proof);
        }
    }

    pub(crate) fn push(&mut self, message: Message) {
        if self.control.len() < QUEUE_CONTROL {
            self.control.push_back(message);
        }
    }

    pub(crate) fn push_news(&mut self, frame: Frame, urgent: bool) {
        let queue = if urgent { &mut self.urgent } else { &mut self.news };
        self.dropped += u64::from(!queue.push(frame));
    }

    /// False if it does not fit.
    pub(crate) fn push_given(&mut self, frame: Frame) -> bool {
        self.given.push(frame)
    }

    /// A page that the peer asked for by its digest. False if it does not fit, or the peer had enough in this second.
    pub(crate) fn push_grafted(&mut self, frame: Frame) -> bool {
        let Some(left) = self.grafted.checked_sub(frame.size()) else { return false };
        self.grafted = left;
        self.given.push(frame)
    }

    pub(crate) fn push_want(&mut self, want: Vec<Listed>) {
        self.want = want;
    }

    pub(crate) fn push_prune(&mut self, origin: u64) {
        if self.prune.len() < QUEUE_NOTICES && !self.prune.contains(&origin) {
            self.prune.push(origin);
        }
    }

    pub(crate) fn push_have(&mut self, digest: u64) {
        if self.have.len() < QUEUE_NOTICES {
            self.have.push(digest);
        }
    }

    pub(crate) fn push_graft(&mut self, digest: u64) {
        if self.graft.digests.len() < QUEUE_NOTICES {
            self.graft.digests.push(digest);
        }
    }

    pub(crate) fn push_graft_origins(&mut self, origins: impl IntoIterator<Item = u64>) {
        let room = QUEUE_NOTICES.saturating_sub(self.graft.origins.len());
        self.graft.origins.extend(origins.into_iter().take(room));
    }

    pub(crate) fn graft_all(&mut self) {
        self.graft.all = true;
        self.feeds = true;
    }

    /// The notices gathered so far may go; true if there are any.
    pub(crate) fn flush_have(&mut self) -> bool {
        self.have_due = !self.have.is_empty();
        self.have_due
    }

    /// The next message for this peer, if there is one.
    pub(crate) fn poll_transmit(&mut self, now: Moment) -> Option<Message> {
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        if self.greeted
            && let Some(probe) = self.beat_due.take()
        {
            self.beaten = now;
            let echo = self.last_clock.map(|(clock, at)| (clock, now.0.saturating_sub(at.0)));
            return Some(Message::Beat(Beat { clock: now.0, echo, probe }));
        }
        if let Some(message) = self.control.pop_front() {
            return Some(message);
        }
        if !self.greeted {
            return None;
        }
        // In this order: of an origin in both, a copy too many comes once, where the other order would leave none.
        if !self.prune.is_empty() {
            return Some(Message::Prune(std::mem::take(&mut self.prune)));
        }
        if self.graft != Graft::default() {
            return Some(Message::Graft(std::mem::take(&mut self.graft)));
        }
        if let Some(proof) = self.proofs.pop_front() {
            return Some(Message::News(proof.map(Frame::whole).into()));
        }
        for queue in [&mut self.urgent, &mut self.news] {
            let batch = queue.pop();
            if !batch.is_empty() {
                return Some(Message::News(batch));
            }
        }
        if std::mem::take(&mut self.have_due) {
            return Some(Message::Have(std::mem::take(&mut self.have)));
        }
        let batch = self.given.pop();
        if !batch.is_empty() {
            return Some(Message::Given(batch));
        }
        (!self.want.is_empty()).then(|| Message::Want(std::mem::take(&mut self.want)))
    }

    pub(crate) fn handle_beat(&mut self, now: Moment, beat: Beat) {
        self.last_clock = Some((beat.clock, now));
        if beat.probe {
            self.beat();
        }
        let Some((mine, held)) = beat.echo else { return };
        let Some(sample) = now.0.checked_sub(mine).and_then(|there_and_back| there_and_back.checked_sub(held)) else {
            return; // A clock that I never sent.
        };
        let sample = Duration::from_micros(sample);
        if sample > MAX_SAMPLE {
            return;
        }
        self.rtt.handle_sample(now, sample);
    }

    /// The round trip is known without heartbeats (the simulator, where they are modelled).
    pub(crate) fn set_rtt(&mut self, rtt: Duration) {
        self.rtt.set(rtt);
    }

    /// The length of the path there and back, once one beat has come back.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt.least()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::{
        frame::{Delta, Of},
        page::{MAX_BODY, Owner, Slot, Table},
    };

    fn page(slot: u32, version: u64, size: usize) -> Page {
        let signing = SigningKey::from_bytes(&[1; 32]);
        let key = Key { owner: Owner::Node(signing.verifying_key().into()), table: Table(16), slot: Slot::page(slot) };
        Page::sign(&signing, key, 1, version, vec![1; size])
    }

    fn frame(slot: u32, version: u64, size: usize) -> Frame {
        Frame::whole(page(slot, version, size))
    }

    fn greeted() -> Link {
        Link { greeted: true, ..Link::default() }
    }

    #[test]
    fn a_slow_peer_gets_the_newest_version_once_and_whole() {
        let mut link = greeted();
        link.beat();
        for version in 0..1000 {
            let (old, new) = (page(0, version, 100), page(0, version + 1, 100));
            let delta = Delta::between(&old, &new);
            assert!(delta.is_some());
            link.push_news(Frame { of: Of::Page(new), delta }, false);
        }
        assert!(matches!(link.poll_transmit(Moment::ZERO), Some(Message::Beat(_))));
        assert_eq!(link.poll_transmit(Moment::ZERO), Some(Message::News(vec![frame(0, 1000, 100)])));
        assert_eq!(link.poll_transmit(Moment::ZERO), None);
    }

    #[test]
    fn what_is_urgent_goes_first_and_what_is_lacking_last() {
        let mut link = greeted();
        assert!(link.push_given(frame(0, 1, 9)));
        link.push_want(vec![Listed { bucket: 1, digests: vec![] }]);
        link.push_have(7);
        link.push_news(frame(1, 1, 9), false);
        link.push_news(frame(2, 1, 9), true);
        assert_eq!(link.poll_transmit(Moment::ZERO), Some(Message::News(vec![frame(2, 1, 9)])));
        assert_eq!(link.poll_transmit(Moment::ZERO), Some(Message::News(vec![frame(1, 1, 9)])));
        assert_eq!(link.poll_transmit(Moment::ZERO), Some(Message::Given(vec![frame(0, 1, 9)])));
        assert!(matches!(link.poll_transmit(Moment::ZERO), Some(Message::Want(_))));
        assert_eq!(link.poll_transmit(Moment::ZERO), None, "notices wait for their time");
        assert!(link.flush_have());
        assert_eq!(link.poll_transmit(Moment::ZERO), Some(Message::Have(vec![7])));
    }

    #[test]
    fn the_queues_are_bounded_and_empty_to_zero() {
        let mut link = greeted();
        let mut full = 0;
        for slot in 0..1000 {
            link.push_news(frame(slot, 0, MAX_BODY), slot % 2 == 0);
            full += u32::from(!link.push_given(frame(slot, 0, MAX_BODY)));
            link.push(Message::Want(vec![]));
        }
        for n in 0..100_000 {
            link.push_have(n);
            link.push_graft(n);
            link.push_prune(n % 5000);
        }
        link.push_graft_origins(0..100_000);
        assert!(link.news.bytes <= QUEUE_BYTES && link.dropped > 0 && full > 0);
        assert_eq!(link.control.len(), QUEUE_CONTROL);
        assert_eq!([link.have.len(), link.graft.digests.len(), link.graft.origins.len()], [QUEUE_NOTICES; 3]);
        assert_eq!(link.prune.len(), QUEUE_NOTICES);
        while link.poll_transmit(Moment::ZERO).is_some() {}
        for queue in [&link.urgent, &link.news, &link.given] {
            assert_eq!((queue.bytes, queue.frames.len(), queue.order.len()), (0, 0, 0));
        }
    }

    #[test]
    fn a_stranger_is_told_who_we_are_and_nothing_else() {
        let mut link = Link::new(Moment::ZERO, Message::Hello { version: 2, certificate: None, appointment: None });
        link.beat();
        link.push_news(frame(0, 1, 9), true);
        assert!(matches!(link.poll_transmit(Moment::ZERO), Some(Message::Hello { .. })));
        assert_eq!(link.poll_transmit(Moment::ZERO), None);
    }

    #[test]
    fn a_probe_is_answered_at_once() {
        let mut link = greeted();
        link.handle_beat(Moment(1), Beat { clock: 1, echo: None, probe: true });
        assert_eq!(
            link.poll_transmit(Moment(3)),
            Some(Message::Beat(Beat { clock: 3, echo: Some((1, 2)), probe: false }))
        );
    }

    #[test]
    fn the_round_trip_leaves_out_the_time_the_peer_held_it() {
        let beat = |clock, echo| Beat { clock, echo, probe: false };
        let mut link = greeted();
        link.handle_beat(Moment(50_000), beat(9, Some((10_000, 30_000))));
        assert_eq!(link.rtt(), Some(Duration::from_millis(10)));
        // Clocks that never were mine are not believed.
        link.handle_beat(Moment(60_000), beat(9, Some((u64::MAX, 0))));
        link.handle_beat(Moment(60_000), beat(9, Some((0, u64::MAX))));
        // I was stopped for a minute while its answer lay in my socket, or it makes its death look like a long path.
        link.handle_beat(Moment(60_000_000), beat(9, Some((60_000, 0))));
        assert_eq!(link.rtt(), Some(Duration::from_millis(10)));
    }
}
