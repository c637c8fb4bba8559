//! Anti-entropy: two replicas find what differs in two round trips and a few kilobytes.
//!
//! Eventual delivery rests on this alone; flooding is only speed. Pages are spread over 256 buckets by a hash of their
//! key. The asker sends a root over all; if it differs the answer is 256 bucket sums; the asker then lists the stamps
//! of the buckets that differ, and pages flow both ways (Demers et al., 1987, with a two-level digest).
//!
//! A sum adds keyed hashes of (key, stamp), so it needs no order and no sorting. The salt is fresh for each exchange:
//! nobody can craft pages that cancel out in it.
//!
//! **Invariant:** one exchange lists at most [`MAX_STAMPS`] stamps, always of whole buckets, beginning with the first
//! differing one from a place that the salt picks. So each exchange makes progress, and buckets that can never agree
//! (a writer at its limit, whose pages are not the same everywhere) do not keep the others from their turn.

use crate::{
    page::{Key, Page, Stamp},
    replica::Replica,
};

/// Buckets of the digest: a bucket holds about 200 pages at 10,000 nodes, and 256 sums fit two packets.
pub(crate) const BUCKETS: usize = 256;
/// Stamps in one message: about 200 KB, which a link takes without starving heartbeats for long.
pub(crate) const MAX_STAMPS: usize = 2048;

/// A digest of a replica under one salt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    sums: Vec<u64>,
}

impl Digest {
    pub(crate) fn of(replica: &Replica, salt: u64) -> Self {
        let mut sums = vec![0u64; BUCKETS];
        for page in replica.pages() {
            let sum = &mut sums[usize::from(page.bucket())];
            *sum = sum.wrapping_add(term(salt, page));
        }
        Self { sums }
    }

    /// Sums as they came from a peer; none if there are not 256.
    pub(crate) fn from_sums(sums: Vec<u64>) -> Option<Self> {
        (sums.len() == BUCKETS).then_some(Self { sums })
    }

    pub(crate) fn sums(&self) -> &[u64] {
        &self.sums
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

    /// The buckets that differ, all of them, from one that the salt picks onwards.
    pub(crate) fn differing<'a>(&'a self, other: &'a Self, salt: u64) -> impl Iterator<Item = u8> + 'a {
        let first = salt.to_be_bytes()[0];
        (0u8..=255)
            .map(move |step| first.wrapping_add(step))
            .filter(|&b| self.sums[usize::from(b)] != other.sums[usize::from(b)])
    }
}

/// Which bucket a key is in. Any fixed hash does: a bucket that someone overfills costs only its own listing.
pub(crate) fn bucket(key: &Key) -> u8 {
    let mut hasher = blake3::Hasher::new();
    absorb(&mut hasher, key);
    hasher.finalize().as_bytes()[0]
}

fn term(salt: u64, page: &Page) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&salt.to_be_bytes());
    absorb(&mut hasher, &page.key());
    let Stamp { major, minor, hash } = page.stamp();
    hasher.update(&major.to_be_bytes());
    hasher.update(&minor.to_be_bytes());
    hasher.update(&hash);
    let mut term = [0; 8];
    term.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_be_bytes(term)
}

fn absorb(hasher: &mut blake3::Hasher, key: &Key) {
    match key.owner {
        crate::page::Owner::Node(id) => hasher.update(id.as_bytes()),
        crate::page::Owner::Operators => hasher.update(&[0; 32]),
    };
    hasher.update(&key.table.0.to_be_bytes());
    hasher.update(&key.slot.0);
}

/// The stamps of as many of the wanted buckets as one message may list, and which buckets those are.
pub(crate) fn list(replica: &Replica, wanted: impl Iterator<Item = u8>) -> (Vec<u8>, Vec<(Key, Stamp)>) {
    let mut by_bucket: Vec<Vec<(Key, Stamp)>> = vec![Vec::new(); BUCKETS];
    let wanted: Vec<u8> = wanted.collect();
    for page in replica.pages() {
        by_bucket[usize::from(page.bucket())].push((page.key(), page.stamp()));
    }
    let (mut buckets, mut stamps) = (Vec::new(), Vec::new());
    for b in wanted {
        let more = &mut by_bucket[usize::from(b)];
        if !buckets.is_empty() && stamps.len() + more.len() > MAX_STAMPS {
            break;
        }
        more.truncate(MAX_STAMPS);
        buckets.push(b);
        stamps.append(more);
    }
    (buckets, stamps)
}

/// What a peer that listed `theirs` for `buckets` lacks, and what it has that is newer here.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Pages that the peer lacks or holds in an older version.
    pub(crate) give: Vec<Page>,
    /// Keys of which the peer holds something newer, or that are missing here.
    pub(crate) want: Vec<Key>,
}

pub(crate) fn compare(replica: &Replica, buckets: &[u8], theirs: &[(Key, Stamp)]) -> Difference {
    let theirs: std::collections::BTreeMap<Key, Stamp> = theirs.iter().copied().collect();
    let mut listed = [false; BUCKETS];
    for b in buckets {
        listed[usize::from(*b)] = true;
    }
    let give = replica
        .pages()
        .filter(|page| {
            let key = page.key();
            listed[usize::from(page.bucket())] && theirs.get(&key).is_none_or(|stamp| *stamp < page.stamp())
        })
        .cloned()
        .collect();
    let want = theirs
        .iter()
        .filter(|(key, stamp)| replica.stamp(key).is_none_or(|mine| mine < **stamp))
        .map(|(key, _)| *key)
        .collect();
    Difference { give, want }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::page::{Owner, Slot, Table};

    fn replica(pages: &[(u32, u64)]) -> Replica {
        let signing = SigningKey::from_bytes(&[1; 32]);
        let mut replica = Replica::new([]);
        for &(slot, version) in pages {
            let key =
                Key { owner: Owner::Node(signing.verifying_key().into()), table: Table(16), slot: Slot::page(slot) };
            replica.accept(Page::sign(&signing, key, 1, version, vec![1])).unwrap();
        }
        replica
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Two exchanges, whatever differs, leave both sides equal.
        #[test]
        fn an_exchange_leaves_both_sides_equal(
            a in prop::collection::vec((0u32..40, 0u64..3), 0..30),
            b in prop::collection::vec((0u32..40, 0u64..3), 0..30),
            salt: u64,
        ) {
            let (mut asker, mut asked) = (replica(&a), replica(&b));
            let (mine, theirs) = (Digest::of(&asker, salt), Digest::of(&asked, salt));
            prop_assert_eq!(mine.root() == theirs.root(), asker == asked);
            let (buckets, stamps) = list(&asker, mine.differing(&theirs, salt));
            let difference = compare(&asked, &buckets, &stamps);
            for key in &difference.want {
                asked.accept(asker.get(key).unwrap().clone()).unwrap();
            }
            for page in difference.give {
                asker.accept(page).unwrap();
            }
            prop_assert_eq!(asker, asked);
        }
    }

    #[test]
    fn a_peer_that_sends_too_few_sums_is_not_believed() {
        assert!(Digest::from_sums(vec![0; 255]).is_none());
    }
}
