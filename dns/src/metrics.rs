//! The counters as Prometheus reads them, and what each of them means: the page that documents them is made from these
//! families (`deploy/docs/reference/metrics.md`).

mod exposition;

pub use exposition::{Exposition, Metric, MetricKind, MetricLabel, Samples};

use crate::Counters;
use crate::counters::BOUNDS;

static REPLIES: Metric = Metric::counter("nigh_dns_replies_total", "Replies, by what they say.").by(&[MetricLabel {
    name: "kind",
    what: "what the reply says",
    values: &[
        ("referral", "a CNAME into another node's cut"),
        ("referral_with_addresses", "a CNAME into a cut that this node serves, with the addresses that stand there"),
        ("cut", "addresses in this node's own cut"),
        ("backup", "addresses in a cut that this node stands in for"),
        ("orphan", "addresses in a cut that nobody serves any more"),
        ("direct", "addresses at once, because the service or the client wants it so"),
        ("unclaimed", "addresses at once, because nobody claims the client: what to cover next"),
        ("estimated", "addresses at once, from the node that claims the client's neighbours, operator or country"),
        ("delegation", "the name servers of another node's cut"),
        ("zone", "SOA, NS and addresses of name servers"),
        ("static", "records that the operators wrote"),
        ("whoami", "what a resolver asked about itself"),
        ("negative", "NXDOMAIN and NODATA"),
        ("refused", "REFUSED: outside of the mesh's zones, or a transfer"),
        ("error", "FORMERR, NOTIMP and BADVERS"),
        ("cookie", "to those who asked for nothing but a cookie"),
    ],
}]);

static CLIENTS: Metric =
    Metric::counter("nigh_dns_clients_total", "Replies as DNS-B, by how the client's place was known.").by(&[
        MetricLabel {
            name: "known_by",
            what: "how the client's place was known",
            values: &[
                ("proven", "a claim that another node vouches for"),
                ("configured", "a claim of a node's configuration"),
                ("subnet", "a claim over the subnet that the resolver sent"),
                ("neighbours", "nobody claims it, but somebody its neighbours"),
                ("network", "nobody claims it, but somebody others of its operator"),
                ("country", "nobody claims it, but somebody others in its country"),
                ("nothing", "not at all"),
            ],
        },
    ]);

static SAMPLED: Metric = Metric::counter(
    "nigh_dns_sampled_referrals_total",
    "Of one answer in 16 in the own cut: did it go to whom the mesh sends here?",
)
.by(&[MetricLabel {
    name: "intended",
    what: "whether this node is the best claimant of the asker",
    values: &[("yes", "it is"), ("no", "it came by a cache, or before a claim changed")],
}]);

static RATE_LIMITED: Metric =
    Metric::counter("nigh_dns_rate_limited_total", "Queries over the rate limit.").by(&[MetricLabel {
        name: "outcome",
        what: "what became of them",
        values: &[("slipped", "told how to come back: by TCP, or with a cookie"), ("dropped", "not answered")],
    }]);

static QUERIES: Metric =
    Metric::counter("nigh_dns_queries_total", "Messages that were understood as far as their header.");
static TRUNCATED: Metric = Metric::counter("nigh_dns_truncated_total", "Replies that were cut short to fit.");
static DROPPED: Metric = Metric::counter(
    "nigh_dns_dropped_total",
    "Packets that deserve no reply: too short to be a message, responses, or with no place to send one to.",
);
static CONNECTIONS_REFUSED: Metric = Metric::counter(
    "nigh_dns_tcp_connections_refused_total",
    "Connections closed at once, because their network had its share.",
);
static TOOK: Metric = Metric::histogram(
    "nigh_dns_answer_duration_seconds",
    "Time from a packet read to its reply written, without the kernel, of one answer by UDP in 1,024.",
);

