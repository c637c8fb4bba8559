//! The first question of a resolver that knows nothing but the parent zones.

use super::super::judge::{questions, replies};
use super::super::lanes::{Lane, each};
use super::super::places::{NEAREST, OWN, SERVICE};
use super::Case;
use crate::bed::wire::Said;
use anyhow::{Result, bail};

/// Most questions to nodes. Two are needed: one as DNS-B, one as DNS-LB. A minimised name costs one or two more. BIND,
/// told the NS set by a server of the cut (in an answer, not in a delegation), takes no glue from there and looks up
/// each server's address by itself, twice six questions at the worst; once an hour.
const QUESTIONS_MAX: usize = 14;

/// See the module.
pub const CASE: Case = Case {
    key: "cold",
    claim: "a resolver with an empty cache gets the nearest origin by way of its own node's cut",
    play: |_, lanes, _| {
        each(lanes, |lane| {
            let landing = lane.reach("first", SERVICE, NEAREST)?;
            if landing.via.as_deref() != Some(OWN) {
                bail!("by way of {:?} instead of {OWN}'s cut", landing.via);
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
    let path: Vec<String> =
        questions(said, &egress).map(|(node, said)| format!("{node} {}", said.what_is_asked())).collect();
    lane.notes.push(path.join(", "));
    match (path.len(), replies(said, &egress).count()) {
        (0, _) | (_, 0) => bail!("no node was asked"),
        (asked, _) if asked > QUESTIONS_MAX => bail!("{asked} questions for one name"),
        _ => Ok(()),
    }
}
