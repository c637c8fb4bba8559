//! When to probe what.
//!
//! Thousands of targets at one node must not fire together, and thousands of nodes must not fire at one server
//! together. So a new probe first waits a part of its interval that is a hash of (node seed, probe): spread within the
//! node, different at every node, the same again after a restart. From then on it keeps that phase; a random tenth of
//! the interval on top of it breaks up what would otherwise beat with other periodic things (a cron job, another
//! prober). The jitter is added to the phase, never to the last time, so that phases do not drift into each other.
//!
//! ```text
//! phase   |-----------|-----------|-----------|      every interval
//! probes  |..x        |.x         |x..        |      within a tenth of it
//! ```
//!
//! A probe that is slowed down ([`super::pace`]) takes every so many'th place of its own grid, beginning with one that is a
//! hash as well; set free again it takes the next.
//!
//! A machine that was stopped, or one that is short of slots, skips what it missed: it never catches up in a burst. And
//! whatever the phases and stalls, no more begin within [`WINDOW`] than [`BURST`] times what is due on average.
//!
//! **Invariants:** at most [`MAX_IN_FLIGHT`] probes are out, those of removed targets included, for their sockets are
//! still open; a probe is never out twice under one id; ids are never used again, so the id is also the generation by
//! which a late result of a removed or changed probe is told from a present one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};

use super::pace::Pace;
use super::target::{Probe, ProbeKind};

/// Probes out at one time. Each holds a socket: half of the usual soft limit of 1,024 descriptors is left to DNS over
/// TCP, the mesh and the disk. It is enough for 5,000 targets every 2 s at 200 ms each.
pub const MAX_IN_FLIGHT: usize = 512;

/// Jitter, as a part of the interval.
const JITTER_PART: u32 = 10;

/// The time within which beginnings are counted: shorter than anybody would call a burst.
pub const WINDOW: Duration = Duration::from_millis(10);
/// How many times the average may begin within [`WINDOW`]. Random phases alone make twice of it.
pub const BURST: f64 = 2.5;
/// What may always begin within [`WINDOW`].
const BURST_LEAST: u32 = 8;

/// Names one probe for as long as it is wanted; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(u64);

/// "Make this probe now."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOrder {
    /// To be given back with the result.
    pub id: ProbeId,
    /// What to do.
    pub probe: Arc<Probe>,
}

/// The timetable of all probes of a node.
#[derive(Debug)]
pub struct Scheduler<R> {
    seed: [u8; 32],
    rng: R,
    last_id: u64,
    ids: BTreeMap<Arc<Probe>, ProbeId>,
    entries: BTreeMap<ProbeId, Entry>,
    due: BTreeSet<(Duration, ProbeId)>,
    in_flight: BTreeSet<ProbeId>,
    /// What may begin within a window, when the present one began and what has begun in it.
    burst: u32,
    window: (Duration, u32),
}

#[derive(Debug)]
struct Entry {
    probe: Arc<Probe>,
    /// Where the probe's own grid begins.
    origin: Duration,
    /// Which place of the grid is its own while it is slowed down; a hash.
    slot: u32,
    pace: Pace,
    /// Its next place, without jitter.
    phase: Duration,
    /// When it is due; none while it is out.
    due: Option<Duration>,
    /// Whether it has ever been made. The first time does not wait for the pace.
    begun: bool,
}

impl Entry {
    /// The first place of its own after `now`.
    fn after(&self, now: Duration) -> Duration {
        let interval = self.probe.spec.interval;
        let period = self.pace.stretch(interval);
        let first = self.origin + interval * (self.slot % self.pace.factor.max(1));
        let Some(since) = now.checked_sub(first) else { return first };
        let passed = since.as_nanos() / period.as_nanos().max(1);
        first + period * u32::try_from(passed.saturating_add(1)).unwrap_or(u32::MAX)
    }

    /// How much later than its place it may be due.
    fn jitter(&self, rng: &mut impl Rng) -> Duration {
        let most = self.pace.stretch(self.probe.spec.interval) / JITTER_PART;
        most.mul_f64(rng.random_range(0.0..1.0))
    }
}

