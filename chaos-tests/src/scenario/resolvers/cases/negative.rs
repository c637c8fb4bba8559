//! Names and types that are not there, beside those that are.

use super::super::lanes::{Lane, each};
use super::super::places::{NEAREST, SECOND};
use super::Case;
use anyhow::{Result, bail};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

/// See the module.
pub const CASE: Case = Case {
    key: "negative",
    claim: "NODATA and NXDOMAIN in the zone, in a cut and for an empty name are taken as such, and harm no name beside",
    play: |_, lanes, _| {
        each(lanes, |lane| {
            // The service has no address of IPv6: a CNAME, and NODATA of the cut.
            nothing(lane, SECOND, RecordType::AAAA, ResponseCode::NoError)?;
            nothing(lane, "nobody.lb.lab", RecordType::A, ResponseCode::NXDomain)?;
            nothing(lane, "nobody.fra.lb.lab", RecordType::A, ResponseCode::NXDomain)?;
            nothing(lane, "down.lb.lab", RecordType::A, ResponseCode::NoError)?;
            lane.reach("beside", SECOND, NEAREST).map(drop)
        });
        Ok(())
    },
    ..Case::PLAIN
};

fn nothing(lane: &mut Lane, name: &str, kind: RecordType, code: ResponseCode) -> Result<()> {
    let reply = lane.ask("nothing", name, kind)?;
    if reply.code != code || !reply.addresses.is_empty() {
        bail!("{name} {kind}: {} with {} addresses instead of {code}", reply.code, reply.addresses.len());
    }
    Ok(())
}
