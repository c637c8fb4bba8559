//! How the servers of a service are chosen, as bytes. What says nothing is not sent, so that a record of a service
//! without a policy of its own is as it always was; a version that knows nothing of this chooses by latency.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{address, address_bytes};
use crate::catalogue::{
    AllDown, Choice, Cost, Duty, MAX_COST, MAX_COST_NODES, MAX_FIXED, MAX_OVERRIDE_BYTES, MAX_OVERRIDES, MAX_SERVERS,
    MAX_WEIGHT, Milli, Objective, Override, Pin, Server, Steering, Sticky, name, override_bytes,
};
use crate::config::value::contactable;

/// Fields are numbered by their order: see the header of [`super`].
#[derive(Serialize, Deserialize)]
pub(super) struct SteeringBytes {
    /// 0 best, 1 first.
    choice: u8,
    /// Latency, loss, load and cost, in thousandths.
    objective: (u32, u32, u32, u32),
    /// 0 client, 1 none.
    sticky: u8,
    min_up: u16,
    /// 0 last good, 1 all, 2 none, 3 these addresses.
    all_down: u8,
    fixed: Vec<serde_bytes::ByteBuf>,
    ttl_min: Option<u32>,
    overrides: Vec<OverrideBytes>,
}

#[derive(Serialize, Deserialize)]
struct OverrideBytes {
    /// The network's address and length.
    prefix: Option<(serde_bytes::ByteBuf, u8)>,
    node: Option<String>,
    /// Empty: the tier.
    servers: Vec<String>,
    tier: u8,
}

/// On what terms a server is in the pool.
#[derive(Serialize, Deserialize)]
pub(super) struct TermsBytes {
    tier: u8,
    place: u16,
    /// 0 not said, 1 up, 2 drain, 3 off.
    state: u8,
    /// Thousandths of a percent.
    canary: u32,
    /// Thousandths.
    cost: u32,
    cost_of: Vec<(String, u32)>,
}

pub(super) fn encode(steering: &Steering) -> Option<SteeringBytes> {
    let Objective { latency, loss, load, cost } = steering.objective;
    let (all_down, fixed) = match &steering.all_down {
        AllDown::LastGood => (0, &[][..]),
        AllDown::All => (1, &[][..]),
        AllDown::None => (2, &[][..]),
        AllDown::Addresses(addresses) => (3, addresses.as_slice()),
    };
    (*steering != Steering::default()).then(|| SteeringBytes {
        choice: u8::from(steering.choice == Choice::First),
        objective: (latency.0, loss.0, load.0, cost.0),
        sticky: u8::from(steering.sticky == Sticky::None),
        min_up: steering.min_up,
        all_down,
        fixed: fixed.iter().map(|address| address_bytes(*address)).collect(),
        ttl_min: steering.ttl_min,
        overrides: steering.overrides.iter().map(encode_override).collect(),
    })
}

fn encode_override(this: &Override) -> OverrideBytes {
    let (servers, tier) = match &this.to {
        Pin::Servers(ids) => (ids.clone(), 0),
        Pin::Tier(tier) => (Vec::new(), *tier),
    };
    OverrideBytes {
        prefix: this.prefix.map(|net| (address_bytes(net.network()), net.prefix_len())),
        node: this.node.as_ref().map(ToString::to_string),
        servers,
        tier,
    }
}