impl<R: Rng> Scheduler<R> {
    /// An empty timetable; `seed` is the node's (its public key will do).
    pub fn new(seed: [u8; 32], rng: R) -> Self {
        Self {
            seed,
            rng,
            last_id: 0,
            ids: BTreeMap::new(),
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            burst: BURST_LEAST,
            window: (Duration::ZERO, 0),
        }
    }

    /// Makes `wanted` the probes of this node. Those that were there before keep their id and their phase.
    pub fn set_probes(&mut self, now: Duration, wanted: BTreeSet<Probe>) {
        let gone: Vec<_> = self.ids.keys().filter(|probe| !wanted.contains(&***probe)).cloned().collect();
        for probe in gone {
            if let Some(id) = self.ids.remove(&probe) {
                self.entries.remove(&id);
            }
        }
        self.due.retain(|(_, id)| self.entries.contains_key(id));
        for probe in wanted {
            if self.ids.contains_key(&probe) {
                continue;
            }
            self.last_id += 1;
            let id = ProbeId(self.last_id);
            let probe = Arc::new(probe);
            let (fraction, slot) = stagger(&self.seed, &probe);
            let origin = now + probe.spec.interval.mul_f64(fraction);
            self.due.insert((origin, id));
            self.ids.insert(probe.clone(), id);
            let (phase, due) = (origin, Some(origin));
            self.entries.insert(id, Entry { probe, origin, slot, pace: Pace::FULL, phase, due, begun: false });
        }
        let rate: f64 = self.entries.values().map(|entry| entry.probe.spec.interval.as_secs_f64().recip()).sum();
        self.burst = ((rate * WINDOW.as_secs_f64() * BURST).ceil() as u32).max(BURST_LEAST);
    }

    /// The present probes and their ids.
    pub fn probes(&self) -> impl Iterator<Item = (&Arc<Probe>, ProbeId)> {
        self.ids.iter().map(|(probe, id)| (probe, *id))
    }

    /// The id of a present probe.
    pub fn id_of(&self, probe: &Probe) -> Option<ProbeId> {
        self.ids.get(probe).copied()
    }

    /// Makes a probe slower or faster from now on.
    pub fn set_pace(&mut self, now: Duration, id: ProbeId, pace: Pace) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let same = entry.pace.factor == pace.factor;
        entry.pace = pace;
        if same || !entry.begun {
            return;
        }
        entry.phase = entry.after(now);
        if let Some(due) = entry.due {
            self.due.remove(&(due, id));
            let due = entry.phase + entry.jitter(&mut self.rng);
            entry.due = Some(due);
            self.due.insert((due, id));
        }
    }

    /// The pace of a probe, and when it is due; no time while it is out.
    pub fn timing(&self, id: ProbeId) -> Option<(Pace, Option<Duration>)> {
        self.entries.get(&id).map(|entry| (entry.pace, entry.due))
    }

    /// The next probe that is due, if there is a free slot.
    pub fn poll(&mut self, now: Duration) -> Option<ProbeOrder> {
        if self.in_flight.len() >= MAX_IN_FLIGHT || self.is_full(now) {
            return None;
        }
        let (_, id) = *self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.pop_first();
        if now >= self.window.0 + WINDOW {
            self.window = (now, 0);
        }
        self.window.1 += 1;
        let entry = self.entries.get_mut(&id)?;
        (entry.begun, entry.due) = (true, None);
        entry.phase = entry.after(now);
        self.in_flight.insert(id);
        Some(ProbeOrder { id, probe: entry.probe.clone() })
    }

    /// Whether as many have begun in the present window as may.
    fn is_full(&self, now: Duration) -> bool {
        now < self.window.0 + WINDOW && self.window.1 >= self.burst
    }

    /// When [`Scheduler::poll`] next has something to give, as far as is known now. `None`: not before a result or new
    /// targets come.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        let free = if self.window.1 >= self.burst { self.window.0 + WINDOW } else { Duration::ZERO };
        self.due.first().map(|(due, _)| (*due).max(free))
    }

    /// Takes a probe back. False: its result is of no use, for the probe is no longer wanted (or was never out). After a
    /// failure the next one is due without jitter, so that a death is known within `fall` intervals and the timeout.
    pub fn finish(&mut self, id: ProbeId, failed: bool) -> bool {
        if !self.in_flight.remove(&id) {
            return false;
        }
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let jitter = if failed { Duration::ZERO } else { entry.jitter(&mut self.rng) };
        let due = entry.phase + jitter;
        entry.due = Some(due);
        self.due.insert((due, id));
        true
    }
}

