//! Which servers a client gets: a pure function of a service, one node's measurements of it, and the client.
//!
//! ```text
//!   servers of the asked family ─▶ up ─▶ within `spread` of the nearest ─▶ shared by weight ─▶ at most `answers`
//!                                  └─ none: fail open, those not measured yet, else all
//! ```
//!
//! - Only servers within the spread are given: two addresses in one answer mean that clients use both, so a far server
//!   beside a near one would get half of them. Who wants a spare in the answer widens the spread.
//! - Sharing is weighted rendezvous hashing (Schindelhauer and Schomaker, SPAA 2005): each server draws a score from a
//!   hash of service, server and client, scaled by its weight, and the highest wins. A client keeps its server as long
//!   as that server is in the pool, and a server that leaves moves only its own clients.
//! - Failing open: with nothing up, an answer that may be wrong is better than one that surely is. Also the probes may
//!   be what is broken.
//!
//! **Invariant:** every server of the pool stands in the ranking with the reason for its place. The same ranking makes
//! the answer and explains it.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use ipnet::IpNet;

use crate::label::LONGEST_LABEL;
use crate::wire_name::WireName;
use crate::{Label, Problem, RowState, Server, Service};

/// Octets of the longest name (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 255;

/// IPv4 or IPv6: decided apart, since their paths differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Asked by type A.
    V4,
    /// Asked by type AAAA.
    V6,
}

impl Family {
    /// The family that a question of this type is about.
    pub fn of_type(qtype: RecordType) -> Option<Self> {
        match qtype {
            RecordType::A => Some(Self::V4),
            RecordType::AAAA => Some(Self::V6),
            _ => None,
        }
    }

    /// Is the address of this family?
    pub fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// What a node last saw of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Does it answer?
    pub state: RowState,
    /// Round-trip time, the last one if it is down.
    pub rtt: Option<Duration>,
    /// Share of probes lost.
    pub loss: f32,
    /// When it was last confirmed.
    pub as_of: Duration,
    /// Why the state is what it is; may be empty.
    pub why: String,
}

/// A service with what every node saw of its servers.
pub(crate) struct Pool {
    service: Service,
    /// The part of the name before the zone's apex, relative.
    before: Name,
    /// The name as the rendezvous hash takes it.
    key: Box<[u8]>,
    /// By node, in the order of the servers.
    seen: HashMap<Label, Vec<Option<Seen>>>,
}

/// Why a server stands where it does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody is nearer.
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
    /// Up, but its round-trip time is not known, and that of others is.
    NoRtt,
    /// Up, but its weight is 0.
    NoWeight,
    /// Not measured yet.
    Unknown,
    /// Does not answer.
    Down,
    /// No server is up: given all the same.
    FailOpen,
    /// No server is up, and others were less bad.
    FailOpenSpare,
    /// Has an address of the other family.
    OtherFamily,
}

impl Reason {
    /// Does a server for this reason stand in the answer?
    pub fn is_chosen(&self) -> bool {
        matches!(self, Self::Nearest | Self::Shared { .. } | Self::FailOpen)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nearest => f.write_str("nearest"),
            Self::Shared { slower } => write!(f, "this client's share, {} behind the nearest", Millis(*slower)),
            Self::OtherClients { slower } => {
                write!(f, "other clients' share, {} behind the nearest", Millis(*slower))
            }
            Self::Slower { slower } => write!(f, "{} slower than the nearest", Millis(*slower)),
            Self::NoRtt => f.write_str("up, but its round-trip time is not known yet"),
            Self::NoWeight => f.write_str("weight 0, and others are up"),
            Self::Unknown => f.write_str("not measured yet"),
            Self::Down => f.write_str("does not answer"),
            Self::FailOpen => f.write_str("no server is up: given all the same"),
            Self::FailOpenSpare => f.write_str("no server is up, and others were less bad"),
            Self::OtherFamily => f.write_str("has an address of the other family"),
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

/// A server at its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked<'s> {
    /// The server.
    pub server: &'s Server,
    /// What the deciding node saw of it.
    pub seen: Option<&'s Seen>,
    /// Why it stands here.
    pub reason: Reason,
}

/// All servers of a service, those of the answer first and in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking<'s> {
    /// The servers.
    pub servers: Vec<Ranked<'s>>,
    /// Was nothing up?
    pub failed_open: bool,
}

impl<'s> Ranking<'s> {
    /// The servers that the answer gives, best first.
    pub fn chosen(&self) -> impl Iterator<Item = &Ranked<'s>> {
        self.servers.iter().take_while(|ranked| ranked.reason.is_chosen())
    }
}

