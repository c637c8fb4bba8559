//! What shows that a member lied: two pages of one key and version, both signed by it.
//!
//! The higher hash wins everywhere, so the lie does no harm to agreement; but of two pages that meet at one node, all
//! others hold one only, and would never know. So whoever finds a proof shows it to all its links, the two pages in one
//! message, and whoever sees it for the first time does the same: a flood of its own, once for each liar.

use super::Engine;
use crate::{
    frame::{Frame, Of},
    id::NodeId,
    page::Page,
};

/// The proof that a message of exactly two pages is, if it is one: the page that loses, and the one that wins.
fn proof(frames: &[Frame]) -> Option<[&Page; 2]> {
    let [Frame { of: Of::Page(a), delta: None }, Frame { of: Of::Page(b), delta: None }] = frames else { return None };
    let same = a.key_ref() == b.key_ref()
        && a.signer() == b.signer()
        && (a.stamp().major, a.stamp().minor) == (b.stamp().major, b.stamp().minor)
        && a.stamp() != b.stamp();
    same.then_some(if a.stamp() < b.stamp() { [a, b] } else { [b, a] })
}

impl Engine {
    /// Whether these pages are the proof against a liar; one that is new here is kept, and shown to the others.
    pub(super) fn handle_proof(&mut self, frames: &[Frame]) -> bool {
        let Some([lost, kept]) = proof(frames) else { return false };
        if self.replica.note_equivocation(kept, lost) {
            self.show_proof(kept.signer());
        }
        true
    }

    /// A liar was caught here.
    pub(super) fn show_proof(&mut self, liar: NodeId) {
        let Some(proof) = self.replica.equivocation(liar) else { return };
        let pages = [proof.lost.clone(), proof.kept.clone()];
        tracing::warn!(liar = %liar.short(), "a member signed two pages of one version: a copied key, or a lie");
        self.version += 1;
        for (peer, link) in self.links.iter_mut().filter(|(_, link)| link.greeted) {
            link.push_proof(pages.clone());
            self.ready.insert(*peer);
        }
    }
}
