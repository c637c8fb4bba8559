//! The core of measuring: targets in, probe orders out; outcomes in, rows out. No sockets, no clock.
//!
//! ```text
//! targets ──> Scheduler ──order──> (shell probes) ──outcome──> Filter ──reading──> rows
//!                 one per distinct probe                          │       one per target
//!                                                            isolation: may hold readings back
//! ```
//!
//! Each distinct probe has one filter; each target of it gets a row with the same reading. A target whose pace was
//! edited keeps what was learnt; one that is asked another question (port, path, address) starts as unknown.
//!
//! **Invariant:** a row shows its probe's own reading, except while the node suspects itself or is isolated
//! ([`super::isolation`]): then a server that fell together with all others shows its last good one, and goes on from there when the network
//! is back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::filter::{Filter, Reading, State};
use super::isolation::{self, Standing, Witness};
use super::outcome::Outcome;
use super::schedule::{ProbeId, ProbeOrder, Scheduler};
use super::target::{Probe, Target};

/// Targets measured by one node; the rest is left out, in the order of names, and counted. At the usual 2 s these are
/// 8,000 probes a second, which is more than one node should do.
pub const MAX_TARGETS: usize = 16_384;

/// One server of one service, and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was asked for.
    pub target: Arc<Target>,
    /// What was found.
    pub reading: Reading,
}

/// All rows of a node at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurements {
    /// When, on the process's clock.
    pub at: Duration,
    /// It is me: all probes failed together. The rows then show the last good readings.
    pub isolated: bool,
    /// Sorted by service, then server.
    pub rows: Vec<Arc<Row>>,
    /// Targets beyond [`MAX_TARGETS`], not measured.
    pub left_out: usize,
}

impl Measurements {
    /// The row of one server.
    pub fn row(&self, service: &str, server: &str) -> Option<&Arc<Row>> {
        let wanted = (service, server);
        self.rows
            .binary_search_by(|row| (row.target.service.as_str(), row.target.server.as_str()).cmp(&wanted))
            .ok()
            .map(|index| &self.rows[index])
    }
}

/// How soon others should hear of what a result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing changed: the probe is no longer wanted.
    None,
    /// Some figures.
    Figures,
    /// The state of a row, or whether we are isolated.
    State,
}

/// The core: see the module's header.
#[derive(Debug)]
pub struct Board<R> {
    scheduler: Scheduler<R>,
    watched: BTreeMap<ProbeId, Watched>,
    rows: Vec<Arc<Row>>,
    /// Probes whose newest sample was an answer: as long as there is one, we are connected.
    answering: usize,
    standing: Standing,
    left_out: usize,
}

#[derive(Debug)]
struct Watched {
    probe: Arc<Probe>,
    filter: Filter,
    /// The filter as it was right after the last answer.
    good: Option<Filter>,
    /// Its rows.
    rows: Vec<usize>,
}

impl Watched {
    fn witness(&self) -> Witness {
        Witness {
            address: self.probe.address,
            interval: self.probe.spec.interval,
            timeout: self.probe.spec.timeout,
            failing: self.filter.failing(),
            answered: self.filter.answered().zip(self.good.as_ref().map(Filter::state)),
            state: self.filter.state(),
        }
    }

    fn shown(&self, standing: &Standing) -> Reading {
        match &self.good {
            Some(good) if standing.holds(&self.witness()) => good.reading(),
            _ => self.filter.reading(),
        }
    }
}

impl<R: Rng> Board<R> {
    /// An empty board; `seed` is the node's, see [`Scheduler::new`].
    pub fn new(seed: [u8; 32], rng: R) -> Self {
        Self {
            scheduler: Scheduler::new(seed, rng),
            watched: BTreeMap::new(),
            rows: Vec::new(),
            answering: 0,
            standing: Standing::Connected,
            left_out: 0,
        }
    }

