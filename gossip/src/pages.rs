//! The map from key to page, in a form that is cheap to hand out.
//!
//! 256 buckets, the same that repair compares; each is a vector in the order of the keys behind a counted pointer. A
//! reader on another thread takes a copy (256 pointers) and the writer copies a bucket only if it changes one that
//! somebody else still holds. A page costs eight bytes here, so a hundred thousand are no burden, and ten thousand
//! simulated nodes share what is equal.
//!
//! All pages of one node are in one bucket; those of the operators are spread, for there may be a hundred thousand.

use std::sync::Arc;

use crate::{
    page::{Key, Owner, Page, Slot, Table},
    repair::{self, BUCKETS},
};

/// An immutable or growing set of pages, at most one of each key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pages {
    nodes: Vec<Arc<Vec<Page>>>,
    operators: Vec<Arc<Vec<Page>>>,
    len: usize,
}

impl Default for Pages {
    fn default() -> Self {
        Self { nodes: vec![Arc::default(); BUCKETS], operators: vec![Arc::default(); BUCKETS], len: 0 }
    }
}

impl Pages {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The page of a key, withdrawn or not.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Page> {
        let bucket = self.bucket_of(key);
        bucket.binary_search_by(|page| page.key_ref().cmp(key)).ok().map(|at| &bucket[at])
    }

    /// All pages, withdrawn ones too; in the same order at every node that holds the same.
    pub fn iter(&self) -> impl Iterator<Item = &Page> {
        self.nodes.iter().chain(&self.operators).flat_map(|bucket| bucket.iter())
    }

    /// The pages of one owner, withdrawn ones too. A node's come in the order of table and slot.
    pub fn of(&self, owner: Owner) -> impl Iterator<Item = &Page> {
        let first = Key { owner, table: Table(0), slot: Slot([0; 16]) };
        let buckets = match owner {
            Owner::Node(_) => std::slice::from_ref(&self.nodes[usize::from(repair::bucket(&first))]),
            Owner::Operators => &self.operators[..],
        };
        buckets.iter().flat_map(move |bucket| {
            let from = bucket.partition_point(|page| *page.key_ref() < first);
            bucket[from..].iter().take_while(move |page| page.key_ref().owner == owner)
        })
    }

    /// The operators' pages, bucket by bucket, each in the order of its keys.
    pub(crate) fn operator_buckets(&self) -> impl Iterator<Item = &[Page]> {
        self.operators.iter().map(|bucket| &bucket[..])
    }

    /// The operators' pages of one table.
    pub fn of_operators(&self, table: Table) -> impl Iterator<Item = &Page> {
        self.of(Owner::Operators).filter(move |page| page.key_ref().table == table)
    }

    /// The pages in a bucket of repair.
    pub(crate) fn bucket(&self, bucket: u8) -> impl Iterator<Item = &Page> {
        let at = usize::from(bucket);
        self.nodes[at].iter().chain(self.operators[at].iter())
    }

    /// Puts a page in the place of its key.
    pub(crate) fn put(&mut self, page: Page) {
        let bucket = Arc::make_mut(self.bucket_mut(page.key_ref(), page.bucket()));
        match bucket.binary_search_by(|held| held.key_ref().cmp(page.key_ref())) {
            Ok(at) => bucket[at] = page,
            Err(at) => {
                bucket.insert(at, page);
                self.len += 1;
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        let bucket = Arc::make_mut(self.bucket_mut(key, usize::from(repair::bucket(key))));
        if let Ok(at) = bucket.binary_search_by(|page| page.key_ref().cmp(key)) {
            bucket.remove(at);
            self.len -= 1;
        }
    }

    fn bucket_of(&self, key: &Key) -> &[Page] {
        let at = usize::from(repair::bucket(key));
        if key.owner == Owner::Operators { &self.operators[at] } else { &self.nodes[at] }
    }

    fn bucket_mut(&mut self, key: &Key, at: usize) -> &mut Arc<Vec<Page>> {
        if key.owner == Owner::Operators { &mut self.operators[at] } else { &mut self.nodes[at] }
    }
}

impl FromIterator<Page> for Pages {
    fn from_iter<I: IntoIterator<Item = Page>>(all: I) -> Self {
        let mut pages = Self::default();
        all.into_iter().for_each(|page| pages.put(page));
        pages
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;

    fn page(writer: u8, slot: u8, version: u64) -> Page {
        let signing = SigningKey::from_bytes(&[writer + 1; 32]);
        let owner = if writer < 3 { Owner::Node(signing.verifying_key().into()) } else { Owner::Operators };
        let key = Key { owner, table: Table(u16::from(slot % 3)), slot: Slot::page(u32::from(slot)) };
        Page::sign(&signing, key, 1, version, vec![1])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_a_map(ops in prop::collection::vec((0u8..4, 0u8..9, 0u64..3, any::<bool>()), 0..40)) {
            let (mut pages, mut map) = (Pages::default(), BTreeMap::new());
            for (writer, slot, version, put) in ops {
                let page = page(writer, slot, version);
                let kept = pages.clone();
                if put {
                    pages.put(page.clone());
                    map.insert(page.key(), page);
                } else {
                    pages.remove(&page.key());
                    map.remove(&page.key());
                }
                prop_assert!(kept.len() == kept.iter().count(), "a copy stays what it was");
            }
            prop_assert_eq!(pages.len(), map.len());
            for page in map.values() {
                prop_assert_eq!(pages.get(&page.key()), Some(page));
            }
            let mut all: Vec<Key> = pages.iter().map(Page::key).collect();
            let buckets = (0..=255).flat_map(|bucket| pages.bucket(bucket)).count();
            prop_assert_eq!(buckets, all.len());
            all.sort_unstable();
            prop_assert_eq!(all, map.keys().copied().collect::<Vec<_>>());
            for writer in 0..4 {
                let owner = page(writer, 0, 0).key().owner;
                let mut of: Vec<Key> = pages.of(owner).map(Page::key).collect();
                prop_assert!(owner == Owner::Operators || of.is_sorted());
                of.sort_unstable();
                prop_assert_eq!(of, map.keys().filter(|key| key.owner == owner).copied().collect::<Vec<_>>());
            }
        }
    }
}
