//! The own node leaves in good order: it is told to drain, answers a while longer, and ends.

use super::super::judge::{recovery, replies};
use super::super::lanes::{Lane, each};
use super::super::places::{ANSWER_FOR, NEAREST, NEXT, OWN, SECOND, SERVICE};
use super::super::world::World;
use super::Case;
use crate::bed::pulse::Pulse;
use crate::bed::wire::Said;
use crate::lab::wait::{Look, until};
use crate::report::Report;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often clients ask.
const PULSE: Duration = Duration::from_millis(250);
/// After the end, several refreshes at each resolver (Knot Resolver keeps addresses for 5 s).
const AFTER: Duration = Duration::from_secs(12);

/// See the module.
pub const CASE: Case = Case {
    key: "drain",
    claim: "while its own node drains and after it has ended, no lookup of a resolver that holds its NS set fails",
    play,
    wire,
    ..Case::PLAIN
};

fn play(world: &mut World, lanes: &mut [Lane], report: &Report) -> Result<()> {
    each(lanes, |lane| lane.reach("first", SERVICE, NEAREST).map(drop));
    let pulses: Vec<Pulse> =
        lanes.iter().map(|lane| Pulse::start(lane.client(&world.bed, None)?, SERVICE, PULSE)).collect::<Result<_>>()?;
    let begin = Instant::now();
    world.drain(OWN)?;
    world.known_as(OWN, "draining")?;
    report.say(&format!("{OWN} drains, and all know it"));
    each(lanes, |lane| {
        let landing = lane.reach("new name", SECOND, NEAREST)?;
        if landing.via.as_deref() != Some(NEXT) {
            bail!("a new name was sent to {:?}, where {OWN} drains", landing.via);
        }
        Ok(())
    });
    world.ended(OWN, 4 * ANSWER_FOR)?;
    let end = Instant::now();
    report.say(&format!("{OWN} has ended"));
    until("clients have asked for a while after the end", 2 * AFTER, || {
        Ok(if end.elapsed() >= AFTER { Look::Done(()) } else { Look::NotYet("asking".to_owned()) })
    })?;
    for (lane, pulse) in lanes.iter_mut().zip(&pulses) {
        let seen = recovery(&pulse.all(), begin);
        lane.notes.push(seen.sentence());
        if seen.failed > 0 && lane.fault.is_none() {
            lane.fault = Some(format!("{} of {} lookups failed", seen.failed, seen.lookups));
        }
    }
    drop(pulses);
    world.revive()
}

fn wire(lane: &mut Lane, said: &[Said]) -> Result<()> {
    let egress = lane.kind.seat.egress();
    let own = replies(said, &egress).filter(|(node, _)| *node == OWN).count();
    lane.notes.push(format!("{own} replies by {OWN}"));
    Ok(())
}
