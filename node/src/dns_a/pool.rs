//! Whose page holds for a source, and what services have of it.
//!
//! Importers may be answered differently (DNS-A may look at where they stand), and they die. **The rule, computed alike by
//! every node:** the page of the first importer in order of [`rank`] that is alive and not in trouble; is there none, of
//! all pages, also of the dead, the one of the highest generation. So all nodes answer from one importer's set, it
//! changes hands only when that one dies or fails, and when DNS-A is gone the last change stands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::Name;
use nigh_gossip::NodeId;

use super::rank;
use crate::catalogue::{Catalogue, MAX_SERVERS, Server, name};
use crate::tables::duties::Duties;
use crate::tables::pools::{Pool, Source};

/// Warnings about sources that are said one by one; of the others only the number.
const MOST_SAID: usize = 5;

/// What one node contributes.
#[derive(Clone, Debug)]
pub struct Contributor {
    /// The node.
    pub id: NodeId,
    /// Whether it is there to ask.
    pub alive: bool,
    /// Its pages.
    pub pools: Vec<Arc<Pool>>,
    /// What it can do.
    pub duties: Option<Arc<Duties>>,
}

impl Contributor {
    /// Whether nothing changed: pages are compared by identity, for they are decoded once.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_duties = match (&self.duties, &other.duties) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        let same_pools = || self.pools.iter().zip(&other.pools).all(|(one, other)| Arc::ptr_eq(one, other));
        self.id == other.id
            && self.alive == other.alive
            && same_duties
            && self.pools.len() == other.pools.len()
            && same_pools()
    }
}

/// One source, as all nodes see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The services that have it as origin.
    pub services: Vec<Name>,
    /// Who imports it now.
    pub importers: Vec<NodeId>,
    /// All pages of it, by writer.
    pub pages: BTreeMap<NodeId, Arc<Pool>>,
    /// Whose page holds; none: there is no set yet.
    pub holder: Option<NodeId>,
    /// Whether that is only the last known set.
    pub is_last_known: bool,
}

impl Held {
    /// The page that holds.
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        self.pages.get(self.holder.as_ref()?)
    }

    /// What someone should look at.
    fn warning(&self, source: &Source) -> Option<String> {
        let services: Vec<String> = self.services.iter().map(name::text).collect();
        let troubles = || self.importers.iter().filter_map(|id| self.pages.get(id)).map(|pool| pool.trouble.as_str());
        let why = troubles().find(|trouble| !trouble.is_empty()).unwrap_or("no importer has answered");
        let origin = name::text(&source.name);
        let services = services.join(", ");
        match self.holder {
            Some(_) if !self.is_last_known => None,
            Some(_) => Some(format!("origin {origin} of {services}: the last known set stands ({why})")),
            // Before the first answers it is too early to complain.
            None if troubles().next().is_none() => None,
            None => Some(format!("origin {origin} of {services}: no server is known ({why})")),
        }
    }
}

/// All sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// By source.
    pub sources: BTreeMap<Source, Held>,
}

impl Pools {
    /// What the contributors say about the origins in the catalogue.
    pub fn new(catalogue: &Catalogue, contributors: &[Contributor]) -> Self {
        let mut sources: BTreeMap<Source, Held> = BTreeMap::new();
        for (service, one) in &catalogue.services {
            // A name in our own zones would be asked of ourselves.
            let origin = one.policy.origin.as_deref().filter(|origin| !is_ours(catalogue, &origin.name));
            if let Some(origin) = origin {
                sources.entry(origin.into()).or_default().services.push(service.clone());
            }
        }
        let alive: BTreeSet<NodeId> = contributors.iter().filter(|one| one.alive).map(|one| one.id).collect();
        for contributor in contributors {
            for pool in &contributor.pools {
                let Some(held) = sources.get_mut(&pool.source) else { continue };
                // A node has one page of a source; should it write several, the highest.
                let page = held.pages.entry(contributor.id).or_insert_with(|| pool.clone());
                if page.generation < pool.generation {
                    *page = pool.clone();
                }
            }
        }
        for (source, held) in &mut sources {
            let able = contributors.iter().filter(|one| one.alive).map(|one| (class(one, &source.name), one.id));
            let order = rank::first(&source.slot(), able);
            let fails = |id: NodeId| held.pages.get(&id).is_some_and(|pool| !pool.trouble.is_empty());
            held.importers = rank::doing(&order, rank::DOING, fails);
            let has_set = |id: &NodeId| held.pages.get(id).is_some_and(|pool| !pool.addresses.is_empty());
            let good = order.iter().copied().find(|id| alive.contains(id) && has_set(id) && !fails(*id));
            let newest = || {
                let pages = held.pages.iter().filter(|(_, pool)| !pool.addresses.is_empty());
                pages.max_by_key(|(id, pool)| (pool.generation, std::cmp::Reverse(**id))).map(|(id, _)| *id)
            };
            held.is_last_known = good.is_none();
            held.holder = good.or_else(newest);
        }
        Self { sources }
    }

    /// The catalogue with the servers that were imported.
    pub fn add_to(&self, catalogue: &mut Catalogue) {
        for service in catalogue.services.values_mut() {
            let Some(origin) = service.policy.origin.as_deref() else { continue };
            let Some(pool) = self.sources.get(&Source::from(origin)).and_then(Held::pool) else { continue };
            let written: BTreeSet<IpAddr> = service.servers.values().map(|server| server.address).collect();
            let imported =
                pool.addresses.iter().filter(|address| origin.allows(**address) && !written.contains(address));
            for address in imported {
                if service.servers.len() >= MAX_SERVERS {
                    break;
                }
                service.servers.entry(server_id(*address)).or_insert_with(|| Server::at(*address));
            }
        }
    }

    /// What someone should look at.
    pub fn warnings(&self) -> Vec<String> {
        let all = || self.sources.iter().filter_map(|(source, held)| held.warning(source));
        let mut said: Vec<String> = all().take(MOST_SAID).collect();
        let more = all().count().saturating_sub(MOST_SAID);
        if more > 0 {
            said.push(format!("{more} more origins are in trouble: see `nigh pools`"));
        }
        said
    }

    /// The sources that this node asks for now.
    pub fn of(&self, me: NodeId) -> BTreeSet<Source> {
        let mine = self.sources.iter().filter(|(_, held)| held.importers.contains(&me));
        mine.map(|(source, _)| source.clone()).collect()
    }
}

/// The id of an imported server: its address, so that its measurements outlast any import.
pub fn server_id(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        // Colons may not stand in an id; the long form has always the same length and order.
        IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:04x}")).join("-"),
    }
}

fn is_ours(catalogue: &Catalogue, name: &Name) -> bool {
    catalogue.zones.keys().any(|zone| zone.zone_of(name))
}

/// Nodes that hold the zone itself come before those that can only ask.
fn class(contributor: &Contributor, name: &Name) -> u8 {
    let holds = contributor.duties.as_ref().is_some_and(|duties| duties.zones.keys().any(|zone| zone.zone_of(name)));
    u8::from(!holds)
}

#[cfg(test)]
mod tests;
