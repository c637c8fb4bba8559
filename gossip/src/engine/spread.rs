//! Who is sent news, who is told of it, and who is asked for it.
//!
//! A flood alone is correct: a new page goes to every link but the one it came from, one that is held already stops.
//! It costs 15 copies. So each **origin** (writer) gets a tree of its own, learnt from its flood: a duplicate makes its
//! receiver say [`Message::Prune`], and from then on that link is *lazy* for this origin at both ends (Plumtree, Leitão
//! et al. 2007; one tree per sender as in Riak). Half of my watchers, drawn anew for each page, are told its digest if
//! their link is lazy: five times a second. Who was told and got
//! nothing within 150 ms asks for it, and that link is eager again.
//!
//! A tree learnt once decays as links change, so every [`RELEARN`]th version of a writer is flooded and the tree is
//! learnt anew; after a start, when its links are new, the versions 2, 4, 8 and so on are too. The version number is
//! signed: no relay can start a flood.
//!
//! Urgent tables (members, watch rows, admissions, appointments) always flood, within [`URGENT_RATE`]; above it they take the trees.
//! A writer that writes more than [`RELAY_RATE`] is not passed on any further: repair brings its newest state.
//!
//! The operators' pages share one tree, whoever brings them: they are few, and no writer of them has a place in the mesh.
//!
//! Rejected: one shared tree for all (unstable with many senders: Corrosion measured four duplicates); trees only repaired by
//! notices (each repair lengthens the path, and nothing shortens it again).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::Engine;
use crate::{
    budget::Budget,
    frame::Frame,
    id::NodeId,
    link::Link,
    message::Graft,
    page::{Owner, Page, Stamp, Table},
    roster::{Roster, Seat},
    time::Moment,
};

/// Those that told of it and can be asked.
pub(super) const MAX_TELLERS: usize = 4;
/// How long a page counts as news: somebody may still ask for it, and it is not in the digests of repair for both.
const RECENT: Duration = Duration::from_secs(5);
/// And how many do: five seconds of 800 a second.
const MAX_RECENT: usize = 4096;
/// Versions remembered that were refused or withheld; of more, some are asked for and come once more.
const MAX_PASSED_BY: usize = 256;
/// Every so many versions of a writer are flooded: 15 / 256 copies more for each page.
const RELEARN: u64 = 256;
/// Up to this many members a new link begins eager; in a larger mesh a newcomer asks two links for everything instead,
/// or every restart would cost 15 copies of every page.
pub(super) const SMALL: usize = 256;
/// Who has no link older than this came a moment ago.
const NEWCOMER: Duration = Duration::from_secs(30);
/// Links that a newcomer asks for news of everyone.
const FEEDS: usize = 2;
/// Bytes of urgent pages flooded in a second, all links together, and at once.
const URGENT_RATE: u64 = 256 * 1024;
/// Versions of one writer passed on in a second, ...
const RELAY_RATE: u64 = 8;
/// ... and at once: what a node with 1,000 services has to say after a start.
const RELAY_BURST: u64 = 512;
/// No link.
const NOBODY: u32 = u32::MAX;

/// How a page came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is news.
    News,
    /// I asked for it by name: who gave it sends me news of its writer from now on.
    Grafted,
    /// I lacked it. Others may as well, but most do not: it takes the trees, and is never flooded.
    Given,
}

/// A version that came a moment ago.
#[derive(Debug)]
struct Recent {
    at: Moment,
    digest: u64,
    /// Bucket and digest of the version before.
    replaced: Option<(u8, u64)>,
}

#[derive(Default)]
pub(super) struct Spread {
    /// By origin: who sent its last news first.
    parents: Vec<u32>,
    recent: VecDeque<Recent>,
    pages: BTreeMap<u64, Page>,
    /// Versions that were refused or withheld, the newest last: nobody is asked for them.
    passed_by: VecDeque<u64>,
    urgent: Option<Budget>,
    relayed: BTreeMap<NodeId, Budget>,
}

impl Spread {
    /// It came a moment ago: asked for each copy that a flood brings, so that only the first looks into the replica.
    pub(super) fn has(&self, digest: u64) -> bool {
        self.pages.contains_key(&digest)
    }

