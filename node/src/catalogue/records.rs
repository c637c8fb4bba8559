//! The records that a node holds, and the catalogue that they make together.

use std::collections::BTreeMap;
use std::fmt;

use hickory_proto::rr::Name;
use nigh_gossip::{Key, Page, Stamp};

use super::hlc::Hlc;
use super::record::{Identity, Record, Unreadable, Value};
use super::{Catalogue, MAX_RRSETS, MAX_SERVERS, MAX_SERVICES, MAX_ZONES, Service, TABLE, name};

/// Something in the records that does not fit and was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Records, the newest of each kept: a join-semilattice, as the replica they come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    held: BTreeMap<Key, (Stamp, Result<Record, Unreadable>)>,
}

impl Records {
    /// The records among `pages`; other tables' pages are passed over.
    pub fn from_pages<'a>(pages: impl IntoIterator<Item = &'a Page>) -> Self {
        let mut records = Self::default();
        for page in pages {
            records.apply(page);
        }
        records
    }

    /// Takes a page in, if it is newer than what is held.
    pub fn apply(&mut self, page: &Page) {
        let (key, stamp) = (page.key(), page.stamp());
        let newer = self.held.get(&key).is_none_or(|(held, _)| *held < stamp);
        if key.table == TABLE && newer {
            self.held.insert(key, (stamp, Record::decode(key, page.body())));
        }
    }

    /// Takes a record in as if it were the newest of its place.
    pub fn amend(&mut self, record: Record) {
        let key = record.identity.key();
        let stamp = self.held.get(&key).map_or(Stamp { major: 0, minor: 0, hash: [0; 16] }, |(stamp, _)| *stamp);
        self.held.insert(key, (stamp, Ok(record)));
    }

    /// The stamps of all that is held, readable or not: an edit must be above them.
    pub fn stamps(&self) -> impl Iterator<Item = Hlc> {
        self.held.values().map(|(stamp, _)| Hlc::from(*stamp))
    }

    /// Everything that has a value now.
    pub(super) fn live(&self) -> BTreeMap<&Identity, &Value> {
        let readable = self.held.values().filter_map(|(_, record)| record.as_ref().ok());
        readable.filter_map(|record| Some((&record.identity, record.value.as_ref()?))).collect()
    }

    pub(super) fn join(&self) -> (Catalogue, Vec<Problem>) {
        let mut problems: Vec<Problem> =
            self.held.values().filter_map(|(_, record)| Some(Problem(record.as_ref().err()?.to_string()))).collect();
        let mut catalogue = Catalogue::default();
        // Identities sort zones first, then services, servers and records, so each finds what it belongs to.
        for (identity, value) in self.live() {
            if let Err(problem) = add(&mut catalogue, identity, value) {
                problems.push(Problem(format!("{identity}: {problem}")));
            }
        }
        problems.sort();
        (catalogue, problems)
    }
}

/// Adds one record. Servers of a removed service are no problem: of two edits at once one removed the service, and
/// the other added a server to it.
fn add(catalogue: &mut Catalogue, identity: &Identity, value: &Value) -> Result<(), String> {
    match (identity, value) {
        (Identity::Zone(apex), Value::Zone(zone)) => {
            if catalogue.zones.len() >= MAX_ZONES {
                return Err(format!("left out: more than {MAX_ZONES} zones"));
            }
            if let Some(outer) = catalogue.zones.keys().find(|outer| outer.zone_of(apex)) {
                return Err(format!("left out: inside the zone {}", name::text(outer)));
            }
            catalogue.zones.insert(apex.clone(), zone.clone());
        }
        (Identity::Service(service), Value::Service(policy)) => {
            if catalogue.services.len() >= MAX_SERVICES {
                return Err(format!("left out: more than {MAX_SERVICES} services"));
            }
            if !in_some_zone(catalogue, service) {
                return Err("left out: in no zone of the catalogue".into());
            }
            let service_record = Service { policy: policy.clone(), servers: BTreeMap::new() };
            catalogue.services.insert(service.clone(), service_record);
        }
        (Identity::Server(service, id), Value::Server(server)) => {
            let Some(service) = catalogue.services.get_mut(service) else { return Ok(()) };
            if service.servers.len() >= MAX_SERVERS {
                return Err(format!("left out: more than {MAX_SERVERS} servers"));
            }
            service.servers.insert(id.clone(), server.clone());
        }
        // Whether the records can stand where they are is seen when a snapshot is built: that depends on the rest.
        (Identity::Records(owner, rtype), Value::Records(set)) => {
            if catalogue.records.len() >= MAX_RRSETS {
                return Err(format!("left out: more than {MAX_RRSETS} static names and types"));
            }
            if !in_some_zone(catalogue, owner) {
                return Err("left out: in no zone of the catalogue".into());
            }
            catalogue.records.insert((owner.clone(), *rtype), set.clone());
        }
        // The value is read as the kind that the identity names.
        _ => return Err("left out: a value of another kind".into()),
    }
    Ok(())
}

fn in_some_zone(catalogue: &Catalogue, name: &Name) -> bool {
    catalogue.zones.keys().any(|zone| zone.zone_of(name))
}
