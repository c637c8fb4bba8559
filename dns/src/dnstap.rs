//! What was asked and answered, for those who look at DNS traffic: dnstap (<https://dnstap.info>), a protobuf message for
//! each query and reply, in Frame Streams, over a Unix socket or into a file.
//!
//! ```text
//!   answering thread ─ one in `sample` ─▶ copy ─▶ queue ──▶ thread "nigh-dnstap" ─▶ protobuf ─▶ frames ─▶ socket or file
//!                                                  └─ full: dropped, and counted
//! ```
//!
//! **Invariant:** an answer waits for nothing here. What is copied on the answering thread goes into a bounded queue or is
//! dropped; a reader that is slow, gone or hostile costs messages and no answer. Without a tap the cost is one branch.
//!
//! Rejected: the `dnstap` crates (each brings a runtime or a code generator for three dozen lines of fields), and a pcap of
//! the port, which has no TLS, no identity, and needs rights that a DNS server should not have.

mod frames;
mod writer;

pub use writer::{Tapper, Target};

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use prost::Message as _;

use crate::metrics::{Exposition, Metric};
use crate::{Arrival, Transport};

/// Messages that wait for the thread that writes: some 2 MB of the usual size, and what a busy node says in a tenth of a
/// second.
const QUEUE: usize = 4096;

/// Query and reply together; longer ones are dropped, so that the queue is bounded in octets too. Replies of the mesh stay
/// below it but for a zone apex with dozens of long records, by TCP.
const LONGEST: usize = 16 * 1024;

/// What is written to Frame Streams, and asked for.
const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

thread_local! {
    /// Messages until one is taken.
    static UNTIL: Cell<u32> = const { Cell::new(0) };
}

/// Where answering threads put what they saw.
#[derive(Clone)]
struct Tap {
    queue: SyncSender<Seen>,
    counts: Arc<TapCounts>,
    sample: NonZeroU32,
}

/// A tap on one socket.
#[derive(Clone)]
pub(crate) struct Tapped {
    tapper: Arc<Tapper>,
    /// The socket's address.
    at: Option<SocketAddr>,
}

impl Tapped {
    /// On no socket in particular.
    pub(crate) fn new(tapper: Tapper) -> Self {
        Self { tapper: Arc::new(tapper), at: None }
    }

    /// The same on a socket with this address.
    pub(crate) fn on(&self, at: Option<SocketAddr>) -> Self {
        Self { tapper: self.tapper.clone(), at }
    }

    pub(crate) fn tapper(&self) -> &Arc<Tapper> {
        &self.tapper
    }

    pub(crate) fn counts(&self) -> &TapCounts {
        &self.tapper.tap().counts
    }

    /// Takes one in so many.
    pub(crate) fn saw(&self, packet: &[u8], reply: Option<&[u8]>, arrival: Arrival) {
        self.tapper.tap().saw(packet, reply, arrival, self.at);
    }
}

/// One packet and what was said to it.
struct Seen {
    arrival: Arrival,
    at: Option<SocketAddr>,
    /// The query, and behind it the reply.
    octets: Vec<u8>,
    query: usize,
}

/// How the tap is.
#[derive(Debug, Default)]
pub struct TapCounts {
    written: AtomicU64,
    dropped: AtomicU64,
    connected: AtomicBool,
}

static WRITTEN: Metric = Metric::counter(
    "nigh_dnstap_messages_total",
    "Messages written to the dnstap socket or file: one for a query, one for its reply.",
);
static DROPPED: Metric = Metric::counter(
    "nigh_dnstap_dropped_total",
    "Queries, with their replies, that dnstap lost: its reader is slower than the traffic, or not there.",
);
static CONNECTED: Metric =
    Metric::gauge("nigh_dnstap_connected", "1 while a reader takes dnstap messages, or the file can be written.");

impl TapCounts {
    /// The families that `TapCounts::expose` writes.
    pub const FAMILIES: [&'static Metric; 3] = [&WRITTEN, &DROPPED, &CONNECTED];

    /// Writes all of them; without a tap they are announced only.
    pub(crate) fn expose(counts: Option<&Self>, text: &mut Exposition) {
        let mut put = |metric, value: Option<u64>| {
            let mut samples = text.family(metric);
            value.into_iter().for_each(|value| samples.put(&[], value));
        };
        put(&WRITTEN, counts.map(|counts| counts.written.load(Ordering::Relaxed)));
        put(&DROPPED, counts.map(|counts| counts.dropped.load(Ordering::Relaxed)));
        put(&CONNECTED, counts.map(|counts| counts.connected.load(Ordering::Relaxed).into()));
    }
}

impl Tap {
    fn saw(&self, packet: &[u8], reply: Option<&[u8]>, arrival: Arrival, at: Option<SocketAddr>) {
        let until = UNTIL.get();
        if until > 0 {
            UNTIL.set(until - 1);
            return;
        }
        UNTIL.set(self.sample.get() - 1);
        let reply = reply.unwrap_or_default();
        let fits = packet.len() + reply.len() <= LONGEST;
        let seen = fits.then(|| Seen { arrival, at, octets: [packet, reply].concat(), query: packet.len() });
        if seen.is_none_or(|seen| self.queue.try_send(seen).is_err()) {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// `dnstap.proto`: the envelope.
#[derive(prost::Message)]
struct Dnstap {
    #[prost(bytes = "vec", optional, tag = "1")]
    identity: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    version: Option<Vec<u8>>,
    #[prost(message, optional, tag = "14")]
    message: Option<TapMessage>,
    /// 1 is a DNS message, and there is nothing else.
    #[prost(int32, required, tag = "15")]
    kind: i32,
}

/// `dnstap.proto`: the fields of `Message` that a server for a zone has.
#[derive(Clone, prost::Message)]
struct TapMessage {
    /// 1 is `AUTH_QUERY`, 2 `AUTH_RESPONSE`.
    #[prost(int32, required, tag = "1")]
    kind: i32,
    /// 1 is `INET`, 2 `INET6`.
    #[prost(int32, optional, tag = "2")]
    family: Option<i32>,
    /// 1 is `UDP`, 2 `TCP`.
    #[prost(int32, optional, tag = "3")]
    protocol: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    query_address: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    response_address: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "6")]
    query_port: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    response_port: Option<u32>,
    #[prost(uint64, optional, tag = "8")]
    query_seconds: Option<u64>,
    #[prost(fixed32, optional, tag = "9")]
    query_nanos: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "10")]
    query: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "12")]
    response_seconds: Option<u64>,
    #[prost(fixed32, optional, tag = "13")]
    response_nanos: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "14")]
    response: Option<Vec<u8>>,
}

