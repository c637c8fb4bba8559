//! The state machine of a member: events in through `handle_*`, effects out through `poll_*`.
//!
//! ```text
//!            handle_link_up / _link_down / _message / _timeout / publish / submit
//!                                        │
//!       own pages ── sign ──▶ replica ◀── accept ── pages of others
//!                                │ new?
//!              members, watch rows, overlay, verdicts (derived, recomputed when their pages change)
//!                                │
//!            poll_action (dial, close, remember the epoch)   poll_transmit(peer) (messages)
//! ```
//!
//! Spread is a flood: a page that was new here goes to every link but the one it came from; one already held stops
//! here. The stamps are the seen-set, so there is nothing to expire. Repair runs once a second with one neighbour.
//!
//! **Invariant:** own stamps never repeat. The epoch grows with every start (kept on disk by the shell, and at least the
//! Unix time, should the disk be lost); meeting a higher stamp of its own, a node jumps above it and publishes anew
//! (OSPF's rule for self-originated LSAs, RFC 2328 section 13.4).

mod dial;
mod exchange;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    codec,
    id::NodeId,
    link::Link,
    member::Member,
    message::Message,
    overlay::Overlay,
    page::{Key, Owner, Page, Slot, Table},
    replica::{Accepted, Refused, Replica},
    time::Moment,
    verdict::{self, Evidence, Judgement, Verdict, WatchRow},
    watch::{BEAT_EVERY, Watch},
};
pub use dial::Target;

/// The engine looks at its clock this often; every other period is a multiple.
pub const TICK: Duration = Duration::from_millis(100);
const BEAT_TICKS: u64 = BEAT_EVERY.as_millis() as u64 / TICK.as_millis() as u64;
const REPAIR_TICKS: u64 = 10;
const RTT_TICKS: u64 = 10;
/// Least time between two jumps over stamps of my own that I do not remember. One is what a lost disk needs; more come
/// only where a second process has my key, and the two must not drive each other up as fast as the links carry it.
const JUMP_EVERY: Duration = Duration::from_secs(2);
/// Round trips published: the nearest, as many as fit a page whoever links to me (a bootstrap peer has hundreds).
const MAX_RTT_ROWS: usize = 128;
/// Own pages of an earlier start that nothing has renewed after this long are withdrawn.
const OWN_GRACE: Duration = Duration::from_secs(10);

/// What the shell is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect; the answer is [`Engine::handle_link_up`], or nothing. `attempt` counts from 0 for each target.
    Dial {
        /// Whom.
        target: Target,
        /// How often it was tried before.
        attempt: u32,
    },
    /// Close the connections to this peer.
    Close(NodeId),
    /// My epoch moved: keep it on disk, so that the next start begins above it.
    RememberEpoch(u64),
}

/// What a member starts with.
pub struct Setup {
    /// The node's key, the one libp2p uses too.
    pub signing: SigningKey,
    /// Keys that may write the catalogue.
    pub operators: Vec<NodeId>,
    /// Above every epoch used before.
    pub epoch: u64,
    /// `host:port` under which others reach this node.
    pub addresses: Vec<String>,
    /// `host:port` of first contacts.
    pub bootstrap: Vec<String>,
    /// Pages remembered from the last run.
    pub pages: Vec<Page>,
    /// Seed of everything random.
    pub seed: u64,
}

/// Counts since the start, for reports and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pages received that were new.
    pub pages_new: u64,
    /// Pages received that were held already or older.
    pub pages_again: u64,
    /// Pages received that may not be stored.
    pub pages_refused: u64,
    /// Exchanges in which a neighbour's digest differed.
    pub repairs: u64,
    /// Times that this node found itself declared dead and refuted it.
    pub refutations: u64,
}

/// One member's state.
pub struct Engine {
    id: NodeId,
    signing: SigningKey,
    epoch: u64,
    minor: u64,
    me: Member,
    own: BTreeMap<(Table, Slot), Vec<u8>>,
    /// An epoch of mine that I met and must go above, no sooner than the moment beside it.
    met: Option<u64>,
    jump_at: Moment,

    replica: Replica,
    members: BTreeMap<NodeId, Member>,
    watch_rows: BTreeMap<NodeId, Vec<WatchRow>>,
    overlay: Overlay,
    /// A member came since the overlay was made. A batch of pages brings hundreds; the rings are ordered once.
    outgrown: bool,
    verdicts: BTreeMap<NodeId, Verdict>,
    cut_off: bool,
    /// A member or watch page changed since the verdicts were computed.
    unsettled: bool,

    links: BTreeMap<NodeId, Link>,
    /// Links that have something to send.
    ready: BTreeSet<NodeId>,
    watch: Watch,
    dialler: dial::Dialler,
    published_rtt: BTreeMap<NodeId, Duration>,

