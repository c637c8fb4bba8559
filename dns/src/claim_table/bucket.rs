//! The claims of one block of addresses, in one piece of memory.
//!
//! ```text
//!   ┌────────┬─ ranges, by where they begin ──────────┬─ claims, by prefix, preference, name ─┐
//!   │ how    │ 10.1.0.0 ▶ a copy of the best claim of │ 10.1.0.0/16 fra ─next─▶ 10.1.0.0/16   │
//!   │ many   │ the longest prefix here  …             │ nyc ─next─▶ the first one of 10.0/8 … │
//!   └────────┴────────────────────────────────────────┴───────────────────────────────────────┘
//! ```
//!
//! Where prefixes lie within each other they are cut into ranges, each with its longest prefix, so that a binary search
//! finds the claim that wins nearly always, whole, without a further step into memory. Whoever may not be referred to is
//! passed by along `next`: first the prefix's other claimants, then those of the prefix around it.
//!
//! **Invariant:** a bucket is a function of the set of its claims and never changes: another one takes its place.

use std::sync::Arc;

use super::Best;
use super::bits::Bits;
use super::names::Names;

/// A range (with a copy of its best claim) or a claim.
#[derive(Clone, Copy, Default)]
pub(super) struct Cell<K> {
    /// Where it begins.
    start: K,
    node: u16,
    preference: u16,
    /// The claim's prefix length in the upper 8 bits, then the place of the claim to ask next; 0: there is none.
    link: u32,
}

/// What a link can point to: 16 million claims in one bucket are more than the mesh can carry. What is behind is in the
/// table, but asked for by nobody.
const LINKS: u32 = 1 << 24;

/// The "prefix length" of a range that nobody claims: longer than any client's.
const NOBODY: u8 = u8::MAX;

impl<K: Bits> Cell<K> {
    fn new(entry: &Entry<K>, next: usize) -> Self {
        let next = u32::try_from(next).ok().filter(|next| *next < LINKS).unwrap_or(0);
        Self {
            start: entry.network,
            node: entry.node,
            preference: entry.preference,
            link: u32::from(entry.length) << 24 | next,
        }
    }

    fn length(&self) -> u8 {
        (self.link >> 24) as u8
    }

    fn next(&self) -> usize {
        (self.link & (LINKS - 1)) as usize
    }

    fn best(&self) -> Best {
        Best { node: self.node, preference: self.preference, length: self.length() }
    }

    fn entry(&self) -> Entry<K> {
        Entry { network: self.start, length: self.length(), preference: self.preference, node: self.node }
    }
}

/// A claim on its way into a bucket or out of it.
#[derive(Clone, Copy)]
pub(super) struct Entry<K> {
    pub(super) network: K,
    pub(super) length: u8,
    pub(super) preference: u16,
    pub(super) node: u16,
}

impl<K: Bits> Entry<K> {
    pub(super) fn best(&self) -> Best {
        Best { node: self.node, preference: self.preference, length: self.length }
    }

    /// The order of claims in a bucket: the first of a prefix is the best.
    pub(super) fn compare(&self, other: &Self, names: &Names) -> std::cmp::Ordering {
        let key = |entry: &Self| (entry.network, entry.length, entry.preference);
        key(self).cmp(&key(other)).then_with(|| names.compare(self.node, other.node))
    }
}

/// The claims of a block; without memory of its own when there are none.
#[derive(Clone)]
pub(super) struct Bucket<K>(Option<Arc<[Cell<K>]>>);

impl<K> Default for Bucket<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Bits> Bucket<K> {
    /// Of claims in their order.
    pub(super) fn new(entries: &[Entry<K>]) -> Self {
        if entries.is_empty() {
            return Self(None);
        }
        let (ranges, around) = cut(entries);
        let claims_at = 1 + ranges.len();
        let mut cells = Vec::with_capacity(claims_at + entries.len());
        cells.push(Cell { link: ranges.len() as u32, ..Cell::default() });
        let next = |at: usize| match entries.get(at + 1) {
            Some(later) if (later.network, later.length) == (entries[at].network, entries[at].length) => {
                claims_at + at + 1
            }
            _ => around[at].map_or(0, |outer| claims_at + outer),
        };
        cells.extend(ranges.iter().map(|(start, target)| match target {
            Some(at) => Cell { start: *start, ..Cell::new(&entries[*at], next(*at)) },
            None => Cell { start: *start, link: u32::from(NOBODY) << 24, ..Cell::default() },
        }));
        cells.extend(entries.iter().enumerate().map(|(at, entry)| Cell::new(entry, next(at))));
        Self(Some(cells.into()))
    }

