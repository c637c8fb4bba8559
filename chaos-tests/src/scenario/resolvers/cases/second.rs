//! A second name of the zone, for a resolver that knows the first.

use super::super::judge::questions;
use super::super::lanes::{Lane, each};
use super::super::places::{NEAREST, SECOND, SERVICE};
use super::Case;
use crate::bed::wire::Said;
use anyhow::{Result, bail};

/// One as DNS-B, one as DNS-LB, and one more for a minimised name.
const QUESTIONS_MAX: usize = 3;

/// See the module.
pub const CASE: Case = Case {
    key: "second",
    claim: "a second name costs one question to a DNS-B and at most one to the cut, which is known by now",
    play: |_, lanes, _| {
        each(lanes, |lane| {
            lane.reach("first", SERVICE, NEAREST)?;
            lane.reach("second", SECOND, NEAREST).map(drop)
        });
        Ok(())
    },
    wire,
    ..Case::PLAIN
};

fn wire(lane: &mut Lane, said: &[Said]) -> Result<()> {
    let egress = lane.kind.seat.egress();
    let label = SECOND.split('.').next().unwrap_or_default();
    let of_second = |said: &Said| said.name().to_ascii_lowercase().starts_with(label);
    let path: Vec<String> = questions(said, &egress)
        .filter(|(_, said)| of_second(said))
        .map(|(node, said)| format!("{node} {}", said.what_is_asked()))
        .collect();
    lane.notes.push(path.join(", "));
    if path.is_empty() || path.len() > QUESTIONS_MAX {
        bail!("{} questions for the second name", path.len());
    }
    Ok(())
}
