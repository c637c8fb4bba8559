//! The promises of the mesh, in virtual time: 100 nodes that join, edit, split, heal, die and come back.
//!
//! A failure prints the seed; `NIGH_SEED=… cargo test -p nigh-gossip --test mesh NAME` runs the same again.

#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "tests read their seed from the environment and wait on real sockets")]

mod seed;

use std::time::Duration;

use nigh_gossip::{
    Key, Owner, Slot, Table,
    sim::{Index, Sim},
    verdict::Verdict,
};

use seed::Seed;

const ROWS: Table = Table(16);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` nodes, each joining through one of the first three, settled.
fn mesh(seed: &Seed, n: usize) -> Sim {
    let mut sim = Sim::new(seed.0);
    sim.add(&[]);
    for node in 1..n {
        sim.add(&[(node - 1).min(node % 3)]);
    }
    let took = sim.run_until(secs(20), |sim| sim.running().count() == n && sim.settled());
    assert!(took.is_some(), "{n} nodes did not settle in 20 s");
    sim
}

/// The body that `reader` holds of a page of `writer`.
fn read(sim: &Sim, reader: Index, writer: Index, slot: u32) -> Option<Vec<u8>> {
    let key = Key { owner: Owner::Node(sim.id(writer)), table: ROWS, slot: Slot::page(slot) };
    sim.engine(reader)?.replica().get(&key).map(|page| page.body().to_vec())
}

fn edited(sim: &Sim, reader: Index, slot: u32) -> Option<Vec<u8>> {
    let key = Key { owner: Owner::Operators, table: Table(32), slot: Slot::page(slot) };
    sim.engine(reader)?.replica().get(&key).map(|page| page.body().to_vec())
}

#[test]
fn a_hundred_nodes_join_and_know_each_other() {
    let seed = Seed::new();
    let sim = mesh(&seed, 100);
    for (node, engine) in sim.running() {
        assert_eq!(engine.members().count(), 100, "node {node}");
        assert!(!engine.cut_off());
    }
}

#[test]
fn links_settle_at_what_the_overlay_asks_for() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 100);
    sim.run_for(secs(45));
    for (node, engine) in sim.running() {
        let links = engine.links().count();
        assert!((8..=17).contains(&links), "node {node} has {links} links");
    }
    assert!(sim.settled());
}

#[test]
fn an_edit_and_a_row_reach_everyone() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 100);
    sim.edit(41, 7, b"www");
    sim.publish(63, ROWS, 0, b"rtt 12 ms");
    let everywhere =
        |sim: &Sim| (0..100).all(|node| edited(sim, node, 7).is_some() && read(sim, node, 63, 0).is_some());
    let took = sim.run_until(secs(2), everywhere).unwrap();
    assert!(took <= Duration::from_millis(500), "{took:?}");
    // Withdrawn again, it is gone everywhere.
    sim.publish(63, ROWS, 0, b"");
    sim.run_until(secs(2), |sim| (0..100).all(|node| read(sim, node, 63, 0).is_none())).unwrap();
    sim.run_until(secs(5), Sim::settled).unwrap();
}

#[test]
fn the_dead_are_known_everywhere_and_nobody_else_is_accused() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 100);
    for (node, silently) in [(5, false), (50, true), (95, false)] {
        sim.kill(node, silently);
    }
    let took = sim.run_until(secs(5), Sim::verdicts_are_true).unwrap();
    assert!(took <= Duration::from_millis(2500), "{took:?}");
    sim.run_until(secs(10), Sim::settled).unwrap();
    for node in [5, 50, 95] {
        sim.start(node);
    }
    sim.run_until(secs(10), Sim::settled).unwrap();
}

#[test]
fn half_of_the_nodes_die_at_once_and_the_rest_goes_on() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 60);
    for node in (0..60).step_by(2) {
        sim.kill(node, true);
    }
    sim.run_until(secs(20), Sim::settled).unwrap();
    sim.edit(1, 1, b"still here");
    sim.run_until(secs(2), |sim| sim.running().all(|(node, _)| edited(sim, node, 1).is_some())).unwrap();
}

#[test]
fn one_survivor_of_five_takes_the_others_for_dead() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 5);
    sim.run_for(secs(1)); // All are linked: one that was never heard is given longer.
    for node in 1..5 {
        sim.kill(node, true);
    }
    sim.run_until(secs(2), Sim::verdicts_are_true).unwrap();
    for node in 1..5 {
        sim.start(node);
    }
    sim.run_until(secs(20), Sim::settled).unwrap();
}

#[test]
fn a_partition_splits_the_verdicts_and_healing_joins_what_both_sides_wrote() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 100);
    let side = |node: Index| usize::from(node >= 70);
    sim.partition(side);
    let split = |sim: &Sim| {
        sim.running().all(|(node, engine)| {
            (0..100).all(|other| {
                let alive = engine.verdict(sim.id(other)) == Verdict::Alive;
                alive == (side(node) == side(other))
            })
        })
    };
    sim.run_until(secs(30), split).unwrap();
    sim.edit(3, 1, b"majority");
    sim.edit(90, 2, b"minority");
    sim.edit(3, 3, b"older");
    sim.edit(90, 3, b"newer");
    sim.run_for(secs(5));
    assert_eq!((edited(&sim, 0, 2), edited(&sim, 99, 1)), (None, None));
    sim.heal();
    sim.run_until(secs(30), Sim::settled).unwrap();
    for node in 0..100 {
        assert_eq!(edited(&sim, node, 1).as_deref(), Some(&b"majority"[..]));
        assert_eq!(edited(&sim, node, 2).as_deref(), Some(&b"minority"[..]));
        assert_eq!(edited(&sim, node, 3).as_deref(), Some(&b"newer"[..]));
    }
}

#[test]
fn a_wiped_disk_gives_the_node_its_pages_back_and_old_rows_go() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 20);
    for version in 0..50u8 {
        sim.publish(4, ROWS, 0, &[version]);
    }
    sim.publish(4, ROWS, 1, b"will not come back");
    sim.run_until(secs(5), Sim::settled).unwrap();
    sim.kill(4, false);
    sim.wipe(4);
    sim.start(4);
    sim.publish(4, ROWS, 0, b"after the wipe");
    let right = |sim: &Sim| (0..20).all(|node| read(sim, node, 4, 0).as_deref() == Some(b"after the wipe"));
    sim.run_until(secs(10), right).unwrap();
    sim.run_until(secs(20), |sim| (0..20).all(|node| read(sim, node, 4, 1).is_none())).unwrap();
    sim.run_until(secs(10), Sim::settled).unwrap();
}

#[test]
fn all_restart_from_disk_without_their_bootstrap_peers() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 20);
    sim.edit(0, 1, b"www");
    sim.run_until(secs(5), Sim::settled).unwrap();
    for node in 0..20 {
        sim.kill(node, false);
    }
    // Everyone's bootstrap peers (0, 1 and 2) stay away.
    for node in 3..20 {
        sim.start(node);
    }
    sim.run_until(secs(20), Sim::settled).unwrap();
    assert!((3..20).all(|node| edited(&sim, node, 1).is_some()));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed: u64| {
        let mut sim = mesh(&Seed(seed), 20);
        sim.kill(3, false);
        sim.run_for(secs(5));
        (sim.trace(), sim.delivered())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
