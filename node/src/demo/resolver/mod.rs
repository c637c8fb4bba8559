//! A small iterative resolver: what an ISP's resolver does with a DNS-B's answers, and nothing else.
//!
//! The demo must show what a resolver gets, and a machine with only a Rust toolchain has none to show it with. So this
//! one follows CNAMEs and delegations with glue, caches RRsets, cuts and negative answers by TTL, prefers the server
//! that was quickest, and turns to the next one when a server is silent. It starts from the delegation that the zone
//! owner's DNS-A would give. No DNSSEC, no QNAME minimisation, no root.
//!
//! ```text
//! ask -> cache -> deepest known cut -> send -> reply::read -> cache -> ... -> Answer
//!                        ^                         |
//!                        +---- alias or cut -------+
//! ```
//!
//! Source: RFC 1034 section 5.3.3 (the algorithm), RFC 2308 (negative answers), RFC 5452 (what a reply must match).
//! Invariant: wherever real resolvers differ in what they accept, this one sides with the strictest (see [`reply`]), so
//! an answer that pleases it pleases them. The core ([`lookup`]) takes `now` and does no I/O; [`client`] owns sockets.
//! Rejected: hickory's recursor, which insists on port 53 and roots, so it could not run without root on loopback.

pub mod cache;
pub mod client;
pub mod lookup;
pub mod reply;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::Name;

/// One name server of a cut, with the glue that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServer {
    /// The server's name, inside the cut.
    pub name: Name,
    /// Its addresses, in the order in which they came.
    pub addresses: Vec<IpAddr>,
}

/// A zone and who serves it, as its parent said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// Apex of the zone.
    pub zone: Name,
    /// Its servers in the order in which they came.
    pub servers: Vec<NameServer>,
}

/// What one server said to one question, or that it said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// Addresses for the name that was asked, or for the end of its alias chain in the same message.
    Addresses,
    /// An alias; `cut` if the message also told who serves the zone of the target.
    Alias {
        /// Where the alias leads.
        target: Name,
        /// The cut whose servers came along.
        cut: Option<Name>,
    },
    /// A delegation to a zone further down.
    Referral(Name),
    /// The name has no such records.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// Nothing within the time-out.
    Silence,
    /// The answer was cut short: the same server is asked again over TCP.
    Truncated,
    /// Something a careful resolver does not use; why.
    Unusable(String),
}

/// One question to one server and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Zone as whose server the server was asked.
    pub zone: Name,
    /// The server's address.
    pub server: IpAddr,
    /// The name that was asked.
    pub asked: Name,
    /// What came.
    pub got: Got,
    /// How long it took, the time-out included.
    pub took: Duration,
}

/// How a lookup ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Addresses, best first as the server ordered them.
    Addresses(Vec<IpAddr>),
    /// The name exists, but not with this type.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// What a resolver would tell as SERVFAIL, and why.
    Failed(String),
}

/// The result of one lookup, with the way it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub ending: Ending,
    /// The name at the end of the alias chain.
    pub canonical: Name,
    /// Every question that was sent; empty if all came from the cache.
    pub hops: Vec<Hop>,
    /// From the question to the answer.
    pub took: Duration,
}

impl Answer {
    /// The address a client would connect to.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.ending {
            Ending::Addresses(addresses) => addresses.first().copied(),
            _ => None,
        }
    }

    /// The server whose message held the answer; none if it came from the cache.
    pub fn answered_by(&self) -> Option<IpAddr> {
        self.hops.last().map(|hop| hop.server)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(addresses) => {
                for (i, address) in addresses.iter().enumerate() {
                    write!(f, "{}{address}", if i == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::NoData => f.write_str("no such records"),
            Self::NxDomain => f.write_str("no such name"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}
