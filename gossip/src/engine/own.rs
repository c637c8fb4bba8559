//! This node's own pages.
//!
//! **Invariant:** own stamps never repeat. The epoch grows with every start (kept on disk by the shell, and at least the
//! Unix time, should the disk be lost); meeting a higher stamp of its own, a node jumps above it and publishes anew
//! (OSPF's rule for self-originated LSAs, RFC 2328 section 13.4).
//!
//! A lost disk needs one jump. A process that has to jump again and again has a twin with the same key (a cloned
//! machine). The two see each other's member page with its random boot number: **the lower one falls silent** and says
//! so, or both would take each other's pages back for ever.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::Engine;
use crate::{
    codec,
    frame::{Delta, Frame, Of},
    liveness::verdict::{MAX_ACCUSED, Verdict, WATCH_PAGES},
    member::{Member, round_trips},
    page::{Key, Owner, Page, Slot, Table},
    replica::Accepted,
    time::Moment,
};

/// Least time between two jumps: two processes with one key must not drive each other up as fast as links carry it.
const JUMP_EVERY: Duration = Duration::from_secs(2);
/// More jumps than this within [`TWIN_WINDOW`], and there is a twin.
const JUMPS: usize = 3;
const TWIN_WINDOW: Duration = Duration::from_secs(60);
/// Round trips published: the nearest, as many as fit a page whoever links to me (a bootstrap peer has hundreds).
const MAX_RTT_ROWS: usize = 128;
/// Least time between two versions of the round trips while the peers are the same. On a busy host they move each
/// second, and nobody who chooses by them needs to know that.
const RTT_EVERY: Duration = Duration::from_secs(10);
/// And for each admitted node: a minute among 10,000.
const RTT_EVERY_EACH: Duration = Duration::from_millis(6);
/// Up to this many members a new peer is published within a second: backups are chosen by it.
const FEW_MEMBERS: usize = 256;
/// Own pages of an earlier start that nothing has renewed after this long are withdrawn.
const OWN_GRACE: Duration = Duration::from_secs(10);
/// The wait before the second refutation; then twice as long, and so on.
const REFUTE_MIN: Duration = Duration::from_millis(200);
/// The longest wait before the next refutation.
const REFUTE_MAX: Duration = Duration::from_secs(60);
/// After this long without one the next goes at once.
const REFUTE_FORGET: Duration = Duration::from_secs(120);

pub(super) struct Own {
    pub(super) epoch: u64,
    minor: u64,
    /// When this process began.
    began: Moment,
    pub(super) me: Member,
    pub(super) pages: BTreeMap<(Table, Slot), Vec<u8>>,
    /// An epoch of mine that I met and must go above, no sooner than the moment beside it.
    met: Option<u64>,
    jump_at: Moment,
    jumps: VecDeque<Moment>,
    pub(super) silenced: bool,
}

impl Own {
    pub(super) fn new(began: Moment, epoch: u64, boot: u64, addresses: Vec<String>) -> Self {
        Self {
            epoch,
            minor: 0,
            began,
            me: Member { incarnation: 0, addresses, left: false, boot },
            pages: BTreeMap::new(),
            met: None,
            jump_at: Moment::ZERO,
            jumps: VecDeque::new(),
            silenced: false,
        }
    }

    pub(super) fn jumps_remembered(&self) -> usize {
        self.jumps.len()
    }
}

/// Brakes a node that half of its watchers cannot reach: it would refute every second, and each refutation is flooded.
#[derive(Default)]
pub(super) struct Refutals {
    last: Option<Moment>,
    wait: Duration,
    /// The mesh holds me for dead, and I have not said otherwise yet.
    pub(super) due: bool,
}

