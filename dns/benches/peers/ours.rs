//! Our own servers, in a process of their own: the front as it is, the same with a rate limit, hickory's `Server` over
//! the same handler, and the echo, which is as little as a server can do.
//!
//! They answer from one snapshot. By a line on standard input another one takes its place from then on at an interval, in
//! turn with the first, and as many signed pages as a large mesh sends are checked: what a node does beside answering,
//! but for the building of snapshots (`bench claims` has that). When the input ends, the process does.

use std::io::{self, BufRead, IoSlice, IoSliceMut, Write};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use arc_swap::ArcSwap;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use nigh_dns::{Counters, Handler, Snapshot, serve};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

use crate::world::world;

/// As the node does it.
const UDP_BUFFER: usize = 4 << 20;

/// What stands before the addresses that the process prints.
pub const KINDS: [&str; 3] = ["front", "limited", "hickory"];

/// Packets per system call, as in the front.
const BATCH: usize = 32;

/// Pages that come in a second: about what a node among 1,000 gets.
const PAGES: f64 = 20.0;

/// Serves until standard input ends.
pub fn run(claims: usize) {
    let [first, second] = [1, 2].map(|serial| {
        let mut world = world(claims);
        world.serial = serial;
        Arc::new(Snapshot::build(world).0)
    });
    let current = Arc::new(ArcSwap::new(first.clone()));
    let handler = Handler::new(current.clone(), Arc::new(Counters::new())).with_cookies([7; 16]);
    let limited = handler.clone().with_rate_limit(NonZeroU32::MAX, [8; 16]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sockets = KINDS.map(|_| socket());
        for (kind, socket) in KINDS.iter().zip(&sockets) {
            println!("{kind} {}", socket.local_addr().unwrap());
        }
        io::stdout().flush().unwrap();
        let [plain, behind_limit, for_hickory] = sockets;
        let mut hickory = hickory_server::Server::new(handler.clone());
        for_hickory.set_nonblocking(true).unwrap();
        hickory.register_socket(tokio::net::UdpSocket::from_std(for_hickory).unwrap());
        let fronts = [serve(handler, vec![plain], Vec::new()), serve(limited, vec![behind_limit], Vec::new())];
        tokio::task::spawn_blocking(move || swap(&current, &[second, first], &commands())).await.unwrap();
        for front in fronts {
            front.unwrap().stop().await;
        }
        hickory.shutdown_gracefully().await.unwrap();
    });
}

/// The intervals that come as lines; 0 is none.
fn commands() -> Receiver<Duration> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(Duration::from_millis(line.parse().unwrap()));
        }
    });
    receiver
}

fn swap(current: &ArcSwap<Snapshot>, snapshots: &[Arc<Snapshot>; 2], commands: &Receiver<Duration>) {
    let page = SignedPage::new();
    let (mut interval, mut due) = (Duration::ZERO, 0.0);
    for next in snapshots.iter().cycle() {
        let wait = if interval.is_zero() { Duration::MAX } else { interval };
        match commands.recv_timeout(wait) {
            Ok(other) => interval = other,
            Err(RecvTimeoutError::Timeout) => {
                due += PAGES * interval.as_secs_f64();
                while due >= 1.0 {
                    page.check();
                    due -= 1.0;
                }
                current.store(next.clone());
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A page as one comes from another node: what it costs is its signature.
struct SignedPage {
    writer: VerifyingKey,
    octets: [u8; 1000],
    signature: Signature,
}

impl SignedPage {
    fn new() -> Self {
        let (key, octets) = (SigningKey::from_bytes(&[9; 32]), [9; 1000]);
        Self { writer: key.verifying_key(), octets, signature: key.sign(&octets) }
    }

    fn check(&self) {
        self.writer.verify_strict(&self.octets, &self.signature).unwrap();
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    set_socket_recv_buffer_size(&socket, UDP_BUFFER).unwrap();
    socket
}

/// Sends back what comes, marked as an answer so that the load takes it for one.
pub fn echo() {
    let socket = socket();
    println!("echo {}", socket.local_addr().unwrap());
    io::stdout().flush().unwrap();
    std::thread::spawn(|| {
        let _ = io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    let mut packets = vec![[0; 512]; BATCH];
    let mut headers: MultiHeaders<SockaddrStorage> = MultiHeaders::preallocate(BATCH, None);
    loop {
        let mut came: [(usize, Option<SocketAddrAny>); BATCH] = std::array::from_fn(|_| (0, None));
        let mut count = 0;
        let mut rooms = packets.iter_mut();
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap().as_mut_slice())]);
        let received = recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_WAITFORONE, None);
        for (message, came) in received.unwrap().zip(&mut came) {
            let from = message.address.and_then(|from| from.as_sockaddr_in().copied());
            *came = (message.bytes, from.map(|from| SocketAddrAny::from(SocketAddr::V4(from.into()))));
            count += 1;
        }
        let came = &came[..count];
        for packet in &mut packets[..count] {
            packet[2] |= 0x80; // QR
            packet[7] = 1; // ANCOUNT
        }
        let slices: [[IoSlice<'_>; 1]; BATCH] =
            std::array::from_fn(|at| [IoSlice::new(came.get(at).map_or(&[], |(length, _)| &packets[at][..*length]))]);
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
            std::array::from_fn(|_| SendAncillaryBuffer::default());
        let messages = slices.iter().zip(came).zip(&mut controls);
        let mut messages: Vec<MMsgHdr<'_>> = messages
            .filter_map(|((slice, (_, from)), control)| Some(MMsgHdr::new_with_addr(from.as_ref()?, slice, control)))
            .collect();
        // Over loopback all of them go, or the load has gone.
        let _ = sendmmsg(&socket, &mut messages, SendFlags::empty());
    }
}
