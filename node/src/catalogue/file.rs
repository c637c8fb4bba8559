//! `services.toml`: the whole catalogue as an operator writes it.

mod policy;
mod probe;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::Name;

pub(super) use self::probe::{
    body_text, dns_name, grpc_service, http_host, http_path, plain_file, status_range, words_of,
};
use super::{
    Catalogue, MAX_NAMESERVERS, MAX_SERVERS, MAX_SERVICES, MAX_ZONES, Milli, Mode, Origin, Policy, Server, Service,
    SvcParams, Zone, name, static_records, svc_params,
};
use crate::config::document::{Document, Item, Section, all, optional};
use crate::config::{ConfigErrors, Label, value};

const DEFAULT_TTL: u32 = 20;
const DEFAULT_ANSWERS: u8 = 1;
pub(super) const DEFAULT_WEIGHT: u16 = 1;

/// Directly below a zone: kept for finding resolvers.
const WHOAMI: &str = "whoami";

pub(super) fn parse(text: &str, zone_file: static_records::ZoneFile<'_>) -> Result<Catalogue, ConfigErrors> {
    let document = Document::parse(text)?;
    let root = document.root(&["zone", "service"]);
    let mut named = Vec::new();
    let zones = zones(&root, &mut named);
    let services = services(&root, &zones);
    let mut catalogue = Catalogue { zones, services, records: BTreeMap::new() };
    static_records::add(&mut catalogue, &named, zone_file);
    document.finish(Some(catalogue))
}

