//! One reply, read as resolvers read it: what it says of the name that was asked, and what is wrong with it.
//!
//! Where resolvers differ the most forgiving one decides whether the walk goes on, and the strictest one whether there is
//! something to tell: a fault is what at least one of unbound, BIND, PowerDNS Recursor and Knot Resolver stumbles over.
//!
//! Source: RFC 1034 section 5.3.3, RFC 2308, RFC 9471 (glue), RFC 5452 section 6 (what lies outside the asked zone).
//! Invariant: pure; no packet can panic it, and only records within the asked server's zone are looked at.

use std::net::IpAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::catalogue::name::text;

/// Aliases followed in one message: resolvers stop at 8 to 16.
pub(crate) const MAX_ALIASES: usize = 8;
/// Name servers taken from one referral: resolvers cap them at 13 to 20.
const MAX_SERVERS: usize = 16;

/// A name server of a zone, and its addresses as far as they came along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameServer {
    pub(crate) name: Option<Name>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// A zone and who serves it, as its parent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delegation {
    pub(crate) zone: Name,
    pub(crate) servers: Vec<NameServer>,
    pub(crate) ttl: u32,
}

/// What is at the end of a reply's aliases.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found {
    /// The records that were asked for.
    Records(Vec<Record>),
    /// Somebody else is to be asked: the servers of this zone.
    Elsewhere(Delegation),
    /// There are no records of that type.
    NoData,
    /// There is no such name.
    NxDomain,
    /// An alias, and nothing about where it leads.
    Nothing,
}

/// A reply, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// The CNAME records from the asked name on.
    pub(crate) aliases: Vec<Record>,
    /// Where they lead; the asked name if there are none.
    pub(crate) end: Name,
    /// What is there.
    pub(crate) found: Found,
    /// What resolvers stumble over.
    pub(crate) faults: Vec<String>,
}

/// The address in an A or AAAA record.
pub(crate) fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}

/// A name for people: a dot for the root, no final dot elsewhere.
pub(crate) fn plain(name: &Name) -> String {
    if name.is_root() { ".".to_owned() } else { text(name).to_ascii_lowercase() }
}

/// Whether a name is below another one, and not that one.
pub(crate) fn is_below(name: &Name, zone: &Name) -> bool {
    zone.zone_of(name) && name.iter().count() > zone.iter().count()
}

/// Reads a server's reply to the question for a name of its zone. `Err` says why no resolver can use it.
pub(crate) fn read(message: &Message, zone: &Name, asked: &Name, rtype: RecordType) -> Result<Reading, String> {
    let code = message.metadata.response_code;
    if code != ResponseCode::NoError && code != ResponseCode::NXDomain {
        let serves = plain(zone);
        return Err(match code {
            ResponseCode::Refused | ResponseCode::NotAuth => {
                format!("says {code}: it does not serve {serves} (a lame delegation)")
            }
            ResponseCode::ServFail => format!("says {code}: it should serve {serves} and cannot"),
            _ => format!("says {code}"),
        });
    }
    let mut faults = Vec::new();
    let (aliases, end) = follow_aliases(message, zone, asked, rtype)?;
    let within = |record: &&Record| zone.zone_of(&record.name);
    let records: Vec<Record> = message
        .answers
        .iter()
        .filter(within)
        .filter(|record| record.name == end && (record.record_type() == rtype || rtype == RecordType::ANY))
        .cloned()
        .collect();
    let referral = delegation(message, zone, &end);
    let authoritative = message.metadata.authoritative;
    if (!aliases.is_empty() || !records.is_empty()) && !authoritative {
        faults.push("answers without authority (AA=0): resolvers take it for lame".to_owned());
    }
    let found = if !records.is_empty() {
        Found::Records(records)
    } else if let Some(referral) = referral {
        match referral {
            Ok(delegation) => {
                faults.extend(faults_of(&delegation));
                Found::Elsewhere(delegation)
            }
            // Beside an alias or a SOA the NS records are only there to fill the cache.
            Err(_) if !aliases.is_empty() || soa(message).is_some() => negative(message, zone, &end, &mut faults),
            Err(why) => return Err(why),
        }
    } else if zone.zone_of(&end) && (aliases.is_empty() || soa(message).is_some()) {
        negative(message, zone, &end, &mut faults)
    } else {
        Found::Nothing
    };
    Ok(Reading { aliases, end, found, faults })
}