impl Refutals {
    /// Whether to refute now; the next one waits twice as long, unless a quiet time lies between.
    fn allow(&mut self, now: Moment) -> bool {
        let since = self.last.map(|last| now.since(last));
        if since.is_some_and(|since| since < self.wait) {
            return false;
        }
        let forgotten = since.is_none_or(|since| since > REFUTE_FORGET);
        self.wait = if forgotten { REFUTE_MIN } else { (self.wait * 2).min(REFUTE_MAX) };
        self.last = Some(now);
        true
    }
}

impl Engine {
    /// Signs and spreads a page of mine.
    pub(super) fn write(&mut self, now: Moment, table: Table, slot: Slot, body: Vec<u8>) {
        if self.own.silenced {
            return;
        }
        self.own.minor += 1;
        let key = Key { owner: Owner::Node(self.id), table, slot };
        let page = Page::sign(&self.signing, key, self.own.epoch, self.own.minor, body);
        let delta = self.replica.page(&key).and_then(|base| Delta::between(base, &page));
        match self.store(now, page.clone()) {
            Ok(Accepted::New) => self.spread(now, &Frame { of: Of::Page(page), delta }, None),
            Ok(_) => {}
            Err(refused) => tracing::error!(%refused, "this node has more to say than the mesh takes from one"),
        }
    }

    /// Publishes my member page; a new epoch or refutation gives a new incarnation.
    pub(super) fn announce(&mut self, now: Moment) {
        // Room for 65,536 refutations in one epoch; epochs are at least a second apart.
        self.own.me.incarnation = (self.own.me.incarnation + 1).max(self.own.epoch << 16);
        let body = codec::encode(&self.own.me);
        self.own.pages.insert((Table::MEMBER, Slot::page(0)), body.clone());
        self.write(now, Table::MEMBER, Slot::page(0), body);
    }

    /// Takes what the replica holds of mine for what I wrote (a simulation that begins in the middle).
    pub(super) fn resume(&mut self, now: Moment) {
        for page in self.replica.pages().of(Owner::Node(self.id)) {
            let stamp = page.stamp();
            (self.own.epoch, self.own.minor) = (self.own.epoch, self.own.minor).max((stamp.major, stamp.minor));
            self.own.pages.insert((page.key().table, page.key().slot), page.body().to_vec());
            if let Some(member) = page.member() {
                self.own.me = member.clone();
            }
            if page.key().table == Table::RTT {
                self.published_rtt = round_trips(page.body()).unwrap_or_default().into_iter().collect();
                self.rtt_due = now + OWN_GRACE;
            }
        }
    }

    /// A page of mine came that is newer than what I held of its key.
    pub(super) fn handle_own(&mut self, now: Moment, page: &Page) {
        let stamp = page.stamp();
        if (stamp.major, stamp.minor) > (self.own.epoch, self.own.minor) {
            self.own.met = self.own.met.max(Some(stamp.major));
            self.jump_if_due(now);
        } else if let Some(body) = self.own.pages.get(&(page.key().table, page.key().slot)).cloned() {
            self.write(now, page.key().table, page.key().slot, body);
        }
    }

    /// Somebody holds pages of mine from a start that I do not remember: go above them and publish anew.
    pub(super) fn jump_if_due(&mut self, now: Moment) {
        let Some(seen) = self.own.met.take_if(|_| now >= self.own.jump_at) else { return };
        self.own.jump_at = now + JUMP_EVERY;
        self.own.jumps.push_back(now);
        while self.own.jumps.front().is_some_and(|first| now.since(*first) > TWIN_WINDOW) {
            self.own.jumps.pop_front();
        }
        if self.own.jumps.len() > JUMPS && self.twin_is_higher() {
            self.fall_silent();
            return;
        }
        self.own.epoch = seen.saturating_add(1);
        self.own.minor = 0;
        self.actions.push_back(super::Action::RememberEpoch(self.own.epoch));
        tracing::warn!(epoch = self.own.epoch, "met pages of my own from a later start; publishing above them");
        self.announce(now);
        for ((table, slot), body) in self.own.pages.clone() {
            if table != Table::MEMBER {
                self.write(now, table, slot, body);
            }
        }
    }

