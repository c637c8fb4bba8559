//! NOTIFY (RFC 1996): a primary says that its zone has changed.
//!
//! Taken only from an address that is a primary of a zone that this node knows; everybody else gets what any unknown
//! opcode gets. It need not be signed: all that it does is to count, and a count that moved lets the importing nodes ask
//! for the SOA record, at most every two seconds. One that is signed is checked, and its reply is signed too, or the
//! primary would go on sending it. **Invariant:** a packet from anybody else costs a look at a short list.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::sync::Notify;

use super::tsig::{self, Distrust};
use super::zones::OriginZone;

/// Answered in a second: ten zones that change all the time send as many.
const MOST_PER_SECOND: u64 = 50;

/// Hears NOTIFYs for some zones.
#[derive(Debug, Default)]
pub struct Ear {
    zones: Vec<(OriginZone, AtomicU32)>,
    heard: Notify,
    /// The second that it is, and how many were answered in it.
    pace: AtomicU64,
}

impl Ear {
    /// For these zones.
    pub fn new(zones: &[OriginZone]) -> Self {
        Self { zones: zones.iter().map(|zone| (zone.clone(), AtomicU32::new(0))).collect(), ..Self::default() }
    }

    /// How many were heard of each zone.
    pub fn counts(&self) -> BTreeMap<Name, u32> {
        self.zones.iter().map(|(zone, count)| (zone.name.clone(), count.load(Ordering::Relaxed))).collect()
    }

    /// Waits for the next one.
    pub async fn next(&self) {
        self.heard.notified().await;
    }

    /// Whether one more may be answered in this second.
    fn has_time(&self, at: Duration) -> bool {
        let second = at.as_secs() << 16;
        let next = |pace: u64| Some(if pace >> 16 << 16 == second { pace.saturating_add(1) } else { second + 1 });
        let pace = self.pace.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(second);
        pace >> 16 << 16 != second || pace & 0xffff < MOST_PER_SECOND
    }

    fn knows(&self, source: IpAddr) -> bool {
        self.zones.iter().any(|(zone, _)| is_primary(zone, source))
    }
}

fn is_primary(zone: &OriginZone, source: IpAddr) -> bool {
    zone.from.iter().any(|primary| primary.ip() == source)
}

impl nigh_dns::NotifySink for Ear {
    fn notified(&self, source: SocketAddr, packet: &[u8], at: Duration) -> Option<Vec<u8>> {
        if !self.knows(source.ip()) {
            return None;
        }
        if !self.has_time(at) {
            // Somebody forges a primary's address. What is real among it is not lost: a look at the zones is due.
            for (_, count) in self.zones.iter().filter(|(zone, _)| is_primary(zone, source.ip())) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            self.heard.notify_one();
            return None;
        }
        // The key is that of a zone, and the zone stands in the message: tried is what the source is a primary of.
        let mine = self.zones.iter().filter(|(zone, _)| is_primary(zone, source.ip()));
        for (zone, count) in mine {
            let (message, mac) = match &zone.key {
                Some(key) => match tsig::request(packet, key, at) {
                    Ok((message, mac)) => (message, Some(mac)),
                    Err(Distrust::Unsigned) => (packet.to_vec(), None),
                    Err(_) => continue,
                },
                None => (packet.to_vec(), None),
            };
            let Ok(message) = Message::from_vec(&message) else { continue };
            if !is_about(&message, &zone.name) {
                continue;
            }
            count.fetch_add(1, Ordering::Relaxed);
            self.heard.notify_one();
            tracing::debug!(zone = %zone.name, %source, "NOTIFY");
            let mut reply = Message::new(message.metadata.id, MessageType::Response, OpCode::Notify);
            reply.metadata.authoritative = true;
            reply.add_queries(message.queries.iter().cloned());
            let octets = reply.to_vec().ok()?;
            return Some(match (&zone.key, mac) {
                (Some(key), Some(mac)) => tsig::sign_reply(octets, key, &mac, at),
                _ => octets,
            });
        }
        None
    }
}

