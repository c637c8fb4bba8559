//! What was found, as plain data: for the claims, and for people.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Proof;

/// Why a resolver is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// It stands in the configuration.
    Configured,
    /// The system uses it.
    System,
}

impl Origin {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::System => "system",
        }
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Each resolver, by address.
    pub resolvers: Vec<ResolverFinding>,
}

/// One resolver.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolverFinding {
    /// Where it is asked.
    pub address: SocketAddr,
    /// Why.
    pub origin: Origin,
    /// The round trip of an answer from its cache.
    pub rtt: Option<Duration>,
    /// It says nothing any more, and nothing is claimed for it.
    pub lost: bool,
    /// Rounds in a row in which it said nothing.
    pub silent_rounds: u32,
    /// Why the last questions found nothing; empty when they did.
    pub fault: String,
    /// It is no longer configured.
    pub leaving: bool,
    /// Questions that left from addresses for which there was no room.
    pub beyond: u64,
    /// The addresses that its questions leave from.
    pub egress: Vec<EgressFinding>,
}

/// One address that questions leave from.
#[derive(Clone, Debug, PartialEq)]
pub struct EgressFinding {
    /// The address.
    pub address: IpAddr,
    /// When it was last seen, on this process's clock.
    pub last: Duration,
    /// The newest statement of another node.
    pub proof: Option<Proof>,
    /// Why there is none.
    pub why: &'static str,
    /// The public resolver that it belongs to: then it is not claimed.
    pub public: Option<String>,
}
