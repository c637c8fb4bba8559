#![allow(clippy::unwrap_used)]
use std::net::IpAddr;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::measure::damping;
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
fn after_a_stop_of_the_process_what_was_up_is_unknown_until_it_answers() {
    let mut scene = Scene::new(&three());
    scene.run(SECOND * 20, |_| Some(10));
    let fresh = |scene: &Scene| scene.board.measurements(scene.now).rows.iter().all(|row| row.is_fresh(scene.now));
    assert!(fresh(&scene));
    scene.now += SECOND * 12;
    assert!(!fresh(&scene), "nobody may go by these any more");
    scene.run(SECOND * 2, |host| (host != 2).then_some(10));
    assert_eq!(scene.states(), "U?U");
    scene.run(SECOND * 5, |host| (host != 2).then_some(10));
    assert_eq!(scene.states(), "UDU");
}

#[test]
fn whenever_a_server_dies_the_third_probe_after_that_begins_within_three_intervals() {
    for seed in 0..20 {
        for part in 0..20 {
            let mut scene = Scene::seeded(seed, &three());
            scene.run(SECOND * 20 + SECOND * 2 * part / 20, |_| Some(10));
            scene.run(SECOND * 6, |host| (host != 2).then_some(10));
            assert_eq!(scene.states(), "UDU", "seed {seed}, {part} twentieths into an interval");
        }
    }
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
    assert!(row.reading.held, "and says so");
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

#[test]
fn a_thin_probe_is_rare_until_something_is_in_doubt() {
    let mut scene = Scene::new(&three());
    // A thousand nodes at 0.5 probes a second, 5 of them the budget: this one looks closely at nothing here.
    let others = (0..1_000u32).map(|n| *blake3::hash(&n.to_be_bytes()).as_bytes()).collect();
    let mut targets = three();
    targets.iter_mut().for_each(|target| target.probe.budget = 5);
    scene.board.set_targets(Duration::ZERO, &targets);
    let surroundings = Surroundings { nodes: Nodes::new([1; 32], others), idle: BTreeSet::new() };
    scene.board.set_surroundings(Duration::ZERO, surroundings);
    scene.run(SECOND * 2, |_| Some(10));
    assert_eq!(scene.states(), "UUU", "a new node knows everything within one interval all the same");
    let pace = scene.board.report(scene.now)[0].pace;
    assert_eq!((pace.why, pace.factor), (Why::Thin, 100));
    let before = scene.orders;
    scene.run(SECOND * 400, |_| Some(10));
    assert!((4..=8).contains(&(scene.orders - before)), "{}", scene.orders - before);
    // From its next probe on it is as quick as any: fall times the interval.
    let start = scene.now;
    scene.changes.clear();
    scene.run(SECOND * 260, |host| (host != 2).then_some(10));
    let (at, states) = scene.changes[0].clone();
    assert_eq!(states, "UDU");
    assert!(at - start <= SECOND * 220 + ROUND * 2, "{:?}", at - start);
    assert!(scene.board.report(scene.now).iter().all(|report| report.pace.why == Why::Thin), "and then rare again");
    // Its row is as fresh as its pace, not older.
    let row = scene.board.measurements(scene.now).rows[0].clone();
    assert_eq!((row.every, row.reading.state), (SECOND * 200, State::Up));
}

#[test]
fn a_service_that_nobody_asks_for_is_probed_slowly_unless_another_shares_the_probe() {
    let targets = [target("www", "a", 1), target("www", "b", 2), target("api", "x", 2)];
    let mut scene = Scene::new(&targets);
    let idle = |names: &[&str]| Surroundings {
        idle: names.iter().map(ToString::to_string).collect(),
        ..Surroundings::default()
    };
    scene.run(SECOND * 2, |_| Some(10));
    scene.board.set_surroundings(scene.now, idle(&["www"]));
    let paces = |scene: &Scene| -> Vec<(String, u32)> {
        let report = scene.board.report(scene.now);
        report
            .iter()
            .map(|line| (format!("{}/{}", line.target.service, line.target.server), line.pace.factor))
            .collect()
    };
    let wanted = |factors: [u32; 3]| -> Vec<(String, u32)> {
        ["api/x", "www/a", "www/b"].map(str::to_owned).into_iter().zip(factors).collect()
    };
    assert_eq!(paces(&scene), wanted([1, IDLE, 1]));
    scene.run(SECOND * 40, |_| Some(10));
    scene.board.set_surroundings(scene.now, idle(&[]));
    assert_eq!(paces(&scene), wanted([1, 1, 1]));
    let next = scene.board.report(scene.now)[1].next.unwrap();
    assert!(next <= ROUND, "the first query brings it back within an interval: {next:?}");
}

#[test]
fn the_distance_comes_from_the_probe_that_is_there_for_it() {
    let mut one = target("www", "a", 1);
    let latency = ProbeSpec { kind: ProbeKind::Icmp, port: 0, ..one.probe.health.clone() };
    one.probe.latency = Some(latency);
    let mut board = Board::new([1; 32], ChaCha8Rng::seed_from_u64(1));
    board.set_targets(Duration::ZERO, &[one, target("www", "b", 2)]);
    let mut now = Duration::ZERO;
    let mut run = |board: &mut Board<ChaCha8Rng>, until: Duration, icmp: Option<u64>, tcp: bool| {
        while let Some(next) = board.poll_timeout().filter(|next| *next <= until) {
            now = next.max(now);
            while let Some(order) = board.poll(now) {
                let outcome = match (&order.probe.spec.kind, icmp) {
                    (ProbeKind::Icmp, Some(millis)) => Outcome::Answered(Duration::from_millis(millis)),
                    (ProbeKind::Tcp, _) if tcp || order.probe.address == IpAddr::from([192, 0, 2, 2]) => {
                        Outcome::Answered(Duration::from_millis(80))
                    }
                    _ => Outcome::Failed(Failure::Timeout(SECOND)),
                };
                board.handle_result(now, order.id, outcome.into());
            }
        }
        let row = board.measurements(until).rows[0].clone();
        assert_eq!(row.reading.path.map(|path| path.usual), row.reading.rtt, "the order is made from the same path");
        (row.reading.state, row.reading.rtt.map(|rtt| rtt.as_millis()), row.reading.loss > 0.0)
    };
    // One that does not answer echoes is placed by what there is.
    assert_eq!(run(&mut board, SECOND * 10, None, true), (State::Up, Some(80), true));
    assert_eq!(run(&mut board, SECOND * 20, Some(20), true), (State::Up, Some(20), false));
    assert_eq!(run(&mut board, SECOND * 30, Some(20), false), (State::Down, Some(20), false));
    // Echoes say nothing about its health, either way.
    assert_eq!(run(&mut board, SECOND * 90, None, true).0, State::Up);
    let roles: Vec<_> = board.report(SECOND * 90).iter().map(|report| report.role.as_str()).collect();
    assert_eq!(roles, ["health", "latency", "both"]);
}

#[test]
fn a_server_that_keeps_coming_and_going_is_held_down_and_one_restart_is_not() {
    let mut scene = Scene::new(&three());
    scene.run(SECOND * 20, |_| Some(10));
    scene.run(SECOND * 10, |host| (host != 2).then_some(10));
    scene.run(SECOND * 10, |_| Some(10));
    assert_eq!(scene.states(), "UUU");
    for _ in 0..5 {
        scene.run(SECOND * 10, |host| (host != 2).then_some(10));
        scene.run(SECOND * 8, |_| Some(10));
    }
    let row = scene.board.measurements(scene.now).rows[1].clone();
    assert_eq!((row.reading.state, row.flapping), (State::Down, true));
    assert!(row.reading.why.starts_with("flapping"), "{}", row.reading.why);
    let held = scene.board.report(scene.now)[1].held_for.unwrap();
    assert!(held <= damping::longest(), "{held:?}");
    scene.run(held + ROUND * 2, |_| Some(10));
    assert_eq!(scene.states(), "UUU", "after a calm time it is used again");
}

#[test]
fn one_that_comes_and_goes_is_better_than_one_that_is_dead() {
    let mut scene = Scene::new(&three());
    scene.run(SECOND * 20, |_| Some(10));
    for _ in 0..6 {
        scene.run(SECOND * 10, |host| (host == 1).then_some(10));
        scene.run(SECOND * 8, |_| Some(10));
    }
    assert_eq!(scene.states(), "UDD", "b and c are held down, and a is there");
    scene.run(SECOND * 10, |host| (host != 1).then_some(10));
    assert_eq!(scene.states(), "DUU", "nobody else is left");
    scene.run(SECOND * 10, |_| Some(10));
    assert_eq!(scene.states(), "UDD", "a is back");
}

#[test]
fn an_outage_of_my_own_is_nobodys_fall() {
    let mut scene = Scene::new(&three());
    for _ in 0..8 {
        scene.run(SECOND * 20, |_| Some(10));
        scene.run(SECOND * 20, |_| None);
    }
    assert!(scene.board.report(scene.now).iter().all(|report| report.penalty == 0.0));
}

#[test]
fn what_cannot_be_probed_any_more_is_unknown_after_some_intervals() {
    let mut board = Board::new([1; 32], ChaCha8Rng::seed_from_u64(1));
    board.set_targets(Duration::ZERO, &three());
    let mut now = Duration::ZERO;
    let mut states = Vec::new();
    while now < SECOND * 40 {
        now = board.poll_timeout().unwrap().max(now);
        while let Some(order) = board.poll(now) {
            let outcome = match now < SECOND * 20 {
                true => Outcome::Answered(SECOND / 100),
                false => Outcome::NotMade("not probed: socket: too many open files".into()),
            };
            board.handle_result(now, order.id, outcome.into());
        }
        states.push((now, board.measurements(now).rows[0].reading.clone()));
    }
    let lost = states.iter().find(|(at, reading)| *at > SECOND * 5 && reading.state != State::Up).unwrap();
    assert!((SECOND * 26..SECOND * 32).contains(&lost.0), "{:?}", lost.0);
    assert_eq!((lost.1.state, lost.1.rtt), (State::Unknown, Some(SECOND / 100)));
    assert!(lost.1.why.contains("open files"));
}
