//! The address has ended, the CNAME has not: only servers of the cut are asked.

use super::super::judge::{cut_of, questions, servers_told};
use super::super::lanes::{Lane, each};
use super::super::places::{NEAREST, OWN, SERVICE};
use super::Case;
use crate::bed::wire::Said;
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// Refreshes to be seen.
const REFRESHES: usize = 2;

/// See the module.
pub const CASE: Case = Case {
    key: "refresh",
    claim: "a refresh after the address's TTL goes to the servers of the cut, and to no DNS-B",
    play: |_, lanes, _| {
        each(lanes, |lane| {
            lane.reach("first", SERVICE, NEAREST)?;
            for landing in lane.refreshes(SERVICE, REFRESHES)? {
                if (landing.origin, landing.via.as_deref()) != (NEAREST, Some(OWN)) {
                    bail!("a refresh led to {} by way of {:?}", landing.origin, landing.via);
                }
            }
            Ok(())
        });
        Ok(())
    },
    wire,
    ..Case::PLAIN
};

fn wire(lane: &mut Lane, said: &[Said]) -> Result<()> {
    let egress = lane.kind.seat.egress();
    let servers = servers_told(said, &egress);
    let mut as_dns_b = 0;
    let mut as_dns_lb: BTreeMap<&str, usize> = BTreeMap::new();
    for (node, question) in questions(said, &egress) {
        match cut_of(&question.name()) {
            Some(cut) if servers.get(cut).is_some_and(|servers| servers.contains(node)) => {
                *as_dns_lb.entry(node).or_default() += 1;
            }
            _ => as_dns_b += 1,
        }
    }
    lane.notes.push(format!("{as_dns_b} as DNS-B, as DNS-LB {as_dns_lb:?}"));
    // The CNAME lives longer than this case, so DNS-B is asked for the first answer only.
    let refreshes = as_dns_lb.values().sum::<usize>();
    if as_dns_b > FIRST_MAX || refreshes < REFRESHES {
        bail!("{as_dns_b} questions to a DNS-B, {refreshes} to the cut's servers");
    }
    Ok(())
}

/// Most questions until the first answer, as in the case `cold`.
const FIRST_MAX: usize = 6;
