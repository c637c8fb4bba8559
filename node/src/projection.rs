//! The one place where replicated state becomes what packets are answered from.
//!
//! ```text
//!   MeshView ──▶ facts::Reader ──▶ Facts ──▶ world() ──▶ nigh_dns::World ──▶ Snapshot
//! ```
//!
//! **Invariant:** `nigh_gossip` and `nigh_dns` meet here and nowhere else, and nothing here decides: who is nearest,
//! what is up and what is answered is decided in `nigh_dns` from plain data.

pub mod claims;
pub mod networks;

use std::collections::BTreeSet;

use hickory_proto::rr::{Name, RData, RecordType};
use nigh_dns::{self as dns, ClaimTable, Label, Networks, RowState, World};

use crate::{
    catalogue::{self, Catalogue, Mode},
    facts::{Facts, NodeFacts},
    measure::{Measurements, ProbeSpec, Reading, State},
};

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
        rows: facts.nodes.iter().flat_map(|(label, node)| rows(facts, label, node, own)).collect(),
    }
}

/// As much of a world as the choice of servers of these services needs: no claims and no static records, and no rows of
/// the servers that are as good as new.
pub fn foreseen(facts: &Facts, of: &BTreeSet<Name>, unmeasured: &BTreeSet<(Name, String)>) -> World {
    let catalogue = &facts.listed.catalogue;
    let own = Measurements::default();
    let rows = facts.nodes.iter().flat_map(|(label, node)| rows(facts, label, node, &own));
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
    own: &'a Measurements,
) -> impl Iterator<Item = dns::Row> + 'a {
    let me = *label == facts.me;
    node.rows.iter().flat_map(|page| page.iter()).filter_map(move |row| {
        let (service, server) = facts.listed.servers.get(&row.server)?;
        let hearsay = !me && (node.confirmed < facts.at || row.held);
        let mine = if me || hearsay { own.row(&catalogue::name::text(service), server) } else { None };
        let told = dns::Row {
            node: label.clone(),
            service: service.clone(),
            server: server.clone(),
            state: row.state.into(),
            rtt: row.rtt(),
            loss: f32::from(row.loss_permille) / 1000.0,
            load: row.load_permille.map(|load| f32::from(load) / 1000.0),
            as_of: mine.filter(|_| me).and_then(|mine| mine.reading.sampled).unwrap_or(node.confirmed),
            why: row.why().to_owned(),
        };
        Some(match mine {
            Some(mine) if hearsay => as_seen_here(told, &mine.reading, &facts.me),
            _ => told,
        })
    })
}

/// A row of a node that is not heard any more, or that reaches no server itself. Its distances still hold for the clients
/// near it; which servers are up it does not say any more, so there counts what this node sees, if it sees anything.
/// Rejected: to answer by this node's own distances at once. The others that stand in would each answer by theirs, and the
/// clients are at the dead node's place until their CNAME ends.
fn as_seen_here(told: dns::Row, seen: &Reading, me: &Label) -> dns::Row {
    let (state, why) = match seen.state {
        _ if seen.held => return told,
        State::Unknown => return told,
        State::Up => (RowState::Up, String::new()),
        State::Down => (RowState::Down, format!("{}, as {me} sees it", seen.why)),
    };
    dns::Row { state, why, as_of: seen.sampled.unwrap_or(told.as_of), ..told }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use nigh_dns::{Row, RowState};

    use super::as_seen_here;
    use crate::measure::{Reading, State};

    fn told(state: RowState) -> Row {
        Row {
            node: "fra".parse().unwrap(),
            service: "www.lb.example.com.".parse().unwrap(),
            server: "a".into(),
            state,
            rtt: Some(Duration::from_millis(7)),
            loss: 0.0,
            load: None,
            as_of: Duration::from_secs(1),
            why: String::new(),
        }
    }

    fn seen(state: State, held: bool) -> Reading {
        let why = if state == State::Down { "connect: refused".into() } else { String::new() };
        let (rtt, sampled) = (Some(Duration::from_millis(30)), Some(Duration::from_secs(9)));
        Reading { state, rtt, path: None, srtt: None, spread: None, loss: 0.0, sampled, why, held }
    }

    #[test]
    fn what_the_silent_said_of_distances_holds_and_who_is_up_this_node_sees_itself() {
        let me = "nyc".parse().unwrap();
        let down = as_seen_here(told(RowState::Up), &seen(State::Down, false), &me);
        assert_eq!((down.state, down.why.as_str()), (RowState::Down, "connect: refused, as nyc sees it"));
        assert_eq!((down.rtt, down.as_of), (Some(Duration::from_millis(7)), Duration::from_secs(9)));
        assert_eq!(as_seen_here(told(RowState::Down), &seen(State::Up, false), &me).state, RowState::Up);
        for blind in [seen(State::Unknown, false), seen(State::Down, true)] {
            assert_eq!(as_seen_here(told(RowState::Up), &blind, &me), told(RowState::Up), "it sees no better");
        }
    }
}
