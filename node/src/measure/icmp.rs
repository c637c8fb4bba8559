//! Shell: one ICMP echo (RFC 792) or ICMPv6 echo (RFC 4443, section 4.1), and the time until its reply.
//!
//! A datagram socket of ICMP needs no privilege where `net.ipv4.ping_group_range` holds the process's group (for IPv6
//! too); the kernel then sees to it that only our replies come. Where it does not, a raw socket is tried, which needs
//! CAP_NET_RAW and gets every ICMP packet of the host. Neither: the probe is not made, and says what to grant.
//!
//! A reply counts if it brings back our random token from the address that was asked: identifiers are 16 bits wide, and on
//! raw sockets everybody's.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::RngExt;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::outcome::{Failure, Outcome, connect_failed, not_made};
use super::tcp::Sources;

/// Octets of the token that a reply must bring back.
const TOKEN: usize = 16;
/// The largest packet looked at: an IP header with options, ours, and what others send to raw sockets, cut.
const MAX_PACKET: usize = 256;
const GRANT: &str = "not probed: ICMP needs nigh's group in net.ipv4.ping_group_range, or CAP_NET_RAW";

/// Asks once.
pub async fn probe(server: IpAddr, sources: Sources, timeout: Duration) -> Outcome {
    let echo = async {
        let (socket, raw) = match open(server, sources) {
            Ok(open) => open,
            Err(outcome) => return outcome,
        };
        match ask(server, socket, raw).await {
            Ok(took) => Outcome::Answered(took),
            Err(error) => connect_failed(&error, timeout),
        }
    };
    tokio::time::timeout(timeout, echo).await.unwrap_or(Outcome::Failed(Failure::Timeout(timeout)))
}

fn open(server: IpAddr, sources: Sources) -> Result<(UdpSocket, bool), Outcome> {
    let (domain, protocol) = match server {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let (socket, raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
        Err(error) if denied(&error) => (Socket::new(domain, Type::RAW, Some(protocol)), true),
        opened => (opened, false),
    };
    let socket = socket.map_err(|error| match denied(&error) {
        true => Outcome::NotMade(GRANT.into()),
        false => not_made("socket", &error),
    })?;
    if let Some(source) = sources.towards(server) {
        let bound = socket.bind(&source.into());
        bound.map_err(|error| not_made("cannot use the configured measure.source", &error))?;
    }
    // Only packets from there, and the errors that come for those that went there.
    socket.connect(&SocketAddr::new(server, 0).into()).map_err(|error| connect_failed(&error, Duration::ZERO))?;
    // The runtime has no type for these; to it, a datagram socket that is connected is like another.
    let ready = socket.set_nonblocking(true).and_then(|()| UdpSocket::from_std(socket.into()));
    ready.map(|socket| (socket, raw)).map_err(|error| not_made("socket", &error))
}

async fn ask(server: IpAddr, socket: UdpSocket, raw: bool) -> io::Result<Duration> {
    let mut token = [0; TOKEN];
    rand::rng().fill(&mut token);
    let request = request(server, &token);
    let start = Instant::now();
    socket.send(&request).await?;
    loop {
        let mut packet = [0; MAX_PACKET];
        let length = socket.recv(&mut packet).await?;
        if is_reply(server, packet.get(..length).unwrap_or_default(), raw, &token) {
            return Ok(start.elapsed());
        }
    }
}

/// An echo request. Its identifier is the kernel's to set on datagram sockets; on raw ones any will do.
fn request(server: IpAddr, token: &[u8; TOKEN]) -> Vec<u8> {
    let echo_request = if server.is_ipv4() { 8 } else { 128 };
    let mut packet = vec![echo_request, 0, 0, 0, token[0], token[1], 0, 1];
    packet.extend_from_slice(token);
    if server.is_ipv4() {
        // Of ICMPv6 the kernel makes it, for it covers addresses that only the kernel knows.
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn is_reply(server: IpAddr, packet: &[u8], raw: bool, token: &[u8; TOKEN]) -> bool {
    let (echo_reply, message) = match server {
        // A raw socket of IPv4 brings the IP header along, whose length is in words of four octets.
        IpAddr::V4(_) if raw => {
            let words = packet.first().map_or(0, |first| usize::from(first & 0x0f));
            (0, packet.get(4 * words..).unwrap_or_default())
        }
        IpAddr::V4(_) => (0, packet),
        IpAddr::V6(_) => (129, packet),
    };
    message.first() == Some(&echo_reply) && message.get(8..8 + TOKEN) == Some(&token[..])
}

/// RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    /// Where neither kind of socket may be opened the outcome must say what to grant.
    #[tokio::test]
    async fn loopback_answers_both_families() {
        for server in [V4, V6] {
            match probe(server, Sources::default(), TIMEOUT).await {
                Outcome::Answered(took) => assert!(took < TIMEOUT),
                Outcome::NotMade(why) => assert_eq!(why, GRANT),
                other => panic!("{server}: {other:?}"),
            }
        }
    }

    #[test]
    fn only_our_own_reply_counts() {
        let (ours, theirs) = ([7; TOKEN], [8; TOKEN]);
        let mut reply = request(V4, &ours);
        assert_eq!(checksum(&reply), 0, "a packet with its checksum sums up to nothing");
        assert!(!is_reply(V4, &reply, false, &ours), "our own request, as loopback shows it");
        reply[0] = 0;
        assert!(is_reply(V4, &reply, false, &ours) && !is_reply(V4, &reply, false, &theirs));
        let with_header: Vec<u8> = [vec![0x46; 24], reply.clone()].concat();
        assert!(is_reply(V4, &with_header, true, &ours) && !is_reply(V4, &with_header, false, &ours));
        let mut six = request(V6, &ours);
        six[0] = 129;
        assert!(is_reply(V6, &six, true, &ours) && !is_reply(V4, &six, false, &ours));
    }

    proptest! {
        #[test]
        fn no_packet_is_too_much(packet in prop::collection::vec(any::<u8>(), 0..80), raw: bool) {
            prop_assert!(!is_reply(V4, &packet, raw, &[0xa5; TOKEN]));
            prop_assert!(!is_reply(V6, &packet, raw, &[0xa5; TOKEN]));
        }
    }
}
