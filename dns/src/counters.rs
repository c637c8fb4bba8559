//! How many replies of each kind were given.
//!
//! One atomic per kind, added to without ordering: nobody reads two of them and expects one moment. Each thread counts in
//! a shard of its own and reading adds them up: two cores that add to one number hand its cache line to and fro, which
//! costs more than the answer. With more threads than shards some share, and the counts are exact all the same.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::Guess;
use crate::Kind;
use crate::decide::Basis;

/// Threads that count apart: as many as answer on a large machine.
pub(crate) const SHARDS: usize = 16;

/// The steps in which the times of answers are told: each twice the one before, from a name that is found at once to an
/// answer that lost its core to another process.
pub(crate) const BOUNDS: [Duration; 14] = {
    let mut bounds = [Duration::from_nanos(128); 14];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = Duration::from_nanos(128 << at);
        at += 1;
    }
    bounds
};

/// Numbers the threads as they come.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS);
}

/// Counts of what was asked and said since the start.
#[derive(Debug, Default)]
pub struct Counters {
    shards: [Shard; SHARDS],
}

/// One thread's counts, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    referrals: AtomicU64,
    referrals_with_addresses: AtomicU64,
    cut_answers: AtomicU64,
    backup_answers: AtomicU64,
    orphan_answers: AtomicU64,
    direct_answers: AtomicU64,
    unclaimed_answers: AtomicU64,
    estimated_answers: AtomicU64,
    delegations: AtomicU64,
    zone_answers: AtomicU64,
    static_answers: AtomicU64,
    whoami_answers: AtomicU64,
    negative: AtomicU64,
    refused: AtomicU64,
    errors: AtomicU64,
    cookies: AtomicU64,
    truncated: AtomicU64,
    slipped: AtomicU64,
    rate_limited: AtomicU64,
    dropped: AtomicU64,
    connections_refused: AtomicU64,
    /// Answers that were timed: within each of the bounds, longer, and all their nanoseconds.
    took_within: [AtomicU64; BOUNDS.len()],
    took_longer: AtomicU64,
    took_nanos: AtomicU64,
    by_proven_claims: AtomicU64,
    by_configured_claims: AtomicU64,
    by_client_subnets: AtomicU64,
    by_neighbours: AtomicU64,
    by_networks: AtomicU64,
    by_countries: AtomicU64,
    by_nothing: AtomicU64,
    sampled_as_intended: AtomicU64,
    sampled_as_not_intended: AtomicU64,
}

