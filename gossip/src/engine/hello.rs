//! At the door: who is let in.
//!
//! A link begins with each side's [`Message::Hello`]: what it speaks, and its certificate if it has one, with the
//! appointment of the key that signed it: so two that never met know each other by the root key alone. Nothing else is
//! sent to, or taken from, a peer before it is known as a member; a newcomer whose certificate came only in its hello is
//! one from then on, everywhere. Whoever shows nothing is closed after [`PATIENCE`]: it may have been admitted a moment
//! ago, and the news of it be on its way here.

use std::time::Duration;

use super::{Action, Engine};
use crate::{
    admission,
    frame::Frame,
    id::NodeId,
    link::Link,
    message::{Message, VERSION},
    operator,
    page::{Page, Table},
    replica::{Accepted, Admission},
    time::Moment,
};

/// How long a peer may be linked without having shown that it is a member.
const PATIENCE: Duration = Duration::from_secs(3);
/// Peers at the door; more are turned away at once, so that strangers cannot take the place of members.
pub(super) const MAX_STRANGERS: usize = 32;

impl Engine {
    /// A link to a peer came up.
    pub fn handle_link_up(&mut self, now: Moment, peer: NodeId) {
        if peer == self.id || self.own.silenced {
            self.actions.push_back(Action::Close(peer));
            return;
        }
        let strangers = self.links.values().filter(|link| !link.greeted).count();
        if !self.may_link(peer) && strangers >= MAX_STRANGERS {
            self.actions.push_back(Action::Close(peer));
            return;
        }
        let certificate = self.replica.page(&admission::key(Table::ADMISSION, self.id)).cloned();
        let signer = certificate.as_ref().map(Page::signer);
        let appointment = signer.and_then(|signer| self.replica.appointment(signer)).cloned();
        let link = Link::new(now, Message::Hello { version: VERSION, certificate, appointment });
        if let Some(old) = self.links.insert(peer, link) {
            self.counts.dropped += old.dropped;
        }
        self.mark_watchers();
        self.ready.insert(peer);
        self.dialler.handle_link_up(peer);
        if self.may_link(peer) {
            self.let_in(now, peer);
        }
    }

    /// The link to a peer is gone.
    pub fn handle_link_down(&mut self, now: Moment, peer: NodeId) {
        let Some(link) = self.links.remove(&peer) else { return };
        self.counts.dropped += link.dropped;
        self.ready.remove(&peer);
        self.version += 1;
        if link.greeted {
            self.graft_orphans(peer);
        }
        self.dial_missing(now);
    }

    pub(super) fn handle_hello(
        &mut self,
        now: Moment,
        from: NodeId,
        certificate: Option<Page>,
        appointment: Option<Page>,
    ) {
        // Only a certificate of the peer's own, and what it needs: anything else has its place in repair.
        let certificate = certificate.filter(|page| page.key() == admission::key(Table::ADMISSION, from));
        let signer = certificate.as_ref().map(|page| operator::key(page.signer()));
        let appointment = appointment.filter(|page| Some(page.key()) == signer);
        for page in appointment.into_iter().chain(certificate) {
            if self.accept(now, page.clone()) == Ok(Accepted::New) {
                self.spread(now, &Frame::whole(page), Some(from));
            }
        }
        if self.links.get(&from).is_some_and(|link| !link.greeted) && self.may_link(from) {
            self.let_in(now, from);
        }
    }

    /// Whether links to a peer are kept: it holds a certificate that has not ended.
    pub(super) fn may_link(&self, peer: NodeId) -> bool {
        match self.replica.admission(peer) {
            Admission::Admitted(certificate) => certificate.not_after >= self.unix,
            Admission::Unknown | Admission::Revoked => false,
        }
    }

    pub(super) fn let_in(&mut self, now: Moment, peer: NodeId) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.greeted = true;
        link.beat();
        self.watch.handle_heard(now, peer);
        self.begin_spread(peer);
        self.ask_for_repair(peer);
        self.ready.insert(peer);
        self.version += 1;
        // One that comes back should hear first that it was held for dead.
        self.tell_the_accused(peer);
    }

    /// Once a second: strangers that had their time, members that are so no more.
    pub(super) fn close_strangers(&mut self, now: Moment) {
        let mut admitted = Vec::new();
        for (peer, link) in &self.links {
            let may = self.may_link(*peer);
            if may && !link.greeted {
                admitted.push(*peer);
            } else if !may && (link.greeted || now.since(link.since) >= PATIENCE) {
                tracing::info!(peer = %peer.short(), "closing: no certificate that holds; admit it with `nigh admit`");
                self.actions.push_back(Action::Close(*peer));
                if self.replica.admission(*peer) == Admission::Revoked {
                    self.actions.push_back(Action::Bar(*peer));
                }
            }
        }
        for peer in admitted {
            self.let_in(now, peer);
        }
    }

    /// An admission or a revocation of this node was learnt.
    pub(super) fn handle_admission(&mut self, now: Moment, node: NodeId) {
        self.roster_due = true;
        self.unsettled = true;
        match self.replica.admission(node) {
            Admission::Revoked => {
                self.purge(node);
                tracing::info!(node = %node.short(), "revoked");
                // One that is linked hears of it first, in the second until `close_strangers`: it should know, and say,
                // why nobody talks to it any more. What it sends meanwhile is refused.
                if !self.links.get(&node).is_some_and(|link| link.greeted) {
                    self.actions.push_back(Action::Close(node));
                    self.actions.push_back(Action::Bar(node));
                }
            }
            Admission::Admitted(_) => {
                self.actions.push_back(Action::Unbar(node));
                if self.links.get(&node).is_some_and(|link| !link.greeted) && self.may_link(node) {
                    self.let_in(now, node);
                }
                self.repair.admitted(node);
            }
            // Its certificate was withdrawn, or replaced by what this version cannot read.
            Admission::Unknown => self.purge(node),
        }
    }

    /// What is held of a node that may not be held; its own pages each node keeps.
    fn purge(&mut self, node: NodeId) {
        if node != self.id {
            let gone = self.replica.purge(node);
            self.changed.extend(gone);
            if let Some(seat) = self.roster.seat(&node) {
                self.incarnations[seat.index()] = None; // The roster without it is due.
            }
        }
    }

    /// At the start: those whom the remembered pages show revoked.
    pub(super) fn bar_the_revoked(&mut self) {
        let revoked: Vec<NodeId> = self
            .replica
            .pages()
            .of_operators(Table::REVOCATION)
            .filter_map(admission::read_revocation)
            .filter(|node| !self.replica.is_admitted(*node))
            .collect();
        self.actions.retain(|action| !matches!(action, Action::Bar(_) | Action::Unbar(_) | Action::Close(_)));
        self.actions.extend(revoked.into_iter().map(Action::Bar));
    }
}
