//! Reads one reply as a careful resolver does: what is asked for, inside the zone that the server was asked for.
//!
//! The strictest behaviour measured among unbound, BIND, PowerDNS Recursor and Knot Resolver is the rule here:
//! * a referral must lead strictly downwards, towards the name; a lateral or repeated one makes the server lame;
//! * name servers of a cut count only with glue of their own, under names inside the cut (BIND);
//! * a negative answer needs AA (PowerDNS) and a SOA of the zone that was asked, not of one above it (BIND);
//! * records outside the zone that was asked are not looked at (RFC 5452 section 6).
//!
//! Invariant: pure; no packet can panic it.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::cache::Negative;
use super::{Delegation, NameServer};

/// Aliases followed within one message and one lookup: resolvers stop at 8 to 16, and ours need one.
pub const MAX_ALIASES: usize = 8;
/// Name servers taken from one referral: resolvers cap them at 13 to 20.
const MAX_SERVERS: usize = 13;

/// What a reply says about the name that was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The CNAME records from the asked name on, in order.
    pub aliases: Vec<Record>,
    /// Where they lead: the asked name if there are none.
    pub end: Name,
    /// The RRset at the end, if the message holds it.
    pub records: Option<Vec<Record>>,
    /// A delegation towards the end, and for how long it holds.
    pub cut: Option<(Delegation, Duration)>,
    /// That there is nothing at the end, and for how long that holds.
    pub negative: Option<(Negative, Duration)>,
}

/// Reads `message` as the reply of a server of `zone` to the question for `asked` and `kind`.
///
/// An `Err` says why the server is not to be used for this zone now.
pub fn read(message: &Message, zone: &Name, asked: &Name, kind: RecordType) -> Result<Reading, String> {
    let code = message.metadata.response_code;
    if code != ResponseCode::NoError && code != ResponseCode::NXDomain {
        return Err(format!("says {code}"));
    }
    let (aliases, end) = follow_aliases(message, zone, asked, kind)?;
    let records: Vec<Record> = message
        .answers
        .iter()
        .filter(|record| record.record_type() == kind && record.name == end && zone.zone_of(&record.name))
        .cloned()
        .collect();
    if (!aliases.is_empty() || !records.is_empty()) && !message.metadata.authoritative {
        return Err("answers without authority (AA=0)".to_owned());
    }
    let cut = find_cut(message, zone, &end);
    let mut reading = Reading { aliases, end, records: None, cut: None, negative: None };
    if let Ok(cut) = &cut {
        reading.cut.clone_from(cut);
    }
    if !records.is_empty() {
        reading.records = Some(records);
        return Ok(reading);
    }
    if reading.cut.is_some() {
        return Ok(reading);
    }
    if !zone.zone_of(&reading.end) {
        return Ok(reading); // the alias leads out of this zone: somebody else knows
    }
    match soa(message) {
        Some(soa) => reading.negative = Some(read_negative(message, soa, zone, &reading.end)?),
        // An alias alone is a whole answer, its target is asked next; the zone's own NS set beside it is left unread.
        None if !reading.aliases.is_empty() => {}
        None => {
            cut?;
            return Err("gives neither records nor a referral nor a SOA".to_owned());
        }
    }
    Ok(reading)
}

fn follow_aliases(
    message: &Message,
    zone: &Name,
    asked: &Name,
    kind: RecordType,
) -> Result<(Vec<Record>, Name), String> {
    let mut aliases: Vec<Record> = Vec::new();
    let mut end = asked.clone();
    if kind == RecordType::CNAME {
        return Ok((aliases, end));
    }
    while let Some((record, target)) = message.answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == end && zone.zone_of(&record.name) => Some((record, &target.0)),
        _ => None,
    }) {
        if aliases.len() >= MAX_ALIASES || aliases.iter().any(|seen| seen.name == *target) {
            return Err("gives a loop of aliases".to_owned());
        }
        aliases.push(record.clone());
        end = target.clone();
    }
    Ok((aliases, end))
}

/// The delegation in the authority section. `Err` if there is one that must not be followed.
fn find_cut(message: &Message, zone: &Name, end: &Name) -> Result<Option<(Delegation, Duration)>, String> {
    let of_apex = |record: &&Record| record.record_type() == RecordType::NS;
    let Some(first) = message.authorities.iter().find(of_apex) else {
        return Ok(None);
    };
    let cut = first.name.clone();
    if cut == *zone || !zone.zone_of(&cut) {
        return Err(format!("refers to {cut}, which is not below {zone}"));
    }
    if !cut.zone_of(end) {
        return Err(format!("refers to {cut}, which is not on the way to {end}"));
    }
    let mut ttl = first.ttl;
    let mut servers = Vec::new();
    for record in message.authorities.iter().filter(|record| record.name == cut) {
        let RData::NS(name) = &record.data else { continue };
        ttl = ttl.min(record.ttl);
        let (addresses, glue_ttl) = glue(message, &cut, &name.0);
        if !addresses.is_empty() && servers.len() < MAX_SERVERS {
            ttl = ttl.min(glue_ttl);
            servers.push(NameServer { name: name.0.clone(), addresses });
        }
    }
    if servers.is_empty() {
        return Err(format!("refers to {cut} without the address of a server inside it"));
    }
    Ok(Some((Delegation { zone: cut, servers }, Duration::from_secs(ttl.into()))))
}

fn glue(message: &Message, cut: &Name, server: &Name) -> (Vec<IpAddr>, u32) {
    let mut ttl = u32::MAX;
    let mut addresses = Vec::new();
    if !cut.zone_of(server) {
        return (addresses, ttl);
    }
    for record in message.additionals.iter().filter(|record| record.name == *server) {
        if let Some(address) = address(record) {
            ttl = ttl.min(record.ttl);
            addresses.push(address);
        }
    }
    (addresses, ttl)
}

/// The address in an A or AAAA record.
pub fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}

fn soa(message: &Message) -> Option<&Record> {
    message.authorities.iter().find(|record| record.record_type() == RecordType::SOA)
}

fn read_negative(message: &Message, record: &Record, zone: &Name, end: &Name) -> Result<(Negative, Duration), String> {
    let RData::SOA(soa) = &record.data else {
        return Err("gives a broken SOA".to_owned());
    };
    if !message.metadata.authoritative {
        return Err("denies without authority (AA=0)".to_owned());
    }
    if !zone.zone_of(&record.name) || !record.name.zone_of(end) {
        return Err(format!("denies with the SOA of {}, not of {zone}", record.name));
    }
    let what = match message.metadata.response_code {
        ResponseCode::NXDomain => Negative::NxDomain,
        _ => Negative::NoData,
    };
    Ok((what, Duration::from_secs(record.ttl.min(soa.minimum).into())))
}
