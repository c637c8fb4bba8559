//! A resolver that has no IPv4.

use super::super::judge::questions;
use super::super::lanes::{Lane, each};
use super::super::places::{NEAREST, OWN, SERVICE};
use super::Case;
use crate::bed::wire::Said;
use anyhow::{Result, bail};
use hickory_proto::rr::RecordType;

/// See the module.
pub const CASE: Case = Case {
    key: "ipv6",
    claim: "a resolver that speaks IPv6 only gets the nearest origin of both families by way of its own node's cut",
    by_ipv6: true,
    play: |_, lanes, _| {
        each(lanes, |lane| {
            lane.reach("first", SERVICE, NEAREST)?;
            let landing = lane.land("AAAA", SERVICE, RecordType::AAAA)?;
            if (landing.origin, landing.via.as_deref()) != (NEAREST, Some(OWN)) {
                bail!("AAAA led to {} by way of {:?}", landing.origin, landing.via);
            }
            Ok(())
        });
        Ok(())
    },
    wire,
    ..Case::PLAIN
};

fn wire(lane: &mut Lane, said: &[Said]) -> Result<()> {
    match questions(said, &lane.kind.seat.egress()).find(|(_, said)| said.from.is_ipv4()) {
        Some((_, said)) => bail!("a question by IPv4: {}", said.line()),
        None => Ok(()),
    }
}
