//! What is proven, in the order in which it is.

use super::world::{FOREIGN, MOST, NODES, SECRET, SETTLE, World, services};
use crate::bed::dns_a::Primary;
use crate::lab::process;
use crate::lab::wait::{Look, until};
use crate::report::Report;
use crate::scenario::Step;
use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

/// The steps.
pub const STEPS: [Step<World>; 8] = [
    Step { key: "imported", claim: IMPORTED, prove: imported, essential: true },
    Step { key: "notified", claim: NOTIFIED, prove: notified, essential: false },
    Step { key: "polled", claim: POLLED, prove: polled, essential: false },
    Step { key: "delegated", claim: DELEGATED, prove: delegated, essential: true },
    Step { key: "node-dies", claim: NODE_DIES, prove: node_dies, essential: false },
    Step { key: "keeper-dies", claim: KEEPER_DIES, prove: keeper_dies, essential: false },
    Step { key: "dns-a-dies", claim: DNS_A_DIES, prove: dns_a_dies, essential: false },
    Step { key: "dns-a-returns", claim: DNS_A_RETURNS, prove: dns_a_returns, essential: false },
];

const IMPORTED: &str = "every node answers with the addresses at BIND, Knot DNS and PowerDNS: polled there and through unbound, and from zones transferred with TSIG";
const NOTIFIED: &str =
    "a change of a record of TTL 600 is answered by every node within seconds, by NOTIFY and transfer";
const POLLED: &str =
    "a change of a polled record is answered by every node when its TTL of 5 s is over, at DNS-A and at the resolver";
const DELEGATED: &str = "each parent lists the most nodes that it may, with glue, beside a server that is not ours";
const NODE_DIES: &str =
    "a dead node leaves each delegation once it has settled, another one comes in, and the rest stays";
const KEEPER_DIES: &str = "when the node dies that keeps the delegations, another one takes them over";
const DNS_A_DIES: &str =
    "with all of DNS-A dead every node keeps the last known addresses, and a node started anew has them";
const DNS_A_RETURNS: &str = "DNS-A comes back with other addresses, and every node follows";

/// A mesh to form, a catalogue to spread, transfers and three probes: seconds, on a busy machine more.
const PATIENCE: Duration = Duration::from_secs(60);
/// For one tool.
const TOOL: Duration = Duration::from_secs(10);

/// What `nigh` should answer, by service.
fn wanted(primary: &Primary, poll: u8, www: u8) -> Vec<(String, BTreeSet<IpAddr>)> {
    let last = primary.address.octets()[2];
    let [(poll_name, _), (www_name, _), (alias, _), (resolved, _)] = services(primary.parent, primary.origin);
    let set = |second: u8, n: u8| -> BTreeSet<IpAddr> { [IpAddr::from([10, second, last, n])].into() };
    vec![(poll_name, set(9, poll)), (www_name, set(8, www)), (alias, set(8, www)), (resolved, set(9, poll))]
}

/// Waits until these nodes answer what they should, and says how long it took.
fn all_answer(world: &World, nodes: &[&str], wanted: &[(String, BTreeSet<IpAddr>)]) -> Result<Duration> {
    let begin = Instant::now();
    until("every node answers with the addresses at DNS-A", PATIENCE, || {
        for node in nodes {
            for (name, addresses) in wanted {
                match world.answer(node, name) {
                    Ok(answered) if answered == *addresses => {}
                    Ok(answered) => return Ok(Look::NotYet(format!("{node} answers {answered:?} for {name}"))),
                    Err(error) => return Ok(Look::NotYet(format!("{node}: {error:#}"))),
                }
            }
        }
        Ok(Look::Done(()))
    })?;
    Ok(begin.elapsed())
}

fn names() -> Vec<&'static str> {
    NODES.iter().map(|(name, ..)| *name).collect()
}

fn imported(world: &mut World, report: &Report) -> Result<String> {
    until("every node sees all nodes alive", PATIENCE, || {
        for node in world.nodes.values_mut() {
            node.alive()?;
            match node.status() {
                Ok(status) if status.mesh.alive == NODES.len() as u64 => {}
                Ok(status) => return Ok(Look::NotYet(format!("{} sees {} alive", node.name(), status.mesh.alive))),
                Err(error) => return Ok(Look::NotYet(format!("{error:#}"))),
            }
        }
        Ok(Look::Done(()))
    })?;
    world.apply()?;
    report.say("the mesh is formed and has its catalogue");
    let all: Vec<_> = world.primaries.iter().flat_map(|primary| wanted(primary, 1, 1)).collect();
    let took = all_answer(world, &names(), &all)?;
    let zones = world.primaries.iter().map(|primary| primary.origin.trim_end_matches('.'));
    let expected: BTreeSet<String> = zones.flat_map(|zone| [format!("fra:{zone}"), format!("nyc:{zone}")]).collect();
    // All answer as soon as one of the two has a zone; the other one may have it a moment later.
    until("the two nodes with the key hold the zones", PATIENCE, || {
        let mut held = BTreeSet::new();
        for (node, ..) in NODES {
            let imports = world.imports(node)?;
            if let Some(pool) = imports.pools.iter().find(|pool| pool.state != "fresh") {
                return Ok(Look::NotYet(format!("{node} holds {} as {}: {}", pool.origin, pool.state, pool.trouble)));
            }
            held.extend(imports.zones.into_iter().map(|zone| format!("{node}:{}", zone.zone)));
        }
        if held != expected {
            return Ok(Look::NotYet(format!("zones are held by {held:?}, not by {expected:?}")));
        }
        Ok(Look::Done(()))
    })?;
    Ok(format!(
        "twelve services at four nodes after {:.1} s; zones held by the two with the key alone",
        took.as_secs_f64()
    ))
}