/// The zones that can be read; the others' faults are noted.
fn zones<'d>(root: &Section<'d>, files: &mut Vec<(Name, Item<'d>)>) -> BTreeMap<Name, Zone> {
    let sections = root.sections("zone", &["name", "nameservers", "records"]);
    at_most(root.get("zone"), sections.len(), MAX_ZONES);
    let mut named: Vec<(Item<'_>, Name)> = Vec::new();
    let mut zones = BTreeMap::new();
    for section in &sections {
        let item = section.require("name", "the zone's name, such as name = \"lb.example.com\"");
        let apex = item.as_ref().and_then(|item| item.text(name::zone));
        let zone = Zone { nameservers: nameservers(section) };
        let (Some(item), Some(apex)) = (item, apex) else { continue };
        match named.iter().find(|(_, other)| other.zone_of(&apex) || apex.zone_of(other)) {
            Some((earlier, other)) if *other == apex => item.fault(format!("listed before as {}", earlier.path())),
            Some((_, other)) => item.fault(format!(
                "overlaps with zone {}: one lies within the other, and a zone of the mesh holds all names below it",
                name::text(other)
            )),
            None => {}
        }
        files.extend(section.get("records").map(|file| (apex.clone(), file)));
        named.push((item, apex.clone()));
        zones.insert(apex, zone);
    }
    zones
}

fn nameservers(section: &Section<'_>) -> Vec<Label> {
    let items = section.list("nameservers");
    at_most(section.get("nameservers"), items.len(), MAX_NAMESERVERS);
    let labels = all(&items, |item| item.text(value::node_name)).unwrap_or_default();
    for (i, label) in labels.iter().enumerate() {
        if labels[..i].contains(label) {
            items[i].fault("listed before");
        }
    }
    labels
}

fn services(root: &Section<'_>, zones: &BTreeMap<Name, Zone>) -> BTreeMap<Name, Service> {
    let own = ["name", "probe", "latency", "https", "svcb", "server", "origin", "origin_from", "origin_within"];
    let keys: Vec<&str> = own.into_iter().chain(policy::KEYS).collect();
    let sections = root.sections("service", &keys);
    at_most(root.get("service"), sections.len(), MAX_SERVICES);
    let mut seen: BTreeMap<Name, Item<'_>> = BTreeMap::new();
    let mut services = BTreeMap::new();
    for section in &sections {
        let item = section.require("name", "the host name, such as name = \"www.lb.example.com\"");
        let host = item.as_ref().and_then(|item| item.text(name::service));
        let service = service(section, host.as_ref());
        let (Some(item), Some(host)) = (item, host) else { continue };
        if let Some(earlier) = seen.get(&host) {
            item.fault(format!("listed before as {}", earlier.path()));
        }
        if let Err(problem) = place(&host, service.as_ref().map(|service| service.policy.mode), zones) {
            item.fault(problem);
        }
        let origin = service.as_ref().and_then(|service| service.policy.origin.as_ref());
        if let (Some(origin), Some(item)) = (origin, section.get("origin"))
            && zones.keys().any(|apex| apex.zone_of(&origin.name))
        {
            item.fault("is in a zone of this file, so the mesh would ask itself; a name at DNS-A is expected");
        }
        seen.insert(host.clone(), item);
        if let Some(service) = service {
            services.insert(host, service);
        }
    }
    services
}

/// Whether a service of this name can be answered, given the names that the mesh itself uses.
fn place(host: &Name, mode: Option<Mode>, zones: &BTreeMap<Name, Zone>) -> Result<(), String> {
    let Some((apex, zone)) = zones.iter().find(|(apex, _)| apex.zone_of(host)) else {
        let names: Vec<String> = zones.keys().map(name::text).collect();
        return Err(match names.as_slice() {
            [] => "in no zone: this file has none; write [[zone]]".into(),
            names => format!("in no zone of this file; a name in {} is expected", names.join(" or ")),
        });
    };
    let Some(top) = name::below(host, apex) else {
        return match mode {
            Some(Mode::Refer) => {
                Err("at the top of a zone no CNAME may stand (RFC 1034, section 3.6.2): write mode = \"answer\"".into())
            }
            _ => Ok(()),
        };
    };
    if top == WHOAMI {
        return Err("\"whoami\" directly below a zone is kept for finding resolvers; choose another name".into());
    }
    // `ns-` directly below the zone names its servers; as the one label before a cut it names those of the cut.
    if top.starts_with("ns-") && host.iter().count() == apex.iter().count() + 1 {
        return Err("\"ns-\" directly below a zone begins the names of name servers; choose another name".into());
    }
    if zone.nameservers.iter().any(|node| node.as_str() == top) {
        return Err(format!("would be hidden by the cut of node {top}; choose another name"));
    }
    Ok(())
}

fn service(section: &Section<'_>, host: Option<&Name>) -> Option<Service> {
    let probe = probe::read(section, host);
    let servers = servers(section);
    let policy = policy::read(section, &servers);
    let (https, svcb) = (svc_params(section, "https"), svc_params(section, "svcb"));
    let origin = Origin::read(section);
    let (https, svcb) = (https?, svcb?);
    let origin = origin?.map(Box::new);
    let policy::Given { mode, ttl, answers, spread, steering } = policy?;
    let steering = Box::new(steering);
    let policy = Policy { mode, ttl, answers, spread, probe: Box::new(probe?), https, svcb, steering, origin };
    Some(Service { policy, servers })
}

/// The parameters of an HTTPS or SVCB record, if the service shall have one; nothing: they are at fault.
fn svc_params(service: &Section<'_>, key: &'static str) -> Option<Option<SvcParams>> {
    let Some(item) = service.get(key) else { return Some(None) };
    let section = service.section(key, &["alpn", "port", "params"]);
    let protocol = |text: &str| {
        let right = |b: u8| b.is_ascii_graphic() && !matches!(b, b',' | b'"' | b'\\');
        let right = (1..=255).contains(&text.len()) && text.bytes().all(right);
        if right { Ok(text.to_owned()) } else { Err("a protocol's id is expected, such as \"h2\"".to_owned()) }
    };
    let alpn = all(&section.list("alpn"), |item| item.text(protocol));
    let port = optional(section.get("port"), None, |item| number(item, 1, u16::MAX).map(Some));
    let params = all(&section.list("params"), |item| item.text(|text| Ok(text.to_owned())));
    let (alpn, port, mut words) = (alpn?, port?, params?);
    words.extend((!alpn.is_empty()).then(|| format!("alpn={}", alpn.join(","))));
    words.extend(port.map(|port| format!("port={port}")));
    svc_params::read(&words).map_err(|problem| item.fault(problem)).ok().map(Some)
}

fn servers(service: &Section<'_>) -> BTreeMap<String, Server> {
    let sections = service.sections("server", &[&["id", "address", "weight"], &policy::SERVER_KEYS[..]].concat());
    // Elsewhere a place would only make servers differ that stand in another order.
    let by_place = service.get("choose").and_then(|item| item.as_text()) == Some("first");
    const AT_LEAST_ONE: &str = "at least one [[service.server]] with id and address, or origin with a name at DNS-A";
    if service.get("origin").is_none() {
        match service.require("server", AT_LEAST_ONE) {
            Some(item) if item.is_list() && sections.is_empty() => item.fault(format!("empty; {AT_LEAST_ONE}")),
            _ => {}
        }
    }
    at_most(service.get("server"), sections.len(), MAX_SERVERS);
    let mut ids: BTreeMap<String, Item<'_>> = BTreeMap::new();
    let mut addresses: BTreeMap<IpAddr, Item<'_>> = BTreeMap::new();
    let mut servers = BTreeMap::new();
    let mut canary: Option<Item<'_>> = None;
    for (place, section) in sections.iter().enumerate() {
        let id = section.require("id", "the server's id, unique in its service, such as id = \"fra-1\"");
        let address = section.require("address", "such as address = \"192.0.2.1\"");
        let weight = optional(section.get("weight"), DEFAULT_WEIGHT, |item| number(item, 0, u16::MAX));
        let id_read = id.and_then(|item| {
            let read = item.text(name::server_id)?;
            once(&mut ids, read, item)
        });
        let address_read = address.and_then(|item| {
            let read = item.text(value::advertised_ip)?;
            once(&mut addresses, read, item)
        });
        // Any address, so that mistakes in the terms are found beside one in it.
        let plain = Server::new(address_read.unwrap_or(IpAddr::from([192, 0, 2, 0])), weight.unwrap_or(DEFAULT_WEIGHT));
        let place = if by_place { u16::try_from(place).unwrap_or(u16::MAX) } else { 0 };
        let server = policy::terms(section, plain, place);
        if let (Some(id), Some(_), Some(_), Some(server)) = (id_read, address_read, weight, server) {
            canary = canary.or(section.get("canary").filter(|_| server.canary > Milli(0)));
            servers.insert(id, server);
        }
    }
    if let Some(item) = canary.filter(|_| servers.values().all(|server| server.canary > Milli(0))) {
        item.fault("every server of the service is a canary, so there is none for the other clients");
    }
    servers
}

/// Notes a fault if the value was seen before.
fn once<'d, T: Ord + Clone>(seen: &mut BTreeMap<T, Item<'d>>, read: T, item: Item<'d>) -> Option<T> {
    if let Some(earlier) = seen.get(&read) {
        item.fault(format!("listed before as {}", earlier.path()));
        return None;
    }
    seen.insert(read.clone(), item);
    Some(read)
}

fn number<T: TryFrom<u64> + Into<u64>>(item: &Item<'_>, least: T, most: T) -> Option<T> {
    item.integer(least.into()..=most.into()).and_then(|number| T::try_from(number).ok())
}

/// A time in whole microseconds, as records keep it: what is planned from a file and what is read back are equal.
fn time(item: &Item<'_>, least: Duration, most: Duration) -> Option<Duration> {
    item.text(|text| {
        let read = value::duration(least, most)(text)?;
        if read.subsec_nanos() % 1000 != 0 {
            return Err("whole microseconds are expected".to_owned());
        }
        Ok(read)
    })
}

pub(super) fn at_most(item: Option<Item<'_>>, count: usize, most: usize) {
    if let Some(item) = item.filter(|_| count > most) {
        item.fault(format!("{count} of these, where at most {most} are allowed"));
    }
}