    rng: ChaCha8Rng,
    ticks: u64,
    next_tick: Moment,
    repair_soon: bool,
    actions: VecDeque<Action>,
    version: u64,
    counts: Counts,
}

impl Engine {
    /// A member that knows what it remembered and is linked to nobody.
    #[must_use]
    pub fn new(now: Moment, setup: Setup) -> Self {
        let id = NodeId::from(setup.signing.verifying_key());
        let mut engine = Self {
            id,
            signing: setup.signing,
            epoch: setup.epoch,
            minor: 0,
            me: Member { incarnation: 0, addresses: setup.addresses, left: false },
            own: BTreeMap::new(),
            met: None,
            jump_at: Moment::ZERO,
            replica: Replica::new(setup.operators),
            members: BTreeMap::new(),
            watch_rows: BTreeMap::new(),
            overlay: Overlay::default(),
            outgrown: false,
            verdicts: BTreeMap::new(),
            cut_off: false,
            unsettled: true,
            links: BTreeMap::new(),
            ready: BTreeSet::new(),
            watch: Watch::default(),
            dialler: dial::Dialler::new(setup.bootstrap),
            published_rtt: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(setup.seed),
            ticks: 0,
            next_tick: now,
            repair_soon: false,
            actions: VecDeque::new(),
            version: 0,
            counts: Counts::default(),
        };
        engine.ticks = engine.rng.random_range(0..REPAIR_TICKS);
        for page in setup.pages {
            engine.accept(now, page);
        }
        engine.announce(now);
        engine.publish_watch(now);
        engine.settle(now);
        engine
    }

    /// This member.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Everything held to be true.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// All members known, this one included.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// What is held of each member.
    #[must_use]
    pub fn verdicts(&self) -> &BTreeMap<NodeId, Verdict> {
        &self.verdicts
    }