    /// Whether the member page that stands for me is another process's, and that one has the higher boot number.
    fn twin_is_higher(&self) -> bool {
        self.member(self.id).is_some_and(|twin| twin.boot > self.own.me.boot)
    }

    fn fall_silent(&mut self) {
        tracing::error!(
            "another process runs with this node's key (a copied disk or virtual machine?); this one takes no further \
             part in the mesh. Stop one of the two; give a new machine its own key and `nigh admit` it"
        );
        self.own.silenced = true;
        self.version += 1;
        let peers: Vec<_> = self.links.keys().copied().collect();
        self.actions.extend(peers.into_iter().map(super::Action::Close));
    }

    pub(super) fn withdraw_leftovers(&mut self, now: Moment) {
        if now.since(self.own.began) < OWN_GRACE {
            return;
        }
        let leftovers: Vec<(Table, Slot)> = self
            .replica
            .pages()
            .of(Owner::Node(self.id))
            .filter(|page| !page.body().is_empty())
            .map(|page| (page.key().table, page.key().slot))
            .filter(|at| !self.own.pages.contains_key(at))
            .collect();
        for (table, slot) in leftovers {
            self.write(now, table, slot, Vec::new());
        }
    }

    pub(super) fn publish_watch(&mut self, now: Moment) {
        let rows = self.watch.rows();
        let mut pages = rows.chunks(MAX_ACCUSED);
        for slot in (0..WATCH_PAGES).map(Slot::page) {
            let rows = pages.next().unwrap_or_default();
            // Most never accuse anybody, and then have no such page.
            if !rows.is_empty() || self.own.pages.contains_key(&(Table::WATCH, slot)) {
                self.publish(now, Table::WATCH, slot, codec::encode(&rows));
            }
        }
    }

    /// Round trips to my peers, for whoever wants to know who is near: only those that moved by 10 % and 1 ms count.
    pub(super) fn publish_rtt(&mut self, now: Moment) {
        let mut rtt: BTreeMap<_, Duration> =
            self.links.iter().filter_map(|(id, link)| Some((*id, link.rtt()?))).collect();
        let moved = |a: Duration, b: Duration| a.abs_diff(b) > (a / 10).max(Duration::from_millis(1));
        for (id, new) in &mut rtt {
            if let Some(old) = self.published_rtt.get(id).filter(|old| !moved(**old, *new)) {
                *new = *old;
            }
        }
        if rtt.len() > MAX_RTT_ROWS {
            let mut nearest: Vec<_> = rtt.into_iter().map(|(id, rtt)| (rtt, id)).collect();
            nearest.sort_unstable();
            rtt = nearest.into_iter().take(MAX_RTT_ROWS).map(|(rtt, id)| (id, rtt)).collect();
        }
        let same_peers = rtt.keys().eq(self.published_rtt.keys());
        if rtt != self.published_rtt && (now >= self.rtt_due || !same_peers && self.roster.len() <= FEW_MEMBERS) {
            let rows: Vec<_> =
                rtt.iter().map(|(id, rtt)| (*id, u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX))).collect();
            self.published_rtt = rtt;
            let each = RTT_EVERY_EACH * u32::try_from(self.roster.len()).unwrap_or(u32::MAX);
            self.rtt_due = now + each.max(RTT_EVERY);
            self.publish(now, Table::RTT, Slot::page(0), codec::encode(&rows));
        }
    }

    /// The mesh holds me for dead: say that I am not, now or when the brake allows it.
    pub(super) fn refute_if_due(&mut self, now: Moment) {
        if !self.refutals.due || self.own.me.left || !self.refutals.allow(now) {
            return;
        }
        self.refutals.due = false;
        self.counts.refutations += 1;
        tracing::info!(incarnation = self.own.me.incarnation, "the mesh held me for dead; refuting");
        debug_assert_ne!(self.verdict(self.id), Verdict::Left);
        self.announce(now);
    }
}
