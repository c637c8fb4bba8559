//! The table, and the same as JSON.

use serde_json::{Value, json};

use crate::load::Outcome;
use crate::process::Cpu;

/// What one round found of one server.
#[derive(Clone, Copy)]
pub struct Round {
    /// Answers per second at saturation.
    rate: f64,
    /// Seconds of CPU per million answers at saturation.
    cost: f64,
    cpu: Cpu,
    /// Microseconds at half of that rate.
    half: f64,
    ninety_nine: f64,
    /// Questions without an answer, of both loads.
    lost: u64,
}

impl Round {
    pub fn new(saturated: &Outcome, paced: &Outcome) -> Self {
        let millions = saturated.answers as f64 / 1e6;
        Self {
            rate: saturated.answers as f64 / saturated.length.as_secs_f64(),
            cost: saturated.cpu.seconds() / millions,
            cpu: saturated.cpu,
            half: paced.latency.quantile(0.5),
            ninety_nine: paced.latency.quantile(0.99),
            lost: saturated.lost + paced.lost,
        }
    }
}

/// A server with all its rounds.
pub struct Row {
    pub name: String,
    pub rounds: Vec<Round>,
}

impl Row {
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }

    /// Seconds per million answers: in user mode, in the kernel, and both.
    fn costs(&self) -> [f64; 3] {
        let cost = self.median(|round| round.cost);
        let user = cost * Cpu::user_share(self.rounds.iter().map(|round| &round.cpu));
        [user, cost - user, cost]
    }

    /// The median of the ratios of each round: what slows the machine for a round slows both.
    fn ratio(&self, to: Option<&Row>) -> Option<f64> {
        let pairs = self.rounds.iter().zip(&to?.rounds);
        Some(median(pairs.map(|(ours, theirs)| ours.cost / theirs.cost).collect()))
    }

    fn json(&self, echo: Option<&Row>, nigh: Option<&Row>) -> Value {
        let [user, system, cost] = self.costs();
        json!({
            "server": self.name,
            "answers_per_second": self.median(|round| round.rate).round(),
            "user_seconds_per_million": user,
            "system_seconds_per_million": system,
            "cpu_seconds_per_million": cost,
            "to_echo": self.ratio(echo),
            "to_nigh": self.ratio(nigh),
            "half_load_p50_us": self.median(|round| round.half),
            "half_load_p99_us": self.median(|round| round.ninety_nine),
            "lost": self.rounds.iter().map(|round| round.lost).sum::<u64>(),
            "rounds": self.rounds.iter().map(|round| json!({
                "answers_per_second": round.rate.round(),
                "cpu_seconds_per_million": round.cost,
                "half_load_p50_us": round.half,
                "half_load_p99_us": round.ninety_nine,
                "lost": round.lost,
            })).collect::<Vec<_>>(),
        })
    }
}

/// The rows that the others are compared with.
fn marks(rows: &[Row]) -> [Option<&Row>; 2] {
    ["echo", "nigh"].map(|name| rows.iter().find(|row| row.name == name))
}

pub fn print_json(rows: &[Row], claims: usize) {
    let [echo, nigh] = marks(rows);
    let servers: Vec<Value> = rows.iter().map(|row| row.json(echo, nigh)).collect();
    let whole = json!({ "services": crate::world::SERVICES, "claims": claims, "servers": servers });
    println!("{}", serde_json::to_string_pretty(&whole).unwrap());
}

pub fn print_table(rows: &[Row]) {
    let [echo, nigh] = marks(rows);
    println!(
        "{:<28}{:>10} |{:>8}{:>8}{:>8} |{:>8}{:>8} |{:>8}{:>8}",
        "", "thousand/s", "user", "system", "CPU s/M", "to echo", "to nigh", "p50 µs", "p99 µs"
    );
    for row in rows {
        let [user, system, cost] = row.costs();
        let ratio = |to| row.ratio(to).map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        println!(
            "{:<28}{:>10.0} |{:>8.3}{:>8.3}{:>8.3} |{:>8}{:>8} |{:>8.1}{:>8.1}",
            row.name,
            row.median(|round| round.rate) / 1000.0,
            user,
            system,
            cost,
            ratio(echo),
            ratio(nigh),
            row.median(|round| round.half),
            row.median(|round| round.ninety_nine),
        );
        let lost: u64 = row.rounds.iter().map(|round| round.lost).sum();
        if lost > 0 {
            println!("{:<28}{lost} questions without an answer", "");
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}
