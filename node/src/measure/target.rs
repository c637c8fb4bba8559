//! What to probe, as plain data.
//!
//! The catalogue has its own words for operators; this is the little of it that measuring needs, so that this folder
//! can be read and tested without the catalogue. A [`Target`] is one server of one service; a [`Probe`] is what really
//! goes over the wire. Two services that point at the same address in the same way are two targets and one probe:
//! the origin is asked once, and both rows say the same.
//!
//! **Invariant:** a `Probe` only ever holds a spec inside the bounds of [`ProbeSpec::clamped`], whatever a signed
//! catalogue says: a slip of the pen at the operator's desk must not turn a mesh into a storm.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Shortest pause between two probes of one target: ten a second tell an outage apart in well under a second, and more
/// would be load, not knowledge.
pub const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// Longest pause: a row older than this is no measurement any more.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// Shortest time a probe may take: below it the clock of the runtime (1 ms) decides, not the network.
pub const MIN_TIMEOUT: Duration = Duration::from_millis(5);
/// Longest time a probe may take, which is also the longest it can hold one of the slots for probes in flight.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// Highest rise and fall count: what the filter's window of samples can bear out.
pub const MAX_COUNT: u32 = 30;

/// One server of one service, and how to probe it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// The service's name, as in the catalogue.
    pub service: String,
    /// The server's id, unique in its service.
    pub server: String,
    /// Where the server is.
    pub address: IpAddr,
    /// How to probe it.
    pub probe: ProbeSpec,
}

/// How to probe a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// What is asked, and what counts as an answer.
    pub kind: ProbeKind,
    /// The TCP port.
    pub port: u16,
    /// Time between two probes.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Time for the whole probe: connecting included, and with HTTP the answer's head too.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Successes in a row that bring a server back up.
    pub rise: u32,
    /// Failures in a row that take a server down.
    pub fall: u32,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// A TCP connection that is opened and closed.
    Tcp,
    /// One HTTP/1.1 GET over a fresh connection.
    Http {
        /// Path, and query if any, as sent.
        path: String,
        /// The `Host` header, as sent.
        host: String,
        /// The lowest and the highest status that means "well".
        expect: (u16, u16),
    },
}

/// What goes over the wire: equal probes are made once, however many targets want them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// Where to.
    pub address: IpAddr,
    /// How.
    pub spec: ProbeSpec,
}

impl Target {
    /// The probe that this target needs, its spec brought into bounds.
    pub fn probe(&self) -> Probe {
        Probe { address: self.address, spec: self.probe.clamped() }
    }
}

impl ProbeSpec {
    /// The same spec with every number inside its bounds.
    pub fn clamped(&self) -> Self {
        Self {
            kind: self.kind.clone(),
            port: self.port,
            interval: self.interval.clamp(MIN_INTERVAL, MAX_INTERVAL),
            timeout: self.timeout.clamp(MIN_TIMEOUT, MAX_TIMEOUT),
            rise: self.rise.clamp(1, MAX_COUNT),
            fall: self.fall.clamp(1, MAX_COUNT),
        }
    }
}

impl Probe {
    /// What is asked of whom, without how often and how patiently: what was learnt by one probe holds for another with
    /// the same question.
    pub fn question(&self) -> (IpAddr, u16, &ProbeKind) {
        (self.address, self.spec.port, &self.spec.kind)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec() -> ProbeSpec {
        ProbeSpec {
            kind: ProbeKind::Http { path: "/".into(), host: "www.example.com".into(), expect: (200, 399) },
            port: 80,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }
    }

    #[test]
    fn a_spec_survives_serde_with_durations_that_people_can_read() {
        let text = serde_json::to_string(&spec()).unwrap();
        assert!(text.contains(r#""interval":"2s""#), "{text}");
        assert_eq!(serde_json::from_str::<ProbeSpec>(&text).unwrap(), spec());
    }

    #[test]
    fn wild_numbers_are_brought_into_bounds() {
        let wild = ProbeSpec { interval: Duration::ZERO, timeout: Duration::MAX, rise: 0, fall: u32::MAX, ..spec() };
        let tame = wild.clamped();
        assert_eq!((tame.interval, tame.timeout, tame.rise, tame.fall), (MIN_INTERVAL, MAX_TIMEOUT, 1, MAX_COUNT));
        assert_eq!(spec().clamped(), spec());
    }

    #[test]
    fn a_new_pace_is_the_same_question_and_a_new_path_is_not() {
        let probe = |spec| Probe { address: IpAddr::from([192, 0, 2, 1]), spec };
        let paced = ProbeSpec { interval: Duration::from_secs(9), fall: 1, ..spec() };
        assert_eq!(probe(spec()).question(), probe(paced).question());
        assert_ne!(probe(spec()).question(), probe(ProbeSpec { port: 81, ..spec() }).question());
        assert_ne!(probe(spec()).question(), probe(ProbeSpec { kind: ProbeKind::Tcp, ..spec() }).question());
    }
}
