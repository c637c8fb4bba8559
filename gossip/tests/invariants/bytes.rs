//! What a mesh at rest costs each node, and what one change costs.

use nigh_gossip::sim::Traffic;

use super::{Seed, secs, standing};

/// Bytes that arrive at a node of a mesh of 50 each second, with a page of claims moving each second somewhere.
const BYTES_PER_SECOND: u64 = 10_000;

#[test]
#[ignore = "waits for trees and for round trips that are published less often: 31 KB/s with the flood"]
fn a_mesh_at_rest_is_quiet() {
    let seed = Seed::new();
    let mut sim = standing(&seed, 50, 100);
    sim.run_for(secs(15));
    let before: Vec<Traffic> = (0..50).map(|node| sim.traffic(node)).collect();
    for second in 0..30 {
        sim.drift(usize::try_from(second).unwrap() % 50, 0, 64, second + 1);
        sim.run_for(secs(1));
    }
    let mut total = Traffic::default();
    (0..50).for_each(|node| total += sim.traffic(node) - before[node]);
    let per_node = total.total_in() / 50 / 30;
    assert!(per_node <= BYTES_PER_SECOND, "{per_node} bytes a second: {total:?}");
}
