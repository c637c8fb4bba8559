//! The UDP front: one thread per socket, a handful of packets per system call.
//!
//! An answer takes a fraction of a microsecond and never waits, so the kernel's part is nearly all that it costs. A thread
//! that blocks in `recvmmsg(2)` takes whatever has come, up to [`BATCH`] packets, answers them and hands all replies over
//! with one `sendmmsg(2)`. What comes faster waits in the socket's buffer, whose size is the only queue there is, and is
//! lost beyond: then [`Shed`] has the kernel let in those first whom somebody claims. Several sockets on one address
//! (`SO_REUSEPORT`) share its packets by a hash of the asker, one thread each.
//!
//! The mesh's tasks run elsewhere: nothing that they do can hold up an answer but by taking the core away.
//!
//! Rejected: an event loop (a wake-up through epoll for each packet), io_uring (the work is in the UDP stack, which stays the
//! same), other batches and busy polling (nothing to be measured), AF_XDP in copy mode (a third less CPU over veth, for
//! frames, checksums and a BPF program of our own, and rights that a DNS server should not have: README.md has the figures).

#![allow(clippy::disallowed_methods, reason = "the shell: here the clock comes in")]

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::sys::socket::sockopt::RxqOvfl;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, recvmsg, setsockopt};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg, sendto};
use socket2::SockRef;
use tracing::{debug, error, info, warn};

use crate::serve::{LAST_CALL, LAST_CALLS, clock};
use crate::shed::{self, Order, Shed};
use crate::{Arrival, Handler, LARGEST_UDP};

/// Packets taken at once: so many that what the calls cost by themselves no longer shows under load.
const BATCH: usize = 32;

/// Longer datagrams are cut, and then not understood: no question with its options comes near it.
const LONGEST_QUERY: usize = 4096;

/// Packets that come together under a light load.
const FEW: usize = 4;

/// From one packet to the next in memory: not a power of two, or the beginnings of all would want the same few cache lines.
const ROOM: usize = LONGEST_QUERY + 64;

/// One answer in so many is timed. Two looks at the clock cost a tenth of an answer.
const SAMPLE: u32 = 1024;

/// How often a thread that nobody asks looks whether it should stop.
const LOOK: Duration = Duration::from_millis(100);

/// After so many failed receptions in a row the socket is given up: it does not come back.
const MOST_FAILURES: usize = 1000;

/// Looks for a moment without questions after the last call.
const MOST_LATE: usize = 64;

/// Answers until stopped, then what is still in the socket's buffer.
pub(crate) fn run(socket: &UdpSocket, handler: &Handler, stop: &AtomicBool) {
    if let Err(error) = socket.set_nonblocking(false).and_then(|()| socket.set_read_timeout(Some(LOOK))) {
        error!(%error, "a UDP socket cannot be waited for: its address is not answered for");
        return;
    }
    // One that was taken over from a process that was killed under a flood still has its filter.
    let _ = SockRef::from(socket).detach_filter();
    // Without the count nothing is shed, and all is as if there were no flood.
    let _ = setsockopt(&socket, RxqOvfl, &1);
    let mut batch = Batch::new();
    let mut shed = Shed::new(clock());
    let mut failures = 0;
    while !stop.load(Ordering::Relaxed) {
        match batch.receive(socket) {
            Ok(count) => {
                failures = 0;
                let (at, guards) = (clock(), shed.guards());
                if let Some(order) = shed.batch(at, count == BATCH, || lost(socket)) {
                    obey(socket, &order, !guards);
                }
                batch.answer(socket, handler, count, at, guards.then_some(&mut shed));
            }
            Err(error) if is_pause(&error) => {
                if shed.guards()
                    && let Some(order) = shed.batch(clock(), false, || None)
                {
                    obey(socket, &order, false);
                }
            }
            Err(error) => {
                failures += 1;
                debug!(%error, "receiving UDP packets failed");
                if failures == MOST_FAILURES {
                    error!(failures, %error, "a UDP socket receives nothing but errors: its address is no longer answered for");
                    return;
                }
            }
        }
    }
    // Who takes the socket over decides for itself.
    let _ = SockRef::from(socket).detach_filter();
    batch.last_call(socket, handler);
}

