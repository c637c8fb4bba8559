//! The state machine of a member: events in through `handle_*`, effects out through `poll_*`.
//!
//! ```text
//!            handle_link_up / _link_down / _message / _timeout / publish / submit
//!                                        │
//!   own (own pages, epochs) ── sign ──▶ replica ◀── accept ── pages of others (exchange)
//!                                │ new?      │
//!              spread (trees, notices)    settle (roster, standings, accusations ─▶ verdicts)
//!                                │           │
//!            poll_transmit(peer) (messages)  poll_action (dial, close, bar, remember the epoch)
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `own` | writes this node's pages; keeps its stamps above every one it ever used |
//! | `exchange` | what each message does; repair |
//! | `spread` | who is sent news, who is told of it |
//! | `missing` | what was announced and did not come: who is asked for it |
//! | `proof` | what shows that a member lied, shown to everyone |
//! | `settle` | what follows from the pages: roster, who lives, whom I accuse |
//! | `hello` | strangers and members at the door |
//! | `dial` | whom to call, and when to call again |
//! | `consistency` | what must hold between two events, for tests |
//!
//! **Invariant:** nothing here reads a clock, a disk or a socket, and nothing is random but by the seed.

mod consistency;
mod dial;
mod exchange;
mod hello;
mod missing;
mod own;
mod proof;
mod settle;
mod spread;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use ed25519_dalek::SigningKey;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    id::NodeId,
    link::Link,
    liveness::{
        verdict::{Accusations, Standing, Verdict},
        watch::{BEAT_EVERY, FEW_WATCHERS, TURNS, Watch},
    },
    member::Member,
    message::Message,
    page::{Key, Owner, Page, Slot, Table},
    replica::{Accepted, Refused, Replica},
    roster::{Roster, Seat},
    rosters::Rosters,
    time::Moment,
};
pub use dial::Target;
pub(crate) use settle::Beginning;

/// The engine looks at its clock this often; every other period is a multiple.
pub const TICK: Duration = Duration::from_millis(100);
/// A round of beats to those that watch me: one turn in each tick.
const BEAT_TICKS: u64 = TURNS;
const _: () = assert!(BEAT_EVERY.as_millis() == TICK.as_millis() * BEAT_TICKS as u128);
/// Notices.
const NOTICE_TICKS: u64 = 2;
/// One exchange of repair, and what is done once a second.
const SECOND_TICKS: u64 = 10;
/// A peer that does not watch me is sent no beats of their own accord: its own are answered, no more often than this, in
/// the packet that acknowledges them anyway.
const ANSWER_EVERY: Duration = Duration::from_secs(1);
/// If it sends none, it gets mine this often.
const BEAT_OTHERS: Duration = Duration::from_millis(1500);

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
    /// Refuse connections with this key: it was revoked.
    Bar(NodeId),
    /// It was admitted again.
    Unbar(NodeId),
    /// My epoch moved: keep it on disk, so that the next start begins above it.
    RememberEpoch(u64),
}

/// What a member starts with.
pub struct Setup {
    /// The node's key, the one libp2p uses too.
    pub signing: SigningKey,
    /// Keys that may write the catalogue and the admissions, and appoint others to.
    pub roots: Vec<NodeId>,
    /// This node's certificate, if it was given one; else it waits until the mesh has it.
    pub certificate: Option<Page>,
    /// The appointment of the key that signed it, if that is no root.
    pub appointment: Option<Page>,
    /// Above every epoch used before.
    pub epoch: u64,
    /// `host:port` under which others reach this node.
    pub addresses: Vec<String>,
    /// `host:port` of first contacts.
    pub bootstrap: Vec<String>,
    /// Pages remembered from the last run, in any order.
    pub pages: Vec<Page>,
    /// Seed of everything random.
    pub seed: u64,
    /// What a simulation shares among its nodes.
    pub shared: Shared,
}

