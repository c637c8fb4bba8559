//! Which servers a client gets: a pure function of a service, one node's measurements of it, and the client.
//!
//! ```text
//!                ┌─ an override for the client, if that leads to a server that is up
//!   the pool ──▶ ├─ a canary, if the client is of its share
//!                └─ asked family ─▶ not off ─▶ up ─▶ first tier with `min_up` ─▶ score ─▶ within `spread` of the best
//!                     (reason)     (eligible)                                   (score)      │
//!                                       └─ none: what `all_down` says        shared by weight ─▶ at most `answers`
//!                                          (order)                                (share)
//! ```
//!
//! - Only servers within the spread are given: two addresses in one answer mean that clients use both, so a far server
//!   beside a near one would get half of them. Who wants a spare in the answer widens the spread.
//! - Failing open: with nothing up, an answer that may be wrong is better than one that surely is. Also the probes may
//!   be what is broken.
//! - DNS sees no connections, so a server that is drained gets no answers at all: its clients go as their TTLs end.
//!
//! All but overrides by prefix, canaries and the sharing is the same for every client, so it is found once for each
//! deciding node ([`Order`]), when the first question asks for it, and kept as long as the snapshot. Most answers then
//! are a list that lies ready, and services without the three pay nothing for them.
//!
//! **Invariant:** every server of the pool stands in the ranking with the reason for its place. The same order makes
//! the answer and explains it.

mod eligible;
mod order;
mod overrides;
mod pick;
mod reason;
mod score;
mod share;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use ipnet::IpNet;

use crate::binding::{ordered, params};
use crate::label::LONGEST_LABEL;
use crate::wire_name::WireName;
use crate::{Label, Problem, RowState, Server, Service};

use order::{Order, Sight};
use overrides::Overrides;

pub use overrides::MAX_OVERRIDES;

pub(crate) use pick::Pick;
pub use pick::{Share, Shares};
pub(crate) use reason::Millis;
pub use reason::Reason;
pub use score::Score;
pub(crate) use share::Whose;

/// Octets of the longest name (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 255;

/// IPv4 or IPv6: decided apart, since their paths differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
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
    /// Share of its capacity in use, as it reports; 1 is all of it.
    pub load: Option<f32>,
    /// When it was last confirmed.
    pub as_of: Duration,
    /// Why the state is what it is; may be empty.
    pub why: String,
}

/// A service with what every node saw of its servers.
pub(crate) struct Pool {
    service: Service,
    /// What each server brings into the draws: a hash of service and server.
    keys: Vec<u64>,
    overrides: Overrides,
    /// Is there a server that only a share of the clients gets?
    has_canary: bool,
    /// The node that answers, and what it saw: nearly every answer is made from that, so it stands right here.
    me: Label,
    own: Option<View>,
    /// What the others saw.
    views: HashMap<Label, View, rustc_hash::FxBuildHasher>,
    /// Of nodes that saw nothing.
    unseen: View,
}

/// A node, and what it saw of a service.
#[derive(Clone, Copy)]
pub(crate) struct Eye<'p> {
    pub(crate) node: &'p Label,
    view: &'p View,
}

/// What one node saw of a service, and what follows from it.
#[derive(Default)]
struct View {
    /// In the order of the servers; empty: nothing.
    seen: Vec<Option<Seen>>,
    /// The highest load of all servers.
    busiest: f32,
    /// For A and AAAA, once somebody asked.
    orders: [OnceLock<Order>; 2],
    /// For the clients of each override by prefix.
    overridden: Box<[[OnceLock<Option<Order>>; 2]]>,
}

/// A server at its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked<'s> {
    /// The server.
    pub server: &'s Server,
    /// What the deciding node saw of it.
    pub seen: Option<&'s Seen>,
    /// How good it is; nothing: its round-trip time counts, and is not known.
    pub score: Option<Score>,
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
    /// Seconds that an answer may be kept.
    pub ttl: u32,
}

impl<'s> Ranking<'s> {
    /// The servers that the answer gives, best first.
    pub fn chosen(&self) -> impl Iterator<Item = &Ranked<'s>> {
        self.servers.iter().take_while(|ranked| ranked.reason.is_chosen())
    }
}

