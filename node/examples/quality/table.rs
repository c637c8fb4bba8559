//! What people and machines read.

use serde_json::json;

use crate::experiment::Found;
use crate::labels::Matched;
use crate::replay::{Alarms, Worth};

/// The figures of every way to choose.
pub fn print_matrix(title: &str, found: &Found, as_json: bool) {
    if as_json {
        let ways: Vec<_> =
            found.ways.iter().map(|(way, figures)| json!({ "way": way.name(), "figures": figures })).collect();
        println!("{}", json!({ "run": title, "ways": ways, "margins": found.margins }));
        return;
    }
    println!("{title}\n");
    println!("{:<42}{:>8}{:>9}{:>10}{:>8}{:>8}", "", "exactly", "10 % or", "excess", "ratio", "ratio");
    println!("{:<42}{:>8}{:>9}{:>10}{:>8}{:>8}", "", "best", "2 ms", "mean", "p90", "p99");
    for (way, figures) in &found.ways {
        println!(
            "{:<42}{:>6.1} %{:>7.1} %{:>7.1} ms{:>8.2}{:>8.2}",
            way.name(),
            figures.exact * 100.0,
            figures.near * 100.0,
            figures.excess_ms,
            figures.ratio_p90,
            figures.ratio_p99
        );
    }
    println!("\nmargin of nigh's choice: (second best - best) / round trip to the resolver");
    for (at, margin) in found.margins.iter().enumerate() {
        let to = found.margins.get(at + 1).map_or("       ".to_owned(), |next| format!("to {:<4}", next.from));
        println!(
            "  {:>4} {to}  {:>5.1} % of clients, {:>5.1} % exactly best",
            margin.from,
            margin.share * 100.0,
            margin.exact * 100.0
        );
    }
}

/// What each way was worth over time.
pub fn print_series(title: &str, found: &[(&str, Worth)], alarms: &[Alarms], as_json: bool) {
    if as_json {
        let ways: Vec<_> = found.iter().map(|(way, worth)| json!({ "way": way, "worth": worth })).collect();
        println!("{}", json!({ "run": title, "ways": ways, "false_alarms": alarms }));
        return;
    }
    println!("{title}\n");
    println!("{:<34}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "changes", "lost", "lost", "lost", "left", "left");
    println!("{:<34}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "an hour", "mean", "p99", "worst", "after", "worst");
    for (way, worth) in found {
        println!(
            "{way:<34}{:>9.3}{:>7.2} ms{:>7.1} ms{:>7.0} ms{:>8.0} s{:>8.0} s",
            worth.changes_per_hour,
            worth.loss_mean_ms,
            worth.loss_p99_ms,
            worth.loss_worst_ms,
            worth.leave_mean_s,
            worth.leave_worst_s
        );
    }
    println!("\nservers that live and are taken for dead   of probes   of time   of server-hours");
    for alarm in alarms {
        println!(
            "  {} failures of {:>4} ms in a row{:>18.3} %{:>8.2} %{:>16.1} %",
            alarm.fall,
            alarm.timeout_ms,
            alarm.probes * 100.0,
            alarm.time * 100.0,
            alarm.server_hours * 100.0
        );
    }
}

/// How the filter met the marks.
pub fn print_labels(matched: &Matched, as_json: bool) {
    if as_json {
        println!("{}", json!(matched));
        return;
    }
    println!("{} traces, {:.0} hours", matched.traces, matched.hours);
    println!(
        "{} of {} marked changes followed, after {:.1} samples",
        matched.followed, matched.marks, matched.lag_samples
    );
    println!("{:.4} moves an hour that nobody marked", matched.unmarked_per_hour);
}
