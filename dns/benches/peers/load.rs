//! The load: one thread that never sleeps, a handful of connected sockets, many packets per system call.
//!
//! **Closed loop:** so many questions are outstanding, each answer is followed by the next question: the server is as busy
//! as it can be. **Open loop:** questions leave at random moments (a Poisson process) of a given rate, whether answers
//! come or not: the latencies are what a crowd of independent askers would see. They are counted from the system call that
//! sends to the one that receives, so they hold the generator's own pauses, too.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use crate::process::Cpu;
use crate::questions::is_answer;
use crate::world::Random;

/// Sockets, each with a source address of its own, in networks of their own.
pub const SOCKETS: usize = 8;

/// Packets per system call.
const BATCH: usize = 32;

/// Questions that a socket can wait for. The identifier says which: it wraps here.
const SLOTS: usize = 4096;

/// Room for the bursts of the open loop; the default of 208 KiB loses some.
const BUFFER: usize = 4 << 20;

/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_millis(500);

/// After such a pause of the load itself, what was due meanwhile is left out: sent at once it would be a burst that no
/// crowd of askers makes.
const PAUSE: Duration = Duration::from_millis(1);

/// The share of a run that is not counted, because caches and clocks are still cold.
const WARM: u32 = 8;

/// How fast to ask.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many questions at once.
    Outstanding(usize),
    /// So many per second.
    Rate(f64),
}

/// What came of it.
pub struct Outcome {
    pub answers: u64,
    pub lost: u64,
    pub length: Duration,
    pub latency: Histogram,
    pub cpu: Cpu,
}

/// The source address of a socket.
pub fn source(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, at as u8 + 1, 1)
}

/// Asks the server for a while. Each socket has questions of its own; `cpu` is what the server has used so far.
pub fn run(to: SocketAddr, questions: &[Vec<Vec<u8>>], pace: Pace, length: Duration, cpu: impl Fn() -> Cpu) -> Outcome {
    let mut lines: Vec<Line<'_>> =
        questions.iter().enumerate().map(|(at, own)| Line::new(source(at), to, own).unwrap()).collect();
    let mut wire = Wire::new();
    let begin = Instant::now();
    let now = || begin.elapsed().as_nanos() as u64;
    let warm = (length / WARM).as_nanos() as u64;
    let end = warm + length.as_nanos() as u64;
    let mut arrivals = Arrivals { next: 0.0, random: Random::new(3), line: 0 };
    let mut tally = Tally::default();
    let mut measured = None;
    let mut at = now();
    while at < end {
        if measured.is_none() && at >= warm {
            measured = Some((cpu(), now()));
            tally = Tally::default();
            arrivals.next = now() as f64;
        }
        for line in &mut lines {
            wire.receive(line, &now, &mut tally);
        }
        match pace {
            Pace::Outstanding(total) => {
                for line in &mut lines {
                    let room = (total / SOCKETS).saturating_sub(line.outstanding);
                    wire.send(line, room.min(BATCH), now(), &mut tally);
                }
            }
            Pace::Rate(rate) => {
                let due = arrivals.due(now(), rate);
                arrivals.line = (arrivals.line + 1) % SOCKETS;
                wire.send(&mut lines[arrivals.line], due, now(), &mut tally);
            }
        }
        at = now();
        for line in &mut lines {
            line.give_up(at, &mut tally);
        }
    }
    let (before, since) = measured.unwrap_or_default();
    let cpu = cpu().since(&before);
    Outcome {
        answers: tally.answers,
        lost: tally.lost,
        length: Duration::from_nanos(at - since),
        latency: tally.latency,
        cpu,
    }
}

#[derive(Default)]
struct Tally {
    answers: u64,
    lost: u64,
    latency: Histogram,
}

/// When the questions of the open loop are due.
struct Arrivals {
    next: f64,
    random: Random,
    line: usize,
}

impl Arrivals {
    /// How many are due by now. What does not go into one system call goes into the next.
    fn due(&mut self, now: u64, rate: f64) -> usize {
        if now as f64 - self.next > PAUSE.as_nanos() as f64 {
            self.next = now as f64;
        }
        let mut due = 0;
        while self.next <= now as f64 && due < BATCH {
            due += 1;
            let uniform = (self.random.next() >> 11) as f64 / (1_u64 << 53) as f64;
            self.next -= (1.0 - uniform).ln() * 1e9 / rate;
        }
        due
    }
}

/// A socket and what it waits for.
struct Line<'q> {
    socket: UdpSocket,
    questions: std::iter::Cycle<std::slice::Iter<'q, Vec<u8>>>,
    /// When the question of each identifier went out; 0: none did.
    sent: Vec<u64>,
    next: usize,
    outstanding: usize,
    heard: u64,
}

