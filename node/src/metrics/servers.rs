//! What this node's own probes found of the servers.

use nigh_dns::{Exposition, Metric, MetricLabel};

use crate::admin::report::MeasureStatus;
use crate::measure::{Measurements, State};

/// Servers that have numbers of their own: four series each from every node is what a Prometheus of usual size takes with
/// ease. Those beyond (by name of service and server) are in the counts, and `nigh latency` has all.
pub const MOST_SERVERS: usize = 2000;

const WHICH: &[MetricLabel] = &[
    MetricLabel { name: "service", what: "the service's name", values: &[] },
    MetricLabel { name: "server", what: "the server's id within it", values: &[] },
];

static PROBED: Metric =
    Metric::gauge("nigh_probed_servers", "Servers of services, by what this node's own probes say.").by(&[
        MetricLabel {
            name: "state",
            what: "what they say",
            values: &[
                ("up", "it answers"),
                ("down", "it does not"),
                ("flapping", "it answers, and is held down because it went down too often"),
                ("unknown", "not measured yet, or not lately"),
            ],
        },
    ]);
static ISOLATED: Metric =
    Metric::gauge("nigh_isolated", "1 while all probes fail at once: this node is cut off, or all servers are down.");
static LEFT_OUT: Metric = Metric::gauge("nigh_probes_left_out", "Servers that are too many to be probed.");
static UNLISTED: Metric =
    Metric::gauge("nigh_servers_unlisted", "Probed servers that are too many for numbers of their own.");
static UP: Metric = Metric::gauge(
    "nigh_server_up",
    "1 for a server that is up, as this node probed it; nothing where that is unknown.",
)
.by(WHICH);
static ROUND_TRIP: Metric = Metric::gauge(
    "nigh_server_round_trip_seconds",
    "The round trip to a server from here, held still; the last good one while it is down.",
)
.by(WHICH);
static LOSS: Metric =
    Metric::gauge("nigh_server_loss_ratio", "The part of the latest probes of a server that failed.").by(WHICH);
static CERTIFICATE: Metric = Metric::gauge(
    "nigh_server_certificate_expiration_timestamp_seconds",
    "When the certificate that a server shows ends, in Unix time.",
)
.by(WHICH);

/// What [`expose`] writes.
pub static FAMILIES: [&Metric; 8] = [&PROBED, &ISOLATED, &LEFT_OUT, &UNLISTED, &UP, &ROUND_TRIP, &LOSS, &CERTIFICATE];

/// Writes all of them.
pub fn expose(text: &mut Exposition, measured: &Measurements) {
    let status = MeasureStatus::of(measured);
    let mut probed = text.family(&PROBED);
    probed.put(&["up"], status.up);
    probed.put(&["down"], status.down.saturating_sub(status.flapping));
    probed.put(&["flapping"], status.flapping);
    probed.put(&["unknown"], status.unknown);
    text.one(&ISOLATED, u8::from(measured.isolated));
    text.one(&LEFT_OUT, measured.left_out);
    text.one(&UNLISTED, measured.rows.len().saturating_sub(MOST_SERVERS));
    let rows = || {
        let rows = measured.rows.iter().take(MOST_SERVERS);
        rows.map(|row| ([row.target.service.as_str(), row.target.server.as_str()], row))
    };
    let mut up = text.family(&UP);
    rows().filter(|(_, row)| row.reading.state != State::Unknown).for_each(|(which, row)| {
        up.put(&which, u8::from(row.reading.state == State::Up));
    });
    let mut times = text.family(&ROUND_TRIP);
    rows().filter_map(|(which, row)| Some((which, row.reading.rtt?))).for_each(|(which, rtt)| {
        times.put(&which, rtt.as_secs_f64());
    });
    let mut loss = text.family(&LOSS);
    rows().filter(|(_, row)| row.reading.state != State::Unknown).for_each(|(which, row)| {
        loss.put(&which, row.reading.loss);
    });
    let mut ends = text.family(&CERTIFICATE);
    rows().filter_map(|(which, row)| Some((which, row.seen.certificate_ends?))).for_each(|(which, at)| {
        ends.put(&which, at);
    });
}
