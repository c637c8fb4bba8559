//! Which nodes the parent should delegate a mesh zone to, and the change that makes it so.
//!
//! ```text
//!   nodes, since when they are there or gone ─▶ chosen ─┐
//!   NS and glue as the parent has them ─────────────────┴▶ nothing, or a change with its prerequisites (RFC 2136)
//! ```
//!
//! Resolvers live with a dead server in a set that they know, and pay for each set that is new to them: so a node goes in
//! or out only after it was there, or gone, for `settle`. **Invariants:** what is left is never below `min`, and what
//! is put in never above `max`; a node that is gone is kept where there is no other. Touched are NS records whose
//! target is `ns-<node>` of the zone and the addresses of those names, never anything else, and only if all of it is
//! still as it was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, NS};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use nigh_dns::{Label, NAMESERVER_TTL};

/// NS records, and addresses of one of their names, that are looked at.
const MOST_SEEN: usize = 64;

/// A node that the parent may list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub label: Label,
    /// Where it stands: several sites are better than one.
    pub site: String,
    /// Its glue.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether it answers.
    pub is_alive: bool,
    /// Whether the catalogue wants it in the zone's NS set.
    pub is_wanted: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At least so many.
    pub min: usize,
    /// At most so many.
    pub max: usize,
    /// For how long a node must have been there, or gone.
    pub settle: Duration,
}

/// Since when each node is there, or gone.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    since: BTreeMap<Label, (bool, Duration)>,
}

impl Watch {
    /// Takes in who is there now; of nodes that only the parent knows, that they are gone.
    pub fn look(&mut self, now: Duration, candidates: &[Candidate], listed: &BTreeSet<Label>) {
        let alive: BTreeMap<&Label, bool> = candidates.iter().map(|one| (&one.label, one.is_alive)).collect();
        self.since.retain(|label, _| alive.contains_key(label) || listed.contains(label));
        for label in alive.keys().copied().chain(listed) {
            let is = alive.get(label).copied().unwrap_or(false);
            let held = self.since.entry(label.clone()).or_insert((is, now));
            if held.0 != is {
                *held = (is, now);
            }
        }
    }

    fn settled(&self, now: Duration, label: &Label, alive: bool, settle: Duration) -> bool {
        self.since.get(label).is_some_and(|(is, since)| *is == alive && now.saturating_sub(*since) >= settle)
    }
}

/// The delegation as the parent has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The targets of the NS records.
    pub servers: BTreeSet<Name>,
    /// Addresses beside them.
    pub glue: BTreeMap<Name, BTreeSet<IpAddr>>,
}

impl Seen {
    /// Reads the parent's reply to a question for the zone's NS records: a referral, or that there is none.
    ///
    /// # Errors
    /// It is neither.
    pub fn read(zone: &Name, reply: &Message) -> Result<Self, String> {
        match reply.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => {}
            code => return Err(format!("the server answers {code}")),
        }
        if reply.metadata.truncation {
            return Err("the server's answer is cut short".into());
        }
        let of_zone = |record: &&Record| record.name == *zone;
        if reply.metadata.authoritative && reply.answers.iter().any(|record| of_zone(&record)) {
            return Err("the server answers for the mesh zone itself, so what the parent has cannot be seen".into());
        }
        let denied = reply.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
        let mut seen = Self::default();
        for record in reply.authorities.iter().chain(&reply.answers).filter(of_zone) {
            if let RData::NS(target) = &record.data {
                seen.servers.insert(target.0.to_lowercase());
            }
        }
        if seen.servers.is_empty() && !denied {
            return Err(
                "the server neither delegates the zone nor says that nobody does: does it serve the parent?".into()
            );
        }
        for record in &reply.additionals {
            let address = match &record.data {
                RData::A(a) => IpAddr::V4(a.0),
                RData::AAAA(aaaa) => IpAddr::V6(aaaa.0),
                _ => continue,
            };
            if seen.servers.contains(&record.name) {
                seen.glue.entry(record.name.to_lowercase()).or_default().insert(address);
            }
        }
        let most = seen.glue.values().map(BTreeSet::len).chain([seen.servers.len()]).max().unwrap_or(0);
        if most > MOST_SEEN {
            Err(format!("{most} records in one set are more than a delegation has"))
        } else {
            Ok(seen)
        }
    }

    /// The nodes among the servers.
    pub fn nodes(&self, zone: &Name) -> BTreeSet<Label> {
        self.servers.iter().filter_map(|server| node_of(zone, server)).collect()
    }
}

