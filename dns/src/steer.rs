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
//! All but the sharing is the same for every client, so it is found once for each deciding node ([`Order`]), when the
//! first question asks for it, and kept as long as the snapshot. Most answers then are a list that lies ready.
//!
//! **Invariant:** every server of the pool stands in the ranking with the reason for its place. The same order makes
//! the answer and explains it.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use ipnet::IpNet;

use crate::binding::{ordered, params};
use crate::label::LONGEST_LABEL;
use crate::wire_name::WireName;
use crate::{Label, Problem, RowState, Server, Service};

/// Octets of the longest name (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 255;

/// So many servers within the spread are shared out without allocating; more are as well, but slower. Also the most
/// addresses of one answer: by UDP not even so many fit.
const FEW: usize = 64;

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
    /// What each server brings into the rendezvous hash: a hash of service and server.
    keys: Vec<u64>,
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

/// What one node saw of a service, and what follows from it for every client.
#[derive(Default)]
struct View {
    /// In the order of the servers; empty: nothing.
    seen: Vec<Option<Seen>>,
    /// For A and AAAA, once somebody asked.
    orders: [OnceLock<Order>; 2],
}

/// The part of a ranking that is the same for every client.
struct Order {
    /// All servers by place in the pool, with reasons: those that share the clients first.
    places: Vec<(usize, Reason)>,
    /// How many share the clients: none or at least two.
    sharing: usize,
    failed_open: bool,
    /// The answer, each address once, if nobody shares. The first stands here, for it is nearly always the only one.
    first: Option<IpAddr>,
    others: Box<[IpAddr]>,
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
        let keys = service.servers.iter().map(|server| server_key(name.all(), &server.id)).collect();
        Self { service, keys, me, own: None, views: HashMap::default(), unseen: View::default() }
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
        let empty = || View { seen: vec![None; count], ..View::default() };
        let view = if node == self.me {
            self.own.get_or_insert_with(empty)
        } else {
            self.views.entry(node).or_insert_with(empty)
        };
        view.seen[at] = Some(seen);
    }

    /// Ranks the servers as a node sees them, for a client.
    pub(crate) fn rank<'p>(&'p self, eye: &Eye<'p>, family: Family, client: IpNet) -> Ranking<'p> {
        let view = eye.view;
        let order = self.order(view, family);
        let mut places = order.places.clone();
        if order.sharing > 0 {
            let near = &mut places[..order.sharing];
            near.sort_by_cached_key(|(server, _)| std::cmp::Reverse(self.score(*server, client)));
            for (_, reason) in near.iter_mut().take(self.most_answers()) {
                if let Reason::OtherClients { slower } = *reason {
                    *reason = Reason::Shared { slower };
                }
            }
        }
        let ranked = |(server, reason)| Ranked {
            server: &self.service.servers[server],
            seen: view.seen.get(server).and_then(Option::as_ref),
            reason,
        };
        Ranking { servers: places.into_iter().map(ranked).collect(), failed_open: order.failed_open }
    }

    /// Gives the addresses that a client gets, best first, each once: what [`Pool::rank`] chooses. Returns whether no
    /// server is known to be up.
    pub(crate) fn chosen(&self, eye: &Eye<'_>, family: Family, client: IpNet, mut give: impl FnMut(IpAddr)) -> bool {
        let order = self.order(eye.view, family);
        if order.sharing == 0 {
            order.first.iter().chain(&order.others).for_each(|address| give(*address));
        } else {
            self.share(order, client, give);
        }
        order.failed_open
    }

    /// The share of a client among those within the spread.
    fn share(&self, order: &Order, client: IpNet, mut give: impl FnMut(IpAddr)) {
        let near = &order.places[..order.sharing];
        let mut few = [(0, 0); FEW];
        let mut many = Vec::new();
        let scored = match few.get_mut(..near.len()) {
            Some(few) => few,
            None => {
                many.resize(near.len(), (0, 0));
                &mut many[..]
            }
        };
        for (place, (scored, (server, _))) in scored.iter_mut().zip(near).enumerate() {
            *scored = (self.score(*server, client), usize::MAX - place);
        }
        let most = self.most_answers();
        if most == 1 {
            // Of equal scores the first place wins, as in a stable sort.
            if let Some((_, place)) = scored.iter().max() {
                give(self.service.servers[near[usize::MAX - place].0].address);
            }
            return;
        }
        scored.sort_unstable_by(|a, b| b.cmp(a));
        let mut given: [Option<IpAddr>; FEW] = [None; FEW];
        let mut count = 0;
        for (_, place) in scored.iter().take(most.min(FEW)) {
            let address = self.service.servers[near[usize::MAX - place].0].address;
            if !given[..count].contains(&Some(address)) {
                given[count] = Some(address);
                count += 1;
                give(address);
            }
        }
    }

    fn order<'v>(&self, view: &'v View, family: Family) -> &'v Order {
        view.orders[usize::from(family == Family::V6)].get_or_init(|| self.find_order(view, family))
    }

    fn find_order(&self, view: &View, family: Family) -> Order {
        let (mut live, mut idle, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for (at, server) in self.service.servers.iter().enumerate() {
            let seen = view.seen.get(at).and_then(Option::as_ref);
            let state = seen.map_or(RowState::Unknown, |seen| seen.state);
            let (list, reason) = match state {
                _ if !family.has(server.address) => (&mut rest, Reason::OtherFamily),
                RowState::Up if server.weight > 0 => (&mut live, Reason::Nearest),
                RowState::Up => (&mut idle, Reason::NoWeight),
                RowState::Unknown => (&mut rest, Reason::Unknown),
                RowState::Down => (&mut rest, Reason::Down),
            };
            list.push(Entrant { at, id: &server.id, rtt: seen.and_then(|seen| seen.rtt), reason });
        }
        if live.is_empty() {
            // Servers without weight are there for this: to be given when nothing else is up.
            std::mem::swap(&mut live, &mut idle);
        }
        live.sort_by(by_rtt);
        idle.sort_by(by_rtt);
        rest.sort_by(|a, b| misery(&a.reason).cmp(&misery(&b.reason)).then_with(|| by_rtt(a, b)));
        let failed_open = live.is_empty();
        let sharing = if failed_open {
            self.fail_open(&mut rest);
            0
        } else {
            self.gather(&mut live)
        };
        live.append(&mut idle);
        live.append(&mut rest);
        let mut fixed: Vec<IpAddr> = Vec::new();
        for entrant in live.iter().take_while(|entrant| sharing == 0 && entrant.reason.is_chosen()) {
            let address = self.service.servers[entrant.at].address;
            if !fixed.contains(&address) {
                fixed.push(address);
            }
        }
        let places = live.into_iter().map(|entrant| (entrant.at, entrant.reason)).collect();
        let others = fixed.split_off(fixed.len().min(1)).into();
        Order { places, sharing, failed_open, first: fixed.first().copied(), others }
    }

    fn most_answers(&self) -> usize {
        usize::from(self.service.answers.max(1)).min(FEW)
    }

    /// Nothing is up: of those that are not known to be down, else of all, the first few are given.
    fn fail_open(&self, servers: &mut [Entrant<'_>]) {
        let Some(least) = servers.first().map(|entrant| misery(&entrant.reason)) else { return };
        let of_family = servers.iter_mut().filter(|entrant| entrant.reason != Reason::OtherFamily);
        for (place, entrant) in of_family.enumerate() {
            let given = place < self.most_answers() && misery(&entrant.reason) == least;
            entrant.reason = if given { Reason::FailOpen } else { Reason::FailOpenSpare };
        }
    }

    /// Finds those within the spread of the nearest: how many share the clients. The list is sorted by round-trip time
    /// and not empty.
    fn gather(&self, live: &mut [Entrant<'_>]) -> usize {
        let best = live.first().and_then(|entrant| entrant.rtt);
        let behind = |entrant: &Entrant<'_>| match (best, entrant.rtt) {
            (Some(best), Some(own)) => Some(own.saturating_sub(best)),
            (None, None) => Some(Duration::ZERO),
            _ => None,
        };
        let near = live
            .iter()
            .take_while(|entrant| behind(entrant).is_some_and(|slower| slower <= self.service.spread))
            .count();
        let (near, far) = live.split_at_mut(near);
        for entrant in far {
            entrant.reason = behind(entrant).map_or(Reason::NoRtt, |slower| Reason::Slower { slower });
        }
        if let [only] = near {
            only.reason = Reason::Nearest;
            return 0;
        }
        for entrant in near.iter_mut() {
            entrant.reason = Reason::OtherClients { slower: behind(entrant).unwrap_or_default() };
        }
        near.len()
    }

    /// The score that a server draws for a client: an exponential variate with the weight as its rate, turned around,
    /// so that a server wins with a probability of its weight over the sum of weights. Servers without weight share
    /// only when none of the living has any: then all weigh alike.
    fn score(&self, server: usize, client: IpNet) -> u64 {
        let client = match client.addr() {
            IpAddr::V4(address) => mix(u64::from(u32::from(address))),
            IpAddr::V6(address) => {
                let address = u128::from(address);
                mix(mix((address >> 64) as u64) ^ address as u64)
            }
        } ^ u64::from(client.prefix_len());
        let hash = mix(self.keys[server] ^ mix(client));
        // 53 bits are what an f64 holds; the half keeps the draw off 0 and 1, where the logarithm is of no use.
        let draw = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        let score = f64::from(self.service.servers[server].weight.max(1)) / -draw.ln();
        // The bits of positive floats are in the order of the floats.
        score.to_bits()
    }
}

/// A server on its way to its place.
struct Entrant<'p> {
    at: usize,
    id: &'p str,
    rtt: Option<Duration>,
    reason: Reason,
}

fn server_key(service: &[u8], server: &str) -> u64 {
    let mut hash = blake3::Hasher::new();
    hash.update(service);
    hash.update(&[0]);
    hash.update(server.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Every bit of the output depends on every bit of the input: the finaliser of splitmix64 (Steele et al., OOPSLA 2014).
fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
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
fn by_rtt(a: &Entrant<'_>, b: &Entrant<'_>) -> std::cmp::Ordering {
    let key = |entrant: &Entrant<'_>| entrant.rtt.unwrap_or(Duration::MAX);
    key(a).cmp(&key(b)).then_with(|| a.id.cmp(b.id))
}
