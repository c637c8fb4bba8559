//! The table: medians over the rounds, with the least and the most where they differ.

use std::collections::BTreeMap;

use crate::{Contender, Plan, round::Round};

/// A column: its two lines of head, and what it shows of a round.
struct Column {
    head: [&'static str; 2],
    digits: usize,
    of: fn(&Round) -> Option<f64>,
}

const COLUMNS: [Column; 12] = [
    Column { head: ["change", "p50 ms"], digits: 0, of: |round| quantile(&round.seen, 0.5) },
    Column { head: ["change", "p99 ms"], digits: 0, of: |round| quantile(&round.seen, 0.99) },
    Column { head: ["change at", "last ms"], digits: 0, of: |round| quantile(&round.last, 0.5) },
    Column { head: ["copies /", "delivery"], digits: 2, of: |round| round.copies },
    Column { head: ["bytes /", "delivery"], digits: 0, of: |round| round.bytes },
    Column { head: ["with", "idle"], digits: 0, of: |round| round.all_bytes },
    Column { head: ["kill -9", "p50 s"], digits: 1, of: |round| seconds(quantile(&round.killed, 0.5)) },
    Column { head: ["kill -9", "at all s"], digits: 1, of: |round| seconds(quantile(&round.killed, 1.0)) },
    Column { head: ["SIGSTOP", "at all s"], digits: 1, of: |round| seconds(quantile(&round.stopped, 1.0)) },
    Column { head: ["idle CPU", "% core"], digits: 2, of: |round| Some(round.idle_cpu) },
    Column { head: ["idle", "bytes/s"], digits: 0, of: |round| round.idle_bytes },
    Column { head: ["resident", "MB"], digits: 1, of: |round| Some(round.resident) },
];
/// Between two columns.
const SPACE: usize = 2;

const LEGEND: &str = "\
change     200 bytes written at one node until seen at another, over all (change, other node); \"last\": at the last node,
           for the median change
copies     received for each that was news, as the library counts them
bytes      all IP packets on lo from the first change to a second after the last was seen, less the idle rate, for each
           change at each node that it had to reach (where little is added to much, as in chitchat, the idle rate's own
           noise shows); \"with idle\": all of them, at this rate of a change each 150 ms
kill -9    until a node that lives knows of it: half of them, and the last; SIGSTOP: the last
idle       per node: CPU time, bytes sent, memory (VmRSS) when nothing changes
-          not counted by this library, or not measured here
";

/// Prints it to standard output.
pub fn print(plan: &Plan, rounds: u32, load: &str, measured: &BTreeMap<Contender, Vec<Round>>, notes: &[String]) {
    println!(
        "{} processes on loopback; {rounds} rounds of {} changes and {} s of idling; seed {}; load average before: {load}.",
        plan.nodes, plan.changes, plan.idle, plan.seed
    );
    println!("Median of the rounds (least..most).\n");
    let mut lines = vec![String::new(); 2];
    lines.extend(measured.keys().map(|contender| contender.name().to_owned()));
    widen(&mut lines);
    for column in &COLUMNS {
        let cells = column.head.map(str::to_owned).into_iter();
        let cells: Vec<String> = cells.chain(measured.values().map(|rounds| cell(rounds, column))).collect();
        let width = cells.iter().map(String::len).max().unwrap_or(0) + SPACE;
        for (line, cell) in lines.iter_mut().zip(cells) {
            line.push_str(&format!("{cell:>width$}"));
        }
    }
    for line in lines {
        println!("{line}");
    }
    println!("\n{LEGEND}");
    for (contender, rounds) in measured {
        let sum = |of: fn(&Round) -> usize| rounds.iter().map(of).sum::<usize>();
        for (count, what) in [
            (sum(|round| round.false_deaths), "reports of the death of a node that was well"),
            (sum(|round| round.missed), "changes not seen at a node in time (not in the times above)"),
            (sum(|round| round.unaware), "deaths not known at a node in time (not in the times above)"),
        ] {
            if count > 0 {
                println!("{}: {count} {what}", contender.name());
            }
        }
    }
    for note in notes {
        println!("{note}");
    }
}

/// Makes all lines as long as the longest.
fn widen(lines: &mut [String]) {
    let width = lines.iter().map(String::len).max().unwrap_or(0);
    lines.iter_mut().for_each(|line| *line = format!("{line:<width$}"));
}

fn cell(rounds: &[Round], column: &Column) -> String {
    let mut values: Vec<f64> = rounds.iter().filter_map(column.of).collect();
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else { return "-".into() };
    let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
    let digits = column.digits;
    let [median, least, most] = [median, *least, *most].map(|value| format!("{value:.digits$}"));
    if least == most { median } else { format!("{median} ({least}..{most})") }
}

/// Of sorted values; of the two middle ones the lower.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn seconds(millis: Option<f64>) -> Option<f64> {
    millis.map(|millis| millis / 1000.0)
}
