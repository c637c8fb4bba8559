//! A resolver whose questions leave from several addresses into one cache, claimed by different nodes.
//!
//! Which address is the routing table's choice, by the node that is asked; in the middle of the case all change over.
//! Answers may lead to either claimant. What may never come is a referral from a server of a cut.

use super::super::judge::questions;
use super::super::lanes::{Lane, each};
use super::super::places::{DEEP, FAR, NEAREST, POPS, SECOND, SERVICE};
use super::super::world::World;
use super::Case;
use crate::bed::resolver::Manner;
use crate::bed::wire::Said;
use crate::lab::netns;
use crate::report::Report;
use anyhow::{Result, bail};
use hickory_proto::rr::RecordType;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// See the module.
pub const CASE: Case = Case {
    key: "egress",
    claim: "a resolver with two source addresses, claimed by two nodes, gets good answers into its one cache",
    manner: |_| Manner { routed: true, ..Manner::default() },
    play,
    wire,
    ..Case::PLAIN
};

fn play(world: &mut World, lanes: &mut [Lane], _: &Report) -> Result<()> {
    for (turn, names) in [[SERVICE, SECOND], [DEEP, SERVICE]].into_iter().enumerate() {
        for lane in lanes.iter() {
            route(world, lane, turn)?;
        }
        each(lanes, |lane| {
            for name in names {
                let landing = lane.land("either", name, RecordType::A)?;
                if ![NEAREST, FAR].contains(&landing.origin) {
                    bail!("{name} led to {}", landing.origin);
                }
            }
            lane.refreshes(SERVICE, 1).map(drop)
        });
    }
    for lane in lanes.iter() {
        unroute(world, lane)?;
    }
    Ok(())
}

/// Every other node is asked from the second address.
fn route(world: &World, lane: &Lane, turn: usize) -> Result<()> {
    let seat = lane.kind.seat;
    let commands: Vec<String> = POPS
        .iter()
        .enumerate()
        .map(|(place, pop)| {
            let source = if (place + turn).is_multiple_of(2) { seat.second() } else { seat.address() };
            format!("route replace {}/32 dev eth0 src {source}", pop.address)
        })
        .collect();
    netns::configure(world.bed.space(lane.name())?.name(), &commands)
}

fn unroute(world: &World, lane: &Lane) -> Result<()> {
    let commands: Vec<String> = POPS.iter().map(|pop| format!("route delete {}/32 dev eth0", pop.address)).collect();
    netns::configure(world.bed.space(lane.name())?.name(), &commands)
}

fn wire(lane: &mut Lane, said: &[Said]) -> Result<()> {
    let mut by_source: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (_, question) in questions(said, &lane.kind.seat.egress()) {
        *by_source.entry(question.from.ip()).or_default() += 1;
    }
    let shares: Vec<String> = by_source.iter().map(|(source, count)| format!("{count} from {source}")).collect();
    lane.notes.push(shares.join(", "));
    if by_source.len() < 2 {
        bail!("all questions left from one address");
    }
    Ok(())
}
