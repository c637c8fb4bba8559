//! The records that operators wrote into a mesh zone, laid out beside its services.
//!
//! ```text
//!   World::records ─▶ by name ─┬─ at or below an NS set ─▶ Delegation: NS, DS and glue, nothing else counts there
//!                              ├─ a CNAME ─▶ stands alone
//!                              └─ the rest ─▶ beside a service, all but what the service itself answers
//! ```
//!
//! A static name stands in the zone alone, not in the cuts: a cut holds what a CNAME of ours leads to, and those lead
//! to services. So the name tables of a zone and of its cuts differ in one flag, [`Content::leads`].
//!
//! **Invariant:** what of a clash stays does not depend on the order in which the records came, so that nodes with
//! equal catalogues answer alike: a service before a CNAME or an address at its name and before a delegation at or
//! above it, other records before a CNAME beside them, and everything before a node's cut of that name.

use std::collections::BTreeMap;

use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::label::NAMESERVER_PREFIX;
use crate::steer::Pool;
use crate::wire_name::WireName;
use crate::zone::{Content, ZoneData};
use crate::{Problem, RrSet};

/// The longest TTL that resolvers have to take at its word (RFC 2181 section 8).
const LONGEST_TTL: u32 = i32::MAX as u32;

/// The name directly below a zone at which a resolver learns its own address.
pub(crate) const WHOAMI: &[u8] = b"whoami";

/// The RRsets at one name, by type.
pub(crate) struct Holding(Vec<(RecordType, Vec<Record>)>);

impl Holding {
    /// The RRset of a type.
    pub(crate) fn get(&self, rtype: RecordType) -> Option<&[Record]> {
        self.0.iter().find(|(held, _)| *held == rtype).map(|(_, records)| records.as_slice())
    }

    /// The types that stand here.
    pub(crate) fn types(&self) -> impl Iterator<Item = RecordType> + '_ {
        self.0.iter().map(|(rtype, _)| *rtype)
    }

    /// The name that they stand at, which may be a wildcard.
    pub(crate) fn name(&self) -> Option<&Name> {
        self.0.first()?.1.first().map(|record| &record.name)
    }

    /// The one record of a name that is another's alias.
    pub(crate) fn alias(&self) -> Option<&Record> {
        self.get(RecordType::CNAME)?.first()
    }
}

/// A child zone that is not the mesh's.
pub(crate) struct Delegation {
    pub(crate) apex: Name,
    pub(crate) nameservers: Vec<Record>,
    pub(crate) signers: Vec<Record>,
    pub(crate) glue: Vec<Record>,
}

/// The RRsets of one name while it is being laid out, by the number of their type.
struct Draft {
    path: WireName,
    sets: BTreeMap<u16, RrSet>,
}

type Drafts = BTreeMap<Box<[u8]>, Draft>;

/// Why records of this type cannot stand at this place, whatever else stands there. `own`: labels before the apex.
pub(crate) fn misfit(path: &WireName, own: usize, rtype: RecordType) -> Option<&'static str> {
    let top = own.checked_sub(1).map_or(&b""[..], |at| path.label(at));
    let wild = own > 0 && path.label(0) == b"*";
    match rtype {
        RecordType::SOA => Some("the mesh makes the SOA record of its zones itself"),
        RecordType::NS if own == 0 => Some("the mesh makes the NS records of its zones itself"),
        // RFC 1034 section 3.6.2: "If a CNAME RR is present at a node, no other data should be present", and at an
        // apex there are always SOA and NS.
        RecordType::CNAME if own == 0 => Some("no CNAME may stand at the apex of a zone"),
        RecordType::DS if own == 0 => Some("the DS records of a zone belong into the zone above it"),
        RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3 | RecordType::NSEC3PARAM | RecordType::DNSKEY => {
            Some("signatures and keys are the mesh's to make")
        }
        RecordType::OPT | RecordType::TSIG | RecordType::ANY | RecordType::AXFR | RecordType::IXFR => {
            Some("that is no type that data can have")
        }
        RecordType::DNAME => Some("DNAME is not supported"),
        // RFC 4592 section 4.2: what a delegation at a wildcard means is undefined.
        RecordType::NS | RecordType::DS if wild => Some("a wildcard cannot be delegated"),
        _ if top == WHOAMI => Some("\"whoami\" directly in a zone tells resolvers who they are"),
        _ if top.starts_with(NAMESERVER_PREFIX.as_bytes()) => {
            Some("names that begin with \"ns-\" directly in a zone belong to the mesh's name servers")
        }
        _ => None,
    }
}

impl ZoneData {
    /// Lays out the RRsets of this zone; services are in already, cuts are not. Each set fits its place by itself.
    pub(crate) fn add_records(&mut self, sets: Vec<(WireName, RrSet)>, pools: &[Pool], problems: &mut Vec<Problem>) {
        let mut drafts = Drafts::new();
        for (path, set) in sets {
            let key = path.slice(0, path.labels() - self.depth).into();
            let draft = drafts.entry(key).or_insert_with(|| Draft { path, sets: BTreeMap::new() });
            let number = u16::from(set.rtype);
            match draft.sets.get(&number) {
                None => drop(draft.sets.insert(number, set)),
                Some(_) => problems.push(Problem::Records(set.name, set.rtype, "they are in the catalogue twice")),
            }
        }
        let mut glue = BTreeMap::new();
        self.add_delegations(&mut drafts, &mut glue, problems);
        for (key, draft) in drafts {
            self.add_name(key, draft, pools, &mut glue, problems);
        }
        self.add_glue(&glue, problems);
    }

