//! Letters of random case ("0x20"): a reply that does not repeat them is taken for a forgery.

use super::super::judge::{questions, replies};
use super::super::lanes::{Lane, each};
use super::super::places::{NEAREST, SECOND, SERVICE};
use super::Case;
use crate::bed::resolver::Manner;
use crate::bed::wire::Said;
use anyhow::{Result, bail};

/// See the module.
pub const CASE: Case = Case {
    key: "random-case",
    claim: "the case of every letter of a question comes back as it was asked",
    manner: |_| Manner { random_case: true, ..Manner::default() },
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
    let upper = |name: &str| name.bytes().any(|letter| letter.is_ascii_uppercase());
    if !questions(said, &egress).any(|(_, said)| upper(&said.name())) {
        bail!("no question had a letter of upper case");
    }
    for (node, reply) in replies(said, &egress) {
        let asked = questions(said, &egress).any(|(asked, question)| {
            asked == node
                && question.message.metadata.id == reply.message.metadata.id
                && question.name() == reply.name()
        });
        if !asked {
            bail!("{node} changed the case of letters: {}", reply.line());
        }
    }
    // A resolver that sees its case changed asks again by TCP.
    match questions(said, &egress).find(|(_, said)| said.tcp) {
        Some((_, said)) => bail!("asked again by TCP: {}", said.line()),
        None => Ok(()),
    }
}
