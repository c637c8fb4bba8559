//! An hour of bad weather: packets get lost, some machines stall for a second now and then. Nobody may be held for dead.

use std::time::Duration;

use nigh_gossip::sim::{KINDS, Traffic};

use crate::{options::Options, report::Report};

/// One node in so many stalls now and then: 5 %.
const ONE_IN: usize = 20;

pub fn run(options: &Options, report: &mut Report) {
    let nodes = options.nodes_or(1000);
    let minutes = options.minutes.unwrap_or(60);
    let mut sim = options.standing(nodes, 0, 0.0);
    sim.warm_up(Duration::from_secs(20));
    sim.set_loss(options.loss_or(0.2));
    (0..nodes).step_by(ONE_IN).for_each(|node| sim.stall_now_and_then(node));
    let before: Vec<Traffic> = (0..nodes).map(|node| sim.traffic(node)).collect();
    for minute in 0..minutes {
        eprint!("\rminute {minute} of {minutes}, {} false verdicts", sim.false_verdicts().verdicts);
        sim.run_for(Duration::from_secs(60));
    }
    eprintln!();
    let found = sim.false_verdicts();
    for (at, by, of) in &found.examples {
        eprintln!("at {:.3} s node {by} held node {of} for dead", at.as_secs_f64());
    }
    report.bounded("false verdicts", found.verdicts as f64, "", 0.0);
    report.bounded("nodes held for dead", found.victims.len() as f64, "", 0.0);
    let counts = sim.counts();
    report.row("refutations", counts.refutations as f64, "");
    let mut spent = Traffic::default();
    before.into_iter().enumerate().for_each(|(node, before)| spent += sim.traffic(node) - before);
    let each = nodes as f64 * minutes.max(1) as f64 * 60.0;
    for (kind, name) in KINDS.iter().enumerate() {
        report.row(format!("in per node: {name}"), spent.count_in[kind] as f64 / each, "/s");
    }
    let pages = counts.pages_new + counts.pages_again;
    report.row("pages received per new page", pages as f64 / counts.pages_new.max(1) as f64, "");
    report.speed(&sim);
}
