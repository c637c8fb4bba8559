//! What was announced and has not come: who told of it, and who is asked for it when.
//!
//! Bounded in all and for each teller, so that a member that announces what does not exist takes no other's place.

use std::{collections::BTreeMap, time::Duration};

use super::{Engine, spread::MAX_TELLERS};
use crate::{id::NodeId, time::Moment};

/// A version that was announced and did not come is asked for after this long.
const GRAFT_AFTER: Duration = Duration::from_millis(150);
/// Times that it is asked for, of another teller each time; then repair has to bring it.
const GRAFTS: u32 = 6;
/// Versions missed at a time, ...
const MAX_MISSING: usize = 4096;
/// ... and those of them that one peer was the first to tell of: three seconds of 170 a second that never come.
pub(super) const MAX_TOLD: usize = 512;

#[derive(Debug)]
struct Announced {
    due: Moment,
    /// The first to tell of it, on whose account it is.
    by: NodeId,
    tellers: Vec<NodeId>,
    asked: u32,
}

/// By digest.
#[derive(Debug, Default)]
pub(super) struct Missing {
    all: BTreeMap<u64, Announced>,
    /// How many of them each peer told of first.
    told: BTreeMap<NodeId, usize>,
}

impl Missing {
    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        self.all.values().map(|announced| announced.due).min()
    }

    pub(super) fn was_asked_for(&self, digest: u64) -> bool {
        self.all.get(&digest).is_some_and(|announced| announced.asked > 0)
    }

    /// It came, or nothing more can be done.
    pub(super) fn remove(&mut self, digest: u64) {
        let Some(announced) = self.all.remove(&digest) else { return };
        if let Some(told) = self.told.get_mut(&announced.by) {
            *told -= 1;
            if *told == 0 {
                self.told.remove(&announced.by);
            }
        }
    }

    /// One more that `by` told of first; what is too much to remember, repair brings.
    fn insert(&mut self, digest: u64, by: NodeId, due: Moment, asked: u32) -> bool {
        let told = self.told.get(&by).copied().unwrap_or(0);
        if self.all.len() >= MAX_MISSING || told >= MAX_TOLD {
            return false;
        }
        self.told.insert(by, told + 1);
        self.all.insert(digest, Announced { due, by, tellers: vec![by], asked });
        true
    }

    /// For tests: which bound does not hold.
    pub(super) fn inconsistency(&self) -> Option<String> {
        let (all, sum) = (self.all.len(), self.told.values().sum::<usize>());
        let most = self.told.values().copied().max().unwrap_or(0);
        let tellers = self.all.values().map(|announced| announced.tellers.len()).max().unwrap_or(0);
        let holds = all <= MAX_MISSING && all == sum && most <= MAX_TOLD && tellers <= MAX_TELLERS;
        (!holds).then(|| format!("{all} missing, {sum} told, {most} by one, told by {tellers}"))
    }
}

impl Announced {
    fn also(&mut self, teller: NodeId) {
        if self.tellers.len() < MAX_TELLERS && !self.tellers.contains(&teller) {
            self.tellers.push(teller);
        }
    }
}

impl Engine {
    pub(super) fn handle_have(&mut self, now: Moment, from: NodeId, digests: &[u64]) {
        for digest in digests {
            if self.spread.knows(*digest) {
                continue;
            }
            if let Some(announced) = self.missing.all.get_mut(digest) {
                announced.also(from);
            } else if !self.missing.insert(*digest, from, now + GRAFT_AFTER, 0) {
                return;
            }
        }
    }

    /// A delta came whose base is not held: ask its sender for the page, and whoever sends the same if that one does not
    /// answer.
    pub(super) fn ask_for_missed(&mut self, now: Moment, from: NodeId, digest: u64) {
        match self.missing.all.get_mut(&digest) {
            Some(announced) if announced.asked > 0 => return announced.also(from),
            Some(announced) => {
                announced.tellers.retain(|teller| *teller != from);
                announced.tellers.insert(0, from);
                announced.tellers.truncate(MAX_TELLERS);
                (announced.asked, announced.due) = (1, now + GRAFT_AFTER);
            }
            None => _ = self.missing.insert(digest, from, now + GRAFT_AFTER, 1),
        }
        self.graft(from, digest);
    }

    pub(super) fn graft_what_is_missing(&mut self, now: Moment) {
        if self.missing.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        let (mut given_up, mut asked) = (Vec::new(), Vec::new());
        for (digest, announced) in self.missing.all.iter_mut().filter(|(_, announced)| announced.due <= now) {
            let at = announced.asked as usize % announced.tellers.len().max(1);
            announced.asked += 1;
            announced.due = now + GRAFT_AFTER * announced.asked;
            if announced.asked > GRAFTS {
                given_up.push(*digest);
            } else if let Some(teller) = announced.tellers.get(at) {
                asked.push((*teller, *digest));
            }
        }
        asked.into_iter().for_each(|(teller, digest)| self.graft(teller, digest));
        given_up.into_iter().for_each(|digest| self.missing.remove(digest));
    }

    fn graft(&mut self, from: NodeId, digest: u64) {
        if let Some(link) = self.links.get_mut(&from) {
            link.push_graft(digest);
            self.counts.grafts += 1;
            self.ready.insert(from);
        }
    }
}
