//! How much one writer may hold, and which of its pages stay when it writes more.
//!
//! Of a node's pages the first stay, in the order of table and slot, as many as fit both limits: so liveness (the lowest
//! tables) is never crowded out, and what stays is **a function of the pages, not of the order in which they came**.
//! First come, first served would leave every replica with other pages of a writer that writes too much, for ever, and
//! each round of repair with megabytes that nobody may take.
//!
//! Of the operators' pages appointments stay first, then revocations, then certificates, then the rest in order.
//!
//! **Invariant:** two replicas that hold the same pages below a key agree about that key; so, key by key, repair makes
//! them agree about all. A page that does not fit is refused and leaves what was held of its key as it was. Only for
//! a writer beyond its limits may a version that went come back older.

use crate::{
    page::{Key, Owner, Page, Table},
    pages::Pages,
    replica::Refused,
};

/// Pages one node may own: 100 claims and 1,000 services of 20 servers need about 330.
pub const MAX_PAGES_PER_NODE: usize = 1024;
/// Bytes of pages one node may own: four times what that many rows need.
pub const MAX_BYTES_PER_NODE: usize = 2 << 20;
/// Catalogue records, admissions and revocations of the whole mesh: 20,000 nodes that came and went, 3,000 services
/// with 20 servers each.
pub const MAX_OPERATOR_PAGES: usize = 100_000;

/// The limits of a replica; others than the usual ones only in tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    pub(crate) pages: usize,
    pub(crate) bytes: usize,
    pub(crate) operator_pages: usize,
}

impl Default for Quota {
    fn default() -> Self {
        Self { pages: MAX_PAGES_PER_NODE, bytes: MAX_BYTES_PER_NODE, operator_pages: MAX_OPERATOR_PAGES }
    }
}

impl Quota {
    /// Which pages go if this one comes in the place of `held`; `operators` are the pages held of theirs.
    ///
    /// # Errors
    /// [`Refused`] if it is the page itself that does not fit.
    pub(crate) fn make_room(
        &self,
        pages: &Pages,
        page: &Page,
        held: Option<&Page>,
        operators: usize,
    ) -> Result<Vec<Key>, Refused> {
        if held.is_some_and(|held| page.size() <= held.size()) {
            return Ok(Vec::new());
        }
        match page.key_ref().owner {
            Owner::Node(_) => self.among_a_nodes(pages, page),
            Owner::Operators if held.is_some() || operators < self.operator_pages => Ok(Vec::new()),
            Owner::Operators => {
                let last = last_of_operators(pages).filter(|last| order(page.key_ref()) < order(last));
                let limit = self.operator_pages;
                last.map(|last| vec![*last]).ok_or(Refused::TooManyPages { owner: Owner::Operators, limit })
            }
        }
    }

    fn among_a_nodes(&self, pages: &Pages, page: &Page) -> Result<Vec<Key>, Refused> {
        let owner = page.key_ref().owner;
        let (mut count, mut bytes) = (1, page.size());
        let others = || pages.of(owner).filter(|other| other.key_ref() != page.key_ref());
        let mut before = others().take_while(|other| other.key_ref() < page.key_ref());
        before.by_ref().for_each(|other| (count, bytes) = (count + 1, bytes + other.size()));
        if count > self.pages {
            return Err(Refused::TooManyPages { owner, limit: self.pages });
        }
        if bytes > self.bytes {
            return Err(Refused::TooManyBytes(owner));
        }
        let mut after = others().skip_while(|other| other.key_ref() < page.key_ref());
        let stay = after.by_ref().take_while(|other| {
            (count, bytes) = (count + 1, bytes + other.size());
            count <= self.pages && bytes <= self.bytes
        });
        let stay = stay.count();
        Ok(others().skip_while(|other| other.key_ref() < page.key_ref()).skip(stay).map(Page::key).collect())
    }

    /// For tests: a writer that holds more than it may.
    pub(crate) fn exceeded(&self, pages: &Pages, owner: Owner, operators: usize) -> bool {
        match owner {
            Owner::Operators => operators > self.operator_pages,
            Owner::Node(_) => {
                let all = pages.of(owner).fold((0, 0), |(n, bytes), page| (n + 1, bytes + page.size()));
                all.0 > self.pages || all.1 > self.bytes
            }
        }
    }
}

/// What goes first goes last: without the dismissals a key that was stolen would be back, and without the revocations a
/// node that was thrown out.
fn order(key: &Key) -> (u8, &Key) {
    let rank = match key.table {
        Table::OPERATOR => 0,
        Table::REVOCATION => 1,
        Table::ADMISSION => 2,
        _ => 3,
    };
    (rank, key)
}

/// A bucket that ends with a catalogue record ends with its last; so there is little to look at, however often a page
/// that does not fit is shown.
fn last_of_operators(pages: &Pages) -> Option<&Key> {
    let last_of = |bucket: &'_ [Page]| -> Option<usize> {
        let last = bucket.len().checked_sub(1)?;
        let ends = |at: &usize| order(bucket[*at].key_ref());
        if bucket[last].key_ref().table >= Table::FIRST_UNREAD {
            return Some(last);
        }
        (0..bucket.len()).max_by(|a, b| ends(a).cmp(&ends(b)))
    };
    let lasts = pages.operator_buckets().filter_map(|bucket| Some(bucket[last_of(bucket)?].key_ref()));
    lasts.max_by(|a, b| order(a).cmp(&order(b)))
}