/// What only a simulation sets: thousands of engines in one process share what is equal, and skip what is modelled.
#[derive(Clone, Default)]
pub struct Shared {
    /// Rosters made before: the same certificates make the same roster.
    pub(crate) rosters: Arc<Rosters>,
    /// Begin with this state as if this node had run before and written its part of it; nothing is announced.
    pub(crate) settled: Option<Replica>,
    /// What follows from that state, once one engine has found it.
    pub(crate) beginning: Option<Arc<Beginning>>,
    /// Heartbeats are not sent; [`Engine::handle_steady`] and [`Engine::handle_quiet`] say what they would have shown.
    pub(crate) modelled_beats: bool,
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
    /// Deltas received whose base was not held.
    pub deltas_missed: u64,
    /// Pages asked for because they were announced and did not come.
    pub grafts: u64,
    /// Exchanges in which a neighbour's digest differed.
    pub repairs: u64,
    /// Times that this node found itself declared dead and refuted it.
    pub refutations: u64,
    /// Pages that did not fit a peer's queue.
    pub dropped: u64,
    /// News not passed on because its writer writes too much.
    pub withheld: u64,
}

/// One member's state.
pub struct Engine {
    id: NodeId,
    signing: SigningKey,
    own: own::Own,
    replica: Replica,
    /// Keys whose page changed since the shell asked last.
    changed: BTreeSet<Key>,

    rosters: Arc<Rosters>,
    roster: Arc<Roster>,
    seat: Option<Seat>,
    /// An admission or a revocation came since the roster was made.
    roster_due: bool,
    standing: Vec<Standing>,
    /// Of the member pages held, by seat: looked at for everyone watched, several times a second.
    incarnations: Vec<Option<u64>>,
    accusations: Accusations,
    verdicts: Vec<Verdict>,
    cut_off: bool,
    /// Something that the verdicts depend on changed since they were computed, and when that was last.
    unsettled: bool,
    judged: Moment,
    refutals: own::Refutals,
    /// Whom I should be linked to, whom I watch and who watches me, as the verdicts have it.
    around: settle::Around,

    links: BTreeMap<NodeId, Link>,
    /// Links that have something to send.
    ready: BTreeSet<NodeId>,
    spread: spread::Spread,
    missing: missing::Missing,
    watch: Watch,
    dialler: dial::Dialler,
    published_rtt: BTreeMap<NodeId, Duration>,
    rtt_due: Moment,
    modelled_beats: bool,
    /// Unix time in seconds, if the shell said it: certificates end.
    unix: u64,

    rng: ChaCha8Rng,
    ticks: u64,
    next_tick: Moment,
    repair: exchange::Repair,
    actions: VecDeque<Action>,
    version: u64,
    counts: Counts,
}