fn notified(world: &mut World, _: &Report) -> Result<String> {
    let mut seen = Vec::new();
    for primary in world.primaries.clone() {
        let (origin, last) = (primary.origin, primary.address.octets()[2]);
        let lines = [format!("delete www.{origin} A"), format!("add www.{origin} 600 A 10.8.{last}.2")];
        primary.change(&world.bed, SECRET, origin, &lines)?;
        let took = all_answer(world, &names(), &wanted(&primary, 1, 2))?;
        seen.push(format!("{} {:.1} s", primary.host, took.as_secs_f64()));
        // The zones' refresh is an hour and the record's TTL ten minutes: without NOTIFY it would be those.
    }
    Ok(seen.join(", "))
}

fn polled(world: &mut World, _: &Report) -> Result<String> {
    let primary = world.primaries[1].clone();
    let (parent, last) = (primary.parent, primary.address.octets()[2]);
    // The key may not change this name at any parent (that is the point of the policies), so it is changed as a zone owner
    // does it: the file, and a restart of the server.
    world.daemons.remove(primary.host);
    let mut changed = primary.clone();
    changed.delegated = changed.delegated.replace(&format!("10.9.{last}.1"), &format!("10.9.{last}.2"));
    changed.origins = changed.origins.replace(&format!("10.8.{last}.1"), &format!("10.8.{last}.2"));
    world.restart(changed)?;
    let took = all_answer(world, &names(), &wanted(&primary, 2, 2))?;
    Ok(format!("www.poll.{parent} after {:.1} s", took.as_secs_f64()))
}

/// NS targets and glue of a mesh zone, as its parent tells them.
fn delegation(world: &World, primary: &Primary) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let mut command = Command::new("dig");
    command.args(["+norecurse", "+tcp", "+noall", "+authority", "+additional", "+time=2", "+tries=1"]);
    command.arg(format!("@{}", primary.address)).args([&format!("lb.{}", primary.parent), "NS"]);
    let said = process::run_inside(Some(world.bed.space(primary.host)?), command, TOOL)?;
    let (mut servers, mut glue) = (BTreeSet::new(), BTreeSet::new());
    for line in said.output.lines() {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [_, _, _, "NS", target] => servers.insert((*target).to_owned()),
            [owner, _, _, "A", address] => glue.insert(format!("{owner} {address}")),
            _ => false,
        };
    }
    Ok((servers, glue))
}

fn server(node: &str, primary: &Primary) -> String {
    format!("ns-{node}.lb.{}", primary.parent)
}

/// Waits until every parent lists these nodes (any `MOST` of them, if there are more), with their glue and the foreign
/// server.
fn all_list(world: &World, among: &[&str]) -> Result<Vec<String>> {
    let mut lists = Vec::new();
    for primary in &world.primaries {
        let found = until(&format!("{} delegates to {among:?}", primary.host), PATIENCE, || {
            let (mut servers, glue) = delegation(world, primary)?;
            if !servers.remove(FOREIGN) {
                bail!("{} has lost the server that is not ours: {servers:?}", primary.host);
            }
            if servers.len() > MOST || servers.len() < MOST.min(among.len()).min(2) {
                return Ok(Look::NotYet(format!("{servers:?}")));
            }
            let allowed: BTreeSet<String> = among.iter().map(|node| server(node, primary)).collect();
            let expected: BTreeSet<String> = NODES
                .iter()
                .map(|(node, _, address)| (server(node, primary), address))
                .filter(|(server, _)| servers.contains(server))
                .map(|(server, address)| format!("{server} {address}"))
                .collect();
            let full = servers.len() == MOST.min(among.len());
            Ok(if full && servers.is_subset(&allowed) && glue == expected {
                Look::Done(servers)
            } else {
                Look::NotYet(format!("{servers:?} {glue:?}"))
            })
        })?;
        lists.push(format!("{}: {}", primary.host, found.into_iter().collect::<Vec<_>>().join(" ")));
    }
    Ok(lists)
}

fn delegated(world: &mut World, _: &Report) -> Result<String> {
    Ok(all_list(world, &names())?.join("; "))
}

/// Nodes that every parent lists.
fn listed(world: &World, primary: &Primary) -> Result<BTreeSet<&'static str>> {
    let (servers, _) = delegation(world, primary)?;
    Ok(names().into_iter().filter(|node| servers.contains(&server(node, primary))).collect())
}

