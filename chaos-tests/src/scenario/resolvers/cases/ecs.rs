//! A resolver that tells its clients' subnets (RFC 7871): one cache, clients near Frankfurt and near Tokyo.

use super::super::judge::{landing, questions, replies};
use super::super::lanes::Lane;
use super::super::places::{FAR, NEAREST, SERVICE, ZONE};
use super::super::world::World;
use super::Case;
use crate::bed::resolver::Manner;
use crate::bed::wire::Said;
use crate::report::Report;
use anyhow::{Context, Result, anyhow, bail};
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};

/// What resolvers send of an IPv4 address.
const SENT: u8 = 24;
/// The length of the claims that cover the clients. A scope may be longer, for narrower claims lie in one of them.
const CLAIMED: u8 = 16;

/// See the module.
pub const CASE: Case = Case {
    key: "ecs",
    claim: "clients of one resolver near two nodes each get their own nearest origin at once, by the subnet it sends",
    manner: |_| Manner { client_subnet: Some(ZONE.to_owned()), ..Manner::default() },
    play,
    wire,
    ..Case::PLAIN
};

fn play(world: &mut World, lanes: &mut [Lane], _: &Report) -> Result<()> {
    for lane in lanes {
        if let Err(error) = ask(world, lane) {
            lane.fault = Some(format!("{error:#}"));
        }
    }
    Ok(())
}

fn ask(world: &World, lane: &mut Lane) -> Result<()> {
    for (client, wanted) in lane.kind.seat.clients().into_iter().zip([NEAREST, NEAREST, FAR, FAR]) {
        let stub = lane.client(&world.bed, Some(client.into()))?;
        let lookup = stub.ask(SERVICE, RecordType::A);
        let reply = lookup.outcome.map_err(|failure| anyhow!("{client}: {failure}"))?;
        let landing = landing(&reply).with_context(|| format!("{client}"))?;
        lane.asked.push(super::super::lanes::Asked { what: "client", took: lookup.took, origin: Some(landing.origin) });
        if landing.origin != wanted || landing.via.is_some() {
            bail!("{client} got {} by way of {:?} instead of {wanted} at once", landing.origin, landing.via);
        }
    }
    Ok(())
}

fn subnet(said: &Said) -> Option<ClientSubnet> {
    match said.message.edns.as_ref()?.option(EdnsCode::Subnet)? {
        EdnsOption::Subnet(subnet) => Some(*subnet),
        _ => None,
    }
}

fn wire(lane: &mut Lane, said: &[Said]) -> Result<()> {
    let egress = lane.kind.seat.egress();
    let sent: Vec<ClientSubnet> = questions(said, &egress).filter_map(|(_, said)| subnet(said)).collect();
    let scopes: Vec<u8> = replies(said, &egress).filter_map(|(_, said)| Some(subnet(said)?.scope_prefix())).collect();
    lane.notes.push(format!("{} subnets sent, scopes {scopes:?}", sent.len()));
    if !sent.iter().any(|subnet| subnet.source_prefix() == SENT) {
        bail!("no client subnet was sent");
    }
    if !scopes.contains(&CLAIMED) || scopes.iter().any(|scope| !(CLAIMED..=SENT).contains(scope)) {
        bail!("scopes {scopes:?}, where the claims have {CLAIMED} and questions {SENT}");
    }
    Ok(())
}
