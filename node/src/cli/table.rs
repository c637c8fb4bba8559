//! Reports as tables: no borders, numbers to the right, a dash where there is nothing.

use std::fmt::Display;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::admin::report::{
    Admission, ClaimLine, EquivocationLine, LatencyLine, MemberLine, OperatorLine, OperatorState, Peer, ResolverLine,
    ServiceLine, Status, UnclaimedLine,
};
use crate::membership::{days, moment};
use nigh_dns::Guess;

use super::probes;

pub(super) const NOTHING: &str = "-";

/// How a column is set.
#[derive(Clone, Copy)]
pub(super) enum Column {
    Text(&'static str),
    Number(&'static str),
}

pub(super) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| match column {
        Column::Text(title) | Column::Number(title) => *title,
    }));
    table.add_rows(rows);
    for (i, column) in columns.iter().enumerate() {
        let Some(set) = table.column_mut(i) else { continue };
        set.set_padding((0, 2));
        if matches!(column, Column::Number(_)) {
            set.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

pub(super) fn or_nothing(text: impl Display) -> String {
    let text = text.to_string();
    if text.is_empty() { NOTHING.to_owned() } else { text }
}

pub(super) fn list<T: Display>(items: &[T]) -> String {
    or_nothing(items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

pub(super) fn millis(value: Option<f64>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |ms| format!("{ms:.1}"))
}

/// Seconds in the two largest units that matter.
pub(super) fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// "1 zone", "2 zones".
pub(super) fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

pub(super) fn status(status: &Status) -> String {
    let (node, mesh, dns, catalogue) = (&status.node, &status.mesh, &status.dns, &status.catalogue);
    // The sum first, then its parts by name; what never happened is left out.
    let mut counted: Vec<(&String, &u64)> = dns.counters.iter().filter(|(_, count)| **count > 0).collect();
    counted.sort_by_key(|(name, _)| (*name != "queries", *name));
    let mut counters: Vec<String> =
        counted.into_iter().map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
    if counters.is_empty() {
        counters.push("no queries yet".to_owned());
    }
    let pop = if node.pop.is_empty() { String::new() } else { format!(" ({})", node.pop) };
    let draining = if node.draining { ", draining" } else { "" };
    let mut lines = vec![
        format!("node       {}{pop}, nigh {}, up {}{draining}", node.name, node.version, age(node.uptime_s)),
        format!("id         {}", node.id),
        format!("mesh       {}", mesh.id),
        format!("admission  {}", admission(status)),
        format!("members    {} of {} alive, {} linked", mesh.alive, mesh.members, mesh.links),
        format!("pages      {}, state {}", mesh.pages, mesh.state_hash),
        format!("dns        {}", list(&dns.listen)),
        format!("answered   {}", counters.join(", ")),
        format!(
            "catalogue  {}, {}, {}, {}",
            count(catalogue.zones, "zone"),
            count(catalogue.services, "service"),
            count(catalogue.servers, "server"),
            count(catalogue.records, "record set")
        ),
        format!("snapshot   {}", status.snapshot.serial),
        format!("measuring  {}", probes::status(&status.measuring)),
    ];
    lines.extend(status.resolvers.iter().flat_map(resolver));
    lines.extend(status.warnings.iter().map(|warning| format!("warning    {warning}")));
    lines.join("\n")
}

/// A resolver, and below it the addresses that its questions leave from.
fn resolver(resolver: &ResolverLine) -> Vec<String> {
    let mut says = vec![resolver.origin.clone()];
    says.extend(resolver.rtt_ms.map(|ms| format!("RTT {ms:.1} ms")));
    if resolver.lost {
        says.push("LOST: nothing is claimed for it".to_owned());
    }
    says.extend(Some(resolver.why.clone()).filter(|why| !why.is_empty()));
    let mut lines = vec![format!("resolver   {}, {}", resolver.address, says.join(", "))];
    lines.extend(resolver.egress.iter().map(|egress| {
        let by = egress.witness.as_ref().map(|node| format!(" by {node}")).unwrap_or_default();
        let why = if egress.why.is_empty() { String::new() } else { format!(": {}", egress.why) };
        format!(
            "           from {}, {}{by}, seen {} ago{why}",
            egress.address,
            egress.state.as_str(),
            age(egress.age_s)
        )
    }));
    lines
}

fn admission(status: &Status) -> String {
    let admission = &status.admission;
    let ends = admission.ends.map(|ends| format!(" until {}", moment(ends))).unwrap_or_default();
    match (admission.silenced, admission.state) {
        (true, _) => "silent: another process runs with this node's key".to_owned(),
        (false, Admission::Admitted) => format!("admitted{ends}"),
        (false, state) => state.as_str().to_owned(),
    }
}

pub(super) fn members(members: &[MemberLine]) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("NAME"),
        Text("ADMISSION"),
        Text("VERDICT"),
        Text("LINK"),
        Number("ENDS IN"),
        Text("PREFIXES"),
        Text("ID"),
    ];
    table(
        &columns,
        members.iter().map(|member| {
            let link = match (member.is_self, member.linked) {
                (true, _) => "self",
                (false, true) => "linked",
                (false, false) => NOTHING,
            };
            let ends = match (member.admission, member.ends_in_s.map(u64::try_from)) {
                (Admission::Admitted, Some(Ok(seconds))) => days(seconds),
                _ => NOTHING.to_owned(),
            };
            vec![
                or_nothing(&member.name),
                member.admission.as_str().to_owned(),
                member.verdict.as_str().to_owned(),
                link.to_owned(),
                ends,
                list(&member.prefixes),
                member.id.clone(),
            ]
        }),
    )
}

pub(super) fn operators(lines: &[OperatorLine]) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("NAME"),
        Text("STATE"),
        Text("RIGHTS"),
        Text("SINCE"),
        Number("CATALOGUE"),
        Number("ADMISSIONS"),
        Text("ID"),
    ];
    table(
        &columns,
        lines.iter().map(|line| {
            let rights = if line.state == OperatorState::Dismissed { String::new() } else { line.rights.join(",") };
            vec![
                line.name.clone(),
                line.state.as_str().to_owned(),
                or_nothing(&rights),
                line.since_ms.map_or(NOTHING.to_owned(), |millis| moment(millis / 1000)),
                line.catalogue.to_string(),
                line.admissions.to_string(),
                line.id.clone(),
            ]
        }),
    )
}