    /// The best claim for a client's block among those whose node is usable.
    #[inline]
    pub(super) fn best(&self, client: K, length: u8, usable: &impl Fn(u16) -> bool) -> Option<Best> {
        let cells = self.0.as_deref()?;
        let mut cell = self.range(client)?;
        loop {
            if cell.length() <= length && usable(cell.node) {
                return Some(cell.best());
            }
            cell = cells.get(cell.next()).filter(|_| cell.next() > 0)?;
        }
    }

    fn range(&self, address: K) -> Option<&Cell<K>> {
        let cells = self.0.as_deref()?;
        let ranges = cells.get(1..=cells.first()?.next())?;
        ranges.get(ranges.partition_point(|range| range.start <= address).checked_sub(1)?)
    }

    /// All claims in their order.
    fn claims(&self) -> &[Cell<K>] {
        let cells = self.0.as_deref().unwrap_or(&[]);
        cells.first().and_then(|head| cells.get(1 + head.next()..)).unwrap_or(&[])
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = Entry<K>> {
        self.claims().iter().map(Cell::entry)
    }

    pub(super) fn len(&self) -> usize {
        self.claims().len()
    }

    /// The last claim that begins at an address or before it: where, and its length.
    pub(super) fn until(&self, address: K) -> Option<(K, u8)> {
        let claims = self.claims();
        let end = claims.partition_point(|claim| claim.start <= address);
        claims[..end].last().map(|claim| (claim.start, claim.length()))
    }

    /// Where the first claim begins that begins at an address or behind it.
    pub(super) fn at_or_behind(&self, address: K) -> Option<K> {
        let claims = self.claims();
        claims.get(claims.partition_point(|claim| claim.start < address)).map(|claim| claim.start)
    }

    /// Octets on the heap.
    pub(super) fn bytes(&self) -> usize {
        // An `Arc` counts in two words in front of what it holds.
        self.0.as_deref().map_or(0, |cells| size_of_val(cells) + 2 * size_of::<usize>())
    }
}

/// Where a range begins, and the claim that is best in it; nothing: nobody's.
type Range<K> = (K, Option<usize>);

/// The ranges that claims are cut into, and for each claim the first claim of the prefix around its own.
fn cut<K: Bits>(entries: &[Entry<K>]) -> (Vec<Range<K>>, Vec<Option<usize>>) {
    let mut ranges: Vec<Range<K>> = Vec::with_capacity(2 * entries.len() + 1);
    let mut around = Vec::with_capacity(entries.len());
    // The prefixes that the present one lies in: the first claim of each, and its last address.
    let mut open: Vec<(usize, K)> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 && (entry.network, entry.length) == (entries[at - 1].network, entries[at - 1].length) {
            around.push(around[at - 1]);
            continue;
        }
        close(&mut open, &mut ranges, |last| last < entry.network);
        around.push(open.last().map(|(outer, _)| *outer));
        begin(&mut ranges, entry.network, Some(at));
        open.push((at, entry.network.last(entry.length)));
    }
    close(&mut open, &mut ranges, |_| true);
    (ranges, around)
}

/// Ends prefixes: behind each goes on the one around it.
fn close<K: Bits>(open: &mut Vec<(usize, K)>, ranges: &mut Vec<Range<K>>, ends: impl Fn(K) -> bool) {
    while let Some((_, last)) = open.pop_if(|(_, last)| ends(*last)) {
        if let Some(next) = last.next() {
            begin(ranges, next, open.last().map(|(outer, _)| *outer));
        }
    }
}

fn begin<K: Bits>(ranges: &mut Vec<Range<K>>, start: K, target: Option<usize>) {
    match ranges.last_mut() {
        Some(range) if range.0 == start => range.1 = target,
        _ => ranges.push((start, target)),
    }
}
