//! What this node holds to be true: the join of all pages it has seen.
//!
//! A state-based CRDT (Shapiro et al., 2011): the state is a map from key to page, the join keeps the page with the
//! higher stamp, so merging is associative, commutative and idempotent, and applying pages one by one in any order
//! gives the same state. It implements the traits of the `crdts` crate. Its own `Map` is not used: it has no deltas,
//! and its `LWWReg` diverges on equal markers.
//!
//! **Invariant:** pages of a node are held only while a certificate admits it (its own, always). A page that comes
//! before its writer's certificate is refused, not kept aside, and repair brings it again; a revocation removes what is
//! held. So two replicas that hold the same admissions and are offered the same pages hold the same pages.
//!
//! Bounds: each writer has a [quota](crate::quota), and there are as many writers as the operator admitted. Below it the
//! laws hold for any order; above it replicas that hear each other still come to hold the same.

use std::collections::{BTreeMap, BTreeSet};

use crdts::{CmRDT, CvRDT};

use crate::{
    admission::{self, Certificate},
    id::NodeId,
    page::{Key, Owner, Page, Stamp, Table},
    pages::Pages,
    quota::{MAX_BYTES_PER_NODE, Quota},
    repair::BUCKETS,
};

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
    /// The writer is not a member, or not any more.
    #[error("{0:?} is not admitted to this mesh; admit it with `nigh admit`")]
    NotAdmitted(NodeId),
    /// The writer holds as many pages as it may.
    #[error("{owner:?} has reached its limit of {limit} pages")]
    TooManyPages {
        /// Whose limit.
        owner: Owner,
        /// The limit.
        limit: usize,
    },
    /// The writer's pages hold as much as they may.
    #[error("{0:?} has reached its limit of {MAX_BYTES_PER_NODE} bytes")]
    TooManyBytes(Owner),
}

/// Two pages of one key and version with different content: proof that the signer (or a copy of its key) lied.
#[derive(Clone, Debug)]
pub struct Equivocation {
    /// The page that is kept: the one with the higher hash.
    pub kept: Page,
    /// The other one.
    pub lost: Page,
}

/// What is known of a node's right to be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission<'a> {
    /// No operator spoke of it.
    Unknown,
    /// It is a member.
    Admitted(&'a Certificate),
    /// It was one.
    Revoked,
}

/// The join of all pages seen.
#[derive(Clone, Debug)]
pub struct Replica {
    me: NodeId,
    operators: BTreeSet<NodeId>,
    pages: Pages,
    operator_pages: usize,
    /// Sum of the digests in each bucket, kept as pages come and go.
    sums: Vec<u64>,
    /// The first proof against each signer; bounded by the number of writers.
    equivocations: BTreeMap<NodeId, Equivocation>,
    quota: Quota,
    /// Pages that had to go since this was last asked, for others of the same writer.
    crowded_out: Vec<Page>,
}