pub(super) fn equivocations(proofs: &[EquivocationLine]) -> String {
    use Column::{Number, Text};
    if proofs.is_empty() {
        return "none: no key signed two pages of one version, as far as this node saw".to_owned();
    }
    let columns = [Text("NODE"), Number("TABLE"), Text("VERSION"), Text("ID")];
    let proofs = table(
        &columns,
        proofs.iter().map(|proof| {
            let [major, minor] = proof.version;
            vec![or_nothing(&proof.name), proof.table.to_string(), format!("{major}.{minor}"), proof.id.clone()]
        }),
    );
    format!("{proofs}\nboth pages of each, as signed: nigh equivocations --json")
}

pub(super) fn peers(peers: &[Peer]) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("NODE"),
        Text("POP"),
        Text("VERDICT"),
        Text("LINK"),
        Number("RTT ms"),
        Text("MESH"),
        Text("DNS"),
        Text("CUTS"),
        Text("ID"),
    ];
    table(
        &columns,
        peers.iter().map(|peer| {
            let link = match (peer.is_self, peer.linked) {
                (true, _) => "self",
                (false, true) => "linked",
                (false, false) => NOTHING,
            };
            vec![
                or_nothing(&peer.name),
                or_nothing(&peer.pop),
                format!("{}{}", peer.verdict.as_str(), if peer.equivocated { ", two-faced" } else { "" }),
                link.to_owned(),
                millis(peer.rtt_ms),
                list(&peer.mesh_addresses),
                list(&peer.dns_addresses),
                list(&peer.cuts),
                peer.id.chars().take(8).collect(),
            ]
        }),
    )
}

