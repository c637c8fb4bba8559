//! A member that writes as fast as it can costs the others a bounded amount, and they go on.

use std::time::Duration;

use nigh_gossip::{
    Owner,
    sim::{Lie, Sim},
};

use super::{Seed, secs, standing};

/// Pages that one writer may have; the replica's bound.
const PAGES: usize = 1024;
/// What an honest node may send because of one flooder: half of a line of 100 Mbit/s.
const BYTES_PER_SECOND: u64 = 6_000_000;

#[test]
fn a_flooder_fills_its_own_share_and_no_more() {
    let seed = Seed::new();
    let mut sim = standing(&seed, 30, 0);
    sim.corrupt(3, Lie::Flood);
    let before: Vec<u64> = (0..30).map(|node| sim.traffic(node).total_out()).collect();
    sim.run_for(secs(10));
    // News of honest members still arrives.
    let written = sim.edit(20, 1, b"still here");
    let followed = sim.follow(written);
    let all = |sim: &Sim| sim.honest().all(|(node, _)| sim.spread(followed).reached(node));
    let took = sim.run_until(secs(10), all).unwrap();
    assert!(took <= secs(5), "{took:?}");
    let elapsed = Duration::from_secs(10) + took;
    for (node, engine) in sim.honest() {
        let held = engine.replica().pages().of(Owner::Node(sim.id(3))).count();
        assert!(held <= PAGES, "node {node} holds {held} pages of the flooder");
        let rate = (sim.traffic(node).total_out() - before[node]) / elapsed.as_secs();
        assert!(rate <= BYTES_PER_SECOND, "node {node} sent {rate} bytes a second");
    }
    let found = sim.false_verdicts();
    assert_eq!(found.verdicts, 0, "{:?}", found.examples);
}
