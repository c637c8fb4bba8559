//! Nobody who runs is held for dead: not for lost packets, not for a second's stall, not on the word of a few liars.

use nigh_gossip::sim::Lie;

use super::{Seed, secs, standing};

#[test]
fn a_fifth_of_the_packets_lost_and_stalls_of_a_second_convict_nobody() {
    let seed = Seed::new();
    let mut sim = standing(&seed, 40, 0);
    sim.set_loss(0.2);
    sim.set_jitter(0.5);
    for node in [3, 23] {
        sim.stall_now_and_then(node);
    }
    sim.run_for(secs(180));
    let found = sim.false_verdicts();
    assert_eq!(found.verdicts, 0, "{:?}", found.examples);
}

#[test]
fn three_lying_watchers_convict_nobody_and_save_nobody() {
    let seed = Seed::new();
    let mut sim = standing(&seed, 40, 0);
    (10..13).for_each(|node| sim.corrupt(node, Lie::FalseWatch));
    sim.run_for(secs(20));
    let found = sim.false_verdicts();
    assert_eq!(found.verdicts, 0, "{:?}", found.examples);
    sim.kill(30, false);
    let followed = sim.follow_death(30);
    let known = |sim: &nigh_gossip::sim::Sim| sim.honest().all(|(node, _)| sim.death(followed).known_at(node));
    sim.run_until(secs(5), known).unwrap();
}