impl Engine {
    /// A member that knows what it remembered and is linked to nobody.
    #[must_use]
    pub fn new(now: Moment, setup: Setup) -> Self {
        let id = NodeId::from(setup.signing.verifying_key());
        let mut rng = ChaCha8Rng::seed_from_u64(setup.seed);
        let (settled, beginning) = (setup.shared.settled.is_some(), setup.shared.beginning);
        let mut engine = Self {
            id,
            own: own::Own::new(now, setup.epoch, rng.random(), setup.addresses),
            replica: setup.shared.settled.map_or_else(|| Replica::new(id, setup.roots), |replica| replica.at(id)),
            signing: setup.signing,
            changed: BTreeSet::new(),
            rosters: setup.shared.rosters,
            roster: Arc::default(),
            seat: None,
            roster_due: true,
            standing: Vec::new(),
            incarnations: Vec::new(),
            accusations: Accusations::new(),
            verdicts: Vec::new(),
            cut_off: false,
            unsettled: true,
            judged: Moment::ZERO,
            refutals: own::Refutals::default(),
            around: settle::Around::default(),
            links: BTreeMap::new(),
            ready: BTreeSet::new(),
            spread: spread::Spread::default(),
            missing: missing::Missing::default(),
            watch: Watch::default(),
            dialler: dial::Dialler::new(setup.bootstrap),
            published_rtt: BTreeMap::new(),
            rtt_due: Moment::ZERO,
            modelled_beats: setup.shared.modelled_beats,
            unix: 0,
            ticks: 0,
            next_tick: now,
            repair: exchange::Repair::default(),
            actions: VecDeque::new(),
            version: 0,
            counts: Counts::default(),
            rng,
        };
        engine.ticks = engine.rng.random_range(0..SECOND_TICKS);
        let given: Vec<Page> = setup.certificate.into_iter().chain(setup.appointment).collect();
        let mut pages: Vec<Page> = setup.pages.into_iter().chain(given.iter().cloned()).collect();
        pages.sort_by_key(|page| page.key_ref().precedence());
        for page in pages {
            let (key, stamp) = (page.key(), page.stamp());
            let _ = engine.accept(now, page);
            // On disk as it is, unless it may not be held, or I went above it.
            if engine.replica.stamp(&key) == Some(stamp) {
                engine.changed.remove(&key);
            } else {
                engine.changed.insert(key);
            }
        }
        engine.changed.extend(given.iter().map(Page::key)); // Those are on no disk of ours yet.
        if settled {
            engine.resume(now);
        } else {
            engine.announce(now);
        }
        engine.bar_the_revoked();
        if let Some(beginning) = beginning {
            engine.begin(&beginning);
        }
        engine.settle_now(now);
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

    /// All members that ever spoke, this one included, with what is held of each.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &Member, Verdict)> {
        self.roster.seats().filter_map(|seat| {
            let id = self.roster.id(seat);
            Some((id, self.member(id)?, self.verdicts[seat.index()]))
        })
    }

    /// What this node says of itself, as others have it.
    #[must_use]
    pub fn me(&self) -> Option<&Member> {
        self.member(self.id)
    }

    /// What is held of a node.
    #[must_use]
    pub fn verdict(&self, node: NodeId) -> Verdict {
        let seat = self.roster.seat(&node);
        seat.and_then(|seat| self.verdicts.get(seat.index())).copied().unwrap_or(Verdict::Absent)
    }

