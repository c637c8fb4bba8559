//! Logs: through `tracing-subscriber` to standard error, for people or as JSON, for the service manager to keep.
//!
//! What each level means stands in CONTRIBUTING. `NIGH_LOG` overrides the file for one start.

use anyhow::Context;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{LogConfig, LogFormat};
use crate::telemetry::{TARGET, Taker};

/// The variable that overrides `log.level`.
pub const ENV: &str = "NIGH_LOG";

/// Libraries that say at `info` what is not worth a line: hickory writes two events per query, libp2p one per dial.
/// A filter that names one of them wins over this.
const QUIET: [&str; 10] = [
    "hickory_server",
    "hickory_proto",
    "libp2p_core",
    "libp2p_swarm",
    "libp2p_quic",
    "libp2p_tcp",
    "quinn",
    "quinn_proto",
    "yamux",
    "hyper",
];

/// Neither a level nor a list of `target=level`.
#[derive(Debug, thiserror::Error)]
#[error("error, warn, info, debug, trace or a filter such as \"info,nigh_dns=debug\" is expected")]
pub struct NotAFilter;

/// The filter of a level, or of a list of `target=level`.
///
/// # Errors
/// [`NotAFilter`]. A bare word that is no level is refused too: `tracing` takes it for a target, and a mistyped level
/// would silence the node.
pub fn filter(text: &str) -> Result<EnvFilter, NotAFilter> {
    let stated: Vec<&str> = text.split(',').map(str::trim).collect();
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    if !stated.iter().all(|directive| directive.contains(['=', '[']) || is_level(directive)) {
        return Err(NotAFilter);
    }
    // Below `warn` there is nothing to hold back.
    let least = stated.iter().filter_map(|word| word.parse::<LevelFilter>().ok()).max();
    let held_back = if least.is_some_and(|level| level < LevelFilter::WARN) { &[][..] } else { &QUIET };
    let names = |directive: &str, target: &str| directive.split(['=', '[', ':']).next() == Some(target);
    let quiet = held_back.iter().filter(|target| !stated.iter().any(|directive| names(directive, target)));
    // Spans are not for logs, at no level.
    let spans = [format!("{TARGET}=off")];
    let quiet = quiet.map(|target| format!("{target}=warn"));
    let all: Vec<String> = quiet.chain(spans).chain(stated.iter().map(ToString::to_string)).collect();
    EnvFilter::builder().parse(all.join(",")).map_err(|_| NotAFilter)
}

/// Starts logging, and has the spans taken by whoever there is for them; the first call in a process wins, so a test may
/// call it too.
///
/// # Errors
/// `NIGH_LOG` or the configured level is no filter.
pub fn start(config: &LogConfig, spans: Option<Taker>) -> anyhow::Result<()> {
    let filter = match std::env::var(ENV) {
        Ok(text) => filter(&text).with_context(|| format!("the variable {ENV} is {text:?}"))?,
        Err(_) => filter(&config.level)?,
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Human => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let mut takers = vec![lines.with_filter(filter).boxed()];
    takers.extend(spans);
    let started = tracing_subscriber::registry().with(takers).try_init();
    // Only a second start fails, and then the first one's settings hold.
    drop(started);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    use crate::telemetry::TARGET;

    use super::filter;

    /// Which of some events a filter lets through.
    fn passed(text: &str) -> Vec<&'static str> {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        struct Seen(std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>);
        impl<S: tracing::Subscriber> Layer<S> for Seen {
            fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
                self.0.lock().unwrap().push(event.metadata().target());
            }
        }
        let layer = Seen(std::sync::Arc::clone(&seen)).with_filter(filter(text).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(target: "nigh", "");
            tracing::debug!(target: "nigh_dns", "");
            tracing::info!(target: "hickory_server::server", "");
            tracing::warn!(target: "hickory_server::server", "");
            tracing::debug!(target: "libp2p_swarm", "");
            tracing::info!(target: TARGET, "");
        });
        let seen = seen.lock().unwrap();
        seen.clone()
    }

    #[test]
    fn libraries_are_quiet_unless_named() {
        assert_eq!(passed("info"), ["nigh", "hickory_server::server"]);
        assert_eq!(passed("debug"), ["nigh", "nigh_dns", "hickory_server::server"]);
        assert_eq!(passed("error"), [""; 0]);
        assert_eq!(
            passed("info, hickory_server::server=info"),
            ["nigh", "hickory_server::server", "hickory_server::server"]
        );
        assert_eq!(
            passed("warn,libp2p_swarm=debug,nigh_dns=debug"),
            ["nigh_dns", "hickory_server::server", "libp2p_swarm"]
        );
    }

    #[test]
    fn a_mistyped_level_is_no_target() {
        for text in ["inof", "", "info,", "nigh=loud", "info,nigh_dns"] {
            assert!(filter(text).is_err(), "{text:?}");
        }
    }
}
