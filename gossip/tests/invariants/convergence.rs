//! At rest and connected, all honest nodes hold the same, and it is the truth.

use nigh_gossip::sim::{Chaos, Lie, Sim};

use super::{ROWS, Seed, joined, read, secs, standing};

#[test]
fn whatever_went_wrong_after_the_healing_all_agree() {
    let seed = Seed::new();
    for run in 0..6 {
        let seed = seed.0 + run;
        let mut sim = joined(seed, 12 + 4 * usize::try_from(run % 3).unwrap());
        let mut chaos = Chaos::new(seed);
        let faults: Vec<_> = (0..40).map(|_| chaos.step(&mut sim)).collect();
        chaos.heal(&mut sim);
        if let Err(problem) = chaos.converge(&mut sim, secs(60)) {
            panic!("NIGH_SEED={seed}: {problem}; faults: {faults:?}");
        }
    }
}

#[test]
fn of_two_pages_with_one_stamp_the_same_one_wins_everywhere_and_there_is_proof() {
    let seed = Seed::new();
    let mut sim = standing(&seed, 30, 0);
    sim.corrupt(4, Lie::Equivocate);
    sim.run_for(secs(10));
    // It stops to lie, or there would always be a newer pair under way.
    sim.kill(4, false);
    sim.run_until(secs(20), Sim::settled).unwrap();
    for (node, engine) in sim.honest() {
        let proof = engine.replica().equivocations().any(|proof| proof.kept.signer() == sim.id(4));
        assert!(proof, "node {node} has no proof");
    }
}

#[test]
fn a_relay_that_sends_old_pages_changes_nothing() {
    let seed = Seed::new();
    let mut sim = standing(&seed, 30, 0);
    (0..3).for_each(|node| sim.corrupt(node, Lie::Replay));
    for version in 0..20u8 {
        sim.publish(20, ROWS, 0, &[version; 30]);
        sim.run_for(secs(1));
    }
    sim.run_until(secs(10), |sim| (3..30).all(|node| read(sim, node, 20, 0) == Some(vec![19; 30]))).unwrap();
    sim.run_until(secs(10), Sim::settled).unwrap();
}
