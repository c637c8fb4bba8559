//! What operators see of probes: how they are set, and what each is doing.

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report::ServerState;
use crate::measure::outcome::Outcome;
use crate::measure::target::{DEFAULT_BUDGET, ProbeKind, ProbeSpec, Probing, WebSpec};
use crate::measure::{Measurements, ProbeReport, State};

/// A certificate that ends sooner than this is worth a warning: the usual ones of 90 days are renewed 30 days before.
pub const CERTIFICATE_DAYS: i64 = 14;

/// What this node's own probes found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeasureStatus {
    /// Servers of services, each counted once a service.
    pub servers: usize,
    /// Those that answer.
    pub up: usize,
    /// Those that do not.
    pub down: usize,
    /// Of those that are down: they answer, and went down too often.
    pub flapping: usize,
    /// Not measured yet, or not lately.
    pub unknown: usize,
    /// All probes fail at once, so it is this node: claims withdrawn, last good order kept.
    pub isolated: bool,
}

impl MeasureStatus {
    /// Counts.
    pub fn of(measured: &Measurements) -> Self {
        let count = |state| measured.rows.iter().filter(|row| row.reading.state == state).count();
        Self {
            servers: measured.rows.len(),
            up: count(State::Up),
            down: count(State::Down),
            flapping: measured.rows.iter().filter(|row| row.flapping).count(),
            unknown: count(State::Unknown),
            isolated: measured.isolated,
        }
    }
}

/// Words about certificates that end soon, or have ended and are not checked.
pub fn certificates(measured: &Measurements, now: u64) -> Vec<String> {
    let ending = measured.rows.iter().filter_map(|row| {
        let days = days_until(row.seen.certificate_ends?, now);
        let (service, server) = (&row.target.service, &row.target.server);
        (days < CERTIFICATE_DAYS).then(|| match days {
            ..0 => format!("the certificate of {service} at server {server} has ended"),
            0 => format!("the certificate of {service} at server {server} ends today"),
            1 => format!("the certificate of {service} at server {server} ends tomorrow"),
            _ => format!("the certificate of {service} at server {server} ends in {days} days"),
        })
    });
    ending.collect()
}

/// Whole days; negative once it has ended.
fn days_until(ends: u64, now: u64) -> i64 {
    let seconds = i64::try_from(i128::from(ends) - i128::from(now)).unwrap_or(i64::MAX);
    seconds.div_euclid(86_400)
}

/// How a service's servers are measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeLine {
    /// "tcp", "http", "https", "grpc", "icmp", "dns" or "command".
    pub kind: String,
    /// The port probed; 0 where there is none.
    pub port: u16,
    /// The path asked for; HTTP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The Host field; HTTP and gRPC only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The first and last status that count as up; HTTP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<[u16; 2]>,
    /// The version of HTTP, where it is not 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the body must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether certificates are checked; only where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// The file of authorities, where it is not the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Whether connections are kept from one probe to the next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse: bool,
    /// What is asked about or for: gRPC's service, the DNS name with its type, the command with its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
    /// Between two probes of one server.
    pub interval_ms: f64,
    /// Until a probe has failed.
    pub timeout_ms: f64,
    /// Further tries within that time.
    #[serde(default)]
    pub retries: u32,
    /// Good probes in a row until a server is up.
    pub rise: u16,
    /// Bad probes in a row until a server is down.
    pub fall: u16,
    /// Probes a second that one server may get from all nodes.
    #[serde(default = "default_budget")]
    pub budget: u32,
    /// The probe that says how far a server is, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Box<ProbeLine>>,
}

fn default_budget() -> u32 {
    DEFAULT_BUDGET
}

impl From<&Probing> for ProbeLine {
    fn from(probing: &Probing) -> Self {
        let latency = probing.latency.as_ref().map(|latency| Box::new(Self::of(latency)));
        Self { budget: probing.budget, latency, ..Self::of(&probing.health) }
    }
}

