//! The one place where replicated state becomes what packets are answered from.
//!
//! ```text
//!   MeshView ──▶ facts::Reader ──▶ Facts ──▶ world() ──▶ nigh_dns::World ──▶ Snapshot
//! ```
//!
//! **Invariant:** `nigh_gossip` and `nigh_dns` meet here and nowhere else, and nothing here decides who is nearest and what
//! is answered: that is done in `nigh_dns`, from plain data. Whose word counts on what is up, `hearsay` says.

pub mod claims;
mod hearsay;
pub mod networks;

use std::collections::BTreeSet;

use hickory_proto::rr::{Name, RData, RecordType};
use nigh_dns::{self as dns, ClaimTable, Label, Networks, World};

use crate::{
    catalogue::{self, Catalogue, Mode},
    facts::{Facts, NodeFacts},
    measure::{Measurements, ProbeSpec},
};

use self::hearsay::Witnesses;

/// The world as the snapshot wants it. `claims` are those of the facts, laid out by [`claims::Claimed`] with
/// the networks that they lie in; `own` says when
/// this node's own rows were last sampled; `lingering` are the cuts that this node left but still answers for.
pub fn world(
    serial: u64,
    facts: &Facts,
    (claims, networks): (ClaimTable, Networks),
    own: &Measurements,
    lingering: Vec<Label>,
) -> World {
    let catalogue = &facts.listed.catalogue;
    let witnesses = Witnesses::new(facts, Some(own));
    World {
        zones: zones(catalogue),
        services: services(catalogue),
        records: records(catalogue),
        serial,
        zone_serial: facts.listed.serial,
        me: facts.me.clone(),
        lingering,
        nodes: facts.nodes.iter().map(|(label, node)| dns_node(label, node)).collect(),
        claims,
        networks,
        rows: facts.nodes.iter().flat_map(|(label, node)| rows(facts, label, node, &witnesses)).collect(),
    }
}

/// As much of a world as the choice of servers of these services needs: no claims and no static records, and no rows of
/// the servers that are as good as new.
pub fn foreseen(facts: &Facts, of: &BTreeSet<Name>, unmeasured: &BTreeSet<(Name, String)>) -> World {
    let catalogue = &facts.listed.catalogue;
    let witnesses = Witnesses::new(facts, None);
    let rows = facts.nodes.iter().flat_map(|(label, node)| rows(facts, label, node, &witnesses));
    let known =
        |row: &dns::Row| of.contains(&row.service) && !unmeasured.contains(&(row.service.clone(), row.server.clone()));
    World {
        zones: zones(catalogue),
        services: services(catalogue).into_iter().filter(|service| of.contains(&service.name)).collect(),
        nodes: facts.nodes.iter().map(|(label, node)| dns_node(label, node)).collect(),
        rows: rows.filter(known).collect(),
        ..World::new(facts.me.clone())
    }
}

/// What is wrong with the static records of a catalogue, as a snapshot of it would find: name, type and why.
pub fn misplaced(catalogue: &Catalogue) -> Vec<(Name, RecordType, String)> {
    let me: Label = match "apply".parse() {
        Ok(me) => me,
        Err(_) => return Vec::new(),
    };
    let world =
        World { zones: zones(catalogue), services: services(catalogue), records: records(catalogue), ..World::new(me) };
    let (snapshot, problems) = dns::Snapshot::build(world);
    let aliases = catalogue.records.keys().filter(|(_, rtype)| RecordType::from(*rtype) == RecordType::CNAME);
    let endless = aliases.filter(|(name, _)| is_endless(&snapshot, catalogue, name)).map(|(name, _)| {
        (name.clone(), RecordType::CNAME, "leads in a circle, or through more aliases than one reply holds".to_owned())
    });
    problems
        .into_iter()
        .filter_map(|problem| match problem {
            dns::Problem::Records(name, rtype, why) => Some((name, rtype, why.to_owned())),
            dns::Problem::NoGlue(ref zone, _) => Some((zone.clone(), RecordType::NS, problem.to_string())),
            _ => None,
        })
        .chain(endless)
        .collect()
}

/// Whether a reply to a question for an alias ends with one that leads to a name of ours.
fn is_endless(snapshot: &dns::Snapshot, catalogue: &Catalogue, name: &Name) -> bool {
    let question = dns::Question::new(name.clone(), RecordType::A, std::net::Ipv4Addr::UNSPECIFIED.into());
    let reply = dns::answer(snapshot, &question);
    let last = reply.answers.last().filter(|_| reply.kind == dns::Kind::Static);
    match last.map(|last| &last.data) {
        Some(RData::CNAME(to)) => catalogue.zones.keys().any(|zone| zone.zone_of(&to.0)),
        _ => false,
    }
}

fn zones(catalogue: &Catalogue) -> Vec<dns::Zone> {
    let zones = catalogue.zones.iter();
    zones.map(|(apex, zone)| dns::Zone { apex: apex.clone(), nameservers: zone.nameservers.clone() }).collect()
}

fn records(catalogue: &Catalogue) -> Vec<dns::RrSet> {
    let sets = catalogue.records.iter();
    sets.map(|((name, rtype), set)| dns::RrSet {
        name: name.clone(),
        rtype: (*rtype).into(),
        ttl: set.ttl,
        data: set.data.clone(),
    })
    .collect()
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
            https: service.policy.https.clone(),
            svcb: service.policy.svcb.clone(),
            policy: dns::Policy { pace: pace(&service.policy.probe.health), ..(*service.policy.steering).clone() },
            servers: service
                .servers
                .iter()
                .map(|(id, server)| dns::Server {
                    id: id.clone(),
                    address: server.address,
                    weight: server.weight,
                    terms: terms(server),
                })
                .collect(),
        })
        .collect()
}

/// How soon a server that is probed so can be found down, or up.
fn pace(probe: &ProbeSpec) -> dns::Pace {
    dns::Pace { fall: probe.interval * probe.fall, rise: probe.interval * probe.rise }
}

fn terms(server: &catalogue::Server) -> dns::Terms {
    dns::Terms {
        tier: server.tier,
        place: server.place,
        duty: server.state.unwrap_or_default(),
        canary: server.canary,
        cost: server.cost.clone(),
    }
}

fn rows<'a>(
    facts: &'a Facts,
    label: &'a Label,
    node: &'a NodeFacts,
    witnesses: &'a Witnesses<'a>,
) -> impl Iterator<Item = dns::Row> + 'a {
    node.rows.iter().flat_map(|page| page.iter()).filter_map(move |row| {
        let (service, server) = facts.listed.servers.get(&row.server)?;
        let told = dns::Row {
            node: label.clone(),
            service: service.clone(),
            server: server.clone(),
            state: row.state.into(),
            rtt: row.rtt(),
            loss: f32::from(row.loss_permille) / 1000.0,
            load: row.load_permille.map(|load| f32::from(load) / 1000.0),
            as_of: node.confirmed,
            why: row.why().to_owned(),
        };
        Some(witnesses.examine(told, node, row))
    })
}
