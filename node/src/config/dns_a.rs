//! What the file says of DNS-A: keys, zones of origins, and delegations to keep.
//!
//! Here and not in the catalogue, because DNS-A decides it node by node: who may transfer a zone or change a delegation is
//! a list of addresses and a key there. Nodes without these sections take no part in it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::rr::Name;

use super::document::{Item, Section, optional};
use super::value;
use crate::catalogue::name;
use crate::catalogue::origin::{MAX_FROM, one_or_many, server};
use crate::dns_a::tsig::Algorithm;
use crate::tables::duties::MAX_DUTIES;

/// Name servers of one mesh zone at its parent: beyond that a referral no longer fits a datagram.
const MOST_DELEGATED: u64 = 8;
const DEFAULT_MIN: u64 = 2;
const DEFAULT_MAX: u64 = 5;
/// A death of minutes is a restart, and resolvers know the next server.
const DEFAULT_SETTLE: Duration = Duration::from_secs(3600);
const SETTLE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(7 * 86_400));
const DEFAULT_PAUSE: Duration = Duration::from_secs(300);
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// Everything about DNS-A.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsAConfig {
    /// `[[tsig]]`
    pub keys: Vec<TsigConfig>,
    /// `[[origin_zone]]`
    pub zones: Vec<OriginZoneConfig>,
    /// `[[delegation]]`
    pub delegations: Vec<DelegationConfig>,
}

/// A key that this node shares with DNS-A.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsigConfig {
    /// Its name, equal on both sides.
    pub name: Name,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The file with the secret.
    pub secret: PathBuf,
}

/// A zone that this node may transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginZoneConfig {
    /// Its name.
    pub name: Name,
    /// Its primaries.
    pub from: Vec<SocketAddr>,
    /// The key for it.
    pub key: Option<Name>,
}

/// A delegation that this node may keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegationConfig {
    /// The mesh zone.
    pub zone: Name,
    /// The zone at DNS-A that delegates it.
    pub parent: Name,
    /// DNS-A's primary.
    pub server: SocketAddr,
    /// The key for it.
    pub key: Name,
    /// Never fewer name servers than this.
    pub min: usize,
    /// Never more.
    pub max: usize,
    /// How long a node must have been there, or gone, before it is put in or taken out.
    pub settle: Duration,
    /// Between two changes.
    pub pause: Duration,
    /// Only say what would be changed.
    pub dry_run: bool,
}

pub(super) const KEYS: [&str; 3] = ["tsig", "origin_zone", "delegation"];

pub(super) fn read(root: &Section<'_>) -> Option<DnsAConfig> {
    let sections = root.sections("tsig", &["name", "algorithm", "secret"]);
    let keys = all_of(root, "tsig", &sections, key);
    // Also of a key that is at fault otherwise: what refers to it is not wrong.
    let named = |section: &Section<'_>| name::host(section.get("name")?.as_text()?).ok();
    let known: Vec<Name> = sections.iter().filter_map(named).collect();
    no_repeats(&sections, "name", keys.as_deref().unwrap_or_default(), |key| &key.name);
    let sections = root.sections("origin_zone", &["name", "from", "key"]);
    let zones = all_of(root, "origin_zone", &sections, |section| zone(section, &known));
    no_repeats(&sections, "name", zones.as_deref().unwrap_or_default(), |zone| &zone.name);
    let words = ["zone", "parent", "server", "key", "min", "max", "settle", "pause", "dry_run"];
    let sections = root.sections("delegation", &words);
    let delegations = all_of(root, "delegation", &sections, |section| delegation(section, &known));
    no_repeats(&sections, "zone", delegations.as_deref().unwrap_or_default(), |one| &one.zone);
    Some(DnsAConfig { keys: keys?, zones: zones?, delegations: delegations? })
}

