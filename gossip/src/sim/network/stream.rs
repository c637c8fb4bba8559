//! One direction of a connection: an ordered stream over packets that get lost.
//!
//! Messages handed over at one moment share packets. Each packet is lost with the network's probability, on its own.
//! A lost one is sent again when the acknowledgement of the third packet after it arrives, or after a probe timeout of
//! 1.5 round trips and 25 ms (their acknowledgement delay), whichever is first; a loss of the copy doubles the timeout
//! (RFC 9002 sections 6.1 and 6.2, without its persistent congestion). **What was sent later waits behind it**: that,
//! and not the loss itself, is what twenty per cent of loss does to heartbeats on a stream.
//!
//! Not modelled: the congestion window (only the receiver's, [`WINDOW`]) and RFC 9002's time threshold, which would
//! now and then notice a loss sooner. Both are on the safe side for delays at rest.

use std::{collections::VecDeque, time::Duration};

use rand::{Rng, RngExt};

use super::super::traffic::PACKET;
use crate::{message::Message, time::Moment};

/// Bytes in flight to one peer before the sender has to wait: a receiver that does not read (it is paused, or the path
/// is cut) holds up its senders. A quarter of what the shell's transport gives a QUIC stream.
pub(crate) const WINDOW: usize = 256 * 1024;
/// Packets after a lost one whose acknowledgements tell of the loss (RFC 9002 section 6.1.1).
const REORDERING: u8 = 3;
const ACK_DELAY: Duration = Duration::from_millis(25);
/// Losses of one packet in a row that are looked at: the timeout has grown a thousandfold by then.
const MAX_LOSSES: u32 = 10;

/// What a stream carries: a message, or bytes that a liar made.
pub(crate) enum Load {
    Message(Message),
    Bytes(Vec<u8>),
}

pub(crate) struct Parcel {
    pub(crate) load: Load,
    pub(crate) bytes: u32,
    /// Packets that begin with this message.
    pub(crate) packets: u16,
    #[cfg(test)]
    sent: Moment,
    ready: Moment,
    lost: bool,
    later: u8,
}

/// One direction's messages in flight.
#[derive(Default)]
pub(crate) struct Stream {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    /// When an event will look at the head.
    armed: Option<Moment>,
}

/// The path under a stream, at this moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) there: Duration,
    pub(crate) back: Duration,
    pub(crate) loss: f64,
    /// A packet takes up to this much longer.
    pub(crate) jitter: Duration,
}

/// The packet that is being filled; messages of one moment share it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filling {
    room: usize,
    arrival: Moment,
    lost: bool,
}

/// Packets and losses that a message caused, for the accounts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) packets: u16,
    pub(crate) again: u16,
}

impl Stream {
    /// Whether the sender may hand over more.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < WINDOW
    }

    pub(crate) fn push(
        &mut self,
        now: Moment,
        path: Path,
        filling: &mut Filling,
        load: Load,
        bytes: usize,
        rng: &mut impl Rng,
    ) -> Sent {
        let mut sent = Sent::default();
        let (mut ready, mut lost, mut left) = (Moment::ZERO, false, bytes);
        loop {
            if filling.room == 0 {
                sent.packets += 1;
                *filling = self.packet(now, path, &mut sent, rng);
            }
            ready = ready.max(filling.arrival);
            lost |= filling.lost;
            let here = left.min(filling.room);
            filling.room -= here;
            left -= here;
            if left == 0 {
                break;
            }
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes += bytes as usize;
        self.parcels.push_back(Parcel {
            load,
            bytes,
            packets: sent.packets,
            #[cfg(test)]
            sent: now,
            ready,
            lost,
            later: 0,
        });
        sent
    }

    /// One more packet leaves: when does it arrive, and whom before it does it help?
    fn packet(&mut self, now: Moment, path: Path, sent: &mut Sent, rng: &mut impl Rng) -> Filling {
        if path.loss > 0.0 {
            for parcel in self.parcels.iter_mut().filter(|parcel| parcel.lost && parcel.later < REORDERING) {
                parcel.later += 1;
                // This packet's acknowledgement is back after a round trip; the copy is on its way then.
                let soonest = now + path.there + path.back + path.there;
                if parcel.later == REORDERING && soonest < parcel.ready {
                    let copy = after_losses(now + path.there + path.back, path, sent, rng);
                    parcel.ready = parcel.ready.min(copy);
                }
            }
        }
        let lost = path.loss > 0.0 && rng.random_bool(path.loss);
        let arrival = if lost {
            sent.again += 1;
            after_losses(now + timeout(path), path, sent, rng)
        } else {
            arrival(now, path, rng)
        };
        Filling { room: PACKET, arrival, lost }
    }

    /// When the head arrives, if no event waits for a time as early.
    pub(crate) fn arm(&mut self, now: Moment) -> Option<Moment> {
        let at = self.parcels.front()?.ready.max(now);
        if self.armed.is_some_and(|armed| armed <= at) {
            return None;
        }
        self.armed = Some(at);
        Some(at)
    }

    /// Whether the head should have arrived and nobody was there to take it.
    pub(crate) fn is_held(&self, now: Moment) -> bool {
        self.armed.is_none() && self.parcels.front().is_some_and(|head| head.ready <= now)
    }

    /// Whether the event that fires now is the one that was armed.
    pub(crate) fn fires(&mut self, now: Moment) -> bool {
        self.armed.take_if(|armed| *armed == now).is_some()
    }

    /// The next message that has arrived.
    pub(crate) fn pop(&mut self, now: Moment) -> Option<Parcel> {
        self.parcels.front().filter(|head| head.ready <= now)?;
        let parcel = self.parcels.pop_front()?;
        self.bytes -= parcel.bytes as usize;
        Some(parcel)
    }

    /// The path was cut, or the receiver stood still, and is there again: what was sent meanwhile arrives from `at` on.
    pub(crate) fn hold_until(&mut self, at: Moment) {
        for parcel in &mut self.parcels {
            parcel.ready = parcel.ready.max(at);
        }
    }

    #[cfg(test)]
    fn arrivals(&self) -> Vec<u64> {
        self.parcels.iter().map(|parcel| parcel.ready.0 / 1000).collect()
    }
}

