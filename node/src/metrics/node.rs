//! The node itself: who it is, what it is for, and whether somebody should look.

use std::time::Duration;

use nigh_dns::{Exposition, Metric, MetricLabel};
use nigh_gossip::NodeId;

use crate::admin::dns_a_report::{DelegationLine, PoolLine, PoolState};
use crate::discovery::Findings;
use crate::pressure::STEPS;
use crate::running::Latest;

static BUILD: Metric = Metric::gauge("nigh_build_info", "Always 1: the version that runs.").by(&[MetricLabel {
    name: "version",
    what: "of nigh",
    values: &[],
}]);
static NODE: Metric = Metric::gauge("nigh_node_info", "Always 1: who answers here.").by(&[
    MetricLabel { name: "node", what: "its name", values: &[] },
    MetricLabel { name: "pop", what: "its point of presence", values: &[] },
    MetricLabel { name: "id", what: "its public key", values: &[] },
]);
static WARNINGS: Metric =
    Metric::gauge("nigh_warnings", "Warnings that `nigh status` shows: what someone should look at.");
static DRAINING: Metric = Metric::gauge("nigh_draining", "1 while this node leaves.");
static SNAPSHOTS: Metric = Metric::counter(
    "nigh_snapshots_total",
    "Snapshots that were made to answer from: the mesh, the catalogue or rows changed.",
);
static CATALOGUE: Metric = Metric::gauge("nigh_catalogue_entries", "What the catalogue has, as this node knows it.")
    .by(&[MetricLabel {
        name: "kind",
        what: "of entry",
        values: &[
            ("zone", "mesh zones"),
            ("service", "services"),
            ("server", "servers, counted once a service"),
            ("record", "names and types of static records"),
        ],
    }]);
static CUTS: Metric =
    Metric::gauge("nigh_cuts_served", "Cuts that this node serves: its own, and those that it stands in for.");
static CLAIMS: Metric = Metric::gauge("nigh_claims", "This node's claims.").by(&[MetricLabel {
    name: "state",
    what: "what stands behind them",
    values: &[
        ("proven", "another node vouches for them"),
        ("configured", "this node's configuration"),
        ("void", "outside of its certificate: they count nowhere"),
    ],
}]);
static LEFT_TO_OTHERS: Metric = Metric::gauge(
    "nigh_claims_left_to_others_ratio",
    "The part of its claims that this node leaves to others, because it is asked more than it can answer.",
);
static RESOLVERS: Metric =
    Metric::gauge("nigh_resolvers", "Resolvers that this node is a client of.").by(&[MetricLabel {
        name: "state",
        what: "how they are",
        values: &[("answering", "they answer"), ("lost", "they do not, and nothing is claimed for them")],
    }]);
static RESOLVER_TIME: Metric = Metric::gauge(
    "nigh_resolver_round_trip_seconds",
    "The round trip of an answer from the cache of a resolver that this node is a client of.",
)
.by(&[MetricLabel { name: "resolver", what: "where it is asked", values: &[] }]);
static POOLS: Metric =
    Metric::gauge("nigh_pools", "Origins at DNS-A whose addresses are servers here.").by(&[MetricLabel {
        name: "state",
        what: "what is held of them",
        values: &[
            ("fresh", "what DNS-A says"),
            ("kept", "what it said last; it does not answer"),
            ("none", "nothing yet"),
        ],
    }]);
static DELEGATIONS: Metric =
    Metric::gauge("nigh_delegations", "Delegations at DNS-A that this node keeps now; of those that can, one does.")
        .by(&[MetricLabel {
            name: "state",
            what: "how that goes",
            values: &[
                ("good", "the parent lists what it should, or soon will"),
                ("trouble", "`nigh delegations` says why not"),
            ],
        }]);

/// What [`expose`] writes.
pub static FAMILIES: [&Metric; 13] = [
    &BUILD,
    &NODE,
    &WARNINGS,
    &DRAINING,
    &SNAPSHOTS,
    &CATALOGUE,
    &CUTS,
    &CLAIMS,
    &LEFT_TO_OTHERS,
    &RESOLVERS,
    &RESOLVER_TIME,
    &POOLS,
    &DELEGATIONS,
];

/// What is known of the node at one moment.
pub struct Known<'k> {
    /// Its point of presence.
    pub pop: &'k str,
    /// Its key.
    pub id: NodeId,
    /// Whether it leaves.
    pub draining: bool,
    /// What the main loop found last.
    pub latest: &'k Latest,
    /// Its resolvers.
    pub findings: &'k Findings,
    /// What was imported from DNS-A.
    pub pools: &'k [PoolLine],
    /// What is kept there.
    pub delegations: &'k [DelegationLine],
}

/// Writes all of them.
pub fn expose(text: &mut Exposition, known: &Known<'_>) {
    let Latest { facts, serial, warnings, .. } = known.latest;
    text.family(&BUILD).put(&[env!("CARGO_PKG_VERSION")], 1);
    text.family(&NODE).put(&[facts.me.as_str(), known.pop, &known.id.to_string()], 1);
    text.one(&WARNINGS, warnings.len());
    text.one(&DRAINING, u8::from(known.draining));
    text.one(&SNAPSHOTS, serial);
    let catalogue = &facts.listed.catalogue;
    let mut entries = text.family(&CATALOGUE);
    entries.put(&["zone"], catalogue.zones.len());
    entries.put(&["service"], catalogue.services.len());
    entries.put(&["server"], catalogue.server_count());
    entries.put(&["record"], catalogue.records.len());
    let own = facts.nodes.get(&facts.me).filter(|own| own.id == known.id);
    text.one(&CUTS, own.map_or(0, |own| own.profile.serves.len()));
    let claims = || own.into_iter().flat_map(|own| own.claims.iter().flat_map(|page| page.iter()));
    let mut counted = text.family(&CLAIMS);
    counted.put(&["proven"], claims().filter(|claim| claim.proven).count());
    counted.put(&["configured"], claims().filter(|claim| !claim.proven).count());
    counted.put(&["void"], own.map_or(0, |own| own.void.len()));
    let step = own.map_or(0, |own| own.profile.pressure);
    text.one(&LEFT_TO_OTHERS, f64::from(step) / f64::from(STEPS));
    let resolvers = &known.findings.resolvers;
    let mut counted = text.family(&RESOLVERS);
    counted.put(&["answering"], resolvers.iter().filter(|resolver| !resolver.lost).count());
    counted.put(&["lost"], resolvers.iter().filter(|resolver| resolver.lost).count());
    let mut times = text.family(&RESOLVER_TIME);
    for resolver in resolvers {
        if let Some(rtt) = resolver.rtt.as_ref().map(Duration::as_secs_f64) {
            times.put(&[&resolver.address.to_string()], rtt);
        }
    }
    let mut counted = text.family(&POOLS);
    for state in [PoolState::Fresh, PoolState::Kept, PoolState::None] {
        counted.put(&[state.as_str()], known.pools.iter().filter(|pool| pool.state == state).count());
    }
    let mut counted = text.family(&DELEGATIONS);
    let acting = || known.delegations.iter().filter(|line| line.acting);
    counted.put(&["good"], acting().filter(|line| line.trouble.is_empty()).count());
    counted.put(&["trouble"], acting().filter(|line| !line.trouble.is_empty()).count());
}
