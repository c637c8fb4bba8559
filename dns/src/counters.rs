//! How many replies of each kind were given.
//!
//! One atomic per kind, added to without ordering: nobody reads two of them and expects one moment.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::Kind;

/// Counts of what was asked and said since the start.
#[derive(Debug, Default)]
pub struct Counters {
    queries: AtomicU64,
    referrals: AtomicU64,
    referrals_with_addresses: AtomicU64,
    cut_answers: AtomicU64,
    backup_answers: AtomicU64,
    orphan_answers: AtomicU64,
    direct_answers: AtomicU64,
    unclaimed_answers: AtomicU64,
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
}

impl Counters {
    /// Fresh ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// What they say now.
    pub fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            queries: read(&self.queries),
            referrals: read(&self.referrals),
            referrals_with_addresses: read(&self.referrals_with_addresses),
            cut_answers: read(&self.cut_answers),
            backup_answers: read(&self.backup_answers),
            orphan_answers: read(&self.orphan_answers),
            direct_answers: read(&self.direct_answers),
            unclaimed_answers: read(&self.unclaimed_answers),
            delegations: read(&self.delegations),
            zone_answers: read(&self.zone_answers),
            static_answers: read(&self.static_answers),
            whoami_answers: read(&self.whoami_answers),
            negative: read(&self.negative),
            refused: read(&self.refused),
            errors: read(&self.errors),
            cookies: read(&self.cookies),
            truncated: read(&self.truncated),
            slipped: read(&self.slipped),
            rate_limited: read(&self.rate_limited),
            dropped: read(&self.dropped),
            connections_refused: read(&self.connections_refused),
        }
    }

    /// A question was answered.
    pub(crate) fn replied(&self, kind: Kind, truncated: bool) {
        add(&self.queries);
        add(match kind {
            Kind::Referral => &self.referrals,
            Kind::ReferralWithAddresses => &self.referrals_with_addresses,
            Kind::Cut => &self.cut_answers,
            Kind::Backup => &self.backup_answers,
            Kind::Orphan => &self.orphan_answers,
            Kind::Direct => &self.direct_answers,
            Kind::Unclaimed => &self.unclaimed_answers,
            Kind::Delegation => &self.delegations,
            Kind::Zone => &self.zone_answers,
            Kind::Static => &self.static_answers,
            Kind::Whoami => &self.whoami_answers,
            Kind::Negative => &self.negative,
            Kind::Refused => &self.refused,
        });
        if truncated {
            add(&self.truncated);
        }
    }

    /// A message was answered with an error of its own making.
    pub(crate) fn erred(&self) {
        add(&self.queries);
        add(&self.errors);
    }

    /// Nothing but a cookie was asked for.
    pub(crate) fn cookie_given(&self) {
        add(&self.queries);
        add(&self.cookies);
    }

    /// A reply was over the rate limit; it slipped, or nothing was sent.
    pub(crate) fn limited(&self, slipped: bool) {
        add(&self.queries);
        add(if slipped { &self.slipped } else { &self.rate_limited });
    }

    /// A packet was not answered.
    pub(crate) fn dropped(&self) {
        add(&self.dropped);
    }

    /// A connection was closed at once.
    pub(crate) fn connection_refused(&self) {
        add(&self.connections_refused);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
