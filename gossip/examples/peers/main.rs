//! nigh beside its peers: N processes on loopback of each, and what they need for a change, a death, and for nothing.
//!
//! ```text
//! cargo run --release -p nigh-gossip --example peers -- [--nodes 30] [--rounds 2] [--seed S] [--only nigh,serf] [--json]
//! ```
//!
//! ```text
//!   peers ── round (nigh, 1) ──┬── node 0 ┐    each round is a process in a network namespace of its own, where the
//!         ── round (serf, 1) ──┤    ...   │    counters of `lo` count this round only; each node is a process too, so
//!         ── round (nigh, 2) … └── node N ┘    that the kernel says what it costs
//! ```
//!
//! A round has five phases: all know all; nothing happens (CPU, memory, bytes); changes of 200 bytes at one node after
//! another; `kill -9` of one node; SIGSTOP of another. Rounds are interleaved (each contender once, then each again), so
//! that a noisy minute of the machine falls on all of them. All processes read one clock, CLOCK_MONOTONIC, and stamp
//! themselves what they write and see. What each contender is set to stands at the top of its file.
//!
//! Not measured here: loss, delay, more nodes than one machine carries. That is the simulator's part.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is its purpose")]
#![allow(clippy::disallowed_methods, reason = "it measures real processes on a real clock")]

mod arena;
mod chitchat;
mod fleet;
mod foca;
mod gossipsub;
mod nigh;
mod node;
mod round;
mod serf;
mod table;
mod words;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::{arena::Arena, node::Seat, round::Round};

/// One error of any kind: a measurement that fails says why and ends.
type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs N processes of nigh and of each of its peers, and prints what a change, a death and an idle minute cost.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    plan: Plan,
    /// How many times each contender is run.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Only these, divided by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Contender>,
    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What a round does.
#[derive(clap::Args, Clone, Serialize)]
struct Plan {
    /// How many nodes.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(4..=200))]
    nodes: u16,
    /// Draws keys, contents, who links to whom, who writes and who dies.
    #[arg(long, default_value_t = 2026)]
    seed: u64,
    /// Changes in a round, each at another node, so at most as many as there are nodes.
    #[arg(long, default_value_t = 20)]
    changes: u16,
    /// Seconds of doing nothing in a round.
    #[arg(long, default_value_t = 10)]
    idle: u64,
    /// Seconds that a death may take.
    #[arg(long, default_value_t = 30)]
    patience: u64,
}

/// The parts that this program starts of itself.
#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Round {
        #[arg(value_enum)]
        contender: Contender,
        /// Alone in its network namespace.
        #[arg(long)]
        alone: bool,
    },
    #[command(hide = true)]
    Node {
        #[arg(value_enum)]
        contender: Contender,
        #[arg(long)]
        index: usize,
        #[arg(long)]
        dir: PathBuf,
        #[arg(long, value_delimiter = ',')]
        ports: Vec<u16>,
    },
}

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Contender {
    Nigh,
    Gossipsub,
    Chitchat,
    #[value(name = "chitchat-50ms")]
    #[serde(rename = "chitchat-50ms")]
    Chitchat50Ms,
    Foca,
    Serf,
}

impl Contender {
    fn name(self) -> &'static str {
        match self {
            Self::Nigh => "nigh",
            Self::Gossipsub => "gossipsub",
            Self::Chitchat => "chitchat",
            Self::Chitchat50Ms => "chitchat-50ms",
            Self::Foca => "foca",
            Self::Serf => "serf",
        }
    }

    /// gossipsub has no notion of a member, so nobody dies in it.
    fn notices_death(self) -> bool {
        self != Self::Gossipsub
    }

    /// Runs one node of it until standard input ends.
    async fn node(self, seat: Seat, orders: node::Orders) -> Fallible<()> {
        match self {
            Self::Nigh => nigh::run(seat, orders).await,
            Self::Gossipsub => gossipsub::run(seat, orders).await,
            Self::Chitchat => chitchat::run(seat, orders, Duration::from_secs(1)).await,
            Self::Chitchat50Ms => chitchat::run(seat, orders, Duration::from_millis(50)).await,
            Self::Foca => foca::run(seat, orders).await,
            Self::Serf => serf::run(seat, orders).await,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    // As `nigh run` does: a worker thread per core, for all that are written in Rust.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| match args.part {
        None => compare(&args),
        Some(Part::Round { contender, alone }) => runtime.block_on(round::main(&args.plan, contender, alone)),
        Some(Part::Node { contender, index, dir, ports }) => runtime.block_on(async {
            let seat = Seat { index, nodes: usize::from(args.plan.nodes), ports, seed: args.plan.seed, dir };
            contender.node(seat, node::orders()).await
        }),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Fallible<()> {
    let plan = Plan { changes: args.plan.changes.min(args.plan.nodes), ..args.plan.clone() };
    let arena = Arena::find();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown").to_owned();
    let mut notes: Vec<String> = arena.missing().into_iter().collect();
    let mut contenders = if args.only.is_empty() { Contender::value_variants().to_vec() } else { args.only.clone() };
    if contenders.contains(&Contender::Serf) && !serf::installed() {
        notes.push("serf was not measured: it is not installed here (Debian, Ubuntu: apt-get install serf).".into());
        contenders.retain(|contender| *contender != Contender::Serf);
    }
    eprintln!("{} nodes, {} rounds, seed {}", plan.nodes, args.rounds, plan.seed);
    let mut rounds: BTreeMap<Contender, Vec<Round>> = BTreeMap::new();
    for number in 0..args.rounds {
        for &contender in &contenders {
            let plan = Plan { seed: plan.seed + u64::from(number), ..plan.clone() };
            eprint!("round {} of {}: {:<14}", number + 1, args.rounds, contender.name());
            match arena.run(&plan, contender) {
                Ok(round) => {
                    eprintln!("{:>6.1} s", round.took);
                    rounds.entry(contender).or_default().push(round);
                }
                Err(error) => {
                    eprintln!("failed");
                    notes.push(format!("round {} of {} failed: {error}", number + 1, contender.name()));
                }
            }
        }
    }
    if args.json {
        let all = serde_json::json!({ "plan": plan, "load": load, "rounds": rounds, "notes": notes });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        table::print(&plan, args.rounds, &load, &rounds, &notes);
    }
    Ok(())
}
