//! What this node holds to be true: the join of all pages it has seen.
//!
//! A state-based CRDT (Shapiro et al., 2011): the state is a map from key to page, the join keeps the page with the
//! higher stamp, so merging is associative, commutative and idempotent, and applying pages one by one in any order
//! gives the same state. It implements the traits of the `crdts` crate. Its own `Map` is not used: it has no deltas,
//! and its `LWWReg` diverges on equal markers.
//!
//! Bounds: a writer may hold [`MAX_PAGES_PER_NODE`] pages, operators [`MAX_OPERATOR_PAGES`], a mesh
//! [`MAX_WRITERS`] writers. A page over a bound is refused; below the bounds the laws hold for any order.

use std::collections::{BTreeMap, BTreeSet};

use crdts::{CmRDT, CvRDT};

use crate::{
    id::NodeId,
    page::{Key, Owner, Page, Stamp, Table},
};

/// Pages one node may own: 100 claims and 1,000 services of 20 servers need about 330.
pub const MAX_PAGES_PER_NODE: usize = 1024;
/// Catalogue records of the whole mesh: 5,000 services with 20 servers each.
pub const MAX_OPERATOR_PAGES: usize = 100_000;
/// Nodes that are kept track of: the design's largest mesh, with room for those that left.
pub const MAX_WRITERS: usize = 20_000;

/// What became of a page that may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is newer than what was held, if anything was.
    New,
    /// It was held already.
    Duplicate,
    /// Something newer is held.
    Stale,
}

/// Why a page may not be stored at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Signed by a key that may not write there.
    #[error("{signer:?} may not write {key:?}")]
    NotTheOwner {
        /// Who signed.
        signer: NodeId,
        /// What it wrote to.
        key: Key,
    },
    /// The writer holds as many pages as it may.
    #[error("{owner:?} has reached its limit of {limit} pages")]
    TooManyPages {
        /// Whose limit.
        owner: Owner,
        /// The limit.
        limit: usize,
    },
    /// As many writers are known as may be.
    #[error("the mesh has reached its limit of {MAX_WRITERS} writers")]
    TooManyWriters,
}

/// Two pages of one key and version with different content: proof that the signer (or a copy of its key) lied.
#[derive(Clone, Debug)]
pub struct Equivocation {
    /// The page that is kept: the one with the higher hash.
    pub kept: Page,
    /// The other one.
    pub lost: Page,
}

/// The join of all pages seen.
#[derive(Clone, Debug)]
pub struct Replica {
    operators: BTreeSet<NodeId>,
    pages: BTreeMap<Key, Page>,
    held: BTreeMap<Owner, usize>,
    /// The first proof against each signer; bounded by the number of writers.
    equivocations: BTreeMap<NodeId, Equivocation>,
}

