//! From a question to a reply: the zones of the mesh as RFC 1034 section 4.3.2 walks them.
//!
//! ```text
//!   question ─▶ class IN? ─▶ which zone? ─▶ below which cut? ─┬─ a cut that I serve ─▶ its apex, names, NODATA, NXDOMAIN
//!               REFUSED      REFUSED                          ├─ another's cut ─▶ delegation (or an answer, if orphaned)
//!                                                             └─ none ─▶ the zone's apex, name servers, services
//! ```
//!
//! What real resolvers demand shapes this more than the RFCs do: the SOA of a negative answer is that of the zone the
//! answer is from (a cut's for names in the cut, or BIND gives SERVFAIL), and it is authoritative (or PowerDNS does);
//! the name servers of a cut have names inside it, with glue (without: SERVFAIL everywhere; beside it: BIND ignores
//! it); a client subnet never comes back in a delegation (unbound would ask again for each subnet).
//!
//! In `refer` mode a CNAME stands at the service's name, so every type gets it, NS, DS and SOA included: that is what a
//! CNAME means, and resolvers that minimise names (RFC 9156) by asking for NS or A follow it all the same.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use ipnet::IpNet;

use crate::decide::{Client, Course, Direct, Way, course};
use crate::records::{self, NAMESERVER_TTL};
use crate::snapshot::{CutRole, Place, Snapshot};
use crate::steer::{Family, Pool};
use crate::wire_name::WireName;
use crate::zone::{Content, Cut};
use crate::{Label, Node};

/// A question, as far as the answer depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, in the case in which it was asked.
    pub name: Name,
    /// The type.
    pub qtype: RecordType,
    /// The class.
    pub qclass: DNSClass,
    /// Who asks.
    pub source: IpAddr,
    /// The client's subnet, if the resolver sent one (RFC 7871).
    pub subnet: Option<IpNet>,
}

impl Question {
    /// A question of class IN without a client subnet.
    pub fn new(name: Name, qtype: RecordType, source: IpAddr) -> Self {
        Self { name, qtype, qclass: DNSClass::IN, source, subnet: None }
    }
}

/// What is said to a question, before it becomes a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The response code.
    pub code: ResponseCode,
    /// AA: said by an authority for the name.
    pub authoritative: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authorities: Vec<Record>,
    /// The additional section, without OPT.
    pub additionals: Vec<Record>,
    /// The scope to send back with the client's subnet; nothing: the subnet is not sent back.
    pub scope: Option<u8>,
    /// What kind of reply it is, for the counters and for leaving things out when space is short.
    pub kind: Kind,
}

/// Kinds of replies, as operators count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// As DNS-B, a CNAME into another node's cut.
    Referral,
    /// As DNS-B, a CNAME into a cut that this node serves, and what stands there.
    ReferralWithAddresses,
    /// As DNS-LB, addresses in the own cut.
    Cut,
    /// As backup, addresses in another node's cut.
    Backup,
    /// As anybody, addresses in a cut that nobody serves any more.
    Orphan,
    /// As DNS-B, addresses at once: the service or the client wants it so.
    Direct,
    /// As DNS-B, addresses at once because nobody claims the client.
    Unclaimed,
    /// As parent, the name servers of a cut.
    Delegation,
    /// SOA, NS, addresses of name servers, and what a question for ANY gets.
    Zone,
    /// NXDOMAIN or NODATA.
    Negative,
    /// Not ours, or not given.
    Refused,
}

/// Answers a question as the node whose snapshot it is.
pub fn answer(snapshot: &Snapshot, question: &Question) -> Reply {
    answer_as(snapshot, snapshot.me(), question)
}

/// Answers a question as a node would that knows the same.
pub(crate) fn answer_as(snapshot: &Snapshot, who: &Label, question: &Question) -> Reply {
    // RFC 5936 section 5 leaves transfers to policy, and there is no zone file here that anybody could copy.
    let transfer = matches!(question.qtype, RecordType::AXFR | RecordType::IXFR);
    if question.qclass != DNSClass::IN || transfer {
        return Reply::refused();
    }
    let path = WireName::new(&question.name);
    let Some(place) = snapshot.place(&path) else {
        return Reply::refused();
    };
    let asked = Asked { snapshot, who, question, path: &path };
    if place.own == 0 && question.qtype == RecordType::DS {
        return asked.signer(&place);
    }
    match place.cut {
        Some(cut) => asked.in_cut(&place, cut),
        None => asked.in_zone(&place),
    }
}

