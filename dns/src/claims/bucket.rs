//! The claims of one block of addresses, in one piece of memory.
//!
//! ```text
//!   10.0.0.0/8 fra │ 10.1.0.0/16 tyo │ 10.1.0.0/16 nyc │ 10.1.7.0/24 fra │ 10.3.0.0/16 nyc
//!        ▲                                    ▲ │              │                │
//!        └────────────── around ──────────────┼─┘◀── around ───┘                │
//!        └────────────────────────────────────┴─────────────────── around ──────┘
//! ```
//!
//! They stand in the order of where they begin, shorter prefixes first, and of one prefix the best last. Whatever covers
//! an address then is the last claim that begins at it or before it, or lies around that one: a search, and nearly always
//! not one step more. Whoever may not be referred to is passed by: first the prefix's other claimants, then those of the
//! prefix around it.
//!
//! In memory all beginnings come first, then the rest of each claim, because a search through a few cache lines of nothing
//! but beginnings is what a look-up mostly waits for.
//!
//! Rejected: ranges cut out of overlapping prefixes, each with its winner, which saves the step and takes three times the
//! memory; the caches notice that more.
//!
//! **Invariant:** a bucket is a function of the set of its claims and never changes: another one takes its place.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Best;
use super::bits::Bits;
use super::names::Names;
use crate::Rank;

/// So many claimants of one prefix are asked whether they take referrals, best first; after that those of the prefix
/// around it are asked. A packet must not pay for as many dead nodes as somebody likes to make up.
pub(super) const MOST_CLAIMANTS: usize = 64;

/// What is behind the beginnings, for each claim: its rank, its link (the prefix length in the upper 8 bits, then where the
/// claims of the prefix around it end; 0: there is none), its node.
const REST: usize = 3;

/// What a link can point to: 16 million claims in one bucket are more than the mesh can carry. What is behind is in the
/// table, but asked for by nobody.
const LINKS: u32 = 1 << 24;

/// A claim on its way into a bucket or out of it.
#[derive(Clone, Copy)]
pub(super) struct Entry<K> {
    pub(super) network: K,
    pub(super) rank: Rank,
    pub(super) length: u8,
    pub(super) node: u16,
}

impl<K: Bits> Entry<K> {
    pub(super) fn best(&self) -> Best {
        Best { node: self.node, rank: self.rank, length: self.length }
    }

    fn prefix(&self) -> (K, u8) {
        (self.network, self.length)
    }

    /// The order of claims in a bucket: the last of a prefix is the best.
    pub(super) fn compare(&self, other: &Self, names: &Names) -> std::cmp::Ordering {
        let by_rank = || other.rank.cmp(&self.rank);
        self.prefix().cmp(&other.prefix()).then_with(by_rank).then_with(|| names.compare(other.node, self.node))
    }
}

/// The claims of a block; without memory of its own when there are none.
pub(super) struct Bucket<K>(Option<Arc<[u32]>>, PhantomData<K>);

impl<K> Clone for Bucket<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<K> Default for Bucket<K> {
    fn default() -> Self {
        Self(None, PhantomData)
    }
}

/// A bucket, looked at.
#[derive(Clone, Copy)]
struct Claims<'b, K> {
    starts: &'b [u32],
    rest: &'b [[u32; REST]],
    family: PhantomData<K>,
}

impl<K: Bits> Bucket<K> {
    /// Of claims in their order.
    pub(super) fn new(entries: &[Entry<K>]) -> Self {
        if entries.is_empty() {
            return Self::default();
        }
        let mut words: Vec<u32> = Vec::with_capacity(entries.len() * (K::WORDS + REST));
        entries.iter().for_each(|entry| words.extend_from_slice(entry.network.words().as_ref()));
        // The prefixes that the present one lies in: the last address of each, and where its claims end.
        let mut open: Vec<(K, usize)> = Vec::new();
        let mut end = 0;
        for prefix in entries.chunk_by(|a, b| a.prefix() == b.prefix()) {
            let (start, length) = prefix[0].prefix();
            while open.pop_if(|(last, _)| *last < start).is_some() {}
            let around = open.last().and_then(|(_, end)| u32::try_from(*end).ok()).filter(|around| *around < LINKS);
            let link = u32::from(length) << 24 | around.unwrap_or(0);
            prefix.iter().for_each(|entry| words.extend([entry.rank.to_bits(), link, u32::from(entry.node)]));
            end += prefix.len();
            open.push((start.last(length), end));
        }
        Self(Some(words.into()), PhantomData)
    }

    #[inline]
    fn claims(&self) -> Claims<'_, K> {
        let words = self.0.as_deref().unwrap_or_default();
        let (starts, rest) = words.split_at(words.len() / (K::WORDS + REST) * K::WORDS);
        Claims { starts, rest: rest.as_chunks().0, family: PhantomData }
    }

    /// The best claim for a client's block among those whose node is usable.
    #[inline]
    pub(super) fn best(&self, client: K, length: u8, usable: &impl Fn(u16) -> bool) -> Option<Best> {
        let claims = self.claims();
        let mut end = K::count_until(claims.starts, client);
        loop {
            let last = end.checked_sub(1)?;
            let best = claims.best(last)?;
            if best.length <= length && client.common(claims.start(last)) >= best.length {
                if usable(best.node) {
                    return Some(best);
                }
                let others = (0..last).rev().take(MOST_CLAIMANTS - 1);
                let mut others = others.take_while(|at| claims.prefix(*at) == claims.prefix(last));
                if let Some(at) = others.find(|at| claims.best(*at).is_some_and(|best| usable(best.node))) {
                    return claims.best(at);
                }
            }
            end = claims.around(last);
        }
    }

    /// All claims in their order.
    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = Entry<K>> {
        let claims = self.claims();
        (0..claims.rest.len()).filter_map(move |at| {
            let Best { node, rank, length } = claims.best(at)?;
            Some(Entry { network: claims.start(at), rank, length, node })
        })
    }

    pub(super) fn len(&self) -> usize {
        self.claims().rest.len()
    }

    /// The last claim that begins at an address or before it, and where the next one begins.
    pub(super) fn around(&self, address: K) -> (Option<(K, u8)>, Option<K>) {
        let claims = self.claims();
        let behind = K::count_until(claims.starts, address);
        let before = behind.checked_sub(1).map(|before| claims.prefix(before));
        (before, (behind < claims.rest.len()).then(|| claims.start(behind)))
    }

    /// Octets on the heap.
    pub(super) fn bytes(&self) -> usize {
        // An `Arc` counts in two words in front of what it holds.
        self.0.as_deref().map_or(0, |words| size_of_val(words) + 2 * size_of::<usize>())
    }
}

impl<K: Bits> Claims<'_, K> {
    #[inline]
    fn start(&self, at: usize) -> K {
        self.starts.get(at * K::WORDS..(at + 1) * K::WORDS).map_or_else(K::default, K::of_words)
    }

    #[inline]
    fn best(&self, at: usize) -> Option<Best> {
        let [rank, link, node] = *self.rest.get(at)?;
        Some(Best { node: node as u16, rank: Rank::of_bits(rank), length: (link >> 24) as u8 })
    }

    fn prefix(&self, at: usize) -> (K, u8) {
        (self.start(at), self.best(at).map_or(0, |best| best.length))
    }

    /// Where the claims of the prefix end that this one's lies in; 0: in none.
    fn around(&self, at: usize) -> usize {
        self.rest.get(at).map_or(0, |[_, link, _]| (link & (LINKS - 1)) as usize)
    }
}
