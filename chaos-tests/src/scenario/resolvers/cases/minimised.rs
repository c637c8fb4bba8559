//! Minimised names (RFC 9156), without a way back where the resolver can be told so, through an empty name.

use super::super::judge::questions;
use super::super::lanes::{Lane, each};
use super::super::places::{DEEP, NEAREST, OWN};
use super::Case;
use crate::bed::resolver::Manner;
use crate::bed::wire::Said;
use anyhow::{Result, bail};

/// See the module.
pub const CASE: Case = Case {
    key: "minimised",
    claim: "a name below an empty one is found label by label by resolvers that minimise names",
    manner: |_| Manner { strict_minimisation: true, ..Manner::default() },
    play: |_, lanes, _| {
        each(lanes, |lane| {
            let landing = lane.reach("deep", DEEP, NEAREST)?;
            if landing.via.as_deref() != Some(OWN) {
                bail!("by way of {:?}", landing.via);
            }
            Ok(())
        });
        Ok(())
    },
    wire,
    ..Case::PLAIN
};

fn wire(lane: &mut Lane, said: &[Said]) -> Result<()> {
    let empty = DEEP.split_once('.').map_or("", |(_, rest)| rest).to_owned();
    let egress = lane.kind.seat.egress();
    let halfway =
        questions(said, &egress).filter(|(_, said)| empty.ends_with(&said.name().to_ascii_lowercase())).count();
    lane.notes.push(format!("{halfway} questions for a part of the name"));
    if halfway == 0 {
        bail!("names were not minimised");
    }
    Ok(())
}
