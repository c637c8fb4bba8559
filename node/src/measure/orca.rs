//! How busy a server says it is: ORCA, the Open Request Cost Aggregation of xDS.
//!
//! The format is the message `xds.data.orca.v3.OrcaLoadReport` (github.com/cncf/xds, `orca_load_report.proto`), which comes in
//! the response field `endpoint-load-metrics` as Envoy reads it (`source/common/orca/orca_parser.cc`):
//!
//! ```text
//!   endpoint-load-metrics: TEXT cpu_utilization=0.31,mem_utilization=0.6,rps_fractional=120.5,utilization.disk=0.9
//!   endpoint-load-metrics: JSON {"cpuUtilization":0.31,"utilization":{"disk":0.9}}
//! ```
//!
//! One number is wanted of it: the share of the server's capacity in use. That is `application_utilization` where the
//! application gives it, else `cpu_utilization` (as gRFC A58 has it for weighted round robin), else the highest of the named
//! `utilization`s, else `mem_utilization`. A share may be over 1: some serve beyond what they call full.
//!
//! Rejected: the binary form, which would need a protobuf decoder for what the other two say as well; guessing a share
//! from `rps`, for which nobody tells the capacity.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The longest report that is read: some thirty figures.
pub const MAX_REPORT: usize = 1024;
/// Beyond ten times its capacity a server makes no sense, and figures stay small.
const MAX_SHARE: f64 = 10.0;

/// What a server reports of itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Report {
    /// As the application itself sees it.
    #[serde(alias = "applicationUtilization")]
    pub application_utilization: f64,
    /// Of its processors.
    #[serde(alias = "cpuUtilization")]
    pub cpu_utilization: f64,
    /// Of its memory.
    #[serde(alias = "memUtilization")]
    pub mem_utilization: f64,
    /// Requests a second.
    #[serde(alias = "rpsFractional")]
    pub rps_fractional: f64,
    /// Of whatever has a name, such as `disk`.
    pub utilization: BTreeMap<String, f64>,
}

impl Report {
    /// Reads the value of `endpoint-load-metrics`. Nothing: it is in no format that is known here, or has a figure that is
    /// none.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > MAX_REPORT {
            return None;
        }
        if let Some(fields) = text.strip_prefix("TEXT ") {
            return Self::read_text(fields);
        }
        // Without the word as well: that is how earlier servers sent it.
        let json = text.strip_prefix("JSON ").unwrap_or(text);
        serde_json::from_str::<Self>(json).ok().filter(Self::is_sane)
    }

    fn read_text(fields: &str) -> Option<Self> {
        let mut report = Self::default();
        for field in fields.split(',').map(str::trim).filter(|field| !field.is_empty()) {
            let (key, value) = field.split_once('=').or_else(|| field.split_once(':'))?;
            let (key, value) = (key.trim(), value.trim().parse::<f64>().ok()?);
            match key {
                "application_utilization" => report.application_utilization = value,
                "cpu_utilization" => report.cpu_utilization = value,
                "mem_utilization" => report.mem_utilization = value,
                "rps_fractional" => report.rps_fractional = value,
                _ => {
                    if let Some(name) = key.strip_prefix("utilization.") {
                        report.utilization.insert(name.to_owned(), value);
                    }
                }
            }
        }
        Some(report).filter(Self::is_sane)
    }

    /// Figures are numbers, and not below 0.
    fn is_sane(&self) -> bool {
        let own = [self.application_utilization, self.cpu_utilization, self.mem_utilization, self.rps_fractional];
        own.iter().chain(self.utilization.values()).all(|figure| figure.is_finite() && *figure >= 0.0)
    }

    /// The share of its capacity in use, if it tells any. A figure of 0 is one that is not told: protobuf does not tell the
    /// two apart, and who is idle gives some small number.
    pub fn load(&self) -> Option<f32> {
        let named = self.utilization.values().copied().fold(0.0, f64::max);
        let told = [self.application_utilization, self.cpu_utilization, named, self.mem_utilization];
        told.into_iter().find(|share| *share > 0.0).map(|share| share.min(MAX_SHARE) as f32)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn load(text: &str) -> Option<f32> {
        Report::read(text)?.load()
    }

    #[test]
    fn both_forms_are_read() {
        for (text, share) in [
            ("TEXT cpu_utilization=0.31,mem_utilization=0.6,rps_fractional=120.5", 0.31),
            ("TEXT cpu_utilization:0.31, mem_utilization:0.6", 0.31),
            ("TEXT cpu_utilization=0.31,application_utilization=1.2,named_metrics.queue=7", 1.2),
            ("TEXT utilization.disk=0.9,utilization.net=0.2,mem_utilization=1", 0.9),
            ("TEXT mem_utilization=0.25", 0.25),
            (r#"JSON {"cpuUtilization":0.31,"namedMetrics":{"queue":7}}"#, 0.31),
            (r#"JSON {"cpu_utilization":0.31,"application_utilization":0.5}"#, 0.5),
            (r#"{"utilization":{"disk":0.9}}"#, 0.9),
            ("TEXT cpu_utilization=1e30", 10.0),
        ] {
            assert_eq!(load(text), Some(share), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_no_report() {
        let long = format!("TEXT cpu_utilization=0.5,{}", "named_metrics.x=1,".repeat(99));
        for text in [
            "",
            "TEXT",
            "TEXT cpu_utilization",
            "TEXT cpu_utilization=high",
            "TEXT cpu_utilization=NaN",
            "JSON",
            "JSON []",
            "TEXT cpu_utilization=-0.1",
            "TEXT cpu_utilization=inf",
            r#"JSON {"cpuUtilization":"much"}"#,
            "BIN CgA=",
            &long,
            // Told, and not a share.
            "TEXT rps_fractional=120",
            "JSON {}",
        ] {
            assert_eq!(load(text), None, "{text}");
        }
        assert_eq!(Report::read("TEXT rps_fractional=120").unwrap().rps_fractional, 120.0);
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String, figures in "(TEXT|JSON) [a-z_.:={}\",0-9e+-]{0,60}") {
            for text in [text, figures] {
                prop_assert!(load(&text).is_none_or(|share| share > 0.0 && share <= 10.0));
            }
        }
    }
}
