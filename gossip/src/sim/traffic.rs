//! What the links carry, in bytes, by kind of message.
//!
//! A message counts its encoding and the four bytes of its length. Messages handed to one peer at one moment share
//! packets of [`PACKET`] bytes, and each packet costs [`HEADERS`] more; a packet sent again counts again. Acknowledgements
//! are not counted: they ride on what is sent anyway, or cost the same for every protocol.

use std::ops::{AddAssign, Sub};

use crate::{
    frame::Frame,
    message::Message,
    page::{Key, Table},
};

/// Payload of one packet: QUIC's least datagram (RFC 9000 section 14).
pub(super) const PACKET: usize = 1200;
/// IPv4 or IPv6, UDP, QUIC short header and tag, as a round figure.
pub(super) const HEADERS: usize = 60;

/// Names of the kinds, in the order of [`Traffic`]'s arrays. The last is packet headers.
pub const KINDS: [&str; 12] =
    ["hello", "beat", "news", "given", "prune", "have", "graft", "root", "buckets", "digests", "want", "packets"];
/// Where [`Traffic`]'s arrays count bytes that a liar made.
pub(super) const NEWS: usize = 2;
const PACKETS: usize = KINDS.len() - 1;

/// Bytes and messages of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that arrived, by kind.
    pub bytes_in: [u64; KINDS.len()],
    /// Bytes that were sent, by kind.
    pub bytes_out: [u64; KINDS.len()],
    /// Messages that arrived, by kind; packets in the last place.
    pub count_in: [u64; KINDS.len()],
    /// Messages that were sent, by kind; packets in the last place.
    pub count_out: [u64; KINDS.len()],
}

impl Traffic {
    /// All bytes that arrived.
    #[must_use]
    pub fn total_in(&self) -> u64 {
        self.bytes_in.iter().sum()
    }

    /// All bytes that were sent.
    #[must_use]
    pub fn total_out(&self) -> u64 {
        self.bytes_out.iter().sum()
    }

    pub(super) fn sent(&mut self, kind: usize, bytes: usize, packets: usize) {
        self.bytes_out[kind] += bytes as u64;
        self.count_out[kind] += 1;
        self.sent_packets(packets);
    }

    /// Packets of a message that had to be sent again.
    pub(super) fn sent_again(&mut self, packets: usize, bytes: usize) {
        self.bytes_out[PACKETS] += (packets * (HEADERS + bytes.min(PACKET))) as u64;
        self.count_out[PACKETS] += packets as u64;
    }

    fn sent_packets(&mut self, packets: usize) {
        self.bytes_out[PACKETS] += (packets * HEADERS) as u64;
        self.count_out[PACKETS] += packets as u64;
    }

    pub(super) fn received(&mut self, kind: usize, bytes: usize, packets: usize) {
        self.bytes_in[kind] += bytes as u64;
        self.count_in[kind] += 1;
        self.bytes_in[PACKETS] += (packets * HEADERS) as u64;
        self.count_in[PACKETS] += packets as u64;
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        for kind in 0..KINDS.len() {
            self.bytes_in[kind] += other.bytes_in[kind];
            self.bytes_out[kind] += other.bytes_out[kind];
            self.count_in[kind] += other.count_in[kind];
            self.count_out[kind] += other.count_out[kind];
        }
    }
}

impl Sub for Traffic {
    type Output = Self;
    fn sub(mut self, earlier: Self) -> Self {
        for kind in 0..KINDS.len() {
            self.bytes_in[kind] -= earlier.bytes_in[kind];
            self.bytes_out[kind] -= earlier.bytes_out[kind];
            self.count_in[kind] -= earlier.count_in[kind];
            self.count_out[kind] -= earlier.count_out[kind];
        }
        self
    }
}

/// A message's place in [`KINDS`].
pub(super) fn kind(message: &Message) -> usize {
    match message {
        Message::Hello { .. } => 0,
        Message::Beat(_) => 1,
        Message::News(_) => NEWS,
        Message::Given(_) => 3,
        Message::Prune(_) => 4,
        Message::Have(_) => 5,
        Message::Graft(_) => 6,
        Message::Root { .. } => 7,
        Message::Buckets { .. } => 8,
        Message::Digests(_) => 9,
        Message::Want(_) => 10,
    }
}

/// The pages that a message carries, as they travel.
pub(super) fn frames(message: &Message) -> &[Frame] {
    match message {
        Message::News(frames) | Message::Given(frames) => frames,
        _ => &[],
    }
}

/// How often a message carries a page of this key.
pub(super) fn copies(message: &Message, key: &Key) -> u64 {
    frames(message).iter().filter(|frame| frame.header().key == *key).count() as u64
}

/// Whether verdicts may change by this message.
pub(super) fn is_of_life(message: &Message) -> bool {
    let tables = [Table::MEMBER, Table::WATCH, Table::ADMISSION, Table::REVOCATION, Table::OPERATOR];
    frames(message).iter().any(|frame| tables.contains(&frame.header().key.table))
}