impl Counters {
    /// The families that [`Counters::expose`] writes.
    pub const FAMILIES: [&'static Metric; 9] =
        [&REPLIES, &CLIENTS, &SAMPLED, &RATE_LIMITED, &QUERIES, &TRUNCATED, &DROPPED, &CONNECTIONS_REFUSED, &TOOK];

    /// Writes all of them, as they are at one moment.
    pub fn expose(&self, text: &mut Exposition) {
        let counts = self.read();
        let mut family = |family, counts: &[(&str, u64)]| {
            let mut samples = text.family(family);
            counts.iter().for_each(|(label, count)| samples.put(&[label], count));
        };
        family(
            &REPLIES,
            &[
                ("referral", counts.referrals),
                ("referral_with_addresses", counts.referrals_with_addresses),
                ("cut", counts.cut_answers),
                ("backup", counts.backup_answers),
                ("orphan", counts.orphan_answers),
                ("direct", counts.direct_answers),
                ("unclaimed", counts.unclaimed_answers),
                ("estimated", counts.estimated_answers),
                ("delegation", counts.delegations),
                ("zone", counts.zone_answers),
                ("static", counts.static_answers),
                ("whoami", counts.whoami_answers),
                ("negative", counts.negative),
                ("refused", counts.refused),
                ("error", counts.errors),
                ("cookie", counts.cookies),
            ],
        );
        family(
            &CLIENTS,
            &[
                ("proven", counts.by_proven_claims),
                ("configured", counts.by_configured_claims),
                ("subnet", counts.by_client_subnets),
                ("neighbours", counts.by_neighbours),
                ("network", counts.by_networks),
                ("country", counts.by_countries),
                ("nothing", counts.by_nothing),
            ],
        );
        family(&SAMPLED, &[("yes", counts.sampled_as_intended), ("no", counts.sampled_as_not_intended)]);
        family(&RATE_LIMITED, &[("slipped", counts.slipped), ("dropped", counts.rate_limited)]);
        text.one(&QUERIES, counts.queries);
        text.one(&TRUNCATED, counts.truncated);
        text.one(&DROPPED, counts.dropped);
        text.one(&CONNECTIONS_REFUSED, counts.connections_refused);
        let took = self.read_took();
        let within = BOUNDS.iter().map(std::time::Duration::as_secs_f64).zip(took.within);
        text.family(&TOOK).histogram(within, took.longer, took.sum.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Exposition;
    use crate::{Counters, Kind};

    #[test]
    fn what_is_counted_is_told() {
        let counters = Counters::new();
        counters.replied(Kind::Referral, false);
        counters.replied(Kind::Negative, true);
        counters.limited(true);
        for nanos in [90, 128, 129, 3_000_000] {
            counters.took(Duration::from_nanos(nanos));
        }
        let mut text = Exposition::new();
        counters.expose(&mut text);
        let text = text.finish();
        let has = |line: &str| assert!(text.lines().any(|held| held == line), "{line} is not in\n{text}");
        has("nigh_dns_replies_total{kind=\"referral\"} 1");
        has("nigh_dns_replies_total{kind=\"negative\"} 1");
        has("nigh_dns_replies_total{kind=\"static\"} 0");
        has("nigh_dns_rate_limited_total{outcome=\"slipped\"} 1");
        has("nigh_dns_queries_total 3");
        has("nigh_dns_truncated_total 1");
        has("nigh_dns_answer_duration_seconds_bucket{le=\"0.000000128\"} 2");
        has("nigh_dns_answer_duration_seconds_bucket{le=\"0.000000256\"} 3");
        has("nigh_dns_answer_duration_seconds_bucket{le=\"+Inf\"} 4");
        has("nigh_dns_answer_duration_seconds_count 4");
        has("nigh_dns_answer_duration_seconds_sum 0.003000347");
        for family in Counters::FAMILIES {
            has(&format!("# TYPE {} {}", family.name, family.kind.as_str()));
            for (value, _) in family.labels.iter().flat_map(|label| label.values) {
                assert!(text.contains(&format!("=\"{value}\"")), "{} says {value} nowhere", family.name);
            }
        }
        // Every sample belongs to a family that was announced, and has a number.
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(text.contains(&format!("# TYPE {family} ")), "{line}");
            assert!(line.rsplit(' ').next().is_some_and(|number| number.parse::<f64>().is_ok()), "{line}");
        }
    }
}