impl<'q> Line<'q> {
    fn new(from: Ipv4Addr, to: SocketAddr, questions: &'q [Vec<u8>]) -> io::Result<Self> {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect(to)?;
        set_socket_recv_buffer_size(&socket, BUFFER)?;
        set_socket_send_buffer_size(&socket, BUFFER)?;
        let questions = questions.iter().cycle();
        Ok(Self { socket, questions, sent: vec![0; SLOTS], next: 0, outstanding: 0, heard: 0 })
    }

    /// Nothing has come for long: what is outstanding is lost.
    fn give_up(&mut self, now: u64, tally: &mut Tally) {
        if self.outstanding > 0 && now.saturating_sub(self.heard) > PATIENCE.as_nanos() as u64 {
            tally.lost += self.outstanding as u64;
            self.outstanding = 0;
            self.sent.fill(0);
        }
    }
}

/// Buffers for one system call.
struct Wire {
    coming: Vec<[u8; 2048]>,
    headers: MultiHeaders<()>,
    going: Vec<Vec<u8>>,
}

impl Wire {
    fn new() -> Self {
        Self {
            coming: vec![[0; 2048]; BATCH],
            headers: MultiHeaders::preallocate(BATCH, None),
            going: vec![Vec::new(); BATCH],
        }
    }

    fn receive(&mut self, line: &mut Line<'_>, now: &impl Fn() -> u64, tally: &mut Tally) {
        if line.outstanding == 0 {
            return;
        }
        let mut lengths = [0; BATCH];
        let mut rooms = self.coming.iter_mut();
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap().as_mut_slice())]);
        let came = recvmmsg(line.socket.as_raw_fd(), &mut self.headers, &mut slices, MsgFlags::MSG_DONTWAIT, None);
        let Ok(came) = came else { return };
        let mut count = 0;
        for (message, length) in came.zip(&mut lengths) {
            *length = message.bytes;
            count += 1;
        }
        line.heard = now();
        for (packet, length) in self.coming.iter().zip(&lengths[..count]) {
            let packet = &packet[..*length];
            assert!(is_answer(packet), "{:?} said something that is no answer: {packet:?}", line.socket.peer_addr());
            let slot = &mut line.sent[usize::from(u16::from_be_bytes([packet[0], packet[1]])) % SLOTS];
            if *slot != 0 {
                tally.latency.add(line.heard.saturating_sub(*slot));
                *slot = 0;
                line.outstanding -= 1;
                tally.answers += 1;
            }
        }
    }

    fn send(&mut self, line: &mut Line<'_>, count: usize, now: u64, tally: &mut Tally) {
        if count == 0 {
            return;
        }
        if line.outstanding == 0 {
            line.heard = now;
        }
        let first = line.next;
        for going in &mut self.going[..count] {
            going.clear();
            going.extend_from_slice(line.questions.next().unwrap());
            going[..2].copy_from_slice(&(line.next as u16).to_be_bytes());
            // An answer that never came, and whose identifier is needed again.
            if std::mem::replace(&mut line.sent[line.next], now.max(1)) != 0 {
                tally.lost += 1;
                line.outstanding -= 1;
            }
            line.next = (line.next + 1) % SLOTS;
        }
        let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|at| [IoSlice::new(&self.going[at])]);
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
            std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut messages: Vec<MMsgHdr<'_>> =
            slices[..count].iter().zip(&mut controls).map(|(slice, control)| MMsgHdr::new(slice, control)).collect();
        let sent = sendmmsg(&line.socket, &mut messages, SendFlags::empty()).unwrap_or(0);
        line.outstanding += sent;
        for at in sent..count {
            line.sent[(first + at) % SLOTS] = 0;
            tally.lost += 1;
        }
    }
}

/// Latencies in nanoseconds, to within 1.6 %.
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

/// Steps in each power of two.
const STEPS: u64 = 64;

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; 64 * STEPS as usize], count: 0 }
    }
}

impl Histogram {
    fn add(&mut self, value: u64) {
        // The exponent of the step that the value lies in: 0 below 128.
        let shift = (value | STEPS).ilog2() - STEPS.ilog2();
        self.buckets[(u64::from(shift) * STEPS + (value >> shift)) as usize] += 1;
        self.count += 1;
    }

    /// The value, in microseconds, that this share is not above.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        let at = self.buckets.iter().position(|bucket| {
            seen += bucket;
            seen >= wanted && seen > 0
        });
        let at = at.unwrap_or(0) as u64;
        let shift = (at / STEPS).saturating_sub(1);
        ((at - shift * STEPS) << shift) as f64 / 1000.0
    }
}
