//! What happens to a packet: pure, with `now` as an argument and a random generator given at the start.
//!
//! **Invariant:** packets of one directed pair never overtake each other, whatever the jitter and however the delay is
//! changed (a queue in a router does not reorder either; TCP would read it as loss). So a packet is due at the later of
//! its own time and that of the one before it on its link. Only a link that is told to reorder holds some packets up, and
//! nothing waits for those.
//!
//! **Invariant:** the queue is bounded in packets and bytes; what does not fit is dropped at the tail and counted.

use rand::{Rng, RngExt};
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Packets under way at once. A 300 ms path at 100,000 packets a second, more than one thread can move, fills half.
pub const QUEUE_MAX_PACKETS: usize = 65_536;
/// Bytes under way at once: a laptop's memory must survive a flood of full packets.
pub const QUEUE_MAX_BYTES: usize = 64 << 20;

/// The longest that a packet is held up on a link that reorders: paths that share packets out among cables of different
/// lengths or queues differ by no more.
pub const HELD_UP_MOST: Duration = Duration::from_millis(20);

/// A host's place in the order in which hosts were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub usize);

/// One direction of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// One-way delay.
    pub delay: Duration,
    /// Added to the delay: evenly spread between nothing and this.
    pub jitter: Duration,
    /// Packets lost out of a million.
    pub loss_ppm: u32,
    /// Packets held up out of a million, by up to [`HELD_UP_MOST`]: those behind them overtake them.
    pub reorder_ppm: u32,
    /// Nothing passes.
    pub cut: bool,
}

impl Link {
    /// A link that only delays.
    pub const fn delayed(delay: Duration) -> Self {
        Self { delay, jitter: Duration::ZERO, loss_ppm: 0, reorder_ppm: 0, cut: false }
    }
}

/// Packets counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Handed over to their destination.
    pub forwarded: u64,
    /// Dropped by the loss of their link.
    pub lost: u64,
    /// Held up, so that others could overtake them.
    pub held_up: u64,
    /// Dropped because their link is cut.
    pub cut: u64,
    /// No host has the destination address (the kernel sends some multicast of its own), or it is no IP packet.
    pub unroutable: u64,
    /// Dropped because the queue was full.
    pub overflow: u64,
    /// Refused by the destination's device (it was full or down).
    pub refused: u64,
    /// Under way now.
    pub queued: usize,
}

/// What became of a packet that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Under way; due at this time.
    Due(Duration),
    /// Lost by chance.
    Lost,
    /// Its link is cut.
    Cut,
    /// Nobody to give it to.
    Unroutable,
    /// The queue is full.
    Overflow,
}

struct Flight {
    due: Duration,
    order: u64,
    to: HostId,
    packet: Box<[u8]>,
}

// The heap's greatest is the earliest; equal times leave in the order in which they came.
impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}
impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Flight {}

#[derive(Clone, Copy, Default)]
struct Directed {
    link: Link,
    /// When the newest packet of this link is due.
    newest: Duration,
}

/// Routes, links and the packets under way.
pub struct Core<R> {
    hosts: usize,
    routes: BTreeMap<IpAddr, HostId>,
    directed: Vec<Directed>,
    queue: BinaryHeap<Flight>,
    queued_bytes: usize,
    order: u64,
    random: R,
    stats: Stats,
}

impl<R: Rng> Core<R> {
    /// A network of these hosts (addresses by place), all links without delay or loss.
    pub fn new(addresses: &[Vec<IpAddr>], random: R) -> Self {
        let hosts = addresses.len();
        let routes = addresses.iter().enumerate();
        Self {
            hosts,
            routes: routes
                .flat_map(|(place, addresses)| addresses.iter().map(move |address| (*address, HostId(place))))
                .collect(),
            directed: vec![Directed::default(); hosts * hosts],
            queue: BinaryHeap::new(),
            queued_bytes: 0,
            order: 0,
            random,
            stats: Stats::default(),
        }
    }

    fn directed(&mut self, from: HostId, to: HostId) -> Option<&mut Directed> {
        if from.0 >= self.hosts || to.0 >= self.hosts {
            return None;
        }
        self.directed.get_mut(from.0 * self.hosts + to.0)
    }

