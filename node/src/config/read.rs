//! From the document to [`Config`]: which keys there are, which must be there, and what stands in for the others.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::check;
use super::dns_a;
use super::dnstap;
use super::document::{Document, Item, Section, all, optional};
use super::telemetry;
use super::value;
use super::{
    AdminConfig, Anonymous, ClaimConfig, Config, DEFAULT_PREFERENCE, DEFAULT_RATE_LIMIT, DEFAULT_SOCKET, DnsConfig,
    DrainConfig, LogConfig, LogFormat, MAX_ADDRESSES, MAX_CAPACITY, MAX_CLAIMS, MAX_PUBLIC, MAX_RATE_LIMIT,
    MeasureConfig, MeshConfig, NodeConfig, ResolversConfig, TlsFiles,
};
use crate::discovery::MAX_RESOLVERS;
use crate::discovery::system::RESOLV_CONF;
use crate::projection::networks::MAX_TABLES;

/// A drain may outlast the name servers' TTL (one hour) and a margin, as a cut may be asked for until then.
const LONGEST_DRAIN: Duration = Duration::from_secs(2 * 3600);
/// Oftener would be a load on the resolver; more rarely, and a change goes unseen for longer than a proof lasts.
const SHORTEST_REDISCOVERY: Duration = Duration::from_secs(1);
const LONGEST_REDISCOVERY: Duration = Duration::from_secs(3600);
const DEFAULT_DRAIN: Duration = Duration::from_secs(5);

/// Reads all sections before giving up on any, so that the faults of all are found.
pub(super) fn config(document: &Document<'_>) -> Option<Config> {
    let keys = [
        "node",
        "mesh",
        "dns",
        "claim",
        "resolvers",
        "networks",
        "measure",
        "admin",
        "log",
        "drain",
        "dnstap",
        "telemetry",
    ];
    let root = document.root(&[&keys[..], &dns_a::KEYS].concat());
    let node = node(&root.section("node", &["name", "pop", "location", "state_dir"]));
    let mesh = mesh(&root.section("mesh", &["id", "certificate", "listen", "advertise", "bootstrap"]));
    let dns = dns(&root.section("dns", &["listen", "advertise", "rate_limit", "capacity"]));
    let claims = claims(&root);
    let resolvers = resolvers(&root);
    let networks = networks(&root.section("networks", &["tables"]));
    let measure = measure(&root.section("measure", &["source", "authorities", "commands"]));
    let admin = admin(&root.section("admin", &check::ADMIN_KEYS));
    let log = log(&root.section("log", &["format", "level"]));
    let drain = drain(&root.section("drain", &["answer_for"]));
    let dnstap = dnstap::read(&root.section("dnstap", &dnstap::KEYS));
    let telemetry = telemetry::read(&root.section("telemetry", &telemetry::KEYS));
    let dns_a = dns_a::read(&root);
    check::one_port_one_purpose(&root);
    Some(Config {
        node: node?,
        mesh: mesh?,
        dns: dns?,
        claims: claims?,
        resolvers: resolvers?,
        networks: networks?,
        measure: measure?,
        admin: admin?,
        log: log?,
        drain: drain?,
        dnstap: dnstap?,
        telemetry: telemetry?,
        dns_a: dns_a?,
    })
}

fn node(section: &Section<'_>) -> Option<NodeConfig> {
    let name = section
        .require("name", "the node's name, one DNS label, such as name = \"fra\"")
        .and_then(|item| item.text(value::node_name));
    let pop = optional(section.get("pop"), String::new(), |item| item.text(value::short_text));
    let location = optional(section.get("location"), None, |item| item.text(|text| text.parse().map(Some)));
    let state_dir = section
        .require("state_dir", "where key and pages are kept, such as state_dir = \"/var/lib/nigh\"")
        .and_then(|item| item.text(value::absolute_path));
    Some(NodeConfig { name: name?, pop: pop?, location: location?, state_dir: state_dir? })
}

