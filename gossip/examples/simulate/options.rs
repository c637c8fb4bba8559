//! The command line.

use std::process::Command;

use nigh_gossip::sim::{Geography, Sim, Standing};

/// What to run, and under which conditions.
#[derive(Clone, Debug)]
pub struct Options {
    pub command: String,
    nodes: Option<usize>,
    pub seed: u64,
    loss: Option<f64>,
    pub geo: Option<String>,
    geography: Geography,
    pub runs: u64,
    pub minutes: Option<u64>,
    pub modelled: bool,
    pub json: bool,
}

impl Options {
    pub fn parse(args: &[String]) -> Result<Self, String> {
        let mut args = args.iter();
        let command = args.next().ok_or("which command?")?.clone();
        let mut options = Self {
            command,
            nodes: None,
            seed: 2026,
            loss: None,
            geo: None,
            geography: Geography::world(),
            runs: 20,
            minutes: None,
            modelled: false,
            json: false,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--nodes" => options.nodes = Some(number(arg, value()?)?),
                "--seed" => options.seed = number(arg, value()?)?,
                "--loss" => options.loss = Some(number(arg, value()?)?),
                "--geo" => options.geo = Some(value()?.clone()),
                "--runs" => options.runs = number(arg, value()?)?,
                "--minutes" => options.minutes = Some(number(arg, value()?)?),
                "--modelled" => options.modelled = true,
                "--json" => options.json = true,
                other => return Err(format!("{other:?} is no option")),
            }
        }
        if options.nodes.is_some_and(|nodes| !(2..=100_000).contains(&nodes)) {
            return Err("--nodes takes 2 to 100000".to_owned());
        }
        if options.loss.is_some_and(|loss| !(0.0..=0.9).contains(&loss)) {
            return Err("--loss takes a share between 0 and 0.9; 0.2 is twenty per cent".to_owned());
        }
        if let Some(path) = &options.geo {
            let text = read(path)?;
            options.geography = Geography::parse(&text).map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(options)
    }

    pub fn nodes_or(&self, nodes: usize) -> usize {
        self.nodes.unwrap_or(nodes)
    }

    pub fn loss_or(&self, loss: f64) -> f64 {
        self.loss.unwrap_or(loss)
    }

    /// A mesh that stands, under the loss asked for.
    pub fn standing(&self, nodes: usize, claims_per_node: usize, loss: f64) -> Sim {
        eprintln!("{nodes} nodes are set up");
        let standing = Standing {
            claims_per_node,
            geography: self.geography.clone(),
            modelled_beats: self.modelled,
            ..Standing::new(nodes, self.seed)
        };
        let mut sim = standing.build();
        sim.set_loss(self.loss_or(loss));
        sim
    }

    /// An empty world.
    pub fn world(&self, seed: u64) -> Sim {
        let mut sim = Sim::on(self.geography.clone(), seed);
        sim.set_loss(self.loss_or(0.0));
        sim
    }

    /// What runs the same again.
    pub fn rerun(&self, seed: u64) -> String {
        let mut line =
            format!("cargo run --release -p nigh-gossip --example simulate -- {} --seed {seed}", self.command);
        let given = [
            self.nodes.map(|nodes| format!(" --nodes {nodes}")),
            self.loss.map(|loss| format!(" --loss {loss}")),
            self.geo.as_ref().map(|geo| format!(" --geo {geo}")),
            self.minutes.map(|minutes| format!(" --minutes {minutes}")),
            self.modelled.then(|| " --modelled".to_owned()),
            (self.command == "fuzz").then(|| " --runs 1".to_owned()),
        ];
        line.extend(given.into_iter().flatten());
        line
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name}: {value:?} is no number that fits"))
}

fn read(path: &str) -> Result<String, String> {
    if !path.ends_with(".gz") {
        return std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    }
    let unpacked = Command::new("gzip").args(["-dc", path]).output().map_err(|error| format!("gzip: {error}"))?;
    if !unpacked.status.success() {
        return Err(format!("{path}: {}", String::from_utf8_lossy(&unpacked.stderr).trim()));
    }
    String::from_utf8(unpacked.stdout).map_err(|_| format!("{path}: not text"))
}