    /// It came a moment ago, or may not come.
    pub(super) fn knows(&self, digest: u64) -> bool {
        self.pages.contains_key(&digest) || self.passed_by.contains(&digest)
    }

    /// Nobody passes this version on: repair need not wait for that, nobody will ask for it, and a writer that writes too
    /// much takes no place of the others here.
    fn withhold(&mut self, digest: u64) {
        if let Some(at) = self.recent.iter().rposition(|recent| recent.digest == digest) {
            self.recent.remove(at);
            self.pages.remove(&digest);
            self.pass_by(digest);
        }
    }

    /// It may not be stored, or is not passed on: whoever tells of it need not send it.
    pub(super) fn pass_by(&mut self, digest: u64) {
        if !self.passed_by.contains(&digest) {
            self.passed_by.push_back(digest);
        }
        while self.passed_by.len() > MAX_PASSED_BY {
            self.passed_by.pop_front();
        }
    }

    /// For tests: which bound does not hold.
    pub(super) fn inconsistency(&self) -> Option<String> {
        let (recent, pages) = (self.recent.len(), self.pages.len());
        let holds = recent == pages && recent <= MAX_RECENT && self.passed_by.len() <= MAX_PASSED_BY;
        (!holds).then(|| format!("{recent} recent, {pages} of them kept, {} passed by", self.passed_by.len()))
    }

    /// A version arrived or was written.
    pub(super) fn note(&mut self, now: Moment, page: Page, replaced: Option<(u8, u64)>) {
        let digest = page.digest();
        if self.pages.insert(digest, page).is_none() {
            self.recent.push_back(Recent { at: now, digest, replaced });
        }
        while self.recent.len() > MAX_RECENT {
            self.drop_oldest();
        }
    }

    /// Once a second.
    pub(super) fn forget_old(&mut self, now: Moment) {
        while self.recent.front().is_some_and(|recent| now.since(recent.at) > RECENT) {
            self.drop_oldest();
        }
        self.relayed.retain(|_, budget| !budget.refill(now, RELAY_RATE, RELAY_BURST));
    }

    fn drop_oldest(&mut self) {
        if let Some(Recent { digest, .. }) = self.recent.pop_front() {
            self.pages.remove(&digest);
        }
    }

    /// Digests of what came since `since`, and of what it replaced.
    pub(super) fn fresh(&self, since: Moment) -> (std::collections::BTreeSet<u64>, Vec<(u8, u64)>) {
        let young = self.recent.iter().rev().take_while(|recent| recent.at >= since);
        let (mut fresh, mut old) = (std::collections::BTreeSet::new(), Vec::new());
        for recent in young {
            fresh.insert(recent.digest);
            old.extend(recent.replaced);
        }
        (fresh, old)
    }

    pub(super) fn renumber(&mut self, from: &[Option<usize>], seat: impl Fn(usize) -> Option<Seat>) {
        let old = std::mem::take(&mut self.parents);
        let parent = |at: usize| {
            let parent = *old.get(at)?;
            let parent = seat(usize::try_from(parent).ok()?)?;
            u32::try_from(parent.index()).ok()
        };
        self.parents = from.iter().map(|at| at.and_then(parent).unwrap_or(NOBODY)).collect();
    }
}

/// Where an origin's bit is: its seat; the operators share one behind the last.
pub(super) fn origin(roster: &Roster, owner: Owner) -> Option<usize> {
    match owner {
        Owner::Node(id) => roster.seat(&id).map(Seat::index),
        Owner::Operators => Some(roster.len()),
    }
}

/// How an origin is named on a link: the first eight bytes of its key, all ones for the operators.
fn name(owner: Owner) -> u64 {
    match owner {
        Owner::Node(id) => id.prefix(),
        Owner::Operators => u64::MAX,
    }
}

fn named(roster: &Roster, name: u64) -> Option<usize> {
    if name == u64::MAX { Some(roster.len()) } else { roster.seat_of_prefix(name).map(Seat::index) }
}

