#![allow(clippy::unwrap_used)]

use super::*;

const TICK: Duration = Duration::from_millis(100);

fn id(n: u8) -> NodeId {
    ed25519_dalek::SigningKey::from_bytes(&[n; 32]).verifying_key().into()
}

fn ms(n: u64) -> Moment {
    Moment(n * 1000)
}

/// A watch over members 1..=n, driven as the engine drives it: each 100 ms, and whenever the watch asks to be woken.
struct Driver {
    watch: Watch,
    watched: BTreeMap<NodeId, (u64, Duration)>,
    now: u64,
    /// When each probe to member 1 was sent.
    probes: Vec<u64>,
}

impl Driver {
    fn new(n: u8, rtt_ms: u64) -> Self {
        let watched = (1..=n).map(|i| (id(i), (7, Duration::from_millis(rtt_ms)))).collect();
        let mut driver = Self { watch: Watch::default(), watched, now: 1000, probes: vec![] };
        driver.turn();
        driver
    }

    fn turn(&mut self) {
        self.watch.handle_tick(ms(self.now), TICK, &self.watched);
        let probes = self.watch.probes(ms(self.now));
        self.probes.extend(probes.iter().filter(|to| **to == id(1)).map(|_| self.now));
    }

    /// Runs until member 1 stands accused or `until` is past; says when that was.
    fn run(&mut self, until: u64) -> Option<u64> {
        let mut tick = self.now + 100;
        while self.now < until {
            let wake = self.watch.poll_timeout().map_or(u64::MAX, |at| at.0.div_ceil(1000)).max(self.now + 1);
            self.now = wake.min(tick).min(until);
            if self.now == tick {
                tick += 100;
            }
            self.turn();
            if self.accuses(1) {
                return Some(self.now);
            }
        }
        None
    }

    fn hear(&mut self, from: u8) {
        self.watch.handle_heard(ms(self.now), id(from));
    }

    fn stall(&mut self, for_ms: u64) {
        self.now += for_ms;
        self.turn();
    }

    fn accuses(&self, n: u8) -> bool {
        self.watch.rows().contains(&WatchRow { accused: id(n), incarnation: 7 })
    }
}

#[test]
fn silence_is_probed_eight_times_and_accused_a_round_trip_later() {
    // For a short path the second that a live process may be stopped is longer, for a long one the round trip.
    for (rtt, suspicion, accusation) in [(0, 450, 1370), (150, 465, 1385), (400, 490, 1410)] {
        let mut driver = Driver::new(1, rtt);
        driver.hear(1);
        assert_eq!(driver.run(9000), Some(1000 + accusation));
        let expected: Vec<u64> = (0..8).map(|n| 1000 + suspicion + n * 50).collect();
        assert_eq!(driver.probes, expected);
        assert_eq!(driver.watch.poll_timeout(), None, "nothing is left to do about the accused");
    }
}

#[test]
fn an_answer_to_the_last_probe_ends_the_burst() {
    let mut driver = Driver::new(1, 0);
    driver.hear(1);
    assert_eq!(driver.run(2369), None);
    assert_eq!(driver.probes.len(), 8);
    driver.hear(1);
    assert_eq!(driver.watch.poll_timeout(), Some(ms(2369 + 450)));
    assert_eq!(
        driver.run(9000),
        Some(2369 + 1370 + 500),
        "the next silence needs a burst of its own, and more patience"
    );
    assert_eq!(driver.probes.len(), 16);
}

/// Lost packets make beats late, each by a retransmission: that much more silence is nothing.
#[test]
fn late_beats_earn_patience_and_punctual_ones_lose_it() {
    let beats = |driver: &mut Driver, gaps: &[u64]| {
        for gap in gaps.iter().cycle().take(60) {
            let next = driver.now + gap;
            assert_eq!(driver.run(next), None);
            driver.hear(1);
        }
    };
    let mut driver = Driver::new(1, 0);
    driver.hear(1);
    beats(&mut driver, &[400, 400, 600, 250, 350]);
    let start = driver.now;
    let patience = driver.run(start + 9000).unwrap() - start;
    assert!((1370 + 200..=1370 + 500).contains(&patience), "{patience}");
    // Eight answers to a burst, one upon the other, take none of it away.
    driver.hear(1);
    beats(&mut driver, &[400, 600, 50, 50, 50, 50, 50, 50, 50, 50]);
    let start = driver.now;
    let patience = driver.run(start + 9000).unwrap() - start;
    assert!((1370 + 300..=1370 + 500).contains(&patience), "{patience}");
    driver.hear(1);
    beats(&mut driver, &[400]);
    let start = driver.now;
    let patience = driver.run(start + 9000).unwrap() - start;
    assert!((1370..=1372).contains(&patience), "{patience}");
}

