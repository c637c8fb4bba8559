//! NOTIFY (RFC 1996): handed to who wants to hear it, and an unknown opcode to everybody else.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use nigh_dns::{Arrival, Counters, Handler, NotifySink, Snapshot};

const OPCODE_NOTIFY: u8 = 4;

/// Hears 192.0.2.1 alone.
#[derive(Default)]
struct Ear(AtomicUsize);

impl NotifySink for Ear {
    fn notified(&self, source: SocketAddr, packet: &[u8], _: Duration) -> Option<Vec<u8>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        (source.ip() == SocketAddr::from(([192, 0, 2, 1], 0)).ip()).then(|| [&packet[..2], b"heard"].concat())
    }
}

fn handler() -> Handler {
    let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::empty("fra".parse().unwrap())));
    Handler::new(snapshot, Arc::new(Counters::new()))
}

fn message(opcode: u8) -> Vec<u8> {
    let mut octets = vec![7, 9, opcode << 3, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    octets.extend(b"\x06origin\x07example\0\0\x06\0\x01");
    octets
}

fn respond(handler: &Handler, opcode: u8, from: [u8; 4]) -> Vec<u8> {
    handler.respond(&message(opcode), Arrival::udp((from, 53).into(), Duration::ZERO)).unwrap()
}

#[test]
fn a_notify_is_answered_by_who_hears_it_and_else_not_implemented() {
    let ear = Arc::new(Ear::default());
    let hearing = handler().with_notify(ear.clone());
    assert_eq!(respond(&hearing, OPCODE_NOTIFY, [192, 0, 2, 1]), b"\x07\x09heard");
    for (handler, from) in [(&hearing, [192, 0, 2, 2]), (&handler(), [192, 0, 2, 1])] {
        let refused = respond(handler, OPCODE_NOTIFY, from);
        assert_eq!((&refused[..2], refused[2] >> 3 & 0xf, refused[3] & 0xf), (&[7, 9][..], OPCODE_NOTIFY, 4));
    }
    assert_eq!(ear.0.load(Ordering::Relaxed), 2);
    respond(&hearing, 0, [192, 0, 2, 1]);
    respond(&hearing, 5, [192, 0, 2, 1]);
    assert_eq!(ear.0.load(Ordering::Relaxed), 2, "nothing else is handed out");
}
