//! Dead or alive: a pure function of replicated rows, never stored.
//!
//! Each node writes down whom it finds silent ([`WatchRow`]). A member is **dead** when enough of those whose opinion
//! counts (its live watchers) accuse its current incarnation. The set of the dead is the least fixed point: start with
//! all alive; a dead watcher no longer counts and the next rank takes its place. Replicas with equal rows agree.
//!
//! **The common quorum** is max(2, half of the live watchers), 1 where there is only one watcher: no single observer
//! and no minority can kill a node (Rapid, Suresh et al. 2018).
//!
//! **The cut-off.** In a small part of a split mesh, or after a disaster, most of a member's watchers are out of reach.
//! Their last rows still stand and say nothing, so they would be counted as voices for life, the common quorum would
//! never be met, and the part would go on referring its users to nodes that nobody there can hear. So a node that
//! misses a quarter of those that it watches while most of the mesh stands accused, or three quarters whatever others
//! say (`Hearing`), leaves out of the vote the watchers that are silent themselves: those that it misses, and those
//! that it does not watch and somebody accuses. Half of the voices that are left convict, and at least two of them,
//! unless it misses the accused itself.
//!
//! **Invariant:** one liar kills nobody, cut off or not, however many are dead, as long as its victim has another live
//! watcher: whom it alone accuses has one voice against it, and I do not miss it.
//!
//! Rejected: "when more than half of all stand accused, one accusation convicts": one liar can accuse everybody, and
//! in a mesh of five one dead node is a quarter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::NodeId,
    roster::{Roster, Seat},
};

/// Accusations one watch page may hold; a node watches 8 successors and the dead between, everyone in a small mesh.
pub const MAX_ACCUSED: usize = 128;
/// Watch pages that are read of a node. Where one member in a hundred is left, each watches eight hundred that are
/// silent; were some of them left out, nobody would ever be rid of those.
pub const WATCH_PAGES: u32 = 8;

/// One accusation: `accused` was silent in this incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WatchRow {
    /// The silent member.
    pub accused: NodeId,
    /// The incarnation it was silent in; a higher one refutes.
    pub incarnation: u64,
}

/// What is held of an admitted node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was never seen.
    Absent,
    /// No quorum says otherwise.
    Alive,
    /// A quorum of its watchers heard nothing from it.
    Dead,
    /// It said goodbye.
    Left,
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing yet.
    #[default]
    Absent,
    /// That it went on purpose.
    Left,
    /// That it is here.
    Present,
}

/// How many of those that I watch I hear. Local on purpose: no liar can make me stop hearing others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// More than three quarters.
    #[default]
    Well,
    /// At least a quarter is silent: if the rows of others say that most of the mesh is, I am cut off.
    Little,
    /// At least three quarters are silent: I am cut off, whatever others say.
    Hardly,
}

impl Hearing {
    pub(crate) fn of(missed: usize, watched: usize) -> Self {
        match missed {
            0 => Self::Well,
            _ if missed * 4 >= watched * 3 => Self::Hardly,
            _ if missed * 4 >= watched => Self::Little,
            _ => Self::Well,
        }
    }
}

/// Accusations by seats: watcher -> whom it accuses, in which incarnation.
pub(crate) type Accusations = BTreeMap<Seat, Vec<(Seat, u64)>>;

/// What follows from the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// By seat.
    pub(crate) verdicts: Vec<Verdict>,
    /// This node is in a minority, or the survivor of a disaster: the silent have no voice.
    pub(crate) cut_off: bool,
    /// The common quorum, which all replicas see alike, holds this node for dead: refute.
    pub(crate) refute: bool,
}

/// Judges all seats as `me` sees them. `standing` is by seat; `incarnation` is asked for accused seats only.
///
/// Costs one pass over a byte for each seat, and for each accused a walk over its rings.
pub(crate) fn judge(
    roster: &Roster,
    standing: &[Standing],
    incarnation: impl Fn(Seat) -> Option<u64>,
    watch: &Accusations,
    me: Seat,
    hearing: Hearing,
) -> Judgement {
    let court = Court::open(roster, standing, incarnation, watch, me);
    let start: Vec<Verdict> = standing.iter().map(|standing| standing.verdict()).collect();
    let common = court.fixpoint(start.clone(), |case, watchers| case.meets_quorum(watchers));
    let refute = common.get(me.index()) == Some(&Verdict::Dead);
    let cut_off = match hearing {
        Hearing::Well => false,
        Hearing::Little => court.most_are_silent(&start, &common),
        Hearing::Hardly => true,
    };
    let verdicts = if cut_off {
        court.fixpoint(start, |case, watchers| {
            case.meets_quorum(watchers) || court.voices_convict(case, watchers, hearing)
        })
    } else {
        common
    };
    Judgement { verdicts, cut_off, refute }
}

impl Standing {
    fn verdict(self) -> Verdict {
        match self {
            Self::Absent => Verdict::Absent,
            Self::Left => Verdict::Left,
            Self::Present => Verdict::Alive,
        }
    }
}

/// One accused member and who accuses it, in ascending order.
#[derive(Clone, Copy)]
struct Case<'a> {
    accused: Seat,
    by: &'a [(Seat, Seat)],
}