#[test]
fn without_all_eight_probes_there_is_no_accusation() {
    let mut watch = Watch::default();
    let watched = BTreeMap::from([(id(1), (7, Duration::ZERO))]);
    watch.handle_tick(ms(1000), TICK, &watched);
    watch.handle_heard(ms(1000), id(1));
    for t in (1100..9000).step_by(100) {
        watch.handle_tick(ms(t), TICK, &watched);
        assert!(watch.rows().is_empty(), "nobody asked it");
    }
    // Asked every 100 ms only, the burst takes as long as it takes: no two probes leave together.
    for t in (9000..9800).step_by(100) {
        watch.handle_tick(ms(t), TICK, &watched);
        assert!(watch.rows().is_empty());
        assert_eq!(watch.probes(ms(t)), [id(1)]);
        assert_eq!(watch.probes(ms(t)), []);
    }
    watch.handle_tick(ms(9800), TICK, &watched);
    assert_eq!(watch.rows(), [WatchRow { accused: id(1), incarnation: 7 }]);
}

#[test]
fn a_member_never_heard_gets_longer() {
    assert_eq!(Driver::new(1, 0).run(20_000), Some(1000 + 4000 + 1370));
    let mut met = Driver::new(1, 0);
    assert_eq!(met.run(3000), None);
    met.hear(1);
    assert_eq!(met.run(20_000), Some(3000 + 1370), "its first word ends the credit");
}

#[test]
fn a_watcher_that_slept_accuses_nobody_before_a_fresh_full_burst() {
    let mut driver = Driver::new(1, 0);
    driver.hear(1);
    driver.stall(5100);
    assert_eq!((driver.accuses(1), driver.probes.len()), (false, 0));
    // All the silence but one period was mine; the rest of it and a burst follow.
    assert_eq!(driver.run(20_000), Some(6100 + 1270));
    assert_eq!(driver.probes.len(), 8);
}

#[test]
fn a_stall_amid_a_burst_begins_it_anew() {
    let mut driver = Driver::new(1, 0);
    driver.hear(1);
    assert_eq!(driver.run(1810), None);
    assert_eq!(driver.probes.len(), 8);
    driver.stall(301);
    assert!(!driver.accuses(1), "the answers may lie unread in my own queue");
    assert_eq!(driver.probes.len(), 9);
    // 201 ms of the silence were mine.
    assert_eq!(driver.run(9000), Some(1000 + 201 + 1370));
    assert_eq!(driver.probes.len(), 16);
}

#[test]
fn a_stall_before_the_first_contact_is_no_time_to_dial() {
    let mut driver = Driver::new(1, 0);
    driver.stall(10_100);
    assert_eq!(driver.run(30_000), Some(1000 + 4000 + 1370 + 10_000));
}

#[test]
fn a_watcher_that_stalls_often_trusts_itself_less_and_later_again() {
    for (stalls, patience) in [(1, 1), (2, 2), (3, 3), (4, 4), (9, 4)] {
        let mut driver = Driver::new(1, 0);
        for _ in 0..stalls {
            driver.stall(300);
        }
        driver.hear(1);
        let start = driver.now;
        assert_eq!(driver.run(start + 9000), Some(start + (patience * 450 + 400).max(1370)), "{stalls} stalls");
    }
    let mut driver = Driver::new(1, 0);
    (0..9).for_each(|_| driver.stall(300));
    for _ in 0..300 {
        driver.hear(1);
        let next = driver.now + 100;
        assert_eq!(driver.run(next), None);
    }
    let start = driver.now;
    driver.hear(1);
    assert_eq!(driver.run(start + 9000), Some(start + 1370), "30 s without a stall");
}

