//! What a resolver remembers: RRsets, cuts and negative answers, each until its TTL has run out.
//!
//! Source: RFC 1034 section 3.6, RFC 2308 section 5. Invariant: nothing is given out at or after its expiry, so TTL 0
//! is used for the lookup in progress only. Rejected: serving stale data (RFC 8767), which would hide a dead node.

use std::collections::BTreeMap;
use std::time::Duration;

use hickory_proto::rr::{Name, Record, RecordType};

use super::Delegation;

/// Entries kept per kind: the demo knows two names a cut; a stream of hostile names must not grow the process.
const MAX_ENTRIES: usize = 256;
/// TTLs are cut to this, as resolvers do, so that one bad record cannot stay for years.
const MAX_TTL: Duration = Duration::from_secs(86_400);

/// A negative answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negative {
    /// The name exists, but not with this type.
    NoData,
    /// The name does not exist.
    NxDomain,
}

/// A value and the moment from which it is no longer true.
#[derive(Clone, Debug)]
struct Held<T> {
    value: T,
    until: Duration,
}

/// One kind of entry, bounded.
#[derive(Debug)]
struct Shelf<K, T> {
    held: BTreeMap<K, Held<T>>,
}

impl<K: Ord + Clone, T> Shelf<K, T> {
    fn new() -> Self {
        Self { held: BTreeMap::new() }
    }

    fn put(&mut self, key: K, value: T, ttl: Duration, now: Duration) {
        if self.held.len() >= MAX_ENTRIES && !self.held.contains_key(&key) {
            let soonest = self.held.iter().min_by_key(|(_, held)| held.until).map(|(key, _)| key.clone());
            if let Some(soonest) = soonest {
                self.held.remove(&soonest);
            }
        }
        self.held.insert(key, Held { value, until: now + ttl.min(MAX_TTL) });
    }

    fn get(&self, key: &K, now: Duration) -> Option<&T> {
        self.held.get(key).filter(|held| now < held.until).map(|held| &held.value)
    }
}

/// The cache of one resolver.
#[derive(Debug)]
pub struct Cache {
    sets: Shelf<(Name, RecordType), Vec<Record>>,
    negatives: Shelf<(Name, RecordType), Negative>,
    cuts: Shelf<Name, Delegation>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { sets: Shelf::new(), negatives: Shelf::new(), cuts: Shelf::new() }
    }
}

impl Cache {
    /// Remembers an RRset for the lowest TTL in it.
    pub fn put_set(&mut self, name: Name, kind: RecordType, records: Vec<Record>, now: Duration) {
        let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
        self.sets.put((name, kind), records, Duration::from_secs(ttl.into()), now);
    }

    /// The RRset, if it is still true.
    pub fn set(&self, name: &Name, kind: RecordType, now: Duration) -> Option<&[Record]> {
        self.sets.get(&(name.clone(), kind), now).map(Vec::as_slice)
    }

    /// Until when the RRset is true; a moment in the past if it no longer is.
    pub fn set_until(&self, name: &Name, kind: RecordType) -> Option<Duration> {
        self.sets.held.get(&(name.clone(), kind)).map(|held| held.until)
    }

    /// Remembers a negative answer.
    pub fn put_negative(&mut self, name: Name, kind: RecordType, what: Negative, ttl: Duration, now: Duration) {
        self.negatives.put((name, kind), what, ttl, now);
    }

    /// The negative answer, if it is still true.
    pub fn negative(&self, name: &Name, kind: RecordType, now: Duration) -> Option<Negative> {
        self.negatives.get(&(name.clone(), kind), now).copied()
    }

    /// Remembers who serves a cut.
    pub fn put_cut(&mut self, cut: Delegation, ttl: Duration, now: Duration) {
        self.cuts.put(cut.zone.clone(), cut, ttl, now);
    }

    /// The deepest known cut at or above `name`.
    pub fn deepest_cut(&self, name: &Name, now: Duration) -> Option<&Delegation> {
        let mut zone = name.clone();
        loop {
            if let Some(cut) = self.cuts.get(&zone, now) {
                return Some(cut);
            }
            if zone.is_root() {
                return None;
            }
            zone = zone.base_name();
        }
    }
}
