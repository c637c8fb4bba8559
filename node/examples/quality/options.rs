//! The command line.

use crate::experiment::Plan;
use crate::latencies::Latencies;
use crate::{file, geography};

/// What there is to say to somebody who does not know.
pub const USAGE: &str = "\
usage: quality COMMAND [FILE] [OPTIONS]

  matrix [FILE]  which origin is given, against the best there is, for nigh and for other ways to choose
  series FILE    who is chosen over time, how often that changes and what it costs, against other ways to choose

FILE is .csv or .csv.gz, with round trips in ms:
  a square               one line a place, one column a place; a first line and column of names may be there
  i,j,s1,s2,...          pairs of places, any number of measurements: their median counts
  src,dst,avg_ms,...     directed pairs by name: the mean of both directions counts
Without it, matrix makes up a geography. For series it has
  scenario,path,step_s,rtt_ms...      alternative paths, 2000 or more: no sample
  # RTT in ticks ... then i,j,f1,...   devices, in ticks of 10 ms: each chooses among --origins others
  # RIPE Atlas ... then probe,...      marked changes: does the filter follow them?

  --pops K       points of presence (50)          --seeds N      draws of POPs and origins (20)
  --origins M    servers (20)                     --seed S       the first seed (1)
  --apart MS     places nearer than this to one that is already there are left out (2)
  --places FILE  name,lat,lon: where the places are, for choice by geography
  --claimants C  nodes that claim a resolver and know the round trip to it (3)
  --timeout MS   series: a probe that takes longer has failed, and costs so much (1000)
  --every-frame  series: also the frames of devices that only repeat the one before
  --json         one JSON object instead of the table";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Choices between places.
    Matrix,
    /// Choices over time.
    Series,
}

/// What to run, and on what.
#[derive(Clone, Debug)]
pub struct Options {
    pub command: Command,
    pub file: Option<String>,
    places: Option<String>,
    pub apart: f64,
    pub plan: Plan,
    pub timeout_ms: f64,
    pub every_frame: bool,
    pub json: bool,
}

impl Options {
    pub fn parse(args: &[String]) -> Result<Self, String> {
        let mut args = args.iter();
        let command = match args.next().map(String::as_str) {
            Some("matrix") => Command::Matrix,
            Some("series") => Command::Series,
            Some(other) => return Err(format!("there is no command {other:?}")),
            None => return Err("which command?".to_owned()),
        };
        let mut options = Self {
            command,
            file: None,
            places: None,
            apart: 2.0,
            plan: Plan::default(),
            timeout_ms: 1000.0,
            every_frame: false,
            json: false,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--pops" => options.plan.pops = number(arg, value()?, 2, 10_000)?,
                "--origins" => options.plan.origins = number(arg, value()?, 2, 1_000)?,
                "--seeds" => options.plan.seeds = number(arg, value()?, 1, 10_000)?,
                "--seed" => options.plan.seed = number(arg, value()?, 0, u64::MAX)?,
                "--claimants" => options.plan.claimants = number(arg, value()?, 1, 100)?,
                "--apart" => options.apart = number(arg, value()?, 0.0, 1e4)?,
                "--places" => options.places = Some(value()?.clone()),
                "--timeout" => options.timeout_ms = number(arg, value()?, 1.0, 60_000.0)?,
                "--every-frame" => options.every_frame = true,
                "--json" => options.json = true,
                other if other.starts_with('-') => return Err(format!("{other:?} is no option")),
                other if options.file.is_none() => options.file = Some(other.to_owned()),
                other => return Err(format!("{other:?}: one file is enough")),
            }
        }
        Ok(options)
    }

    /// The round trips to choose by.
    pub fn latencies(&self) -> Result<Latencies, String> {
        let Some(path) = &self.file else {
            return Ok(geography::made_up(300, self.plan.seed));
        };
        let latencies = Latencies::parse(&file::read(path)?).map_err(|problem| format!("{path}: {problem}"))?;
        match &self.places {
            None => Ok(latencies),
            Some(path) => latencies.placed(&file::read(path)?).map_err(|problem| format!("{path}: {problem}")),
        }
    }
}

fn number<T: std::str::FromStr + PartialOrd + std::fmt::Display>(
    name: &str,
    value: &str,
    least: T,
    most: T,
) -> Result<T, String> {
    let number: T = value.parse().map_err(|_| format!("{name}: {value:?} is no number that fits"))?;
    if number >= least && number <= most { Ok(number) } else { Err(format!("{name} takes {least} to {most}")) }
}