/// Whether this version goes everywhere, so that its origin's tree is learnt anew.
fn relearns(owner: Owner, stamp: Stamp, digest: u64) -> bool {
    match owner {
        Owner::Node(_) => stamp.minor.is_power_of_two() || stamp.minor.is_multiple_of(RELEARN),
        // Their stamps are clocks; one in 64 by its hash.
        Owner::Operators => digest.is_multiple_of(64),
    }
}

impl Engine {
    /// Sends a page that was written or brought here on its way.
    pub(super) fn spread(&mut self, now: Moment, frame: &Frame, from: Option<NodeId>) {
        self.send(now, frame, from, Way::News);
    }

    /// Passes on a page that was new here.
    pub(super) fn spread_from(&mut self, now: Moment, frame: &Frame, from: NodeId, way: Way) {
        self.send(now, frame, Some(from), way);
    }

    fn send(&mut self, now: Moment, frame: &Frame, from: Option<NodeId>, way: Way) {
        let header = frame.header();
        let (owner, table, digest) = (header.key.owner, header.key.table, header.digest);
        let Some(origin) = origin(&self.roster, owner) else {
            // Admitted a moment ago; the roster is made anew at the end of this turn. Flood what is news; what I was
            // given as a newcomer the others have.
            if way == Way::News {
                self.flood(frame, from, table.is_urgent());
            }
            return;
        };
        let news = way == Way::News;
        if from.is_some() && !self.may_relay(now, owner) {
            self.counts.withheld += 1;
            self.spread.withhold(digest);
            return;
        }
        // Whoever gives what repair found lacking sends me no news of that writer for it.
        if let Some(from) = from.filter(|_| way != Way::Given) {
            self.note_parent(origin, from);
        }
        if news && table.is_urgent() && self.may_flood(now, frame.size()) {
            return self.flood(frame, from, true);
        }
        let relearn = news && relearns(owner, header.stamp, digest);
        for (number, (peer, link)) in self.links.iter_mut().enumerate() {
            if Some(*peer) == from || !link.greeted {
                continue;
            }
            if relearn {
                link.lazy.set(origin, false);
            }
            if !link.lazy.contains(origin) {
                link.push_news(frame.clone(), false);
                self.ready.insert(*peer);
            } else if link.turn.is_some() && digest >> (number % 64) & 1 == 1 {
                link.push_have(digest);
            }
        }
    }

    fn flood(&mut self, frame: &Frame, from: Option<NodeId>, urgent: bool) {
        for (peer, link) in &mut self.links {
            if Some(*peer) != from && link.greeted {
                link.push_news(frame.clone(), urgent);
                self.ready.insert(*peer);
            }
        }
    }

    fn may_flood(&mut self, now: Moment, size: usize) -> bool {
        let cost = (size * self.links.len()) as u64;
        let full = Budget::new(now, URGENT_RATE);
        self.spread.urgent.get_or_insert(full).take(now, cost, URGENT_RATE, URGENT_RATE)
    }

    fn may_relay(&mut self, now: Moment, owner: Owner) -> bool {
        let Owner::Node(id) = owner else { return true };
        let full = Budget::new(now, RELAY_BURST);
        self.spread.relayed.entry(id).or_insert(full).take(now, 1, RELAY_RATE, RELAY_BURST)
    }

    fn note_parent(&mut self, origin: usize, from: NodeId) {
        if self.spread.parents.len() <= origin {
            self.spread.parents.resize(self.roster.len() + 1, NOBODY);
        }
        let parent = self.roster.seat(&from).and_then(|seat| u32::try_from(seat.index()).ok());
        self.spread.parents[origin] = parent.unwrap_or(NOBODY);
        if let Some(link) = self.links.get_mut(&from) {
            link.lazy.set(origin, false);
        }
    }

    /// The same news came a second time: not again from there.
    pub(super) fn handle_duplicate(&mut self, from: NodeId, owner: Owner, table: Table) {
        if table.is_urgent() {
            return; // It was flooded on purpose.
        }
        let Some(origin) = origin(&self.roster, owner) else { return };
        if let Some(link) = self.links.get_mut(&from) {
            link.lazy.set(origin, true);
            link.push_prune(name(owner));
            self.ready.insert(from);
        }
    }