/// The name of a node as a server of a zone.
pub fn server_name(zone: &Name, node: &Label) -> Option<Name> {
    zone.prepend_label(node.nameserver()).ok()
}

fn node_of(zone: &Name, server: &Name) -> Option<Label> {
    let first = server.iter().next()?;
    let label: Label = std::str::from_utf8(first).ok()?.strip_prefix("ns-")?.parse().ok()?;
    (server_name(zone, &label)? == *server).then_some(label)
}

/// The nodes that the parent should list.
pub fn choose(
    now: Duration,
    listed: &BTreeSet<Label>,
    candidates: &[Candidate],
    watch: &Watch,
    bounds: &Bounds,
) -> BTreeSet<Label> {
    let known: BTreeMap<&Label, &Candidate> = candidates.iter().map(|one| (&one.label, one)).collect();
    let is_alive = |label: &Label| known.get(label).is_some_and(|one| one.is_alive && !one.addresses.is_empty());
    let is_gone = |label: &Label| watch.settled(now, label, false, bounds.settle);
    let mut chosen: BTreeSet<Label> = listed.iter().filter(|label| !is_gone(label)).cloned().collect();
    // New ones: wanted before others, of a site that is not there yet before others, then by name.
    loop {
        let alive = chosen.iter().filter(|label| is_alive(label)).count();
        // In need nobody waits, and those that are gone only for a moment make room.
        let in_need = alive < bounds.min;
        let doubtful = chosen.iter().find(|label| !is_alive(label)).cloned();
        if chosen.len() >= bounds.max && !(in_need && doubtful.is_some()) {
            break;
        }
        let sites: BTreeSet<&str> =
            chosen.iter().filter_map(|label| known.get(label)).map(|one| one.site.as_str()).collect();
        let may = |one: &&Candidate| {
            let settled = in_need || watch.settled(now, &one.label, true, bounds.settle);
            is_alive(&one.label) && settled && !chosen.contains(&one.label)
        };
        let rank = |one: &&Candidate| (!one.is_wanted, sites.contains(one.site.as_str()), one.label.clone());
        let Some(new) = candidates.iter().filter(may).min_by_key(rank) else { break };
        if chosen.len() >= bounds.max
            && let Some(doubtful) = doubtful
        {
            chosen.remove(&doubtful);
        }
        chosen.insert(new.label.clone());
    }
    // Too many: those that are gone first, then those beside another of their site, the last by name.
    while chosen.len() > bounds.max {
        let beside = |label: &Label| {
            let site = known.get(label).map(|one| &one.site);
            chosen.iter().filter(|other| known.get(other).map(|one| &one.site) == site).count() > 1
        };
        let rank = |label: &&Label| (is_alive(label), !beside(label), std::cmp::Reverse((*label).clone()));
        let Some(worst) = chosen.iter().min_by_key(rank).cloned() else { break };
        chosen.remove(&worst);
    }
    // Better a server that is gone than none: somebody may be repairing it, and an empty set is the end of the zone.
    for label in listed {
        if chosen.len() >= bounds.min.min(listed.len()) {
            break;
        }
        chosen.insert(label.clone());
    }
    chosen
}

/// What must be changed at the parent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// NS records to put in.
    pub add: BTreeSet<Name>,
    /// NS records to take out.
    pub remove: BTreeSet<Name>,
    /// Names whose addresses change, and to what.
    pub glue: BTreeMap<Name, BTreeSet<IpAddr>>,
}

impl Change {
    /// From what is seen to these nodes; nothing: all is well.
    pub fn new(zone: &Name, seen: &Seen, chosen: &BTreeSet<Label>, candidates: &[Candidate]) -> Option<Self> {
        let names: BTreeMap<Name, &Label> =
            chosen.iter().filter_map(|label| Some((server_name(zone, label)?, label))).collect();
        let ours = seen.servers.iter().filter(|server| node_of(zone, server).is_some());
        let mut change = Self {
            add: names.keys().filter(|name| !seen.servers.contains(name)).cloned().collect(),
            remove: ours.filter(|name| !names.contains_key(name)).cloned().collect(),
            glue: BTreeMap::new(),
        };
        let held = |name: &Name| seen.glue.get(name).cloned().unwrap_or_default();
        for (name, label) in &names {
            let Some(one) = candidates.iter().find(|one| one.label == **label) else { continue };
            if !one.addresses.is_empty() && held(name) != one.addresses {
                change.glue.insert(name.clone(), one.addresses.clone());
            }
        }
        for name in change.remove.iter().filter(|name| !held(name).is_empty()) {
            change.glue.insert(name.clone(), BTreeSet::new());
        }
        (change != Self::default()).then_some(change)
    }

