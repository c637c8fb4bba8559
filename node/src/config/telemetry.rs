//! `[telemetry]`: to whom this node sends its traces.

use std::num::NonZeroU32;
use std::path::PathBuf;

use super::document::{Section, optional};
use super::value;

/// The keys of the section.
pub(super) const KEYS: [&str; 3] = ["otlp", "ca", "sample"];

/// Of a million traces one is a picture of nothing.
const MAX_SAMPLE: u64 = 1_000_000;

/// Where traces go, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// The collector, without a slash at the end.
    pub otlp: String,
    /// The file with the authority of its certificate, where that is none of the system's.
    pub ca: Option<PathBuf>,
    /// One trace in so many, of those that begin here.
    pub sample: NonZeroU32,
}

/// Reads the section; nothing where there is none.
pub(super) fn read(section: &Section<'_>) -> Option<Option<TelemetryConfig>> {
    let otlp = optional(section.get("otlp"), None, |item| item.text(value::collector).map(Some));
    let ca = optional(section.get("ca"), None, |item| item.text(value::absolute_path).map(Some));
    let sample = optional(section.get("sample"), NonZeroU32::MIN, |item| {
        item.integer(1..=MAX_SAMPLE).and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new)
    });
    let Some(otlp) = otlp? else {
        for item in ["ca", "sample"].into_iter().filter_map(|key| section.get(key)) {
            item.fault("is about telemetry.otlp, which is not there; add otlp = \"http://127.0.0.1:4318\"");
        }
        return Some(None);
    };
    Some(Some(TelemetryConfig { otlp, ca: ca?, sample: sample? }))
}