fn mesh(section: &Section<'_>) -> Option<MeshConfig> {
    let id = section.require("id", "the operator's public key, as printed by `nigh init`").and_then(|item| {
        item.text(|text| {
            text.parse().map_err(|_| {
                "the operator's public key is expected: 52 characters a-z and 2-7, as printed by `nigh init`".to_owned()
            })
        })
    });
    let certificate = optional(section.get("certificate"), None, |item| item.text(value::absolute_path).map(Some));
    let listen = addresses(section.require("listen", "where to listen, such as listen = [\"0.0.0.0:4242\"]"));
    let listen_read = all(&listen, |item| item.text(value::listen_address));
    let advertise = addresses(section.get("advertise"));
    let advertise_read = all(&advertise, |item| item.text(value::advertised_address));
    let bootstrap = section.list("bootstrap");
    let bootstrap_read = all(&bootstrap, |item| item.text(str::parse));

    check::listen(&listen, listen_read.as_deref());
    check::no_repeats(&advertise, advertise_read.as_deref());
    let ips: Option<Vec<_>> = advertise_read.as_ref().map(|list| list.iter().map(SocketAddr::ip).collect());
    check::reachable(&advertise, ips.as_deref(), listen_read.as_deref());
    check::no_repeats(&bootstrap, bootstrap_read.as_deref());
    let example = "advertise = [\"198.51.100.7:4242\"]";
    let advertise = check::advertised(section, &listen, listen_read.as_deref(), advertise_read, |at| at, example);
    Some(MeshConfig {
        id: id?,
        certificate: certificate?,
        listen: listen_read.filter(|list| !list.is_empty())?,
        advertise: advertise?,
        bootstrap: bootstrap_read?,
    })
}

fn dns(section: &Section<'_>) -> Option<DnsConfig> {
    let listen = addresses(section.require("listen", "where to answer DNS, such as listen = [\"0.0.0.0:53\"]"));
    let listen_read = all(&listen, |item| item.text(value::listen_address));
    let advertise = addresses(section.get("advertise"));
    let advertise_read = all(&advertise, |item| item.text(value::advertised_ip));

    check::listen(&listen, listen_read.as_deref());
    check::no_repeats(&advertise, advertise_read.as_deref());
    check::reachable(&advertise, advertise_read.as_deref(), listen_read.as_deref());
    let example = "advertise = [\"198.51.100.7\"]";
    let advertise = check::advertised(section, &listen, listen_read.as_deref(), advertise_read, |at| at.ip(), example);
    let rate_limit = optional(section.get("rate_limit"), NonZeroU32::new(DEFAULT_RATE_LIMIT), |item| {
        item.integer(0..=MAX_RATE_LIMIT.into()).and_then(|n| u32::try_from(n).ok()).map(NonZeroU32::new)
    });
    let capacity = optional(section.get("capacity"), None, |item| {
        item.integer(1..=MAX_CAPACITY.into()).and_then(|n| u32::try_from(n).ok()).map(NonZeroU32::new)
    });
    Some(DnsConfig {
        listen: listen_read.filter(|list| !list.is_empty())?,
        advertise: advertise?,
        rate_limit: rate_limit?,
        capacity: capacity?,
    })
}

fn claims(root: &Section<'_>) -> Option<Vec<ClaimConfig>> {
    let sections = root.sections("claim", &["prefix", "preference"]);
    if let Some(item) = root.get("claim").filter(|_| sections.len() > MAX_CLAIMS) {
        item.fault(format!(
            "{} claims, where at most {MAX_CLAIMS} are allowed; join neighbouring prefixes",
            sections.len()
        ));
    }
    let prefixes: Vec<Option<Item<'_>>> =
        sections.iter().map(|section| section.require("prefix", "such as prefix = \"203.0.113.0/24\"")).collect();
    let read: Vec<_> = prefixes.iter().map(|item| item.as_ref()?.text(value::prefix)).collect();
    check::claims(&prefixes, &read);
    let claims: Vec<Option<ClaimConfig>> = sections
        .iter()
        .zip(read)
        .map(|(section, prefix)| {
            let preference = optional(section.get("preference"), DEFAULT_PREFERENCE, |item| {
                item.integer(0..=u16::MAX.into()).and_then(|n| u16::try_from(n).ok())
            });
            Some(ClaimConfig { preference: preference?, prefix: prefix? })
        })
        .collect();
    claims.into_iter().collect()
}

fn resolvers(root: &Section<'_>) -> Option<ResolversConfig> {
    let defaults = ResolversConfig::default();
    let section = root.section("resolvers", &["addresses", "system", "file", "public", "preference", "interval"]);
    let addresses = section.list("addresses");
    if let Some(item) = section.get("addresses").filter(|_| addresses.len() > MAX_RESOLVERS) {
        item.fault(format!("{} resolvers, where at most {MAX_RESOLVERS} are allowed", addresses.len()));
    }
    let addresses_read = all(&addresses, |item| item.text(value::resolver));
    check::no_repeats(&addresses, addresses_read.as_deref());
    let system = optional(section.get("system"), false, |item| item.boolean());
    let file = optional(section.get("file"), PathBuf::from(RESOLV_CONF), |item| item.text(value::absolute_path));
    if let (Some(item), Some(false)) = (section.get("file"), system) {
        item.fault("says where the system's resolvers stand, which are not asked; add system = true");
    }
    let public = section.list("public");
    if let Some(item) = section.get("public").filter(|_| public.len() > MAX_PUBLIC) {
        item.fault(format!("{} prefixes, where at most {MAX_PUBLIC} are allowed", public.len()));
    }
    let public_read = all(&public, |item| item.text(value::prefix));
    let preference = optional(section.get("preference"), defaults.preference, |item| {
        item.integer(0..=u16::MAX.into()).and_then(|n| u16::try_from(n).ok())
    });
    let interval = optional(section.get("interval"), defaults.interval, |item| {
        item.text(value::duration(SHORTEST_REDISCOVERY, LONGEST_REDISCOVERY))
    });
    Some(ResolversConfig {
        addresses: addresses_read?,
        system: system?.then_some(file?),
        public: public_read?,
        preference: preference?,
        interval: interval?,
    })
}

