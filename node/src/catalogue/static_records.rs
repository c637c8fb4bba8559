//! The zone files that `services.toml` names: read, and held against everything else that stands in the zones.
//!
//! A mistake is reported where the file is named, with the file's own line behind. What cannot stand where it is, is
//! found by the code that would leave it out of an answer, so the two cannot differ.

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::BinEncodable;

use super::file::at_most;
use super::{Catalogue, MAX_RRSET_BYTES, MAX_RRSETS, name, zone_file};
use crate::config::document::Item;
use crate::projection::misplaced;

/// Gives the text of a zone file by the path that stands in the document.
pub(super) type ZoneFile<'f> = &'f dyn Fn(&str) -> Result<String, String>;

/// Reads the zone files and adds what stands in them.
pub(super) fn add(catalogue: &mut Catalogue, named: &[(Name, Item<'_>)], read: ZoneFile<'_>) {
    // Where each RRset was read: its file's place in the list, and its line.
    let mut read_at: BTreeMap<(Name, u16), (usize, usize)> = BTreeMap::new();
    let mut faults: BTreeSet<(usize, usize, String)> = BTreeSet::new();
    for (at, (apex, item)) in named.iter().enumerate() {
        let Some(text) = item.text(read) else { continue };
        let sets = match zone_file::parse(&text, apex) {
            Ok(sets) => sets,
            Err(mistakes) => {
                faults.extend(mistakes.into_iter().map(|mistake| (at, mistake.line, mistake.problem)));
                continue;
            }
        };
        let nameservers = catalogue.zones.get(apex).map(|zone| zone.nameservers.clone()).unwrap_or_default();
        for ((owner, rtype), (line, set)) in sets {
            let mut fault = |problem: String| {
                faults.insert((at, line, format!("{}: {problem}", name::set(&owner, rtype))));
            };
            let bytes: usize = set.data.iter().map(|data| data.to_bytes().map_or(0, |bytes| bytes.len())).sum();
            if bytes > MAX_RRSET_BYTES {
                fault(format!("{bytes} octets of data, where at most {MAX_RRSET_BYTES} are allowed"));
            }
            let top = name::below(&owner, apex);
            if let Some(node) = nameservers.iter().find(|node| Some(node.as_str()) == top.as_deref()) {
                fault(format!("a name of the cut of node {node}; choose another name"));
            }
            read_at.insert((owner.clone(), rtype), (at, line));
            catalogue.records.insert((owner, rtype), set);
        }
    }
    // The very code that would leave records out of an answer says which.
    for (owner, rtype, why) in misplaced(catalogue) {
        if let Some((at, line)) = read_at.get(&(owner.clone(), rtype.into())) {
            faults.insert((*at, *line, format!("{}: {why}", name::set(&owner, rtype.into()))));
        }
    }
    for (at, line, problem) in faults {
        named[at].1.fault(format!("{}:{line}: {problem}", named[at].1.as_text().unwrap_or_default()));
    }
    if let Some((_, item)) = named.last() {
        at_most(Some(item.clone()), catalogue.records.len(), MAX_RRSETS);
    }
}
