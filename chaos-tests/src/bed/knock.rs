//! TCP connections that lead nowhere: some never finish the handshake, some say nothing, some say noise.

use super::spray::a_source;
use crate::lab::{Namespace, cores, netns};
use anyhow::{Context, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The part of [`super::spray::SOURCES`] to which the server's answers are lost: handshakes from there stay half open.
pub const UNREACHABLE: &str = "100.127.0.0/16";
/// Connections held at a time; the oldest are closed first. Two of three count at the server.
const HELD: usize = 1500;
/// What is said by those who say something.
const NOISE: usize = 1024;
/// After so long a connection is made or will not be.
const MADE_AFTER: Duration = Duration::from_millis(50);

/// Somebody who knocks, until it is dropped.
pub struct Knock {
    stop: Arc<AtomicBool>,
    begun: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// Has a host lose what it answers to a part of the sources.
pub fn lose_answers(server: &Namespace) -> Result<()> {
    netns::configure(server.name(), &[format!("route add blackhole {UNREACHABLE}")])
}

impl Knock {
    /// Begins so many connections a second, from a host that owns [`super::spray::SOURCES`].
    pub fn start(space: &Namespace, to: SocketAddrV4, per_second: u32, seed: u64, core: usize) -> Result<Self> {
        let namespace = netns::open(space.name())?;
        let (stop, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (enter, entered) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("knock".to_owned())
            .spawn({
                let (stop, begun) = (Arc::clone(&stop), Arc::clone(&begun));
                move || {
                    let inside = crate::sys::enter_network_namespace(&namespace);
                    let went = inside.is_ok();
                    drop(enter.send(inside));
                    drop(cores::settle(core).and_then(|()| cores::give_way()));
                    if went {
                        knock(to, per_second, seed, &stop, &begun);
                    }
                }
            })
            .context("starting a thread that knocks")?;
        entered.recv().context("a thread that knocks has ended")?.context("entering a namespace")?;
        Ok(Self { stop, begun, thread: Some(thread) })
    }

    /// Connections begun so far.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }
}

impl Drop for Knock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn knock(to: SocketAddrV4, per_second: u32, seed: u64, stop: &AtomicBool, begun: &AtomicU64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut held: VecDeque<Socket> = VecDeque::new();
    let mut talkers: VecDeque<(Instant, Socket)> = VecDeque::new();
    let mut noise = [0; NOISE];
    let pause = Duration::from_secs(1) / per_second.max(1);
    let mut next = Instant::now();
    for number in 0_u64.. {
        while Instant::now() < next {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        next = (next + pause).max(Instant::now().checked_sub(MADE_AFTER).unwrap_or(next));
        let reachable = number % 3 != 0;
        if let Ok(socket) = connect(a_source(&mut random, reachable), to) {
            begun.fetch_add(1, Ordering::Relaxed);
            if number % 3 == 1 {
                talkers.push_back((Instant::now(), socket));
            } else {
                held.push_back(socket);
            }
        }
        while talkers.front().is_some_and(|(at, _)| at.elapsed() > MADE_AFTER) {
            let Some((_, mut socket)) = talkers.pop_front() else { break };
            random.fill_bytes(&mut noise);
            drop(socket.write(&noise)); // refused, or closed already
            held.push_back(socket);
        }
        while held.len() > HELD {
            drop(held.pop_front());
        }
    }
}

fn connect(from: Ipv4Addr, to: SocketAddrV4) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    match socket.connect(&SocketAddr::V4(to).into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{UNREACHABLE, knock};
    use crate::bed::spray::SOURCES;
    use std::net::{SocketAddr, TcpListener};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    #[test]
    fn what_is_unreachable_is_the_end_of_all_sources() {
        assert!(SOURCES.starts_with("100.64.") && UNREACHABLE.starts_with("100.127."));
    }

    #[test]
    fn without_its_network_nobody_knocks_and_it_ends_when_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(to) = listener.local_addr().unwrap() else { panic!("IPv4") };
        let (stop, begun) = (AtomicBool::new(true), AtomicU64::new(0));
        knock(to, 1000, 1, &stop, &begun);
        assert_eq!(begun.load(Ordering::Relaxed), 0, "the sources are not this machine's");
    }
}