fn networks(section: &Section<'_>) -> Option<Vec<PathBuf>> {
    let tables = section.list("tables");
    if let Some(item) = section.get("tables").filter(|_| tables.len() > MAX_TABLES) {
        item.fault(format!("{} tables, where at most {MAX_TABLES} are allowed", tables.len()));
    }
    let read = all(&tables, |item| item.text(value::absolute_path));
    check::no_repeats(&tables, read.as_deref());
    read
}

fn measure(section: &Section<'_>) -> Option<MeasureConfig> {
    let source = section.list("source");
    let read = all(&source, |item| item.text(value::advertised_ip));
    check::one_per_family(&source, read.as_deref());
    let directory = |key| optional(section.get(key), None, |item| item.text(value::absolute_path).map(Some));
    let (authorities, commands) = (directory("authorities"), directory("commands"));
    Some(MeasureConfig { source: read?, authorities: authorities?, commands: commands? })
}

fn admin(section: &Section<'_>) -> Option<AdminConfig> {
    let socket = optional(section.get("socket"), PathBuf::from(DEFAULT_SOCKET), |item| item.text(value::socket_path));
    let listen = section.get("listen").map(|item| if item.is_list() { addresses(Some(item)) } else { vec![item] });
    let listen = listen.unwrap_or_default();
    let listen_read = all(&listen, |item| item.text(value::listen_address));
    check::listen(&listen, listen_read.as_deref());
    let anonymous = optional(section.get("anonymous"), Anonymous::Nothing, |item| {
        item.text(|text| match text {
            "none" => Ok(Anonymous::Nothing),
            "read" => Ok(Anonymous::Read),
            _ => Err("\"none\" or \"read\" is expected".to_owned()),
        })
    });
    let file = |key| optional(section.get(key), None, |item| item.text(value::absolute_path).map(Some));
    let (tokens, certificate, key) = (file("tokens"), file("tls_certificate"), file("tls_key"));
    let audit = file("audit");
    let names = section.list("names");
    if let Some(item) = section.get("names").filter(|_| names.len() > MAX_ADDRESSES) {
        item.fault(format!("{} names, where at most {MAX_ADDRESSES} are allowed", names.len()));
    }
    let names_read = all(&names, |item| item.text(value::host));
    check::no_repeats(&names, names_read.as_deref());
    check::doors(section, &listen, listen_read.as_deref());
    let tls = match (certificate?, key?) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        _ => None,
    };
    Some(AdminConfig {
        socket: socket?,
        listen: listen_read?,
        anonymous: anonymous?,
        tokens: tokens?,
        tls,
        names: names_read?,
        audit: audit?,
    })
}

fn log(section: &Section<'_>) -> Option<LogConfig> {
    let format = optional(section.get("format"), LogFormat::Human, |item| {
        item.text(|text| match text {
            "human" => Ok(LogFormat::Human),
            "json" => Ok(LogFormat::Json),
            _ => Err("\"human\" or \"json\" is expected".to_owned()),
        })
    });
    let level = optional(section.get("level"), "info".to_owned(), |item| {
        item.text(|text| crate::logging::filter(text).map(|_| text.to_owned()).map_err(|e| e.to_string()))
    });
    Some(LogConfig { format: format?, level: level? })
}

fn drain(section: &Section<'_>) -> Option<DrainConfig> {
    let answer_for = optional(section.get("answer_for"), DEFAULT_DRAIN, |item| {
        item.text(value::duration(Duration::ZERO, LONGEST_DRAIN))
    });
    Some(DrainConfig { answer_for: answer_for? })
}

fn addresses<'d>(item: Option<Item<'d>>) -> Vec<Item<'d>> {
    let Some(item) = item else { return Vec::new() };
    let list = item.list();
    if list.len() > MAX_ADDRESSES {
        item.fault(format!("{} addresses, where at most {MAX_ADDRESSES} are allowed", list.len()));
    }
    if list.is_empty() && item.is_list() {
        item.fault("at least one address is expected");
    }
    list
}