pub(super) fn decode(read: Option<SteeringBytes>) -> Result<Steering, String> {
    let Some(read) = read else { return Ok(Steering::default()) };
    let (latency, loss, load, cost) = read.objective;
    let weights = [latency, loss, load, cost];
    if weights.iter().any(|weight| *weight > MAX_WEIGHT.0) || weights == [0; 4] {
        return Err(format!("an objective of {weights:?}"));
    }
    let fixed: Vec<IpAddr> = read.fixed.iter().map(|bytes| known_address(bytes)).collect::<Result<_, _>>()?;
    if usize::from(read.min_up) > MAX_SERVERS || fixed.len() > MAX_FIXED || (fixed.is_empty() == (read.all_down == 3)) {
        return Err(format!("min_up {} or {} addresses for when all is down", read.min_up, fixed.len()));
    }
    let overrides: Vec<Override> = read.overrides.into_iter().map(decode_override).collect::<Result<_, _>>()?;
    if overrides.len() > MAX_OVERRIDES || overrides.iter().map(override_bytes).sum::<usize>() > MAX_OVERRIDE_BYTES {
        return Err(format!("{} overrides", overrides.len()));
    }
    Ok(Steering {
        choice: match read.choice {
            0 => Choice::Best,
            1 => Choice::First,
            other => return Err(format!("choice {other}")),
        },
        objective: Objective { latency: Milli(latency), loss: Milli(loss), load: Milli(load), cost: Milli(cost) },
        sticky: match read.sticky {
            0 => Sticky::Client,
            1 => Sticky::None,
            other => return Err(format!("sticky {other}")),
        },
        min_up: read.min_up,
        all_down: match read.all_down {
            0 => AllDown::LastGood,
            1 => AllDown::All,
            2 => AllDown::None,
            3 => AllDown::Addresses(fixed),
            other => return Err(format!("all_down {other}")),
        },
        ttl_min: read.ttl_min,
        overrides,
        ..Steering::default()
    })
}

fn decode_override(read: OverrideBytes) -> Result<Override, String> {
    let prefix = |(bytes, length): (serde_bytes::ByteBuf, u8)| {
        let net = IpNet::new(address(&bytes)?, length).map_err(|e| e.to_string())?;
        if net.trunc() == net { Ok(net) } else { Err(format!("{net}, with bits beyond its length")) }
    };
    let label = |node: String| node.parse().map_err(|_| format!("{node:?}, which is no node name"));
    let servers = read.servers.iter().map(|id| name::server_id(id)).collect::<Result<Vec<_>, _>>()?;
    Ok(Override {
        prefix: read.prefix.map(prefix).transpose()?,
        node: read.node.map(label).transpose()?,
        to: if servers.is_empty() { Pin::Tier(read.tier) } else { Pin::Servers(servers) },
    })
}

/// The terms of a server, if they are not those of any.
pub(super) fn encode_terms(server: &Server) -> Option<TermsBytes> {
    let plain = Server::new(server.address, server.weight);
    (*server != plain).then(|| TermsBytes {
        tier: server.tier,
        place: server.place,
        state: match server.state {
            None => 0,
            Some(Duty::Up) => 1,
            Some(Duty::Drain) => 2,
            Some(Duty::Off) => 3,
        },
        canary: server.canary.0,
        cost: server.cost.default.0,
        cost_of: server.cost.nodes.iter().map(|(node, cost)| (node.to_string(), cost.0)).collect(),
    })
}

/// A server on these terms.
pub(super) fn decode_terms(plain: Server, read: Option<TermsBytes>) -> Result<Server, String> {
    let Some(read) = read else { return Ok(plain) };
    let highest = read.cost_of.iter().map(|(_, cost)| *cost).fold(read.cost, u32::max);
    if read.canary > 100_000 || highest > MAX_COST.0 || read.cost_of.len() > MAX_COST_NODES {
        return Err(format!("canary {}, cost {highest} or costs of {} nodes", read.canary, read.cost_of.len()));
    }
    let of_node = |(node, cost): (String, u32)| {
        Ok::<_, String>((node.parse().map_err(|_| format!("{node:?}, which is no node name"))?, Milli(cost)))
    };
    Ok(Server {
        tier: read.tier,
        place: read.place,
        state: match read.state {
            0 => None,
            1 => Some(Duty::Up),
            2 => Some(Duty::Drain),
            3 => Some(Duty::Off),
            other => return Err(format!("state {other}")),
        },
        canary: Milli(read.canary),
        cost: Cost {
            default: Milli(read.cost),
            nodes: read.cost_of.into_iter().map(of_node).collect::<Result<_, _>>()?,
        },
        ..plain
    })
}

fn known_address(bytes: &[u8]) -> Result<IpAddr, String> {
    let address = address(bytes)?;
    contactable(address).map(|()| address)
}