    /// Makes `targets` what this node measures. Of several with one service and server the last counts.
    pub fn set_targets(&mut self, now: Duration, targets: &[Target]) {
        let mut named: BTreeMap<(&str, &str), &Target> =
            targets.iter().map(|target| ((target.service.as_str(), target.server.as_str()), target)).collect();
        self.left_out = named.len().saturating_sub(MAX_TARGETS);
        while named.len() > MAX_TARGETS {
            named.pop_last();
        }
        self.scheduler.set_probes(now, named.values().map(|target| target.probe()).collect::<BTreeSet<_>>());

        let old = std::mem::take(&mut self.watched);
        let mut by_question: BTreeMap<_, Vec<ProbeId>> = BTreeMap::new();
        for (id, watched) in &old {
            by_question.entry(watched.probe.question()).or_default().push(*id);
        }
        for (probe, id) in self.scheduler.probes() {
            let known = old.get(&id).or_else(|| old.get(by_question.get(&probe.question())?.first()?));
            let (rise, fall) = (probe.spec.rise, probe.spec.fall);
            let (filter, good) = match known {
                Some(known) => (
                    known.filter.clone().with_counts(rise, fall),
                    known.good.clone().map(|good| good.with_counts(rise, fall)),
                ),
                None => (Filter::new(rise, fall), None),
            };
            self.watched.insert(id, Watched { probe: probe.clone(), filter, good, rows: Vec::new() });
        }
        self.answering = self.watched.values().filter(|watched| watched.filter.failing() == Some(false)).count();
        self.standing = self.judge();
        self.rows.clear();
        for target in named.into_values() {
            let watched = self.scheduler.id_of(&target.probe()).and_then(|id| self.watched.get_mut(&id));
            let Some(watched) = watched else { continue };
            watched.rows.push(self.rows.len());
            let reading = watched.shown(&self.standing);
            self.rows.push(Arc::new(Row { target: Arc::new(target.clone()), reading }));
        }
    }

    /// The next probe to make, if one is due.
    pub fn poll(&mut self, now: Duration) -> Option<ProbeOrder> {
        self.scheduler.poll(now)
    }

    /// When to poll next, as far as is known now.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.scheduler.poll_timeout()
    }

    /// Takes in what came of an order. Results of probes that are no longer wanted are dropped here.
    pub fn handle_result(&mut self, now: Duration, id: ProbeId, outcome: &Outcome) -> Change {
        if !self.scheduler.finish(id) {
            return Change::None;
        }
        let answered = matches!(outcome, Outcome::Answered(_));
        let testimony = |watched: &Watched| (watched.filter.failing(), watched.filter.state());
        let before = self.watched.get(&id).map(testimony);
        if answered && self.standing != Standing::Connected {
            self.forgive(now);
        }
        let Some(watched) = self.watched.get_mut(&id) else { return Change::None };
        self.answering -= usize::from(watched.filter.failing() == Some(false));
        watched.filter.record(now, outcome);
        self.answering += usize::from(watched.filter.failing() == Some(false));
        if answered {
            watched.good = Some(watched.filter.clone());
        }
        if before == Some(testimony(watched)) {
            // Says nothing new about whom to blame. Spares a look at every probe per result while all of them fail.
            return self.show(id);
        }
        let standing = self.judge();
        if standing == self.standing {
            return self.show(id);
        }
        let isolated = |standing: &Standing| matches!(standing, Standing::Isolated { .. });
        let flipped = isolated(&standing) != isolated(&self.standing);
        self.standing = standing;
        let ids: Vec<_> = self.watched.keys().copied().collect();
        let shown = ids.into_iter().map(|id| self.show(id)).max().unwrap_or(Change::Figures);
        if flipped { Change::State } else { shown }
    }

    /// The rows as they are now.
    pub fn measurements(&self, now: Duration) -> Measurements {
        Measurements {
            at: now,
            isolated: matches!(self.standing, Standing::Isolated { .. }),
            rows: self.rows.clone(),
            left_out: self.left_out,
        }
    }

    /// What failed while I was cut off is no evidence against the servers: they go on from where they were, and fall
    /// together again if this answer was but a gap in the outage. After a mere suspicion there is some evidence: who was
    /// counted out in it gets one more try.
    fn forgive(&mut self, now: Duration) {
        for watched in self.watched.values_mut() {
            if !self.standing.holds(&watched.witness()) {
                continue;
            }
            match (&self.standing, &watched.good) {
                (Standing::Isolated { .. }, Some(good)) => watched.filter = good.clone().resumed(now),
                _ if watched.filter.state() == State::Down => watched.filter.spare(),
                _ => {}
            }
        }
        self.answering = self.watched.values().filter(|watched| watched.filter.failing() == Some(false)).count();
    }

    fn judge(&self) -> Standing {
        // The common case, without looking at every probe.
        if self.answering > 0 {
            return Standing::Connected;
        }
        isolation::judge(&self.watched.values().map(Watched::witness).collect::<Vec<_>>())
    }

    /// Brings the rows of a probe up to date.
    fn show(&mut self, id: ProbeId) -> Change {
        let Some(watched) = self.watched.get(&id) else { return Change::None };
        let reading = watched.shown(&self.standing);
        let mut change = Change::Figures;
        for index in &watched.rows {
            let Some(row) = self.rows.get_mut(*index) else { continue };
            if row.reading.state != reading.state {
                change = Change::State;
                log_state(row, &reading);
            }
            *row = Arc::new(Row { target: row.target.clone(), reading: reading.clone() });
        }
        change
    }
}

