//! How long a change takes to every node, and how many copies of it arrive.

use std::time::Duration;

use nigh_gossip::sim::{Sim, Times};

use crate::{options::Options, report::Report};

/// Changes whose copies are not counted: they teach the trees.
const LEARNING: usize = 5;
/// Changes that are measured.
const CHANGES: usize = 20;
/// Time between two changes.
const BETWEEN: Duration = Duration::from_secs(2);
/// A change that is not everywhere by then is missed.
pub const LIMIT: Duration = Duration::from_secs(10);

pub fn run(options: &Options, report: &mut Report) {
    let nodes = options.nodes_or(1000);
    let mut sim = options.standing(nodes, 0, 0.0);
    sim.warm_up(Duration::from_secs(20));
    for writer in writers(nodes) {
        for slot in 0..LEARNING {
            sim.edit(writer, u32::try_from(slot).unwrap_or(0), b"learning");
            sim.run_for(Duration::from_millis(500));
        }
    }
    let (mut times, mut copies) = (Times::default(), 0);
    for change in 0..CHANGES {
        eprint!("\rchange {change} of {CHANGES}");
        let writer = writers(nodes)[change % 2];
        let measured = measure(&mut sim, writer, change, |_| {});
        if measured.missing > 0 {
            report.fail(format!("change {change} did not reach {} nodes", measured.missing));
        }
        times.extend(&measured.times);
        copies += measured.copies;
    }
    eprintln!();
    report.times("a change at every node", &times, Some(600.0));
    report.bounded("copies received per node", copies as f64 / (CHANGES * (nodes - 1)) as f64, "", 1.1);
    report.speed(&sim);
}

/// Those that write: two, so that there are two trees.
pub fn writers(nodes: usize) -> [usize; 2] {
    [nodes / 3, nodes / 2]
}

/// What became of one change.
pub struct Measured {
    pub times: Times,
    pub copies: u64,
    pub missing: usize,
}

/// One edit, `before` something else happens in the same moment; follows it to every node.
pub fn measure(sim: &mut Sim, writer: usize, change: usize, before: impl Fn(&mut Sim)) -> Measured {
    sim.forget_spreads();
    before(sim);
    let written = sim.edit(writer, u32::try_from(change % 7).unwrap_or(0), format!("change {change}").as_bytes());
    let followed = sim.follow(written);
    let all = |sim: &Sim| sim.running().all(|(node, _)| sim.spread(followed).reached(node));
    let took = sim.run_until(LIMIT, all).unwrap_or(LIMIT);
    // Late copies count as well.
    sim.run_for(BETWEEN.saturating_sub(took));
    let running: Vec<usize> = sim.running().map(|(node, _)| node).collect();
    let spread = sim.spread(followed);
    let times = spread.times(running.iter().copied().filter(|node| *node != writer));
    Measured { missing: running.len() - 1 - times.len(), copies: spread.copies(), times }
}
