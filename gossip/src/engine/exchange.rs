//! What a message does: heartbeats to the link, news to the trees, digests to repair.
//!
//! Repair asks one neighbour a second (less often in a mesh of thousands, where something is always on its way), one
//! round in 64 under a salt. While pages keep coming that were really lacking, it asks up to [`PARALLEL`] neighbours at
//! once, each for its share of the buckets: so a node with an empty disk fills it.
//!
//! Each step answers the one before: sums are looked at after a root of mine, digests after sums of mine, wants after
//! digests of mine. What comes unasked is not looked at, for each step costs more than the one before.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, seq::IteratorRandom};

use super::{Engine, SECOND_TICKS, spread::Way};
use crate::{
    frame::{Frame, Of},
    id::NodeId,
    link::Link,
    message::Message,
    page::{Owner, Page, Table},
    repair::{self, Digest, Listed, SETTLED},
    replica::{Accepted, Refused},
    time::Moment,
};

/// Neighbours asked at once while much is lacking.
const PARALLEL: usize = 4;
/// While given pages arrive, the next round would list as lacking what is on its way.
const DRAINED: Duration = Duration::from_millis(150);
/// Rounds between two with a salt.
const SALTED: u64 = 64;
/// Refused writers that are remembered. Of more than this some may become members, so any admission may be one.
pub(super) const MAX_UNKNOWN: usize = 1024;
/// One more second between rounds for each so many members.
const CALM: usize = 1000;

#[derive(Default)]
pub(super) struct Repair {
    /// Something is lacking: do not wait for the next round.
    soon: bool,
    given: Moment,
    rounds: u64,
    /// Writers of whom pages were refused because nobody here had heard of their admission, or appointment.
    unknown: BTreeSet<NodeId>,
}

impl Repair {
    fn refused(&mut self, writer: NodeId) {
        if self.unknown.len() < MAX_UNKNOWN {
            self.unknown.insert(writer);
        }
    }

    /// A writer was admitted, or appointed. What was refused of it is lacking; of one that nothing came of, all is on its way. Else a
    /// bulk of admissions would set all nodes asking all others, again and again.
    pub(super) fn admitted(&mut self, writer: NodeId) {
        self.soon |= self.unknown.len() >= MAX_UNKNOWN || self.unknown.contains(&writer);
        self.unknown.remove(&writer);
    }

    pub(super) fn unknown(&self) -> usize {
        self.unknown.len()
    }
}

impl Engine {
    /// A message arrived. Its pages' signatures were verified when it was decoded.
    pub fn handle_message(&mut self, now: Moment, from: NodeId, message: Message) {
        if let Message::Hello { certificate, appointment, .. } = message {
            self.handle_hello(now, from, certificate, appointment);
            self.settle(now);
            return;
        }
        // Its stream may be up before mine to it is: a member is listened to, and answered later.
        if self.links.get(&from).is_none_or(|link| !link.greeted) {
            if !self.may_link(from) {
                return;
            }
            self.let_in(now, from);
        }
        let repairs =
            matches!(message, Message::Root { .. } | Message::Buckets { .. } | Message::Digests(_) | Message::Want(_));
        if repairs && !self.links.get_mut(&from).is_some_and(Link::take_repair) {
            return;
        }
        self.watch.handle_heard(now, from);
        if let Some(link) = self.links.get_mut(&from) {
            link.heard = now;
        }
        match message {
            Message::Hello { .. } => {}
            Message::Beat(beat) => {
                if let Some(link) = self.links.get_mut(&from) {
                    link.handle_beat(now, beat);
                    if link.turn.is_none() && now.since(link.beaten) >= super::ANSWER_EVERY {
                        link.beat();
                    }
                    if link.beats() {
                        self.ready.insert(from);
                    }
                }
            }
            Message::News(frames) => self.handle_frames(now, from, &frames, Way::News),
            Message::Given(frames) => self.handle_frames(now, from, &frames, Way::Given),
            Message::Prune(origins) => self.handle_prune(from, &origins),
            Message::Have(digests) => self.handle_have(now, from, &digests),
            Message::Graft(graft) => self.handle_graft(from, &graft),
            Message::Root { salt, root } => self.handle_root(now, from, salt, root),
            Message::Buckets { salt, sums } => self.handle_buckets(now, from, salt, sums),
            Message::Digests(lists) => self.handle_digests(now, from, &lists),
            Message::Want(lists) => {
                if self.links.get_mut(&from).is_some_and(|link| std::mem::take(&mut link.expects_want)) {
                    self.give(from, repair::find(&self.replica, &lists));
                }
            }
        }
    }

