#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::roster::tests::roster;

#[derive(Clone)]
struct Mesh {
    roster: Roster,
    standing: Vec<Standing>,
    incarnation: Vec<u64>,
    watch: Accusations,
}

impl Mesh {
    fn new(n: usize) -> Self {
        Self::with_seed(n, 1)
    }

    fn with_seed(n: usize, seed: u64) -> Self {
        Self {
            roster: roster(n, seed),
            standing: vec![Standing::Present; n],
            incarnation: vec![1; n],
            watch: BTreeMap::new(),
        }
    }

    fn seat(&self, index: usize) -> Seat {
        self.roster.seats().nth(index).unwrap()
    }

    fn accuse(&mut self, by: usize, accused: usize) {
        let (by, accused) = (self.seat(by), self.seat(accused));
        self.watch.entry(by).or_default().push((accused, 1));
    }

    /// Everyone but the `silent` accuses whom it should watch and does not hear: those on the other side.
    fn observe(&mut self, hears: impl Fn(usize, usize) -> bool, silent: &BTreeSet<usize>) {
        for by in (0..self.roster.len()).filter(|by| !silent.contains(by)) {
            for accused in self.roster.watched_by(self.seat(by), |_| true) {
                if !hears(by, accused.index()) {
                    self.accuse(by, accused.index());
                }
            }
        }
    }

    fn hearing(&self, me: usize) -> Hearing {
        let missed = self.watch.get(&self.seat(me)).map_or(0, Vec::len);
        Hearing::of(missed, self.roster.watched_by(self.seat(me), |_| true).len())
    }

    fn judge(&self, me: usize, hearing: Hearing) -> Judgement {
        let incarnation = |seat: Seat| Some(self.incarnation[seat.index()]);
        judge(&self.roster, &self.standing, incarnation, &self.watch, self.seat(me), hearing)
    }

    fn dead(&self, me: usize, hearing: Hearing) -> Vec<usize> {
        dead(&self.judge(me, hearing))
    }
}

fn dead(judgement: &Judgement) -> Vec<usize> {
    (0..judgement.verdicts.len()).filter(|i| judgement.verdicts[*i] == Verdict::Dead).collect()
}

#[test]
fn half_of_the_watchers_convict_and_fewer_do_not() {
    let mut mesh = Mesh::new(9);
    for by in 1..4 {
        mesh.accuse(by, 0);
        assert_eq!(mesh.dead(8, Hearing::Well), [], "{by} of 8");
    }
    mesh.accuse(4, 0);
    assert_eq!(mesh.dead(8, Hearing::Well), [0]);
    assert!(mesh.judge(0, Hearing::Well).refute && !mesh.judge(8, Hearing::Well).refute);
}

#[test]
fn one_observer_kills_nobody_unless_it_is_the_only_one() {
    let mut three = Mesh::new(3);
    three.accuse(1, 0);
    assert_eq!(three.dead(2, Hearing::Well), []);
    let mut two = Mesh::new(2);
    two.accuse(1, 0);
    assert_eq!(two.dead(1, Hearing::Well), [0]);
}

#[test]
fn a_higher_incarnation_refutes() {
    let mut mesh = Mesh::new(3);
    mesh.accuse(1, 0);
    mesh.accuse(2, 0);
    assert_eq!(mesh.dead(1, Hearing::Well), [0]);
    mesh.incarnation[0] = 2;
    assert_eq!(mesh.dead(1, Hearing::Well), []);
}

#[test]
fn the_dead_have_no_vote_and_their_fall_can_decide() {
    let mut mesh = Mesh::new(7);
    mesh.accuse(5, 1);
    mesh.accuse(6, 1);
    assert_eq!(mesh.dead(3, Hearing::Well), [], "two of six watchers");
    for accused in [0, 2] {
        for by in [3, 4, 5] {
            mesh.accuse(by, accused);
        }
    }
    assert_eq!(mesh.dead(3, Hearing::Well), [0, 1, 2], "two of the four that are left");
}

#[test]
fn those_who_never_came_or_have_gone_neither_vote_nor_die() {
    let mut mesh = Mesh::new(9);
    mesh.standing[1] = Standing::Absent;
    mesh.standing[2] = Standing::Left;
    for by in 1..9 {
        mesh.accuse(by, 0);
        mesh.accuse(by, 1);
        mesh.accuse(by, 2);
    }
    let verdicts = mesh.judge(8, Hearing::Well).verdicts;
    assert_eq!(verdicts[..4], [Verdict::Dead, Verdict::Absent, Verdict::Left, Verdict::Alive]);
    for by in 5..9 {
        mesh.watch.remove(&mesh.seat(by));
    }
    assert_eq!(mesh.dead(8, Hearing::Well), [], "two of the six that are here: the words of the gone are void");
}

