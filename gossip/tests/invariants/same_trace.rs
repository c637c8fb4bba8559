//! The same seed gives the same trace, whatever happens in it.

use nigh_gossip::sim::{Chaos, Lie};

use super::{Seed, joined};

#[test]
fn a_run_is_its_seed() {
    let seed = Seed::new();
    let run = |seed: u64| {
        let mut sim = joined(seed, 15);
        for (node, lie) in [(3, Lie::Mutate), (6, Lie::Replay), (9, Lie::Equivocate)] {
            sim.corrupt(node, lie);
        }
        sim.stall_now_and_then(2);
        let mut chaos = Chaos::new(seed);
        let faults: Vec<_> = (0..40).map(|_| chaos.step(&mut sim)).collect();
        (faults, sim.trace(), sim.delivered(), sim.events())
    };
    let first = run(seed.0);
    assert_eq!(first, run(seed.0));
    assert_ne!(first.1, run(seed.0 + 1).1);
}