    fn handle_frames(&mut self, now: Moment, from: NodeId, frames: &[Frame], way: Way) {
        // The pages of a proof were not sent for a tree, and teach it nothing.
        let way = if way == Way::News && self.handle_proof(frames) { Way::Grafted } else { way };
        for frame in frames {
            self.handle_frame(now, from, frame, way);
        }
        if way == Way::Given {
            self.repair.given = now;
        }
        self.settle(now);
    }

    fn handle_frame(&mut self, now: Moment, from: NodeId, frame: &Frame, way: Way) {
        let (key, stamp, digest) = (frame.header().key, frame.header().stamp, frame.header().digest);
        if way == Way::News && self.spread.has(digest) {
            self.handle_again(from, frame, way);
            return;
        }
        let held = self.replica.page(&key);
        // Equal numbers and another hash is an equivocation: the replica keeps the proof.
        if held.is_some_and(|held| {
            let mine = held.stamp();
            mine == stamp || (mine.major, mine.minor) > (stamp.major, stamp.minor)
        }) {
            self.handle_again(from, frame, way);
            return;
        }
        let Some(page) = frame.complete(held) else {
            self.counts.deltas_missed += 1;
            self.ask_for_missed(now, from, digest);
            return;
        };
        // What was asked for by name shows that a tree was mended, not that more is lacking.
        let way = if way == Way::Given && self.missing.was_asked_for(digest) { Way::Grafted } else { way };
        match self.accept(now, page.clone()) {
            Ok(Accepted::New) => {
                self.repair.soon |= way == Way::Given;
                // Whole, for a slow peer may need it so; the delta that came with it is passed on as it is.
                let frame = Frame { of: Of::Page(page), delta: frame.delta.clone() };
                self.spread_from(now, &frame, from, way);
            }
            Ok(_) => {}
            Err(refused) => {
                self.counts.pages_refused += 1;
                tracing::debug!(from = %from.short(), %refused, "page refused");
                if let Refused::NotAdmitted(writer) | Refused::NotAppointed { signer: writer, .. } = refused {
                    self.repair.refused(writer);
                }
                self.missing.remove(digest);
                self.spread.pass_by(digest);
            }
        }
    }

    /// What is held already, or something newer: most of what a flood brings.
    fn handle_again(&mut self, from: NodeId, frame: &Frame, way: Way) {
        let header = frame.header();
        self.counts.pages_again += 1;
        self.missing.remove(header.digest);
        if way == Way::News {
            self.handle_duplicate(from, header.key.owner, header.key.table);
        }
    }

    /// One round, if it is time.
    pub(super) fn ask_around(&mut self, now: Moment, second: bool) {
        let calm = 1 + self.roster.len() / CALM;
        let due = second && (self.ticks / SECOND_TICKS).is_multiple_of(calm as u64);
        let soon = self.repair.soon
            && self.ticks.is_multiple_of(super::NOTICE_TICKS)
            && now.since(self.repair.given) >= DRAINED;
        if !due && !soon {
            return;
        }
        let members = self.links.iter().filter(|(_, link)| link.greeted).map(|(peer, _)| *peer);
        let peers = members.sample(&mut self.rng, if soon { PARALLEL } else { 1 });
        self.repair.soon = false;
        let of = u8::try_from(peers.len()).unwrap_or(u8::MAX);
        for (share, peer) in (0..).zip(peers) {
            if let Some(link) = self.links.get_mut(&peer) {
                link.share = (of > 1).then_some((share, of));
            }
            self.ask_for_repair(peer);
        }
    }

    pub(super) fn ask_for_repair(&mut self, peer: NodeId) {
        self.repair.rounds += 1;
        let salt = if self.repair.rounds.is_multiple_of(SALTED) { self.rng.random::<u64>().max(1) } else { 0 };
        let root = Digest::of(&self.replica, salt).root();
        self.answer(peer, Message::Root { salt, root });
        if let Some(link) = self.links.get_mut(&peer) {
            link.asked = Some(salt);
        }
    }

    fn handle_root(&mut self, now: Moment, from: NodeId, salt: u64, root: [u8; 16]) {
        if salt != 0 && !self.links.get_mut(&from).is_some_and(|link| link.take_salted(now)) {
            return;
        }
        let mine = Digest::of(&self.replica, salt);
        if mine.root() != root {
            self.answer(from, Message::Buckets { salt, sums: mine.into_sums() });
            if let Some(link) = self.links.get_mut(&from) {
                link.expects_digests = true;
            }
        }
    }

