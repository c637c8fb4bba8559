//! What hosts said to each other's port 53, packet by packet, for whoever asks later.
//!
//! Counters of servers say how many; only the wire says who asked whom for what and what came back. Packets are taken
//! as they are offered, so a question into a cut link is here too, marked as one that did not pass.
//!
//! **Invariant:** nothing is kept before somebody listens, and never more than [`PACKETS_MAX`]: the oldest go first.

use std::collections::VecDeque;
use std::time::Duration;

/// Packets kept between two looks. Some minutes of all resolvers of a bed at work.
pub const PACKETS_MAX: usize = 16_384;
/// The port that is listened to.
const PORT: u16 = 53;
/// Protocol numbers (RFC 790).
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A packet that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When it was offered to the WAN, from the WAN's start.
    pub at: Duration,
    /// The whole IP packet.
    pub packet: Vec<u8>,
    /// Whether it was sent on; if not, its link is cut or it was lost.
    pub passed: bool,
}

/// What was heard since the last look.
#[derive(Debug, Default)]
pub(super) struct Tape {
    listening: bool,
    heard: VecDeque<Captured>,
}

impl Tape {
    pub(super) fn record(&mut self, at: Duration, packet: &[u8], passed: bool) {
        if !self.listening || !is_dns(packet) {
            return;
        }
        if self.heard.len() == PACKETS_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(Captured { at, packet: packet.to_vec(), passed });
    }

    pub(super) fn take(&mut self) -> Vec<Captured> {
        self.listening = true;
        self.heard.drain(..).collect()
    }
}

/// UDP or TCP from or to the port. Fragments but the first show no ports and are passed over.
fn is_dns(packet: &[u8]) -> bool {
    let Some(version) = packet.first().map(|first| first >> 4) else { return false };
    let (protocol, header) = match (version, packet.get(9), packet.get(6)) {
        (4, Some(protocol), _) => (*protocol, usize::from(packet[0] & 0x0f) * 4),
        (6, _, Some(next)) => (*next, 40),
        _ => return false,
    };
    let Some(&[a, b, c, d]) = packet.get(header..).and_then(|rest| rest.first_chunk()) else { return false };
    matches!(protocol, TCP | UDP) && [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])].contains(&PORT)
}

#[cfg(test)]
mod tests {
    use super::{PACKETS_MAX, Tape, is_dns};
    use std::time::Duration;

    fn datagram(protocol: u8, from: u16, to: u16) -> Vec<u8> {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet[20..22].copy_from_slice(&from.to_be_bytes());
        packet[22..24].copy_from_slice(&to.to_be_bytes());
        packet
    }

    #[test]
    fn only_port_53_is_heard_in_both_directions_and_families() {
        assert!(is_dns(&datagram(17, 5000, 53)) && is_dns(&datagram(17, 53, 5000)) && is_dns(&datagram(6, 5000, 53)));
        assert!(!is_dns(&datagram(17, 5000, 4242)) && !is_dns(&datagram(1, 53, 53)));
        let mut sixth = vec![0; 48];
        (sixth[0], sixth[6], sixth[43]) = (0x60, 17, 53);
        assert!(is_dns(&sixth));
        for odd in [&[][..], &[0x45], &datagram(17, 53, 53)[..22], &sixth[..42]] {
            assert!(!is_dns(odd), "{odd:?}");
        }
    }

    #[test]
    fn nothing_is_kept_before_somebody_listens_and_never_more_than_the_bound() {
        let mut tape = Tape::default();
        tape.record(Duration::ZERO, &datagram(17, 1, 53), true);
        assert_eq!(tape.take(), []);
        for at in 0..=PACKETS_MAX as u64 {
            tape.record(Duration::from_secs(at), &datagram(17, 1, 53), true);
        }
        let heard = tape.take();
        assert_eq!((heard.len(), heard[0].at), (PACKETS_MAX, Duration::from_secs(1)));
        assert_eq!(tape.take(), []);
    }
}
