#![allow(clippy::unwrap_used)]
use std::net::IpAddr;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::measure::outcome::Failure;
use crate::measure::target::{ProbeKind, ProbeSpec};

const SECOND: Duration = Duration::from_secs(1);
/// An interval with its jitter: within it, everyone is probed once.
const ROUND: Duration = Duration::from_millis(2_201);

fn target(service: &str, server: &str, host: u8) -> Target {
    let probe = ProbeSpec {
        kind: ProbeKind::Tcp,
        port: 443,
        interval: SECOND * 2,
        timeout: SECOND,
        retries: 0,
        rise: 2,
        fall: 3,
    };
    Target {
        service: service.into(),
        server: server.into(),
        address: IpAddr::from([192, 0, 2, host]),
        probe: probe.into(),
    }
}

/// A board in virtual time, with a network that tells what each address does.
struct Scene {
    board: Board<ChaCha8Rng>,
    now: Duration,
    orders: usize,
    changes: Vec<(Duration, String)>,
}

impl Scene {
    fn new(targets: &[Target]) -> Self {
        Self::seeded(1, targets)
    }

    fn seeded(seed: u8, targets: &[Target]) -> Self {
        let mut board = Board::new([seed; 32], ChaCha8Rng::seed_from_u64(seed.into()));
        board.set_targets(Duration::ZERO, targets);
        Self { board, now: Duration::ZERO, orders: 0, changes: Vec::new() }
    }

    /// Every probe is over at once: an RTT in ms, or none.
    fn run(&mut self, span: Duration, network: impl Fn(u8) -> Option<u64>) {
        let until = self.now + span;
        while let Some(next) = self.board.poll_timeout().filter(|next| *next <= until) {
            self.now = next.max(self.now);
            while let Some(order) = self.board.poll(self.now) {
                self.orders += 1;
                let IpAddr::V4(address) = order.probe.address else { continue };
                let outcome = match network(address.octets()[3]) {
                    Some(millis) => Outcome::Answered(Duration::from_millis(millis)),
                    None => Outcome::Failed(Failure::Timeout(SECOND)),
                };
                let change = self.board.handle_result(self.now, order.id, outcome.into());
                if change == Change::State {
                    self.changes.push((self.now, self.states()));
                }
            }
        }
        self.now = until;
    }

    /// Letters in the order of the rows, and "!" when isolated.
    fn states(&self) -> String {
        let all = self.board.measurements(self.now);
        let letters = all.rows.iter().map(|row| match row.reading.state {
            State::Unknown => '?',
            State::Up => 'U',
            State::Down => 'D',
        });
        letters.chain(all.isolated.then_some('!')).collect()
    }
}

fn three() -> Vec<Target> {
    vec![target("www", "a", 1), target("www", "b", 2), target("www", "c", 3)]
}

#[test]
fn a_new_node_knows_everything_within_one_interval() {
    let mut scene = Scene::new(&three());
    scene.run(SECOND * 2, |host| Some(u64::from(host) * 10));
    assert_eq!(scene.states(), "UUU");
    let all = scene.board.measurements(scene.now);
    let rtts: Vec<_> = all.rows.iter().map(|row| row.reading.rtt.unwrap().as_millis()).collect();
    assert_eq!(rtts, [10, 20, 30]);
    assert_eq!(all.row("www", "b").unwrap().target.address, IpAddr::from([192, 0, 2, 2]));
    assert!(all.row("www", "d").is_none());
}

#[test]
fn a_server_that_dies_is_down_and_comes_back() {
    let mut scene = Scene::new(&three());
    scene.run(SECOND * 20, |_| Some(10));
    scene.run(SECOND * 7, |host| (host != 2).then_some(10));
    assert_eq!(scene.states(), "UDU");
    assert_eq!(scene.board.measurements(scene.now).rows[1].reading.why, "timeout after 1s");
    scene.run(SECOND * 5, |_| Some(10));
    assert_eq!(scene.states(), "UUU");
}

#[test]
fn one_address_asked_by_two_services_is_probed_once_and_shown_twice() {
    let mut scene = Scene::new(&[target("www", "a", 1), target("api", "x", 1), target("api", "y", 2)]);
    scene.run(SECOND * 20, |_| Some(10));
    assert_eq!(scene.states(), "UUU");
    assert!((18..=22).contains(&scene.orders), "{}", scene.orders);
}

#[test]
fn when_everything_fails_at_once_it_is_me_and_no_row_goes_down_even_for_a_moment() {
    (0..50).for_each(cut_off);
}

