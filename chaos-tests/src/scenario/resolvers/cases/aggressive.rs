//! A validating resolver that makes negative answers from NSEC records (RFC 8198): the parent zone is signed, the mesh
//! zone is an insecure delegation in it.
//!
//! The NSEC record at `lb.lab.` spans every name below the mesh zone. It is the parent's and must not be used for them
//! (RFC 6840 section 4.1); a resolver that did would answer NXDOMAIN for every service.

use super::super::lanes::{Lane, each};
use super::super::places::{ALIAS, DNS_A, NEAREST, SECOND, SERVICE};
use super::Case;
use crate::bed::resolver::Manner;
use crate::bed::wire::Said;
use anyhow::{Result, bail};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

/// Names between `lb.lab.` and `ns.lab.`, the next one: the first brings the NSEC record, the second may be made of it.
const NOBODY: [&str; 2] = ["nobody.lab", "nothing.lab"];

/// See the module.
pub const CASE: Case = Case {
    key: "aggressive",
    claim: "validated NXDOMAIN beside the mesh zone, also from NSEC, never denies a service below it",
    manner: |world| Manner { anchor: Some(world.anchor.clone()), ..Manner::default() },
    play: |_, lanes, _| {
        each(lanes, |lane| {
            for name in NOBODY {
                let reply = lane.ask("nobody", name, RecordType::A)?;
                if reply.code != ResponseCode::NXDomain || !reply.validated {
                    bail!("{name}: {}, validated: {}", reply.code, reply.validated);
                }
            }
            lane.reach("service", SERVICE, NEAREST)?;
            let reply = lane.ask("no service", "nobody.lb.lab", RecordType::A)?;
            if reply.code != ResponseCode::NXDomain {
                bail!("nobody.lb.lab: {}", reply.code);
            }
            lane.reach("second", SECOND, NEAREST)?;
            lane.reach("alias", ALIAS, NEAREST).map(drop)
        });
        Ok(())
    },
    wire,
    ..Case::PLAIN
};

fn wire(lane: &mut Lane, said: &[Said]) -> Result<()> {
    let egress = lane.kind.seat.egress();
    let asked = |name: &str| {
        said.iter().any(|said| {
            said.to.ip() == DNS_A && egress.contains(&said.from.ip()) && said.name().eq_ignore_ascii_case(name)
        })
    };
    let [first, second] = NOBODY;
    if !asked(first) {
        bail!("{first} was never asked for");
    }
    lane.notes.push(format!("{second} {}", if asked(second) { "asked for" } else { "made from NSEC" }));
    Ok(())
}