/// Has the kernel do what was decided. Where it does not, all are let in, as without it.
fn obey(socket: &UdpSocket, order: &Order, began: bool) {
    let (socket, address) = (SockRef::from(socket), socket.local_addr().ok());
    let done = match order {
        Order::Open => {
            info!(?address, "all questions can be answered again: everybody is let in");
            socket.detach_filter()
        }
        Order::Guard(guests, others) => {
            if began {
                warn!(
                    ?address,
                    "more questions come than can be answered: resolvers that somebody claims are let in before others"
                );
            }
            let ipv6 = address.is_some_and(|address| address.is_ipv6());
            socket.attach_filter(&shed::filter(ipv6, guests, *others))
        }
    };
    if let Err(error) = done {
        debug!(?address, %error, "a filter that the kernel does not take");
    }
}

/// How many packets the socket had lost when the next one came: with [`RxqOvfl`] it says so with each, once it has lost
/// one. `None`: there is no next one. (`recvmmsg` of nix keeps the room for such words only for the first call.)
fn lost(socket: &UdpSocket) -> Option<u32> {
    let (mut packet, mut words) = ([0; 1], cmsg_space!(u32));
    let mut slices = [IoSliceMut::new(&mut packet)];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let next = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut words), flags).ok()?;
    let said = next.cmsgs().ok()?.find_map(|word| match word {
        ControlMessageOwned::RxqOvfl(lost) => Some(lost),
        _ => None,
    });
    Some(said.unwrap_or_default())
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Room for the packets of one call, and for their replies.
struct Batch {
    /// [`BATCH`] times [`ROOM`] octets.
    packets: Vec<u8>,
    headers: MultiHeaders<SockaddrStorage>,
    /// How long each packet is, and where it came from.
    came: [(usize, Option<SocketAddr>); BATCH],
    replies: Vec<Vec<u8>>,
    to: [Option<SocketAddr>; BATCH],
    /// Answers until one is timed.
    until_sample: u32,
}

impl Batch {
    fn new() -> Self {
        Self {
            packets: vec![0; BATCH * ROOM],
            headers: MultiHeaders::preallocate(BATCH, None),
            came: [(0, None); BATCH],
            replies: (0..BATCH).map(|_| Vec::with_capacity(usize::from(LARGEST_UDP))).collect(),
            to: [None; BATCH],
            until_sample: SAMPLE,
        }
    }

