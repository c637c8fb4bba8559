//! Decoded pages, kept until the page changes: a view comes 50 times a second and nearly all of it is old.

use std::{collections::BTreeMap, sync::Arc};

use nigh_gossip::{Key, NodeId, Owner, Page, Slot, Stamp, Table};

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
    pub fn of_node(&mut self, pages: &BTreeMap<Key, Page>, node: NodeId) -> Vec<Arc<T>> {
        let at = |slot| Key { owner: Owner::Node(node), table: self.table, slot: Slot(slot) };
        pages
            .range(at([0; 16])..=at([0xff; 16]))
            .filter_map(|(key, page)| {
                let (stamp, value) = self.held.entry(*key).or_insert_with(|| (page.stamp(), read(self.decode, page)));
                if *stamp != page.stamp() {
                    (*stamp, *value) = (page.stamp(), read(self.decode, page));
                }
                value.clone()
            })
            .collect()
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