impl Seen {
    /// The message of the query, and that of the reply if there was one. Both have the time at which the packet was read: an
    /// answer takes less than the microsecond that the batch's clock is off.
    fn messages(&self, identity: &str) -> impl Iterator<Item = Vec<u8>> {
        let (query, reply) = self.octets.split_at(self.query);
        let (source, at) = (self.arrival.source, self.at);
        let (seconds, nanos) = (self.arrival.at.as_secs(), self.arrival.at.subsec_nanos());
        let base = TapMessage {
            kind: 1,
            family: Some(if source.is_ipv4() { 1 } else { 2 }),
            protocol: Some(if self.arrival.transport == Transport::Udp { 1 } else { 2 }),
            query_address: Some(octets(source.ip())),
            response_address: at.map(|at| octets(at.ip())),
            query_port: Some(source.port().into()),
            response_port: at.map(|at| at.port().into()),
            query_seconds: Some(seconds),
            query_nanos: Some(nanos),
            ..TapMessage::default()
        };
        let asked = TapMessage { query: Some(query.to_vec()), ..base.clone() };
        let answered = (!reply.is_empty()).then(|| TapMessage {
            kind: 2,
            response_seconds: Some(seconds),
            response_nanos: Some(nanos),
            response: Some(reply.to_vec()),
            ..base
        });
        let envelope = |message| Dnstap {
            identity: Some(identity.as_bytes().to_vec()),
            version: Some(concat!("nigh ", env!("CARGO_PKG_VERSION")).as_bytes().to_vec()),
            message: Some(message),
            kind: 1,
        };
        [Some(asked), answered]
            .into_iter()
            .flatten()
            .map(move |message| envelope(message).encode_to_vec())
            .collect::<Vec<_>>()
            .into_iter()
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use super::*;

    fn tap(sample: u32, queue: usize) -> (Tap, std::sync::mpsc::Receiver<Seen>) {
        UNTIL.set(0);
        let (queue, seen) = sync_channel(queue);
        (Tap { queue, counts: Arc::default(), sample: sample.try_into().unwrap() }, seen)
    }

    fn here() -> Option<SocketAddr> {
        Some("[2001:db8::1]:53".parse().unwrap())
    }

    fn arrival() -> Arrival {
        Arrival::udp("[2001:db8::53]:4242".parse().unwrap(), Duration::new(1_800_000_000, 42))
    }

    #[test]
    fn one_in_so_many_is_taken_and_what_finds_no_room_is_counted() {
        let (tap, seen) = tap(3, 2);
        for n in 0..12 {
            tap.saw(&[n], Some(&[100 + n]), arrival(), here());
        }
        let taken: Vec<Vec<u8>> = seen.try_iter().map(|seen| seen.octets).collect();
        assert_eq!(taken, [[0, 100], [3, 103]]);
        assert_eq!(tap.counts.dropped.load(Ordering::Relaxed), 2);
        UNTIL.set(0);
        tap.saw(&[0; LONGEST], Some(&[0]), arrival(), here());
        assert!(seen.try_recv().is_err());
        assert_eq!(tap.counts.dropped.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_query_and_its_reply_are_two_messages_of_one_exchange() {
        let (tap, seen) = tap(1, 2);
        tap.saw(b"asked", Some(b"answered"), arrival(), here());
        tap.saw(b"asked", None, arrival(), here());
        let messages: Vec<Dnstap> =
            seen.recv().unwrap().messages("fra").map(|octets| Dnstap::decode(octets.as_slice()).unwrap()).collect();
        let [asked, answered] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!((asked.identity.as_deref(), asked.kind), (Some(&b"fra"[..]), 1));
        let (asked, answered) = (asked.message.as_ref().unwrap(), answered.message.as_ref().unwrap());
        assert_eq!((asked.kind, asked.query.as_deref(), asked.response.as_deref()), (1, Some(&b"asked"[..]), None));
        assert_eq!((answered.kind, answered.query.as_deref()), (2, None));
        assert_eq!(answered.response.as_deref(), Some(&b"answered"[..]));
        assert_eq!((answered.query_seconds, answered.response_nanos), (Some(1_800_000_000), Some(42)));
        assert_eq!((asked.family, asked.protocol), (Some(2), Some(1)));
        assert_eq!((asked.query_port, asked.response_port), (Some(4242), Some(53)));
        assert_eq!(asked.query_address.as_ref().map(Vec::len), Some(16));
        assert_eq!(seen.recv().unwrap().messages("fra").count(), 1);
    }
}