    /// Waits for packets. Returns how many came.
    fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let mut rooms = self.packets.chunks_exact_mut(ROOM).filter_map(|room| room.get_mut(..LONGEST_QUERY));
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
        let received = recvmmsg(socket.as_raw_fd(), &mut self.headers, &mut slices, MsgFlags::MSG_WAITFORONE, None)?;
        let mut count = 0;
        for (message, came) in received.zip(&mut self.came) {
            *came = (message.bytes, message.address.as_ref().and_then(source));
            count += 1;
        }
        Ok(count)
    }

    /// Answers the packets that came at that time, and tells who of the claimed they are from, if somebody wants to know.
    fn answer(
        &mut self,
        socket: &UdpSocket,
        handler: &Handler,
        count: usize,
        at: Duration,
        mut guard: Option<&mut Shed>,
    ) {
        let snapshot = handler.snapshot();
        let mut replies = 0;
        for (packet, (length, source)) in self.packets.chunks_exact(ROOM).zip(&self.came[..count]) {
            // Nothing listens on port 0: such a source is forged or broken.
            let Some(source) = source.filter(|source| source.port() != 0) else { continue };
            let Some(packet) = packet.get(..*length) else { continue };
            if let Some(shed) = guard.as_deref_mut()
                && snapshot.is_claimed(source.ip())
            {
                shed.hear(source.ip());
            }
            self.until_sample -= 1;
            let begin = (self.until_sample == 0).then(Instant::now);
            if handler.respond_from(&snapshot, packet, Arrival::udp(source, at), &mut self.replies[replies]) {
                self.to[replies] = Some(source);
                replies += 1;
            }
            if let Some(begin) = begin {
                handler.counters().took(begin.elapsed());
                self.until_sample = SAMPLE;
            }
        }
        // Not held while the kernel sends: who waits for it to go need not wait for that.
        drop(snapshot);
        send(socket, &self.replies[..replies], &self.to[..replies]);
    }

    /// Answers what came before the stop, or together with it. Under a steady load there is no pause that tells where
    /// that ends, so there is a limit as well.
    fn last_call(&mut self, socket: &UdpSocket, handler: &Handler) {
        if socket.set_read_timeout(Some(LAST_CALL)).is_err() {
            return;
        }
        let until = Instant::now() + LAST_CALLS;
        while Instant::now() < until {
            match self.receive(socket) {
                Ok(count) => self.answer(socket, handler, count, clock(), None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
        debug!("questions still come; whoever asks now will ask another server");
        // An answer wakes its asker, who asks again before this thread goes on: what is here when the socket closes would
        // be lost without a word, where who comes later is told by the kernel that nobody is here.
        let mut rounds = 0;
        while rounds < MOST_LATE && socket.set_nonblocking(true).is_ok() {
            let Ok(count) = self.receive(socket) else { return };
            self.answer(socket, handler, count, clock(), None);
            rounds += 1;
        }
    }
}

fn source(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

/// Sends the replies. One that cannot be sent is passed over: its asker asks again.
fn send(socket: &UdpSocket, replies: &[Vec<u8>], to: &[Option<SocketAddr>]) {
    let failed = |to: Option<SocketAddr>, error: rustix::io::Errno| debug!(?to, %error, "sending a UDP reply failed");
    if let ([reply], [Some(only)]) = (replies, to) {
        // At rest packets come one by one.
        if let Err(error) = sendto(socket, reply, SendFlags::empty(), only) {
            failed(Some(*only), error);
        }
        return;
    }
    // Under a light load few come together, and room for all would be most of the work.
    if replies.len() <= FEW {
        send_many::<FEW>(socket, replies, to, failed)
    } else {
        send_many::<BATCH>(socket, replies, to, failed)
    }
}

fn send_many<const MOST: usize>(
    socket: &UdpSocket,
    replies: &[Vec<u8>],
    to: &[Option<SocketAddr>],
    failed: impl Fn(Option<SocketAddr>, rustix::io::Errno),
) {
    let slices: [[IoSlice<'_>; 1]; MOST] =
        std::array::from_fn(|at| [IoSlice::new(replies.get(at).map_or(&[], Vec::as_slice))]);
    let addresses: [Option<SocketAddrAny>; MOST] =
        std::array::from_fn(|at| to.get(at).copied().flatten().map(SocketAddrAny::from));
    let mut controls: [SendAncillaryBuffer<'_, '_, '_>; MOST] = std::array::from_fn(|_| SendAncillaryBuffer::default());
    let mut messages: Vec<MMsgHdr<'_>> = Vec::with_capacity(MOST);
    for ((slice, address), control) in slices.iter().zip(&addresses).zip(&mut controls).take(replies.len()) {
        let Some(address) = address else { break };
        messages.push(MMsgHdr::new_with_addr(address, slice, control));
    }
    let mut rest = &mut messages[..];
    while !rest.is_empty() {
        let sent = match sendmmsg(socket, rest, SendFlags::empty()) {
            Ok(sent) => sent,
            Err(error) => {
                failed(to.get(replies.len() - rest.len()).copied().flatten(), error);
                1
            }
        };
        rest = rest.get_mut(sent.max(1)..).unwrap_or_default();
    }
}
