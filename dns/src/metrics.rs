//! The counters as Prometheus reads them (its text format, version 0.0.4).
//!
//! Names follow its conventions: a unit in the plural, `_total` behind what only grows, one name with labels where kinds of
//! one thing are told apart. They are documented in this crate's README: whoever renames one breaks somebody's dashboard.

use std::fmt::Write;

use crate::Counters;
use crate::counters::BOUNDS;

/// A kind, and how many there were.
type Labelled = (&'static str, u64);

impl Counters {
    /// All of them, at one moment.
    pub fn prometheus(&self) -> String {
        let counts = self.read();
        let mut text = String::new();
        let answers = [
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
        ];
        family(&mut text, "nigh_dns_replies_total", "Replies, by what they say.", "kind", &answers);
        let known = [
            ("proven", counts.by_proven_claims),
            ("configured", counts.by_configured_claims),
            ("subnet", counts.by_client_subnets),
            ("neighbours", counts.by_neighbours),
            ("network", counts.by_networks),
            ("country", counts.by_countries),
            ("nothing", counts.by_nothing),
        ];
        let help = "Replies as DNS-B, by how the client's place was known.";
        family(&mut text, "nigh_dns_clients_total", help, "known_by", &known);
        let sampled = [("yes", counts.sampled_as_intended), ("no", counts.sampled_as_not_intended)];
        let help = "Of one answer in 16 in the own cut: did it go to whom the mesh sends here?";
        family(&mut text, "nigh_dns_sampled_referrals_total", help, "intended", &sampled);
        let limited = [("slipped", counts.slipped), ("dropped", counts.rate_limited)];
        family(&mut text, "nigh_dns_rate_limited_total", "Queries over the rate limit.", "outcome", &limited);
        for (name, help, count) in [
            ("nigh_dns_queries_total", "Messages that were understood as far as their header.", counts.queries),
            ("nigh_dns_truncated_total", "Replies that were cut short to fit.", counts.truncated),
            ("nigh_dns_dropped_total", "Packets that deserve no reply.", counts.dropped),
            (
                "nigh_dns_tcp_connections_refused_total",
                "Connections closed at once, because their network had its share.",
                counts.connections_refused,
            ),
        ] {
            head(&mut text, name, help, "counter");
            put(&mut text, format_args!("{name} {count}\n"));
        }
        self.histogram(&mut text);
        text
    }

    fn histogram(&self, text: &mut String) {
        let name = "nigh_dns_answer_duration_seconds";
        let help = "Time from a packet read to its reply written, without the kernel, of one answer by UDP in 1,024.";
        head(text, name, help, "histogram");
        let took = self.read_took();
        let mut count = 0;
        for (bound, within) in BOUNDS.iter().zip(took.within) {
            count += within;
            put(text, format_args!("{name}_bucket{{le=\"{}\"}} {count}\n", bound.as_secs_f64()));
        }
        count += took.longer;
        put(text, format_args!("{name}_bucket{{le=\"+Inf\"}} {count}\n"));
        put(text, format_args!("{name}_sum {}\n{name}_count {count}\n", took.sum.as_secs_f64()));
    }
}

fn family(text: &mut String, name: &str, help: &str, label: &str, counts: &[Labelled]) {
    head(text, name, help, "counter");
    for (kind, count) in counts {
        put(text, format_args!("{name}{{{label}=\"{kind}\"}} {count}\n"));
    }
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    put(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = text.write_fmt(line);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let text = counters.prometheus();
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
        // Every sample belongs to a family that was announced, and has a number.
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(text.contains(&format!("# TYPE {family} ")), "{line}");
            assert!(line.rsplit(' ').next().is_some_and(|number| number.parse::<f64>().is_ok()), "{line}");
        }
    }
}
