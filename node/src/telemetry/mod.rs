//! Traces: what an edit, a join, a round of discovery or a change of verdict was made of, and how long each part took, as
//! spans for OpenTelemetry (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! ```text
//!   edit ┬ check, replicate                            join ─ enter the mesh         discovery round
//!        └ take effect ─ until a snapshot has it       verdict ─ tell the mesh       order
//! ```
//!
//! Spans are `tracing`'s, under [`TARGET`]. Log lines never show them, so without the feature `otlp` nobody wants that
//! target and a place with a span costs one look at a flag; with it, and `[telemetry] otlp` in the configuration, `export`
//! hands them to a collector. An edit continues the trace that its request names (W3C Trace Context, `traceparent`), which
//! for `nigh apply` and its like is the one that the variable `TRACEPARENT` names.
//!
//! **Invariants:** nothing waits for a collector: the queue is bounded, what does not fit is lost and counted, and the end
//! of a node waits for the last spans for three seconds at most. Only one span of each edit is kept waiting, and
//! at most [`MAX_WAITING`] of them.
//!
//! Rejected: a span for each DNS packet. A packet allocates nothing and locks nothing, a span does both several times over,
//! and a sample of them is what dnstap is for. A span for each probe: 500 a second that say nothing; what is told is the
//! probe that changed a verdict. A trace that goes on at other nodes: its id would have to travel in signed pages.

mod effects;
#[cfg(feature = "otlp")]
mod export;

use axum::http::{HeaderMap, HeaderValue};
use tracing::Span;
use tracing_subscriber::{Layer, Registry};

pub use effects::{Cause, Effects, MAX_WAITING};

use crate::config::Config;

/// What all spans stand under; no log line does.
pub const TARGET: &str = "nigh::span";

/// The request field that names a trace (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";

/// What takes the spans, beside what writes the log.
pub type Taker = Box<dyn Layer<Registry> + Send + Sync>;

/// The way to the collector, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    #[cfg(feature = "otlp")]
    export: Option<export::Export>,
}

impl Telemetry {
    /// Whether this program can send traces.
    pub const BUILT: bool = cfg!(feature = "otlp");

    /// Prepares what the configuration asks for; nothing is sent yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// This program cannot, or the collector's authority is not readable; says what to do.
    #[cfg(feature = "otlp")]
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let export = config.telemetry.as_ref().map(|telemetry| export::Export::start(telemetry, &config.node));
        Ok(Self { export: export.transpose()? })
    }

    /// Prepares what the configuration asks for, which must be nothing.
    ///
    /// # Errors
    /// This program cannot; says what to do.
    #[cfg(not(feature = "otlp"))]
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        anyhow::ensure!(config.telemetry.is_none(), "telemetry.otlp: {NOT_BUILT}");
        Ok(Self::default())
    }

    /// What takes the spans.
    pub fn taker(&self) -> Option<Taker> {
        #[cfg(feature = "otlp")]
        return self.export.as_ref().map(export::Export::taker);
        #[cfg(not(feature = "otlp"))]
        None
    }

    /// What keeps spans from the collector at present.
    pub fn warning(&self) -> Option<String> {
        #[cfg(feature = "otlp")]
        return self.export.as_ref().and_then(export::Export::warning);
        #[cfg(not(feature = "otlp"))]
        None
    }

    /// Sends what is left, and waits for that no longer than is promised.
    pub async fn stop(self) {
        #[cfg(feature = "otlp")]
        if let Some(export) = self.export {
            export.stop().await;
        }
    }
}

/// What to do where the configuration asks for what the program does not have.
pub const NOT_BUILT: &str = "this nigh was built without traces; build it with `cargo build --release --features otlp`, or \
                             take the section [telemetry] out";

/// Has a span go on with the trace that a request names; a name that is none is no name (Trace Context, section 3.2.2.3).
pub fn adopt(span: &Span, headers: &HeaderMap) {
    #[cfg(feature = "otlp")]
    export::adopt(span, headers);
    #[cfg(not(feature = "otlp"))]
    let _ = (span, headers);
}

/// A number as a field of a span: collectors know signed ones alone, and would be sent text.
pub fn count(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// Notes in a span that it did not end well, and why; it must have this field.
pub fn failed(span: &Span, why: impl std::fmt::Display) {
    span.record("otel.status_description", tracing::field::display(why));
}

/// The trace that whoever started this process is in, as OpenTelemetry has it in the environment.
pub fn inherited() -> Option<HeaderValue> {
    let text = std::env::var("TRACEPARENT").ok()?;
    is_traceparent(&text).then(|| HeaderValue::from_str(&text).ok()).flatten()
}

/// Whether this is `00-<trace>-<parent>-<flags>` with ids that are not all zero (Trace Context, section 3.2).
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags] = parts[..] else { return false };
    let is_hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let is_id = |part: &str, digits| is_hex(part, digits) && part.bytes().any(|b| b != b'0');
    version == "00" && is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_traceparent_is_handed_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_traceparent(good));
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nx: y",
        ] {
            assert!(!is_traceparent(wrong), "{wrong:?}");
        }
    }
}