    /// Takes the delegations out of the drafts, with all that lies at and below them; addresses there become glue.
    fn add_delegations(
        &mut self,
        drafts: &mut Drafts,
        glue: &mut BTreeMap<Box<[u8]>, Vec<Record>>,
        problems: &mut Vec<Problem>,
    ) {
        let mut tops: Vec<Box<[u8]>> = Vec::new();
        for (key, draft) in drafts.iter_mut() {
            let Some(set) = draft.sets.get(&u16::from(RecordType::NS)) else { continue };
            if self.names.get(key).is_some_and(|content| content.leads) {
                problems.push(Problem::Records(set.name.clone(), set.rtype, "a service is at or below that name"));
                draft.sets.remove(&u16::from(RecordType::NS));
            } else {
                tops.push(key.clone());
            }
        }
        // A delegation below another is the child's business.
        tops.sort_by_key(|key| key.len());
        for key in tops {
            let Some(path) = drafts.get(&key).map(|draft| draft.path.clone()) else { continue };
            if self.delegation(&path, path.labels() - self.depth).is_some() {
                continue;
            }
            let mut take = |rtype: RecordType| -> Option<Vec<Record>> {
                drafts.get_mut(&key)?.sets.remove(&u16::from(rtype)).map(records)
            };
            let nameservers = take(RecordType::NS).unwrap_or_default();
            let signers = take(RecordType::DS).unwrap_or_default();
            let Some(apex) = nameservers.first().map(|record| record.name.clone()) else { continue };
            self.add_between(&path, false);
            self.edit(&key, |_| {});
            self.delegations.insert(key, Delegation { apex, nameservers, signers, glue: Vec::new() });
        }
        for (key, draft) in drafts.iter_mut() {
            if self.delegation(&draft.path, draft.path.labels() - self.depth).is_none() {
                continue;
            }
            for set in std::mem::take(&mut draft.sets).into_values() {
                match set.rtype {
                    RecordType::A | RecordType::AAAA => glue.entry(key.clone()).or_default().extend(records(set)),
                    rtype => problems.push(Problem::Records(
                        set.name,
                        rtype,
                        "they lie at or below a delegation, where only NS, DS and glue count",
                    )),
                }
            }
        }
    }

    /// One name outside of all delegations.
    fn add_name(
        &mut self,
        key: Box<[u8]>,
        draft: Draft,
        pools: &[Pool],
        glue: &mut BTreeMap<Box<[u8]>, Vec<Record>>,
        problems: &mut Vec<Problem>,
    ) {
        let service = self.names.get(&key).and_then(|content| pools.get(content.service?));
        let others = service.is_some() || draft.sets.len() > 1;
        let mut held = Vec::with_capacity(draft.sets.len());
        for set in draft.sets.into_values() {
            let clash = match set.rtype {
                // RFC 1034 section 3.6.2.
                RecordType::CNAME if others => Some("no CNAME may stand beside a service or other records"),
                RecordType::CNAME if set.data.len() > 1 => Some("a name has one CNAME record at most"),
                rtype if service.is_some_and(|pool| pool.has(rtype)) => {
                    Some("a service is there, which has such records itself")
                }
                RecordType::DS => Some("DS records stand beside NS records"),
                _ => None,
            };
            match clash {
                Some(why) => problems.push(Problem::Records(set.name, set.rtype, why)),
                None => held.push((set.rtype, records(set))),
            }
        }
        if held.is_empty() {
            return;
        }
        for (rtype, records) in &held {
            if matches!(rtype, RecordType::A | RecordType::AAAA) {
                glue.entry(key.clone()).or_default().extend(records.iter().cloned());
            }
        }
        self.add_between(&draft.path, false);
        let at = self.holdings.len();
        self.edit(&key, |content| content.records = Some(at));
        self.holdings.push(Holding(held));
    }

    /// Gives each delegation the addresses of its name servers as far as they lie in this zone.
    fn add_glue(&mut self, addresses: &BTreeMap<Box<[u8]>, Vec<Record>>, problems: &mut Vec<Problem>) {
        let (depth, apex) = (self.depth, WireName::new(&self.apex));
        let delegations: BTreeMap<_, _> = std::mem::take(&mut self.delegations).into_iter().collect();
        for (key, mut delegation) in delegations {
            for server in &delegation.nameservers {
                let RData::NS(target) = &server.data else { continue };
                let path = WireName::new(&target.0);
                if path.labels() < depth || path.suffix(depth) != apex.all() {
                    continue;
                }
                match addresses.get(path.slice(0, path.labels() - depth)) {
                    Some(held) => delegation.glue.extend(held.iter().cloned()),
                    None if delegation.apex.zone_of(&target.0) => {
                        problems.push(Problem::NoGlue(delegation.apex.clone(), target.0.clone()));
                    }
                    None => {}
                }
            }
            self.delegations.insert(key, delegation);
        }
    }

    /// The delegation that a name lies at or below, the topmost one. `own`: labels before the apex.
    pub(crate) fn delegation(&self, path: &WireName, own: usize) -> Option<&Delegation> {
        if self.delegations.is_empty() {
            return None;
        }
        (0..own).rev().find_map(|first| self.delegations.get(path.slice(first, own)))
    }

    /// What stands at a name beside its service.
    pub(crate) fn holding(&self, content: Content) -> Option<&Holding> {
        self.holdings.get(content.records?)
    }
}

/// The records of a set, each once (RFC 2181 section 5), all with one TTL (section 5.2).
fn records(set: RrSet) -> Vec<Record> {
    let mut data: Vec<RData> = Vec::with_capacity(set.data.len());
    for one in set.data {
        if !data.contains(&one) {
            data.push(one);
        }
    }
    let ttl = set.ttl.min(LONGEST_TTL);
    data.into_iter().map(|data| Record::from_rdata(set.name.clone(), ttl, data)).collect()
}
