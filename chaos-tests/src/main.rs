//! `chaos`: runs scenarios, tells what this machine can run, and emulates a WAN for people.

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use nigh_chaos::hostile;
use nigh_chaos::lab::own_root;
use nigh_chaos::machine::{self, Need};
use nigh_chaos::report;
use nigh_chaos::scenario::{self, End, Options, Pick, Scenario};
use nigh_chaos::storm;
use nigh_chaos::storm::plan::Plan;
use nigh_chaos::wan::session;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

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
    /// Pools follow DNS-A on BIND, Knot DNS and PowerDNS, and its delegations follow the nodes (about a minute).
    Origins(Run),
    /// Five times what a node can answer, from outside, and noise at its mesh port: what resolvers that it claims keep (a minute).
    Flood(Run),
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
    /// A mixed storm of one seed, small enough for every day (three minutes).
    Quick(Storm),
    /// Every storm once, with the seed given (about forty minutes); at the end a line for each.
    Full(Storm),
    /// One mesh, with a fault every ten seconds for so many hours (`--pops 30` is what it is meant for).
    Soak {
        #[command(flatten)]
        storm: Storm,
        /// How long.
        #[arg(long)]
        hours: f64,
    },
    /// One storm by its name (`chaos storms` lists them).
    One {
        /// Its name.
        scenario: String,
        #[command(flatten)]
        storm: Storm,
    },
    /// Makes one HTML page of the outcomes in these files (which `--json` wrote).
    Report {
        /// The outcomes.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The page.
        #[arg(long, value_name = "FILE", default_value = "storms.html")]
        html: PathBuf,
    },
    /// Lists the storms, and what each run of one proves.
    Storms,
    /// Nodes find their own resolvers, and other nodes prove it (three quarters of a minute; without --fast two).
    Discover {
        #[command(flatten)]
        run: Run,
        /// Do not wait for what ends with a CNAME's TTL.
        #[arg(long)]
        fast: bool,
    },
    /// Connects existing network namespaces by a WAN; reads changes on stdin (see `chaos wan --help`).
    ///
    /// SPEC has lines `host NAME NAMESPACE ADDRESS/LEN`, `default LINK`, `pair FROM TO LINK` and `both A B LINK`, where
    /// LINK is `20ms [jitter 2ms] [loss 1%] [reorder 1%]`. On stdin: the last three, `cut A B`, `heal A B`, `stats`, `quit`.
    Wan {
        /// The file with hosts and links.
        spec: PathBuf,
        /// For loss and jitter.
        #[arg(long, default_value_t = DEFAULT_SEED)]
        seed: u64,
    },
    /// Is a member that misbehaves, until it is killed; the storm `hostile` starts it.
    Hostile(hostile::Part),
    /// Prints what this machine can do.
    Doctor {
        /// The nigh program [default: beside this one].
        #[arg(long)]
        nigh: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Storm {
    #[command(flatten)]
    run: Run,
    /// Points of presence: a node, an ISP's resolver and clients each.
    #[arg(long, default_value_t = 6)]
    pops: usize,
    /// Web servers.
    #[arg(long, default_value_t = 4)]
    origins: usize,
    /// Places: a file of lines `name,latitude,longitude`, instead of a generated globe.
    #[arg(long, value_name = "FILE", conflicts_with = "matrix")]
    places: Option<PathBuf>,
    /// Distances: a square of comma-separated round trips in milliseconds, instead of a generated globe.
    #[arg(long, value_name = "FILE")]
    matrix: Option<PathBuf>,
    /// Another version of nigh: `roll` upgrades to it, and back.
    #[arg(long, value_name = "PATH")]
    other: Option<PathBuf>,
    /// Write what came out, for machines and for `chaos report`, into this folder: a file for each run.
    #[arg(long, value_name = "FOLDER")]
    json: Option<PathBuf>,
}

#[derive(Args, Clone)]
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
    // What neither looks at the machine nor changes anything stays who it is; `wan` is about networks that are there already.
    if !matches!(cli.command, None | Some(Command::Report { .. } | Command::Storms | Command::Wan { .. })) {
        own_root::enter();
    }
    match cli.command {
        Some(Command::Referral(run)) => play(&scenario::referral::SCENARIO, run, Pick::default(), false),
        Some(Command::Flood(run)) => play(&scenario::flood::SCENARIO, run, Pick::default(), false),
        Some(Command::Origins(run)) => play(&scenario::origins::SCENARIO, run, Pick::default(), false),
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
        Some(Command::Quick(given)) => storms(&["mixed"], &given, given.run.seed),
        Some(Command::Full(given)) => {
            let all: Vec<&str> = storm::plan::SCENARIOS.iter().map(|profile| profile.name).collect();
            storms(&all, &given, given.run.seed)
        }
        Some(Command::One { scenario, storm }) => storms(&[&scenario], &storm, storm.run.seed),
        Some(Command::Soak { storm, hours }) => soak(&storm, hours),
        Some(Command::Report { files, html }) => {
            let read = |path: &PathBuf| -> Result<storm::outcome::Outcome> {
                let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
                serde_json::from_slice(&text).with_context(|| format!("{} is no outcome of a storm", path.display()))
            };
            let outcomes = files.iter().map(read).collect::<Result<Vec<_>>>()?;
            fs::write(&html, storm::page::html(&outcomes)).with_context(|| format!("writing {}", html.display()))?;
            report::line(&format!("written to {}", html.display()));
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Storms) => {
            let about = storm::plan::SCENARIOS.iter().map(|profile| (profile.name, profile.about.to_owned()));
            for (name, text) in about.chain(storm::claims()) {
                report::line(&format!("{name:10} {text}"));
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Discover { run, fast }) => {
            play(&scenario::discover::SCENARIO, run, Pick { fast, ..Pick::default() }, false)
        }
        Some(Command::Wan { spec, seed }) => session::run(&spec, seed).map(|()| ExitCode::SUCCESS),
        Some(Command::Hostile(part)) => hostile::play(part).map(|()| ExitCode::SUCCESS),
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

/// Plays these storms with one seed; tells of each in a line when there are several.
fn storms(names: &[&str], given: &Storm, seed: u64) -> Result<ExitCode> {
    let mut rows = vec![vec!["storm".to_owned(), "seed".to_owned(), "outcome".to_owned()]];
    let mut all = true;
    for name in names {
        let profile = storm::plan::Profile::named(name)?;
        let drawn = Plan::draw(&profile, seed, given.pops, given.origins)?;
        let end = play_plan(Plan { other: given.other.clone(), ..drawn }, &format!("one {name}"), given)?;
        all &= end == End::Passed || end == End::Skipped && !machine::skipping_fails();
        rows.push(vec![(*name).to_owned(), seed.to_string(), format!("{end:?}").to_lowercase()]);
        if nigh_chaos::sys::interrupted() {
            break;
        }
    }
    if names.len() > 1 {
        report::line(&report::table(&rows));
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn soak(given: &Storm, hours: f64) -> Result<ExitCode> {
    let length = Duration::try_from_secs_f64(hours * 3600.0).context("--hours is no length of time")?;
    let plan = Plan::soak(given.run.seed, given.pops, given.origins, length)?;
    let end = play_plan(plan, &format!("soak --hours {hours}"), given)?;
    let fine = end == End::Passed || end == End::Skipped && !machine::skipping_fails();
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays a plan, or only shows it; `command` is what repeats it, without seed and counts.
fn play_plan(plan: Plan, command: &str, given: &Storm) -> Result<End> {
    let run = given.run.clone();
    if run.list {
        report::line(&plan.text());
        return Ok(End::Passed);
    }
    let source = match (&given.places, &given.matrix) {
        (Some(places), _) => storm::Source::List(places.clone()),
        (None, Some(matrix)) => storm::Source::Matrix(matrix.clone()),
        (None, None) => storm::Source::Globe,
    };
    let seed = plan.seed;
    let options = Options { keep: run.keep, seed, nigh: nigh(run.nigh)?, pick: Pick::default(), json: false };
    if let Some(folder) = &given.json {
        // Now, and not after an hour, is the time to say that it cannot be.
        fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    }
    let json = given.json.as_ref().map(|folder| folder.join(format!("{}-{seed}.json", plan.scenario)));
    let again = format!("chaos {command} --seed {seed} --pops {} --origins {}", given.pops, given.origins);
    let parts = storm::Given { pops: given.pops, origins: given.origins, source, json };
    storm::run(plan, &again, &parts, &options)
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
        Need::Knotd,
        Need::PdnsServer,
        Need::Nsupdate,
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
        Need::Faketime,
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
