//! What this node holds to be true: the join of all pages it has seen.
//!
//! A state-based CRDT (Shapiro et al., 2011): the state is a map from key to page, the join keeps the page with the
//! higher stamp, so merging is associative, commutative and idempotent, and applying pages one by one in any order
//! gives the same state. It implements the traits of the `crdts` crate. Its own `Map` is not used: it has no deltas,
//! and its `LWWReg` diverges on equal markers.
//!
//! **Invariant:** pages of a node are held only while a certificate admits it (its own, always), and pages of the
//! operators only while their signer [may sign them](crate::operator). What comes before its writer's certificate, or
//! its signer's appointment, is refused, not kept aside, and repair brings it again; a revocation or a dismissal removes
//! what is held. So two replicas that hold the same appointments and admissions and are offered the same pages hold the
//! same pages.
//!
//! Bounds: each writer has a [quota](crate::quota), and there are as many writers as the operators admitted. The laws hold
//! for any order while writers keep within it and no signer loses a right. Beyond that replicas that hear each other
//! still come to hold the same: what one of them had to drop, a page that was under the one which had to go too,
//! another may have kept, and hands on. (So an edit that a dismissed key made of an older record may leave the older one,
//! or none; that is why the edit is signed anew before the key is dismissed.)

use std::collections::{BTreeMap, BTreeSet};

use crdts::{CmRDT, CvRDT};

use crate::{
    admission::{self, Certificate},
    id::NodeId,
    operator::{self, Moved, Operators, Rights},
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
    /// A page of the operators, signed by a key that the root did not appoint for it, or has dismissed.
    #[error("{signer:?} may not write {key:?} for the operators: it is no key that the root appointed for that")]
    NotAppointed {
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
    operators: Operators,
    pages: Pages,
    operator_pages: usize,
    /// Sum of the digests in each bucket, kept as pages come and go.
    sums: Vec<u64>,
    /// The first proof against each signer; bounded by the number of writers.
    equivocations: BTreeMap<NodeId, Equivocation>,
    quota: Quota,
    /// Pages that had to go since this was last asked: for others of the same writer, or because their signer lost the
    /// right to them.
    gone: Vec<Page>,
    /// Keys that may sign more since this was last asked.
    gained: BTreeSet<NodeId>,
}

impl Replica {
    /// An empty replica at `me` of the mesh whose operators these root keys are, and whom they appoint.
    #[must_use]
    pub fn new(me: NodeId, roots: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            me,
            operators: Operators::new(roots),
            pages: Pages::default(),
            operator_pages: 0,
            sums: vec![0; BUCKETS],
            equivocations: BTreeMap::new(),
            quota: Quota::default(),
            gone: Vec::new(),
            gained: BTreeSet::new(),
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
            self.drop_all(&go);
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
        self.drop_all(&go);
        Ok(Accepted::New)
    }

    fn make_room(&self, page: &Page, held: Option<&Page>) -> Result<Vec<Key>, Refused> {
        self.quota.make_room(&self.pages, page, held, self.operator_pages)
    }

    fn drop_all(&mut self, keys: &[Key]) {
        for key in keys {
            let Some(page) = self.pages.get(key).cloned() else { continue };
            self.remove(&page);
            self.gone.push(page);
        }
    }

    /// Pages that had to go since this was last asked.
    pub(crate) fn take_gone(&mut self) -> Vec<Page> {
        std::mem::take(&mut self.gone)
    }

    /// Keys that may sign more of the operators' pages since this was last asked.
    pub(crate) fn take_gained(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.gained)
    }

    fn remove(&mut self, page: &Page) {
        let sum = &mut self.sums[page.bucket()];
        *sum = sum.wrapping_sub(page.digest());
        self.pages.remove(page.key_ref());
        if page.key_ref().owner == Owner::Operators {
            self.operator_pages -= 1;
            self.appoint(Some(page), None);
        }
    }

    fn put(&mut self, page: Page, held: Option<&Page>) {
        let sum = &mut self.sums[page.bucket()];
        *sum = sum.wrapping_add(page.digest()).wrapping_sub(held.map_or(0, Page::digest));
        self.pages.put(page.clone());
        if page.key_ref().owner == Owner::Operators {
            self.operator_pages += usize::from(held.is_none());
            self.appoint(held, Some(&page));
        }
    }

    /// An appointment came, went, or took the place of another: pages that their signer may sign no more go. Looks at all
    /// pages of the operators, once for each key that loses a right.
    fn appoint(&mut self, before: Option<&Page>, after: Option<&Page>) {
        if before.or(after).is_none_or(|page| page.key_ref().table != Table::OPERATOR) {
            return;
        }
        let Moved { lost, gained } = self.operators.replace(before, after);
        self.gained.extend(gained);
        if !lost.is_empty() {
            let all = self.pages.of(Owner::Operators);
            let over = all.filter(|page| lost.contains(&page.signer()) && self.may_sign(page).is_err());
            let over: Vec<Key> = over.map(Page::key).collect();
            self.drop_all(&over);
        }
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
        if self.operators != self.operators.anew(self.pages.of_operators(Table::OPERATOR)) {
            return Some("who is appointed is not what the pages say".into());
        }
        let holds = sums == self.sums && len == self.pages.len() && operators == self.operator_pages;
        (!holds).then(|| format!("sums {:?}, {len} pages, {operators} of operators", sums == self.sums))
    }

    /// Keys that may write for the operators beside the root, and what.
    #[must_use]
    pub fn appointed(&self) -> &BTreeMap<NodeId, Rights> {
        self.operators.appointed()
    }

    /// Whether this key may sign the operators' pages of this table.
    #[must_use]
    pub fn may_operate(&self, key: NodeId, table: Table) -> bool {
        self.operators.may_sign(key, table)
    }

    /// The page that shows why this key may write for the operators; none for the root, which needs no such word.
    #[must_use]
    pub fn appointment(&self, key: NodeId) -> Option<&Page> {
        self.page(&operator::key(key)).filter(|_| !self.operators.is_root(key))
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
        match key.owner {
            Owner::Node(id) if id == signer => Ok(()),
            Owner::Operators if self.operators.may_sign(signer, key.table) => Ok(()),
            // No appointment gives the right to this one, so none is waited for.
            Owner::Operators if key.table != Table::OPERATOR => Err(Refused::NotAppointed { signer, key }),
            Owner::Operators | Owner::Node(_) => Err(Refused::NotTheOwner { signer, key }),
        }
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
        let held = self.page(page.key_ref()).cloned();
        let _ = self.accept(page.clone());
        let gone = self.take_gone();
        self.gained.clear();
        let nodes: BTreeSet<NodeId> = gone.iter().chain(&held).chain([&page]).filter_map(admission::whose).collect();
        for node in nodes {
            if node != self.me && !self.is_admitted(node) {
                self.purge(node);
            }
        }
    }
}

impl CvRDT for Replica {
    type Validation = Refused;

    fn validate_merge(&self, other: &Self) -> Result<(), Refused> {
        other.pages.iter().try_for_each(|page| self.validate_op(page))
    }

    fn merge(&mut self, other: Self) {
        let mut all: Vec<&Page> = other.pages.iter().collect();
        all.sort_by_key(|page| page.key_ref().precedence());
        for page in all {
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
mod tests;