impl Replica {
    /// An empty replica of the mesh whose catalogue these keys may write.
    #[must_use]
    pub fn new(operators: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            operators: operators.into_iter().collect(),
            pages: BTreeMap::new(),
            held: BTreeMap::new(),
            equivocations: BTreeMap::new(),
        }
    }

    /// Stores the page if it may be stored and is newer.
    ///
    /// # Errors
    /// [`Refused`] if no replica may hold it; the state is untouched then.
    pub fn accept(&mut self, page: Page) -> Result<Accepted, Refused> {
        self.validate_op(&page)?;
        Ok(self.join(page))
    }

    fn join(&mut self, page: Page) -> Accepted {
        let key = page.key();
        let Some(held) = self.pages.get(&key) else {
            *self.held.entry(key.owner).or_default() += 1;
            self.pages.insert(key, page);
            return Accepted::New;
        };
        let (mine, theirs) = (held.stamp(), page.stamp());
        if mine == theirs {
            return Accepted::Duplicate;
        }
        if (mine.major, mine.minor) == (theirs.major, theirs.minor) && held.signer() == page.signer() {
            let (kept, lost) = if theirs > mine { (page.clone(), held.clone()) } else { (held.clone(), page.clone()) };
            self.equivocations.entry(page.signer()).or_insert(Equivocation { kept, lost });
        }
        if theirs < mine {
            return Accepted::Stale;
        }
        self.pages.insert(key, page);
        Accepted::New
    }

    /// The page of a key, if it is held and was not withdrawn.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Page> {
        self.pages.get(key).filter(|page| !page.body().is_empty())
    }

    /// The page of a key, withdrawn or not.
    #[must_use]
    pub fn page(&self, key: &Key) -> Option<&Page> {
        self.pages.get(key)
    }

    /// The version held of a key, withdrawn or not.
    #[must_use]
    pub fn stamp(&self, key: &Key) -> Option<Stamp> {
        self.pages.get(key).map(Page::stamp)
    }

    /// All pages in the order of their keys, withdrawn ones too.
    pub fn pages(&self) -> impl ExactSizeIterator<Item = &Page> {
        self.pages.values()
    }

    /// The pages of one owner, withdrawn ones too.
    pub fn of(&self, owner: Owner) -> impl Iterator<Item = &Page> {
        let first = Key { owner, table: Table(0), slot: crate::page::Slot([0; 16]) };
        self.pages.range(first..).take_while(move |(key, _)| key.owner == owner).map(|(_, page)| page)
    }

    /// A copy of the map, for readers on other threads.
    #[must_use]
    pub fn map(&self) -> BTreeMap<Key, Page> {
        self.pages.clone()
    }

    /// Proofs of equivocation, the first against each signer.
    pub fn equivocations(&self) -> impl Iterator<Item = &Equivocation> {
        self.equivocations.values()
    }
}

impl CmRDT for Replica {
    type Op = Page;
    type Validation = Refused;

    fn validate_op(&self, page: &Page) -> Result<(), Refused> {
        let key = page.key();
        let (may_write, limit) = match key.owner {
            Owner::Node(id) => (id == page.signer(), MAX_PAGES_PER_NODE),
            Owner::Operators => (self.operators.contains(&page.signer()), MAX_OPERATOR_PAGES),
        };
        if !may_write {
            return Err(Refused::NotTheOwner { signer: page.signer(), key });
        }
        match self.held.get(&key.owner) {
            None if key.owner != Owner::Operators && self.held.len() >= MAX_WRITERS => Err(Refused::TooManyWriters),
            Some(&held) if held >= limit && !self.pages.contains_key(&key) => {
                Err(Refused::TooManyPages { owner: key.owner, limit })
            }
            _ => Ok(()),
        }
    }

    fn apply(&mut self, page: Page) {
        // The trait has no way to refuse; `validate_op` is asked first, and what it refuses changes nothing here.
        let _ = self.accept(page);
    }
}

impl CvRDT for Replica {
    type Validation = Refused;

    fn validate_merge(&self, other: &Self) -> Result<(), Refused> {
        other.pages.values().try_for_each(|page| self.validate_op(page))
    }

    fn merge(&mut self, other: Self) {
        for page in other.pages.into_values() {
            self.apply(page);
        }
    }
}

