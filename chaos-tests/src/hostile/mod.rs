//! A member that lies: a valid certificate, the true wire, and bad manners. `chaos hostile` is it; storms start it.
//!
//! ```text
//!   member ── an engine as every member has one ──▶ bare transport ──▶ real nodes
//!     │ twists what it says                            ▲
//!     ├── lies   what stands in its pages              │
//!     └── junk   what no member says ──────────────────┘
//! ```
//!
//! It drives nigh-gossip's engine over nigh-gossip's transport, so it beats, repairs and is linked as any member, and only
//! what it says is false. The bodies of nigh's tables are written down here a second time, on purpose: who attacks
//! brings a program of its own.
//!
//! Rejected: a `nigh` with hostile parts that a flag wakes (they would be in what we hand out).

mod junk;
mod lies;
mod member;

pub use member::{Part, play};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

/// How it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Malice {
    /// Claims everybody's resolvers, with all origins next door.
    Claims,
    /// Lists everybody's cuts, says that all origins are down, and accuses everybody.
    Lies,
    /// Signs two pages of one version, and shows each to half of the mesh.
    Equivocates,
    /// Sends pages as fast as they are taken, forged ones, old ones, and noise.
    Floods,
}

/// All of them.
pub const MALICES: [Malice; 4] = [Malice::Claims, Malice::Lies, Malice::Equivocates, Malice::Floods];

impl Malice {
    /// The node's name, and its host's.
    pub fn node(self) -> String {
        format!("x{:02}", self as u8 + 1)
    }

    /// The word for it on a command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Claims => "claims",
            Self::Lies => "lies",
            Self::Equivocates => "equivocates",
            Self::Floods => "floods",
        }
    }

    /// Where it stands.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 251, self as u8, 2)
    }

    /// The resolvers that its certificate lets it claim; there is none.
    pub fn allowed(self) -> String {
        format!("10.251.{}.0/24", self as u8)
    }
}

impl fmt::Display for Malice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Claims => "claims what is others'",
            Self::Lies => "lies about cuts, origins and nodes",
            Self::Equivocates => "says one thing here and another there",
            Self::Floods => "floods",
        })
    }
}