/// A question on its way through the zones.
struct Asked<'s, 'q> {
    snapshot: &'s Snapshot,
    who: &'q Label,
    question: &'q Question,
    path: &'q WireName,
}

impl<'s> Asked<'s, '_> {
    /// DS at an apex is the parent's to answer (RFC 4035 section 3.1.4.1). Where the parent is not ours, the child
    /// says that it has none.
    fn signer(&self, place: &Place<'s>) -> Reply {
        let zone = match place.cut {
            Some(_) => Some(place.zone),
            None => {
                let above = place.zone.depth.saturating_sub(1);
                let parent = self.snapshot.place_within(self.path, above);
                // A zone below a cut of another zone is not that zone's to speak about.
                parent.filter(|parent| parent.cut.is_none()).map(|parent| parent.zone)
            }
        };
        Reply::nodata(&zone.unwrap_or(place.zone).soa)
    }

    fn in_cut(&self, place: &Place<'s>, cut: &'s Cut) -> Reply {
        let Some(role) = self.snapshot.role(self.who, cut) else {
            return Reply::delegation(cut);
        };
        if place.own == 0 {
            return self.apex(&cut.soa, &cut.nameservers, &cut.glue);
        }
        if let Some(node) = self.nameserver(place) {
            return self.addresses_of(node, &cut.soa);
        }
        match self.content(place) {
            None => Reply::nxdomain(&cut.soa),
            Some(Content::Between) => Reply::nodata(&cut.soa),
            Some(content) => match self.snapshot.pool(content) {
                Some(pool) => self.addresses(&self.course(place, pool), &cut.soa, Kind::of_role(role)),
                None => Reply::nodata(&cut.soa),
            },
        }
    }

    fn in_zone(&self, place: &Place<'s>) -> Reply {
        let zone = place.zone;
        let pool = self.content(place).and_then(|content| self.snapshot.pool(content));
        match (place.own, pool) {
            // The apex has records of its own beside the service's addresses.
            (0, Some(pool)) if Family::of_type(self.question.qtype).is_some() => self.service(place, pool),
            (0, _) => self.apex(&zone.soa, &zone.nameservers, &zone.glue),
            (_, Some(pool)) => self.service(place, pool),
            (_, None) => match self.nameserver(place) {
                Some(node) => self.addresses_of(node, &zone.soa),
                None if self.content(place).is_some() => Reply::nodata(&zone.soa),
                None => Reply::nxdomain(&zone.soa),
            },
        }
    }

    fn content(&self, place: &Place<'s>) -> Option<Content> {
        place.zone.names.get(self.path.slice(0, place.own)).copied()
    }

    /// The node whose name server is asked for.
    fn nameserver(&self, place: &Place<'s>) -> Option<&'s Node> {
        let node = self.snapshot.nameserver(self.path.label(0));
        node.filter(|node| place.own == 1 && !node.addresses.is_empty())
    }

    fn course(&self, place: &Place<'s>, pool: &'s Pool) -> Course<'s> {
        let client = Client::new(self.question.source, self.question.subnet);
        course(self.snapshot, self.who, place, pool, client)
    }

    /// The apex of a zone or of a cut.
    fn apex(&self, soa: &Record, nameservers: &[Record], glue: &[Record]) -> Reply {
        match self.question.qtype {
            RecordType::SOA | RecordType::ANY => Reply::positive(vec![self.owned(soa)], Kind::Zone),
            RecordType::NS if !nameservers.is_empty() => Reply {
                additionals: glue.to_vec(),
                ..Reply::positive(nameservers.iter().map(|record| self.owned(record)).collect(), Kind::Zone)
            },
            _ => Reply::nodata(soa),
        }
    }

    /// The addresses of a name server.
    fn addresses_of(&self, node: &Node, soa: &Record) -> Reply {
        let name = &self.question.name;
        let Some(family) = Family::of_type(self.question.qtype) else {
            return match self.question.qtype {
                RecordType::ANY => Reply::positive(vec![records::any_is_minimal(name)], Kind::Zone),
                _ => Reply::nodata(soa),
            };
        };
        let addresses = node.addresses.iter().filter(|address| family.has(**address));
        let answers: Vec<_> = addresses.map(|address| records::address(name, NAMESERVER_TTL, *address)).collect();
        if answers.is_empty() {
            return Reply::nodata(soa);
        }
        Reply::positive(answers, Kind::Zone)
    }

    /// A service, as DNS-B.
    fn service(&self, place: &Place<'s>, pool: &'s Pool) -> Reply {
        let course = self.course(place, pool);
        match (&course.way, course.cut) {
            (Way::Refer { serves, .. }, Some(cut)) => self.referral(&course, cut, *serves),
            (Way::Answer(Direct::Unclaimed), _) => self.addresses(&course, &place.zone.soa, Kind::Unclaimed),
            _ => self.addresses(&course, &place.zone.soa, Kind::Direct),
        }
    }

    /// A CNAME into a cut, and as much of what stands there as this node may say.
    fn referral(&self, course: &Course<'s>, cut: &Cut, serves: Option<CutRole>) -> Reply {
        let Some(target) = course.pool.name_below(&cut.apex) else {
            return self.addresses(course, &cut.soa, Kind::Direct);
        };
        let cname = records::cname(&self.question.name, target.clone());
        let mut reply = Reply {
            authorities: cut.nameservers.clone(),
            additionals: cut.glue.clone(),
            ..Reply::positive(vec![cname], Kind::Referral)
        };
        // Who asks for the CNAME itself, or for anything, is done with it (RFC 8482 section 4.4).
        if matches!(self.question.qtype, RecordType::CNAME | RecordType::ANY) {
            reply.authorities.clear();
            reply.additionals.clear();
        } else if serves.is_some() {
            reply.kind = Kind::ReferralWithAddresses;
            let addresses = self.chosen(course, &target);
            if addresses.is_empty() {
                reply.authorities = vec![cut.soa.clone()];
                reply.additionals.clear();
            }
            reply.answers.extend(addresses);
        }
        reply
    }

    /// The addresses of a service, or NODATA.
    fn addresses(&self, course: &Course<'s>, soa: &Record, kind: Kind) -> Reply {
        if self.question.qtype == RecordType::ANY {
            return Reply::positive(vec![records::any_is_minimal(&self.question.name)], Kind::Zone);
        }
        let answers = self.chosen(course, &self.question.name);
        if answers.is_empty() {
            return Reply::nodata(soa);
        }
        Reply { scope: Some(course.scope), ..Reply::positive(answers, kind) }
    }

    /// The addresses of the chosen servers, each once (RFC 2181 section 5).
    fn chosen(&self, course: &Course<'s>, owner: &Name) -> Vec<Record> {
        let Some(family) = Family::of_type(self.question.qtype) else {
            return Vec::new();
        };
        let ttl = course.pool.service().ttl;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for ranked in course.rank(family).chosen() {
            if !addresses.contains(&ranked.server.address) {
                addresses.push(ranked.server.address);
            }
        }
        addresses.into_iter().map(|address| records::address(owner, ttl, address)).collect()
    }

    /// A record of the asked name: its owner is written as it was asked.
    fn owned(&self, record: &Record) -> Record {
        let mut record = record.clone();
        record.name = self.question.name.clone();
        record
    }
}

