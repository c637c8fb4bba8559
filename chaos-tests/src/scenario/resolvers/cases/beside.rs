//! What stands beside plain services: static records, wildcards, an alias within the zone, an HTTPS record.

use super::super::lanes::{Lane, each};
use super::super::places::{INNER, NEAREST, ORIGINS, OWN, SERVICE, ZONE};
use super::Case;
use anyhow::{Context, Result, bail};
use hickory_proto::rr::RecordType;

/// See the module.
pub const CASE: Case = Case {
    key: "beside",
    claim: "static records, wildcards, a CNAME within the zone and HTTPS records come through, with the nearest origin",
    play: |_, lanes, _| {
        each(lanes, |lane| {
            says(lane, ZONE, RecordType::MX, "mail.shop.lab")?;
            says(lane, ZONE, RecordType::TXT, "v=spf1")?;
            says(lane, "some.name.wild.lb.lab", RecordType::TXT, "any")?;
            for (what, name) in [("inner alias", INNER), ("wildcard", "some.apps.lb.lab")] {
                let landing = lane.reach(what, name, NEAREST)?;
                if landing.via.as_deref() != Some(OWN) {
                    bail!("{name} by way of {:?}", landing.via);
                }
            }
            let nearest = ORIGINS.iter().find(|origin| origin.region == NEAREST).context("no such origin")?;
            says(lane, SERVICE, RecordType::HTTPS, &nearest.address.to_string())
        });
        Ok(())
    },
    ..Case::PLAIN
};

/// Asks for records of a kind, one of which must say this among other things.
fn says(lane: &mut Lane, name: &str, kind: RecordType, wanted: &str) -> Result<()> {
    let reply = lane.ask("beside", name, kind)?;
    if !reply.others.iter().any(|text| text.contains(wanted)) {
        bail!("{name} {kind}: {} with {:?}, where {wanted} is looked for", reply.code, reply.others);
    }
    Ok(())
}