    /// Sets one direction. Packets under way keep their time. False: no such host.
    pub fn set(&mut self, from: HostId, to: HostId, link: Link) -> bool {
        self.directed(from, to).map(|directed| directed.link = link).is_some()
    }

    /// One direction as it is.
    pub fn link(&mut self, from: HostId, to: HostId) -> Option<Link> {
        self.directed(from, to).map(|directed| directed.link)
    }

    /// Takes a packet that `from` sent at `now`.
    pub fn offer(&mut self, now: Duration, from: HostId, packet: &[u8]) -> Fate {
        let fate = self.judge(now, from, packet);
        match fate {
            Fate::Due(_) => {}
            Fate::Lost => self.stats.lost += 1,
            Fate::Cut => self.stats.cut += 1,
            Fate::Unroutable => self.stats.unroutable += 1,
            Fate::Overflow => self.stats.overflow += 1,
        }
        fate
    }

    fn judge(&mut self, now: Duration, from: HostId, packet: &[u8]) -> Fate {
        let Some(to) = destination(packet).and_then(|address| self.routes.get(&address).copied()) else {
            return Fate::Unroutable;
        };
        let Some(link) = self.link(from, to) else {
            return Fate::Unroutable;
        };
        if link.cut {
            return Fate::Cut;
        }
        if self.happens(link.loss_ppm) {
            return Fate::Lost;
        }
        if self.queue.len() >= QUEUE_MAX_PACKETS || self.queued_bytes + packet.len() > QUEUE_MAX_BYTES {
            return Fate::Overflow;
        }
        let mut due = now.saturating_add(link.delay);
        if !link.jitter.is_zero() {
            due = due.saturating_add(link.jitter.mul_f64(self.random.random_range(0.0..1.0)));
        }
        if let Some(directed) = self.directed(from, to) {
            due = due.max(directed.newest);
            directed.newest = due;
        }
        if self.happens(link.reorder_ppm) {
            due = due.saturating_add(HELD_UP_MOST.mul_f64(self.random.random_range(0.0..1.0)));
            self.stats.held_up += 1;
        }
        self.order += 1;
        self.queued_bytes += packet.len();
        self.queue.push(Flight { due, order: self.order, to, packet: packet.into() });
        Fate::Due(due)
    }

    /// Whether something comes to pass that does so many times in a million.
    fn happens(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.random.random_range(0..1_000_000) < ppm
    }

    /// When the next packet is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.queue.peek().map(|flight| flight.due)
    }

    /// The next packet that is due by `now`, and for whom.
    pub fn take_due(&mut self, now: Duration) -> Option<(HostId, Box<[u8]>)> {
        if self.next_due()? > now {
            return None;
        }
        let flight = self.queue.pop()?;
        self.queued_bytes = self.queued_bytes.saturating_sub(flight.packet.len());
        Some((flight.to, flight.packet))
    }

    /// Says what became of a packet that was taken.
    pub fn delivered(&mut self, taken: bool) {
        if taken {
            self.stats.forwarded += 1;
        } else {
            self.stats.refused += 1;
        }
    }

    /// The counts so far.
    pub fn stats(&self) -> Stats {
        Stats { queued: self.queue.len(), ..self.stats }
    }
}

