//! A service at the apex of the mesh zone, where no CNAME may stand.

use super::super::lanes::each;
use super::super::places::{NEAREST, SERVICE, ZONE};
use super::Case;
use anyhow::bail;
use hickory_proto::rr::RecordType;

/// See the module.
pub const CASE: Case = Case {
    key: "apex",
    claim: "a service at the apex of the zone is answered at once, beside SOA and NS, and other names still work",
    play: |_, lanes, _| {
        each(lanes, |lane| {
            let landing = lane.reach("apex", ZONE, NEAREST)?;
            if landing.via.is_some() {
                bail!("the apex is an alias into {:?}", landing.via);
            }
            for kind in [RecordType::SOA, RecordType::NS] {
                let reply = lane.ask("SOA, NS", ZONE, kind)?;
                if !reply.is_good() {
                    bail!("{kind} of the apex: {}", reply.code);
                }
            }
            lane.reach("below", SERVICE, NEAREST).map(drop)
        });
        Ok(())
    },
    ..Case::PLAIN
};
