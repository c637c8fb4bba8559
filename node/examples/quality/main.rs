//! How good the answers are, from the command line: on latencies between places, and over time.
//!
//! `cargo run --release -p nigh --example quality -- COMMAND [FILE] [OPTIONS]`; without a command it says what there is.
//! Tables go to standard output (`--json` for machines), progress to standard error.
//!
//! Nothing is a model of nigh: `matrix` fills a [`nigh_dns::World`] and asks [`nigh_dns::decide`]; `series` feeds the
//! filter of [`nigh::measure`], and its order and deadband after it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is its purpose")]

mod blend;
mod experiment;
mod file;
mod geography;
mod labels;
mod latencies;
mod options;
mod recordings;
mod replay;
mod rivals;
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
        Command::Series => series(&options),
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

fn series(options: &Options) -> Result<(), String> {
    let path = options.file.as_deref().ok_or("series needs a file")?;
    let told = |problem| format!("{path}: {problem}");
    let text = file::read(path)?;
    if recordings::is_labelled(&text) {
        table::print_labels(&labels::run(&recordings::labelled(&text).map_err(told)?), options.json);
        return Ok(());
    }
    let plan = &options.plan;
    let recording = recordings::Recording::parse(&text, plan.origins, plan.seed, options.every_frame).map_err(told)?;
    let alarms: Vec<_> = [500.0, 1000.0, 2000.0]
        .into_iter()
        .flat_map(|timeout_ms| [2, 3, 5].map(|fall| replay::false_alarms(&recording, timeout_ms, fall)))
        .collect();
    let recording = recording.within(options.timeout_ms);
    let found = replay::run(&recording, options.timeout_ms);
    let (name, cases, step) = (recording.name, recording.cases.len(), recording.step.as_secs_f64());
    let title = format!("{name}: {cases} cases, a probe every {step:.1} s, given up after {} ms", options.timeout_ms);
    table::print_series(&title, &found, &alarms, options.json);
    Ok(())
}
