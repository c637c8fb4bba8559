//! A service from every node: what it measured, and what its clients get, asked of the functions that answer.

use std::collections::BTreeMap;
use std::time::Duration;

use hickory_proto::rr::Name;
use nigh_dns::{Family, Label, RowState, Shares, Snapshot, shares};

use crate::admin::picture::{Heat, HeatCell, HeatRow, HeatServer};
use crate::admin::report::ServerState;
use crate::catalogue::name::text;
use crate::facts::{Facts, NodeFacts};
use crate::running::standing;
use crate::tables::latency::{Row, ServerKey};

/// Nodes that are told of: each is ranked, and a page shows no more.
const MOST_ROWS: usize = 500;
/// Servers that are told of.
const MOST_SERVERS: usize = 100;

/// The service of that name; nothing if there is none.
pub fn heat(facts: &Facts, snapshot: &Snapshot, name: &Name) -> Option<Heat> {
    let (name, service) = facts.listed.catalogue.services.get_key_value(name)?;
    let words = text(name);
    let servers: Vec<HeatServer> = service
        .servers
        .iter()
        .take(MOST_SERVERS)
        .map(|(id, server)| HeatServer {
            id: id.clone(),
            address: server.address,
            state: server.state.unwrap_or_default().as_str().into(),
            tier: server.tier,
        })
        .collect();
    let keys: BTreeMap<ServerKey, usize> =
        servers.iter().enumerate().map(|(at, server)| (ServerKey::new(&words, &server.id), at)).collect();
    // This one first: on a large mesh the rest is cut.
    let (own, others): (Vec<_>, Vec<_>) = facts.nodes.iter().partition(|(label, _)| **label == facts.me);
    let rows = own.into_iter().chain(others).take(MOST_ROWS);
    let rows = rows.map(|(label, node)| row(snapshot, name, label, node, &servers, &keys)).collect();
    let left_out = facts.nodes.len().saturating_sub(MOST_ROWS) + service.servers.len().saturating_sub(MOST_SERVERS);
    Some(Heat { service: words, servers, rows, left_out })
}

fn row(
    snapshot: &Snapshot,
    service: &Name,
    label: &Label,
    node: &NodeFacts,
    servers: &[HeatServer],
    keys: &BTreeMap<ServerKey, usize>,
) -> HeatRow {
    let mut seen: Vec<Option<&Row>> = vec![None; servers.len()];
    for row in node.rows.iter().flat_map(|page| page.iter()) {
        if let Some(place) = keys.get(&row.server).and_then(|at| seen.get_mut(*at)) {
            *place = Some(row);
        }
    }
    let given: Vec<Shares> = [Family::V4, Family::V6]
        .into_iter()
        .filter(|family| servers.iter().any(|server| family.has(server.address)))
        .filter_map(|family| shares(snapshot, label, service, family, None))
        .collect();
    let share = |id: &str| {
        let all = given.iter().flat_map(|given| &given.servers);
        all.filter(|share| share.server == id).map(|share| share.part).fold(0.0, f64::max)
    };
    HeatRow {
        node: label.to_string(),
        pop: node.profile.pop.clone(),
        verdict: standing(node.standing),
        failed_open: given.iter().any(|given| given.failed_open),
        instead: given.iter().flat_map(|given| given.instead.iter().copied()).collect(),
        cells: servers.iter().zip(&seen).map(|(server, row)| cell(*row, share(&server.id))).collect(),
    }
}

fn cell(row: Option<&Row>, share: f64) -> HeatCell {
    HeatCell {
        state: match row.map(|row| row.state.into()) {
            Some(RowState::Up) => ServerState::Up,
            Some(RowState::Down) => ServerState::Down,
            Some(RowState::Unknown) | None => ServerState::Unknown,
        },
        rtt_ms: row.and_then(Row::rtt).map(|rtt: Duration| (rtt.as_secs_f64() * 1e5).round() / 100.0),
        loss: row.map_or(0.0, |row| f64::from(row.loss_permille) / 1000.0),
        load: row.and_then(|row| row.load_permille).map(|load| f64::from(load) / 1000.0),
        share: (share * 1e4).round() / 1e4,
        why: row.map(|row| row.why().to_owned()).unwrap_or_default(),
    }
}