/// How long the answers took that were timed.
pub(crate) struct Took {
    /// Longer than the bound before, not longer than this one.
    pub(crate) within: [u64; BOUNDS.len()],
    pub(crate) longer: u64,
    pub(crate) sum: Duration,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages that were understood as far as their header.
    pub queries: u64,
    /// A CNAME into another node's cut.
    pub referrals: u64,
    /// A CNAME into a cut that this node serves, with what stands there.
    pub referrals_with_addresses: u64,
    /// Addresses in the own cut.
    pub cut_answers: u64,
    /// Addresses in a cut that this node is a backup for.
    pub backup_answers: u64,
    /// Addresses in a cut that nobody serves any more.
    pub orphan_answers: u64,
    /// Addresses at once, because the service or the client wants it so.
    pub direct_answers: u64,
    /// Addresses at once, because nobody claims the client: what to cover next.
    pub unclaimed_answers: u64,
    /// Addresses at once, from the node that claims the client's neighbours, or others of its operator or country: nobody
    /// claims the client itself.
    pub estimated_answers: u64,
    /// The name servers of another node's cut.
    pub delegations: u64,
    /// SOA, NS and addresses of name servers.
    pub zone_answers: u64,
    /// Records that the operators wrote, and aliases that lead out of the mesh's zones.
    pub static_answers: u64,
    /// What resolvers asked about themselves.
    pub whoami_answers: u64,
    /// NXDOMAIN and NODATA.
    pub negative: u64,
    /// Outside of our zones, or a transfer.
    pub refused: u64,
    /// FORMERR, NOTIMP and BADVERS.
    pub errors: u64,
    /// Replies to those who asked for nothing but a cookie.
    pub cookies: u64,
    /// Replies that were cut short to fit, TC set.
    pub truncated: u64,
    /// Over the rate limit, and told how to come back: by TCP or with a cookie.
    pub slipped: u64,
    /// Over the rate limit, and not answered.
    pub rate_limited: u64,
    /// Packets without a reply: too short to be a message, responses, or no place to send one to.
    pub dropped: u64,
    /// TCP connections closed at once, because their network had its share of them.
    pub connections_refused: u64,
    /// As DNS-B, for clients that a node claims and another one vouches for.
    pub by_proven_claims: u64,
    /// As DNS-B, for clients that a node claims by its configuration.
    pub by_configured_claims: u64,
    /// As DNS-B, for client subnets that a node claims.
    pub by_client_subnets: u64,
    /// As DNS-B, for clients whose neighbours a node claims.
    pub by_neighbours: u64,
    /// As DNS-B, for clients of an operator of whom a node claims others.
    pub by_networks: u64,
    /// As DNS-B, for clients in a country where a node claims others.
    pub by_countries: u64,
    /// As DNS-B, for clients of which nothing is known.
    pub by_nothing: u64,
    /// Of the answers in the own cut one in 16 is looked at: those to resolvers that this node is the best claimant of.
    pub sampled_as_intended: u64,
    /// And those to others: they came by a cache, or before a claim changed.
    pub sampled_as_not_intended: u64,
}

impl Counts {
    /// Every message that was understood was counted once by what became of it.
    fn understood(&self) -> u64 {
        let answered = [
            self.referrals,
            self.referrals_with_addresses,
            self.cut_answers,
            self.backup_answers,
            self.orphan_answers,
            self.direct_answers,
            self.unclaimed_answers,
            self.estimated_answers,
            self.delegations,
            self.zone_answers,
            self.static_answers,
            self.whoami_answers,
            self.negative,
            self.refused,
        ];
        answered.iter().sum::<u64>() + self.errors + self.cookies + self.slipped + self.rate_limited
    }
}

impl Counters {
    /// Fresh ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// What they say now.
    pub fn read(&self) -> Counts {
        let read = |counter: fn(&Shard) -> &AtomicU64| -> u64 {
            self.shards.iter().map(|shard| counter(shard).load(Ordering::Relaxed)).sum()
        };
        let mut counts = Counts {
            queries: 0,
            referrals: read(|shard| &shard.referrals),
            referrals_with_addresses: read(|shard| &shard.referrals_with_addresses),
            cut_answers: read(|shard| &shard.cut_answers),
            backup_answers: read(|shard| &shard.backup_answers),
            orphan_answers: read(|shard| &shard.orphan_answers),
            direct_answers: read(|shard| &shard.direct_answers),
            unclaimed_answers: read(|shard| &shard.unclaimed_answers),
            estimated_answers: read(|shard| &shard.estimated_answers),
            delegations: read(|shard| &shard.delegations),
            zone_answers: read(|shard| &shard.zone_answers),
            static_answers: read(|shard| &shard.static_answers),
            whoami_answers: read(|shard| &shard.whoami_answers),
            negative: read(|shard| &shard.negative),
            refused: read(|shard| &shard.refused),
            errors: read(|shard| &shard.errors),
            cookies: read(|shard| &shard.cookies),
            truncated: read(|shard| &shard.truncated),
            slipped: read(|shard| &shard.slipped),
            rate_limited: read(|shard| &shard.rate_limited),
            dropped: read(|shard| &shard.dropped),
            connections_refused: read(|shard| &shard.connections_refused),
            by_proven_claims: read(|shard| &shard.by_proven_claims),
            by_configured_claims: read(|shard| &shard.by_configured_claims),
            by_client_subnets: read(|shard| &shard.by_client_subnets),
            by_neighbours: read(|shard| &shard.by_neighbours),
            by_networks: read(|shard| &shard.by_networks),
            by_countries: read(|shard| &shard.by_countries),
            by_nothing: read(|shard| &shard.by_nothing),
            sampled_as_intended: read(|shard| &shard.sampled_as_intended),
            sampled_as_not_intended: read(|shard| &shard.sampled_as_not_intended),
        };
        counts.queries = counts.understood();
        counts
    }