#[test]
fn the_survivor_of_a_disaster_believes_its_own_eyes() {
    let mut mesh = Mesh::new(5);
    mesh.observe(|_, _| false, &(1..5).collect());
    assert_eq!(mesh.dead(1, Hearing::Well), [], "one that hears the others does not believe a single accuser");
    let judgement = mesh.judge(0, mesh.hearing(0));
    assert_eq!((dead(&judgement), judgement.cut_off), (vec![1, 2, 3, 4], true), "seen from the survivor");
}

/// Every split of every small mesh: both sides convict the other in the first judgement, and nobody else.
#[test]
fn both_sides_of_a_small_mesh_hold_the_other_for_dead() {
    for n in 2..=17 {
        for near in 1..n {
            let mut mesh = Mesh::new(n);
            mesh.observe(|by, accused| by < near && accused < near, &(near..n).collect());
            for me in 0..near {
                let far: Vec<usize> = (near..n).collect();
                assert_eq!(mesh.dead(me, mesh.hearing(me)), far, "{near} of {n}");
            }
        }
    }
}

/// What the near side of a split holds after each round of observation: all look, all judge, all look past the dead.
/// Says which share of the far side the near nodes hold for dead, on average; fails if one of their own is among them.
///
/// With a `liar`, the first near node accuses everyone near, and nobody else; its own opinion is not asked for.
fn split(n: usize, near: usize, seed: u64, rounds: usize, liar: bool) -> Vec<f64> {
    let mut mesh = Mesh::with_seed(n, seed); // ids are hashes: the first seats are as good as any others
    let mut verdicts = vec![vec![Verdict::Alive; n]; near];
    let mut shares = vec![];
    for _ in 0..rounds {
        let mut hearing = vec![];
        mesh.watch.clear();
        for (by, verdicts) in verdicts.iter().enumerate() {
            let live = |seat: Seat| verdicts[seat.index()] == Verdict::Alive;
            let watched = mesh.roster.watched_by(mesh.seat(by), live);
            let missed: Vec<usize> = watched.iter().map(|seat| seat.index()).filter(|seat| *seat >= near).collect();
            hearing.push(Hearing::of(missed.len(), watched.len()));
            let said = if liar && by == 0 { (0..near).collect() } else { missed };
            said.into_iter().for_each(|seat| mesh.accuse(by, seat));
        }
        verdicts = (0..near).map(|me| mesh.judge(me, hearing[me]).verdicts).collect();
        let honest = &verdicts[usize::from(liar)..];
        let dead = |verdicts: &[Verdict]| verdicts.iter().filter(|verdict| **verdict == Verdict::Dead).count();
        assert_eq!(honest.iter().map(|verdicts| dead(&verdicts[..near])).sum::<usize>(), 0, "{near} of {n}, {seed}");
        let found: usize = honest.iter().map(|verdicts| dead(verdicts)).sum();
        shares.push(found as f64 / (honest.len() * (n - near)) as f64);
    }
    shares
}

#[test]
fn a_minority_holds_the_other_side_for_dead_as_the_majority_does() {
    // The share found at the first look, and after how many looks all are found.
    for (near, first, all) in [(20, 0.5, 4), (30, 0.75, 3), (45, 0.9, 2), (50, 0.9, 2), (55, 0.7, 3), (70, 0.9, 2)] {
        let runs: Vec<Vec<f64>> = (0..5).map(|seed| split(100, near, seed, all, false)).collect();
        let mean = |round: usize| runs.iter().map(|run| run[round]).sum::<f64>() / 5.0;
        assert!(mean(0) > first && mean(all - 1) > 0.999, "{near} of 100: {runs:?}");
    }
}

#[test]
fn one_liar_in_a_minority_neither_kills_its_own_side_nor_keeps_the_other_alive() {
    for (n, near) in [(9, 4), (100, 30), (100, 45)] {
        let (found, honestly) = (split(n, near, 3, 4, true), split(n, near, 3, 4, false));
        assert!(found.last() > Some(&0.99), "{near} of {n}: {found:?}");
        assert!(found[0] > honestly[0] - 0.1, "{near} of {n}: {found:?}, without the liar {honestly:?}");
    }
}

#[test]
fn few_survivors_find_out_ring_by_ring() {
    for (n, near, rounds) in [(40, 1, 8), (100, 5, 12), (200, 20, 12)] {
        let found = split(n, near, 2, rounds, false);
        assert!(found.is_sorted() && found.last() > Some(&0.95), "{near} of {n}: {found:?}");
    }
}

