//! From an empty world through joins, edits, deaths and a partition; how long until all agree each time.

use std::time::{Duration, Instant};

use nigh_gossip::sim::Sim;

use crate::{options::Options, report::Report};

/// Longer than anything should take.
const LIMIT: Duration = Duration::from_secs(120);

pub fn run(options: &Options, report: &mut Report) {
    let nodes = options.nodes_or(100).max(5);
    let mut sim = options.world(options.seed);
    let mut step = |what: &str, act: &dyn Fn(&mut Sim)| {
        let (start, virtually) = (Instant::now(), sim.now());
        act(&mut sim);
        match sim.run_until(LIMIT, Sim::settled) {
            Some(_) => report.row(what, (sim.now() - virtually).as_secs_f64(), "s"),
            None => report.fail(format!("{what}: not within {LIMIT:?}")),
        }
        eprintln!("{what}: {:.1} s of real time", start.elapsed().as_secs_f64());
    };
    step("all join and agree", &|sim| {
        sim.add(&[]);
        for node in 1..nodes {
            sim.add(&[(node - 1).min(node % 3)]);
        }
    });
    step("an operator's edit is everywhere", &|sim| {
        sim.edit(nodes / 2, 1, b"www");
    });
    step("one in twenty killed, the rest knows", &|sim| {
        (0..nodes).step_by(20).for_each(|node| sim.kill(node, node % 40 == 0));
    });
    step("they come back", &|sim| (0..nodes).step_by(20).for_each(|node| sim.start(node)));
    step("30 % cut off for 20 s, then healed", &|sim| {
        sim.partition(|node| usize::from(node * 10 >= nodes * 7));
        sim.run_for(Duration::from_secs(20));
        sim.edit(0, 2, b"one side");
        sim.edit(nodes - 1, 3, b"the other");
        sim.heal();
    });
    report.speed(&sim);
}
