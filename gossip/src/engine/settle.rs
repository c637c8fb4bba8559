//! What follows from the pages: the roster, who lives, whom I accuse, whom I should be linked to.
//!
//! Verdicts are computed from the replicated rows, at once while few stand accused. After a disaster, when hundreds do
//! and each message brings another row, they are computed at most each [`JUDGE_EVERY`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{BEAT_TICKS, Engine, TICK, spread};
use crate::{
    frame::Frame,
    id::NodeId,
    link::Link,
    liveness::{
        verdict::{self, Judgement, Standing, Verdict, WATCH_PAGES, WatchRow},
        watch::{FEW_WATCHERS, TURNS},
    },
    member::Member,
    page::{Key, Owner, Page, Slot, Table},
    roster::{Roster, Seat},
    time::Moment,
};

/// Least time between two judgements while more than [`FEW`] accuse.
const JUDGE_EVERY: Duration = Duration::from_millis(50);
/// Accusers that are judged at once.
const FEW: usize = 32;
/// Up to this many members the roster is made anew with each admission; above it, once a tick.
const SMALL: usize = 256;

/// My place among the living.
#[derive(Default)]
pub(super) struct Around {
    /// Whom I should be linked to.
    pub(super) neighbours: BTreeSet<NodeId>,
    /// Whom I watch: my live successors and the dead between.
    pub(super) watched: Vec<(Seat, NodeId)>,
    /// Who watches me, and is sent beats of their own accord, in turns.
    pub(super) watchers: BTreeSet<NodeId>,
}

/// What a settled replica says about all nodes; the same at each of them.
pub(crate) struct Beginning {
    roster: Arc<Roster>,
    standing: Vec<Standing>,
    incarnations: Vec<Option<u64>>,
    verdicts: Vec<Verdict>,
}

impl Engine {
    /// For those that begin with the same replica as this one did.
    pub(crate) fn beginning(&self) -> Beginning {
        Beginning {
            roster: self.roster.clone(),
            standing: self.standing.clone(),
            incarnations: self.incarnations.clone(),
            verdicts: self.verdicts.clone(),
        }
    }

    /// Takes what another engine found in the same replica.
    pub(super) fn begin(&mut self, beginning: &Beginning) {
        (self.roster_due, self.unsettled) = (false, false);
        self.roster = beginning.roster.clone();
        self.seat = self.roster.seat(&self.id);
        self.standing.clone_from(&beginning.standing);
        self.incarnations.clone_from(&beginning.incarnations);
        self.verdicts.clone_from(&beginning.verdicts);
        self.find_my_place();
    }

    /// Updates what is derived from single pages.
    pub(super) fn learn(&mut self, now: Moment, page: &Page, before: Option<&Page>) {
        let Key { owner, table, slot } = page.key();
        match (owner, table) {
            (Owner::Operators, Table::ADMISSION | Table::REVOCATION) => {
                for node in self.nodes_of(page, before) {
                    self.handle_admission(now, node);
                }
            }
            (Owner::Node(id), Table::MEMBER) if slot == Slot::page(0) => {
                let (known, member) = (before.and_then(Page::member), page.member());
                if known.zip(member).is_some_and(|(known, member)| known.incarnation < member.incarnation) {
                    self.watch.handle_refuted(now, id);
                }
                self.note_standing(id, member);
            }
            (Owner::Node(id), Table::WATCH) if slot < Slot::page(WATCH_PAGES) => self.note_accusations(id),
            _ => {}
        }
    }

    /// A page had to go: for others of its writer, or because its signer may sign it no more.
    pub(super) fn unlearn(&mut self, now: Moment, gone: &Page) {
        let Key { owner, table, slot } = gone.key();
        match (owner, table) {
            (Owner::Operators, Table::ADMISSION | Table::REVOCATION) => {
                for node in self.nodes_of(gone, None) {
                    self.handle_admission(now, node);
                }
            }
            (Owner::Node(id), Table::MEMBER) if slot == Slot::page(0) => self.note_standing(id, None),
            (Owner::Node(id), Table::WATCH) => self.note_accusations(id),
            _ => {}
        }
    }

