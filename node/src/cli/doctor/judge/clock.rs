//! The time: certificates end by it, edits are ordered by it, and proofs of resolvers count within minutes of it.

use super::named;
use crate::cli::doctor::finding::{Area, Finding};
use crate::cli::table::count;
use crate::discovery::statement::CLOCK_SKEW;

/// A clock that NTP keeps is within milliseconds; a cookie tells whole seconds, and travels.
const NOTICED: i64 = 3;
/// Where proofs still count (they may be off by [`CLOCK_SKEW`]), but soon will not.
const WRONG: i64 = CLOCK_SKEW.as_secs() as i64 / 5;

/// What the clock is held against.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// What keeps it, as far as the host shows.
    pub(crate) keeper: Option<String>,
    /// An NTP server's time less ours, in seconds; or why there is none. None: none was named.
    pub(crate) ntp: Option<(String, Result<f64, String>)>,
    /// Nodes' clocks less ours, in seconds.
    pub(crate) nodes: Vec<(String, i64)>,
}

const SET: &str = "have NTP set it (`timedatectl set-ntp true`, or chrony), and look with `timedatectl`";

/// Judges the clock.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &facts.ntp {
        None => {}
        Some((server, Err(why))) => findings.push(Finding::look(
            Area::Clock,
            format!("{server} does not tell the time: {why}"),
            "name another --ntp server, or open UDP port 123 to it",
        )),
        Some((server, Ok(offset))) => findings.push(by(&format!("by {server}"), *offset)),
    }
    let mut offsets: Vec<i64> = facts.nodes.iter().map(|(_, offset)| *offset).collect();
    offsets.sort_unstable();
    let Some(median) = offsets.get(offsets.len() / 2).copied() else {
        findings.extend(facts.ntp.is_none().then(|| alone(facts)));
        return findings;
    };
    if median.abs() >= NOTICED {
        findings.push(by(&format!("by the clocks of {}", count(facts.nodes.len(), "other node")), median as f64));
        return findings;
    }
    let wrong: Vec<String> = facts
        .nodes
        .iter()
        .filter(|(_, offset)| offset.abs() >= NOTICED)
        .map(|(node, offset)| format!("{node} ({offset:+} s)"))
        .collect();
    if wrong.is_empty() {
        let kept = facts.keeper.as_ref().map(|keeper| format!("; {keeper} keeps it")).unwrap_or_default();
        findings
            .push(Finding::ok(Area::Clock, format!("within 2 s of {}{kept}", count(facts.nodes.len(), "other node"))));
    } else {
        findings.push(Finding::look(
            Area::Clock,
            format!("another time than here and at most nodes: {}", named(&wrong)),
            SET,
        ));
    }
    findings
}

/// Nobody to ask.
fn alone(facts: &Facts) -> Finding {
    match &facts.keeper {
        Some(keeper) => Finding::ok(Area::Clock, format!("{keeper} keeps it")),
        None => Finding::look(
            Area::Clock,
            "nothing here seems to keep it, and no other node or NTP server was there to compare with",
            "have NTP keep it, or compare with an NTP server: --ntp HOST",
        ),
    }
}

fn by(whom: &str, offset: f64) -> Finding {
    let (size, way) = (offset.abs(), if offset > 0.0 { "behind" } else { "ahead" });
    let what = format!("{size:.1} s {way} {whom}");
    match size {
        size if size >= WRONG as f64 => Finding::bad(
            Area::Clock,
            format!(
                "{what}: at {} s proofs of resolvers count no more, and edits come out of order",
                CLOCK_SKEW.as_secs()
            ),
            SET,
        ),
        size if size >= NOTICED as f64 => Finding::look(Area::Clock, what, SET),
        _ => Finding::ok(Area::Clock, format!("right {whom} ({offset:+.3} s)")),
    }
}
