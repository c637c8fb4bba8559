//! Probes as people read them.

use std::time::Duration;

use super::table::{Column, NOTHING, count, millis, table as set};
use crate::admin::probes::CERTIFICATE_DAYS;
use crate::admin::report::{MeasureStatus, ProbeLine, ProbedLine, ServerState};

/// How a service's servers are measured, in one cell.
pub(super) fn words(probe: &ProbeLine) -> String {
    let path = probe.path.as_deref().unwrap_or_default();
    let port = if probe.port > 0 { format!(":{}", probe.port) } else { String::new() };
    let asks = probe.asks.as_ref().filter(|asks| !asks.is_empty()).map(|asks| format!(" {asks}")).unwrap_or_default();
    let unchecked = if probe.verify == Some(false) { " unchecked" } else { "" };
    let words = format!("{}{port}{path}{asks}{unchecked} every {}", probe.kind, span(Some(probe.interval_ms)));
    match &probe.latency {
        Some(latency) => format!("{words}, latency {}", self::words(latency)),
        None => words,
    }
}

/// The counts, on one line.
pub(super) fn status(measuring: &MeasureStatus) -> String {
    let mut words = vec![count(measuring.servers, "server"), format!("{} up", measuring.up)];
    let further = [(measuring.down, "down"), (measuring.flapping, "of them flapping"), (measuring.unknown, "unknown")];
    words.extend(further.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}")));
    words.extend(measuring.isolated.then(|| "isolated".to_owned()));
    words.join(", ")
}

pub(super) fn table(probes: &[ProbedLine]) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("SERVICE"),
        Text("SERVER"),
        Text("PROBE"),
        Text("FOR"),
        Number("EVERY"),
        Text("PACE"),
        Number("NEXT"),
        Text("STATE"),
        Number("IN A ROW"),
        Number("AGE"),
        Number("ms"),
        Text("CERTIFICATE"),
        Text("LAST"),
    ];
    set(
        &columns,
        probes.iter().map(|probe| {
            let port = if probe.port > 0 { format!(":{}", probe.port) } else { String::new() };
            vec![
                probe.service.clone(),
                probe.server.clone(),
                format!("{} {}{port}", probe.kind, probe.address),
                probe.role.clone(),
                span(Some(probe.interval_ms)),
                probe.pace.clone(),
                if probe.next_ms.is_none() { "now".to_owned() } else { span(probe.next_ms) },
                match probe.flapping_for_ms {
                    Some(_) => format!("flapping, held down {}", span(probe.flapping_for_ms)),
                    None => probe.state.as_str().to_owned(),
                },
                progress(probe),
                span(probe.last_age_ms),
                millis(probe.last_ms),
                certificate(probe),
                probe.last.clone().unwrap_or_else(|| NOTHING.to_owned()),
            ]
        }),
    )
}

/// How far it is on the way to another state: "2/3 bad". Settled, just how long it has been so.
fn progress(probe: &ProbedLine) -> String {
    let answered = probe.last_ms.is_some();
    match (probe.state, answered) {
        (_, _) if probe.streak == 0 => NOTHING.to_owned(),
        (ServerState::Up, true) => format!("{} good", probe.streak),
        (ServerState::Down, false) => format!("{} bad", probe.streak),
        (_, true) => format!("{}/{} good", probe.streak, probe.needed),
        (_, false) => format!("{}/{} bad", probe.streak, probe.needed),
    }
}

fn certificate(probe: &ProbedLine) -> String {
    let words = match probe.certificate_days {
        None => NOTHING.to_owned(),
        Some(..0) => "ENDED".to_owned(),
        Some(days @ 0..CERTIFICATE_DAYS) => format!("{days}d!"),
        Some(days) => format!("{days}d"),
    };
    if probe.verify == Some(false) { format!("{words} unchecked") } else { words }
}

/// A time, as short as is worth reading.
fn span(millis: Option<f64>) -> String {
    // A float that is no number becomes 0.
    let Some(millis) = millis.map(|millis| millis as u64) else { return NOTHING.to_owned() };
    let rounded = match millis {
        0..10_000 => millis / 100 * 100,
        _ => millis / 1000 * 1000,
    };
    let shown = if millis < 100 { millis } else { rounded };
    humantime::format_duration(Duration::from_millis(shown)).to_string().replace(' ', "")
}