impl Pool {
    pub(crate) fn new(me: Label, mut service: Service, problems: &mut Vec<Problem>) -> Self {
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
        service.https = service.https.map(ordered);
        service.svcb = service.svcb.map(ordered);
        if service.servers.is_empty() {
            problems.push(Problem::ServiceEmpty(service.name.clone()));
        }
        if service.name.len() + 1 + LONGEST_LABEL > LONGEST_NAME {
            problems.push(Problem::NameTooLong(service.name.clone()));
        }
        let name = WireName::new(&service.name);
        let keys = service.servers.iter().map(|server| share::server_key(name.all(), &server.id)).collect();
        let overrides = Overrides::new(std::mem::take(&mut service.policy.overrides));
        let has_canary = service.servers.iter().any(|server| server.terms.canary.0 > 0);
        let unseen = View { overridden: overrides.slots(), ..View::default() };
        Self { service, keys, overrides, has_canary, me, own: None, views: HashMap::default(), unseen }
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// Does the service itself have records of this type, whatever is chosen for them?
    pub(crate) fn has(&self, rtype: RecordType) -> bool {
        Family::of_type(rtype).is_some() || params(&self.service, rtype).is_some()
    }

    /// The service through the eyes of a node, if it has told anything of any server.
    pub(crate) fn eye<'p>(&'p self, node: &'p Label) -> Option<Eye<'p>> {
        let view = if *node == self.me { self.own.as_ref() } else { self.views.get(node) };
        view.map(|view| Eye { node, view })
    }

    /// The service through the eyes of a node that has told nothing.
    pub(crate) fn blind<'p>(&'p self, node: &'p Label) -> Eye<'p> {
        Eye { node, view: &self.unseen }
    }

    /// Notes what a node saw of a server. A server that the service does not have is ignored.
    pub(crate) fn see(&mut self, node: Label, server: &str, seen: Seen) {
        let Some(at) = self.service.servers.iter().position(|held| held.id == server) else {
            return;
        };
        let count = self.service.servers.len();
        let overrides = &self.overrides;
        let empty = || View { seen: vec![None; count], overridden: overrides.slots(), ..View::default() };
        let view = if node == self.me {
            self.own.get_or_insert_with(empty)
        } else {
            self.views.entry(node).or_insert_with(empty)
        };
        view.busiest = view.busiest.max(seen.load.unwrap_or(0.0));
        view.seen[at] = Some(seen);
    }

    /// What is given to a client, as a node sees it.
    pub(crate) fn pick<'p>(&'p self, eye: &Eye<'p>, family: Family, whose: Whose) -> Pick<'p> {
        let sight = self.sight(eye, family);
        if self.overrides.by_prefix() > 0 || self.has_canary {
            return self.pick_by_client(eye, sight, whose);
        }
        Pick::new(self, sight, self.usual(eye, sight), whose)
    }

    /// The length of the largest block around a client subnet, of at least this length, in which no override begins or
    /// ends: all clients of a block are answered alike.
    pub(crate) fn scope(&self, subnet: IpNet, least: u8) -> u8 {
        self.overrides.scope(subnet, least)
    }

    fn pick_by_client<'p>(&'p self, eye: &Eye<'p>, sight: Sight<'p>, whose: Whose) -> Pick<'p> {
        let overridden = self.overrides.covering(whose.net, eye.node).find_map(|(at, pin)| {
            let slot = eye.view.overridden.get(at)?;
            slot[slot_of(sight.family)].get_or_init(|| sight.overridden(pin)).as_ref()
        });
        if let Some(order) = overridden {
            return Pick::new(self, sight, order, whose);
        }
        let order = self.usual(eye, sight);
        let canary = order.canaries.iter().find(|(at, share)| share::is_canary(self.keys[*at], whose.net, *share));
        Pick::new(self, sight, order, whose).of_canary(canary.map(|(at, _)| *at))
    }

    /// The order for whom no override by prefix holds.
    fn usual<'p>(&'p self, eye: &Eye<'p>, sight: Sight<'p>) -> &'p Order {
        eye.view.orders[slot_of(sight.family)].get_or_init(|| {
            let anybodys = self.overrides.for_all(sight.node).find_map(|pin| sight.overridden(pin));
            anybodys.unwrap_or_else(|| sight.usual())
        })
    }

    fn sight<'p>(&'p self, eye: &Eye<'p>, family: Family) -> Sight<'p> {
        // What all nodes share that saw nothing is nobody's in particular.
        let node = (!std::ptr::eq(eye.view, &self.unseen)).then_some(eye.node);
        Sight { service: &self.service, view: eye.view, node, family }
    }
}

fn slot_of(family: Family) -> usize {
    usize::from(family == Family::V6)
}
