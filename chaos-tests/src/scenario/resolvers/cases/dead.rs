//! The own node's host is gone, and its backups live.

use super::super::lanes::each;
use super::super::places::{NEAREST, NEXT, OWN, SECOND, SERVICE};
use super::super::world::World;
use super::{Case, Lane};
use crate::report::Report;
use anyhow::{Result, bail};

/// Refreshes after the death: more than one, for a resolver may ask a backup first by chance.
const REFRESHES: usize = 4;

/// See the module.
pub const CASE: Case = Case {
    key: "dead",
    claim: "with its own node's host dead, no lookup fails: a backup answers in the cut, and new names go to the next node",
    play,
    ..Case::PLAIN
};

fn play(world: &mut World, lanes: &mut [Lane], report: &Report) -> Result<()> {
    each(lanes, |lane| lane.reach("first", SERVICE, NEAREST).map(drop));
    world.die(OWN)?;
    report.say(&format!("{OWN} is dead"));
    each(lanes, |lane| {
        lane.reach("second", SECOND, NEAREST)?;
        for landing in lane.refreshes(SERVICE, REFRESHES)? {
            if landing.origin != NEAREST || !landing.via.as_deref().is_some_and(|via| via == OWN || via == NEXT) {
                bail!("a refresh led to {} by way of {:?}", landing.origin, landing.via);
            }
        }
        Ok(())
    });
    world.revive()
}
