//! How the servers of a service are chosen, as plain data: what an operator wrote, in whole numbers.
//!
//! Numbers with fractions are kept in thousandths, so that a policy can be compared, ordered and sent without a float
//! changing on the way. What each setting does stands in [`crate::steer`].
//!
//! **Default:** a policy that says nothing chooses by latency alone, among all servers, from the first that is up on.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Label;

/// A number in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Milli(pub u32);

impl Milli {
    /// 1.
    pub const ONE: Self = Self(1000);
}

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1000, self.0 % 1000);
        match part {
            0 => write!(f, "{whole}"),
            part => write!(f, "{whole}.{}", format!("{part:03}").trim_end_matches('0')),
        }
    }
}

/// How the servers of a service are chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// By score, or in the order of the list.
    pub choice: Choice,
    /// What the score is made of.
    pub objective: Objective,
    /// What ties a client to one of several servers that are equally good.
    pub sticky: Sticky,
    /// A tier serves when at least so many of its servers are up; 0 counts as 1.
    pub min_up: u16,
    /// What is answered when no server is up.
    pub all_down: AllDown,
    /// Seconds that an answer may be kept at least, however soon it could change; nothing: the TTL is fixed.
    pub ttl_min: Option<u32>,
    /// How soon what is measured can change.
    pub pace: Pace,
    /// What holds for some clients, or as some nodes see it.
    pub overrides: Vec<Override>,
}

/// Which server is first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The one with the least score; those within the spread of it share the clients.
    #[default]
    Best,
    /// The one that stands first in the list: failover.
    First,
}

impl Choice {
    /// The word for it in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::First => "first",
        }
    }
}

/// What makes a server good: a sum in milliseconds, of which the least is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    /// For each millisecond of round-trip time.
    pub latency: Milli,
    /// For each percent of probes lost.
    pub loss: Milli,
    /// For each percent of utilization that the server reports.
    pub load: Milli,
    /// For each unit of cost.
    pub cost: Milli,
}

impl Objective {
    /// Does nothing but latency count, and as it is?
    pub fn is_latency(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Objective {
    fn default() -> Self {
        Self { latency: Milli::ONE, loss: Milli(0), load: Milli(0), cost: Milli(0) }
    }
}

/// What ties a client to one of several servers that are equally good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sticky {
    /// Its address: it keeps its server as long as that one is among them.
    #[default]
    Client,
    /// Nothing: each query draws anew.
    None,
}

impl Sticky {
    /// The word for it in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::None => "none",
        }
    }
}

/// What is answered when no server is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllDown {
    /// What would be, were they up: those not measured yet, else all, in their last order.
    #[default]
    LastGood,
    /// All servers that are not switched off.
    All,
    /// No addresses: NODATA. Rejected: SERVFAIL, after which resolvers ask every other name server of the cut, which say
    /// the same, and may serve what they still have from before (RFC 8767 section 4); NODATA is the word of the
    /// authority, ends that, and is cached no longer than the SOA's minimum.
    None,
    /// These addresses, such as that of a page that says sorry. Of a family that is not among them: NODATA.
    Addresses(Vec<IpAddr>),
}

/// How soon what is measured can change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// From the first lost probe until a server is down.
    pub fall: Duration,
    /// From the first good probe until a server is up.
    pub rise: Duration,
}

/// What holds for some clients, or as some nodes see it, as long as it leads to a server that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// For clients in this prefix; nothing: for all. Of several the longest wins.
    pub prefix: Option<IpNet>,
    /// Where this node's measurements decide; nothing: everywhere. Of equal prefixes one with a node wins.
    pub node: Option<Label>,
    /// What holds.
    pub to: Pin,
}

/// To which servers an override leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// These, the first that is up before the next.
    Servers(Vec<String>),
    /// Those of a tier.
    Tier(u8),
}

/// On what terms a server is in the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Servers of a lower tier come first.
    pub tier: u8,
    /// Its place in the list, for [`Choice::First`].
    pub place: u16,
    /// Whether it is in service.
    pub duty: Duty,
    /// So many percent of the clients get it, however near the others are, and no others do; 0: as any server.
    pub canary: Milli,
    /// What it costs to use it.
    pub cost: Cost,
}

/// Whether a server is in service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Duty {
    /// It is.
    #[default]
    Up,
    /// It is to be left alone, unless nothing else is up.
    Drain,
    /// It is not: never given.
    Off,
}

impl Duty {
    /// The word for it in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Drain => "drain",
            Self::Off => "off",
        }
    }
}

/// What it costs to use a server, in units of the operator's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// From everywhere else.
    pub default: Milli,
    /// From these nodes.
    pub nodes: BTreeMap<Label, Milli>,
}

impl Cost {
    /// From a node, or from nowhere in particular.
    pub fn from(&self, node: Option<&Label>) -> Milli {
        node.and_then(|node| self.nodes.get(node)).copied().unwrap_or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_written_as_people_write_them() {
        for (milli, text) in [(0, "0"), (1000, "1"), (1500, "1.5"), (50, "0.05"), (12_345, "12.345")] {
            assert_eq!(Milli(milli).to_string(), text);
        }
    }

    #[test]
    fn cost_is_that_of_the_node_or_the_default() {
        let (fra, nyc): (Option<Label>, Option<Label>) = ("fra".parse().ok(), "nyc".parse().ok());
        let cost = Cost { default: Milli::ONE, nodes: fra.clone().map(|fra| (fra, Milli(200))).into_iter().collect() };
        assert_eq!([fra, nyc, None].map(|node| cost.from(node.as_ref())), [Milli(200), Milli::ONE, Milli::ONE]);
    }
}
