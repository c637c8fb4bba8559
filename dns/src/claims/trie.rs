//! Buckets, found by the first bits of an address.
//!
//! ```text
//!              ┌─ 0 … f: the next four bits
//!   branch ────┼─▶ branch ─▶ bucket (at most 64 claims)
//!     └ here   └─▶ bucket
//! ```
//!
//! A block that has few claims is one bucket, whatever their lengths; one that has more is sixteen blocks, and what covers
//! more than one of those stays `here`. So the way is short where claims are few, and no step of it is large: to change
//! a claim copies some buckets' worth of memory, wherever it lies and however many others there are. All else is shared
//! with the tables that came before.
//!
//! **Invariant:** the shape is a function of the set of claims, not of how it came about.
//!
//! Rejected: 2^16 buckets in one array, which must be copied with each change, as must a bucket with a city's addresses
//! one by one; a tree bitmap and `prefix-trie`, which go through memory once for each few bits of each prefix (three times
//! as slow, and nothing of them can be shared); 256 ways at a time, where a change touches as many counters.

use std::sync::Arc;

use super::Best;
use super::bits::Bits;
use super::bucket::{Bucket, Entry};
use super::names::Names;

/// Bits looked at in one step.
const STRIDE: u8 = 4;
const WAYS: usize = 1 << STRIDE;

/// Claims of a block that are kept in one bucket.
pub(super) const BUCKET: usize = 64;

/// All claims of one address family, or of a block of it.
#[derive(Clone)]
pub(super) enum Trie<K> {
    Bucket(Bucket<K>),
    Branch(Arc<Branch<K>>),
}

#[derive(Clone)]
pub(super) struct Branch<K> {
    /// Claims in here and below.
    count: usize,
    /// Those that cover more than one of the ways.
    here: Bucket<K>,
    ways: [Trie<K>; WAYS],
}

/// What changes, each in the order of claims. What goes, goes first.
#[derive(Clone, Copy)]
pub(super) struct Changes<'c, K> {
    pub(super) gone: &'c [Entry<K>],
    pub(super) come: &'c [Entry<K>],
}

impl<K> Default for Trie<K> {
    fn default() -> Self {
        Self::Bucket(Bucket::default())
    }
}

impl<K: Bits> Trie<K> {
    /// The best claim for a client's block among those whose node is usable.
    #[inline]
    pub(super) fn best(&self, client: K, length: u8, usable: &impl Fn(u16) -> bool) -> Option<Best> {
        let (mut trie, mut depth) = (self, 0);
        while let Self::Branch(branch) = trie {
            trie = &branch.ways[client.digit::<STRIDE>(depth)];
            depth += STRIDE;
        }
        let Self::Bucket(bucket) = trie else { return None };
        bucket.best(client, length, usable).or_else(|| self.best_around(client, length, usable))
    }

    /// The best claim among those that cover more than one bucket.
    fn best_around(&self, client: K, length: u8, usable: &impl Fn(u16) -> bool) -> Option<Best> {
        let (mut trie, mut depth, mut best) = (self, 0, None);
        while let Self::Branch(branch) = trie {
            // A claim further down is longer.
            best = branch.here.best(client, length, usable).or(best);
            trie = &branch.ways[client.digit::<STRIDE>(depth)];
            depth += STRIDE;
        }
        best
    }

    /// Takes claims out and in. What is to go and is not there is no matter. Returns what was really taken out.
    pub(super) fn apply(&mut self, changes: Changes<'_, K>, names: &Names) -> Vec<Entry<K>> {
        let mut taken = Vec::with_capacity(changes.gone.len());
        self.apply_below(0, changes, names, &mut taken);
        taken
    }

    fn apply_below(&mut self, depth: u8, changes: Changes<'_, K>, names: &Names, taken: &mut Vec<Entry<K>>) {
        let before = taken.len();
        match self {
            _ if changes.gone.is_empty() && changes.come.is_empty() => {}
            Self::Bucket(bucket) => *self = Self::new(&merged(bucket, changes, names, taken), depth),
            Self::Branch(branch) => {
                let branch = Arc::make_mut(branch);
                let gone = Sorted::new(changes.gone, depth);
                let come = Sorted::new(changes.come, depth);
                let here = Changes { gone: &gone.here, come: &come.here };
                if !here.gone.is_empty() || !here.come.is_empty() {
                    branch.here = Bucket::new(&merged(&branch.here, here, names, taken));
                }
                for (at, way) in branch.ways.iter_mut().enumerate() {
                    let changes = Changes { gone: gone.way(at), come: come.way(at) };
                    way.apply_below(depth + STRIDE, changes, names, taken);
                }
                branch.count = branch.count + changes.come.len() - (taken.len() - before);
                if branch.count <= BUCKET {
                    let mut entries = Vec::with_capacity(branch.count);
                    branch.each(&mut |entry| entries.push(entry));
                    entries.sort_by(|a, b| a.compare(b, names));
                    *self = Self::Bucket(Bucket::new(&entries));
                }
            }
        }
    }

    /// The claims of a block, in their order. A block of one address is never divided.
    fn new(entries: &[Entry<K>], depth: u8) -> Self {
        if entries.len() <= BUCKET || depth >= K::WIDTH {
            return Self::Bucket(Bucket::new(entries));
        }
        let sorted = Sorted::new(entries, depth);
        Self::Branch(Arc::new(Branch {
            count: entries.len(),
            here: Bucket::new(&sorted.here),
            ways: std::array::from_fn(|at| Self::new(sorted.way(at), depth + STRIDE)),
        }))
    }