pub(super) fn claims(claims: &[ClaimLine]) -> String {
    use Column::{Number, Text};
    table(
        &[
            Text("PREFIX"),
            Text("NODE"),
            Number("PREFERENCE"),
            Text("PROVEN BY"),
            Number("AGE"),
            Number("RTT ms"),
            Text("VERDICT"),
            Text("BEST"),
        ],
        claims.iter().map(|claim| {
            vec![
                claim.prefix.to_string(),
                claim.node.clone(),
                claim.preference.to_string(),
                or_nothing(claim.witness.clone().unwrap_or_default()),
                claim.proof_age_s.map_or_else(|| NOTHING.to_owned(), age),
                millis(claim.rtt_ms),
                claim.verdict.as_str().to_owned(),
                match (claim.void, claim.best) {
                    (true, _) => "void",
                    (false, true) => "best",
                    (false, false) => NOTHING,
                }
                .to_owned(),
            ]
        }),
    )
}

pub(super) fn unclaimed(lines: &[UnclaimedLine]) -> String {
    use Column::{Number, Text};
    if lines.is_empty() {
        return "nobody of late, as far as was noted: one in 16 questions from networks that nobody claims is"
            .to_owned();
    }
    let columns = [
        Text("NETWORK"),
        Text("OPERATOR"),
        Text("COUNTRY"),
        Number("QUESTIONS"),
        Number("AT LEAST"),
        Text("NEAREST"),
        Text("BY"),
    ];
    let lines = lines.iter().map(|line| {
        let least = line.questions.saturating_sub(line.error);
        let nearest = or_nothing(line.nearest.clone().unwrap_or_default());
        let by = match line.by {
            Some(Guess::Neighbours) => "neighbours",
            Some(Guess::Network) => "operator",
            Some(Guess::Country) => "country",
            None => NOTHING,
        };
        vec![
            line.network.to_string(),
            line.operator.map_or_else(|| NOTHING.to_owned(), |number| format!("AS{number}")),
            or_nothing(line.country.clone().unwrap_or_default()),
            line.questions.to_string(),
            least.to_string(),
            nearest,
            by.to_owned(),
        ]
    });
    table(&columns, lines)
}

pub(super) fn latency(rows: &[LatencyLine]) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("NODE"),
        Text("SERVICE"),
        Text("SERVER"),
        Text("ADDRESS"),
        Text("STATE"),
        Number("RTT ms"),
        Number("LOSS %"),
        Number("LOAD %"),
        Number("AGE"),
        Text("WHY"),
    ];
    table(
        &columns,
        rows.iter().map(|row| {
            vec![
                row.node.clone(),
                row.service.clone(),
                row.server.clone(),
                row.address.map_or_else(|| NOTHING.to_owned(), |address| address.to_string()),
                if row.flapping { "flapping".to_owned() } else { row.state.as_str().to_owned() },
                millis(row.rtt_ms),
                format!("{:.0}", row.loss * 100.0),
                row.load.map_or_else(|| NOTHING.to_owned(), |load| format!("{:.0}", load * 100.0)),
                // A float that is no number of seconds becomes 0.
                age(row.age_s as u64),
                or_nothing(&row.why),
            ]
        }),
    )
}

pub(super) fn services(services: &[ServiceLine]) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("SERVICE"),
        Text("MODE"),
        Number("TTL"),
        Number("ANSWERS"),
        Number("SPREAD ms"),
        Text("PROBE"),
        Text("SERVER"),
        Text("ADDRESS"),
        Number("WEIGHT"),
        Number("TIER"),
        Text("STATE"),
    ];
    let rows = services.iter().flat_map(|service| {
        let policy = vec![
            service.name.clone(),
            service.mode.clone(),
            service.ttl.to_string(),
            service.answers.to_string(),
            format!("{:.1}", service.spread_ms),
            probes::words(&service.probe),
        ];
        let servers = service.servers.iter();
        let mut servers: Vec<[String; 5]> = servers
            .map(|server| {
                let state = if server.canary_percent > 0.0 {
                    format!("{}, canary {} %", server.state, server.canary_percent)
                } else {
                    server.state.clone()
                };
                [&server.id, &server.address.to_string(), &server.weight.to_string(), &server.tier.to_string(), &state]
                    .map(Clone::clone)
            })
            .collect();
        if servers.is_empty() {
            servers.push([(); 5].map(|()| NOTHING.to_owned()));
        }
        // The policy stands once, beside the first server.
        servers.into_iter().enumerate().map(move |(i, server)| {
            let policy = if i == 0 { policy.clone() } else { vec![String::new(); policy.len()] };
            policy.into_iter().chain(server).collect()
        })
    });
    table(&columns, rows)
}