impl Replica {
    /// An empty replica at `me` of the mesh whose catalogue and admissions these keys may write.
    #[must_use]
    pub fn new(me: NodeId, operators: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            me,
            operators: operators.into_iter().collect(),
            pages: Pages::default(),
            operator_pages: 0,
            sums: vec![0; BUCKETS],
            equivocations: BTreeMap::new(),
            quota: Quota::default(),
            crowded_out: Vec::new(),
        }
    }

    /// The same at another node.
    pub(crate) fn at(self, me: NodeId) -> Self {
        Self { me, ..self }
    }

    /// Stores the page if it may be stored and is newer.
    ///
    /// # Errors
    /// [`Refused`] if no replica may hold it; the state is untouched then.
    pub fn accept(&mut self, page: Page) -> Result<Accepted, Refused> {
        let Some(held) = self.pages.get(page.key_ref()) else {
            self.may_write(&page)?;
            let go = self.make_room(&page, None)?;
            self.put(page, None);
            self.crowd_out(&go);
            return Ok(Accepted::New);
        };
        // A page of this key is held, so a node that owns it is a member: no need to look again.
        self.may_sign(&page)?;
        let (mine, theirs) = (held.stamp(), page.stamp());
        if mine == theirs {
            return Ok(Accepted::Duplicate);
        }
        let held = held.clone();
        if (mine.major, mine.minor) == (theirs.major, theirs.minor) && held.signer() == page.signer() {
            let (kept, lost) = if theirs > mine { (&page, &held) } else { (&held, &page) };
            self.note_equivocation(kept, lost);
        }
        if theirs < mine {
            return Ok(Accepted::Stale);
        }
        let go = self.make_room(&page, Some(&held))?;
        self.put(page, Some(&held));
        self.crowd_out(&go);
        Ok(Accepted::New)
    }

    fn make_room(&self, page: &Page, held: Option<&Page>) -> Result<Vec<Key>, Refused> {
        self.quota.make_room(&self.pages, page, held, self.operator_pages)
    }

    fn crowd_out(&mut self, go: &[Key]) {
        for key in go {
            let Some(page) = self.pages.get(key).cloned() else { continue };
            self.remove(&page);
            self.crowded_out.push(page);
        }
    }

    /// Pages that had to go since this was last asked.
    pub(crate) fn take_crowded_out(&mut self) -> Vec<Page> {
        std::mem::take(&mut self.crowded_out)
    }

    fn remove(&mut self, page: &Page) {
        let sum = &mut self.sums[page.bucket()];
        *sum = sum.wrapping_sub(page.digest());
        if page.key_ref().owner == Owner::Operators {
            self.operator_pages -= 1;
        }
        self.pages.remove(page.key_ref());
    }

    fn put(&mut self, page: Page, held: Option<&Page>) {
        let sum = &mut self.sums[page.bucket()];
        *sum = sum.wrapping_add(page.digest()).wrapping_sub(held.map_or(0, Page::digest));
        if held.is_none() && page.key().owner == Owner::Operators {
            self.operator_pages += 1;
        }
        self.pages.put(page);
    }

    /// For tests: what is kept beside the pages and is not what they give, or who is held and may not be.
    pub(crate) fn inconsistency(&self) -> Option<String> {
        let mut sums = vec![0u64; BUCKETS];
        let (mut len, mut operators) = (0, 0);
        for page in self.pages.iter() {
            sums[page.bucket()] = sums[page.bucket()].wrapping_add(page.digest());
            len += 1;
            operators += usize::from(page.key().owner == Owner::Operators);
            if let Err(refused) = self.may_write(page) {
                return Some(format!("{page:?} is held, and {refused}"));
            }
            if self.pages.get(page.key_ref()) != Some(page) {
                return Some(format!("{page:?} is held where it is not found"));
            }
        }
        let owners: BTreeSet<Owner> = self.pages.iter().map(|page| page.key_ref().owner).collect();
        if let Some(owner) = owners.iter().find(|owner| self.quota.exceeded(&self.pages, **owner, operators)) {
            return Some(format!("{owner:?} holds more than it may"));
        }
        let holds = sums == self.sums && len == self.pages.len() && operators == self.operator_pages;
        (!holds).then(|| format!("sums {:?}, {len} pages, {operators} of operators", sums == self.sums))
    }

    /// Removes all pages of a node that was revoked; says which keys they had.
    pub(crate) fn purge(&mut self, node: NodeId) -> Vec<Key> {
        let gone: Vec<Page> = self.pages.of(Owner::Node(node)).cloned().collect();
        gone.iter().for_each(|page| self.remove(page));
        gone.iter().map(Page::key).collect()
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

    /// All pages, withdrawn ones too. Cloning it is cheap: readers on other threads take a copy.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Sum of the digests of each of the 256 buckets.
    pub(crate) fn sums(&self) -> &[u64] {
        &self.sums
    }

    /// What is known of a node's right to be here.
    #[must_use]
    pub fn admission(&self, node: NodeId) -> Admission<'_> {
        let certificate = self.page(&admission::key(Table::ADMISSION, node));
        let revocation = self.page(&admission::key(Table::REVOCATION, node));
        let admits = certificate.and_then(|page| Some((page.stamp(), page.certificate()?)));
        match (admits.filter(|(_, certificate)| certificate.node == node), revocation.map(Page::stamp)) {
            (Some((admitted, certificate)), revoked) if revoked.is_none_or(|revoked| revoked < admitted) => {
                Admission::Admitted(certificate)
            }
            (_, Some(_)) => Admission::Revoked,
            (_, None) => Admission::Unknown,
        }
    }

    /// Whether pages of this node are stored and links to it kept.
    #[must_use]
    pub fn is_admitted(&self, node: NodeId) -> bool {
        matches!(self.admission(node), Admission::Admitted(_))
    }

    /// The certificates that hold.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        let all = self.pages.of_operators(Table::ADMISSION).filter_map(Page::certificate);
        all.filter(|certificate| self.is_admitted(certificate.node))
    }

    /// Proofs of equivocation, the first against each signer.
    pub fn equivocations(&self) -> impl Iterator<Item = &Equivocation> {
        self.equivocations.values()
    }

    /// The first proof against this signer.
    pub(crate) fn equivocation(&self, signer: NodeId) -> Option<&Equivocation> {
        self.equivocations.get(&signer)
    }

    /// Keeps two pages of one key and version if they are the first proof against a signer that may write here; says
    /// whether they are.
    pub(crate) fn note_equivocation(&mut self, kept: &Page, lost: &Page) -> bool {
        if self.equivocations.contains_key(&kept.signer()) || self.may_write(kept).is_err() {
            return false;
        }
        self.equivocations.insert(kept.signer(), Equivocation { kept: kept.clone(), lost: lost.clone() });
        true
    }

    fn may_sign(&self, page: &Page) -> Result<(), Refused> {
        let (key, signer) = (page.key(), page.signer());
        let may = match key.owner {
            Owner::Node(id) => id == signer,
            Owner::Operators => self.operators.contains(&signer),
        };
        if may { Ok(()) } else { Err(Refused::NotTheOwner { signer, key }) }
    }

    fn may_write(&self, page: &Page) -> Result<(), Refused> {
        self.may_sign(page)?;
        match page.key().owner {
            Owner::Node(id) if id != self.me && !self.is_admitted(id) => Err(Refused::NotAdmitted(id)),
            _ => Ok(()),
        }
    }
}

