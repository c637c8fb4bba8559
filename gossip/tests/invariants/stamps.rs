//! What a running node holds never gets older, and nothing that it holds goes.

use nigh_gossip::sim::{Chaos, Lie};

use super::{Seed, joined};

#[test]
fn stamps_never_fall_while_everything_breaks() {
    let seed = Seed::new();
    for run in 100..103 {
        let seed = seed.0 + run;
        let mut sim = joined(seed, 20);
        // Old pages are sent on purpose, too.
        sim.corrupt(7, Lie::Replay);
        let mut chaos = Chaos::new(seed);
        for _ in 0..60 {
            let fault = chaos.step(&mut sim);
            if let Err(problem) = chaos.check(&sim) {
                panic!("NIGH_SEED={seed}: after {fault:?}: {problem}");
            }
        }
    }
}
