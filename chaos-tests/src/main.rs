//! `chaos`: runs scenarios, tells what this machine can run, and emulates a WAN for people.

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use nigh_chaos::machine::{self, Need};
use nigh_chaos::report;
use nigh_chaos::scenario::{self, End, Options, Pick, Scenario};
use nigh_chaos::wan::session;
use std::path::PathBuf;
use std::process::ExitCode;

/// Scenarios against real resolvers on an emulated WAN.
#[derive(Parser)]
#[command(name = "chaos", version, arg_required_else_help = true)]
struct Cli {
    /// List the scenarios.
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Real resolvers are referred to their own node, and keep getting answers when it dies (about three minutes).
    Referral(Run),
    /// unbound, BIND, PowerDNS Recursor and Knot Resolver, each in every corner (three to seven minutes; --fast: two).
    Resolvers {
        #[command(flatten)]
        run: Run,
        /// Only this resolver (unbound, bind, pdns, kresd); may be given several times.
        #[arg(long, value_name = "RESOLVER")]
        only: Vec<String>,
        /// Only this case (`chaos resolvers --list` names them); may be given several times.
        #[arg(long, value_name = "CASE")]
        case: Vec<String>,
        /// Only the quick cases.
        #[arg(long)]
        fast: bool,
        /// Print what came out as JSON; everything else goes to standard error.
        #[arg(long)]
        json: bool,
    },
    /// dnsviz, Zonemaster, dnspython, dig, kdig and delv judge a delegated mesh zone (two minutes; --fast: half of one).
    Judges {
        #[command(flatten)]
        run: Run,
        /// Only this judge (dig, kdig, delv, dnspython, dnsviz, zonemaster); may be given several times.
        #[arg(long, value_name = "JUDGE")]
        only: Vec<String>,
        /// Only the quick part of what each of them does.
        #[arg(long)]
        fast: bool,
        /// Leave the bed up until Ctrl-C, to judge by hand.
        #[arg(long)]
        hold: bool,
    },
    /// Connects existing network namespaces by a WAN; reads changes on stdin (see `chaos wan --help`).
    ///
    /// SPEC has lines `host NAME NAMESPACE ADDRESS/LEN`, `default LINK`, `pair FROM TO LINK` and `both A B LINK`, where
    /// LINK is `20ms [jitter 2ms] [loss 1%]`. On stdin: the last three, `cut A B`, `heal A B`, `stats`, `quit`.
    Wan {
        /// The file with hosts and links.
        spec: PathBuf,
        /// For loss and jitter.
        #[arg(long, default_value_t = DEFAULT_SEED)]
        seed: u64,
    },
    /// Prints what this machine can do.
    Doctor {
        /// The nigh program [default: beside this one].
        #[arg(long)]
        nigh: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Run {
    /// Leave configurations and logs.
    #[arg(long)]
    keep: bool,
    /// For everything that chance decides in the bed.
    #[arg(long, default_value_t = DEFAULT_SEED)]
    seed: u64,
    /// The nigh program [default: beside this one].
    #[arg(long)]
    nigh: Option<PathBuf>,
    /// Only list what would be proven.
    #[arg(long)]
    list: bool,
}

/// The same every time unless asked otherwise: a run that failed is to be repeated.
const DEFAULT_SEED: u64 = 1;

fn main() -> ExitCode {
    match perform(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            report::aside(&format!("chaos: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(cli: Cli) -> Result<ExitCode> {
    if cli.list {
        for scenario in scenario::ALL {
            report::line(&format!("{}  {}", scenario.name, scenario.about));
        }
        return Ok(ExitCode::SUCCESS);
    }
    match cli.command {
        Some(Command::Referral(run)) => play(&scenario::referral::SCENARIO, run, Pick::default(), false),
        Some(Command::Resolvers { run, only, case, fast, json }) => {
            let pick = Pick { only, cases: case, fast, hold: false };
            scenario::resolvers::check(&pick)?;
            play(&scenario::resolvers::SCENARIO, run, pick, json)
        }
        Some(Command::Judges { run, only, fast, hold }) => {
            let pick = Pick { only, cases: Vec::new(), fast, hold };
            scenario::judges::check(&pick)?;
            play(&scenario::judges::SCENARIO, run, pick, false)
        }
        Some(Command::Wan { spec, seed }) => session::run(&spec, seed).map(|()| ExitCode::SUCCESS),
        Some(Command::Doctor { nigh }) => doctor(nigh),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn play(scenario: &Scenario, run: Run, pick: Pick, json: bool) -> Result<ExitCode> {
    if run.list {
        for (key, claim) in (scenario.plan)(&pick) {
            report::line(&format!("{key}: {claim}"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options { keep: run.keep, seed: run.seed, nigh: nigh(run.nigh)?, pick, json };
    Ok(match scenario::run(scenario, &options)? {
        End::Passed => ExitCode::SUCCESS,
        End::Failed => ExitCode::FAILURE,
        End::Skipped if machine::skipping_fails() => {
            report::line("CI=true: what cannot be tested counts as failed");
            ExitCode::FAILURE
        }
        End::Skipped => ExitCode::SUCCESS,
    })
}

fn nigh(given: Option<PathBuf>) -> Result<PathBuf> {
    match given {
        Some(path) => Ok(path),
        None => {
            let own = std::env::current_exe().context("finding our own path; name nigh with --nigh PATH")?;
            Ok(own.with_file_name("nigh"))
        }
    }
}

fn doctor(given: Option<PathBuf>) -> Result<ExitCode> {
    let needs = [
        Need::Root,
        Need::Namespaces,
        Need::Tun,
        Need::Named,
        Need::Signer,
        Need::Unbound,
        Need::Pdns,
        Need::Kresd,
        Need::Nginx,
        Need::Dig,
        Need::Delv,
        Need::Kdig,
        Need::Dnsviz,
        Need::Dnspython,
        Need::Zonemaster,
        Need::Nigh(nigh(given)?),
    ];
    let mut rows = vec![vec!["needed".to_owned(), "here".to_owned(), "found, or what to do".to_owned()]];
    let mut all = true;
    for need in needs {
        let (here, detail) = match need.examine() {
            Ok(found) => ("yes", found),
            Err(missing) => ("NO", missing),
        };
        all &= here == "yes";
        rows.push(vec![need.label().to_owned(), here.to_owned(), detail]);
    }
    report::line(&report::table(&rows));
    report::line(if all { "Every scenario can run here." } else { "Scenarios that need what is missing are skipped." });
    Ok(ExitCode::SUCCESS)
}
