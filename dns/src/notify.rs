//! Who is told of NOTIFY messages (RFC 1996).
//!
//! This crate serves no zone that has a primary elsewhere, so to it NOTIFY is an opcode like any unknown one. A node that
//! takes addresses from a zone at DNS-A wants to hear, though, and primaries send to port 53.

use std::net::SocketAddr;
use std::time::Duration;

/// OPCODE of NOTIFY.
pub(crate) const OPCODE_NOTIFY: u8 = 4;

/// Hears NOTIFY messages, on the threads that answer: it must be quick, above all for senders that it does not know.
pub trait NotifySink: Send + Sync {
    /// Takes a message from `source`, at this time since 1970. The reply, or nothing if the message is none of its
    /// business: then it is answered as any unknown opcode.
    fn notified(&self, source: SocketAddr, packet: &[u8], at: Duration) -> Option<Vec<u8>>;
}
