//! Asks DNS-A and everybody whom it lists, by the walk of `nigh trace`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};

use super::dns::{self, Manner, NO_WAY};
use crate::admin::dns_a_report::DelegationLine;
use crate::admin::report::{Peer, Verdict};
use crate::catalogue::name::text;
use crate::cli::doctor::judge::delegation::{Facts, Listed, Served, Trouble};
use crate::cli::trace::reading::{self, Delegation, Found, plain};
use crate::cli::trace::report::{Ending, Trace};
use crate::cli::trace::walk::Plan;
use crate::cli::trace::{Beginning, walk_to};

/// Servers of the parent, and addresses in its referral, that are asked.
const MOST_ASKED: usize = 32;

/// What a zone's parent says, and who stands behind it.
pub(crate) async fn look(
    zone: &Name,
    beginning: &Beginning,
    peers: &[Peer],
    keepers: &[DelegationLine],
) -> anyhow::Result<Facts> {
    let port = beginning.port();
    let mut facts = Facts {
        zone: plain(zone),
        nodes: peers
            .iter()
            .map(|peer| (peer.name.clone(), peer.dns_addresses.clone(), peer.verdict == Verdict::Alive))
            .collect(),
        keeper: keepers
            .iter()
            .find(|line| line.zone == text(zone) && !line.trouble.is_empty())
            .map(|line| line.trouble.clone()),
        begun_at: beginning.named(),
        ..Facts::default()
    };
    let plan = walk_for(zone.clone(), RecordType::NS, beginning)?;
    let (trace, known) = walk_to(plan).await;
    let above = known.iter().filter(|known| reading::is_below(zone, &known.zone));
    let Some(parent) = above.max_by_key(|known| known.zone.iter().count()) else {
        facts.trouble = Some(Trouble::NotAsked(trace.why));
        return Ok(facts);
    };
    facts.parent = Some(plain(&parent.zone));
    if !known.iter().any(|known| known.zone == *zone) {
        facts.trouble = Some(trouble(&trace));
        return Ok(facts);
    }
    for server in addresses(parent).into_iter().take(MOST_ASKED) {
        let at = SocketAddr::new(server, port);
        let said = parents_word(at, &parent.zone, zone, beginning).await;
        if !no_way(&said) {
            facts.parents.push((at, said));
        }
    }
    let listed: BTreeSet<IpAddr> = facts
        .parents
        .iter()
        .filter_map(|(_, said)| said.as_ref().ok())
        .flat_map(|listed| listed.servers.values().flatten().copied())
        .collect();
    for address in listed.into_iter().take(MOST_ASKED) {
        let served = served(SocketAddr::new(address, port), zone).await;
        if !no_way(&served) {
            facts.asked.insert(address, served);
        }
    }
    Ok(facts)
}

fn no_way<T>(said: &Result<T, String>) -> bool {
    said.as_ref().is_err_and(|why| why == NO_WAY)
}

fn walk_for(name: Name, rtype: RecordType, beginning: &Beginning) -> anyhow::Result<Plan> {
    Ok(Plan {
        name,
        rtype,
        start: beginning.start()?,
        port: beginning.port(),
        resolver: None,
        mesh: None,
        beside: false,
    })
}

fn trouble(trace: &Trace) -> Trouble {
    match trace.ending {
        Ending::NxDomain | Ending::NoData => Trouble::NotDelegated,
        _ => Trouble::NotAsked(trace.why.clone()),
    }
}

fn addresses(delegation: &Delegation) -> Vec<IpAddr> {
    delegation.servers.iter().flat_map(|server| server.addresses.iter().copied()).collect()
}

/// What one server of the parent says of the zone.
async fn parents_word(at: SocketAddr, parent: &Name, zone: &Name, beginning: &Beginning) -> Result<Listed, String> {
    let told = dns::ask(at, zone, RecordType::NS, Manner::default()).await?;
    let told = if told.message.metadata.truncation {
        dns::ask(at, zone, RecordType::NS, Manner { tcp: true, large: false }).await?
    } else {
        told
    };
    let reading = reading::read(&told.message, parent, zone, RecordType::NS)?;
    let delegation = match reading.found {
        Found::Elsewhere(delegation) if delegation.zone == *zone => delegation,
        Found::Elsewhere(delegation) => return Err(format!("refers to {}", plain(&delegation.zone))),
        Found::NxDomain | Found::NoData => return Err("knows nothing of it".to_owned()),
        _ => return Err("answers for the zone itself".to_owned()),
    };
    let mut listed = Listed { ttl: delegation.ttl, ..Listed::default() };
    for server in delegation.servers {
        let Some(name) = server.name else { continue };
        let mut addresses: BTreeSet<IpAddr> = server.addresses.into_iter().collect();
        // A name elsewhere needs no glue: it is looked up, as resolvers do.
        if addresses.is_empty() && !zone.zone_of(&name) {
            addresses = looked_up(&name, beginning).await;
        }
        listed.servers.insert(plain(&name), addresses);
    }
    Ok(listed)
}

async fn looked_up(name: &Name, beginning: &Beginning) -> BTreeSet<IpAddr> {
    let mut addresses = BTreeSet::new();
    for rtype in [RecordType::A, RecordType::AAAA] {
        let Ok(plan) = walk_for(name.clone(), rtype, beginning) else { continue };
        let (trace, _) = walk_to(plan).await;
        addresses
            .extend(trace.records.iter().filter_map(|record| record.split_whitespace().last()?.parse::<IpAddr>().ok()));
    }
    addresses
}

/// Whether a server has the zone.
async fn served(at: SocketAddr, zone: &Name) -> Result<Served, String> {
    let told = dns::ask(at, zone, RecordType::SOA, Manner::default()).await?;
    if told.message.metadata.response_code != ResponseCode::NoError {
        return Err(format!("says {}", told.message.metadata.response_code));
    }
    if !told.message.metadata.authoritative {
        return Err("answers without authority".to_owned());
    }
    let serial = told.message.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) if record.name == *zone => Some(soa.serial),
        _ => None,
    });
    // Resolvers go over to TCP for what does not fit.
    dns::ask(at, zone, RecordType::SOA, Manner { tcp: true, large: false })
        .await
        .map_err(|why| format!("over TCP: {why}"))?;
    serial.map(|serial| Served { node: told.node, serial }).ok_or_else(|| "gives no SOA record".to_owned())
}
