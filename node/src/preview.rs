//! What an edit of the catalogue would change, before it is signed: for each service and deciding node, who gets the
//! clients now and then.
//!
//! ```text
//!   facts ──┬──────────────────────▶ world ─▶ snapshot ─┐
//!           └─ records + proposal ─▶ world ─▶ snapshot ─┴─▶ shares of every node, side by side
//! ```
//!
//! The worlds are made and asked by the very functions that packets are answered with, from what the node has measured
//! and been told so far. So it is said of the present moment: a server that is new, elsewhere, or asked another question
//! has no measurement yet, and is named instead.
//!
//! **Bounds:** [`MOST_SERVICES`] services, [`MOST_LINES`] lines of each; what is left out is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hickory_proto::rr::Name;
use ipnet::IpNet;
use nigh_dns::{Family, Label, Shares, Snapshot, shares};

use crate::admin::preview::{Given, NodePreview, Preview, ServerShare, ServicePreview};
use crate::catalogue::{Catalogue, Records, name::text, record::Identity, record::Record};
use crate::facts::{Facts, Listed};
use crate::measure::ProbeSpec;
use crate::projection::foreseen;

/// Services that are looked at: each is ranked for every node, and people do not read more.
pub const MOST_SERVICES: usize = 100;
/// Lines of one service.
pub const MOST_LINES: usize = 200;
/// Claims that are named of each line.
const MOST_EXAMPLES: usize = 3;

/// What the proposed records would change. `live` is what packets are answered from now.
pub fn preview(live: &Snapshot, facts: &Facts, records: &Records, proposal: Vec<Record>) -> Preview {
    let concerned: BTreeSet<Name> = proposal.iter().filter_map(|record| service_of(&record.identity)).collect();
    let services: BTreeSet<Name> = concerned.iter().take(MOST_SERVICES).cloned().collect();
    let mut records = records.clone();
    for record in proposal {
        records.amend(record);
    }
    let listed = Arc::new(Listed::of(&records, facts.listed.serial));
    let then = Facts { listed, ..facts.clone() };
    let unmeasured = unmeasured(&facts.listed.catalogue, &then.listed.catalogue, &services);
    let before = Snapshot::build(foreseen(facts, &services, &BTreeSet::new())).0;
    let after = Snapshot::build(foreseen(&then, &services, &unmeasured)).0;
    let claimed = claimed(live, facts);
    let one = |service: &Name| {
        let sides = Sides { before: &before, after: &after, service, claimed: &claimed };
        let unmeasured = unmeasured.iter().filter(|(of, _)| of == service).map(|(_, id)| id.clone()).collect();
        sides.preview(&prefixes(facts, &then, service), unmeasured)
    };
    Preview { services: services.iter().map(one).collect(), services_left_out: concerned.len() - services.len() }
}

fn service_of(identity: &Identity) -> Option<Name> {
    match identity {
        Identity::Service(service) | Identity::Server(service, _) => Some(service.clone()),
        Identity::Zone(_) | Identity::Records(..) => None,
    }
}

/// Servers of which what was measured is not of what they would be.
fn unmeasured(before: &Catalogue, after: &Catalogue, services: &BTreeSet<Name>) -> BTreeSet<(Name, String)> {
    let mut found = BTreeSet::new();
    for host in services {
        let Some(service) = after.services.get(host) else { continue };
        let held = before.services.get(host);
        let question = |service: &crate::catalogue::Service| {
            let asked = |spec: &ProbeSpec| (spec.kind.clone(), spec.port);
            let probing = &service.policy.probe;
            (asked(&probing.health), probing.latency.as_ref().map(asked))
        };
        let same_question = held.is_some_and(|held| question(held) == question(service));
        for (id, server) in &service.servers {
            let same_place =
                held.and_then(|held| held.servers.get(id)).is_some_and(|held| held.address == server.address);
            if !(same_question && same_place) {
                found.insert((host.clone(), id.clone()));
            }
        }
    }
    found
}

/// The prefixes of all overrides of a service, before and after.
fn prefixes(before: &Facts, after: &Facts, service: &Name) -> BTreeSet<IpNet> {
    let of = |facts: &Facts| {
        let service = facts.listed.catalogue.services.get(service)?;
        Some(service.policy.steering.overrides.iter().filter_map(|this| this.prefix).collect::<Vec<_>>())
    };
    [before, after].into_iter().filter_map(of).flatten().collect()
}