impl Pool {
    pub(crate) fn new(mut service: Service, before: Name, problems: &mut Vec<Problem>) -> Self {
        let mut ids: Vec<String> = Vec::new();
        service.servers.retain(|server| {
            let twice = ids.contains(&server.id);
            if twice {
                problems.push(Problem::ServerTwice(service.name.clone(), server.id.clone()));
            } else {
                ids.push(server.id.clone());
            }
            !twice
        });
        if service.servers.is_empty() {
            problems.push(Problem::ServiceEmpty(service.name.clone()));
        }
        if service.name.len() + 1 + LONGEST_LABEL > LONGEST_NAME {
            problems.push(Problem::NameTooLong(service.name.clone()));
        }
        Self { key: WireName::new(&service.name).all().into(), service, before, seen: HashMap::new() }
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// The service's name in a cut; nothing if it would be too long.
    pub(crate) fn name_below(&self, cut: &Name) -> Option<Name> {
        self.before.clone().append_domain(cut).ok()
    }

    /// Notes what a node saw of a server. A server that the service does not have is ignored.
    pub(crate) fn see(&mut self, node: Label, server: &str, seen: Seen) {
        let Some(at) = self.service.servers.iter().position(|held| held.id == server) else {
            return;
        };
        let count = self.service.servers.len();
        self.seen.entry(node).or_insert_with(|| vec![None; count])[at] = Some(seen);
    }

    /// Ranks the servers as `decider` sees them, for a client.
    pub(crate) fn rank(&self, decider: &Label, family: Family, client: IpNet) -> Ranking<'_> {
        let seen = self.seen.get(decider);
        let (mut live, mut idle, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for (at, server) in self.service.servers.iter().enumerate() {
            let seen = seen.and_then(|seen| seen[at].as_ref());
            let state = seen.map_or(RowState::Unknown, |seen| seen.state);
            let (list, reason) = match state {
                _ if !family.has(server.address) => (&mut rest, Reason::OtherFamily),
                RowState::Up if server.weight > 0 => (&mut live, Reason::Nearest),
                RowState::Up => (&mut idle, Reason::NoWeight),
                RowState::Unknown => (&mut rest, Reason::Unknown),
                RowState::Down => (&mut rest, Reason::Down),
            };
            list.push(Ranked { server, seen, reason });
        }
        if live.is_empty() {
            // Servers without weight are there for this: to be given when nothing else is up.
            std::mem::swap(&mut live, &mut idle);
        }
        live.sort_by(by_rtt);
        idle.sort_by(by_rtt);
        rest.sort_by(|a, b| misery(&a.reason).cmp(&misery(&b.reason)).then_with(|| by_rtt(a, b)));
        let failed_open = live.is_empty();
        if failed_open {
            self.fail_open(&mut rest);
        } else {
            self.share(&mut live, client);
        }
        live.append(&mut idle);
        live.append(&mut rest);
        Ranking { servers: live, failed_open }
    }

    fn most_answers(&self) -> usize {
        usize::from(self.service.answers.max(1))
    }

    /// Nothing is up: of those that are not known to be down, else of all, the first few are given.
    fn fail_open(&self, servers: &mut [Ranked<'_>]) {
        let Some(least) = servers.first().map(|ranked| misery(&ranked.reason)) else { return };
        let of_family = servers.iter_mut().filter(|ranked| ranked.reason != Reason::OtherFamily);
        for (place, ranked) in of_family.enumerate() {
            let given = place < self.most_answers() && misery(&ranked.reason) == least;
            ranked.reason = if given { Reason::FailOpen } else { Reason::FailOpenSpare };
        }
    }

    /// Shares the client out among those within the spread; the list is sorted by round-trip time and not empty.
    fn share(&self, live: &mut [Ranked<'_>], client: IpNet) {
        let rtt = |ranked: &Ranked<'_>| ranked.seen.and_then(|seen| seen.rtt);
        let best = live.first().and_then(rtt);
        let behind = |ranked: &Ranked<'_>| match (best, rtt(ranked)) {
            (Some(best), Some(own)) => Some(own.saturating_sub(best)),
            (None, None) => Some(Duration::ZERO),
            _ => None,
        };
        let near =
            live.iter().take_while(|ranked| behind(ranked).is_some_and(|slower| slower <= self.service.spread)).count();
        let (near, far) = live.split_at_mut(near);
        for ranked in far {
            ranked.reason = behind(ranked).map_or(Reason::NoRtt, |slower| Reason::Slower { slower });
        }
        if let [only] = near {
            only.reason = Reason::Nearest;
            return;
        }
        // They have no weight only when none of the living has any: then all weigh alike.
        near.sort_by_cached_key(|ranked| std::cmp::Reverse(self.score(ranked.server, client)));
        for (place, ranked) in near.iter_mut().enumerate() {
            let slower = behind(ranked).unwrap_or_default();
            ranked.reason =
                if place < self.most_answers() { Reason::Shared { slower } } else { Reason::OtherClients { slower } };
        }
    }

    /// The score that a server draws for a client: an exponential variate with the weight as its rate, turned around,
    /// so that a server wins with a probability of its weight over the sum of weights.
    fn score(&self, server: &Server, client: IpNet) -> u64 {
        let mut hash = blake3::Hasher::new();
        hash.update(&self.key);
        hash.update(&[0]);
        hash.update(server.id.as_bytes());
        hash.update(&[0, client.prefix_len()]);
        match client.addr() {
            IpAddr::V4(address) => hash.update(&address.octets()),
            IpAddr::V6(address) => hash.update(&address.octets()),
        };
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finalize().as_bytes()[..8]);
        // 53 bits are what an f64 holds; the half keeps the draw off 0 and 1, where the logarithm is of no use.
        let draw = ((u64::from_le_bytes(first) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        let score = f64::from(server.weight.max(1)) / -draw.ln();
        // The bits of positive floats are in the order of the floats.
        score.to_bits()
    }
}

/// The order of servers that are not up.
fn misery(reason: &Reason) -> u8 {
    match reason {
        Reason::Unknown => 0,
        Reason::OtherFamily => 2,
        _ => 1,
    }
}

/// Nearest first; those without a time last; equal ones by id.
fn by_rtt(a: &Ranked<'_>, b: &Ranked<'_>) -> std::cmp::Ordering {
    let key = |ranked: &Ranked<'_>| ranked.seen.and_then(|seen| seen.rtt).unwrap_or(Duration::MAX);
    key(a).cmp(&key(b)).then_with(|| a.server.id.cmp(&b.server.id))
}
