//! What a message does: heartbeats to the link, news to the flood, digests to repair.

use rand::RngExt;

use super::Engine;
use crate::{
    id::NodeId,
    link::Link,
    message::Message,
    page::Key,
    repair::{self, Digest},
    time::Moment,
};

/// Keys answered of one request; an honest peer never asks for more, as no listing is longer.
const MAX_WANT: usize = repair::MAX_STAMPS;

impl Engine {
    /// A message arrived. Its pages were verified when it was decoded.
    pub fn handle_message(&mut self, now: Moment, from: NodeId, message: Message) {
        self.watch.handle_heard(now, from);
        let repairs = matches!(message, Message::Root { .. } | Message::Buckets { .. } | Message::Stamps { .. });
        if repairs && !self.links.get_mut(&from).is_some_and(Link::take_repair) {
            return;
        }
        match message {
            Message::Beat(beat) => {
                if let Some(link) = self.links.get_mut(&from) {
                    link.handle_beat(now, beat);
                }
            }
            Message::Pages(pages) => {
                for page in pages {
                    if self.accept(now, page.clone()) {
                        self.spread(&page, Some(from));
                    }
                }
                self.settle(now);
            }
            Message::Root { salt, root } => {
                let mine = Digest::of(&self.replica, salt);
                if mine.root() != root {
                    self.answer(from, Message::Buckets { salt, sums: mine.sums().to_vec() });
                }
            }
            Message::Buckets { salt, sums } => {
                let Some(theirs) = Digest::from_sums(sums) else { return };
                self.counts.repairs += 1;
                self.repair_soon = true;
                let mine = Digest::of(&self.replica, salt);
                let (buckets, stamps) = repair::list(&self.replica, mine.differing(&theirs, salt));
                if !buckets.is_empty() {
                    self.answer(from, Message::Stamps { buckets, stamps });
                }
            }
            Message::Stamps { buckets, stamps } => {
                let difference = repair::compare(&self.replica, &buckets, &stamps);
                if let Some(link) = self.link(from) {
                    difference.give.into_iter().for_each(|page| link.push_page(page));
                }
                if !difference.want.is_empty() {
                    self.answer(from, Message::Want(difference.want));
                }
            }
            Message::Want(keys) => self.give(from, &keys),
        }
    }

    pub(super) fn ask_for_repair(&mut self, peer: NodeId) {
        let salt = self.rng.random();
        let root = Digest::of(&self.replica, salt).root();
        self.answer(peer, Message::Root { salt, root });
    }

    fn give(&mut self, to: NodeId, keys: &[Key]) {
        let pages: Vec<_> = keys.iter().take(MAX_WANT).filter_map(|key| self.replica.page(key)).cloned().collect();
        if let Some(link) = self.link(to) {
            pages.into_iter().for_each(|page| link.push_page(page));
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
}