fn cut_off(seed: u8) {
    let mut scene = Scene::seeded(seed, &three());
    scene.run(SECOND * 20, |_| Some(10));
    scene.changes.clear();
    scene.run(SECOND * 60, |_| None);
    assert_eq!(scene.changes.iter().map(|(_, states)| states.as_str()).collect::<Vec<_>>(), ["UUU!"], "seed {seed}");
    let (at, _) = scene.changes[0];
    assert!(at <= SECOND * 20 + ROUND * 3, "seed {seed}: found out after {:?}", at - SECOND * 20);
    let row = scene.board.measurements(scene.now).rows[0].clone();
    assert_eq!((row.reading.rtt, row.reading.loss), (Some(Duration::from_millis(10)), 0.0));
    assert!(row.reading.sampled.unwrap() <= SECOND * 20, "a held row is not fresh");
    // One answer is enough to know better; the others get their fair number of tries.
    scene.run(ROUND, |host| (host == 1).then_some(10));
    assert_eq!(scene.states(), "UUU", "seed {seed}");
    scene.run(ROUND * 3, |host| (host == 1).then_some(10));
    assert_eq!(scene.states(), "UDD", "seed {seed}");
    scene.run(ROUND * 2, |_| Some(10));
    assert_eq!(scene.states(), "UUU", "seed {seed}");
}

#[test]
fn a_gap_in_an_outage_does_not_condemn_the_servers() {
    (0..50).for_each(cut_off_twice);
}

fn cut_off_twice(seed: u8) {
    let mut scene = Scene::seeded(seed, &three());
    scene.run(SECOND * 20, |_| Some(10));
    scene.run(SECOND * 60, |_| None);
    scene.run(ROUND, |host| (host == 1).then_some(10));
    assert_eq!(scene.states(), "UUU", "seed {seed}");
    scene.changes.clear();
    scene.run(SECOND * 60, |_| None);
    assert_eq!(scene.changes.iter().map(|(_, states)| states.as_str()).collect::<Vec<_>>(), ["UUU!"], "seed {seed}");
}

#[test]
fn outages_of_any_length_take_nobody_down_whatever_the_phases() {
    for seed in 0..50 {
        let mut scene = Scene::seeded(seed, &three());
        scene.run(SECOND * 20, |_| Some(10));
        for length in 1..15 {
            scene.run(SECOND * length, |_| None);
            scene.run(SECOND * 7, |_| Some(10));
        }
        let down = scene.changes.iter().find(|(_, states)| states.contains('D'));
        assert_eq!(down, None, "seed {seed}");
    }
}

#[test]
fn a_short_blackout_changes_nothing_at_all() {
    let mut scene = Scene::new(&three());
    scene.run(SECOND * 20, |_| Some(10));
    scene.changes.clear();
    scene.run(SECOND * 3, |_| None);
    scene.run(SECOND * 20, |_| Some(10));
    assert_eq!(scene.changes, []);
}

#[test]
fn servers_that_die_one_by_one_are_dead_and_i_am_not_isolated() {
    let mut scene = Scene::new(&three());
    scene.run(SECOND * 20, |_| Some(10));
    scene.run(SECOND * 20, |host| (host != 1).then_some(10));
    scene.run(SECOND * 20, |host| (host == 3).then_some(10));
    scene.run(SECOND * 20, |_| None);
    assert_eq!(scene.states(), "DDD");
}

#[test]
fn one_that_was_dead_before_stays_down_when_i_am_isolated() {
    let mut scene = Scene::new(&three());
    scene.run(SECOND * 30, |host| (host != 3).then_some(10));
    scene.run(SECOND * 20, |_| None);
    assert_eq!(scene.states(), "UUD!");
}

#[test]
fn a_new_pace_keeps_what_was_learnt_and_a_new_port_does_not() {
    let mut scene = Scene::new(&three());
    scene.run(SECOND * 20, |_| Some(10));
    let mut edited = three();
    edited[0].probe.health.interval = SECOND * 5;
    edited[1].probe.health.port = 80;
    edited.remove(2);
    scene.board.set_targets(scene.now, &edited);
    assert_eq!(scene.states(), "U?");
    scene.run(SECOND * 2, |_| Some(10));
    assert_eq!(scene.states(), "UU");
}

#[test]
fn a_late_result_of_a_removed_target_is_dropped() {
    let mut scene = Scene::new(&three());
    let order = scene.board.poll(SECOND * 2).unwrap();
    scene.board.set_targets(SECOND * 2, &[]);
    scene.board.set_targets(SECOND * 2, &three());
    let outcome = Outcome::Answered(SECOND);
    assert_eq!(scene.board.handle_result(SECOND * 3, order.id, outcome.clone().into()), Change::None);
    assert_eq!(scene.states(), "???");
    // Nor does a result count twice.
    let order = scene.board.poll(SECOND * 4).unwrap();
    assert_eq!(scene.board.handle_result(SECOND * 4, order.id, outcome.clone().into()), Change::State);
    assert_eq!(scene.board.handle_result(SECOND * 4, order.id, outcome.clone().into()), Change::None);
}

#[test]
fn targets_beyond_the_bound_are_left_out_and_counted() {
    let targets: Vec<_> = (0..MAX_TARGETS + 7).map(|n| target("www", &format!("{n:06}"), 1)).collect();
    let scene = Scene::new(&targets);
    let all = scene.board.measurements(Duration::ZERO);
    assert_eq!((all.rows.len(), all.left_out), (MAX_TARGETS, 7));
}
