//! The nodes with their places, and who measures whom.

use std::collections::BTreeMap;
use std::time::Duration;

use nigh_gossip::NodeId;

use crate::admin::picture::{MapLink, MapNode, MeshMap};
use crate::admin::report::Verdict;
use crate::facts::{Facts, NodeFacts};
use crate::running::{standing, verdict_of};

/// Nodes that are drawn: more than a picture can hold apart.
const MOST_NODES: usize = 2000;
/// Links that are drawn.
const MOST_LINKS: usize = 8000;

/// What is known of the mesh, to be drawn.
pub fn map(facts: &Facts) -> MeshMap {
    let mut nodes: Vec<MapNode> = facts.nodes.iter().map(|(label, node)| named(label.as_str(), node, facts)).collect();
    nodes.extend(facts.nameless.iter().map(|(id, member)| MapNode {
        name: id.to_string(),
        pop: String::new(),
        location: None,
        verdict: verdict_of(member.verdict),
        linked: member.linked,
        version: String::new(),
        dns_addresses: Vec::new(),
        cuts: Vec::new(),
        claims: 0,
        pressure: 0,
        is_self: false,
    }));
    let mut links = links(facts);
    let left_out = nodes.len().saturating_sub(MOST_NODES) + links.len().saturating_sub(MOST_LINKS);
    // The one that answers is always there, and who is away gives way first.
    nodes.sort_by_key(|node| (!node.is_self, node.verdict != Verdict::Alive));
    nodes.truncate(MOST_NODES);
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    links.truncate(MOST_LINKS);
    MeshMap { nodes, links, left_out }
}

fn named(name: &str, node: &NodeFacts, facts: &Facts) -> MapNode {
    MapNode {
        name: name.to_owned(),
        pop: node.profile.pop.clone(),
        location: node.profile.location.map(|location| [location.latitude(), location.longitude()]),
        verdict: standing(node.standing),
        linked: node.member.linked,
        version: node.profile.version.clone(),
        dns_addresses: node.profile.dns.clone(),
        cuts: node.profile.serves.iter().map(ToString::to_string).collect(),
        claims: node.claims.iter().map(|page| page.len()).sum(),
        pressure: node.profile.pressure,
        is_self: name == facts.me.as_str(),
    }
}

/// Each pair once. What two measured of each other differs by little; the shorter has less of anybody's waiting in it.
fn links(facts: &Facts) -> Vec<MapLink> {
    let names: BTreeMap<NodeId, &str> = facts.nodes.iter().map(|(label, node)| (node.id, label.as_str())).collect();
    let mut pairs: BTreeMap<(&str, &str), Duration> = BTreeMap::new();
    for (label, node) in &facts.nodes {
        for (to, rtt) in &node.rtt {
            let Some(other) = names.get(to).copied().filter(|other| *other != label.as_str()) else { continue };
            let pair = (label.as_str().min(other), label.as_str().max(other));
            let held = pairs.entry(pair).or_insert(*rtt);
            *held = (*held).min(*rtt);
        }
    }
    let millis = |rtt: Duration| (rtt.as_secs_f64() * 1e5).round() / 100.0;
    pairs.into_iter().map(|((a, b), rtt)| MapLink { a: a.into(), b: b.into(), rtt_ms: millis(rtt) }).collect()
}
