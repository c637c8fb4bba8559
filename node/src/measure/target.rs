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

/// Further tries within one probe: more would be the next probe.
pub const MAX_RETRIES: u32 = 5;
/// Probes a second that one server may get from the whole mesh, unless the catalogue says otherwise: what an idle
/// machine does not notice, and a hundred nodes at the usual 2 s.
pub const DEFAULT_BUDGET: u32 = 50;
/// The largest budget: beyond it there is none to speak of.
pub const MAX_BUDGET: u32 = 100_000;

/// One server of one service, and how to probe it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The service's name, as in the catalogue.
    pub service: String,
    /// The server's id, unique in its service.
    pub server: String,
    /// Where the server is.
    pub address: IpAddr,
    /// How to probe it.
    pub probe: Probing,
}

/// All that is asked of the servers of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probing {
    /// Says whether a server is up; and how far, if nothing else does.
    pub health: ProbeSpec,
    /// Says how far it is.
    pub latency: Option<ProbeSpec>,
    /// Probes a second that one server may get from all nodes together; of several services the least counts.
    pub budget: u32,
}

/// How to probe a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeSpec {
    /// What is asked, and what counts as an answer.
    pub kind: ProbeKind,
    /// The TCP or UDP port; 0 where there is none.
    pub port: u16,
    /// Time between two probes.
    pub interval: Duration,
    /// Time for the whole probe: connecting, further tries, and with HTTP the answer's head too.
    pub timeout: Duration,
    /// Further tries of a probe that failed, before it counts as failed; they share the time.
    pub retries: u32,
    /// Successes in a row that bring a server back up.
    pub rise: u32,
    /// Failures in a row that take a server down.
    pub fall: u32,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// A TCP connection that is opened and closed.
    Tcp,
    /// One HTTP GET.
    Http(HttpSpec),
    /// `grpc.health.v1.Health/Check`.
    Grpc(GrpcSpec),
    /// An echo request.
    Icmp,
    /// A query of the DNS.
    Dns(DnsSpec),
    /// A program of the node's own, with its arguments.
    Command(Vec<String>),
}

impl ProbeKind {
    /// The word for it, as in the catalogue file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(http) if http.web.tls.is_some() => "https",
            Self::Http(_) => "http",
            Self::Grpc(_) => "grpc",
            Self::Icmp => "icmp",
            Self::Dns(_) => "dns",
            Self::Command(_) => "command",
        }
    }
}

/// How to get to a web server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WebSpec {
    /// The `Host` header or `:authority`, as sent; without its port the name that the certificate must be for.
    pub host: String,
    /// Over TLS.
    pub tls: Option<TlsSpec>,
    /// HTTP/2: by ALPN over TLS, with prior knowledge without.
    pub http2: bool,
    /// The connection is kept for the next probe.
    pub reuse: bool,
}

/// What is expected of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsSpec {
    /// Whether it is checked at all.
    pub verify: bool,
    /// The file with the authorities that may have signed it, in the directory that the node keeps them in; nothing: the
    /// system's.
    pub ca: Option<String>,
}

/// A GET and the answer that is good.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpSpec {
    /// How to get there.
    pub web: WebSpec,
    /// Path, and query if any, as sent.
    pub path: String,
    /// The lowest and the highest status that means "well".
    pub expect: (u16, u16),
    /// What the body must hold.
    pub body: Option<String>,
}

/// A health check of gRPC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrpcSpec {
    /// How to get there.
    pub web: WebSpec,
    /// The service asked about; empty: the server as a whole.
    pub service: String,
}

/// A query and the response that is good.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DnsSpec {
    /// The name, as text.
    pub name: String,
    /// The number of the type.
    pub rtype: u16,
    /// The response code that means "well".
    pub rcode: u16,
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
    /// The probe of its health, its spec brought into bounds.
    pub fn health(&self) -> Probe {
        Probe { address: self.address, spec: self.probe.health.clamped() }
    }

    /// The probe of its distance, if it is another.
    pub fn latency(&self) -> Option<Probe> {
        let latency = self.probe.latency.as_ref()?;
        Some(Probe { address: self.address, spec: latency.clamped() })
    }
}

impl From<ProbeSpec> for Probing {
    fn from(health: ProbeSpec) -> Self {
        Self { health, latency: None, budget: DEFAULT_BUDGET }
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
            retries: self.retries.min(MAX_RETRIES),
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
        let web = WebSpec { host: "www.example.com".into(), tls: None, http2: false, reuse: false };
        ProbeSpec {
            kind: ProbeKind::Http(HttpSpec { web, path: "/".into(), expect: (200, 399), body: None }),
            port: 80,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            retries: 0,
            rise: 2,
            fall: 3,
        }
    }

    #[test]
    fn wild_numbers_are_brought_into_bounds() {
        let wild = ProbeSpec {
            interval: Duration::ZERO,
            timeout: Duration::MAX,
            retries: 99,
            rise: 0,
            fall: u32::MAX,
            ..spec()
        };
        let tame = wild.clamped();
        assert_eq!((tame.interval, tame.timeout, tame.rise, tame.fall), (MIN_INTERVAL, MAX_TIMEOUT, 1, MAX_COUNT));
        assert_eq!(tame.retries, MAX_RETRIES);
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
