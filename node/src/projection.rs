//! The one place where replicated state becomes what packets are answered from.
//!
//! ```text
//!   MeshView ──▶ facts::Reader ──▶ Facts ──▶ world() ──▶ nigh_dns::World ──▶ Snapshot
//! ```
//!
//! **Invariant:** `nigh_gossip` and `nigh_dns` meet here and nowhere else, and nothing here decides: who is nearest,
//! what is up and what is answered is decided in `nigh_dns` from plain data.

use nigh_dns::{self as dns, Label, World};

use crate::{
    catalogue::{self, Catalogue, Mode},
    facts::{Facts, NodeFacts},
    measure::Measurements,
};

/// The world as the snapshot wants it. `own` says when this node's own rows were last sampled; `lingering` are the
/// cuts that this node left but still answers for.
pub fn world(serial: u64, facts: &Facts, own: &Measurements, lingering: Vec<Label>) -> World {
    let catalogue = &facts.listed.catalogue;
    World {
        serial,
        zone_serial: facts.listed.serial,
        me: facts.me.clone(),
        lingering,
        zones: catalogue
            .zones
            .iter()
            .map(|(apex, zone)| dns::Zone { apex: apex.clone(), nameservers: zone.nameservers.clone() })
            .collect(),
        nodes: facts.nodes.iter().map(|(label, node)| dns_node(label, node)).collect(),
        claims: facts.nodes.iter().flat_map(|(label, node)| claims(label, node)).collect(),
        services: services(catalogue),
        rows: facts.nodes.iter().flat_map(|(label, node)| rows(facts, label, node, own)).collect(),
    }
}

fn dns_node(label: &Label, node: &NodeFacts) -> dns::Node {
    dns::Node {
        label: label.clone(),
        pop: node.profile.pop.clone(),
        addresses: node.profile.dns.clone(),
        serves: node.profile.serves.clone(),
        standing: node.standing,
    }
}

fn claims<'a>(label: &'a Label, node: &'a NodeFacts) -> impl Iterator<Item = dns::Claim> + 'a {
    node.claims.iter().flat_map(|page| page.iter()).map(|claim| dns::Claim {
        node: label.clone(),
        prefix: claim.prefix,
        preference: claim.preference,
    })
}

fn services(catalogue: &Catalogue) -> Vec<dns::Service> {
    catalogue
        .services
        .iter()
        .map(|(name, service)| dns::Service {
            name: name.clone(),
            mode: match service.policy.mode {
                Mode::Refer => dns::Mode::Refer,
                Mode::Answer => dns::Mode::Answer,
            },
            ttl: service.policy.ttl,
            answers: service.policy.answers,
            spread: service.policy.spread,
            servers: service
                .servers
                .iter()
                .map(|(id, server)| dns::Server { id: id.clone(), address: server.address, weight: server.weight })
                .collect(),
        })
        .collect()
}

fn rows<'a>(
    facts: &'a Facts,
    label: &'a Label,
    node: &'a NodeFacts,
    own: &'a Measurements,
) -> impl Iterator<Item = dns::Row> + 'a {
    node.rows.iter().flat_map(|page| page.iter()).filter_map(move |row| {
        let (service, server) = facts.listed.servers.get(&row.server)?;
        let sampled =
            (*label == facts.me).then(|| own.row(&catalogue::name::text(service), server)?.reading.sampled).flatten();
        Some(dns::Row {
            node: label.clone(),
            service: service.clone(),
            server: server.clone(),
            state: row.state.into(),
            rtt: row.rtt(),
            loss: f32::from(row.loss_permille) / 1000.0,
            as_of: sampled.unwrap_or(node.confirmed),
            why: row.why.clone(),
        })
    })
}
