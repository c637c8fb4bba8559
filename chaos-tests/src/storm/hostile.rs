//! Hostile members in a world: admitted, started, revoked.

use super::fault::Fault;
use super::geography::Geography;
use super::plan::Plan;
use super::world::SERVICE;
use crate::bed::nigh::{Claim, MESH_PORT, Node, Operator, Settings};
use crate::bed::scripted::Scripted;
use crate::bed::{Bed, Host};
use crate::hostile::Malice;
use anyhow::{Context, Result};
use hickory_proto::op::Message;
use hickory_proto::rr::{RData, Record, rdata};
use std::net::Ipv4Addr;
use std::process::Command;

/// Where a hostile member sends everybody who asks it.
pub const TRAP: Ipv4Addr = Ipv4Addr::new(10, 66, 6, 6);
/// Of a flood, messages to each node in a second, some 30 KB each: more than a mesh of thousands has to say, and what an
/// emulated network in one thread carries beside the rest.
const PACE: u32 = 64;

/// A hostile member at work.
pub(super) struct Hostile {
    pub(super) node: Node,
    /// What it answers by DNS, if it does.
    _dns: Option<Scripted>,
}

/// The hostile members of a plan.
pub(super) fn malices(plan: &Plan) -> impl Iterator<Item = Malice> + '_ {
    plan.faults.iter().filter_map(|planned| match planned.fault {
        Fault::Hostile { malice } => Some(malice),
        _ => None,
    })
}

/// Their hosts.
pub(super) fn hosts(plan: &Plan) -> Vec<Host> {
    malices(plan).map(|malice| Host::new(malice.node(), "", malice.address())).collect()
}

/// Admits a member for resolvers that there are none of, and lets it misbehave.
pub(super) fn start(operator: &Operator, bed: &Bed, geography: &Geography, malice: Malice) -> Result<Hostile> {
    let settings = Settings {
        name: malice.node(),
        pop: String::new(),
        address: malice.address(),
        also: None,
        answer_for: None,
        bootstrap: Vec::new(),
        claims: vec![Claim { prefix: malice.allowed(), preference: 10 }],
        extra: String::new(),
        finds: None,
    };
    // One that lists others' cuts may answer what it likes to whom they are told to (SECURITY.md): it says nothing.
    let dns = match malice {
        Malice::Lies => None,
        _ => Some(Scripted::start(bed, &malice.node(), malice.address(), into_the_trap)?),
    };
    let mesh = operator.mesh().to_owned();
    let node = operator.start_in_place(bed, settings, |state| {
        let mut command = Command::new(std::env::current_exe().context("finding our own path")?);
        command.args(["hostile", "--mesh", &mesh, "--service", SERVICE]).arg("--state").arg(state);
        command.args(["--port", &MESH_PORT.to_string(), "--pace", &PACE.to_string(), "--malice", malice.word()]);
        for pop in &geography.pops {
            command.args(["--node", &format!("{}={}", pop.node, pop.address)]);
            command.args(["--resolver", &pop.resolver.to_string()]);
        }
        for origin in &geography.origins {
            command.args(["--server", &origin.id]);
        }
        Ok(command)
    })?;
    Ok(Hostile { node, _dns: dns })
}

/// Whatever is asked, the answer is [`TRAP`], for long.
fn into_the_trap(message: &mut Message) {
    message.metadata.authoritative = true;
    if let Some(query) = message.queries.first().cloned() {
        message.add_answer(Record::from_rdata(query.name().clone(), 3600, RData::A(rdata::A(TRAP))));
    }
}
