//! What people and machines read.

use serde_json::json;

use crate::experiment::Found;

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