fn node_dies(world: &mut World, _: &Report) -> Result<String> {
    // One without the key, and in some delegation at least.
    let primaries = world.primaries.clone();
    let mut victim = None;
    for node in ["tyo", "syd"] {
        if listed(world, &primaries[0])?.contains(node) {
            victim = Some(node);
        }
    }
    let Some(victim) = victim else { bail!("neither tyo nor syd is in the delegation") };
    world.node_mut(victim)?.0.kill()?;
    let begin = Instant::now();
    let rest: Vec<&str> = names().into_iter().filter(|node| *node != victim).collect();
    all_list(world, &rest)?;
    let took = begin.elapsed();
    if took < SETTLE {
        bail!("{victim} was taken out after {took:?}, before it had settled");
    }
    for primary in &primaries {
        let mut command = Command::new("dig");
        command.args([
            "+norecurse",
            "+short",
            &format!("@{}", primary.address),
            &format!("www.poll.{}", primary.parent),
        ]);
        let said = process::run_inside(Some(world.bed.space(primary.host)?), command, TOOL)?;
        if !said.output.starts_with("10.9.") {
            bail!("{} lost a record that is not ours: {}", primary.host, said.output);
        }
    }
    let (node, bed) = world.node_mut(victim)?;
    node.start(bed)?;
    Ok(format!("{victim} out of three parents after {:.1} s", took.as_secs_f64()))
}

fn keeper_dies(world: &mut World, _: &Report) -> Result<String> {
    until("the mesh is whole again", PATIENCE, || {
        let status = world.node("nyc")?.status()?;
        let whole = status.mesh.alive == NODES.len() as u64;
        Ok(if whole { Look::Done(()) } else { Look::NotYet(format!("{} alive", status.mesh.alive)) })
    })?;
    let keepers: Vec<(String, Vec<String>)> =
        world.node("nyc")?.delegations()?.into_iter().map(|line| (line.zone, line.keepers)).collect();
    let kept = |node: &str| keepers.iter().filter(|(_, keepers)| keepers.iter().any(|keeper| keeper == node)).count();
    let (victim, heir) = if kept("fra") > 0 { ("fra", "nyc") } else { ("nyc", "fra") };
    let zones = kept(victim);
    world.node_mut(victim)?.0.kill()?;
    let rest: Vec<&str> = names().into_iter().filter(|node| *node != victim).collect();
    let begin = Instant::now();
    all_list(world, &rest)?;
    let lines = world.node(heir)?.delegations()?;
    if let Some(line) = lines.iter().find(|line| !line.acting || !line.trouble.is_empty()) {
        bail!("{heir} does not keep {} well: {line:?}", line.zone);
    }
    let took = begin.elapsed();
    let (node, bed) = world.node_mut(victim)?;
    node.start(bed)?;
    Ok(format!(
        "{heir} took {zones} of {} zones over from {victim}, done {:.1} s after the kill",
        keepers.len(),
        took.as_secs_f64()
    ))
}

fn dns_a_dies(world: &mut World, _: &Report) -> Result<String> {
    world.daemons.clear();
    until("every node says that the last known set stands", PATIENCE, || {
        for node in names() {
            let imports = match world.imports(node) {
                Ok(imports) => imports,
                Err(error) => return Ok(Look::NotYet(format!("{node}: {error:#}"))),
            };
            // Zones that were transferred are good until they expire: what is polled is not.
            let polled = imports.pools.iter().filter(|pool| pool.origin.starts_with("www.poll."));
            if let Some(pool) = polled.clone().find(|pool| pool.state != "kept") {
                return Ok(Look::NotYet(format!("{node} holds {} as {}", pool.origin, pool.state)));
            }
            // Of each primary one is asked there, and one of the resolver.
            if polled.count() != 2 * world.primaries.len() {
                return Ok(Look::NotYet(format!("{node} has not all pools")));
            }
        }
        Ok(Look::Done(()))
    })?;
    let all = last_known(world);
    all_answer(world, &names(), &all)?;
    let (node, bed) = world.node_mut("syd")?;
    node.kill()?;
    node.start(bed)?;
    let took = all_answer(world, &["syd"], &all)?;
    Ok(format!("kept everywhere; syd has them {:.1} s after its start", took.as_secs_f64()))
}

fn last_known(world: &World) -> Vec<(String, BTreeSet<IpAddr>)> {
    let knot = &world.primaries[1];
    world.primaries.iter().flat_map(|one| wanted(one, if one.host == knot.host { 2 } else { 1 }, 2)).collect()
}

fn dns_a_returns(world: &mut World, _: &Report) -> Result<String> {
    for mut primary in world.primaries.clone() {
        let last = primary.address.octets()[2];
        for n in [1, 2] {
            primary.delegated = primary.delegated.replace(&format!("10.9.{last}.{n}"), &format!("10.9.{last}.7"));
            primary.origins = primary.origins.replace(&format!("10.8.{last}.{n}"), &format!("10.8.{last}.7"));
        }
        world.restart(primary)?;
    }
    let all: Vec<_> = world.primaries.iter().flat_map(|primary| wanted(primary, 7, 7)).collect();
    let took = all_answer(world, &names(), &all)?;
    Ok(format!("after {:.1} s", took.as_secs_f64()))
}
