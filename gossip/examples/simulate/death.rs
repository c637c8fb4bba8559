//! How long until every node knows of a death.

use std::time::Duration;

use nigh_gossip::sim::{Sim, Times};

use crate::{options::Options, report::Report};

/// Deaths, one after the other.
const DEATHS: usize = 10;
const LIMIT: Duration = Duration::from_secs(30);

pub fn run(options: &Options, report: &mut Report) {
    let nodes = options.nodes_or(300);
    let mut sim = options.standing(nodes, 0, 0.0);
    sim.warm_up(Duration::from_secs(3));
    let (mut all_times, mut last) = (Times::default(), Vec::new());
    for n in 0..DEATHS {
        eprint!("\rdeath {n} of {DEATHS}");
        // Not on the beat of any timer.
        sim.run_for(Duration::from_micros(5_000_000 + 123_457 * n as u64));
        let victim = (n + 1) * nodes / (DEATHS + 2);
        sim.kill(victim, n % 2 == 0);
        let followed = sim.follow_death(victim);
        let known = |sim: &Sim| sim.running().all(|(node, _)| sim.death(followed).known_at(node));
        if sim.run_until(LIMIT, known).is_none() {
            let missing = sim.running().filter(|(node, _)| !sim.death(followed).known_at(*node)).count();
            report.fail(format!("{missing} nodes do not know of the death of node {victim} after {LIMIT:?}"));
        }
        let running: Vec<usize> = sim.running().map(|(node, _)| node).collect();
        let times = sim.death(followed).times(running);
        last.push(times.max());
        all_times.extend(&times);
    }
    eprintln!();
    let bound = if options.loss_or(0.0) > 0.0 { 2000.0 } else { 1500.0 };
    report.times("a death known at a node", &all_times, Some(bound));
    let last: Times = last.into_iter().collect();
    report.times("a death known at all nodes", &last, None);
    report.bounded("false verdicts", sim.false_verdicts().verdicts as f64, "", 0.0);
    report.speed(&sim);
}