fn timeout(path: Path) -> Duration {
    (path.there + path.back) * 3 / 2 + ACK_DELAY
}

fn arrival(sent: Moment, path: Path, rng: &mut impl Rng) -> Moment {
    let jitter = u64::try_from(path.jitter.as_micros()).unwrap_or(0);
    let late = if jitter == 0 { 0 } else { rng.random_range(0..jitter) };
    sent + path.there + Duration::from_micros(late)
}

/// When a copy that leaves at `first` arrives, if copies are lost as well.
fn after_losses(first: Moment, path: Path, sent: &mut Sent, rng: &mut impl Rng) -> Moment {
    let (mut leaves, mut wait) = (first, timeout(path) * 2);
    for _ in 0..MAX_LOSSES {
        if !rng.random_bool(path.loss) {
            break;
        }
        sent.again += 1;
        leaves = leaves + wait;
        wait *= 2;
    }
    arrival(leaves, path, rng)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::message::Beat;

    fn path(loss: f64) -> Path {
        let there = Duration::from_millis(50);
        Path { there, back: there, loss, jitter: Duration::ZERO }
    }

    fn push(stream: &mut Stream, ms: u64, path: Path, rng: &mut ChaCha8Rng) -> Sent {
        let load = Load::Message(Message::Beat(Beat { clock: ms, echo: None, probe: false }));
        stream.push(Moment(ms * 1000), path, &mut Filling::default(), load, 40, rng)
    }

    #[test]
    fn a_lost_packet_waits_for_three_later_ones_or_the_timeout() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut stream = Stream::default();
        // Lost for certain, then a good line: the timeout is 1.5 x 100 + 25 ms, and copies on a good line arrive.
        let lose = |stream: &mut Stream| {
            let parcel = Parcel {
                load: Load::Bytes(vec![]),
                bytes: 0,
                packets: 1,
                sent: Moment::ZERO,
                ready: Moment((175 + 50) * 1000),
                lost: true,
                later: 0,
            };
            stream.parcels.push_back(parcel);
        };
        lose(&mut stream);
        let tiny = path(1e-9);
        for ms in [10, 20, 30] {
            push(&mut stream, ms, tiny, &mut rng);
        }
        // The third leaves at 30, its acknowledgement is back at 130, the copy arrives at 180.
        assert_eq!(stream.arrivals(), [180, 60, 70, 80]);
        assert!(stream.pop(Moment(179_000)).is_none(), "all wait behind the lost one");
        assert_eq!(std::iter::from_fn(|| stream.pop(Moment(180_000))).count(), 4);
        lose(&mut stream);
        for ms in [60, 90, 120] {
            push(&mut stream, ms, tiny, &mut rng);
        }
        assert_eq!(stream.arrivals()[0], 225, "the timeout came first");
    }

    #[test]
    fn loss_delays_and_never_loses_or_reorders() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut stream = Stream::default();
        let mut again = 0;
        for n in 0..10_000 {
            again += u64::from(push(&mut stream, n * 100, path(0.2), &mut rng).again);
        }
        assert!((2300..2700).contains(&again), "{again}: a fifth of 10,000, and a fifth of those");
        let (mut seen, mut worst, mut now) = (0, 0, 0);
        while seen < 10_000 {
            now += 1;
            while let Some(parcel) = stream.pop(Moment(now * 1000)) {
                assert_eq!(parcel.sent.0 / 1000, seen * 100, "in order");
                seen += 1;
                worst = worst.max(now - parcel.sent.0 / 1000);
            }
        }
        assert!((500..8000).contains(&worst), "the longest wait was {worst} ms");
        assert_eq!(stream.bytes, 0);
    }

    #[test]
    fn messages_of_one_moment_share_packets() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut stream, mut filling, mut packets) = (Stream::default(), Filling::default(), 0);
        for bytes in [400, 400, 400, 3000, 600] {
            let sent = stream.push(Moment::ZERO, path(0.0), &mut filling, Load::Bytes(vec![]), bytes, &mut rng);
            packets += sent.packets;
        }
        assert_eq!(packets, 4, "4,800 bytes");
    }
}
