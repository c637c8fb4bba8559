//! A change while some of the nodes have just died and nobody knows it yet.

use std::time::Duration;

use nigh_gossip::sim::Times;

use crate::{
    options::Options,
    report::Report,
    spread::{BETWEEN, edit, measure, writers},
};

/// One node in so many dies: 5 %.
const ONE_IN: usize = 20;
/// How often: each time others die, and the dead of before come back.
const ROUNDS: u32 = 5;
/// In a mesh larger than this the dead stay dead, and there are fewer rounds.
const LARGE: usize = 500;
const FEWER_ROUNDS: u32 = 2;
/// In one of this size there is one round, and it ends before the deaths are known: hundreds of them, each told by eight
/// watchers to everybody, are more than an hour of work, and no part of what is measured.
const HUGE: usize = 5_000;
/// No accusation is made within this.
const UNNOTICED: Duration = Duration::from_secs(1);

pub fn run(options: &Options, report: &mut Report) {
    let nodes = options.nodes_or(1000);
    let mut sim = options.standing(nodes, 0, 0.0);
    sim.warm_up(Duration::from_secs(3));
    let (rounds, late) = match nodes {
        HUGE.. => (1, UNNOTICED),
        _ if nodes > LARGE => (FEWER_ROUNDS, BETWEEN),
        _ => (ROUNDS, BETWEEN),
    };
    let writer = writers(nodes)[0];
    for change in 0..5 {
        edit(&mut sim, writer, change);
        sim.run_for(Duration::from_millis(500));
    }
    let (mut times, mut copies, mut receivers) = (Times::default(), 0, 0);
    for round in 0..rounds {
        eprint!("\rround {round} of {rounds}");
        let victims: Vec<usize> =
            (0..nodes).skip(round as usize).step_by(ONE_IN).filter(|node| *node != writer).collect();
        let measured = measure(&mut sim, writer, late, |sim| {
            victims.iter().for_each(|node| sim.kill(*node, true));
            edit(sim, writer, 100 + round)
        });
        if measured.missing > 0 {
            report.fail(format!("round {round}: the change did not reach {} nodes", measured.missing));
        }
        times.extend(&measured.times);
        copies += measured.copies;
        receivers += nodes - victims.len() - 1;
        if nodes <= LARGE {
            victims.iter().for_each(|node| sim.start(*node));
            sim.run_for(Duration::from_secs(20));
        }
    }
    eprintln!();
    report.times("a change at every living node", &times, Some(1200.0));
    report.row("copies received per node", copies as f64 / receivers as f64, "");
    report.speed(&sim);
}
