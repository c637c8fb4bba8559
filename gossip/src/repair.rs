//! Anti-entropy: two replicas find what differs in two round trips and a few kilobytes.
//!
//! Eventual delivery rests on this alone; spreading is only speed. Pages lie in 256 buckets. The asker sends a root over
//! the sums of all buckets; if it differs the answer is the 256 sums; the asker then lists eight bytes for each page in
//! the buckets that differ, and pages flow both ways (Demers et al., 1987, with a two-level digest).
//!
//! A sum adds the digests of a bucket's pages, so it is kept as pages come and go, and a quiet mesh compares without
//! looking at a page. Sums of numbers that a writer can choose can be made to collide, so once a minute the terms are
//! hashed under a fresh salt: nobody can craft pages that cancel out in it.
//!
//! What came in the last [`SETTLED`] is on its way to the other side as well: it is not given, and what it replaced is
//! listed too. Else each exchange in a busy mesh would carry again what spreading carries anyway.
//!
//! **Invariant:** one exchange lists at most [`MAX_DIGESTS`] pages, always of whole buckets, beginning with the first
//! differing one from a place that the salt picks. So each exchange makes progress, and buckets that can never agree
//! (a writer at its limit, whose pages are not the same everywhere) do not keep the others from their turn.
//!
//! Rejected: rateless IBLTs and range-based reconciliation (fewer bytes for large differences, far more code);
//! stamps instead of digests in a listing (six times the bytes).

use std::{collections::BTreeSet, time::Duration};

use crate::{
    page::{Key, Owner, Page},
    replica::Replica,
};

/// Buckets of the digest: a bucket holds about 200 pages at 10,000 nodes, and 256 sums fit two packets.
pub(crate) const BUCKETS: usize = 256;
/// Pages listed in one message: 256 KB, which a link takes without starving heartbeats for long.
pub(crate) const MAX_DIGESTS: usize = 32 * 1024;
/// A page this young is still spreading.
pub(crate) const SETTLED: Duration = Duration::from_secs(2);

/// A digest of a replica: as its sums are, or under a salt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    sums: Vec<u64>,
}

impl Digest {
    /// Salt 0 stands for the sums that are kept anyway; any other costs a walk over all pages.
    pub(crate) fn of(replica: &Replica, salt: u64) -> Self {
        if salt == 0 {
            return Self { sums: replica.sums().to_vec() };
        }
        let mut sums = vec![0u64; BUCKETS];
        for page in replica.pages().iter() {
            let sum = &mut sums[page.bucket()];
            *sum = sum.wrapping_add(term(salt, page));
        }
        Self { sums }
    }

    /// Sums as they came from a peer; none if there are not 256.
    pub(crate) fn from_sums(sums: Vec<u64>) -> Option<Self> {
        (sums.len() == BUCKETS).then_some(Self { sums })
    }

    pub(crate) fn into_sums(self) -> Vec<u64> {
        self.sums
    }

    pub(crate) fn root(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        for sum in &self.sums {
            hasher.update(&sum.to_be_bytes());
        }
        let mut root = [0; 16];
        root.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        root
    }

    /// The buckets that differ, all of them, from `first` onwards.
    pub(crate) fn differing<'a>(&'a self, other: &'a Self, first: u8) -> impl Iterator<Item = u8> + 'a {
        (0u8..=255)
            .map(move |step| first.wrapping_add(step))
            .filter(|&b| self.sums[usize::from(b)] != other.sums[usize::from(b)])
    }
}

/// Which bucket a key is in. Any fixed function does: a bucket that someone overfills costs only its own listing.
pub(crate) fn bucket(key: &Key) -> u8 {
    match key.owner {
        Owner::Node(id) => id.as_bytes()[8],
        Owner::Operators => {
            let slot = u128::from_be_bytes(key.slot.0) ^ (u128::from(key.table.0) << 64);
            slot.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()[0]
        }
    }
}

fn term(salt: u64, page: &Page) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&salt.to_be_bytes());
    hasher.update(&page.stamp().hash);
    hasher.update(&page.digest().to_be_bytes());
    let mut term = [0; 8];
    term.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_be_bytes(term)
}

/// Digests of all pages in as many of the wanted buckets as one message may list, bucket by bucket.
pub(crate) fn list(replica: &Replica, wanted: impl Iterator<Item = u8>, replaced: &[(u8, u64)]) -> Vec<Listed> {
    let mut lists = Vec::new();
    let mut listed = 0;
    for bucket in wanted {
        let mut digests: Vec<u64> = replica.pages().bucket(bucket).map(Page::digest).collect();
        digests.extend(replaced.iter().filter(|(of, _)| *of == bucket).map(|(_, digest)| digest));
        if !lists.is_empty() && listed + digests.len() > MAX_DIGESTS {
            break;
        }
        digests.truncate(MAX_DIGESTS);
        listed += digests.len();
        lists.push(Listed { bucket, digests });
    }
    lists
}

/// The digests of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which bucket.
    pub bucket: u8,
    /// All that the sender holds in it, or those that it wants.
    pub digests: Vec<u64>,
}

/// What a peer that listed these buckets lacks, and what it has that is not held here.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Pages that the peer lacks, what it needs first first.
    pub(crate) give: Vec<Page>,
    /// Digests of what the peer holds and I do not: newer, or older than mine. The peer will know once it has mine.
    pub(crate) want: Vec<Listed>,
}