/// Equal when they hold the same pages; proofs of equivocation depend on what each happened to see.
impl PartialEq for Replica {
    fn eq(&self, other: &Self) -> bool {
        self.pages == other.pages
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::page::Slot;

    fn writer(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn id(n: u8) -> NodeId {
        writer(n).verifying_key().into()
    }

    /// A page of writer `w` (0..3) or of the operators (w = 3, signed by either of two).
    fn page(w: u8, signer: u8, slot: u32, major: u64, minor: u64, body: u8) -> Page {
        let (owner, by) = if w < 3 { (Owner::Node(id(w)), w) } else { (Owner::Operators, 10 + signer % 2) };
        let key = Key { owner, table: Table(16), slot: Slot::page(slot) };
        Page::sign(&writer(by), key, major, minor, vec![body; usize::from(body)])
    }

    fn empty() -> Replica {
        Replica::new([id(10), id(11)])
    }

    /// Few keys, versions and contents, so that stale, equal and equivocating pages are common.
    fn pages() -> impl Strategy<Value = Vec<Page>> {
        let one = (0u8..4, 0u8..2, 0u32..3, 0u64..2, 0u64..3, 0u8..3)
            .prop_map(|(w, signer, slot, major, minor, body)| page(w, signer, slot, major, minor, body));
        prop::collection::vec(one, 0..12)
    }

    fn replica(pages: &[Page]) -> Replica {
        let mut replica = empty();
        for page in pages {
            replica.apply(page.clone());
        }
        replica
    }

    fn merged(mut a: Replica, b: Replica) -> Replica {
        a.merge(b);
        a
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn merge_is_associative(a in pages(), b in pages(), c in pages()) {
            let [a, b, c] = [replica(&a), replica(&b), replica(&c)];
            prop_assert_eq!(
                merged(merged(a.clone(), b.clone()), c.clone()),
                merged(a, merged(b, c))
            );
        }

        #[test]
        fn merge_is_commutative(a in pages(), b in pages()) {
            let [a, b] = [replica(&a), replica(&b)];
            prop_assert_eq!(merged(a.clone(), b.clone()), merged(b, a));
        }

        #[test]
        fn merge_is_idempotent(a in pages()) {
            let a = replica(&a);
            prop_assert_eq!(merged(a.clone(), a.clone()), a);
        }

        #[test]
        fn pages_in_any_order_and_number_give_the_merged_state(a in pages(), b in pages(), again in any::<prop::sample::Index>()) {
            let state = merged(replica(&a), replica(&b));
            let mut ops: Vec<Page> = a.into_iter().chain(b).rev().collect();
            if !ops.is_empty() {
                ops.push(ops[again.index(ops.len())].clone());
            }
            prop_assert_eq!(replica(&ops), state);
        }

        #[test]
        fn a_stamp_never_goes_down(ops in pages()) {
            let mut replica = empty();
            for page in ops {
                let before = replica.stamp(&page.key());
                replica.apply(page.clone());
                prop_assert!(replica.stamp(&page.key()) >= before);
            }
        }
    }

    #[test]
    fn nobody_writes_about_another() {
        let key = Key { owner: Owner::Node(id(1)), table: Table(16), slot: Slot::page(0) };
        let forged = Page::sign(&writer(2), key, 1, 1, vec![]);
        let mut replica = empty();
        assert_eq!(replica.accept(forged), Err(Refused::NotTheOwner { signer: id(2), key }));
        let key = Key { owner: Owner::Operators, ..key };
        let forged = Page::sign(&writer(1), key, 1, 1, vec![]);
        assert!(matches!(replica.accept(forged), Err(Refused::NotTheOwner { .. })));
        assert_eq!(replica, empty());
    }

    #[test]
    fn equivocation_converges_and_leaves_its_proof() {
        let (one, two) = (page(0, 0, 0, 1, 1, 1), page(0, 0, 0, 1, 1, 2));
        let (ab, ba) = (replica(&[one.clone(), two.clone()]), replica(&[two, one]));
        assert_eq!(ab, ba);
        for replica in [ab, ba] {
            let proof: Vec<_> = replica.equivocations().collect();
            assert_eq!(proof.len(), 1);
            assert!(proof[0].kept.stamp() > proof[0].lost.stamp());
        }
    }

    #[test]
    fn a_flooding_member_meets_its_limit_and_harms_nobody_else() {
        let mut replica = empty();
        let over = u32::try_from(MAX_PAGES_PER_NODE).unwrap();
        for slot in 0..over {
            replica.accept(page(0, 0, slot, 1, 1, 1)).unwrap();
        }
        assert!(matches!(replica.accept(page(0, 0, over, 1, 1, 1)), Err(Refused::TooManyPages { .. })));
        // Newer content of a page it holds, and another writer's pages, still pass.
        assert_eq!(replica.accept(page(0, 0, 3, 1, 2, 1)), Ok(Accepted::New));
        assert_eq!(replica.accept(page(1, 0, 0, 1, 1, 1)), Ok(Accepted::New));
    }
}