    /// Whose admission an operator's page is about: the node that it names, and the one named by what stood there before
    /// it or is admitted there. Those are the same, but for a page that cannot be read.
    fn nodes_of(&self, page: &Page, before: Option<&Page>) -> BTreeSet<NodeId> {
        let admission = self.replica.page(&Key { table: Table::ADMISSION, ..page.key() });
        [Some(page), before, admission].into_iter().flatten().filter_map(crate::admission::whose).collect()
    }

    fn note_standing(&mut self, id: NodeId, member: Option<&Member>) {
        let Some(seat) = self.roster.seat(&id) else { return };
        self.standing[seat.index()] = match member {
            None => Standing::Absent,
            Some(member) if member.left => Standing::Left,
            Some(_) => Standing::Present,
        };
        self.incarnations[seat.index()] = member.map(|member| member.incarnation);
        self.unsettled = true;
    }

    /// All pages of a node's accusations, in their order.
    pub(super) fn watch_pages(&self, id: NodeId) -> impl Iterator<Item = &Page> {
        (0..WATCH_PAGES).filter_map(move |number| {
            self.replica.page(&Key { owner: Owner::Node(id), table: Table::WATCH, slot: Slot::page(number) })
        })
    }

    fn note_accusations(&mut self, id: NodeId) {
        let Some(seat) = self.roster.seat(&id) else { return };
        let rows = self.watch_pages(id).flat_map(Page::watch_rows);
        let rows: Vec<(Seat, u64)> =
            rows.filter_map(|row: &WatchRow| Some((self.roster.seat(&row.accused)?, row.incarnation))).collect();
        if rows.is_empty() {
            self.accusations.remove(&seat);
        } else {
            self.accusations.insert(seat, rows);
        }
        self.unsettled = true;
    }

    /// The roster of the certificates that hold, and everything that is kept by seat, anew.
    fn renew_roster(&mut self, now: Moment) {
        self.roster_due = false;
        let certificates = self.replica.certificates().map(|certificate| (certificate.node, certificate.serial));
        let new = self.rosters.of(certificates);
        let old = std::mem::replace(&mut self.roster, new);
        self.seat = self.roster.seat(&self.id);
        let mut from: Vec<Option<usize>> =
            self.roster.seats().map(|seat| old.seat(&self.roster.id(seat)).map(Seat::index)).collect();
        from.push(Some(old.len())); // the operators
        for link in self.links.values_mut() {
            link.lazy = link.lazy.renumbered(&from);
        }
        let old_ids: Vec<NodeId> = old.seats().map(|seat| old.id(seat)).collect();
        self.spread.renumber(&from, |at| self.roster.seat(old_ids.get(at)?));
        self.standing = vec![Standing::Absent; self.roster.len()];
        self.incarnations = vec![None; self.roster.len()];
        self.verdicts = from[..self.roster.len()]
            .iter()
            .map(|at| at.and_then(|at| self.verdicts.get(at)).copied().unwrap_or(Verdict::Absent))
            .collect();
        self.accusations.clear();
        let roster = self.roster.clone();
        for seat in roster.seats() {
            let id = roster.id(seat);
            let member = self.page_of(id, Table::MEMBER).and_then(Page::member).cloned();
            self.note_standing(id, member.as_ref());
            self.note_accusations(id);
        }
        self.find_my_place();
        self.version += 1;
        if old.len() <= spread::SMALL && self.roster.len() > spread::SMALL {
            self.begin_large(now);
        }
    }

    fn page_of(&self, id: NodeId, table: Table) -> Option<&Page> {
        self.replica.page(&Key { owner: Owner::Node(id), table, slot: Slot::page(0) })
    }

    /// Looks at the clock: whom do I miss, whom shall I probe?
    pub(super) fn look_around(&mut self, now: Moment) {
        let watched: BTreeMap<NodeId, (u64, Duration)> = self
            .around
            .watched
            .iter()
            .filter(|(seat, _)| self.standing[seat.index()] == Standing::Present)
            .filter_map(|(seat, other)| {
                let incarnation = self.incarnations[seat.index()]?;
                let rtt = self.links.get(other).and_then(Link::rtt).unwrap_or_default();
                Some((*other, (incarnation, rtt)))
            })
            .collect();
        let before = self.watch.hearing();
        // The next tick, or an earlier probe: whichever comes late shows that I was stopped.
        self.watch.handle_tick(now, TICK, &watched);
        for peer in watched.keys() {
            if let Some(link) = self.links.get(peer).filter(|link| link.greeted) {
                self.watch.handle_known(*peer, link.heard);
            }
        }
        for peer in self.watch.probes(now) {
            if let Some(link) = self.links.get_mut(&peer) {
                link.probe();
                self.ready.insert(peer);
            }
        }
        self.publish_watch(now);
        self.unsettled |= before != self.watch.hearing();
    }

