//! Response rate limiting: a reflected flood is cut to a trickle, and who really asks finds another way in.
//!
//! Who floods a victim through name servers writes the victim's address into his queries. So the replies to one network
//! are counted, by kind, and beyond the limit every other one is dropped and every other one "slips": it is empty, with
//! TC, or BADCOOKIE for those who speak of cookies. A resolver that is where it says comes back by TCP or with its
//! cookie, neither of which is limited; the victim gets at most as many octets as were sent to us. There is no RFC; this
//! is BIND's and Knot's RRL: networks of /24 and /56, kinds apart so that a flood of errors does not take the answers
//! away, slip 2.
//!
//! **Buckets of one number.** A token bucket is kept as the moment at which it will be full again (the virtual
//! scheduling form of GCRA, ITU-T I.371): a reply moves that moment on by 1/limit, and one that would move it more than
//! a second ahead is over the limit. A moment in the past is a full bucket, which is what a network without a bucket has:
//! such a place can be given away and nothing is forgotten. At 200 a second one reply occupies a place for 5 ms.
//!
//! ```text
//!   key = network, kind ─▶ SipHash ─┬─▶ one of 8,192 sets, a cache line each
//!                                   └─▶ tag: which of its 8 places     [ tag 27 | slip 1 | full again at 36, in µs ]
//! ```
//!
//! **Invariant:** the table has the size it was made with, for ever; a packet takes no lock and no memory, and looks at
//! one line (two, over the limit). If eight networks of one set are busy, the least busy one is forgotten, to its own
//! advantage: whoever fills the table on purpose makes it milder, never stricter to others.
//!
//! **Claimed networks are not exempt.** The address in a packet proves nothing, and the networks that somebody claims are
//! just those that somebody may wish to flood. They have a second bucket, ten times as large, because they are where a
//! node's resolvers are: an ISP's farm of resolvers behind one /24 asks for every name once per TTL and cache.
//!
//! Rejected: keys with the name asked for, as BIND has them. A flood that walks over names would be limited by their
//! number only, and the names here are short-lived in every cache.

use std::hash::Hasher;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::network::Network;

/// Sets of the table: with eight places each, as many networks can be busy at once as an attacker can hardly forge, in
/// half a megabyte.
const SETS: usize = 8192;

/// Places of a set: one cache line.
const PLACES: usize = 8;

/// How much more networks get that somebody claims.
const CLAIMED: u64 = 10;

/// How many seconds' worth may come at once, in microseconds: one.
const BURST: u64 = 1_000_000;

/// Bits of a moment: 19 hours in microseconds. A bucket that was left alone for exactly so long looks used for at most a
/// second, which hurts nobody.
const MOMENT: u64 = (1 << 36) - 1;
const SLIP: u64 = 1 << 36;
const TAG: u64 = !(MOMENT | SLIP);

/// Kinds of replies that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// What was asked for, or where to ask.
    Answer,
    /// NXDOMAIN and NODATA.
    Negative,
    /// FORMERR, NOTIMP, REFUSED and the like.
    Error,
}

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is sent.
    Pass,
    /// Something short is sent that tells a real asker how to come back.
    Slip,
    /// Nothing is sent.
    Drop,
}

/// The table. Any number of threads may use it at once.
pub(crate) struct RateLimit {
    sets: Box<[Set]>,
    seed: [u8; 16],
    /// Microseconds that a reply is worth.
    cost: u64,
}

#[repr(align(64))]
#[derive(Default)]
struct Set([AtomicU64; PLACES]);

/// Where a bucket is.
#[derive(Clone, Copy)]
struct Key {
    set: usize,
    tag: u64,
}

impl RateLimit {
    /// A table for so many replies per second to a network, of each kind. The seed is a secret of this process, so that
    /// nobody can choose networks that share a bucket.
    pub(crate) fn new(per_second: NonZeroU32, seed: [u8; 16]) -> Self {
        let sets = (0..SETS).map(|_| Set::default()).collect();
        Self { sets, seed, cost: (BURST / u64::from(per_second.get())).max(1) }
    }

    /// Counts a reply. Whether somebody claims the client is only asked if that makes a difference.
    pub(crate) fn meet(&self, client: IpAddr, class: Class, claimed: impl FnOnce() -> bool, now: Duration) -> Verdict {
        // Moments are counted modulo 2^36 microseconds.
        let now = now.as_micros() as u64 & MOMENT;
        let key = self.key(client, class as u8);
        if self.take(key, self.cost, now) {
            return Verdict::Pass;
        }
        let larger = || self.take(self.key(client, 0x80 | class as u8), (self.cost / CLAIMED).max(1), now);
        if claimed() && larger() {
            return Verdict::Pass;
        }
        if self.slips(key) { Verdict::Slip } else { Verdict::Drop }
    }

    /// Takes a reply's worth out of a bucket, if there is as much in it.
    fn take(&self, key: Key, cost: u64, now: u64) -> bool {
        let place = self.place(key, now);
        let mut held = place.load(Ordering::Relaxed);
        loop {
            let own = held & TAG == key.tag;
            let debt = if own { debt(held, now) } else { 0 };
            if debt + cost > BURST {
                return false;
            }
            let slip = if own { held & SLIP } else { 0 };
            let next = key.tag | slip | now.wrapping_add(debt + cost) & MOMENT;
            // Nothing else is published by it: no ordering.
            match place.compare_exchange_weak(held, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => held = other,
            }
        }
    }

    /// Does this one slip? Every other one of a bucket, beginning with the first.
    fn slips(&self, key: Key) -> bool {
        let place = self.set(key).0.iter().find(|place| place.load(Ordering::Relaxed) & TAG == key.tag);
        // Forgotten in between: then nobody counts.
        place.is_none_or(|place| place.fetch_xor(SLIP, Ordering::Relaxed) & SLIP == 0)
    }

    /// The place of a bucket, or the one that it may have.
    fn place(&self, key: Key, now: u64) -> &AtomicU64 {
        let [first, rest @ ..] = &self.set(key).0;
        let mut best = first;
        let mut least = u64::MAX;
        for place in std::iter::once(first).chain(rest) {
            let held = place.load(Ordering::Relaxed);
            if held & TAG == key.tag {
                return place;
            }
            if debt(held, now) < least {
                (best, least) = (place, debt(held, now));
            }
        }
        best
    }

    fn set(&self, key: Key) -> &Set {
        &self.sets[key.set % SETS]
    }

    fn key(&self, client: IpAddr, class: u8) -> Key {
        let mut hasher = SipHasher13::new_with_key(&self.seed);
        hasher.write(&Network::of(client).octets());
        hasher.write(&[class]);
        let hash = hasher.finish();
        // No tag is zero, which stands for an empty place.
        Key { set: hash as usize % SETS, tag: (hash & TAG).max(SLIP << 1) }
    }
}

/// How far ahead of now a bucket will be full again. What is further ahead than any bucket can be is long past, or was
/// written before the clock was set back.
fn debt(held: u64, now: u64) -> u64 {
    let ahead = (held & MOMENT).wrapping_sub(now) & MOMENT;
    if held == 0 || ahead > BURST { 0 } else { ahead }
}

impl std::fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit").field("cost", &self.cost).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
