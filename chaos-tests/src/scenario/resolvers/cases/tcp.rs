//! A resolver whose UDP does not get through.

use super::super::judge::{questions, replies};
use super::super::lanes::{Lane, each};
use super::super::places::{NEAREST, SERVICE};
use super::Case;
use crate::bed::resolver::Manner;
use crate::bed::wire::Said;
use anyhow::{Result, bail};

/// See the module.
pub const CASE: Case = Case {
    key: "tcp",
    claim: "a resolver that asks by TCP only gets the nearest origin, at the first question and at a refresh",
    manner: |_| Manner { tcp: true, ..Manner::default() },
    play: |_, lanes, _| {
        each(lanes, |lane| {
            lane.reach("first", SERVICE, NEAREST)?;
            lane.refreshes(SERVICE, 1).map(drop)
        });
        Ok(())
    },
    wire,
    ..Case::PLAIN
};

fn wire(lane: &mut Lane, said: &[Said]) -> Result<()> {
    let egress = lane.kind.seat.egress();
    if let Some((_, said)) = questions(said, &egress).find(|(_, said)| !said.tcp) {
        bail!("a question by UDP: {}", said.line());
    }
    if replies(said, &egress).next().is_none() {
        bail!("no answer by TCP was seen");
    }
    Ok(())
}