fn all_of<'d, T>(
    root: &Section<'d>,
    key: &'static str,
    sections: &[Section<'d>],
    read: impl Fn(&Section<'d>) -> Option<T>,
) -> Option<Vec<T>> {
    if let Some(item) = root.get(key).filter(|_| sections.len() > MAX_DUTIES) {
        item.fault(format!("{} of these, where at most {MAX_DUTIES} are allowed", sections.len()));
    }
    let read: Vec<Option<T>> = sections.iter().map(read).collect();
    read.into_iter().collect()
}

fn no_repeats<T>(sections: &[Section<'_>], key: &'static str, read: &[T], name: impl Fn(&T) -> &Name) {
    for (i, one) in read.iter().enumerate() {
        if read[..i].iter().any(|other| name(other) == name(one))
            && let Some(item) = sections.get(i).and_then(|section| section.get(key))
        {
            item.fault("listed before");
        }
    }
}

fn host(item: Option<Item<'_>>) -> Option<Name> {
    item?.text(name::host)
}

fn key(section: &Section<'_>) -> Option<TsigConfig> {
    let name = host(section.require("name", "the key's name at DNS-A, such as name = \"mesh-key\""));
    let algorithm = optional(section.get("algorithm"), Algorithm::Sha256, |item| {
        item.text(|text| {
            Algorithm::parse(text).ok_or_else(|| {
                "\"hmac-sha256\", \"hmac-sha384\", \"hmac-sha512\" or \"hmac-sha1\" is expected".to_owned()
            })
        })
    });
    let secret = section
        .require("secret", "the file with the secret, such as secret = \"/etc/nigh/mesh-key\"")
        .and_then(|item| item.text(value::absolute_path));
    Some(TsigConfig { name: name?, algorithm: algorithm?, secret: secret? })
}

fn known_key(item: &Item<'_>, known: &[Name]) -> Option<Name> {
    let name = item.text(name::host)?;
    if !known.contains(&name) {
        item.fault("no [[tsig]] of this file has that name");
        return None;
    }
    Some(name)
}

fn zone(section: &Section<'_>, known: &[Name]) -> Option<OriginZoneConfig> {
    let name = host(section.require("name", "the zone's name, such as name = \"origin.example.com\""));
    section.require("from", "DNS-A's primary, such as from = \"203.0.113.1\"");
    let from = one_or_many(section.get("from"), server, MAX_FROM);
    let key = optional(section.get("key"), None, |item| known_key(item, known).map(Some));
    Some(OriginZoneConfig { name: name?, from: from.filter(|from| !from.is_empty())?, key: key? })
}

fn delegation(section: &Section<'_>, known: &[Name]) -> Option<DelegationConfig> {
    let zone_item = section.require("zone", "the mesh zone, such as zone = \"lb.example.com\"");
    let zone = host(zone_item.clone());
    let parent_item = section.require("parent", "the zone that delegates it, such as parent = \"example.com\"");
    let parent = host(parent_item.clone());
    if let (Some(zone), Some(parent), Some(item)) = (&zone, &parent, parent_item)
        && (!parent.zone_of(zone) || parent == zone)
    {
        item.fault(format!("is not above {}", name::text(zone)));
    }
    let address = section.require("server", "DNS-A's primary, such as server = \"203.0.113.1\"");
    let address = address.and_then(|item| item.text(server));
    let key = section.require("key", "the key that may update it, such as key = \"mesh-key\"");
    let key = key.and_then(|item| known_key(&item, known));
    let min = optional(section.get("min"), DEFAULT_MIN, |item| item.integer(1..=MOST_DELEGATED));
    let max = optional(section.get("max"), DEFAULT_MAX.max(min.unwrap_or(0)), |item| item.integer(1..=MOST_DELEGATED));
    if let (Some(min), Some(max), Some(item)) = (min, max, section.get("max").or(section.get("min")))
        && min > max
    {
        item.fault(format!("min is {min} and max {max}: the other way round is expected"));
    }
    let time = |key, default, (least, most)| {
        optional(section.get(key), default, |item| item.text(value::duration(least, most)))
    };
    let settle = time("settle", DEFAULT_SETTLE, SETTLE);
    let pause = time("pause", DEFAULT_PAUSE, PAUSE);
    let dry_run = optional(section.get("dry_run"), false, |item| item.boolean());
    Some(DelegationConfig {
        zone: zone?,
        parent: parent?,
        server: address?,
        key: key?,
        min: usize::try_from(min?).ok()?,
        max: usize::try_from(max?).ok()?,
        settle: settle?,
        pause: pause?,
        dry_run: dry_run?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::config::Config;

    const NODE: &str = r#"
[node]
name = "fra"
state_dir = "/var/lib/nigh"
[mesh]
id = "zjp2ikuyemfpvta4hb3opxczffaaf34szi5hdl2ob6ftgiijg7ya"
listen = ["192.0.2.1:4242"]
[dns]
listen = ["192.0.2.1:53"]
"#;

    fn faults(text: &str) -> String {
        Config::parse(&format!("{NODE}{text}")).unwrap_err().to_string()
    }

    #[test]
    fn what_stands_there_is_read_and_the_rest_has_defaults() {
        let text = r#"
[[tsig]]
name = "Mesh-Key"
secret = "/etc/nigh/mesh-key"
[[origin_zone]]
name = "origin.example.com"
from = ["203.0.113.1", "[2001:db8::1]:5300"]
key = "mesh-key"
[[delegation]]
zone = "lb.example.com"
parent = "example.com"
server = "203.0.113.1"
key = "mesh-key"
"#;
        let read = Config::parse(&format!("{NODE}{text}")).unwrap().dns_a;
        assert_eq!(read.zones[0].from.len(), 2);
        assert_eq!(read.zones[0].key.as_ref(), Some(&read.keys[0].name));
        let one = &read.delegations[0];
        assert_eq!((one.min, one.max, one.dry_run, one.server.port()), (2, 5, false, 53));
    }

    #[test]
    fn every_mistake_is_said_with_its_place() {
        let said = faults(
            r#"
[[tsig]]
name = "k"
algorithm = "hmac-md5"
secret = "relative"
[[origin_zone]]
name = "origin.example.com"
key = "other"
[[delegation]]
zone = "lb.example.com"
parent = "example.net"
server = "nonsense"
key = "k"
min = 5
max = 3
dry_run = "yes"
"#,
        );
        for part in [
            "tsig[0].algorithm = \"hmac-md5\": \"hmac-sha256\"",
            "tsig[0].secret = \"relative\": an absolute path",
            "origin_zone[0].from: missing",
            "origin_zone[0].key = \"other\": no [[tsig]]",
            "delegation[0].parent = \"example.net\": is not above lb.example.com",
            "delegation[0].server = \"nonsense\": the address of a name server",
            "delegation[0].max = 3: min is 5 and max 3",
            "delegation[0].dry_run = \"yes\": true or false",
        ] {
            assert!(said.contains(part), "{part} in\n{said}");
        }
    }
}
