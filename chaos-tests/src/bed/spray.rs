//! Packets in other people's names: as many as one core can send, from as many addresses as a network has.
//!
//! The host holds a whole network of addresses that nobody else has (a local route to all of it), and chooses one of them
//! for every burst (`IP_PKTINFO`). A burst is one pass through the stack (`UDP_SEGMENT`), which the receiver's kernel
//! takes apart: so one core sends several times what another can answer. What comes back is dropped unread.

use crate::lab::{Namespace, cores, netns};
use anyhow::{Context, Result};
use nix::sys::socket::sockopt::{RcvBuf, UdpGsoSegment};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg, setsockopt};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The network whose addresses are used: shared address space (RFC 6598), which no bed uses otherwise. 16,384 networks
/// of /24, so that no limit on one of them holds back a flood from all.
pub const SOURCES: &str = "100.64.0.0/10";
const FIRST_SOURCE: u32 = u32::from_be_bytes([100, 64, 0, 0]);
const SOURCE_COUNT: u32 = 1 << 22;
/// Those at the end that answers do not reach ([`super::knock::UNREACHABLE`]).
const UNREACHABLE: u32 = 1 << 16;
/// Packets of a burst: the kernel takes 64 at most.
const BURST: usize = 48;
/// When the thread got no core for so long, what was due meanwhile is left out.
const BEHIND: Duration = Duration::from_millis(20);

/// Writes the packets of a burst, each of the same length, into a buffer.
pub type Fill = Box<dyn FnMut(&mut [u8], &mut ChaCha8Rng) + Send>;

/// What is sent.
pub struct Load {
    /// To whom.
    pub to: SocketAddrV4,
    /// Octets of each packet.
    pub length: usize,
    /// Makes a packet.
    pub fill: Fill,
    /// How many a second.
    pub per_second: f64,
}

/// Packets on their way until it is dropped.
pub struct Spray {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// Gives a host the network of sources.
pub fn own_sources(space: &Namespace) -> Result<()> {
    netns::configure(space.name(), &["link set lo up".to_owned(), format!("route add local {SOURCES} dev lo")])
}

/// One of the sources: of those that answers reach, or of the others.
pub(super) fn a_source(random: &mut ChaCha8Rng, reachable: bool) -> Ipv4Addr {
    let border = SOURCE_COUNT - UNREACHABLE;
    Ipv4Addr::from(
        FIRST_SOURCE
            + if reachable { random.random_range(0..border) } else { random.random_range(border..SOURCE_COUNT) },
    )
}

impl Spray {
    /// Begins to send from a host that [owns the sources](own_sources), on a core, where everybody else goes first.
    pub fn start(space: &Namespace, load: Load, seed: u64, core: usize) -> Result<Self> {
        let socket = netns::inside(space.name(), || UdpSocket::bind(("0.0.0.0", 0)))?.context("opening a socket")?;
        let segment = libc::c_int::try_from(load.length).context("a packet too long")?;
        setsockopt(&socket, UdpGsoSegment, &segment).context("sending many packets at once (UDP_SEGMENT)")?;
        // What comes back is not read; the less of it is kept, the less it costs.
        setsockopt(&socket, RcvBuf, &0).context("making a socket small")?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = std::thread::Builder::new()
            .name("spray".to_owned())
            .spawn({
                let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
                move || {
                    // Where it may not, it sends from any core, as important as the others.
                    drop(cores::settle(core).and_then(|()| cores::give_way()));
                    send(&socket, load, seed, &stop, &sent);
                }
            })
            .context("starting a flood's thread")?;
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// Packets sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Spray {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn send(socket: &UdpSocket, mut load: Load, seed: u64, stop: &AtomicBool, sent: &AtomicU64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // A burst of small packets where they are few, so that the rate is one at every moment.
    let many = BURST.min((65_000 / load.length).max(1)).min((load.per_second / 500.0).ceil() as usize).max(1);
    let mut burst = vec![0; load.length * many];
    let to = SockaddrIn::from(load.to);
    let mut next = Instant::now();
    let pause = Duration::from_secs_f64(many as f64 / load.per_second);
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now < next {
            std::thread::sleep(next - now);
            continue;
        }
        next = (next + pause).max(now.checked_sub(BEHIND).unwrap_or(now));
        for packet in burst.chunks_exact_mut(load.length) {
            (load.fill)(packet, &mut random);
        }
        let source = a_source(&mut random, true);
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        // Lost packets are what floods are made of.
        if sendmsg(socket.as_raw_fd(), &[IoSlice::new(&burst)], &control, MsgFlags::empty(), Some(&to)).is_ok() {
            sent.fetch_add(many as u64, Ordering::Relaxed);
        }
    }
}

/// Packets that ask a name server this question, each with an id of its own.
pub fn questions(question: Vec<u8>) -> Fill {
    Box::new(move |packet, random| {
        packet.copy_from_slice(&question);
        if let Some(id) = packet.first_chunk_mut::<2>() {
            random.fill_bytes(id);
        }
    })
}

/// Noise.
pub fn noise() -> Fill {
    Box::new(|packet, random| random.fill_bytes(packet))
}

/// What looks like the first packet of a QUIC connection (RFC 9000 section 17.2.2) until it is decrypted: a long header of
/// version 1 with new connection ids, no token, a length that fits, and noise.
pub fn initials() -> Fill {
    Box::new(|packet, random| {
        random.fill_bytes(packet);
        let rest = packet.len().saturating_sub(INITIAL_HEAD.len()) as u16;
        for (at, (octet, head)) in packet.iter_mut().zip(INITIAL_HEAD).enumerate() {
            match head {
                Some(head) => *octet = head,
                // The length in two octets; the first two bits say so.
                None if at == LENGTH_AT => *octet = 0x40 | rest.to_be_bytes()[0],
                None if at == LENGTH_AT + 1 => *octet = rest.to_be_bytes()[1],
                None => {}
            }
        }
    })
}

/// An Initial's head: flags, version 1, eight octets of destination id, eight of source id, no token, the length.
const INITIAL_HEAD: [Option<u8>; 26] = {
    let mut head = [None; 26];
    head[0] = Some(0xc3);
    head[1] = Some(0);
    head[2] = Some(0);
    head[3] = Some(0);
    head[4] = Some(1);
    head[5] = Some(8);
    head[14] = Some(8);
    head[23] = Some(0);
    head
};
const LENGTH_AT: usize = 24;

#[cfg(test)]
mod tests {
    use super::{initials, noise, questions};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn an_initial_has_a_head_that_a_quic_server_reads() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let (mut first, mut second) = ([0; 1200], [0; 1200]);
        let mut fill = initials();
        fill(&mut first, &mut random);
        fill(&mut second, &mut random);
        assert_eq!(first[..6], [0xc3, 0, 0, 0, 1, 8]);
        assert_eq!((first[14], first[23]), (8, 0));
        assert_eq!(u16::from_be_bytes([first[24] & 0x3f, first[25]]), 1200 - 26, "what follows the length");
        assert_ne!(first[6..14], second[6..14], "a connection of its own each");
    }

    #[test]
    fn questions_differ_in_their_ids_and_noise_in_all() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut ask = questions(vec![7; 20]);
        let (mut first, mut second) = ([0; 20], [0; 20]);
        ask(&mut first, &mut random);
        ask(&mut second, &mut random);
        assert_ne!(first[..2], second[..2]);
        assert_eq!(first[2..], second[2..]);
        noise()(&mut first, &mut random);
        assert_ne!(first[2..], second[2..]);
    }
}
