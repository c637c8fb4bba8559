//! What a mesh at rest costs each node, and what one change costs.

use nigh_gossip::{Key, Owner, Slot, sim::Traffic};

use super::{ROWS, Seed, secs, standing};

/// Bytes that arrive at a node of a mesh of 50 each second, with a page of claims moving each second somewhere.
const BYTES_PER_SECOND: u64 = 10_000;

#[test]
fn a_mesh_at_rest_is_quiet() {
    let seed = Seed::new();
    let mut sim = standing(&seed, 50, 100);
    // A writer's first sixteen pages of an epoch are floods that teach its tree.
    for version in 1..=16 {
        (0..50).for_each(|node| sim.drift(node, 0, 64, version));
        sim.run_for(secs(1));
    }
    let before: Vec<Traffic> = (0..50).map(|node| sim.traffic(node)).collect();
    for second in 0..30 {
        sim.drift(usize::try_from(second).unwrap() % 50, 0, 64, second + 20);
        sim.run_for(secs(1));
    }
    let mut total = Traffic::default();
    (0..50).for_each(|node| total += sim.traffic(node) - before[node]);
    let per_node = total.total_in() / 50 / 30;
    assert!(per_node <= BYTES_PER_SECOND, "{per_node} bytes a second: {total:?}");
}

/// Copies of a change that a node receives once the tree of its writer is learnt.
const COPIES: f64 = 1.1;

#[test]
fn a_change_arrives_once() {
    let seed = Seed::new();
    let mut sim = standing(&seed, 50, 100);
    let mut copies = Vec::new();
    // The first sixteen pages of an epoch are floods.
    for version in 1..=40 {
        sim.drift(7, 0, 64, version);
        let key = Key { owner: Owner::Node(sim.id(7)), table: ROWS, slot: Slot::page(0) };
        let followed = sim.follow_page(key, 7).unwrap();
        sim.run_for(secs(2));
        copies.push(sim.spread(followed).copies() as f64 / 49.0);
        sim.forget_spreads();
    }
    assert!(copies[30..].iter().sum::<f64>() / 10.0 <= COPIES, "{copies:?}");
}