fn follow_aliases(
    message: &Message,
    zone: &Name,
    asked: &Name,
    rtype: RecordType,
) -> Result<(Vec<Record>, Name), String> {
    let mut aliases: Vec<Record> = Vec::new();
    let mut end = asked.clone();
    if rtype == RecordType::CNAME || rtype == RecordType::ANY {
        return Ok((aliases, end));
    }
    while let Some((record, target)) = message.answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == end && zone.zone_of(&record.name) => Some((record, &target.0)),
        _ => None,
    }) {
        if aliases.len() >= MAX_ALIASES || *target == end || aliases.iter().any(|seen| seen.name == *target) {
            return Err(format!("gives aliases that go in a circle: {} again", plain(target)));
        }
        aliases.push(record.clone());
        end = target.clone();
    }
    Ok((aliases, end))
}

/// The referral in the authority section. `Err`: one that no resolver follows.
fn delegation(message: &Message, zone: &Name, end: &Name) -> Option<Result<Delegation, String>> {
    let first = message.authorities.iter().find(|record| record.record_type() == RecordType::NS)?;
    let cut = first.name.clone();
    if !is_below(&cut, zone) {
        let which = if cut == *zone { "its own zone again" } else { "sideways or upwards" };
        return Some(Err(format!(
            "refers to {}, {which}: a server of {} must refer further down or answer (lame; unbound avoids such a server \
             for a quarter of an hour)",
            plain(&cut),
            plain(zone)
        )));
    }
    if !cut.zone_of(end) {
        return Some(Err(format!("refers to {}, which is not on the way to {}", plain(&cut), plain(end))));
    }
    let mut servers = Vec::new();
    for record in message.authorities.iter().filter(|record| record.name == cut).take(MAX_SERVERS) {
        let RData::NS(name) = &record.data else { continue };
        let glue = message.additionals.iter().filter(|glue| glue.name == name.0 && zone.zone_of(&glue.name));
        servers.push(NameServer { name: Some(name.0.clone()), addresses: glue.filter_map(address).collect() });
    }
    Some(Ok(Delegation { zone: cut, servers, ttl: first.ttl }))
}

/// What resolvers stumble over in a delegation.
fn faults_of(delegation: &Delegation) -> Vec<String> {
    let Delegation { zone, servers, .. } = delegation;
    let lost: Vec<String> = servers
        .iter()
        .filter(|server| server.addresses.is_empty())
        .filter_map(|server| server.name.as_ref())
        .filter(|name| zone.zone_of(name))
        .map(plain)
        .collect();
    if lost.is_empty() {
        return Vec::new();
    }
    let whose = lost.join(", ");
    vec![format!("gives no address (glue) for {whose}, which lies in the delegated zone: nobody can find it")]
}

fn soa(message: &Message) -> Option<&Record> {
    message.authorities.iter().find(|record| record.record_type() == RecordType::SOA)
}

/// "There is nothing", and whether resolvers take a server's word for it.
fn negative(message: &Message, zone: &Name, end: &Name, faults: &mut Vec<String>) -> Found {
    if !message.metadata.authoritative {
        faults.push("denies without authority (AA=0): PowerDNS Recursor makes SERVFAIL of it".to_owned());
    }
    match soa(message) {
        None => {
            faults.push("denies without a SOA record: it cannot be kept, and is asked for again and again".to_owned())
        }
        Some(soa) if !zone.zone_of(&soa.name) => faults.push(format!(
            "denies with the SOA of {}, not of {}: BIND makes SERVFAIL of it",
            plain(&soa.name),
            plain(zone)
        )),
        Some(soa) if !soa.name.zone_of(end) => {
            faults.push(format!("denies with the SOA of {}, where {} is not in", plain(&soa.name), plain(end)));
        }
        Some(_) => {}
    }
    match message.metadata.response_code {
        ResponseCode::NXDomain => Found::NxDomain,
        _ => Found::NoData,
    }
}