    /// Recomputes the verdicts if their evidence changed; later if that is dear.
    pub(super) fn settle(&mut self, now: Moment) {
        let dear = self.accusations.len() > FEW && now.since(self.judged) < JUDGE_EVERY;
        let large = self.roster_due && self.roster.len() > SMALL;
        if !dear && !large {
            self.settle_now(now);
        }
    }

    pub(super) fn settle_now(&mut self, now: Moment) {
        if std::mem::take(&mut self.roster_due) {
            self.renew_roster(now);
        }
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        self.judged = now;
        let Some(me) = self.seat else {
            self.cut_off = false;
            self.refutals.due = false;
            return;
        };
        let incarnation = |seat: Seat| self.incarnations.get(seat.index()).copied().flatten();
        let Judgement { verdicts, cut_off, refute } =
            verdict::judge(&self.roster, &self.standing, incarnation, &self.accusations, me, self.watch.hearing());
        if cut_off != self.cut_off {
            tracing::warn!(cut_off, "most members are silent from here; until they are back, the silent have no vote");
            self.cut_off = cut_off;
            self.version += 1;
        }
        if verdicts != self.verdicts {
            self.tell(&verdicts);
            self.verdicts = verdicts;
            self.version += 1;
            self.find_my_place();
        }
        self.refutals.due = refute;
        self.refute_if_due(now);
    }

    fn tell(&self, verdicts: &[Verdict]) {
        for seat in self.roster.seats() {
            let (before, now) = (self.verdicts.get(seat.index()), verdicts[seat.index()]);
            if before.is_some_and(|before| *before != now && *before != Verdict::Absent) {
                tracing::info!(node = %self.roster.id(seat).short(), ?before, ?now, "verdict");
            }
        }
    }

    fn find_my_place(&mut self) {
        let Some(me) = self.seat else {
            self.around = Around::default();
            self.mark_watchers();
            return;
        };
        let live = |seat: Seat| self.verdicts[seat.index()] == Verdict::Alive;
        let id = |seat: Seat| self.roster.id(seat);
        self.around = Around {
            neighbours: self.roster.neighbours(me, live).into_iter().map(id).collect(),
            watched: self.roster.watched_by(me, live).into_iter().map(|seat| (seat, id(seat))).collect(),
            watchers: self.roster.watchers(me, live).into_iter().map(id).collect(),
        };
        self.mark_watchers();
    }

    pub(super) fn mark_watchers(&mut self) {
        self.links.values_mut().for_each(|link| link.turn = None);
        for (peer, turn) in self.around.watchers.iter().zip((0..TURNS).cycle()) {
            if let Some(link) = self.links.get_mut(peer) {
                link.turn = Some(turn);
            }
        }
    }

    /// When in a round of how many ticks `peer` beats for me (a simulation, where beats are modelled).
    pub(crate) fn turn_with(&self, peer: NodeId) -> Option<(u64, u64)> {
        let live = |seat: Seat| self.verdicts[seat.index()] == Verdict::Alive;
        let watchers = self.roster.watchers(self.roster.seat(&peer)?, live);
        let turn = watchers.iter().position(|watcher| Some(*watcher) == self.seat)? as u64 % TURNS;
        let round = if watchers.len() > FEW_WATCHERS { BEAT_TICKS } else { BEAT_TICKS / 2 };
        Some((turn, round))
    }

    /// Shows a peer that I accuse it, at once: the sooner it refutes.
    pub(super) fn tell_the_accused(&mut self, peer: NodeId) {
        let accused = self.watch.rows().iter().any(|row| row.accused == peer);
        let names = |page: &&Page| page.watch_rows().iter().any(|row| row.accused == peer);
        let page = self.watch_pages(self.id).find(names).filter(|_| accused).cloned();
        if let (Some(page), Some(link)) = (page, self.links.get_mut(&peer)) {
            link.push_news(Frame::whole(page), true);
        }
    }
}
