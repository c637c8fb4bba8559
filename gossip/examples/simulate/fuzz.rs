//! Random faults for a while, then healing, with the invariants checked all along; many seeds.

use std::time::Duration;

use nigh_gossip::sim::{Chaos, Sim};

use crate::{options::Options, report::Report};

/// Faults of one run.
const FAULTS: usize = 60;
/// After the healing all agree within this.
const DEADLINE: Duration = Duration::from_secs(60);

pub fn run(options: &Options, report: &mut Report) {
    let nodes = options.nodes_or(20);
    let mut slowest = Duration::ZERO;
    for seed in options.seed..options.seed + options.runs {
        eprint!("\rseed {seed}");
        let mut sim = options.world(seed);
        sim.add(&[]);
        for node in 1..nodes {
            sim.add(&[(node - 1).min(node % 3)]);
        }
        sim.run_until(Duration::from_secs(30), Sim::settled);
        match one(&mut sim, seed) {
            Ok(took) => slowest = slowest.max(took),
            Err(problem) => {
                eprintln!();
                report.fail(format!("seed {seed}: {problem}"));
                report.failing_seed(seed);
                report.speed(&sim);
                return;
            }
        }
        if seed + 1 == options.seed + options.runs {
            report.speed(&sim);
        }
    }
    eprintln!();
    report.row("runs", options.runs as f64, "");
    report.row("slowest convergence after the healing", slowest.as_secs_f64(), "s");
}

fn one(sim: &mut Sim, seed: u64) -> Result<Duration, String> {
    let mut chaos = Chaos::new(seed);
    for n in 0..FAULTS {
        let fault = chaos.step(sim);
        chaos.check(sim).map_err(|problem| format!("after fault {n}, {fault:?}: {problem}"))?;
    }
    chaos.heal(sim);
    chaos.converge(sim, DEADLINE)
}
