//! Whom to call, and when to call again.
//!
//! A node wants links to its neighbours in the overlay. Of two that want each other the one with the lower id dials,
//! the other only if nothing came within [`PATIENCE`] (it may stand behind a filter), so most pairs dial once.
//! Bootstrap addresses are dialled until they turn out to be somebody, and again whenever that somebody is not
//! linked and not known to have left: two meshes that started apart grow together. Members held for dead are tried one at a
//! time for ever, or a healed partition would stay one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::RngExt;

use super::{Action, Engine};
use crate::{id::NodeId, liveness::verdict::Verdict, time::Moment};

/// First wait before dialling the same target again; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(15);
/// How long the higher id waits for the lower one to dial.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often one of the dead is tried.
const DEAD_EVERY: Duration = Duration::from_secs(2);
/// A link that neither side's overlay asks for is closed after this long.
const UNWANTED: Duration = Duration::from_secs(30);

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Whoever answers at this `host:port`.
    Bootstrap(String),
    /// This member, at one of its addresses.
    Member(NodeId, Vec<String>),
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    next: Moment,
    wait: Duration,
    made: u32,
}

#[derive(Debug)]
pub(super) struct Dialler {
    /// Address -> who was found there.
    bootstrap: BTreeMap<String, Option<NodeId>>,
    attempts: BTreeMap<Target, Attempt>,
    wanted_since: BTreeMap<NodeId, Moment>,
    next_dead: Moment,
}

impl Dialler {
    pub(super) fn new(bootstrap: Vec<String>) -> Self {
        Self {
            bootstrap: bootstrap.into_iter().map(|address| (address, None)).collect(),
            attempts: BTreeMap::new(),
            wanted_since: BTreeMap::new(),
            next_dead: Moment::ZERO,
        }
    }

    /// Targets whose attempts are remembered.
    pub(super) fn len(&self) -> usize {
        self.attempts.len().max(self.wanted_since.len())
    }

    /// Addresses of first contacts.
    pub(super) fn known(&self) -> usize {
        self.bootstrap.len()
    }

    pub(super) fn handle_bootstrap(&mut self, address: &str, peer: NodeId) {
        if let Some(found) = self.bootstrap.get_mut(address) {
            *found = Some(peer);
        }
    }

    pub(super) fn handle_link_up(&mut self, peer: NodeId) {
        self.wanted_since.remove(&peer);
        self.attempts.retain(|target, _| !matches!(target, Target::Member(id, _) if *id == peer));
    }

    /// One of the dead is tried every [`DEAD_EVERY`], however often it was tried before: that bounds the rate, and a
    /// node that is back with an empty disk depends on it.
    fn forget_wait(&mut self, target: &Target) {
        if let Some(attempt) = self.attempts.get_mut(target) {
            attempt.next = Moment::ZERO;
        }
    }

    /// The number of the attempt to make now, if it is time; the next one waits twice as long.
    fn attempt(&mut self, now: Moment, target: &Target) -> Option<u32> {
        let attempt = self.attempts.entry(target.clone()).or_insert(Attempt { next: now, wait: RETRY_MIN, made: 0 });
        if now < attempt.next {
            return None;
        }
        attempt.next = now + attempt.wait;
        attempt.wait = (attempt.wait * 2).min(RETRY_MAX);
        attempt.made += 1;
        Some(attempt.made - 1)
    }
}

impl Engine {
    /// Dials what is wanted and not linked; closes what nobody wants.
    pub(super) fn dial_missing(&mut self, now: Moment) {
        if self.own.me.left || self.own.silenced {
            return;
        }
        let neighbours = std::mem::take(&mut self.around.neighbours);
        let mut targets = Vec::new();
        // One whose certificate has ended I would not let in.
        for id in &neighbours {
            if self.links.contains_key(id) || !self.may_link(*id) {
                continue;
            }
            let since = *self.dialler.wanted_since.entry(*id).or_insert(now);
            if self.id < *id || now.since(since) >= PATIENCE {
                targets.extend(self.member_target(*id));
            }
        }
        self.dialler.wanted_since.retain(|id, _| neighbours.contains(id));
        targets.extend(self.bootstrap_targets());
        let dead = self.dead_target(now);
        targets.extend(dead.inspect(|target| self.dialler.forget_wait(target)));
        let current: BTreeSet<Target> = targets.iter().cloned().collect();
        for target in targets {
            if let Some(attempt) = self.dialler.attempt(now, &target) {
                self.actions.push_back(Action::Dial { target, attempt });
            }
        }
        // Keep the back-off of what is still wanted (a dead member returns here every few seconds), forget the rest.
        let mut attempts = std::mem::take(&mut self.dialler.attempts);
        attempts.retain(|target, _| match target {
            Target::Bootstrap(_) => current.contains(target),
            Target::Member(id, addresses) => self.member(*id).is_some_and(|member| member.addresses == *addresses),
        });
        self.dialler.attempts = attempts;
        self.close_unwanted(now, &neighbours);
        self.around.neighbours = neighbours;
    }

    fn member_target(&self, id: NodeId) -> Option<Target> {
        let addresses = &self.member(id)?.addresses;
        (!addresses.is_empty()).then(|| Target::Member(id, addresses.clone()))
    }

    fn bootstrap_targets(&self) -> Vec<Target> {
        self.dialler
            .bootstrap
            .iter()
            .filter(|(address, found)| match found {
                Some(id) if *id == self.id => false,
                // In a large mesh the bootstrap peer need not stay a neighbour; knowing it alive is enough.
                Some(id) => !self.links.contains_key(id) && (self.links.is_empty() || !self.is_live(*id)),
                None => !self.own.me.addresses.contains(address) && !self.linked_at(address),
            })
            .map(|(address, _)| Target::Bootstrap(address.clone()))
            .collect()
    }

    fn linked_at(&self, address: &str) -> bool {
        self.links.keys().filter_map(|id| self.member(*id)).any(|member| member.addresses.iter().any(|a| a == address))
    }

    fn dead_target(&mut self, now: Moment) -> Option<Target> {
        if now < self.dialler.next_dead {
            return None;
        }
        self.dialler.next_dead = now + DEAD_EVERY;
        let dead: Vec<NodeId> = self
            .roster
            .seats()
            .filter(|seat| self.verdicts.get(seat.index()) == Some(&Verdict::Dead))
            .map(|seat| self.roster.id(seat))
            .filter(|id| !self.links.contains_key(id) && self.may_link(*id))
            .collect();
        if dead.is_empty() {
            return None;
        }
        let id = dead[self.rng.random_range(0..dead.len())];
        self.member_target(id)
    }

    fn close_unwanted(&mut self, now: Moment, neighbours: &BTreeSet<NodeId>) {
        for (peer, link) in &mut self.links {
            if neighbours.contains(peer) || !link.greeted {
                link.unwanted_since = None;
            } else if now.since(*link.unwanted_since.get_or_insert(now)) > UNWANTED {
                link.unwanted_since = Some(now);
                self.actions.push_back(Action::Close(*peer));
            }
        }
    }
}
