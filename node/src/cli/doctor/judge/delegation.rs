//! What DNS-A says of a mesh zone, held against the nodes that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::named;
use crate::cli::doctor::finding::{Area, Finding};

/// Below two a single death is everybody's.
const FEWEST: usize = 2;
/// Resolvers cap what they take of a referral at 13 to 20, and more do not fit 512 octets.
const MOST: usize = 8;
/// A resolver that must come back to DNS-A every minute makes it everybody's bottleneck.
const SHORT_TTL: u32 = 300;

/// A zone, its parent's word, and the nodes'.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The mesh zone.
    pub(crate) zone: String,
    /// The zone above it.
    pub(crate) parent: Option<String>,
    /// Why its parent could not be asked, or says that there is no such zone.
    pub(crate) trouble: Option<Trouble>,
    /// What each server of the parent says.
    pub(crate) parents: Vec<(SocketAddr, Result<Listed, String>)>,
    /// What stands at each address that is listed.
    pub(crate) asked: BTreeMap<IpAddr, Result<Served, String>>,
    /// The nodes: name, addresses for DNS, and whether referrals go to them.
    pub(crate) nodes: Vec<(String, Vec<IpAddr>, bool)>,
    /// The addresses that somebody named to begin at.
    pub(crate) begun_at: Vec<String>,
    /// What the node that keeps the delegation complains of.
    pub(crate) keeper: Option<String>,
}

/// Why there is no delegation to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// DNS-A knows nothing of the zone.
    NotDelegated,
    /// It could not be asked.
    NotAsked(String),
}

/// NS records and the addresses of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// By name.
    pub(crate) servers: BTreeMap<String, BTreeSet<IpAddr>>,
    /// How long resolvers keep them.
    pub(crate) ttl: u32,
}

/// A server that has the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    /// Which node it says it is.
    pub(crate) node: Option<String>,
    /// The zone's serial there.
    pub(crate) serial: u32,
}

/// Judges a delegation.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let Facts { zone, .. } = facts;
    let parent = facts.parent.as_deref().unwrap_or("its parent");
    let mut findings: Vec<Finding> = facts
        .keeper
        .iter()
        .map(|why| {
            Finding::look(
                Area::Delegation,
                format!("{zone}: the mesh cannot keep its delegation: {why}"),
                "`nigh delegations` has the details",
            )
        })
        .collect();
    match &facts.trouble {
        Some(Trouble::NotDelegated) => {
            findings.push(Finding::bad(
                Area::Delegation,
                format!("{zone} is not delegated: {parent} knows nothing of it, so no resolver finds the mesh"),
                format!("write into {parent}: {}", records(facts)),
            ));
            return findings;
        }
        Some(Trouble::NotAsked(why)) => {
            findings.push(Finding::look(
                Area::Delegation,
                format!("{zone}: DNS-A could not be asked: {why}"),
                match facts.begun_at.as_slice() {
                    [] => "run this where UDP and TCP port 53 go out, or say where to begin: --root ADDRESS, or --server ADDRESS \
                           --zone PARENT"
                        .to_owned(),
                    given => format!("look whether a name server runs at {} and is reached from here", named(given)),
                },
            ));
            return findings;
        }
        None => {}
    }
    findings.extend(parents(facts, parent));
    let Some(listed) = facts.parents.iter().find_map(|(_, said)| said.as_ref().ok()) else { return findings };
    findings.extend(servers(facts, listed, parent));
    findings.extend(serials(facts));
    if findings.is_empty() {
        let serial = facts.asked.values().find_map(|said| said.as_ref().ok()).map(|served| served.serial);
        let serial = serial.map(|serial| format!(", serial {serial}")).unwrap_or_default();
        findings.push(Finding::ok(
            Area::Delegation,
            format!(
                "{zone}: {parent} lists {} nodes, and all {} addresses serve the zone{serial}",
                listed.servers.len(),
                facts.asked.len()
            ),
        ));
    }
    findings
}

/// What to write into the parent.
fn records(facts: &Facts) -> String {
    let zone = &facts.zone;
    let live = facts.nodes.iter().filter(|(_, addresses, live)| *live && !addresses.is_empty()).take(MOST / 2 + 1);
    let lines: Vec<String> = live
        .flat_map(|(node, addresses, _)| {
            let glue = addresses.iter().map(move |address| {
                let kind = if address.is_ipv4() { "A" } else { "AAAA" };
                format!("ns-{node}.{zone}. {kind} {address}")
            });
            std::iter::once(format!("{zone}. NS ns-{node}.{zone}.")).chain(glue)
        })
        .collect();
    if lines.is_empty() { "NS records of your nodes, and their addresses".to_owned() } else { lines.join("; ") }
}

fn parents(facts: &Facts, parent: &str) -> Vec<Finding> {
    let zone = &facts.zone;
    let mut findings = Vec::new();
    let failed: Vec<String> =
        facts.parents.iter().filter_map(|(at, said)| Some(format!("{} ({})", at.ip(), said.as_ref().err()?))).collect();
    if !failed.is_empty() {
        findings.push(Finding::look(
            Area::Delegation,
            format!("{zone}: servers of {parent} that do not delegate it: {}", named(&failed)),
            "repair them, or wait until they have the newest copy of the zone",
        ));
    }
    let said: Vec<&Listed> = facts.parents.iter().filter_map(|(_, said)| said.as_ref().ok()).collect();
    if said.windows(2).any(|two| two[0].servers != two[1].servers) {
        findings.push(Finding::look(
            Area::Delegation,
            format!("{zone}: the servers of {parent} do not agree on who serves it"),
            "wait for the zone transfer, or look why a secondary has an old copy (compare SOA serials)",
        ));
    }
    findings
}