    /// The UPDATE that does it, if all that it touches is still as it was seen (RFC 2136 sections 2.4 and 2.5).
    pub fn message(&self, id: u16, zone: &Name, parent: &Name, seen: &Seen) -> Message {
        let mut message = Message::new(id, MessageType::Query, OpCode::Update);
        message.add_query(Query::query(parent.clone(), RecordType::SOA));
        let servers = seen.servers.iter().map(|server| RData::NS(NS(server.clone()))).collect();
        message.add_answers(as_seen(zone, RecordType::NS, servers));
        let data = |addresses: &BTreeSet<IpAddr>, rtype| -> Vec<RData> {
            addresses.iter().map(rdata).filter(|data| data.record_type() == rtype).collect()
        };
        let none = BTreeSet::new();
        for (name, after) in &self.glue {
            let before = seen.glue.get(name).unwrap_or(&none);
            for rtype in [RecordType::A, RecordType::AAAA] {
                let (old, new) = (data(before, rtype), data(after, rtype));
                message.add_answers(as_seen(name, rtype, old.clone()));
                if old == new {
                    continue;
                }
                if !old.is_empty() {
                    message.add_authority(empty(name, rtype, DNSClass::ANY)); // delete the RRset
                }
                message.add_authorities(
                    new.into_iter().map(|data| Record::from_rdata(name.clone(), NAMESERVER_TTL, data)),
                );
            }
        }
        let ns = |server: &Name| RData::NS(NS(server.clone()));
        // In before out: whoever stops half way leaves too many rather than too few.
        message.add_authorities(
            self.add.iter().map(|server| Record::from_rdata(zone.clone(), NAMESERVER_TTL, ns(server))),
        );
        message.add_authorities(self.remove.iter().map(|server| {
            let mut record = Record::from_rdata(zone.clone(), 0, ns(server));
            record.dns_class = DNSClass::NONE; // delete this record of the RRset
            record
        }));
        message
    }

    /// What the parent has afterwards.
    pub fn applied(&self, seen: &Seen) -> Seen {
        let mut after = seen.clone();
        after.servers.extend(self.add.iter().cloned());
        after.servers.retain(|server| !self.remove.contains(server));
        after.glue.extend(self.glue.clone());
        after.glue.retain(|name, addresses| after.servers.contains(name) && !addresses.is_empty());
        after
    }
}

/// In words, one line.
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use crate::catalogue::name::text;
        let addresses = |of: &BTreeSet<IpAddr>| of.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let mut words: Vec<String> = self.add.iter().map(|server| format!("+ NS {}", text(server))).collect();
        words.extend(self.remove.iter().map(|server| format!("- NS {}", text(server))));
        words.extend(self.glue.iter().map(|(name, after)| match after.is_empty() {
            true => format!("- addresses of {}", text(name)),
            false => format!("{} = {}", text(name), addresses(after)),
        }));
        f.write_str(&words.join(", "))
    }
}

/// The prerequisites that an RRset is what was seen: each record of it, or that there is none.
fn as_seen(name: &Name, rtype: RecordType, data: Vec<RData>) -> Vec<Record> {
    if data.is_empty() {
        return vec![empty(name, rtype, DNSClass::NONE)];
    }
    data.into_iter().map(|data| Record::from_rdata(name.clone(), 0, data)).collect()
}

/// A record without data, whose class says what it means.
fn empty(name: &Name, rtype: RecordType, class: DNSClass) -> Record {
    let mut record = Record::update0(name.clone(), 0, rtype);
    record.dns_class = class;
    record
}

fn rdata(address: &IpAddr) -> RData {
    match address {
        IpAddr::V4(v4) => RData::A(A(*v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(*v6)),
    }
}

#[cfg(test)]
mod tests;