impl Case<'_> {
    fn is_accused_by(&self, seat: Seat) -> bool {
        self.by.binary_search(&(self.accused, seat)).is_ok()
    }

    fn meets_quorum(&self, watchers: &[Seat]) -> bool {
        let quorum = match watchers.len() {
            0 => return false,
            1 => 1,
            n => n.div_ceil(2).max(2),
        };
        watchers.iter().filter(|watcher| self.is_accused_by(**watcher)).count() >= quorum
    }
}

/// The accusations that hold, and whose eyes they are seen with.
struct Court<'a> {
    roster: &'a Roster,
    /// (accused, accuser), in ascending order.
    accusations: Vec<(Seat, Seat)>,
    me: Seat,
    /// Those that I watch when all are alive: whatever else changes, I have an opinion of these.
    mine: Vec<Seat>,
}

impl<'a> Court<'a> {
    /// Takes the rows of present watchers about the current incarnation of present members; the others are void.
    fn open(
        roster: &'a Roster,
        standing: &[Standing],
        incarnation: impl Fn(Seat) -> Option<u64>,
        watch: &Accusations,
        me: Seat,
    ) -> Self {
        let present = |seat: Seat| standing.get(seat.index()) == Some(&Standing::Present);
        let mut accusations: Vec<(Seat, Seat)> = watch
            .iter()
            .filter(|(watcher, _)| present(**watcher))
            .flat_map(|(watcher, rows)| rows.iter().map(|(accused, seen)| (*accused, *watcher, *seen)))
            .filter(|(accused, watcher, seen)| {
                accused != watcher && present(*accused) && incarnation(*accused) == Some(*seen)
            })
            .map(|(accused, watcher, _)| (accused, watcher))
            .collect();
        accusations.sort_unstable();
        accusations.dedup();
        Self { roster, accusations, me, mine: roster.watched_by(me, present) }
    }

    fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        self.accusations.chunk_by(|a, b| a.0 == b.0).map(|by| Case { accused: by[0].0, by })
    }

    fn case(&self, accused: Seat) -> Case<'_> {
        let from = self.accusations.partition_point(|(seat, _)| *seat < accused);
        let length = self.accusations[from..].partition_point(|(seat, _)| *seat == accused);
        Case { accused, by: &self.accusations[from..from + length] }
    }

    /// Convicts in rounds, all of a round by the same verdicts, so that the order of rows and seats means nothing.
    fn fixpoint(&self, mut verdicts: Vec<Verdict>, convicts: impl Fn(&Case<'_>, &[Seat]) -> bool) -> Vec<Verdict> {
        let mut open: Vec<Case<'_>> = self.cases().collect();
        loop {
            let live = |seat: Seat| verdicts.get(seat.index()) == Some(&Verdict::Alive);
            let (newly, rest): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|case| convicts(case, &self.roster.watchers(case.accused, live)));
            if newly.is_empty() {
                return verdicts;
            }
            for case in newly {
                verdicts[case.accused.index()] = Verdict::Dead;
            }
            open = rest;
        }
    }

    /// Whether more than half of the others are dead, or silent to somebody whose opinion of them counts.
    fn most_are_silent(&self, start: &[Verdict], common: &[Verdict]) -> bool {
        let others = start.iter().filter(|verdict| **verdict == Verdict::Alive).count().saturating_sub(1);
        let live = |seat: Seat| common.get(seat.index()) == Some(&Verdict::Alive);
        let silent = |case: &Case<'_>| {
            case.accused != self.me
                && (!live(case.accused)
                    || case.is_accused_by(self.me)
                    || (!self.is_mine(case.accused)
                        && self.roster.watchers(case.accused, live).into_iter().any(|by| case.is_accused_by(by))))
        };
        self.cases().filter(silent).count() * 2 > others
    }

    /// Whether half of those who have a voice from here accuse, and of these at least one other or I.
    fn voices_convict(&self, case: &Case<'_>, watchers: &[Seat], hearing: Hearing) -> bool {
        let i_miss_it = case.is_accused_by(self.me);
        let me = (i_miss_it && !watchers.contains(&self.me)).then_some(self.me);
        let (mut all, mut against) = (0, 0);
        for watcher in watchers.iter().copied().chain(me) {
            let accuses = case.is_accused_by(watcher);
            if self.has_voice(watcher, accuses, hearing) {
                all += 1;
                against += usize::from(accuses);
            }
        }
        against * 2 >= all && against >= if i_miss_it { 1 } else { 2 }
    }

    /// Whether a watcher speaks from where I am. Of those that I watch I know it. Another's word for death counts
    /// unless two doubt it (a single liar must not silence the accusers); its silence may be that of one who is gone,
    /// so one doubt is enough, and none is needed where hardly anybody is heard.
    fn has_voice(&self, watcher: Seat, accuses: bool, hearing: Hearing) -> bool {
        let doubts = self.case(watcher);
        match watcher {
            _ if watcher == self.me => true,
            _ if self.is_mine(watcher) || doubts.is_accused_by(self.me) => !doubts.is_accused_by(self.me),
            _ if accuses => doubts.by.len() < 2,
            _ => doubts.by.is_empty() && hearing != Hearing::Hardly,
        }
    }

    fn is_mine(&self, seat: Seat) -> bool {
        self.mine.binary_search(&seat).is_ok()
    }
}

#[cfg(test)]
mod tests;
