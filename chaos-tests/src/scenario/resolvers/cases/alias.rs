//! A name of another zone that is an alias of a service.

use super::super::lanes::each;
use super::super::places::{ALIAS, NEAREST, OWN};
use super::Case;
use anyhow::bail;

/// See the module.
pub const CASE: Case = Case {
    key: "alias",
    claim: "a CNAME in another zone leads into a service, through two CNAMEs to the nearest origin",
    play: |_, lanes, _| {
        each(lanes, |lane| {
            let landing = lane.reach("alias", ALIAS, NEAREST)?;
            if landing.via.as_deref() != Some(OWN) {
                bail!("by way of {:?}", landing.via);
            }
            lane.refreshes(ALIAS, 1).map(drop)
        });
        Ok(())
    },
    ..Case::PLAIN
};