fn log_state(row: &Row, new: &Reading) {
    let (service, server) = (&row.target.service, &row.target.server);
    let (old, state) = (row.reading.state, new.state);
    match state {
        // At the start everything is news; it is in the rows, too.
        State::Up if old == State::Unknown => {
            tracing::debug!(%service, %server, ?old, new = ?state, rtt = ?new.rtt, "server state")
        }
        State::Down => {
            tracing::info!(%service, %server, address = %row.target.address, ?old, new = ?state, why = %new.why, "server state")
        }
        _ => {
            tracing::info!(%service, %server, address = %row.target.address, ?old, new = ?state, rtt = ?new.rtt, "server state")
        }
    }
}

#[cfg(test)]
mod tests {
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
        let probe =
            ProbeSpec { kind: ProbeKind::Tcp, port: 443, interval: SECOND * 2, timeout: SECOND, rise: 2, fall: 3 };
        Target { service: service.into(), server: server.into(), address: IpAddr::from([192, 0, 2, host]), probe }
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
                    let change = self.board.handle_result(self.now, order.id, &outcome);
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
        assert_eq!(
            scene.changes.iter().map(|(_, states)| states.as_str()).collect::<Vec<_>>(),
            ["UUU!"],
            "seed {seed}"
        );
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
        assert_eq!(
            scene.changes.iter().map(|(_, states)| states.as_str()).collect::<Vec<_>>(),
            ["UUU!"],
            "seed {seed}"
        );
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
        edited[0].probe.interval = SECOND * 5;
        edited[1].probe.port = 80;
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
        assert_eq!(scene.board.handle_result(SECOND * 3, order.id, &outcome), Change::None);
        assert_eq!(scene.states(), "???");
        // Nor does a result count twice.
        let order = scene.board.poll(SECOND * 4).unwrap();
        assert_eq!(scene.board.handle_result(SECOND * 4, order.id, &outcome), Change::State);
        assert_eq!(scene.board.handle_result(SECOND * 4, order.id, &outcome), Change::None);
    }

    #[test]
    fn targets_beyond_the_bound_are_left_out_and_counted() {
        let targets: Vec<_> = (0..MAX_TARGETS + 7).map(|n| target("www", &format!("{n:06}"), 1)).collect();
        let scene = Scene::new(&targets);
        let all = scene.board.measurements(Duration::ZERO);
        assert_eq!((all.rows.len(), all.left_out), (MAX_TARGETS, 7));
    }
}
