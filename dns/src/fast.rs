//! The short way: from a question for a service's addresses to octets, without a record in between.
//!
//! Nearly all questions are of three kinds: a service as DNS-B, a service as DNS-LB, and a name in another node's cut. For
//! these the place, the course and the servers come from the same functions as on the long way ([`crate::answer()`]);
//! only the writing is done here, by hand, because building records and encoding them costs more than all the rest
//! of an answer. Whatever else is asked, or does not fit, goes the long way.
//!
//! ```text
//!   question ─▶ place ─▶ content ─▶ course ─┬─ Refer ────▶ CNAME [addresses] | NS of the cut | their addresses
//!                 │                         ├─ Answer ───▶ addresses
//!                 └─ another's cut ─┐       └─ Serve ────▶ addresses
//!                                   └──────────────────────▶ NS of the cut | their addresses
//! ```
//!
//! **Invariant:** what is written here decodes to what the long way says (`src/fast/tests.rs`), and nothing is allocated. Only
//! where that must cut, because hickory points at no name in another case, this may still fit.

use std::net::IpAddr;

use crate::Kind;
use crate::decide::{Basis, Client, Course, Turn, course};
use crate::edns::OptReply;
use crate::query::{Asked, HEADER};
use crate::records::REFERRAL_TTL;
use crate::snapshot::{Place, Snapshot};
use crate::steer::Family;
use crate::wire_name::WireName;
use crate::zone::Cut;

pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_NS: u16 = 2;
const TYPE_CNAME: u16 = 5;
pub(crate) const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// A pointer to the question's name (RFC 1035 section 4.1.4).
const QUESTION: u16 = HEADER as u16;

/// A reply that the short way has written, but for its header and its OPT record.
pub(crate) struct Written {
    pub(crate) kind: Kind,
    /// As in [`crate::Reply`].
    pub(crate) basis: Option<Basis>,
    pub(crate) authoritative: bool,
    /// As in [`crate::Reply`].
    pub(crate) scope: Option<u8>,
    /// Records in the answer, authority and additional sections.
    pub(crate) counts: [u16; 3],
}

/// Writes question and records behind the room for a header. Nothing: the long way must answer, and `out` holds nothing
/// of use.
pub(crate) fn write(
    snapshot: &Snapshot,
    asked: &Asked<'_>,
    client: Client,
    opt: Option<&OptReply>,
    limit: usize,
    out: &mut Vec<u8>,
) -> Option<Written> {
    let family = match (asked.qtype, asked.qclass) {
        (TYPE_A, CLASS_IN) => Family::V4,
        (TYPE_AAAA, CLASS_IN) => Family::V6,
        _ => return None,
    };
    let mut path = WireName::EMPTY;
    path.read(asked.name);
    let place = snapshot.place(&path)?;
    out.clear();
    out.resize(HEADER, 0);
    out.extend_from_slice(asked.octets);
    let mut writer = Writer { out, counts: [0; 3], explains: opt.is_some() };
    let (kind, scope, basis) = writer.reply(snapshot, &path, &place, family, client)?;
    // A client subnet goes back in 8 to 24 octets more than the record has now.
    let opt = opt.map_or(0, |opt| opt.octets().len() + scope.map_or(0, |_| LARGEST_SUBNET));
    (writer.out.len() + opt <= limit).then_some(Written {
        kind,
        basis,
        authoritative: kind != Kind::Delegation,
        scope,
        counts: writer.counts,
    })
}

/// Octets of an option with an IPv6 address of full length (RFC 7871 section 6).
const LARGEST_SUBNET: usize = 4 + 4 + 16;

/// Owner (as a pointer), type, class and TTL of a record.
pub(crate) fn record_head(owner: u16, rtype: u16, ttl: u32) -> [u8; 10] {
    let mut head = [0; 10];
    head[..2].copy_from_slice(&pointer(owner));
    head[2..4].copy_from_slice(&rtype.to_be_bytes());
    head[4..6].copy_from_slice(&CLASS_IN.to_be_bytes());
    head[6..].copy_from_slice(&ttl.to_be_bytes());
    head
}

/// A name that goes on elsewhere (RFC 1035 section 4.1.4). Whatever is pointed at stands within the first 1,000 octets:
/// behind it come at most a few short records.
pub(crate) fn pointer(to: u16) -> [u8; 2] {
    (0xc000 | to).to_be_bytes()
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    counts: [u16; 3],
    /// Can the asker be told why a reply is what it is?
    explains: bool,
}