    /// How long the answers took that were timed.
    pub(crate) fn read_took(&self) -> Took {
        let sum = |counter: &dyn Fn(&Shard) -> &AtomicU64| -> u64 {
            self.shards.iter().map(|shard| counter(shard).load(Ordering::Relaxed)).sum()
        };
        Took {
            within: std::array::from_fn(|at| sum(&|shard| &shard.took_within[at])),
            longer: sum(&|shard| &shard.took_longer),
            sum: Duration::from_nanos(sum(&|shard| &shard.took_nanos)),
        }
    }

    fn own(&self) -> &Shard {
        &self.shards[SHARD.get()]
    }

    /// A question was answered.
    pub(crate) fn replied(&self, kind: Kind, truncated: bool) {
        let own = self.own();
        add(match kind {
            Kind::Referral => &own.referrals,
            Kind::ReferralWithAddresses => &own.referrals_with_addresses,
            Kind::Cut => &own.cut_answers,
            Kind::Backup => &own.backup_answers,
            Kind::Orphan => &own.orphan_answers,
            Kind::Direct => &own.direct_answers,
            Kind::Unclaimed => &own.unclaimed_answers,
            Kind::Estimated => &own.estimated_answers,
            Kind::Delegation => &own.delegations,
            Kind::Zone => &own.zone_answers,
            Kind::Static => &own.static_answers,
            Kind::Whoami => &own.whoami_answers,
            Kind::Negative => &own.negative,
            Kind::Refused => &own.refused,
        });
        if truncated {
            add(&own.truncated);
        }
    }

    /// An answer was timed.
    pub(crate) fn took(&self, time: Duration) {
        let own = self.own();
        let at = BOUNDS.partition_point(|bound| *bound < time);
        add(own.took_within.get(at).unwrap_or(&own.took_longer));
        own.took_nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// As DNS-B, by what the client's place was known.
    pub(crate) fn known_by(&self, basis: Basis) {
        let own = self.own();
        add(match basis {
            Basis::Proven => &own.by_proven_claims,
            Basis::Configured => &own.by_configured_claims,
            Basis::Subnet => &own.by_client_subnets,
            Basis::Guess(Guess::Neighbours) => &own.by_neighbours,
            Basis::Guess(Guess::Network) => &own.by_networks,
            Basis::Guess(Guess::Country) => &own.by_countries,
            Basis::Nothing => &own.by_nothing,
        });
    }

    /// An answer in the own cut was looked at: did it go to whom the mesh would send here?
    pub(crate) fn sampled(&self, intended: bool) {
        add(if intended { &self.own().sampled_as_intended } else { &self.own().sampled_as_not_intended });
    }

    /// Which shard this thread counts in.
    pub(crate) fn shard() -> usize {
        SHARD.get()
    }

    /// A message was answered with an error of its own making.
    pub(crate) fn erred(&self) {
        add(&self.own().errors);
    }

    /// Nothing but a cookie was asked for.
    pub(crate) fn cookie_given(&self) {
        add(&self.own().cookies);
    }

    /// A reply was over the rate limit; it slipped, or nothing was sent.
    pub(crate) fn limited(&self, slipped: bool) {
        add(if slipped { &self.own().slipped } else { &self.own().rate_limited });
    }

    /// A packet was not answered.
    pub(crate) fn dropped(&self) {
        add(&self.own().dropped);
    }

    /// A connection was closed at once.
    pub(crate) fn connection_refused(&self) {
        add(&self.own().connections_refused);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
