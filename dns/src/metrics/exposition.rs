//! Prometheus' text format, version 0.0.4, from families that are declared once.
//!
//! A [`Metric`] is a constant: its name, kind, words and labels stand in one place, from which come what Prometheus reads
//! and the page that documents it, so the two cannot disagree. Names follow Prometheus' conventions: a base unit in the
//! plural at the end, `_total` behind what only grows, one name with labels where kinds of one thing are told apart.
//!
//! Rejected: a registry crate. It would count a second time what is counted already, and lock where we must not.

use std::fmt::{Display, Write};

/// How a family's numbers behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, until the process starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of what stayed within a bound, for each bound.
    Histogram,
}

impl MetricKind {
    /// The word for it in the text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label, and what it may say.
#[derive(Debug, PartialEq, Eq)]
pub struct MetricLabel {
    /// Its name.
    pub name: &'static str,
    /// What it tells.
    pub what: &'static str,
    /// Each value with its meaning; none: there are as many as there are names.
    pub values: &'static [(&'static str, &'static str)],
}

/// All numbers of one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name, which is a promise: whoever renames one breaks somebody's dashboard.
    pub name: &'static str,
    /// How its numbers behave.
    pub kind: MetricKind,
    /// What it tells, in one sentence.
    pub help: &'static str,
    /// Its labels, in the order in which their values are given.
    pub labels: &'static [MetricLabel],
}

impl Metric {
    /// One that only grows.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: MetricKind::Counter, help, labels: &[] }
    }

    /// One that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: MetricKind::Gauge, help, labels: &[] }
    }

    /// One of bounds.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: MetricKind::Histogram, help, labels: &[] }
    }

    /// The same with labels.
    pub const fn by(mut self, labels: &'static [MetricLabel]) -> Self {
        self.labels = labels;
        self
    }
}

/// What Prometheus reads, as it is written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a family. One without numbers is announced all the same: then its absence is no riddle.
    pub fn family(&mut self, family: &'static Metric) -> Samples<'_> {
        let Metric { name, kind, help, .. } = family;
        self.put(format_args!("# HELP {name} {}\n# TYPE {name} {}\n", help.replace('\\', "\\\\"), kind.as_str()));
        Samples { exposition: self, family }
    }

    /// A family of one number.
    pub fn one(&mut self, family: &'static Metric, value: impl Display) {
        self.family(family).put(&[], value);
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }

    fn put(&mut self, line: std::fmt::Arguments<'_>) {
        // A string takes everything.
        let _ = self.text.write_fmt(line);
    }
}

/// The numbers of one family.
pub struct Samples<'e> {
    exposition: &'e mut Exposition,
    family: &'static Metric,
}

impl Samples<'_> {
    /// One number, with the values of the labels in the family's order.
    pub fn put(&mut self, values: &[&str], value: impl Display) {
        self.line("", values, None, value);
    }

    /// What stayed within each bound, in seconds, what did not, and the sum of all.
    pub(super) fn histogram(&mut self, within: impl Iterator<Item = (f64, u64)>, longer: u64, sum: f64) {
        let mut count = 0;
        for (bound, few) in within {
            count += few;
            self.line("_bucket", &[], Some(&bound.to_string()), count);
        }
        count += longer;
        self.line("_bucket", &[], Some("+Inf"), count);
        self.line("_sum", &[], None, sum);
        self.line("_count", &[], None, count);
    }

    fn line(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, value: impl Display) {
        debug_assert_eq!(values.len(), self.family.labels.len(), "{}", self.family.name);
        let named = self.family.labels.iter().map(|label| label.name).zip(values.iter().copied());
        let mut before = '{';
        self.exposition.put(format_args!("{}{suffix}", self.family.name));
        for (name, value) in named.chain(bound.map(|bound| ("le", bound))) {
            self.exposition.put(format_args!("{before}{name}=\"{}\"", escaped(value)));
            before = ',';
        }
        self.exposition.put(format_args!("{} {value}\n", if before == ',' { "}" } else { "" }));
    }
}

/// Names of services and nodes need none of it; a point of presence may.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    static PLACE: Metric = Metric::gauge("nigh_test_place", "Where \\ it is.").by(&[
        MetricLabel { name: "pop", what: "the place", values: &[] },
        MetricLabel { name: "state", what: "how it is", values: &[("up", "it answers")] },
    ]);

    #[test]
    fn labels_are_escaped_and_in_order() {
        let mut text = Exposition::new();
        text.family(&PLACE).put(&["Köln \"Mitte\"\\\n", "up"], 0.5);
        let wanted = "# HELP nigh_test_place Where \\\\ it is.\n# TYPE nigh_test_place gauge\n\
                      nigh_test_place{pop=\"Köln \\\"Mitte\\\"\\\\\\n\",state=\"up\"} 0.5\n";
        assert_eq!(text.finish(), wanted);
    }
}
