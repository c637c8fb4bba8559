//! How long a change takes to every node, and how many copies of it arrive: an operator's edits, which share one tree,
//! and rows of nodes, which have a tree each.

use std::time::Duration;

use nigh_gossip::{
    Key, Owner, Slot, Stamp, Table,
    sim::{Sim, Times},
};

use crate::{options::Options, report::Report};

/// Changes of each writer that are not counted: they teach the trees.
const LEARNING: u32 = 3;
/// Changes that are measured, of each kind.
const CHANGES: u32 = 10;
/// Time between two changes.
pub const BETWEEN: Duration = Duration::from_secs(2);
/// A change that is not everywhere by then is missed.
pub const LIMIT: Duration = Duration::from_secs(10);
/// Where the claims of the standing mesh are.
const CLAIMS: Table = Table(16);

/// Writes the nth change through a node; says what was written.
type Write = fn(&mut Sim, usize, u32) -> (Key, Stamp);

pub fn run(options: &Options, report: &mut Report) {
    let nodes = options.nodes_or(1000);
    let mut sim = options.standing(nodes, 64, 0.0);
    sim.warm_up(Duration::from_secs(3));
    for change in 0..LEARNING {
        for writer in writers(nodes) {
            edit(&mut sim, writer, change);
            sim.drift(writer, 0, 64, change + 1);
            sim.run_for(Duration::from_millis(500));
        }
    }
    let kinds: [(&str, Write); 2] = [
        ("an operator's edit", edit),
        ("a row of a node", |sim, writer, change| row(sim, writer, LEARNING + change + 1)),
    ];
    for (name, write) in kinds {
        let (mut times, mut copies) = (Times::default(), 0);
        for change in 0..CHANGES {
            eprint!("\r{name} {change} of {CHANGES} ");
            let writer = writers(nodes)[change as usize % 2];
            let measured = measure(&mut sim, writer, BETWEEN, |sim| write(sim, writer, change));
            if measured.missing > 0 {
                report.fail(format!("{name}: change {change} did not reach {} nodes", measured.missing));
            }
            times.extend(&measured.times);
            copies += measured.copies;
        }
        report.times(&format!("{name} at every node"), &times, Some(600.0));
        let each = copies as f64 / (CHANGES as usize * (nodes - 1)) as f64;
        report.bounded(format!("{name}: copies received per node"), each, "", 1.1);
    }
    eprintln!();
    report.speed(&sim);
}

/// Those that write: two, so that there are two trees.
pub fn writers(nodes: usize) -> [usize; 2] {
    [nodes / 3, nodes / 2]
}

/// An operator's edit through this node.
pub fn edit(sim: &mut Sim, writer: usize, change: u32) -> (Key, Stamp) {
    sim.edit(writer, change % 7, format!("change {change}").as_bytes())
}

fn row(sim: &mut Sim, writer: usize, change: u32) -> (Key, Stamp) {
    sim.drift(writer, 0, 64, change);
    let key = Key { owner: Owner::Node(sim.id(writer)), table: CLAIMS, slot: Slot::page(0) };
    let stamp = sim.engine(writer).and_then(|engine| engine.replica().stamp(&key));
    (key, stamp.unwrap_or(Stamp { major: 0, minor: 0, hash: [0; 16] }))
}

/// What became of one change.
pub struct Measured {
    pub times: Times,
    pub copies: u64,
    pub missing: usize,
}

/// Follows one change to every node, and then as long again, at most to `late` in all: late copies count as well.
pub fn measure(sim: &mut Sim, writer: usize, late: Duration, write: impl FnOnce(&mut Sim) -> (Key, Stamp)) -> Measured {
    sim.forget_spreads();
    let written = write(sim);
    let followed = sim.follow(written);
    let all = |sim: &Sim| sim.running().all(|(node, _)| sim.spread(followed).reached(node));
    let took = sim.run_until(LIMIT, all).unwrap_or(LIMIT);
    sim.run_for(late.saturating_sub(took).min(took));
    let running: Vec<usize> = sim.running().map(|(node, _)| node).collect();
    let spread = sim.spread(followed);
    let times = spread.times(running.iter().copied().filter(|node| *node != writer));
    Measured { missing: running.len() - 1 - times.len(), copies: spread.copies(), times }
}
