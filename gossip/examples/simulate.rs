//! Any number of simulated nodes through join, edit, kill, partition and heal, with a table of how long each took.
//!
//! `cargo run --release -p nigh-gossip --example simulate -- [NODES] [SEED]`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is its purpose")]
#![allow(clippy::disallowed_methods, reason = "it measures its own speed")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use nigh_gossip::sim::Sim;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let (Ok(nodes), Ok(seed)) = (args.next().unwrap_or(Ok(100)), args.next().unwrap_or(Ok(2026))) else {
        eprintln!("usage: simulate [NODES] [SEED]");
        return ExitCode::from(2);
    };
    println!("{nodes} nodes, seed {seed}");
    println!("{:<44}{:>12}{:>14}{:>12}", "step", "virtual", "deliveries", "real");
    let mut run = Run { sim: Sim::new(seed), good: true };
    let nodes = usize::try_from(nodes).unwrap_or(usize::MAX).max(5);
    run.step("all join and agree", |sim| {
        sim.add(&[]);
        for node in 1..nodes {
            sim.add(&[(node - 1).min(node % 3)]);
        }
    });
    run.step("an operator's edit is everywhere", |sim| sim.edit(nodes / 2, 1, b"www"));
    run.step("one in twenty killed, the rest knows", |sim| {
        (0..nodes).step_by(20).for_each(|node| sim.kill(node, node % 40 == 0));
    });
    run.step("they come back", |sim| (0..nodes).step_by(20).for_each(|node| sim.start(node)));
    run.step("30 % cut off for 20 s, then healed", |sim| {
        sim.partition(|node| usize::from(node * 10 >= nodes * 7));
        sim.run_for(Duration::from_secs(20));
        sim.edit(0, 2, b"one side");
        sim.edit(nodes - 1, 3, b"the other");
        sim.heal();
    });
    println!("trace {}", run.sim.trace());
    if run.good {
        ExitCode::SUCCESS
    } else {
        println!("rerun: cargo run --release -p nigh-gossip --example simulate -- {nodes} {seed}");
        ExitCode::FAILURE
    }
}

struct Run {
    sim: Sim,
    good: bool,
}

impl Run {
    fn step(&mut self, what: &str, act: impl FnOnce(&mut Sim)) {
        let (start, before, virtually) = (Instant::now(), self.sim.delivered(), self.sim.now());
        act(&mut self.sim);
        let took = self.sim.run_until(Duration::from_secs(120), Sim::settled);
        self.good &= took.is_some();
        let virtually = match took {
            Some(_) => format!("{:.2} s", (self.sim.now() - virtually).as_secs_f64()),
            None => "NEVER".to_owned(),
        };
        let deliveries = self.sim.delivered() - before;
        println!("{what:<44}{virtually:>12}{deliveries:>14}{:>10.1} s", start.elapsed().as_secs_f64());
    }
}