impl ProbeLine {
    fn of(spec: &ProbeSpec) -> Self {
        let mut line = Self {
            kind: spec.kind.as_str().into(),
            port: spec.port,
            interval_ms: millis(spec.interval),
            timeout_ms: millis(spec.timeout),
            retries: spec.retries,
            rise: u16::try_from(spec.rise).unwrap_or(u16::MAX),
            fall: u16::try_from(spec.fall).unwrap_or(u16::MAX),
            budget: DEFAULT_BUDGET,
            ..Self::default()
        };
        match &spec.kind {
            ProbeKind::Tcp | ProbeKind::Icmp => {}
            ProbeKind::Http(http) => {
                line.web(&http.web);
                line.path = Some(http.path.clone());
                line.expect = Some([http.expect.0, http.expect.1]);
                line.version = http.web.http2.then(|| "2".into());
                line.body.clone_from(&http.body);
            }
            ProbeKind::Grpc(grpc) => {
                line.web(&grpc.web);
                line.asks = Some(grpc.service.clone());
            }
            ProbeKind::Dns(dns) => {
                line.asks = Some(format!("{} {}", dns.name, crate::catalogue::name::mnemonic(dns.rtype)));
            }
            ProbeKind::Command(words) => line.asks = Some(words.join(" ")),
        }
        line
    }

    fn web(&mut self, web: &WebSpec) {
        self.host = Some(web.host.clone());
        self.reuse = web.reuse;
        self.verify = web.tls.as_ref().map(|tls| tls.verify);
        self.ca = web.tls.as_ref().and_then(|tls| tls.ca.clone());
    }
}

/// One probe of one server, and what it is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbedLine {
    /// The service.
    pub service: String,
    /// The server's id within the service.
    pub server: String,
    /// Its address.
    pub address: IpAddr,
    /// What the probe says: "health", "latency" or "both".
    pub role: String,
    /// Its kind, as in the catalogue.
    pub kind: String,
    /// The port; 0 where there is none.
    pub port: u16,
    /// Whether the certificate is checked; only where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// The pause between two probes at present.
    pub interval_ms: f64,
    /// Why it is that: "full", "thin" (the server's budget: other nodes look closely), "idle" (nobody asks for its
    /// services here), "doubt" (the last outcome contradicts what was held).
    pub pace: String,
    /// Until the next; nothing while one is out.
    pub next_ms: Option<f64>,
    /// What came of the last; nothing before the first.
    pub last: Option<String>,
    /// How long it took, if it was answered.
    pub last_ms: Option<f64>,
    /// How long ago that was.
    pub last_age_ms: Option<f64>,
    /// What the probe's own counts say of the server.
    pub state: ServerState,
    /// Equal outcomes in a row, up to the last ...
    pub streak: u32,
    /// ... and how many change the state: as many good ones, or bad ones if it is up.
    pub needed: u32,
    /// Days until the server's certificate ends; negative if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_days: Option<i64>,
    /// Held down for so long, because it went down too often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flapping_for_ms: Option<f64>,
}

impl ProbedLine {
    /// For people and programs; `now` is in Unix seconds.
    pub fn new(report: &ProbeReport, now: u64) -> Self {
        let (target, spec) = (&report.target, &report.probe.spec);
        let (last, last_ms) = match report.last.as_ref().map(|(_, outcome)| outcome) {
            None => (None, None),
            Some(Outcome::Answered(took)) => (Some("answered".to_owned()), Some(millis(*took))),
            Some(Outcome::Failed(failure)) => (Some(failure.to_string()), None),
            Some(Outcome::NotMade(why)) => (Some(why.clone()), None),
        };
        Self {
            service: target.service.clone(),
            server: target.server.clone(),
            address: target.address,
            role: report.role.as_str().into(),
            kind: spec.kind.as_str().into(),
            port: spec.port,
            verify: ProbeLine::of(spec).verify,
            interval_ms: millis(report.pace.stretch(spec.interval)),
            pace: report.pace.why.as_str().into(),
            next_ms: report.next.map(millis),
            last,
            last_ms,
            last_age_ms: report.last.as_ref().map(|(age, _)| millis(*age)),
            state: match report.state {
                State::Up => ServerState::Up,
                State::Down => ServerState::Down,
                State::Unknown => ServerState::Unknown,
            },
            streak: report.streak,
            needed: if report.state == State::Down { spec.rise } else { spec.fall },
            certificate_days: report.seen.certificate_ends.map(|ends| days_until(ends, now)),
            flapping_for_ms: report.held_for.map(millis),
        }
    }
}

fn millis(time: Duration) -> f64 {
    // Microseconds are all that was measured.
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_negative_after_the_end() {
        for (ends, now, days) in [(86_400, 0, 1), (86_399, 0, 0), (0, 1, -1), (0, 86_401, -2)] {
            assert_eq!(days_until(ends, now), days);
        }
    }
}