fn servers(facts: &Facts, listed: &Listed, parent: &str) -> Vec<Finding> {
    let zone = &facts.zone;
    let mut findings = Vec::new();
    let live = facts.nodes.iter().filter(|(_, addresses, live)| *live && !addresses.is_empty()).count();
    if listed.servers.len() < FEWEST.min(live) {
        let addresses: Vec<IpAddr> = listed.servers.values().flatten().copied().collect();
        let who = match addresses.iter().find_map(|address| node(facts, *address)) {
            Some((node, _)) => format!("{node}, of {live} nodes"),
            None => "which is none of the nodes".to_owned(),
        };
        findings.push(Finding::look(
            Area::Delegation,
            format!("{zone}: {parent} lists a single server, {who}: while it is away nobody new is answered"),
            format!("list {} there: {}", how_many(live), records(facts)),
        ));
    }
    if listed.servers.len() > MOST {
        findings.push(Finding::look(
            Area::Delegation,
            format!("{zone}: {parent} lists {} nodes, more than resolvers look at", listed.servers.len()),
            "four to eight that are up for long are enough: every node answers for all of them",
        ));
    }
    if listed.ttl < SHORT_TTL {
        findings.push(Finding::look(
            Area::Delegation,
            format!("{zone}: {parent} gives its NS records a TTL of {} s", listed.ttl),
            "an hour (3600) serves well: nodes that die are passed over, and the mesh does not depend on DNS-A every minute",
        ));
    }
    for (name, addresses) in &listed.servers {
        if addresses.is_empty() {
            findings.push(Finding::bad(
                Area::Delegation,
                format!("{zone}: {parent} gives no address for {name}: nobody finds it"),
                format!("add A and AAAA records (glue) of {name} at {parent}"),
            ));
        }
        let lame: Vec<(IpAddr, &str)> = addresses
            .iter()
            .filter_map(|address| Some((*address, facts.asked.get(address)?.as_ref().err()?.as_str())))
            .collect();
        findings.extend(self::lame(facts, parent, name, &lame));
        findings.extend(addresses.iter().filter_map(|address| odd(facts, parent, name, *address)));
    }
    findings
}

/// How many nodes a zone's parent should list: what resolvers look at, or all there are.
fn how_many(live: usize) -> String {
    match live {
        0..=3 => format!("all {live} nodes"),
        _ => "four to eight nodes".to_owned(),
    }
}

/// The node that tells of an address, and whether referrals go to it.
fn node(facts: &Facts, address: IpAddr) -> Option<(&str, bool)> {
    let (name, _, live) = facts.nodes.iter().find(|(_, addresses, _)| addresses.contains(&address))?;
    Some((name, *live))
}

/// Addresses of a listed name that do not serve the zone, each with why.
fn lame(facts: &Facts, parent: &str, name: &str, lame: &[(IpAddr, &str)]) -> Option<Finding> {
    let zone = &facts.zone;
    let (first, _) = lame.first()?;
    let said: Vec<String> = lame.iter().map(|(address, why)| format!("{address}: {why}")).collect();
    let (who, todo) = match node(facts, *first) {
        Some((node, true)) => (
            format!("though {node} is alive"),
            format!("open UDP and TCP port 53 there for everybody; or correct {name} at {parent}"),
        ),
        Some((node, false)) => (
            format!("{node} is dead or leaving"),
            format!("start {node} again; if it is gone for good, remove {name} at {parent}"),
        ),
        None => ("no node tells of that address".to_owned(), format!("correct or remove {name} at {parent}")),
    };
    Some(Finding::bad(
        Area::Delegation,
        format!(
            "{zone}: {parent} lists {name}, which does not serve it ({}); {who}. Resolvers ask it in vain",
            named(&said)
        ),
        todo,
    ))
}

/// A listed address that serves the zone, and is not what it should be all the same.
fn odd(facts: &Facts, parent: &str, name: &str, address: IpAddr) -> Option<Finding> {
    let zone = &facts.zone;
    let served = facts.asked.get(&address)?.as_ref().ok()?;
    match node(facts, address) {
        None => {
            let who = served.node.as_deref().map(|node| format!(" ({node}?)")).unwrap_or_default();
            Some(Finding::look(
                Area::Delegation,
                format!("{zone}: {name} at {address}{who} serves the zone, and is no address that a node tells of"),
                format!(
                    "if a node is there, name the address in its dns.advertise; if not, correct {name} at {parent}"
                ),
            ))
        }
        Some((node, false)) => Some(Finding::look(
            Area::Delegation,
            format!("{zone}: {parent} lists {node} ({address}), which is leaving"),
            format!("remove {name} at {parent} if it is to stay away"),
        )),
        Some((_, true)) => None,
    }
}

fn serials(facts: &Facts) -> Option<Finding> {
    let mut by_serial: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (address, served) in &facts.asked {
        let Ok(served) = served else { continue };
        by_serial.entry(served.serial).or_default().push(served.node.clone().unwrap_or_else(|| address.to_string()));
    }
    (by_serial.len() > 1).then(|| {
        let groups: Vec<String> = by_serial.iter().map(|(serial, who)| format!("{serial} at {}", named(who))).collect();
        Finding::look(
            Area::Delegation,
            format!("{}: nodes have different versions of the zone: {}", facts.zone, groups.join("; ")),
            "an edit takes a second or two to reach all; should it last, look at the links (`nigh peers`)",
        )
    })
}