/// A liar may write anything; the honest accuse those of the dead whom they watch.
fn lied(quiet: &Mesh, dead: &BTreeSet<usize>, lies: &[(usize, Vec<usize>)]) -> Mesh {
    let mut mesh = quiet.clone();
    let silent = dead.iter().copied().chain(lies.iter().map(|(liar, _)| *liar)).collect();
    mesh.observe(|_, accused| !dead.contains(&accused), &silent);
    for (liar, accused) in lies {
        accused.iter().for_each(|accused| mesh.accuse(*liar, *accused));
    }
    mesh
}

/// Those alive that `me` holds for dead, however well it hears. Of itself it knows better.
fn killed(mesh: &Mesh, me: usize, dead: &BTreeSet<usize>) -> Vec<usize> {
    let looks = [mesh.hearing(me), Hearing::Little, Hearing::Hardly].map(|hearing| mesh.dead(me, hearing));
    looks.into_iter().flatten().filter(|seat| *seat != me && !dead.contains(seat)).collect()
}

#[test]
fn one_liar_beside_one_dead_kills_nobody_in_any_small_mesh() {
    for n in 3..=17_usize {
        let (gone, liar) = (0, 1);
        // All that the liar can say in a mesh of up to ten; beyond, each prefix, suffix and every other one.
        let lies = |bits: u32| (0..n).filter(|seat| *seat != liar && bits >> seat & 1 == 1).collect::<Vec<usize>>();
        let all = (1_u32 << n) - 1;
        let quiet = Mesh::new(n);
        let patterns: Vec<u32> = match n {
            ..=10 => (0..=all).collect(),
            _ => (0..n).flat_map(|i| [all >> i, all << i, 0x5555_5555 << i, all & !(1 << i)]).collect(),
        };
        for bits in patterns {
            let dead = BTreeSet::from([gone]);
            let mesh = lied(&quiet, &dead, &[(liar, lies(bits))]);
            for me in 2..n.min(5) {
                assert_eq!(killed(&mesh, me, &dead), [], "{n} nodes, lies {bits:b}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn one_liar_beside_one_dead_in_twenty_kills_nobody(
        n in 18..160_usize, seed: u64, share in 0..4_u64, percent in prop_oneof![Just(5), Just(30), Just(60)],
    ) {
        let dead: BTreeSet<usize> = (1..n * percent / 100).collect();
        let said = |seat: &usize| *seat != 0 && seed.rotate_left(u32::try_from(*seat).unwrap()) % 4 >= share;
        let mut mesh = lied(&Mesh::with_seed(n, seed), &dead, &[(0, (0..n).filter(said).take(MAX_ACCUSED).collect())]);
        for me in (dead.len() + 1..n).step_by(3) {
            prop_assert_eq!(killed(&mesh, me, &dead), Vec::<usize>::new());
        }
        // Nor when the honest have found the dead and looked past them.
        mesh = {
            let rows = mesh.watch.remove(&mesh.seat(0));
            mesh.watch.clear();
            mesh.watch.extend(rows.map(|rows| (mesh.seat(0), rows)));
            for by in dead.len() + 1..n {
                let live = |seat: Seat| !dead.contains(&seat.index());
                for seat in mesh.roster.watched_by(mesh.seat(by), live).into_iter().filter(|seat| !live(*seat)) {
                    mesh.accuse(by, seat.index());
                }
            }
            mesh
        };
        for me in (dead.len() + 1..n).step_by(3) {
            prop_assert_eq!(killed(&mesh, me, &dead), Vec::<usize>::new());
        }
    }

    #[test]
    fn the_order_of_rows_means_nothing_and_those_who_hear_well_agree(
        n in 2..60_usize,
        rows in prop::collection::vec((0..60_usize, 0..60_usize, 1..3_u64), 0..300),
        hearing in prop_oneof![Just(Hearing::Well), Just(Hearing::Little), Just(Hearing::Hardly)],
    ) {
        let mut mesh = Mesh::new(n);
        let add = |mesh: &mut Mesh, (by, accused, incarnation): (usize, usize, u64)| {
            let (by, accused) = (mesh.seat(by % n), mesh.seat(accused % n));
            mesh.watch.entry(by).or_default().push((accused, incarnation));
        };
        rows.iter().for_each(|row| add(&mut mesh, *row));
        let (mine, common) = (mesh.judge(0, hearing), mesh.judge(0, Hearing::Well));
        prop_assert_eq!(&common.verdicts, &mesh.judge(n - 1, Hearing::Well).verdicts);
        prop_assert_eq!(&common.verdicts, &plainly(&mesh));
        mesh.watch.clear();
        rows.iter().chain(&rows).rev().for_each(|row| add(&mut mesh, *row));
        prop_assert_eq!((mine, common), (mesh.judge(0, hearing), mesh.judge(0, Hearing::Well)));
    }
}

/// The common quorum as one would write it on a blackboard.
fn plainly(mesh: &Mesh) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::Alive; mesh.roster.len()];
    loop {
        let live = |seat: Seat| verdicts[seat.index()] == Verdict::Alive;
        let convicted: Vec<Seat> = mesh
            .roster
            .seats()
            .filter(|seat| {
                let watchers = mesh.roster.watchers(*seat, live);
                let accuses = |by: &&Seat| mesh.watch.get(by).is_some_and(|rows| rows.contains(&(*seat, 1)));
                let against = watchers.iter().filter(accuses).count();
                live(*seat) && against >= 1 && against >= watchers.len().div_ceil(2).max(2.min(watchers.len()))
            })
            .collect();
        if convicted.is_empty() {
            return verdicts;
        }
        convicted.into_iter().for_each(|seat| verdicts[seat.index()] = Verdict::Dead);
    }
}

#[test]
fn three_lying_observers_of_eight_cannot_kill_a_live_node_nor_keep_a_dead_one_alive() {
    for (n, seed) in [(17_usize, 1), (40, 2), (100, 3), (400, 4)] {
        let (quiet, mut tried) = (Mesh::with_seed(n, seed), 0);
        for victim in (0..n).step_by(n.div_ceil(25)) {
            let watchers = quiet.roster.watchers(quiet.seat(victim), |_| true);
            let watchers: Vec<usize> = watchers.into_iter().map(Seat::index).collect();
            if watchers.len() < 7 {
                continue; // Where one node stands before another on several rings, its voice is still one.
            }
            tried += 1;
            for from in 0..watchers.len() {
                let liars: Vec<usize> = (0..3).map(|i| watchers[(from + i * i) % watchers.len()]).collect();
                let rest: Vec<usize> = (0..n).filter(|seat| !liars.contains(seat)).take(MAX_ACCUSED).collect();
                let judge = watchers.iter().copied().find(|seat| !liars.contains(seat)).unwrap();
                let others: Vec<usize> = rest.iter().copied().filter(|seat| *seat != victim).collect();
                let (alive, gone) = (BTreeSet::new(), BTreeSet::from([victim]));
                for (dead, said) in [(&alive, &rest), (&alive, &vec![victim]), (&gone, &others), (&gone, &vec![])] {
                    let mesh = lied(&quiet, dead, &liars.iter().map(|liar| (*liar, said.clone())).collect::<Vec<_>>());
                    let judgement = mesh.judge(judge, mesh.hearing(judge));
                    assert!(!judgement.cut_off);
                    assert_eq!(judgement.verdicts[victim] == Verdict::Dead, dead.contains(&victim), "{liars:?} of {n}");
                }
            }
        }
        assert!(tried >= 10, "{tried} victims of {n}");
    }
}

#[test]
fn liars_cannot_persuade_one_that_hears_most_that_it_is_cut_off() {
    let dead = BTreeSet::from([0, 1]);
    let lies: Vec<(usize, Vec<usize>)> = (2..4).map(|liar| (liar, (0..9).collect())).collect();
    let mesh = lied(&Mesh::new(9), &dead, &lies);
    assert_eq!(mesh.hearing(8), Hearing::Little);
    assert!(!mesh.judge(8, Hearing::Little).cut_off, "everybody stands accused, and I hear six of eight");
}

/// `cargo test --release -p nigh-gossip --lib liveness -- --ignored --nocapture`
#[test]
#[ignore = "measures; run it in release on an idle machine"]
#[allow(clippy::disallowed_methods, clippy::print_stderr, reason = "a measurement")]
fn cost_of_ten_thousand() {
    for percent in [0, 5, 30] {
        let mut mesh = Mesh::with_seed(10_000, 1);
        let dead: BTreeSet<usize> = (0..10_000 * percent / 100).collect();
        mesh.observe(|_, accused| !dead.contains(&accused), &dead);
        let rows: usize = mesh.watch.values().map(Vec::len).sum();
        for hearing in [Hearing::Well, Hearing::Little, Hearing::Hardly] {
            let start = std::time::Instant::now();
            let found = (0..20).map(|_| mesh.dead(9_999, hearing).len()).max();
            eprintln!("{percent} % dead, {rows} rows, {hearing:?}: found {found:?} in {:?}", start.elapsed() / 20);
        }
    }
}