/// How much of its first interval a probe waits, from 0 to 1, and the place that is its own while it is slowed down. The
/// encoding under the hash needs no care beyond being unambiguous enough: a collision only means that two probes start
/// together.
fn stagger(seed: &[u8; 32], probe: &Probe) -> (f64, u32) {
    let mut hasher = blake3::Hasher::new_keyed(seed);
    hasher.update(probe.address.to_string().as_bytes());
    hasher.update(&probe.spec.port.to_be_bytes());
    match &probe.spec.kind {
        ProbeKind::Tcp => &mut hasher,
        ProbeKind::Http(http) => hasher.update(http.web.host.as_bytes()).update(http.path.as_bytes()),
        other => hasher.update(format!("{other:?}").as_bytes()),
    };
    let hash = hasher.finalize();
    let (mut word, mut slot) = ([0; 8], [0; 4]);
    word.copy_from_slice(&hash.as_bytes()[..8]);
    slot.copy_from_slice(&hash.as_bytes()[8..12]);
    // The top 53 bits are what an f64 holds: a fraction of [0, 1).
    ((u64::from_be_bytes(word) >> 11) as f64 / (1u64 << 53) as f64, u32::from_be_bytes(slot))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::measure::pace::Why;
    use crate::measure::target::ProbeSpec;

    const INTERVAL: Duration = Duration::from_secs(2);

    fn probe(n: u32) -> Probe {
        let spec = ProbeSpec {
            kind: ProbeKind::Tcp,
            port: 443,
            interval: INTERVAL,
            timeout: Duration::from_secs(1),
            retries: 0,
            rise: 2,
            fall: 3,
        };
        Probe { address: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)), spec }
    }

    fn scheduler(node: u8, probes: u32) -> Scheduler<ChaCha8Rng> {
        let mut scheduler = Scheduler::new([node; 32], ChaCha8Rng::seed_from_u64(node.into()));
        scheduler.set_probes(Duration::ZERO, (0..probes).map(probe).collect());
        scheduler
    }

    /// Runs in virtual time, every probe taking `takes`; gives back (time, probe) of each order.
    fn run(
        scheduler: &mut Scheduler<ChaCha8Rng>,
        from: Duration,
        until: Duration,
        takes: Duration,
    ) -> Vec<(Duration, IpAddr)> {
        let mut out = Vec::new();
        let mut running: BTreeSet<(Duration, ProbeId)> = BTreeSet::new();
        let mut now = from;
        while now <= until {
            while let Some((_, id)) = running.first().copied().filter(|(done, _)| *done <= now) {
                running.pop_first();
                scheduler.finish(id, false);
            }
            while let Some(order) = scheduler.poll(now) {
                out.push((now, order.probe.address));
                running.insert((now + takes, order.id));
            }
            let next = [scheduler.poll_timeout(), running.first().map(|(done, _)| *done)];
            let Some(next) = next.into_iter().flatten().min() else { break };
            now = next.max(now);
        }
        out
    }

    #[test]
    fn everyone_has_been_probed_once_within_the_first_interval_and_nothing_bursts() {
        let orders = run(&mut scheduler(1, 5_000), Duration::ZERO, INTERVAL, Duration::from_millis(50));
        let first: BTreeSet<_> = orders.iter().map(|(_, address)| *address).collect();
        assert_eq!(first.len(), 5_000);
        let mut per_slice = [0u32; 20];
        for (at, _) in orders.iter().filter(|(at, _)| *at < INTERVAL) {
            per_slice[(at.as_millis() / 100) as usize] += 1;
        }
        // 250 expected in each tenth of a second; six standard deviations are 95.
        assert!(per_slice.iter().all(|n| (155..345).contains(n)), "{per_slice:?}");
    }

    #[test]
    fn nodes_do_not_align_and_a_restart_finds_the_same_phase() {
        let phases = |node| run(&mut scheduler(node, 100), Duration::ZERO, INTERVAL, Duration::ZERO)[..100].to_vec();
        assert_eq!(phases(1), phases(1));
        let (one, two): (BTreeMap<_, _>, BTreeMap<_, _>) = (
            phases(1).into_iter().map(|(at, who)| (who, at)).collect(),
            phases(2).into_iter().map(|(at, who)| (who, at)).collect(),
        );
        let close = one.iter().filter(|(who, at)| two[*who].abs_diff(**at) < Duration::from_millis(10)).count();
        assert!(close < 8, "{close} of 100 within 10 ms of each other, 1 expected");
    }

    #[test]
    fn the_pace_is_kept_over_an_hour_with_a_tenth_of_jitter() {
        let hour = Duration::from_secs(3600);
        let orders = run(&mut scheduler(3, 1), Duration::ZERO, hour, Duration::from_millis(300));
        assert!((1799..=1801).contains(&orders.len()), "{}", orders.len());
        let phase = orders[0].0;
        let mut jittered = 0;
        for (i, (at, _)) in orders.iter().enumerate() {
            let late = *at - (phase + INTERVAL * i as u32);
            assert!(late <= INTERVAL / 10, "{late:?}");
            jittered += usize::from(late > INTERVAL / 100);
        }
        assert!(jittered > 1000, "{jittered}");
    }

    #[test]
    fn a_stopped_machine_does_not_catch_up() {
        let mut scheduler = scheduler(4, 100);
        run(&mut scheduler, Duration::ZERO, INTERVAL, Duration::ZERO);
        let minute = Duration::from_secs(60);
        let orders = run(&mut scheduler, minute, minute + INTERVAL, Duration::ZERO);
        // Each is due once at the minute, and once more within the interval.
        assert!(orders.len() <= 200, "{}", orders.len());
    }

    #[test]
    fn probes_in_flight_are_bounded_also_over_a_change_of_targets() {
        let mut scheduler = scheduler(5, 3_000);
        let (mut late, mut out) = (Duration::from_secs(9), Vec::new());
        while let Some(next) = scheduler.poll_timeout() {
            late = late.max(next);
            out.extend(scheduler.poll(late));
        }
        assert_eq!(out.len(), MAX_IN_FLIGHT);
        scheduler.set_probes(late, (10_000..13_000).map(probe).collect());
        assert_eq!(scheduler.poll(late + INTERVAL), None);
        assert!(!scheduler.finish(out[0].id, false), "the result of a removed probe is of no use");
        assert!(scheduler.poll(late + INTERVAL).is_some(), "but it frees its slot");
        assert_eq!(scheduler.poll(late + INTERVAL), None);
    }

    #[test]
    fn whatever_is_due_at_once_begins_over_many_windows() {
        let mut scheduler = scheduler(8, 5_000);
        // Stopped for a minute: all are due now.
        let minute = Duration::from_secs(60);
        let orders = run(&mut scheduler, minute, minute + INTERVAL, Duration::ZERO);
        let times: Vec<Duration> = orders.iter().map(|(at, _)| *at).collect();
        let most = times.iter().map(|at| times.iter().filter(|t| (*at..*at + WINDOW).contains(*t)).count()).max();
        // 25 on average; a window that is none of ours may see the ends of two.
        assert!(most <= Some(2 * 63), "{most:?}");
        assert!(times.len() >= 5_000, "{}", times.len());
    }

    #[test]
    fn a_slowed_probe_keeps_to_its_grid_and_a_freed_one_comes_within_an_interval() {
        let mut scheduler = scheduler(9, 200);
        let slow = Pace { factor: 10, why: Why::Thin };
        let ids: Vec<ProbeId> = scheduler.probes().map(|(_, id)| id).collect();
        ids.iter().for_each(|id| scheduler.set_pace(Duration::ZERO, *id, slow));
        let first = run(&mut scheduler, Duration::ZERO, INTERVAL, Duration::ZERO);
        assert!(first.len() >= 200, "the first time does not wait for the pace: {}", first.len());
        let from = INTERVAL + Duration::from_nanos(1);
        let slowed = run(&mut scheduler, from, from + INTERVAL * 40, Duration::ZERO);
        assert!((760..=840).contains(&slowed.len()), "{}", slowed.len());
        // Spread over the long interval, not all in one of its tenths.
        let mut rounds = [0; 40];
        slowed.iter().for_each(|(at, _)| rounds[((*at - from).as_nanos() / INTERVAL.as_nanos()).min(39) as usize] += 1);
        assert!(rounds.iter().all(|count| (5..45).contains(count)), "{rounds:?}");
        let now = from + INTERVAL * 40;
        ids.iter().for_each(|id| scheduler.set_pace(now, *id, Pace::FULL));
        let freed: BTreeSet<_> = run(&mut scheduler, now, now + INTERVAL * 11 / 10, Duration::ZERO)
            .into_iter()
            .map(|(_, who)| who)
            .collect();
        assert_eq!(freed.len(), 200);
    }

    #[test]
    fn unchanged_probes_keep_id_and_phase_and_a_changed_one_gets_a_new_generation() {
        let mut scheduler = scheduler(6, 2);
        let (kept, changed) = (scheduler.id_of(&probe(0)).unwrap(), scheduler.id_of(&probe(1)).unwrap());
        let due = |s: &Scheduler<ChaCha8Rng>, wanted| s.due.iter().find(|(_, id)| *id == wanted).unwrap().0;
        let before = due(&scheduler, kept);
        let mut other = probe(1);
        other.spec.port = 80;
        scheduler.set_probes(INTERVAL / 2, BTreeSet::from([probe(0), other.clone()]));
        assert_eq!((scheduler.id_of(&probe(0)), due(&scheduler, kept)), (Some(kept), before));
        assert!(scheduler.id_of(&other).unwrap() > changed);
        assert_eq!(scheduler.due.len(), 2);
        assert!(!scheduler.finish(changed, false));
        // Back again, it is a third generation.
        scheduler.set_probes(INTERVAL, BTreeSet::from([probe(1)]));
        assert!(scheduler.id_of(&probe(1)).unwrap() > changed);
    }

    proptest! {
        #[test]
        fn never_twice_in_flight_and_never_too_soon(
            steps in prop::collection::vec((0u64..700, 0u32..6, any::<bool>()), 1..200),
        ) {
            let mut scheduler = scheduler(7, 6);
            let mut now = Duration::ZERO;
            let mut out: BTreeSet<ProbeId> = BTreeSet::new();
            let mut last: BTreeMap<ProbeId, Duration> = BTreeMap::new();
            for (wait, n, retarget) in steps {
                now += Duration::from_millis(wait);
                if retarget && wait % 7 == 0 {
                    scheduler.set_probes(now, (n..6).map(probe).collect());
                }
                if let Some(id) = out.iter().nth(n as usize).copied() {
                    out.remove(&id);
                    let wanted = scheduler.entries.contains_key(&id);
                    prop_assert_eq!(scheduler.finish(id, false), wanted);
                }
                while let Some(order) = scheduler.poll(now) {
                    prop_assert!(out.insert(order.id), "out twice");
                    if let Some(before) = last.insert(order.id, now) {
                        prop_assert!(now - before > Duration::ZERO);
                    }
                }
                prop_assert_eq!(&scheduler.in_flight, &out);
                // Every wanted probe is either out or has a time.
                for id in scheduler.entries.keys() {
                    let timed = scheduler.due.iter().filter(|(_, due)| due == id).count();
                    prop_assert_eq!(timed + usize::from(out.contains(id)), 1);
                }
                prop_assert_eq!(scheduler.due.len() + out.len() >= scheduler.entries.len(), true);
            }
        }
    }
}
