//! A node with an empty disk: how long until it holds what the others hold, and what that takes.

use std::time::Duration;

use crate::{options::Options, report::Report};

const CLAIMS: usize = 100;
const LIMIT: Duration = Duration::from_secs(120);

pub fn run(options: &Options, report: &mut Report) {
    let nodes = options.nodes_or(200);
    let mut sim = options.standing(nodes, CLAIMS, 0.0);
    sim.warm_up(Duration::from_secs(20));
    let node = sim.add(&[0, nodes / 2]);
    let knows_all = |sim: &nigh_gossip::sim::Sim| {
        let held = |of: usize| sim.engine(of).map_or(0, |engine| engine.replica().pages().len());
        sim.engine(node).is_some_and(|engine| engine.members().count() > nodes) && held(node) >= held(0)
    };
    match sim.run_until(LIMIT, knows_all) {
        Some(took) => report.bounded("an empty node holds everything", took.as_secs_f64(), "s", 10.0),
        None => report.fail(format!("the new node does not hold everything after {LIMIT:?}")),
    }
    if sim.run_until(LIMIT, nigh_gossip::sim::Sim::verdicts_are_true).is_none() {
        report.fail("the others do not hold the new node for alive");
    }
    let traffic = sim.traffic(node);
    report.row("bytes that it received", traffic.total_in() as f64 / 1e6, "MB");
    report.row("bytes that it sent", traffic.total_out() as f64 / 1e6, "MB");
    report.speed(&sim);
}
