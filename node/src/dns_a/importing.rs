//! What this node tells of the sources that it asks for: which of its pages to write, and which to take back.
//!
//! A page is taken back only when nobody needs it: an origin that no service has, or one that [`rank::DOING`] other live
//! nodes hold well. So there is no moment without a page, whoever joins or dies.

use std::collections::BTreeMap;

use nigh_gossip::{NodeId, Slot};

use super::polling::Found;
use super::pool::{Held, Pools};
use super::rank;
use crate::tables::pools::{Pool, Source};

/// The pages that must change, as slots and bodies; an empty body withdraws.
pub fn pages(
    pools: &Pools,
    me: NodeId,
    own: &[std::sync::Arc<Pool>],
    found: &BTreeMap<Source, Found>,
) -> Vec<(Slot, Vec<u8>)> {
    let mut changes = Vec::new();
    for (source, held) in &pools.sources {
        let before = held.pages.get(&me);
        if !held.importers.contains(&me) {
            if before.is_some() && is_held_by_others(held, me) {
                changes.push((source.slot(), Vec::new()));
            }
            continue;
        }
        let Some(found) = found.get(source) else { continue };
        let Some(after) = page(source, held, before.map(AsRef::as_ref), found) else { continue };
        if before.is_none_or(|before| **before != after) {
            changes.push((source.slot(), after.encode()));
        }
    }
    let orphans = own.iter().filter(|pool| !pools.sources.contains_key(&pool.source));
    changes.extend(orphans.map(|pool| (pool.source.slot(), Vec::new())));
    changes
}

/// What to write. Until this run has found something, what the last one found stands.
fn page(source: &Source, held: &Held, before: Option<&Pool>, found: &Found) -> Option<Pool> {
    let known = before.map(|before| before.addresses.clone()).unwrap_or_default();
    let addresses = found.addresses.clone().unwrap_or(known);
    if addresses.is_empty() && found.trouble.is_empty() {
        return None;
    }
    let generation = match before {
        Some(before) if before.addresses == addresses => before.generation,
        _ => held.pages.values().map(|pool| pool.generation).max().unwrap_or(0).saturating_add(1),
    };
    Some(Pool {
        source: source.clone(),
        generation,
        addresses,
        trouble: crate::tables::latency::reason(&found.trouble),
    })
}

fn is_held_by_others(held: &Held, me: NodeId) -> bool {
    let well = |id: &&NodeId| {
        **id != me && held.pages.get(id).is_some_and(|pool| pool.trouble.is_empty() && !pool.addresses.is_empty())
    };
    held.importers.iter().filter(well).count() >= rank::DOING
}
