//! What came of one probe.
//!
//! Three ways, not two: a probe that *we* could not make (no file descriptor left, a source address that is not ours)
//! says nothing about the server. It is no sample, takes nobody down, and its reason is shown, so that the operator
//! looks at this machine and not at the origin. An unreachable network does count as a failure, for health is
//! "from here".

use std::fmt;
use std::io;
use std::time::Duration;

/// Longest foreign text kept in a reason: it ends up in replicated rows.
const DETAIL_BYTES: usize = 80;

/// What came of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered well, after this time.
    Answered(Duration),
    /// The server did not answer, or not well.
    Failed(Failure),
    /// The probe could not be made for a reason of our own; no sample.
    NotMade(String),
}

/// Why a probe failed. `Display` is what operators read in `why`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("connect: {0}")]
    Connect(Detail),
    /// Not done in time.
    #[error("timeout after {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// HTTP: a status outside the wanted range.
    #[error("status {got}, wanted {}-{}", .wanted.0, .wanted.1)]
    Status {
        /// The status that came.
        got: u16,
        /// The lowest and highest that would have been well.
        wanted: (u16, u16),
    },
    /// HTTP: a body that does not hold what it should.
    #[error("body without {0:?}")]
    Body(String),
    /// No answer as the protocol wants it, or one that says "not well". The first word names the protocol.
    #[error("{0}: {1}")]
    Protocol(&'static str, Detail),
}

impl Failure {
    /// In the words of a protocol.
    pub fn of(protocol: &'static str, words: impl fmt::Display) -> Outcome {
        Outcome::Failed(Self::Protocol(protocol, Detail::new(words)))
    }
}

/// What came of one probe, and what was seen by the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What came of it.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: Seen,
}

/// What an answer shows beside that it came. Nothing of it is remembered from one probe to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// When the server's certificate ends, in Unix seconds.
    pub certificate_ends: Option<u64>,
    /// The load that the server reports of itself, in the text of ORCA's `endpoint-load-metrics` field.
    pub load: Option<String>,
}

impl From<Outcome> for Attempt {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, seen: Seen::default() }
    }
}

/// A short text from outside: cut to a bound and free of control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail(String);

impl Detail {
    /// Cleans and cuts `text`.
    pub fn new(text: impl fmt::Display) -> Self {
        let mut kept = String::new();
        for c in text.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if kept.len() + c.len_utf8() > DETAIL_BYTES {
                break;
            }
            kept.push(c);
        }
        Self(kept)
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The outcome of a socket call that failed while connecting, `timeout` being the probe's own.
pub fn connect_failed(error: &io::Error, timeout: Duration) -> Outcome {
    use io::ErrorKind as Kind;
    let word = match error.kind() {
        Kind::ConnectionRefused => "refused",
        Kind::ConnectionReset => "reset",
        Kind::HostUnreachable => "host unreachable",
        Kind::NetworkUnreachable => "network unreachable",
        // The kernel gave up before we did; for the reader it is the same thing.
        Kind::TimedOut => return Outcome::Failed(Failure::Timeout(timeout)),
        Kind::AddrNotAvailable | Kind::AddrInUse | Kind::OutOfMemory => return not_made("connect", error),
        // EMFILE, ENFILE and ENOBUFS have no ErrorKind of their own in std; the numbers are Linux's and the BSDs' own
        // for the first two.
        _ if matches!(error.raw_os_error(), Some(23 | 24 | 105)) => return not_made("connect", error),
        _ => return Outcome::Failed(Failure::Connect(Detail::new(error))),
    };
    Outcome::Failed(Failure::Connect(Detail::new(word)))
}

/// The outcome when this machine is at fault.
pub fn not_made(step: &str, error: &io::Error) -> Outcome {
    Outcome::NotMade(format!("not probed: {step}: {}", Detail::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(outcome: Outcome) -> String {
        match outcome {
            Outcome::Failed(failure) => failure.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn reasons_read_as_promised() {
        let second = Duration::from_secs(1);
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(why(connect_failed(&refused, second)), "connect: refused");
        assert_eq!(why(connect_failed(&io::ErrorKind::TimedOut.into(), second)), "timeout after 1s");
        assert_eq!(Failure::Status { got: 503, wanted: (200, 399) }.to_string(), "status 503, wanted 200-399");
    }

    #[test]
    fn our_own_shortage_is_not_the_servers_failure() {
        for errno in [23, 24, 105, 99] {
            let error = io::Error::from_raw_os_error(errno);
            assert!(matches!(connect_failed(&error, Duration::ZERO), Outcome::NotMade(_)), "{error}");
        }
        let unreachable = io::Error::from_raw_os_error(101);
        assert!(matches!(connect_failed(&unreachable, Duration::ZERO), Outcome::Failed(_)));
    }

    #[test]
    fn foreign_text_is_cut_and_cleaned() {
        let detail = Detail::new(format!("a\r\nb{}", "é".repeat(200))).to_string();
        assert!(detail.starts_with("a  bé") && detail.len() <= DETAIL_BYTES, "{detail:?}");
    }
}