/// The claimed prefixes that each living node decides for now; none is a node that decides for the unclaimed alone.
fn claimed(live: &Snapshot, facts: &Facts) -> BTreeMap<Label, Vec<IpNet>> {
    let living = facts.nodes.iter().filter(|(_, node)| node.standing.answers());
    let mut claimed: BTreeMap<Label, Vec<IpNet>> = living.map(|(label, _)| (label.clone(), Vec::new())).collect();
    let all = facts.nodes.values().flat_map(|node| node.claims.iter().flat_map(|page| page.iter()));
    let prefixes: BTreeSet<IpNet> = all.map(|claim| claim.prefix).collect();
    for prefix in prefixes {
        if let Some(prefixes) = live.decider_of(prefix).and_then(|node| claimed.get_mut(node)) {
            prefixes.push(prefix);
        }
    }
    claimed
}

/// A service before and after.
struct Sides<'a> {
    before: &'a Snapshot,
    after: &'a Snapshot,
    service: &'a Name,
    claimed: &'a BTreeMap<Label, Vec<IpNet>>,
}

impl Sides<'_> {
    fn preview(&self, prefixes: &BTreeSet<IpNet>, unmeasured: Vec<String>) -> ServicePreview {
        let mut changes = Vec::new();
        let mut nodes: BTreeSet<&Label> = BTreeSet::new();
        let mut claims: BTreeSet<IpNet> = BTreeSet::new();
        let mut left_out = 0;
        let clients = || [None].into_iter().chain(prefixes.iter().copied().map(Some));
        for (node, claimed) in self.claimed {
            for (family, within) in
                [Family::V4, Family::V6].into_iter().flat_map(|family| clients().map(move |c| (family, c)))
            {
                let Some((before, after)) = self.differs(node, family, within) else { continue };
                let concerned: Vec<IpNet> = claimed
                    .iter()
                    .filter(|claim| within.is_none_or(|within| within.contains(*claim) || claim.contains(&within)))
                    .copied()
                    .collect();
                nodes.insert(node);
                claims.extend(&concerned);
                if changes.len() >= MOST_LINES {
                    left_out += 1;
                    continue;
                }
                changes.push(NodePreview {
                    node: node.to_string(),
                    family: if family == Family::V4 { "v4" } else { "v6" }.to_owned(),
                    clients: within,
                    claims: concerned.len(),
                    examples: concerned.into_iter().take(MOST_EXAMPLES).collect(),
                    before,
                    after,
                });
            }
        }
        ServicePreview {
            service: text(self.service),
            unmeasured,
            nodes_changed: nodes.len(),
            nodes: self.claimed.len(),
            claims_changed: claims.len(),
            changes,
            left_out,
        }
    }

    /// What clients of a node get on either side, if that is not the same.
    fn differs(&self, node: &Label, family: Family, within: Option<IpNet>) -> Option<(Given, Given)> {
        let given = |snapshot: &Snapshot, within| {
            shares(snapshot, node, self.service, family, within).map(given).unwrap_or_default()
        };
        let (before, after) = (given(self.before, within), given(self.after, within));
        if before == after {
            return None;
        }
        // Those within a prefix that no override holds for are told of with all others.
        let all = (given(self.before, None), given(self.after, None));
        (within.is_none() || (&before, &after) != (&all.0, &all.1)).then_some((before, after))
    }
}

