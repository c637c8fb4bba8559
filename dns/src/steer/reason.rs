//! Why a server stands where it does, in words.

use std::fmt;
use std::time::Duration;

use crate::Milli;

/// Why a server stands where it does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody is nearer, or has a lesser score.
    Nearest,
    /// One of several that are near enough, and this client's by its hash.
    Shared {
        /// How much slower than the nearest.
        slower: Duration,
    },
    /// One of several that are near enough; other clients get it.
    OtherClients {
        /// How much slower than the nearest.
        slower: Duration,
    },
    /// Up, but further away than the spread allows.
    Slower {
        /// How much slower than the nearest.
        slower: Duration,
    },
    /// First in the list of those that are up.
    Listed,
    /// Up, but another stands before it in the list.
    LaterInList,
    /// An override leads this client, or this node, to it.
    Pinned,
    /// Up, but an override leads elsewhere.
    NotPinned,
    /// This client is of its canary share.
    Canary {
        /// In percent of all clients.
        share: Milli,
    },
    /// Up, and given to its canary share only, of which this client is not.
    CanaryOthers {
        /// In percent of all clients.
        share: Milli,
    },
    /// Up, but this client is of another server's canary share.
    Canaried,
    /// Up, but a tier before its own serves.
    LaterTier {
        /// Its own.
        tier: u8,
        /// That which serves.
        serving: u8,
    },
    /// Up, but too few of its tier are.
    TierTooThin {
        /// Its tier.
        tier: u8,
        /// How many of that are up.
        up: usize,
        /// How many must be.
        min_up: usize,
    },
    /// Up, but its round-trip time is not known, and that of others is.
    NoRtt,
    /// Up, but its weight is 0.
    NoWeight,
    /// Up, but to be left alone, and others are up.
    Draining,
    /// Switched off by the operator.
    Off,
    /// Not measured yet.
    Unknown,
    /// Does not answer.
    Down,
    /// No server is up: given all the same.
    FailOpen,
    /// No server is up, and others were less bad.
    FailOpenSpare,
    /// No server is up, and the policy wants another answer than any of them.
    Instead,
    /// Has an address of the other family.
    OtherFamily,
}

impl Reason {
    /// Does a server for this reason stand in the answer?
    pub fn is_chosen(&self) -> bool {
        use Reason::{Canary, FailOpen, Listed, Nearest, Pinned, Shared};
        matches!(self, Nearest | Shared { .. } | FailOpen | Listed | Pinned | Canary { .. })
    }

    /// In words, where more than latency makes the score.
    pub(crate) fn by_score(&self) -> String {
        match self {
            Self::Nearest => "least score".to_owned(),
            Self::Shared { slower } => format!("this client's share, {} above the least score", Millis(*slower)),
            Self::OtherClients { slower } => format!("other clients' share, {} above the least score", Millis(*slower)),
            Self::Slower { slower } => format!("{} above the least score", Millis(*slower)),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nearest => f.write_str("nearest"),
            Self::Shared { slower } if slower.is_zero() => f.write_str("this client's share, and the nearest"),
            Self::Shared { slower } => write!(f, "this client's share, {} behind the nearest", Millis(*slower)),
            Self::OtherClients { slower } => {
                write!(f, "other clients' share, {} behind the nearest", Millis(*slower))
            }
            Self::Slower { slower } => write!(f, "{} slower than the nearest", Millis(*slower)),
            Self::Listed => f.write_str("first of the list that is up"),
            Self::LaterInList => f.write_str("later in the list"),
            Self::Pinned => f.write_str("an override leads to it"),
            Self::NotPinned => f.write_str("an override leads elsewhere"),
            Self::Canary { share } => write!(f, "canary: this client is of its {share} %"),
            Self::CanaryOthers { share } => write!(f, "canary: {share} % of the clients, not this one"),
            Self::Canaried => f.write_str("this client is of a canary's share"),
            Self::LaterTier { tier, serving } => write!(f, "tier {tier}, and tier {serving} serves"),
            Self::TierTooThin { tier, up, min_up } => write!(f, "tier {tier} has {up} up and needs {min_up}"),
            Self::NoRtt => f.write_str("up, but its round-trip time is not known yet"),
            Self::NoWeight => f.write_str("weight 0, and others are up"),
            Self::Draining => f.write_str("is being drained, and others are up"),
            Self::Off => f.write_str("switched off"),
            Self::Unknown => f.write_str("not measured yet"),
            Self::Down => f.write_str("does not answer"),
            Self::FailOpen => f.write_str("no server is up: given all the same"),
            Self::FailOpenSpare => f.write_str("no server is up, and others were less bad"),
            Self::Instead => f.write_str("no server is up, and the policy gives none of them"),
            Self::OtherFamily => f.write_str("of the other address family (A is for IPv4, AAAA for IPv6)"),
        }
    }
}

/// A duration as milliseconds, as people read round-trip times.
pub(crate) struct Millis(pub(crate) Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1} ms", self.0.as_secs_f64() * 1000.0))
    }
}
