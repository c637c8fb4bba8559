//! What a scenario says to people: progress with times, tables, and the list of checks that decides its end.
//!
//! **Invariant:** every check of the plan ends as passed or failed. One that was never reached is a failure, so a
//! scenario that stops halfway cannot pass.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

/// Prints a line. The one way to standard output; a reader that went away (`chaos … | head`) is no error.
pub fn line(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Prints a line that belongs to no report, such as why a test was skipped (past the test harness's capture).
pub fn aside(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Lays rows out in columns, the first row as their heads.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(&format!("  {}\n", cells.join("  ").trim_end()));
        if number == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text.push_str(&format!("  {}\n", rule.join("  ")));
        }
    }
    text
}

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    passed: bool,
    detail: String,
}

/// The report of one run.
#[derive(Debug)]
pub struct Report {
    start: Instant,
    print: fn(&str),
    /// Keys and sentences of the plan, in its order.
    plan: Vec<(&'static str, String)>,
    verdicts: BTreeMap<&'static str, Verdict>,
}

impl Report {
    /// A report on these checks (a short key and the sentence that must be true) that says its progress by `print`.
    pub fn new(plan: Vec<(&'static str, String)>, print: fn(&str)) -> Self {
        Self { start: Instant::now(), print, plan, verdicts: BTreeMap::new() }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Says what is being done.
    pub fn say(&self, text: &str) {
        (self.print)(&format!("[{:6.1} s] {text}", self.elapsed().as_secs_f64()));
    }

    /// Records how a check ended. A check that failed once stays failed.
    pub fn check(&mut self, key: &'static str, passed: bool, detail: &str) {
        self.say(&format!("{} {key}: {detail}", if passed { "  ok " } else { "FAIL " }));
        let verdict = self.verdicts.entry(key).or_insert_with(|| Verdict { passed: true, detail: String::new() });
        if verdict.passed {
            *verdict = Verdict { passed, detail: detail.to_owned() };
        }
    }

    /// Whether every check of the plan, and every other that was made, has passed.
    pub fn passed(&self) -> bool {
        self.counts().1 == 0
    }

    /// Passed and failed (those never reached are failed).
    fn counts(&self) -> (usize, usize) {
        let passed = self.verdicts.values().filter(|verdict| verdict.passed).count();
        let unreached = self.plan.iter().filter(|(key, _)| !self.verdicts.contains_key(key)).count();
        (passed, self.verdicts.len() - passed + unreached)
    }

    /// Every check that was made: key, whether it passed, what was seen.
    pub fn checks(&self) -> Vec<(String, bool, String)> {
        let verdict =
            |(key, verdict): (&&'static str, &Verdict)| ((*key).to_owned(), verdict.passed, verdict.detail.clone());
        self.verdicts.iter().map(verdict).collect()
    }

    /// The list of checks and the last line.
    pub fn summary(&self) -> String {
        let mut text = String::from("Checks\n");
        for (key, sentence) in &self.plan {
            let (mark, detail) = match self.verdicts.get(key) {
                Some(Verdict { passed: true, detail }) => ("passed", detail.as_str()),
                Some(Verdict { passed: false, detail }) => ("FAILED", detail.as_str()),
                None => ("FAILED", "never reached"),
            };
            text.push_str(&format!("  {mark}  {key}: {sentence}\n          {detail}\n"));
        }
        let unplanned = self.verdicts.iter().filter(|(key, _)| !self.plan.iter().any(|(planned, _)| planned == *key));
        for (key, verdict) in unplanned {
            let mark = if verdict.passed { "passed" } else { "FAILED" };
            text.push_str(&format!("  {mark}  {key} (not in the plan)\n          {}\n", verdict.detail));
        }
        let (passed, failed) = self.counts();
        text.push_str(&format!("{passed} passed, {failed} failed, in {:.1} s", self.elapsed().as_secs_f64()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, table};

    fn report() -> Report {
        Report::new(vec![("a", "water is wet".to_owned()), ("b", "fire is hot".to_owned())], |_| ())
    }

    #[test]
    fn all_checks_passed_is_a_pass() {
        let mut report = report();
        report.check("a", true, "felt it");
        report.check("b", true, "felt it");
        assert!(report.passed());
        assert!(report.summary().contains("\n2 passed, 0 failed"), "{}", report.summary());
    }

    #[test]
    fn a_check_that_was_never_reached_is_a_failure() {
        let mut report = report();
        report.check("a", true, "felt it");
        assert!(!report.passed());
        let summary = report.summary();
        assert!(summary.contains("FAILED  b: fire is hot\n          never reached"), "{summary}");
        assert!(summary.contains("\n1 passed, 1 failed"), "{summary}");
    }

    #[test]
    fn a_failure_is_not_made_good_by_a_later_pass_of_the_same_check() {
        let mut report = report();
        report.check("a", true, "first");
        report.check("a", false, "dry");
        report.check("a", true, "wet again");
        report.check("b", true, "felt it");
        assert!(!report.passed());
        assert!(report.summary().contains("dry"), "{}", report.summary());
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["isp".to_owned(), "answer".to_owned()], vec!["frankfurt".to_owned(), "x".to_owned()]];
        assert_eq!(table(&rows), "  isp        answer\n  ---------  ------\n  frankfurt  x\n");
    }
}
