//! What came out, resolver by case: pure, for people and for programs.

use super::lanes::Asked;
use crate::report;
use crate::scenario::referral::view::ms;
use serde::Serialize;
use std::collections::BTreeMap;

/// How a resolver did in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As claimed.
    Good,
    /// Not as claimed.
    Bad,
    /// It cannot do what the case is about.
    Lacks,
}

/// One resolver in one case.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The case.
    pub case: &'static str,
    /// The resolver.
    pub resolver: &'static str,
    /// How it did.
    pub verdict: Verdict,
    /// Questions that each node got of it.
    pub queries: BTreeMap<&'static str, usize>,
    /// How long the slowest lookup took, in milliseconds.
    pub slowest_ms: Option<f64>,
    /// How long the first lookup took, in milliseconds.
    pub first_ms: Option<f64>,
    /// The origins that its client was led to, in order, each once.
    pub origins: Vec<&'static str>,
    /// What else was seen, or why it is bad.
    pub notes: Vec<String>,
}

impl Row {
    /// A row of lookups.
    pub fn new(case: &'static str, resolver: &'static str, asked: &[Asked]) -> Self {
        let mut origins = Vec::new();
        for origin in asked.iter().filter_map(|asked| asked.origin) {
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        Self {
            case,
            resolver,
            verdict: Verdict::Good,
            queries: BTreeMap::new(),
            slowest_ms: asked.iter().map(|asked| ms(asked.took)).reduce(f64::max),
            first_ms: asked.first().map(|asked| ms(asked.took)),
            origins,
            notes: Vec::new(),
        }
    }

    /// A resolver that the case is not for.
    pub fn lacks(case: &'static str, resolver: &'static str, why: &str) -> Self {
        Self { verdict: Verdict::Lacks, notes: vec![why.to_owned()], ..Self::new(case, resolver, &[]) }
    }

    /// In a few words.
    pub fn sentence(&self) -> String {
        let queries: Vec<String> = self.queries.iter().map(|(node, count)| format!("{node} {count}")).collect();
        let mut parts = vec![self.resolver.to_owned()];
        parts.extend((!queries.is_empty()).then(|| format!("asked {}", queries.join(", "))));
        parts.extend(self.first_ms.map(|first| format!("first {first:.0} ms")));
        parts.extend(self.notes.iter().cloned());
        parts.join("; ")
    }
}

/// Every row in full.
pub fn details(rows: &[Row]) -> String {
    let head = ["case", "resolver", "", "queries", "first, slowest ms", "origins", "notes"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let queries: Vec<String> = row.queries.iter().map(|(node, count)| format!("{node} {count}")).collect();
        let number = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.0}"));
        lines.push(vec![
            row.case.to_owned(),
            row.resolver.to_owned(),
            mark(row.verdict).to_owned(),
            queries.join(" "),
            format!("{}, {}", number(row.first_ms), number(row.slowest_ms)),
            row.origins.join(" "),
            row.notes.join("; "),
        ]);
    }
    report::table(&lines)
}

/// Cases down, resolvers across: how each did, and how many questions nodes got.
pub fn matrix(rows: &[Row]) -> String {
    let mut cases: Vec<&str> = Vec::new();
    let mut resolvers: Vec<&str> = Vec::new();
    for row in rows {
        if !cases.contains(&row.case) {
            cases.push(row.case);
        }
        if !resolvers.contains(&row.resolver) {
            resolvers.push(row.resolver);
        }
    }
    let mut lines = vec![std::iter::once("case").chain(resolvers.iter().copied()).map(str::to_owned).collect()];
    for case in cases {
        let cell = |resolver: &&str| {
            let row = rows.iter().find(|row| row.case == case && row.resolver == *resolver);
            row.map_or("".to_owned(), |row| match row.verdict {
                Verdict::Lacks => "-".to_owned(),
                verdict => {
                    let queries: usize = row.queries.values().sum();
                    let slowest = row.slowest_ms.unwrap_or_default();
                    format!("{} {queries} q {slowest:.0} ms", mark(verdict))
                }
            })
        };
        let mut line: Vec<String> = vec![case.to_owned()];
        line.extend(resolvers.iter().map(cell));
        lines.push(line);
    }
    report::table(&lines)
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "ok",
        Verdict::Bad => "BAD",
        Verdict::Lacks => "-",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Row, Verdict, details, matrix};
    use crate::scenario::resolvers::lanes::Asked;
    use std::time::Duration;

    fn asked(took: u64, origin: Option<&'static str>) -> Asked {
        Asked { what: "x", took: Duration::from_millis(took), origin }
    }

    fn rows() -> [Row; 3] {
        let first = asked(40, Some("here"));
        let good = Row::new("cold", "unbound", &[first, asked(90, Some("here")), asked(1, None)]);
        let bad = Row { verdict: Verdict::Bad, notes: vec!["SERVFAIL".to_owned()], ..Row::new("cold", "bind", &[]) };
        [Row { queries: [("fra", 2)].into(), ..good }, bad, Row::lacks("ecs", "bind", "it does not")]
    }

    #[test]
    fn a_row_has_the_first_and_the_slowest_lookup_and_each_origin_once() {
        let [row, ..] = rows();
        assert_eq!((row.first_ms, row.slowest_ms, row.origins.as_slice()), (Some(40.0), Some(90.0), &["here"][..]));
        assert_eq!(row.sentence(), "unbound; asked fra 2; first 40 ms");
    }

    #[test]
    fn the_matrix_has_a_cell_for_every_case_and_resolver() {
        let matrix = matrix(&rows());
        let lines: Vec<&str> = matrix.lines().collect();
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["case", "unbound", "bind"]);
        assert!(lines[2].contains("ok 2 q 90 ms") && lines[2].contains("BAD 0 q"), "{matrix}");
        assert_eq!(lines[3].split_whitespace().collect::<Vec<_>>(), ["ecs", "-"]);
        assert!(details(&rows()).contains("SERVFAIL"));
    }
}
