//! The mesh in virtual time, from the command line: how fast news spreads, when deaths are known, what it costs.
//!
//! `cargo run --release -p nigh-gossip --example simulate -- COMMAND [OPTIONS]`; without a command it says what there
//! is. Tables go to standard output (`--json` for machines), progress to standard error. A run that misses what it
//! promises ends with status 1 and the line that runs exactly the same again.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is its purpose")]
#![allow(clippy::disallowed_methods, reason = "it measures its own speed and reads geographies")]

mod churn;
mod death;
mod fuzz;
mod hour;
mod join;
mod options;
mod report;
mod spread;
mod steady;
mod story;

use std::process::ExitCode;

use options::Options;
use report::Report;

const USAGE: &str = "\
usage: simulate COMMAND [OPTIONS]

  story     join, edit, kill, come back, split and heal; how long until all agree
  spread    one operator's edit and one row at every node
  churn     the same, with 5 % of the nodes dead just before, unannounced
  death     a death known at every node
  steady    bytes per node under the reference load
  hour      an hour under loss and stalls: no false verdict
  join      a node with an empty disk becomes usable
  fuzz      random faults, then healing: what must hold, holds

  --nodes N    nodes                       --seed N     seed of everything (2026)
  --loss P     share of packets lost       --geo PATH   round trips or places, .csv or .csv.gz
  --runs N     runs of the fuzz            --minutes N  length of steady and hour
  --modelled   heartbeats as link state    --json       one JSON object instead of the table";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let options = match Options::parse(&args) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut report = Report::new(&options);
    match options.command.as_str() {
        "story" => story::run(&options, &mut report),
        "spread" => spread::run(&options, &mut report),
        "churn" => churn::run(&options, &mut report),
        "death" => death::run(&options, &mut report),
        "steady" => steady::run(&options, &mut report),
        "hour" => hour::run(&options, &mut report),
        "join" => join::run(&options, &mut report),
        "fuzz" => fuzz::run(&options, &mut report),
        other => {
            eprintln!("there is no command {other:?}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    report.print(&options)
}