    pub(super) fn handle_prune(&mut self, from: NodeId, origins: &[u64]) {
        let Some(link) = self.links.get_mut(&from) else { return };
        for origin in origins.iter().filter_map(|prefix| named(&self.roster, *prefix)) {
            link.lazy.set(origin, true);
        }
    }

    pub(super) fn handle_graft(&mut self, from: NodeId, graft: &Graft) {
        let Some(link) = self.links.get_mut(&from) else { return };
        if graft.all {
            link.lazy.fill(0, false);
        }
        for origin in graft.origins.iter().filter_map(|prefix| named(&self.roster, *prefix)) {
            link.lazy.set(origin, false);
        }
        for digest in &graft.digests {
            if let Some(page) = self.spread.pages.get(digest) {
                if !link.push_grafted(Frame::whole(page.clone())) {
                    break; // Repair brings the rest.
                }
                if let Some(origin) = origin(&self.roster, page.key().owner) {
                    link.lazy.set(origin, false);
                }
            }
        }
        self.ready.insert(from);
    }

    /// A member is linked: what it is sent from the start.
    pub(super) fn begin_spread(&mut self, peer: NodeId) {
        if self.roster.len() <= SMALL {
            return;
        }
        let others = self.links.iter().filter(|(id, link)| **id != peer && link.greeted);
        let (others, feeds) =
            others.fold((0, 0), |(others, feeds), (_, link)| (others + 1, feeds + usize::from(link.feeds)));
        let (me, origins) = (self.seat, self.roster.len() + 1);
        let Some(link) = self.links.get_mut(&peer) else { return };
        if others >= FEEDS {
            link.lazy.fill(origins, true);
            if let Some(me) = me {
                link.lazy.set(me.index(), false);
            }
        }
        if feeds < FEEDS {
            link.graft_all();
            self.ready.insert(peer);
        }
    }

    /// The roster has grown beyond [`SMALL`]. A newcomer with an empty disk learns how large the mesh is when its first
    /// links are up; they begin anew, as links of a large mesh do. Nobody else's do: its trees stand.
    pub(super) fn begin_large(&mut self, now: Moment) {
        let young = |link: &Link| link.greeted && now.since(link.since) <= NEWCOMER;
        if !self.links.values().all(|link| young(link) || !link.greeted) {
            return;
        }
        let mut peers: Vec<(Moment, NodeId)> =
            self.links.iter().filter(|(_, link)| young(link)).map(|(peer, link)| (link.since, *peer)).collect();
        peers.sort_unstable();
        for (_, peer) in &peers {
            if let Some(link) = self.links.get_mut(peer) {
                (link.greeted, link.feeds) = (false, false);
            }
        }
        for (_, peer) in peers {
            if let Some(link) = self.links.get_mut(&peer) {
                link.greeted = true;
            }
            self.begin_spread(peer);
        }
    }

    /// All links are eager and none is a feed: the state after a flood of everyone (a simulation's beginning).
    pub(crate) fn begin_eager(&mut self) {
        for link in self.links.values_mut() {
            link.lazy.fill(0, false);
        }
    }

    /// A link is gone: those whose news came over it are asked for elsewhere, at the nearest peer.
    pub(super) fn graft_orphans(&mut self, gone: NodeId) {
        let Some(parent) = self.roster.seat(&gone).and_then(|seat| u32::try_from(seat.index()).ok()) else { return };
        let nearest = self
            .links
            .iter()
            .filter(|(_, link)| link.greeted)
            .min_by_key(|(_, link)| link.rtt().unwrap_or(Duration::MAX))
            .map(|(peer, _)| *peer);
        let Some(nearest) = nearest else { return };
        let mut origins = Vec::new();
        for seat in self.roster.seats() {
            if let Some(of) = self.spread.parents.get_mut(seat.index()).filter(|of| **of == parent) {
                *of = NOBODY;
                origins.push(seat);
            }
        }
        let Some(link) = self.links.get_mut(&nearest) else { return };
        for origin in &origins {
            link.lazy.set(origin.index(), false);
        }
        link.push_graft_origins(origins.iter().map(|seat| self.roster.id(*seat).prefix()));
        self.ready.insert(nearest);
    }
}
