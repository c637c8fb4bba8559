//! How good the answers are, from the command line: on latencies between places, and over time.
//!
//! `cargo run --release -p nigh --example quality -- COMMAND [FILE] [OPTIONS]`; without a command it says what there is.
//! Tables go to standard output (`--json` for machines), progress to standard error.
//!
//! Nothing is a model of nigh: `matrix` fills a [`nigh_dns::World`] and asks [`nigh_dns::decide`].

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is its purpose")]

mod blend;
mod experiment;
mod file;
mod geography;
mod latencies;
mod options;
mod steering;
mod table;
mod tally;
mod vivaldi;

use std::process::ExitCode;

use options::{Command, Options};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let options = match Options::parse(&args) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let done = match options.command {
        Command::Matrix => matrix(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn matrix(options: &Options) -> Result<(), String> {
    let sites = options.latencies()?.apart(options.apart);
    eprintln!("{} places at least {} ms apart", sites.len(), options.apart);
    let plan = &options.plan;
    let found = experiment::run(&sites, plan)?;
    let title =
        format!("{} POPs, {} origins, {} seeds, {} answers", plan.pops, plan.origins, plan.seeds, found.answers);
    table::print_matrix(&title, &found, options.json);
    Ok(())
}