#[test]
fn a_steady_link_counts_as_heard_until_it_falls_quiet() {
    let mut driver = Driver::new(2, 0);
    driver.watch.handle_steady(id(1));
    assert_eq!(driver.run(60_000), None);
    assert!(driver.probes.is_empty() && driver.accuses(2));
    driver.watch.handle_quiet(ms(60_000), id(1), ms(59_900));
    assert_eq!(driver.run(90_000), Some(59_900 + 1370));
    driver.watch.handle_steady(id(1));
    assert!(!driver.accuses(1));
}

#[test]
fn a_link_may_be_steady_before_its_far_end_is_watched_and_after() {
    let mut driver = Driver::new(1, 0);
    driver.watch.handle_steady(id(2));
    driver.watched = Driver::new(2, 0).watched;
    driver.now = 1100;
    driver.turn();
    driver.hear(1);
    assert_eq!(driver.run(9000), Some(1100 + 1370));
    driver.watched.remove(&id(1));
    driver.now += 100;
    driver.turn();
    assert!(driver.watch.rows().is_empty(), "whom I do not watch I do not accuse");
    assert_eq!(driver.run(30_000), None);
    assert!(!driver.accuses(2));
    driver.watch.handle_quiet(ms(driver.now), id(2), Moment::ZERO);
    assert!(driver.watch.poll_timeout().is_some());
}

#[test]
fn hearing_it_again_or_a_refutation_takes_the_accusation_back() {
    let mut driver = Driver::new(1, 0);
    assert!(driver.run(20_000).is_some());
    driver.hear(1);
    assert!(!driver.accuses(1));
    assert!(driver.run(20_000).is_some());
    let start = driver.now;
    driver.watch.handle_refuted(ms(start), id(1));
    assert!(!driver.accuses(1));
    assert_eq!(driver.run(90_000), Some(start + 1000 + 1370));
    // A new incarnation that only the tick tells of is as good.
    driver.watched.insert(id(1), (8, Duration::ZERO));
    driver.now += 100;
    driver.turn();
    assert!(driver.watch.rows().is_empty());
}

#[test]
fn hearing_is_the_share_of_the_watched_that_is_not_accused() {
    let mut driver = Driver::new(8, 0);
    let mut hearing = vec![];
    for heard in [8, 7, 6, 3, 2, 0] {
        let end = driver.now + 6000;
        while driver.now < end {
            (1..=heard).for_each(|n| driver.hear(n));
            driver.now += 50;
            driver.turn();
        }
        hearing.push(driver.watch.hearing());
    }
    use Hearing::{Hardly, Little, Well};
    assert_eq!(hearing, [Well, Well, Little, Little, Hardly, Hardly]);
}

#[test]
fn no_number_is_too_large() {
    let mut watch = Watch::default();
    let ids = (0..2000u64).map(|n| {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().into()
    });
    let watched: BTreeMap<_, _> = ids.map(|id| (id, (u64::MAX, Duration::MAX))).collect();
    watch.handle_tick(Moment(u64::MAX - 30_000_000), Duration::MAX, &watched);
    for step in (0..=30).rev() {
        let now = Moment(u64::MAX - step * 1_000_000);
        watch.handle_tick(now, TICK, &watched);
        watch.handle_quiet(now, id(1), Moment(u64::MAX));
        watch.probes(now);
    }
    let mut watch = Watch::default();
    for t in (1000..20_000).step_by(50) {
        watch.handle_tick(ms(t), TICK, &watched);
        watch.probes(ms(t));
    }
    assert_eq!(watch.rows().len(), MAX_ACCUSED * WATCH_PAGES as usize, "a round trip of an hour earns two seconds");
}

/// `cargo test --release -p nigh-gossip --lib liveness -- --ignored --nocapture`
#[test]
#[ignore = "measures; run it in release on an idle machine"]
#[allow(clippy::disallowed_methods, clippy::print_stderr, reason = "a measurement")]
fn cost_of_a_tick() {
    let mut driver = Driver::new(16, 1);
    (2..=16).for_each(|n| driver.watch.handle_steady(id(n)));
    let one = id(1);
    let start = std::time::Instant::now();
    for now in 0..100_000 {
        driver.now = 1000 + now * 100;
        driver.watch.handle_heard(ms(driver.now), one);
        driver.turn();
        assert!(driver.watch.poll_timeout().is_some());
    }
    eprintln!("heard, tick, probes and timeout of 16 members: {:?}", start.elapsed() / 100_000);
}
