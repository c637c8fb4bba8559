//! What was withdrawn stays withdrawn, with disks as stale as they like.

use nigh_gossip::sim::Sim;

use super::{ROWS, Seed, joined, read, secs};

const WRITER: usize = 5;

fn gone(sim: &Sim) -> bool {
    sim.running().all(|(node, _)| read(sim, node, WRITER, 0).is_none())
}

/// A mesh in which everybody's backup holds a page that was withdrawn since.
fn withdrawn(seed: &Seed) -> Sim {
    let mut sim = joined(seed.0, 20);
    sim.publish(WRITER, ROWS, 0, b"was true once");
    sim.publish(WRITER, ROWS, 1, b"stays true");
    sim.run_until(secs(10), |sim| (0..20).all(|node| read(sim, node, WRITER, 0).is_some())).unwrap();
    (0..20).for_each(|node| sim.back_up(node));
    sim.publish(WRITER, ROWS, 0, b"");
    sim.run_until(secs(10), gone).unwrap();
    sim
}

#[test]
fn stale_disks_of_others_do_not_bring_it_back() {
    let seed = Seed::new();
    let mut sim = withdrawn(&seed);
    for node in [1, 8, 15] {
        sim.kill(node, false);
        sim.roll_back(node);
        sim.start(node);
    }
    sim.run_until(secs(20), |sim| gone(sim) && sim.settled()).unwrap();
    sim.run_for(secs(20));
    assert!(gone(&sim));
}

#[test]
fn the_writers_own_stale_disk_does_not_bring_it_back() {
    let seed = Seed::new();
    for wiped in [false, true] {
        let mut sim = withdrawn(&seed);
        sim.kill(WRITER, true);
        if wiped {
            sim.wipe(WRITER);
        } else {
            sim.roll_back(WRITER);
        }
        sim.start(WRITER);
        sim.publish(WRITER, ROWS, 1, b"stays true");
        let right =
            |sim: &Sim| gone(sim) && (0..20).all(|node| read(sim, node, WRITER, 1).as_deref() == Some(b"stays true"));
        sim.run_until(secs(40), |sim| right(sim) && sim.settled()).unwrap();
        sim.run_for(secs(20));
        assert!(right(&sim), "wiped: {wiped}");
    }
}

#[test]
fn a_node_that_was_away_does_not_bring_back_what_went_meanwhile() {
    let seed = Seed::new();
    let mut sim = joined(seed.0, 20);
    sim.publish(WRITER, ROWS, 0, b"was true once");
    sim.run_until(secs(10), |sim| (0..20).all(|node| read(sim, node, WRITER, 0).is_some())).unwrap();
    sim.partition(|node| usize::from(node >= 15));
    sim.run_for(secs(10));
    sim.publish(WRITER, ROWS, 0, b"");
    sim.run_for(secs(10));
    sim.heal();
    sim.run_until(secs(30), |sim| gone(sim) && sim.settled()).unwrap();
}
