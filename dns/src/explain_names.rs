//! The part of an explanation that is about names: aliases, wildcards, and what the operators wrote.
//!
//! It looks names up with the very functions that answer, so it cannot name a record that is not given.

use hickory_proto::rr::{Name, Record, RecordType};

use crate::alias::target;
use crate::snapshot::Snapshot;
use crate::static_names::WHOAMI;
use crate::wire_name::{WireName, mnemonic, plain};

/// The aliases of a question, one after the other, each with what made it one.
pub(crate) fn aliases(snapshot: &Snapshot, aliases: &[Record]) -> String {
    let sentence = |alias: &Record| {
        let to = target(alias).map(plain).unwrap_or_default();
        let by = match wildcard(snapshot, &alias.name) {
            Some(source) => format!(", by the operators' CNAME record at {source}"),
            None => ", by the operators' CNAME record".to_owned(),
        };
        format!("{} is an alias of {to}{by}. ", plain(&alias.name))
    };
    aliases.iter().map(sentence).collect()
}

/// The wildcard that a name falls under, and gets its answer from.
pub(crate) fn wildcard(snapshot: &Snapshot, name: &Name) -> Option<String> {
    let path = WireName::new(name);
    let place = snapshot.place(&path)?;
    let found = snapshot.find(&place, &path).filter(|found| found.wild)?;
    let held = place.zone.holding(found.content).and_then(|holding| holding.name());
    let service = || snapshot.stand(&place, found).map(|stand| &stand.pool.service().name);
    held.or_else(service).map(plain)
}

/// What stands at a name of a zone, if it is not a service that has the type asked for.
pub(crate) fn what_stands(snapshot: &Snapshot, name: &Name, qtype: RecordType) -> Option<String> {
    let path = WireName::new(name);
    let place = snapshot.place(&path)?;
    if place.cut.is_some() {
        return None;
    }
    let zone = place.zone;
    let name = plain(name);
    if place.own > 0 && path.label(place.own - 1) == WHOAMI {
        return Some(format!("{name} tells who asks for it how its question came here."));
    }
    if let Some(delegation) = zone.delegation(&path, place.own) {
        let child = plain(&delegation.apex);
        return Some(match qtype {
            RecordType::DS => {
                format!("{child} is delegated to other servers, and its DS records stand here, above it.")
            }
            _ => format!("{name} lies in {child}, which the operators delegated to the servers named here."),
        });
    }
    let found = snapshot.find(&place, &path)?;
    let holding = zone.holding(found.content)?;
    let at = match (found.wild, holding.name()) {
        (true, Some(source)) => format!("{name} falls under {}, which", plain(source)),
        _ => name,
    };
    let types: Vec<String> = holding.types().map(mnemonic).collect();
    let beside = if found.content.service.is_some() { " beside its service" } else { "" };
    let none = match holding.get(qtype) {
        Some(_) => String::new(),
        None => format!(", none of type {}", mnemonic(qtype)),
    };
    Some(format!("{at} has records that the operators wrote ({}){beside}{none}.", types.join(", ")))
}
