//! The mesh, as this node sees it: who is there, what came, and its own right to be a member.

use nigh_dns::{Exposition, Metric, MetricLabel};
use nigh_gossip::{MeshView, verdict::Verdict};

use crate::membership::{self, State};

static MEMBERS: Metric =
    Metric::gauge("nigh_mesh_members", "Members that ever spoke, this one included.").by(&[MetricLabel {
        name: "verdict",
        what: "where they stand",
        values: &[
            ("alive", "in service, or draining"),
            ("dead", "a majority of their watchers says so"),
            ("left", "they said so themselves"),
            ("absent", "they have never spoken"),
        ],
    }]);
static LINKS: Metric = Metric::gauge("nigh_mesh_links", "Members that this node is linked to.");
static ROUND_TRIP: Metric = Metric::gauge("nigh_mesh_link_round_trip_seconds", "The smoothed round trip on a link.")
    .by(&[MetricLabel { name: "peer", what: "the member at its other end", values: &[] }]);
static PAGES: Metric = Metric::gauge("nigh_mesh_pages", "Pages held; soon equal at all nodes of a mesh.");
static CUT_OFF: Metric =
    Metric::gauge("nigh_mesh_cut_off", "1 while this node hears so few others that it is the one cut off.");
static SILENCED: Metric =
    Metric::gauge("nigh_mesh_silenced", "1 once another process runs with this node's key, and this one fell silent.");
static EQUIVOCATIONS: Metric = Metric::gauge(
    "nigh_mesh_equivocations",
    "Members that signed two pages of one version: their key is in use twice, or they lie.",
);
static RECEIVED: Metric =
    Metric::counter("nigh_mesh_pages_received_total", "Pages that came from other nodes.").by(&[MetricLabel {
        name: "outcome",
        what: "what became of them",
        values: &[
            ("new", "kept"),
            ("known", "held already, or in a newer version"),
            ("refused", "may not be stored"),
            ("incomplete", "a delta to a page that was not held; it is asked for whole"),
        ],
    }]);
static UNSENT: Metric =
    Metric::counter("nigh_mesh_pages_unsent_total", "Pages that were not passed on; repair brings them.").by(&[
        MetricLabel {
            name: "why",
            what: "the reason",
            values: &[("full", "a peer's queue was full"), ("writer", "their writer writes too much")],
        },
    ]);
static GRAFTS: Metric =
    Metric::counter("nigh_mesh_grafts_total", "Pages asked for because they were announced and did not come.");
static REPAIRS: Metric = Metric::counter("nigh_mesh_repairs_total", "Exchanges in which a neighbour held other pages.");
static REFUTATIONS: Metric =
    Metric::counter("nigh_mesh_refutations_total", "Times that this node found itself declared dead, and refuted it.");
static ADMISSION: Metric =
    Metric::gauge("nigh_admission", "This node's right to be in the mesh: 1 for what holds, 0 for the rest.").by(&[
        MetricLabel {
            name: "state",
            what: "what may hold",
            values: &[
                ("admitted", "it is a member"),
                ("ended", "its certificate has ended"),
                ("revoked", "it was a member until it was revoked"),
                ("waiting", "no operator has admitted it yet"),
            ],
        },
    ]);
static CERTIFICATE: Metric = Metric::gauge(
    "nigh_certificate_expiration_timestamp_seconds",
    "When this node's certificate ends, in Unix time; nothing without one.",
);

/// What [`expose`] writes.
pub static FAMILIES: [&Metric; 14] = [
    &MEMBERS,
    &LINKS,
    &ROUND_TRIP,
    &PAGES,
    &CUT_OFF,
    &SILENCED,
    &EQUIVOCATIONS,
    &RECEIVED,
    &UNSENT,
    &GRAFTS,
    &REPAIRS,
    &REFUTATIONS,
    &ADMISSION,
    &CERTIFICATE,
];

/// Writes all of them; `now` is Unix time.
pub fn expose(text: &mut Exposition, view: &MeshView, now: u64) {
    let mut members = text.family(&MEMBERS);
    for (word, verdict) in
        [("alive", Verdict::Alive), ("dead", Verdict::Dead), ("left", Verdict::Left), ("absent", Verdict::Absent)]
    {
        members.put(&[word], view.members.values().filter(|member| member.verdict == verdict).count());
    }
    text.one(&LINKS, view.members.values().filter(|member| member.linked).count());
    let mut times = text.family(&ROUND_TRIP);
    for (id, member) in view.members.iter().filter(|(_, member)| member.linked) {
        // Two certificates with one name would be two series with one: the key is told where there is no better name.
        let name = view.certificates.get(id).map(|certificate| &certificate.name);
        let alone = |name: &&String| view.certificates.values().filter(|other| other.name == **name).count() == 1;
        if let Some(rtt) = member.rtt {
            times.put(&[&name.filter(alone).cloned().unwrap_or_else(|| id.to_string())], rtt.as_secs_f64());
        }
    }
    text.one(&PAGES, view.pages.len());
    text.one(&CUT_OFF, u8::from(view.cut_off));
    text.one(&SILENCED, u8::from(view.silenced));
    text.one(&EQUIVOCATIONS, view.equivocations.len());
    let counts = &view.counts;
    let mut received = text.family(&RECEIVED);
    received.put(&["new"], counts.pages_new);
    received.put(&["known"], counts.pages_again);
    received.put(&["refused"], counts.pages_refused);
    received.put(&["incomplete"], counts.deltas_missed);
    let mut unsent = text.family(&UNSENT);
    unsent.put(&["full"], counts.dropped);
    unsent.put(&["writer"], counts.withheld);
    text.one(&GRAFTS, counts.grafts);
    text.one(&REPAIRS, counts.repairs);
    text.one(&REFUTATIONS, counts.refutations);
    let held = membership::own(view, now);
    let mut admission = text.family(&ADMISSION);
    for (word, state) in [
        ("admitted", State::Admitted),
        ("ended", State::Ended),
        ("revoked", State::Revoked),
        ("waiting", State::Waiting),
    ] {
        admission.put(&[word], u8::from(state == held));
    }
    let mut ends = text.family(&CERTIFICATE);
    if let Some(certificate) = view.certificates.get(&view.me) {
        ends.put(&[], certificate.not_after);
    }
}