    /// Visits all claims, in no order that means anything.
    pub(super) fn each(&self, visit: &mut impl FnMut(Entry<K>)) {
        match self {
            Self::Bucket(bucket) => bucket.entries().for_each(visit),
            Self::Branch(branch) => branch.each(visit),
        }
    }

    /// Visits the claims of the prefixes that cover a client's block, each prefix's best first.
    pub(super) fn covering(&self, client: K, length: u8, visit: &mut impl FnMut(Entry<K>)) {
        let (mut trie, mut depth) = (self, 0);
        let mut bucket = |bucket: &Bucket<K>| {
            let covers = |entry: &Entry<K>| entry.length <= length && client.common(entry.network) >= entry.length;
            bucket.entries().rev().filter(covers).for_each(&mut *visit);
        };
        while let Self::Branch(branch) = trie {
            bucket(&branch.here);
            trie = &branch.ways[client.digit::<STRIDE>(depth)];
            depth += STRIDE;
        }
        if let Self::Bucket(last) = trie {
            bucket(last);
        }
    }

    /// The last claim that begins at an address or before it, and of several there the longest: where, and its length. And
    /// where the next one begins.
    pub(super) fn around(&self, address: K) -> (Option<(K, u8)>, Option<K>) {
        self.around_below(0, address)
    }

    fn around_below(&self, depth: u8, address: K) -> (Option<(K, u8)>, Option<K>) {
        let branch = match self {
            Self::Bucket(bucket) => return bucket.around(address),
            Self::Branch(branch) => branch,
        };
        let at = address.digit::<STRIDE>(depth);
        let (before, behind) = branch.ways[at].around_below(depth + STRIDE, address);
        let before = before.or_else(|| branch.ways[..at].iter().rev().find_map(Self::last));
        let behind = behind.or_else(|| branch.ways[at + 1..].iter().find_map(Self::first));
        let (before_here, behind_here) = branch.here.around(address);
        (before.max(before_here), behind.into_iter().chain(behind_here).min())
    }

    /// The last claim: where it begins, and its length.
    fn last(&self) -> Option<(K, u8)> {
        let of_bucket = |bucket: &Bucket<K>| bucket.entries().next_back().map(|last| (last.network, last.length));
        match self {
            Self::Bucket(bucket) => of_bucket(bucket),
            Self::Branch(branch) => branch.ways.iter().rev().find_map(Self::last).max(of_bucket(&branch.here)),
        }
    }

    /// Where the first claim begins.
    fn first(&self) -> Option<K> {
        match self {
            Self::Bucket(bucket) => bucket.entries().next().map(|first| first.network),
            Self::Branch(branch) => {
                let below = branch.ways.iter().find_map(Self::first);
                below.into_iter().chain(branch.here.entries().next().map(|first| first.network)).min()
            }
        }
    }

    /// Octets on the heap, but for what the allocator needs.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Bucket(bucket) => bucket.bytes(),
            Self::Branch(branch) => {
                let below: usize = branch.ways.iter().map(Self::bytes).sum();
                size_of::<Branch<K>>() + 2 * size_of::<usize>() + branch.here.bytes() + below
            }
        }
    }
}

impl<K: Bits> Branch<K> {
    fn each(&self, visit: &mut impl FnMut(Entry<K>)) {
        self.here.entries().for_each(&mut *visit);
        self.ways.iter().for_each(|way| way.each(visit));
    }
}

/// Claims of a block, put to the ways that they go; each part in the order that they came in.
struct Sorted<K> {
    here: Vec<Entry<K>>,
    below: Vec<Entry<K>>,
    /// Where the claims of each way end in `below`.
    ends: [usize; WAYS],
}

impl<K: Bits> Sorted<K> {
    fn new(entries: &[Entry<K>], depth: u8) -> Self {
        let (here, below): (Vec<Entry<K>>, Vec<Entry<K>>) =
            entries.iter().copied().partition(|entry| entry.length < depth + STRIDE);
        let mut ends = [0; WAYS];
        for entry in &below {
            ends[entry.network.digit::<STRIDE>(depth)] += 1;
        }
        for at in 1..WAYS {
            ends[at] += ends[at - 1];
        }
        Self { here, below, ends }
    }

    fn way(&self, at: usize) -> &[Entry<K>] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.below[start..self.ends[at]]
    }
}

/// The claims of a bucket once something has changed.
fn merged<K: Bits>(
    bucket: &Bucket<K>,
    Changes { gone, come }: Changes<'_, K>,
    names: &Names,
    taken: &mut Vec<Entry<K>>,
) -> Vec<Entry<K>> {
    let mut entries = Vec::with_capacity(bucket.len() + come.len());
    let (mut gone, mut come) = (gone.iter().peekable(), come.iter().peekable());
    for held in bucket.entries() {
        while gone.next_if(|gone| gone.compare(&held, names).is_lt()).is_some() {}
        if gone.next_if(|gone| gone.compare(&held, names).is_eq()).is_some() {
            taken.push(held);
            continue;
        }
        while let Some(new) = come.next_if(|new| new.compare(&held, names).is_lt()) {
            entries.push(*new);
        }
        entries.push(held);
    }
    entries.extend(come);
    entries
}