    /// Peers linked to, with the smoothed round trip once it is known.
    pub fn links(&self) -> impl Iterator<Item = (NodeId, Option<Duration>)> + '_ {
        self.links.iter().map(|(id, link)| (*id, link.rtt()))
    }

    /// Whether this member is in a minority, or the survivor of a disaster (see [`verdict`]).
    #[must_use]
    pub fn cut_off(&self) -> bool {
        self.cut_off
    }

    /// Grows with every change of the replica, the verdicts or the links.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Counts since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Hash over everything held: equal at two nodes exactly when they hold the same.
    #[must_use]
    pub fn state_hash(&self) -> [u8; 16] {
        crate::repair::Digest::of(&self.replica, 0).root()
    }

    /// Writes one of this node's own pages; unchanged content is not written again. An empty body withdraws the page.
    pub fn publish(&mut self, now: Moment, table: Table, slot: Slot, body: Vec<u8>) {
        if self.own.get(&(table, slot)) == Some(&body) || (body.is_empty() && !self.own.contains_key(&(table, slot))) {
            return;
        }
        self.own.insert((table, slot), body.clone());
        self.write(now, table, slot, body);
        self.settle(now);
    }

    /// Takes in a page that a local program brought: an operator's edit.
    ///
    /// # Errors
    /// [`Refused`] if no replica may hold it.
    pub fn submit(&mut self, now: Moment, page: Page) -> Result<Accepted, Refused> {
        let accepted = self.replica.accept(page.clone())?;
        if accepted == Accepted::New {
            self.learn(now, &page);
            self.spread(&page, None);
        }
        self.settle(now);
        Ok(accepted)
    }

    /// Says goodbye: nobody need wait for a verdict.
    pub fn leave(&mut self, now: Moment) {
        self.me.left = true;
        self.announce(now);
        self.settle(now);
    }

    /// A link to a peer came up.
    pub fn handle_link_up(&mut self, now: Moment, peer: NodeId) {
        if peer == self.id {
            return;
        }
        self.links.insert(peer, Link::new());
        self.ready.insert(peer);
        self.dialler.handle_link_up(peer);
        self.watch.handle_heard(now, peer);
        self.ask_for_repair(peer);
        self.version += 1;
    }

    /// The link to a peer is gone.
    pub fn handle_link_down(&mut self, now: Moment, peer: NodeId) {
        if self.links.remove(&peer).is_some() {
            self.ready.remove(&peer);
            self.version += 1;
            self.dial_missing(now);
        }
    }

    /// A bootstrap address turned out to be this peer.
    pub fn handle_bootstrap(&mut self, address: &str, peer: NodeId) {
        self.dialler.handle_bootstrap(address, peer);
    }

    /// When [`Engine::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Moment {
        self.next_tick
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.ticks += 1;
        self.look_around(now);
        if self.ticks.is_multiple_of(BEAT_TICKS) {
            self.links.values_mut().for_each(Link::beat);
            self.ready.extend(self.links.keys());
        }
        if self.ticks.is_multiple_of(REPAIR_TICKS) || (self.repair_soon && self.ticks.is_multiple_of(BEAT_TICKS)) {
            self.repair_soon = false;
            let peers: Vec<NodeId> = self.links.keys().copied().collect();
            if !peers.is_empty() {
                let chosen = self.rng.random_range(0..peers.len());
                self.ask_for_repair(peers[chosen]);
            }
        }
        self.jump_if_due(now);
        if self.ticks.is_multiple_of(RTT_TICKS) {
            self.links.values_mut().for_each(Link::refill_repairs);
            self.publish_rtt(now);
            self.withdraw_leftovers(now);
        }
        self.dial_missing(now);
        self.settle(now);
    }

    /// What the shell should do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Peers for which [`Engine::poll_transmit`] has something.
    pub fn ready(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.ready.iter().copied()
    }

    /// The next message for a linked peer that can take one.
    pub fn poll_transmit(&mut self, now: Moment, peer: NodeId) -> Option<Message> {
        let message = self.links.get_mut(&peer).and_then(|link| link.poll_transmit(now));
        if message.is_none() {
            self.ready.remove(&peer);
        }
        message
    }

    // ---- own pages ------------------------------------------------------------------------------------------------

    fn write(&mut self, now: Moment, table: Table, slot: Slot, body: Vec<u8>) {
        self.minor += 1;
        let key = Key { owner: Owner::Node(self.id), table, slot };
        let page = Page::sign(&self.signing, key, self.epoch, self.minor, body);
        if self.replica.accept(page.clone()) == Ok(Accepted::New) {
            self.learn(now, &page);
            self.spread(&page, None);
        }
    }

    /// Publishes my member page; a new epoch or refutation gives a new incarnation.
    fn announce(&mut self, now: Moment) {
        // Room for 65,536 refutations in one epoch; epochs are at least a second apart.
        self.me.incarnation = (self.me.incarnation + 1).max(self.epoch << 16);
        let body = codec::encode(&self.me);
        self.own.insert((Table::MEMBER, Slot::page(0)), body.clone());
        self.write(now, Table::MEMBER, Slot::page(0), body);
    }

    /// Somebody holds pages of mine from a start that I do not remember: go above them and publish anew.
    fn jump_if_due(&mut self, now: Moment) {
        let Some(seen) = self.met.take_if(|_| now >= self.jump_at) else { return };
        self.jump_at = now + JUMP_EVERY;
        self.epoch = seen.saturating_add(1);
        self.minor = 0;
        self.actions.push_back(Action::RememberEpoch(self.epoch));
        tracing::warn!(epoch = self.epoch, "met pages of my own from a later start; publishing above them");
        self.announce(now);
        for ((table, slot), body) in self.own.clone() {
            if table != Table::MEMBER {
                self.write(now, table, slot, body);
            }
        }
    }

    fn withdraw_leftovers(&mut self, now: Moment) {
        if now.since(Moment::ZERO) < OWN_GRACE {
            return;
        }
        let leftovers: Vec<(Table, Slot)> = self
            .replica
            .of(Owner::Node(self.id))
            .filter(|page| !page.body().is_empty())
            .map(|page| (page.key().table, page.key().slot))
            .filter(|at| !self.own.contains_key(at))
            .collect();
        for (table, slot) in leftovers {
            self.write(now, table, slot, Vec::new());
        }
    }

    fn publish_watch(&mut self, now: Moment) {
        let rows = self.watch.rows();
        self.publish(now, Table::WATCH, Slot::page(0), codec::encode(&rows));
    }

    /// Round trips to my peers, for whoever wants to know who is near: only those that moved by 10 % and 1 ms count.
    fn publish_rtt(&mut self, now: Moment) {
        let mut rtt: BTreeMap<NodeId, Duration> =
            self.links.iter().filter_map(|(id, link)| Some((*id, link.rtt()?))).collect();
        let moved = |a: Duration, b: Duration| a.abs_diff(b) > (a / 10).max(Duration::from_millis(1));
        for (id, new) in &mut rtt {
            if let Some(old) = self.published_rtt.get(id).filter(|old| !moved(**old, *new)) {
                *new = *old;
            }
        }
        if rtt.len() > MAX_RTT_ROWS {
            let mut nearest: Vec<(Duration, NodeId)> = rtt.into_iter().map(|(id, rtt)| (rtt, id)).collect();
            nearest.sort_unstable();
            rtt = nearest.into_iter().take(MAX_RTT_ROWS).map(|(rtt, id)| (id, rtt)).collect();
        }
        if rtt != self.published_rtt {
            let rows: Vec<(NodeId, u32)> =
                rtt.iter().map(|(id, rtt)| (*id, u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX))).collect();
            self.published_rtt = rtt;
            self.publish(now, Table::RTT, Slot::page(0), codec::encode(&rows));
        }
    }

    // ---- pages of everyone ----------------------------------------------------------------------------------------

    /// Takes in a page of any origin; true if it was new.
    fn accept(&mut self, now: Moment, page: Page) -> bool {
        let own = page.key().owner == Owner::Node(self.id);
        let newer = self.replica.stamp(&page.key()).is_none_or(|held| held < page.stamp());
        match self.replica.accept(page.clone()) {
            Ok(Accepted::New) => self.counts.pages_new += 1,
            Ok(_) => {
                self.counts.pages_again += 1;
                return false;
            }
            Err(_) => {
                self.counts.pages_refused += 1;
                return false;
            }
        }
        self.learn(now, &page);
        let stamp = page.stamp();
        if own && newer && (stamp.major, stamp.minor) > (self.epoch, self.minor) {
            self.met = self.met.max(Some(stamp.major));
            self.jump_if_due(now);
        } else if own
            && newer
            && let Some(body) = self.own.get(&(page.key().table, page.key().slot)).cloned()
        {
            self.write(now, page.key().table, page.key().slot, body);
        }
        true
    }

    fn spread(&mut self, page: &Page, from: Option<NodeId>) {
        for (peer, link) in &mut self.links {
            if Some(*peer) != from {
                link.push_page(page.clone());
                self.ready.insert(*peer);
            }
        }
    }

    /// Updates what is derived from single pages.
    fn learn(&mut self, now: Moment, page: &Page) {
        self.version += 1;
        let Key { owner: Owner::Node(id), table, slot } = page.key() else { return };
        if table == Table::MEMBER
            && let Some((_, member)) = Member::read(page)
        {
            let before = self.members.insert(id, member.clone());
            if before.as_ref().is_some_and(|before| before.incarnation < member.incarnation) {
                self.watch.handle_refuted(now, id);
            }
            self.outgrown |= before.is_none();
            self.unsettled = true;
        } else if table == Table::WATCH && slot == Slot::page(0) {
            let mut rows: Vec<WatchRow> = codec::decode(page.body()).unwrap_or_default();
            rows.truncate(verdict::MAX_ACCUSED);
            self.watch_rows.insert(id, rows);
            self.unsettled = true;
        }
    }

    // ---- liveness -------------------------------------------------------------------------------------------------

    fn look_around(&mut self, now: Moment) {
        let watched = self.overlay.watched_by(self.id, |other| self.is_live(other));
        let watched = watched
            .into_iter()
            .filter_map(|other| {
                let member = self.members.get(&other).filter(|member| !member.left)?;
                let rtt = self.links.get(&other).and_then(Link::rtt).unwrap_or_default();
                Some((other, (member.incarnation, rtt)))
            })
            .collect();
        let before = self.watch.hears_little();
        self.watch.handle_tick(now, TICK, &watched);
        self.publish_watch(now);
        self.unsettled |= before != self.watch.hears_little();
    }

    /// Recomputes the verdicts if their evidence changed, and refutes one about myself.
    fn settle(&mut self, now: Moment) {
        while std::mem::take(&mut self.unsettled) {
            if std::mem::take(&mut self.outgrown) {
                self.overlay = Overlay::new(&self.members.keys().copied().collect());
            }
            let Judgement { verdicts, cut_off } = self.judge(self.watch.hears_little());
            let common = if cut_off { &self.judge(false).verdicts } else { &verdicts };
            if common.get(&self.id) == Some(&Verdict::Dead) {
                self.counts.refutations += 1;
                tracing::info!(incarnation = self.me.incarnation, "the mesh held me for dead; refuting");
                self.announce(now);
                continue;
            }
            if cut_off != self.cut_off {
                tracing::warn!(
                    cut_off,
                    "most members are silent from here; until they are back, one accusation convicts"
                );
                self.cut_off = cut_off;
            }
            for (id, verdict) in &verdicts {
                let before = self.verdicts.get(id);
                if before.is_some_and(|before| before != verdict) {
                    tracing::info!(node = %id.short(), ?before, now = ?verdict, "verdict");
                }
            }
            if verdicts != self.verdicts {
                self.verdicts = verdicts;
                self.version += 1;
            }
        }
    }

    fn judge(&self, hears_little: bool) -> Judgement {
        verdict::judge(&Evidence {
            members: &self.members,
            overlay: &self.overlay,
            watch: &self.watch_rows,
            hears_little,
        })
    }

    fn is_live(&self, id: NodeId) -> bool {
        self.verdicts.get(&id) == Some(&Verdict::Alive)
    }
}