fn given(shares: Shares) -> Given {
    let server = |share: nigh_dns::Share| ServerShare { server: share.server, part: share.part };
    Given {
        servers: shares.servers.into_iter().map(server).collect(),
        instead: shares.instead,
        failed_open: shares.failed_open,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use nigh_dns::{
        Milli, Mode, Node, Override, Pin, Policy, Row, RowState, Server, Service, Standing, Terms, World, Zone,
    };

    use super::*;

    const SERVICE: &str = "www.lb.example.com.";

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn label(text: &str) -> Label {
        text.parse().unwrap()
    }

    /// Two nodes, each with a server at its door.
    fn snapshot(change: impl FnOnce(&mut Service)) -> Snapshot {
        let mut world = World::new(label("fra"));
        world.zones.push(Zone { apex: name("lb.example.com."), nameservers: Vec::new() });
        let server = |id: &str, last: u8| Server {
            id: id.into(),
            address: [192, 0, 2, last].into(),
            weight: 1,
            terms: Terms::default(),
        };
        let mut service = Service {
            name: name(SERVICE),
            mode: Mode::Refer,
            ttl: 20,
            answers: 1,
            spread: Duration::ZERO,
            https: None,
            svcb: None,
            policy: Policy::default(),
            servers: vec![server("fra-1", 1), server("nyc-1", 2)],
        };
        change(&mut service);
        world.services.push(service);
        for node in ["fra", "nyc"] {
            world.nodes.push(Node {
                label: label(node),
                pop: String::new(),
                addresses: vec![[198, 51, 100, 7].into()],
                serves: vec![label(node)],
                standing: Standing::Alive,
            });
            for server in ["fra-1", "nyc-1"] {
                world.rows.push(Row {
                    node: label(node),
                    service: name(SERVICE),
                    server: server.into(),
                    state: RowState::Up,
                    rtt: Some(Duration::from_millis(if server.starts_with(node) { 1 } else { 80 })),
                    loss: 0.0,
                    load: None,
                    as_of: Duration::ZERO,
                    why: String::new(),
                });
            }
        }
        Snapshot::build(world).0
    }

    fn looked(change: impl FnOnce(&mut Service), prefixes: &[&str]) -> ServicePreview {
        let claims = |claims: &[&str]| claims.iter().map(|claim| claim.parse().unwrap()).collect();
        let claimed = BTreeMap::from([
            (label("fra"), claims(&["203.0.113.0/24", "198.51.100.0/24"])),
            (label("nyc"), claims(&["192.0.2.0/24"])),
        ]);
        let (before, after, service) = (snapshot(|_| {}), snapshot(change), name(SERVICE));
        let sides = Sides { before: &before, after: &after, service: &service, claimed: &claimed };
        sides.preview(&prefixes.iter().map(|net| net.parse().unwrap()).collect(), Vec::new())
    }

    fn line(change: &NodePreview) -> String {
        let parts = |given: &Given| {
            given.servers.iter().map(|share| format!("{} {}", share.server, share.part)).collect::<Vec<_>>().join(" ")
        };
        let clients = change.clients.map_or("all".to_owned(), |net| net.to_string());
        format!("{} {clients} {}: {} -> {}", change.node, change.claims, parts(&change.before), parts(&change.after))
    }

    #[test]
    fn a_drained_server_changes_its_own_node_only() {
        let preview = looked(|service| service.servers[0].terms.duty = nigh_dns::Duty::Drain, &[]);
        assert_eq!(preview.changes.iter().map(line).collect::<Vec<_>>(), ["fra all 2: fra-1 1 -> nyc-1 1"]);
        assert_eq!((preview.nodes_changed, preview.nodes, preview.claims_changed), (1, 2, 2));
    }

    #[test]
    fn a_canary_changes_all_and_an_override_those_in_it() {
        let preview = looked(|service| service.servers[1].terms.canary = Milli(5000), &[]);
        let expected = ["fra all 2: fra-1 1 -> fra-1 0.95 nyc-1 0.05", "nyc all 1: nyc-1 1 -> fra-1 0.95 nyc-1 0.05"];
        assert_eq!(preview.changes.iter().map(line).collect::<Vec<_>>(), expected);

        let net: IpNet = "203.0.113.0/25".parse().unwrap();
        let pin = Override { prefix: Some(net), node: None, to: Pin::Servers(vec!["nyc-1".into()]) };
        let preview = looked(|service| service.policy.overrides.push(pin), &["203.0.113.0/25"]);
        assert_eq!(preview.changes.iter().map(line).collect::<Vec<_>>(), ["fra 203.0.113.0/25 1: fra-1 1 -> nyc-1 1"]);
        assert_eq!(looked(|service| service.ttl = 9, &[]).changes, []);
    }

    #[test]
    fn what_is_new_or_elsewhere_or_asked_otherwise_is_not_measured() {
        let text = "[[zone]]\nname = \"lb.example.com\"\n[[service]]\nname = \"www.lb.example.com\"\n\
                    probe = { kind = \"tcp\", port = 80 }\n\
                    server = [{ id = \"a\", address = \"192.0.2.1\" }, { id = \"b\", address = \"192.0.2.2\" }]";
        let parsed = |text: &str| Catalogue::parse(text).unwrap_or_else(|errors| panic!("{errors}"));
        let found = |after: &str| -> Vec<String> {
            let services = BTreeSet::from([name(SERVICE)]);
            unmeasured(&parsed(text), &parsed(after), &services).into_iter().map(|(_, id)| id).collect()
        };
        assert_eq!(found(&text.replace("port = 80", "port = 80, interval = \"5s\"")), [""; 0]);
        assert_eq!(found(&text.replace("192.0.2.2", "192.0.2.3").replace("\"a\"", "\"c\"")), ["b", "c"]);
        assert_eq!(found(&text.replace("port = 80", "port = 81")), ["a", "b"]);
    }
}