    fn handle_buckets(&mut self, now: Moment, from: NodeId, salt: u64, sums: Vec<u64>) {
        // An answer to what I asked last, and to nothing else.
        if self.links.get_mut(&from).is_none_or(|link| link.asked.take_if(|asked| *asked == salt).is_none()) {
            return;
        }
        let Some(theirs) = Digest::from_sums(sums) else { return };
        self.counts.repairs += 1;
        let mine = Digest::of(&self.replica, salt);
        let first = self.rng.random();
        let share = self.links.get_mut(&from).and_then(|link| link.share.take());
        let (_, replaced) = self.spread.fresh(before(now, SETTLED));
        let mine_of = |bucket: &u8| share.is_none_or(|(share, of)| bucket % of == share);
        let mut lists = repair::list(&self.replica, mine.differing(&theirs, first).filter(mine_of), &replaced);
        if lists.is_empty() {
            lists = repair::list(&self.replica, mine.differing(&theirs, first), &replaced);
        }
        if !lists.is_empty() {
            self.answer(from, Message::Digests(lists));
            if let Some(link) = self.links.get_mut(&from) {
                link.expects_want = true;
            }
        }
    }

    fn handle_digests(&mut self, now: Moment, from: NodeId, lists: &[Listed]) {
        if !self.links.get_mut(&from).is_some_and(|link| std::mem::take(&mut link.expects_digests)) {
            return;
        }
        // To a peer that is new here nothing is on its way yet.
        let young = self.links.get(&from).is_some_and(|link| now.since(link.since) < 2 * SETTLED);
        let since = if young { now + Duration::from_micros(1) } else { before(now, SETTLED) };
        let (fresh, replaced) = self.spread.fresh(since);
        let difference = repair::compare(&self.replica, lists, &fresh, &replaced);
        self.give(from, difference.give);
        if let Some(link) = self.link(from) {
            link.push_want(difference.want);
        }
    }

    /// As much as the peer's queue takes; the next round goes on where this one ended.
    fn give(&mut self, to: NodeId, pages: Vec<Page>) {
        if let Some(link) = self.link(to) {
            for page in pages {
                if !link.push_given(Frame::whole(page)) {
                    break;
                }
            }
        }
    }

    fn answer(&mut self, to: NodeId, message: Message) {
        if let Some(link) = self.link(to) {
            link.push(message);
        }
    }

    /// A link that is about to get something to send.
    fn link(&mut self, peer: NodeId) -> Option<&mut Link> {
        let link = self.links.get_mut(&peer)?;
        self.ready.insert(peer);
        Some(link)
    }

    /// Takes in a page of any origin.
    pub(super) fn accept(&mut self, now: Moment, page: Page) -> Result<Accepted, Refused> {
        let caught = self.replica.equivocation(page.signer()).is_some();
        let accepted = self.store(now, page.clone())?;
        if !caught {
            self.show_proof(page.signer());
        }
        if accepted == Accepted::New {
            self.counts.pages_new += 1;
            if page.key().owner == Owner::Node(self.id) {
                self.handle_own(now, &page);
            }
        } else {
            self.counts.pages_again += 1;
        }
        Ok(accepted)
    }

    /// Puts a page into the replica and learns what it says.
    pub(super) fn store(&mut self, now: Moment, page: Page) -> Result<Accepted, Refused> {
        let held = self.replica.page(&page.key()).cloned();
        let accepted = self.replica.accept(page.clone())?;
        if accepted == Accepted::New {
            self.version += 1;
            self.changed.insert(page.key());
            let replaced = held.as_ref().map(|held| (held.bucket() as u8, held.digest()));
            self.missing.remove(page.digest());
            self.spread.note(now, page.clone(), replaced);
            self.learn(now, &page, held.as_ref());
            let gone = self.replica.take_gone();
            if page.key().table == Table::OPERATOR && !gone.is_empty() {
                tracing::info!(
                    pages = gone.len(),
                    "an operator's key lost a right, and with it went what it had signed"
                );
            }
            for gone in gone {
                self.changed.insert(gone.key());
                self.unlearn(now, &gone);
            }
            for operator in self.replica.take_gained() {
                self.repair.admitted(operator);
            }
        }
        Ok(accepted)
    }
}

fn before(now: Moment, span: Duration) -> Moment {
    Moment(now.0.saturating_sub(Moment::from(span).0))
}
