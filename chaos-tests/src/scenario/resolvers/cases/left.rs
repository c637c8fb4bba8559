//! Backups have left a cut for good (its node was revoked), and resolvers still hold the NS set that names them.
//!
//! The cut's own node is cut off from the resolvers, so that those which left have to answer. "When in doubt, answer":
//! they must go on answering for the cut, with AA, and never refer. And nobody may say that its names are not there.

use super::super::judge::{cut_of, replies};
use super::super::lanes::{Lane, each};
use super::super::places::{NEAREST, OWN, POPS, SERVICE, ZONE};
use super::super::world::World;
use super::Case;
use crate::bed::wire::Said;
use crate::lab::wait::{Look, until};
use crate::report::Report;
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::time::Duration;

/// Refreshes by way of those who left.
const REFRESHES: usize = 3;
/// For a revocation to reach all nodes.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub const CASE: Case = Case {
    key: "left",
    claim: "nodes that left a cut go on answering for it to resolvers that hold its old NS set, and are never lame",
    play,
    wire,
    ..Case::PLAIN
};

fn play(world: &mut World, lanes: &mut [Lane], report: &Report) -> Result<()> {
    each(lanes, |lane| lane.reach("first", SERVICE, NEAREST).map(drop));
    world.revoke(OWN, "nyc")?;
    until(&format!("nobody lists the cut of {OWN} any more"), PATIENCE, || {
        let servers = world.servers(OWN)?;
        Ok(if servers.is_empty() { Look::Done(()) } else { Look::NotYet(format!("{servers:?} do")) })
    })?;
    report.say(&format!("{OWN} is revoked, and its backups have left its cut"));
    // A resolver that never learned of the cut asks anybody for what the CNAME names.
    let target = SERVICE.replace(ZONE, &format!("{OWN}.{ZONE}"));
    for lane in lanes.iter() {
        for node in POPS.iter().filter(|pop| pop.node != OWN) {
            let reply = world.ask_node(lane, node, &target)?;
            if !reply.is_good() {
                bail!("{} says {} to {target}, which CNAMEs name for a minute still", node.node, reply.code);
            }
        }
    }
    world.hide_from_resolvers(OWN, true)?;
    each(lanes, |lane| {
        for landing in lane.refreshes(SERVICE, REFRESHES)? {
            lane.notes.push(format!("{} by way of {}", landing.origin, landing.via.unwrap_or_default()));
        }
        lane.notes.dedup();
        Ok(())
    });
    Ok(())
}

fn wire(lane: &mut Lane, said: &[Said]) -> Result<()> {
    let mut by_node: BTreeMap<&str, usize> = BTreeMap::new();
    for (node, reply) in replies(said, &lane.kind.seat.egress()) {
        let meta = &reply.message.metadata;
        if cut_of(&reply.name()) == Some(OWN) && node != OWN && meta.authoritative && !reply.message.answers.is_empty()
        {
            *by_node.entry(node).or_default() += 1;
        }
    }
    lane.notes.push(format!("answers in the cut {by_node:?}"));
    if by_node.is_empty() {
        bail!("nobody who left the cut has answered for it");
    }
    Ok(())
}