impl CmRDT for Replica {
    type Op = Page;
    type Validation = Refused;

    fn validate_op(&self, page: &Page) -> Result<(), Refused> {
        self.may_write(page)?;
        self.make_room(page, self.pages.get(page.key_ref())).map(drop)
    }

    fn apply(&mut self, page: Page) {
        // The trait has no way to refuse; `validate_op` is asked first, and what it refuses changes nothing here.
        let ends = (page.key().table == Table::REVOCATION).then(|| admission::read_revocation(&page)).flatten();
        let _ = self.accept(page);
        self.crowded_out.clear();
        if let Some(node) = ends.filter(|node| *node != self.me && !self.is_admitted(*node)) {
            self.purge(node);
        }
    }
}

impl CvRDT for Replica {
    type Validation = Refused;

    fn validate_merge(&self, other: &Self) -> Result<(), Refused> {
        other.pages.iter().try_for_each(|page| self.validate_op(page))
    }

    fn merge(&mut self, other: Self) {
        // Admissions first: they decide about the rest.
        let (operators, nodes): (Vec<&Page>, Vec<&Page>) =
            other.pages.iter().partition(|page| page.key().owner == Owner::Operators);
        for page in operators.into_iter().chain(nodes) {
            self.apply(page.clone());
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
    use crate::{page::Slot, quota::MAX_PAGES_PER_NODE};

    fn writer(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn id(n: u8) -> NodeId {
        writer(n).verifying_key().into()
    }

    fn certificate(w: u8, at: u64) -> Page {
        let serial = u64::from(w);
        Certificate { node: id(w), name: format!("n{w}"), serial, prefixes: vec![], not_after: 0 }.sign(
            &writer(10),
            at,
            0,
        )
    }

    /// A page of writer `w` (0..3) or of the operators (w = 3, signed by either of two).
    fn page(w: u8, signer: u8, slot: u32, major: u64, minor: u64, body: u8) -> Page {
        let (owner, by) = if w < 3 { (Owner::Node(id(w)), w) } else { (Owner::Operators, 10 + signer % 2) };
        let key = Key { owner, table: Table(16), slot: Slot::page(slot) };
        Page::sign(&writer(by), key, major, minor, vec![body; usize::from(body)])
    }

    /// A replica that knows its three members.
    fn empty() -> Replica {
        let mut replica = Replica::new(id(99), [id(10), id(11)]);
        (0..3).for_each(|w| assert_eq!(replica.accept(certificate(w, 5)), Ok(Accepted::New)));
        replica
    }

    /// Few keys, versions and contents, so that stale, equal and equivocating pages are common. Now and then a member
    /// is revoked, before or after its certificate's stamp.
    fn pages() -> impl Strategy<Value = Vec<Page>> {
        let one = (0u8..4, 0u8..2, 0u32..3, 0u64..2, 0u64..3, 0u8..3, 0u8..12).prop_map(
            |(w, signer, slot, major, minor, body, revoke)| match revoke {
                0 => admission::revoke(&writer(10), id(w % 3), 5 + minor, 1),
                1 => admission::revoke(&writer(10), id(w % 3), minor, 1),
                _ => page(w, signer, slot, major, minor, body),
            },
        );
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

    /// The sums that are kept, counted anew.
    fn sums(replica: &Replica) -> Vec<u64> {
        let mut sums = vec![0u64; BUCKETS];
        for page in replica.pages().iter() {
            sums[page.bucket()] = sums[page.bucket()].wrapping_add(page.digest());
        }
        sums
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
            prop_assert_eq!(sums(&state), state.sums());
            prop_assert_eq!(replica(&ops), state);
        }

        #[test]
        fn a_stamp_never_goes_down_while_its_writer_is_a_member(ops in pages()) {
            let mut replica = empty();
            for page in ops {
                let before = replica.stamp(&page.key());
                replica.apply(page.clone());
                let member = match page.key().owner { Owner::Node(id) => replica.is_admitted(id), Owner::Operators => true };
                prop_assert!(!member || replica.stamp(&page.key()) >= before);
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
    fn strangers_store_nothing_and_the_revoked_nothing_more() {
        let mut replica = empty();
        let key = Key { owner: Owner::Node(id(50)), table: Table(16), slot: Slot::page(0) };
        let page_of_a_stranger = Page::sign(&writer(50), key, 1, 1, vec![1]);
        assert_eq!(replica.accept(page_of_a_stranger), Err(Refused::NotAdmitted(id(50))));
        replica.apply(page(1, 0, 0, 1, 1, 1));
        replica.apply(admission::revoke(&writer(10), id(1), 6, 0));
        assert_eq!(replica.admission(id(1)), Admission::Revoked);
        assert_eq!(replica.pages().of(Owner::Node(id(1))).count(), 0);
        assert_eq!(replica.accept(page(1, 0, 0, 1, 2, 1)), Err(Refused::NotAdmitted(id(1))));
        assert_eq!(sums(&replica), replica.sums());
        // An old certificate that somebody kept does not help; a new one does.
        assert_eq!(replica.accept(certificate(1, 4)), Ok(Accepted::Stale));
        assert_eq!(replica.accept(certificate(1, 7)), Ok(Accepted::New));
        assert_eq!(replica.accept(page(1, 0, 0, 1, 2, 1)), Ok(Accepted::New));
    }

    #[test]
    fn a_node_holds_its_own_pages_before_anyone_admits_it() {
        let mut replica = Replica::new(id(1), [id(10)]);
        assert_eq!(replica.accept(page(1, 0, 0, 1, 1, 1)), Ok(Accepted::New));
        assert_eq!(replica.admission(id(1)), Admission::Unknown);
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Writers over their limits, sizes that grow and shrink: two replicas that tell each other all they hold, a few
        /// times, hold the same.
        #[test]
        fn beyond_the_limits_replicas_agree_as_well(
            a in prop::collection::vec((0u32..12, 0u64..6, 0u8..200), 0..30),
            b in prop::collection::vec((0u32..12, 0u64..6, 0u8..200), 0..30),
        ) {
            let quota = Quota { pages: 6, bytes: 2500, operator_pages: 5 };
            let filled = |pages: &[(u32, u64, u8)]| {
                let mut replica = Replica { quota, ..empty() };
                for (slot, minor, body) in pages {
                    replica.apply(page(0, 0, *slot, 1, *minor, *body));
                    replica.apply(page(3, 0, *slot, 1, *minor, 1));
                }
                replica
            };
            let (mut a, mut b) = (filled(&a), filled(&b));
            for _ in 0..13 {
                (a, b) = (merged(a.clone(), b.clone()), merged(b, a));
            }
            prop_assert_eq!(&a, &b);
            prop_assert_eq!(a.inconsistency(), None);
            prop_assert_eq!(a.certificates().count(), 3, "what else operators write does not end a membership");
        }
    }

    #[test]
    fn a_flooding_member_meets_its_limits_and_harms_nobody_else() {
        let mut replica = empty();
        let over = u32::try_from(MAX_PAGES_PER_NODE).unwrap();
        for slot in 0..over {
            replica.accept(page(0, 0, slot, 1, 1, 1)).unwrap();
        }
        assert!(matches!(replica.accept(page(0, 0, over, 1, 1, 1)), Err(Refused::TooManyPages { .. })));
        // Newer content of a page it holds, and another writer's pages, still pass.
        assert_eq!(replica.accept(page(0, 0, 3, 1, 2, 1)), Ok(Accepted::New));
        let large = |slot| {
            let key = Key { owner: Owner::Node(id(1)), table: Table(16), slot: Slot::page(slot) };
            Page::sign(&writer(1), key, 1, 1, vec![1; crate::page::MAX_BODY])
        };
        let stored = (0..over).take_while(|slot| replica.accept(large(*slot)).is_ok()).count();
        assert!((200..256).contains(&stored), "{stored} pages of 8 KB");
        assert!(matches!(replica.accept(large(over)), Err(Refused::TooManyBytes(_))));
    }
}