    /// Verdicts of all admitted nodes, in the order of their ids.
    pub(crate) fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Whether this node holds a certificate.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.replica.is_admitted(self.id)
    }

    /// Whether another process runs with this node's key, and this one fell silent for it.
    #[must_use]
    pub fn is_silenced(&self) -> bool {
        self.own.silenced
    }

    /// Peers linked to, with the length of the path there and back once it is known.
    pub fn links(&self) -> impl Iterator<Item = (NodeId, Option<Duration>)> + '_ {
        self.links.iter().filter(|(_, link)| link.greeted).map(|(id, link)| (*id, link.rtt()))
    }

    /// Whether messages of this peer are heeded: it is linked and has shown that it is a member.
    #[must_use]
    pub fn hears(&self, peer: NodeId) -> bool {
        self.links.get(&peer).is_some_and(|link| link.greeted)
    }

    /// Whether this member is in a minority, or the survivor of a disaster (see [`crate::verdict`]).
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
        let dropped = self.links.values().map(|link| link.dropped).sum::<u64>();
        Counts { dropped: self.counts.dropped + dropped, ..self.counts }
    }

    /// Hash over everything held: equal at two nodes exactly when they hold the same.
    #[must_use]
    pub fn state_hash(&self) -> [u8; 16] {
        crate::repair::Digest::of(&self.replica, 0).root()
    }

    /// Keys whose page changed, came or went since this was last asked.
    pub fn take_changed(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.changed)
    }

    /// Writes one of this node's own pages; unchanged content is not written again. An empty body withdraws the page.
    pub fn publish(&mut self, now: Moment, table: Table, slot: Slot, body: Vec<u8>) {
        if self.own.pages.get(&(table, slot)) == Some(&body)
            || (body.is_empty() && !self.own.pages.contains_key(&(table, slot)))
        {
            return;
        }
        self.own.pages.insert((table, slot), body.clone());
        self.write(now, table, slot, body);
        self.settle(now);
    }

    /// Takes in a page that a local program brought: an operator's edit.
    ///
    /// # Errors
    /// [`Refused`] if no replica may hold it.
    pub fn submit(&mut self, now: Moment, page: Page) -> Result<Accepted, Refused> {
        let accepted = self.accept(now, page.clone())?;
        if accepted == Accepted::New {
            self.spread(now, &crate::frame::Frame::whole(page), None);
        }
        self.settle(now);
        Ok(accepted)
    }

    /// Says goodbye: nobody need wait for a verdict.
    pub fn leave(&mut self, now: Moment) {
        self.own.me.left = true;
        self.announce(now);
        self.settle_now(now);
    }

    /// What time it is outside: certificates end. Coarse is good enough; without it they do not.
    pub fn handle_wall_clock(&mut self, unix_seconds: u64) {
        self.unix = unix_seconds;
    }

    /// A bootstrap address turned out to be this peer.
    pub fn handle_bootstrap(&mut self, address: &str, peer: NodeId) {
        self.dialler.handle_bootstrap(address, peer);
    }

    /// Beats of this peer arrive without being delivered one by one, at this round trip (see [`Shared`]).
    pub fn handle_steady(&mut self, peer: NodeId, rtt: Duration) {
        self.watch.handle_steady(peer);
        if let Some(link) = self.links.get_mut(&peer) {
            link.set_rtt(rtt);
        }
    }

    /// They stopped; the last one came at `since`.
    pub fn handle_quiet(&mut self, now: Moment, peer: NodeId, since: Moment) {
        self.watch.handle_quiet(now, peer, since);
        self.next_tick = self.next_tick.min(self.watch.poll_timeout().unwrap_or(self.next_tick)).max(now);
    }

    /// When [`Engine::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Moment {
        [self.watch.poll_timeout(), self.missing.poll_timeout()].into_iter().flatten().fold(self.next_tick, Moment::min)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        if now < self.poll_timeout() {
            return;
        }
        self.look_around(now);
        self.graft_what_is_missing(now);
        if now < self.next_tick {
            self.settle(now);
            return;
        }
        self.next_tick = now + TICK;
        self.ticks += 1;
        let second = self.ticks.is_multiple_of(SECOND_TICKS);
        self.beat(now);
        self.ask_around(now, second);
        self.jump_if_due(now);
        if second {
            self.links.values_mut().for_each(Link::refill);
            self.spread.forget_old(now);
            self.publish_rtt(now);
            self.withdraw_leftovers(now);
            self.close_strangers(now);
        }
        self.dial_missing(now);
        self.refute_if_due(now);
        self.settle_now(now);
    }

    fn beat(&mut self, now: Moment) {
        let notices = self.ticks.is_multiple_of(NOTICE_TICKS);
        let round = self.round();
        for (peer, link) in &mut self.links {
            let mut due = notices && link.flush_have();
            let beats = match link.turn {
                Some(turn) => (self.ticks + turn).is_multiple_of(round),
                None => now.since(link.beaten) >= BEAT_OTHERS,
            };
            if beats && !self.modelled_beats {
                link.beat();
                due = true;
            }
            if due {
                self.ready.insert(*peer);
            }
        }
    }

    /// Ticks from one beat to the next for the same watcher.
    fn round(&self) -> u64 {
        if self.around.watchers.len() > FEW_WATCHERS { BEAT_TICKS } else { BEAT_TICKS / 2 }
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

    fn member(&self, id: NodeId) -> Option<&Member> {
        let key = Key { owner: Owner::Node(id), table: Table::MEMBER, slot: Slot::page(0) };
        self.replica.page(&key)?.member()
    }

    fn is_live(&self, id: NodeId) -> bool {
        self.verdict(id) == Verdict::Alive
    }
}

#[cfg(test)]
mod tests;