fn is_about(message: &Message, zone: &Name) -> bool {
    message.metadata.op_code == OpCode::Notify
        && message.metadata.message_type == MessageType::Query
        && matches!(message.queries.as_slice(), [asked] if asked.name() == zone && asked.query_type() == RecordType::SOA)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hickory_proto::op::ResponseCode;
    use nigh_dns::NotifySink;
    use proptest::prelude::*;

    use super::*;
    use crate::dns_a::message::Question;
    use crate::dns_a::tsig::{Algorithm, Key};

    const NOW: Duration = Duration::from_secs(1_790_000_000);

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn key() -> Key {
        Key::new(name("mesh-key."), Algorithm::Sha256, b"secret secret secret")
    }

    fn ear() -> Ear {
        let zone = |text, primary: &str| OriginZone {
            name: name(text),
            from: vec![primary.parse().unwrap()],
            key: Some(key()),
        };
        Ear::new(&[zone("origin.example.com.", "203.0.113.1:53"), zone("origin.example.net.", "203.0.113.2:53")])
    }

    fn question() -> Question {
        Question { id: 9, opcode: OpCode::Notify, name: name("origin.example.com."), rtype: RecordType::SOA }
    }

    fn from(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_primary_is_heard_and_gets_its_reply_signed_as_it_asked() {
        let ear = ear();
        let plain = question().message(false).to_vec().unwrap();
        let reply = ear.notified(from("203.0.113.1:999"), &plain, NOW).unwrap();
        let reply = question().reply(&reply).unwrap();
        assert!(reply.metadata.authoritative && reply.metadata.response_code == ResponseCode::NoError);
        let (signed, mut verifier) = tsig::sign(plain, &key(), NOW);
        let reply = ear.notified(from("203.0.113.1:999"), &signed, NOW).unwrap();
        assert!(question().reply(&verifier.check(&reply, NOW).unwrap()).is_ok());
        assert_eq!(ear.counts(), [(name("origin.example.com."), 2), (name("origin.example.net."), 0)].into());
    }

    #[test]
    fn nobody_else_is_heard_nor_about_anything_else() {
        let ear = ear();
        let plain = question().message(false).to_vec().unwrap();
        assert_eq!(ear.notified(from("203.0.113.2:53"), &plain, NOW), None, "a primary of another zone");
        assert_eq!(ear.notified(from("203.0.113.3:53"), &plain, NOW), None);
        let other = Question { name: name("example.com."), ..question() }.message(false).to_vec().unwrap();
        assert_eq!(ear.notified(from("203.0.113.1:53"), &other, NOW), None);
        let update = Question { opcode: OpCode::Update, ..question() }.message(false).to_vec().unwrap();
        assert_eq!(ear.notified(from("203.0.113.1:53"), &update, NOW), None);
        let wrong = Key::new(name("mesh-key."), Algorithm::Sha256, b"another another another");
        assert_eq!(ear.notified(from("203.0.113.1:53"), &tsig::sign(plain, &wrong, NOW).0, NOW), None);
        assert!(ear.counts().values().all(|count| *count == 0));
    }

    #[test]
    fn a_flood_is_not_answered_but_still_heard() {
        let (ear, plain) = (ear(), question().message(false).to_vec().unwrap());
        let answered = |at| (0..1000).filter(|_| ear.notified(from("203.0.113.1:9"), &plain, at).is_some()).count();
        assert_eq!(answered(NOW), MOST_PER_SECOND as usize);
        assert_eq!(answered(NOW + Duration::from_secs(1)), MOST_PER_SECOND as usize);
        assert_eq!(ear.counts()[&name("origin.example.com.")], 2000);
    }

    proptest! {
        #[test]
        fn hostile_octets_never_panic(octets: Vec<u8>) {
            let _ = ear().notified(from("203.0.113.1:53"), &octets, NOW);
        }
    }
}