impl Kind {
    fn of_role(role: CutRole) -> Self {
        match role {
            CutRole::Own => Self::Cut,
            CutRole::Backup => Self::Backup,
            CutRole::Orphan => Self::Orphan,
        }
    }
}

impl Reply {
    fn positive(answers: Vec<Record>, kind: Kind) -> Self {
        Self {
            code: ResponseCode::NoError,
            authoritative: true,
            answers,
            authorities: Vec::new(),
            additionals: Vec::new(),
            // What does not depend on the client holds for all of them.
            scope: Some(0),
            kind,
        }
    }

    /// The name is there, the type is not (RFC 2308 section 2.2).
    fn nodata(soa: &Record) -> Self {
        Self { authorities: vec![soa.clone()], ..Self::positive(Vec::new(), Kind::Negative) }
    }

    fn nxdomain(soa: &Record) -> Self {
        Self { code: ResponseCode::NXDomain, ..Self::nodata(soa) }
    }

    /// "Ask them": not authoritative, and silent about the client's subnet (RFC 7871 section 7.2.1).
    fn delegation(cut: &Cut) -> Self {
        Self {
            authoritative: false,
            authorities: cut.nameservers.clone(),
            additionals: cut.glue.clone(),
            scope: None,
            ..Self::positive(Vec::new(), Kind::Delegation)
        }
    }

    fn refused() -> Self {
        Self {
            code: ResponseCode::Refused,
            authoritative: false,
            scope: None,
            ..Self::positive(Vec::new(), Kind::Refused)
        }
    }
}
