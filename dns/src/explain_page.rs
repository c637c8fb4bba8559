//! An explanation as a page of text, for the operator who is called at three in the morning.
//!
//! ```text
//! www.lb.example.com A, asked by 203.0.113.9 at nyc
//!
//!   203.0.113.9 lies in 203.0.113.0/24, which fra claims ...
//!
//! Claims that cover 203.0.113.9
//!   ▶ 203.0.113.0/24  fra  10  proven, 3.1 ms  alive  wins: ...
//!
//! Servers, seen from fra
//!   ▶ fra-1  192.0.2.1  1.2 ms  0.4 s ago  up  nearest
//!
//! Answer: NOERROR, authoritative
//!   www.lb.example.com. 60 IN CNAME www.fra.lb.example.com.
//! ```
//!
//! The sentence stands on top because it is often all that is wanted. Columns are as wide as their widest cell.

use std::fmt;

use crate::explain::{ClaimLine, Explanation, ServerLine};

/// Of a line of text: what the eye follows, and a small terminal shows.
const WIDTH: usize = 96;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}, asked by {} at {}", self.name, self.qtype, self.from, self.at)?;
        writeln!(f)?;
        folded(&self.why).iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        if !self.claims.is_empty() {
            writeln!(f, "\nClaims that cover {}", self.from)?;
            table(
                f,
                &["", "prefix", "node", "pref", "how", "mesh says", "outcome"],
                self.claims.iter().map(claim_cells),
            )?;
        }
        if let Some(decider) = &self.decided_by {
            writeln!(f, "\nServers, seen from {decider}")?;
            let heads = ["", "id", "address", "rtt", "loss", "age", "state", "reason"];
            table(f, &heads, self.servers.iter().map(server_cells))?;
        }
        let authority = if self.authoritative { "authoritative" } else { "not authoritative" };
        writeln!(f, "\nAnswer: {}, {authority} (snapshot {})", self.code, self.snapshot)?;
        section(f, "", &self.answer)?;
        section(f, "authority ", &self.authority)?;
        section(f, "additional ", &self.additional)
    }
}

/// A text in lines of at most 96 characters, as explanations are printed; a word that is longer has a line of its own.
pub fn folded(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn section(f: &mut fmt::Formatter<'_>, head: &str, records: &[String]) -> fmt::Result {
    records.iter().try_for_each(|record| writeln!(f, "  {head}{record}"))
}

fn marker(yes: bool) -> String {
    if yes { "▶" } else { "" }.to_owned()
}

fn claim_cells(claim: &ClaimLine) -> Vec<String> {
    vec![
        marker(claim.won),
        claim.prefix.clone(),
        claim.node.to_string(),
        claim.preference.to_string(),
        how(claim),
        claim.standing.to_string(),
        claim.why.clone(),
    ]
}

/// How a claim came about.
fn how(claim: &ClaimLine) -> String {
    let how = if claim.proven { "proven" } else { "configured" };
    claim.rtt_ms.map_or_else(|| how.to_owned(), |rtt| format!("{how}, {rtt:.1} ms"))
}

fn server_cells(server: &ServerLine) -> Vec<String> {
    let none = || "-".to_owned();
    vec![
        marker(server.chosen),
        server.id.clone(),
        server.address.to_string(),
        server.rtt_ms.map_or_else(none, |rtt| format!("{rtt:.1} ms")),
        server.loss.map_or_else(none, |loss| format!("{:.0} %", loss * 100.0)),
        server.age_s.map_or_else(none, age),
        server.state.to_string(),
        server.reason.clone(),
    ]
}

/// How old a measurement is, in the unit that people would use.
fn age(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.1} s ago"),
        s if s < 3600.0 => format!("{:.0} min ago", s / 60.0),
        s => format!("{:.1} h ago", s / 3600.0),
    }
}

/// Writes rows in columns; the last one is as long as it is.
fn table(f: &mut fmt::Formatter<'_>, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> fmt::Result {
    let mut lines: Vec<Vec<String>> = vec![heads.iter().map(ToString::to_string).collect()];
    lines.extend(rows);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(f, "  {}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
