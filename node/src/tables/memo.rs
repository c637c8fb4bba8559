//! Decoded pages, kept until the page changes: a view comes 50 times a second and nearly all of it is old.
//!
//! Bounded as the replica is: whoever holds this forgets the nodes whose pages are gone.

use std::{collections::BTreeMap, sync::Arc};

use nigh_gossip::{Key, NodeId, Owner, Page, Pages, Stamp, Table};

/// What the pages of one table said when they were last looked at.
pub struct Memo<T> {
    table: Table,
    decode: fn(&[u8]) -> Option<T>,
    held: BTreeMap<Key, (Stamp, Option<Arc<T>>)>,
}

impl<T> Memo<T> {
    /// For one table, with the function that reads a body.
    pub fn new(table: Table, decode: fn(&[u8]) -> Option<T>) -> Self {
        Self { table, decode, held: BTreeMap::new() }
    }

    /// The readable pages of one node, in the order of their slots.
    pub fn of_node(&mut self, pages: &Pages, node: NodeId) -> Vec<Arc<T>> {
        pages
            .of(Owner::Node(node))
            .skip_while(|page| page.key().table < self.table)
            .take_while(|page| page.key().table == self.table)
            .filter_map(|page| {
                let (stamp, value) =
                    self.held.entry(page.key()).or_insert_with(|| (page.stamp(), read(self.decode, page)));
                if *stamp != page.stamp() {
                    (*stamp, *value) = (page.stamp(), read(self.decode, page));
                }
                value.clone()
            })
            .collect()
    }

    /// Forgets what a node said that is no member any more.
    pub fn forget(&mut self, node: NodeId) {
        let of_node = |key: &Key| key.owner == Owner::Node(node);
        self.held.retain(|key, _| !of_node(key));
    }
}

fn read<T>(decode: fn(&[u8]) -> Option<T>, page: &Page) -> Option<Arc<T>> {
    if page.body().is_empty() {
        return None; // Withdrawn.
    }
    let value = decode(page.body());
    if value.is_none() {
        tracing::debug!(?page, "a page does not read; a newer version may have written it");
    }
    value.map(Arc::new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;
    use nigh_gossip::Slot;

    use super::*;

    #[test]
    fn pages_of_one_table_are_read_once_and_forgotten_with_their_writer() {
        let keys = [1, 2].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let ids = keys.each_ref().map(|key| NodeId::from(key.verifying_key()));
        let page = |writer: usize, table, slot, minor, body: &[u8]| {
            let key = Key { owner: Owner::Node(ids[writer]), table: Table(table), slot: Slot::page(slot) };
            Page::sign(&keys[writer], key, 1, minor, body.to_vec())
        };
        let pages: Pages = [
            page(0, 16, 0, 1, b"other"),
            page(0, 17, 0, 1, b"one"),
            page(0, 17, 1, 1, b""),
            page(0, 17, 2, 1, b"two"),
            page(0, 18, 0, 1, b"other"),
            page(1, 17, 0, 1, b"theirs"),
        ]
        .into_iter()
        .collect();
        let mut memo = Memo::new(Table(17), |body| Some(body.to_vec()));
        let first = memo.of_node(&pages, ids[0]);
        assert_eq!(first.iter().map(|body| body.as_slice()).collect::<Vec<_>>(), [b"one", b"two"]);
        assert!(Arc::ptr_eq(&first[0], &memo.of_node(&pages, ids[0])[0]), "decoded once");
        memo.of_node(&pages, ids[1]);
        assert_eq!(memo.held.len(), 4);
        memo.forget(ids[0]);
        assert_eq!(memo.held.len(), 1);
    }
}
