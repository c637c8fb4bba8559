//! What a run found: rows of a table, or one JSON object.

use std::{process::ExitCode, time::Instant};

use nigh_gossip::sim::{Sim, Times};

use crate::options::Options;

/// One figure.
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    /// What it should be at most.
    at_most: Option<f64>,
}

/// Figures in the order in which they were found.
pub struct Report {
    rows: Vec<Row>,
    missed: Vec<String>,
    failing_seed: u64,
    trace: String,
    started: Instant,
}

impl Report {
    pub fn new(options: &Options) -> Self {
        Self {
            rows: Vec::new(),
            missed: Vec::new(),
            failing_seed: options.seed,
            trace: String::new(),
            started: Instant::now(),
        }
    }

    /// A figure without a bound.
    pub fn row(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { what: what.into(), value, unit, at_most: None });
    }

    /// A figure with a bound; above it the run fails.
    pub fn bounded(&mut self, what: impl Into<String>, value: f64, unit: &'static str, at_most: f64) {
        let what = what.into();
        if value > at_most {
            self.missed.push(format!("{what}: {value:.3} {unit}, at most {at_most}"));
        }
        self.rows.push(Row { what, value, unit, at_most: Some(at_most) });
    }

    /// Median, 99th percentile and maximum.
    pub fn times(&mut self, what: &str, times: &Times, p99_at_most_ms: Option<f64>) {
        let ms = |per_mille| times.quantile(per_mille).as_secs_f64() * 1e3;
        self.row(format!("{what}, p50"), ms(500), "ms");
        match p99_at_most_ms {
            Some(bound) => self.bounded(format!("{what}, p99"), ms(990), "ms", bound),
            None => self.row(format!("{what}, p99"), ms(990), "ms"),
        }
        self.row(format!("{what}, max"), ms(1000), "ms");
    }

    /// Something that should not have happened.
    pub fn fail(&mut self, problem: impl Into<String>) {
        self.missed.push(problem.into());
    }

    /// The seed of the run that failed, where there are several.
    pub fn failing_seed(&mut self, seed: u64) {
        self.failing_seed = seed;
    }

    /// How fast the simulator was, and the trace.
    pub fn speed(&mut self, sim: &Sim) {
        let real = self.started.elapsed().as_secs_f64();
        self.row("virtual time", sim.now().as_secs_f64(), "s");
        self.row("real time", real, "s");
        self.row("events", sim.events() as f64, "");
        self.row("events per second", sim.events() as f64 / real, "/s");
        self.trace = sim.trace();
    }

    pub fn print(self, options: &Options) -> ExitCode {
        if options.json {
            println!("{}", self.json(options));
        } else {
            for Row { what, value, unit, at_most } in &self.rows {
                let bound = at_most.map(|bound| format!("  (at most {bound})")).unwrap_or_default();
                let digits = if value.fract() == 0.0 { 0 } else { 3 };
                println!("{what:<48}{value:>16.digits$} {unit}{bound}");
            }
            println!("{:<48}{:>16}", "trace", self.trace);
        }
        if self.missed.is_empty() {
            return ExitCode::SUCCESS;
        }
        for missed in &self.missed {
            eprintln!("MISSED {missed}");
        }
        eprintln!("rerun: {}", options.rerun(self.failing_seed));
        ExitCode::FAILURE
    }

    fn json(&self, options: &Options) -> String {
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|Row { what, value, unit, at_most }| {
                let bound = at_most.map(|bound| format!(",\"at_most\":{bound}")).unwrap_or_default();
                format!("{{\"what\":{},\"value\":{value},\"unit\":{}{bound}}}", quoted(what), quoted(unit))
            })
            .collect();
        let missed: Vec<String> = self.missed.iter().map(|missed| quoted(missed)).collect();
        format!(
            "{{\"command\":{},\"seed\":{},\"trace\":{},\"rows\":[{}],\"missed\":[{}],\"rerun\":{}}}",
            quoted(&options.command),
            options.seed,
            quoted(&self.trace),
            rows.join(","),
            missed.join(","),
            quoted(&options.rerun(self.failing_seed)),
        )
    }
}

/// A JSON string; what is quoted here is our own text, without control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