/// The destination of a packet: of IPv4 (RFC 791 section 3.1, 20 bytes at least) or IPv6 (RFC 8200 section 3, 40 bytes);
/// both have the version in the first half byte.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => {
            let header: &[u8; 20] = packet.first_chunk()?;
            Some(Ipv4Addr::new(header[16], header[17], header[18], header[19]).into())
        }
        6 => {
            let header: &[u8; 40] = packet.first_chunk()?;
            let octets: &[u8; 16] = header.last_chunk()?;
            Some(Ipv6Addr::from(*octets).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Core, Fate, HELD_UP_MOST, HostId, Link, QUEUE_MAX_BYTES, QUEUE_MAX_PACKETS, Stats};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    const A: HostId = HostId(0);
    const B: HostId = HostId(1);
    const C: HostId = HostId(2);
    const ADDRESSES: [Ipv4Addr; 3] =
        [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)];

    fn core() -> Core<ChaCha8Rng> {
        let addresses: Vec<Vec<IpAddr>> = ADDRESSES.iter().map(|address| vec![(*address).into()]).collect();
        Core::new(&addresses, ChaCha8Rng::seed_from_u64(7))
    }

    fn packet(to: HostId, length: usize, mark: u8) -> Vec<u8> {
        let mut packet = vec![mark; length.max(20)];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&ADDRESSES[to.0].octets());
        packet
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn drain(core: &mut Core<ChaCha8Rng>, now: Duration) -> Vec<(HostId, u8)> {
        std::iter::from_fn(|| core.take_due(now)).map(|(to, packet)| (to, packet[1])).collect()
    }

    #[test]
    fn packets_leave_in_the_order_in_which_they_are_due() {
        let mut core = core();
        core.set(A, B, Link::delayed(ms(50)));
        core.set(A, C, Link::delayed(ms(10)));
        assert_eq!(core.offer(ms(0), A, &packet(B, 60, 1)), Fate::Due(ms(50)));
        assert_eq!(core.offer(ms(0), A, &packet(C, 60, 2)), Fate::Due(ms(10)));
        assert_eq!(core.offer(ms(1), A, &packet(B, 60, 3)), Fate::Due(ms(51)));
        assert_eq!(core.next_due(), Some(ms(10)));
        assert_eq!(drain(&mut core, ms(9)), []);
        assert_eq!(drain(&mut core, ms(50)), [(C, 2), (B, 1)]);
        assert_eq!(drain(&mut core, ms(51)), [(B, 3)]);
        assert_eq!(core.next_due(), None);
    }

    #[test]
    fn directions_are_set_apart() {
        let mut core = core();
        core.set(A, B, Link::delayed(ms(5)));
        core.set(B, A, Link { cut: true, ..Link::default() });
        assert_eq!(core.offer(ms(0), A, &packet(B, 60, 1)), Fate::Due(ms(5)));
        assert_eq!(core.offer(ms(0), B, &packet(A, 60, 1)), Fate::Cut);
        core.set(B, A, Link::default());
        assert_eq!(core.offer(ms(1), B, &packet(A, 60, 1)), Fate::Due(ms(1)));
        assert_eq!(core.stats(), Stats { cut: 1, queued: 2, ..Stats::default() });
    }

    #[test]
    fn neither_jitter_nor_a_shorter_delay_lets_a_packet_overtake() {
        let mut core = core();
        core.set(A, B, Link { delay: ms(20), jitter: ms(20), ..Link::default() });
        for mark in 0..100 {
            core.offer(ms(u64::from(mark)), A, &packet(B, 60, mark));
        }
        core.set(A, B, Link::default());
        core.offer(ms(100), A, &packet(B, 60, 100));
        let marks: Vec<u8> = drain(&mut core, ms(1000)).into_iter().map(|(_, mark)| mark).collect();
        assert_eq!(marks, (0..=100).collect::<Vec<u8>>());
    }

    #[test]
    fn on_a_link_that_reorders_some_are_overtaken_and_nobody_waits_for_them() {
        let run = |reorder_ppm| {
            let mut core = core();
            core.set(A, B, Link { delay: ms(20), reorder_ppm, ..Link::default() });
            let late: Vec<Duration> = (0..200)
                .map(|mark| match core.offer(ms(u64::from(mark)), A, &packet(B, 60, mark)) {
                    Fate::Due(due) => due - ms(u64::from(mark)),
                    fate => panic!("{fate:?}"),
                })
                .collect();
            let marks: Vec<u8> = drain(&mut core, ms(1000)).into_iter().map(|(_, mark)| mark).collect();
            (late, marks, core.stats().held_up)
        };
        let (late, marks, held_up) = run(200_000);
        let overtaken = marks.iter().enumerate().filter(|(at, mark)| marks[*at..].iter().any(|later| later < *mark));
        assert!(overtaken.count() > 40, "{marks:?}");
        assert!((25..60).contains(&held_up), "{held_up} of 200");
        assert_eq!(late.iter().filter(|late| **late > ms(20)).count() as u64, held_up, "the others come at their time");
        assert!(late.iter().all(|late| *late < ms(20) + HELD_UP_MOST));
        assert_eq!(run(200_000).1, marks, "the seed repeats it");
        assert_eq!(run(0).1, (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn jitter_stays_within_its_bound() {
        let mut core = core();
        core.set(A, B, Link { delay: ms(20), jitter: ms(4), ..Link::default() });
        let mut late = Vec::new();
        for step in 0..200 {
            let now = ms(step * 100);
            let Fate::Due(due) = core.offer(now, A, &packet(B, 60, 0)) else { panic!("lost") };
            late.push(due - now);
        }
        assert!(late.iter().all(|late| (ms(20)..ms(24)).contains(late)), "{late:?}");
        assert!(late.iter().max().unwrap().saturating_sub(*late.iter().min().unwrap()) > ms(2));
    }

    #[test]
    fn loss_is_about_what_was_asked_for_and_the_seed_repeats_it() {
        let run = || {
            let mut core = core();
            core.set(A, B, Link { loss_ppm: 300_000, ..Link::default() });
            (0..10_000).map(|_| core.offer(ms(0), A, &packet(B, 20, 0)) == Fate::Lost).collect::<Vec<_>>()
        };
        let lost = run();
        let count = lost.iter().filter(|lost| **lost).count();
        assert!((2_800..3_200).contains(&count), "{count} of 10000");
        assert_eq!(lost, run());
    }

    #[test]
    fn what_is_no_packet_for_a_known_host_is_dropped_and_counted() {
        let mut core = core();
        let mut ipv6 = packet(B, 60, 0);
        ipv6[0] = 0x60;
        let mut stranger = packet(B, 60, 0);
        stranger[16] = 192;
        for odd in [&[][..], &packet(B, 60, 0)[..19], &ipv6, &stranger] {
            assert_eq!(core.offer(ms(0), A, odd), Fate::Unroutable);
        }
        assert_eq!(core.offer(ms(0), HostId(3), &packet(B, 60, 0)), Fate::Unroutable);
        assert_eq!(core.stats().unroutable, 5);
        assert!(!core.set(A, HostId(3), Link::default()));
    }

    #[test]
    fn a_host_is_reached_by_each_of_its_addresses_of_both_families() {
        let (v4, other, v6) = (ADDRESSES[1], ADDRESSES[2], Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
        let addresses = [vec![ADDRESSES[0].into()], vec![IpAddr::from(v4), other.into(), v6.into()]];
        let mut core = Core::new(&addresses, ChaCha8Rng::seed_from_u64(7));
        core.set(A, B, Link::delayed(ms(5)));
        let mut sixth = vec![0_u8; 40];
        sixth[0] = 0x60;
        sixth[24..].copy_from_slice(&v6.octets());
        for packet in [&packet(B, 60, 0), &packet(C, 60, 0), &sixth] {
            assert_eq!(core.offer(ms(0), A, packet), Fate::Due(ms(5)));
        }
        assert_eq!(core.offer(ms(0), A, &sixth[..39]), Fate::Unroutable);
    }

    #[test]
    fn the_queue_is_bounded_in_packets_and_bytes() {
        let mut core = core();
        core.set(A, B, Link::delayed(ms(1)));
        for _ in 0..QUEUE_MAX_PACKETS {
            core.offer(ms(0), A, &packet(B, 20, 0));
        }
        assert_eq!(core.offer(ms(0), A, &packet(B, 20, 0)), Fate::Overflow);
        assert_eq!(drain(&mut core, ms(1)).len(), QUEUE_MAX_PACKETS);
        let big = packet(B, 65_000, 0);
        for _ in 0..QUEUE_MAX_BYTES / big.len() {
            assert!(matches!(core.offer(ms(2), A, &big), Fate::Due(_)));
        }
        assert_eq!(core.offer(ms(2), A, &big), Fate::Overflow);
        assert!(core.take_due(ms(3)).is_some());
        assert!(matches!(core.offer(ms(2), A, &big), Fate::Due(_)), "a packet that left makes room");
    }
}