/// `fresh` are the digests of pages that came less than [`SETTLED`] ago, `replaced` those that they replaced.
pub(crate) fn compare(
    replica: &Replica,
    theirs: &[Listed],
    fresh: &BTreeSet<u64>,
    replaced: &[(u8, u64)],
) -> Difference {
    let mut difference = Difference::default();
    for Listed { bucket, digests } in each_once(theirs) {
        let theirs: BTreeSet<u64> = digests.iter().copied().collect();
        let mut mine = BTreeSet::new();
        for page in replica.pages().bucket(*bucket) {
            mine.insert(page.digest());
            if !theirs.contains(&page.digest()) && !fresh.contains(&page.digest()) {
                difference.give.push(page.clone());
            }
        }
        mine.extend(replaced.iter().filter(|(of, _)| of == bucket).map(|(_, digest)| digest));
        let digests: Vec<u64> = theirs.difference(&mine).copied().collect();
        if !digests.is_empty() {
            difference.want.push(Listed { bucket: *bucket, digests });
        }
    }
    difference.give.sort_by_key(|page| page.key_ref().table.rank());
    difference
}

/// Each bucket once, as an honest peer lists it: a message has room for a hundred thousand names of the fullest one.
fn each_once(lists: &[Listed]) -> impl Iterator<Item = &Listed> {
    let mut seen = [false; BUCKETS];
    lists.iter().filter(move |listed| !std::mem::replace(&mut seen[usize::from(listed.bucket)], true))
}

/// The pages behind digests that a peer wants, if they are still held.
pub(crate) fn find(replica: &Replica, wanted: &[Listed]) -> Vec<Page> {
    let mut found = Vec::new();
    for Listed { bucket, digests } in each_once(wanted) {
        let digests: BTreeSet<u64> = digests.iter().copied().collect();
        found.extend(replica.pages().bucket(*bucket).filter(|page| digests.contains(&page.digest())).cloned());
    }
    found.sort_by_key(|page| page.key_ref().table.rank());
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        operator::{Appointment, Rights},
        page::{Slot, Table},
    };

    fn page(slot: u32, version: u64) -> Page {
        let signing = SigningKey::from_bytes(&[1; 32]);
        let key = Key { owner: Owner::Operators, table: Table(16), slot: Slot::page(slot) };
        Page::sign(&signing, key, 1, version, vec![1])
    }

    fn replica(pages: &[(u32, u64)]) -> Replica {
        let operator = SigningKey::from_bytes(&[1; 32]).verifying_key().into();
        let mut replica = Replica::new(operator, [operator]);
        for &(slot, version) in pages {
            replica.accept(page(slot, version)).unwrap();
        }
        replica
    }

    fn exchange(asker: &mut Replica, asked: &mut Replica, salt: u64) {
        let (mine, theirs) = (Digest::of(asker, salt), Digest::of(asked, salt));
        let lists = list(asker, mine.differing(&theirs, 77), &[]);
        let difference = compare(asked, &lists, &BTreeSet::new(), &[]);
        for page in difference.give {
            asker.accept(page).unwrap();
        }
        for page in find(asker, &difference.want) {
            asked.accept(page).unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// One exchange, whatever differs, leaves both sides equal; what was only older is not sent.
        #[test]
        fn an_exchange_leaves_both_sides_equal(
            a in prop::collection::vec((0u32..40, 0u64..3), 0..30),
            b in prop::collection::vec((0u32..40, 0u64..3), 0..30),
            salt in 0u64..3,
        ) {
            let (mut asker, mut asked) = (replica(&a), replica(&b));
            prop_assert_eq!(Digest::of(&asker, salt).root() == Digest::of(&asked, salt).root(), asker == asked);
            exchange(&mut asker, &mut asked, salt);
            prop_assert_eq!(asker, asked);
        }
    }

    #[test]
    fn what_is_still_spreading_is_neither_given_nor_wanted() {
        let (asker, asked) = (replica(&[(1, 1), (2, 2)]), replica(&[(1, 1), (2, 1), (3, 1)]));
        let (old, new) = (page(2, 1), page(3, 1));
        // The asker has just replaced an old version; the asked has just got a new page.
        let lists = list(&asker, 0..=255, &[(u8::try_from(old.bucket()).unwrap(), old.digest())]);
        let fresh = BTreeSet::from([new.digest()]);
        let difference = compare(&asked, &lists, &fresh, &[]);
        assert_eq!(difference.give, []);
        assert_eq!(difference.want.iter().map(|listed| listed.digests.len()).sum::<usize>(), 1);
    }

    #[test]
    fn one_that_lacks_all_gets_admissions_first() {
        let operator = SigningKey::from_bytes(&[1; 32]);
        let mut full = replica(&[(1, 1)]);
        let node = SigningKey::from_bytes(&[2; 32]);
        let id = node.verifying_key().into();
        let certificate =
            crate::admission::Certificate { node: id, name: "a".into(), serial: 1, prefixes: vec![], not_after: 0 };
        full.accept(certificate.sign(&operator, 1, 1)).unwrap();
        for table in [Table::RTT, Table(17), Table::MEMBER] {
            let key = Key { owner: Owner::Node(id), table, slot: Slot::page(0) };
            full.accept(Page::sign(&node, key, 1, 1, vec![])).unwrap();
        }
        let appointed = Appointment { operator: id, name: "k".into(), appointed: true, rights: Rights::ALL };
        full.accept(appointed.sign(&operator, 1, 1)).unwrap();
        let lists: Vec<Listed> = (0..=255).map(|bucket| Listed { bucket, digests: vec![] }).collect();
        let given = compare(&full, &lists, &BTreeSet::new(), &[]).give;
        let order: Vec<Table> = given.iter().map(|page| page.key().table).collect();
        assert_eq!(order, [Table::OPERATOR, Table::ADMISSION, Table::MEMBER, Table(16), Table(17), Table::RTT]);
    }

    #[test]
    fn a_peer_that_sends_too_few_sums_is_not_believed() {
        assert!(Digest::from_sums(vec![0; 255]).is_none());
    }
}