/// The sections, as places in the counts.
#[derive(Clone, Copy)]
enum Section {
    Answer,
    Authority,
    Additional,
}

impl Writer<'_> {
    fn reply(
        &mut self,
        snapshot: &Snapshot,
        path: &WireName,
        place: &Place<'_>,
        family: Family,
        client: Client,
    ) -> Option<(Kind, Option<u8>, Option<Basis>)> {
        // A name server, or a name below one, at which the long way's name servers then point.
        if place.own > 0 && snapshot.nameserver(path.label(place.own - 1)).is_some() {
            return None;
        }
        if let Some(cut) = place.cut {
            if snapshot.role(snapshot.me(), cut).is_none() {
                let apex = self.offset_of(path, place.own);
                self.nameservers(cut, apex);
                return Some((Kind::Delegation, None, None));
            }
        } else if place.zone.delegation(path, place.own).is_some() {
            return None;
        }
        if place.own == 0 && place.cut.is_some() {
            return None;
        }
        let stand = snapshot.stand(place, snapshot.find(place, path)?)?;
        let course = course(snapshot, snapshot.me(), place, path, stand, client);
        match course.turn {
            Turn::Refer { cut, serves } => {
                let (apex, target) = self.alias(path.slice(0, place.own), cut, self.offset_of(path, place.own));
                let kind = match serves {
                    None => Kind::Referral,
                    Some(_) => {
                        if self.addresses(&course, family, target) == 0 {
                            return None;
                        }
                        Kind::ReferralWithAddresses
                    }
                };
                self.nameservers(cut, apex);
                Some((kind, Some(0), course.basis))
            }
            Turn::Answer(direct) => {
                let kind = Kind::of_direct(direct);
                let some = self.addresses(&course, family, QUESTION) > 0;
                some.then_some((kind, Some(course.scope), course.basis))
            }
            Turn::Serve(role) => (self.addresses(&course, family, QUESTION) > 0).then_some((
                Kind::of_role(role),
                Some(course.scope),
                None,
            )),
            Turn::Delegate => None,
        }
    }

    /// Where in the message the part of the asked name begins that has `own` labels before it.
    fn offset_of(&self, path: &WireName, own: usize) -> u16 {
        QUESTION + path.slice(0, own).len() as u16
    }

    /// The CNAME into a cut. Returns where the cut's apex and where the whole target stand.
    fn alias(&mut self, before: &[u8], cut: &Cut, zone: u16) -> (u16, u16) {
        self.head(QUESTION, TYPE_CNAME, REFERRAL_TTL);
        let label = cut.label.as_str().as_bytes();
        self.u16((before.len() + 1 + label.len() + 2) as u16);
        let target = self.out.len() as u16;
        self.out.extend_from_slice(before);
        let apex = self.out.len() as u16;
        self.out.push(label.len() as u8);
        self.out.extend_from_slice(label);
        self.out.extend_from_slice(&pointer(zone));
        (apex, target)
    }

    /// The chosen servers' addresses. Returns how many; none as well where there is something to explain about them.
    fn addresses(&mut self, course: &Course<'_>, family: Family, owner: u16) -> u16 {
        let before = self.counts[Section::Answer as usize];
        let pick = course.pick(family);
        let ttl = course.ttl(&pick);
        pick.give(|address| self.address(owner, ttl, address));
        if self.explains && pick.failed_open() { 0 } else { self.counts[Section::Answer as usize] - before }
    }

    /// The name servers of a cut, and their addresses.
    fn nameservers(&mut self, cut: &Cut, apex: u16) {
        let [authority, additional] = cut.written.write(apex, self.out);
        self.counts[Section::Authority as usize] += authority;
        self.counts[Section::Additional as usize] += additional;
    }

    fn address(&mut self, owner: u16, ttl: u32, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.head(owner, TYPE_A, ttl);
                self.u16(4);
                self.out.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                self.head(owner, TYPE_AAAA, ttl);
                self.u16(16);
                self.out.extend_from_slice(&address.octets());
            }
        }
    }

    /// Owner, type, class and TTL of a record of the answer section, which is counted.
    fn head(&mut self, owner: u16, rtype: u16, ttl: u32) {
        self.counts[Section::Answer as usize] += 1;
        self.out.extend_from_slice(&record_head(owner, rtype, ttl));
    }

    fn u16(&mut self, number: u16) {
        self.out.extend_from_slice(&number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
