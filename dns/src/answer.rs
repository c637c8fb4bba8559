//! From a question to a reply: the zones of the mesh as RFC 1034 section 4.3.2 walks them.
//!
//! ```text
//!   question ─▶ class IN? ─▶ which zone? ─▶ below which cut? ─┬─ a cut that I serve ─▶ its apex, names, NODATA, NXDOMAIN
//!               REFUSED      REFUSED   ▲                      ├─ another's cut ─▶ delegation (or an answer, if orphaned)
//!                                      │                      └─ none ─▶ a delegation of the operators', the zone's apex,
//!                                      └── a static CNAME ◀──────────── name servers, services, records
//! ```
//!
//! What real resolvers demand shapes this more than the RFCs do: the SOA of a negative answer is that of the zone the
//! answer is from (a cut's for names in the cut, or BIND gives SERVFAIL), and it is authoritative (or PowerDNS does);
//! the name servers of a cut have names inside it, with glue (without: SERVFAIL everywhere; beside it: BIND ignores
//! it); a client subnet never comes back in a delegation (unbound would ask again for each subnet).
//!
//! In `refer` mode a CNAME stands at the service's name, so every type gets it, NS, DS and SOA included: that is what a
//! CNAME means, and resolvers that minimise names (RFC 9156) by asking for NS or A follow it all the same. Where records
//! stand beside the service no CNAME may, so there the service answers directly.

use std::net::IpAddr;

use hickory_proto::rr::{DNSClass, Name, Record, RecordType};

use crate::decide::{Client, Course, Turn, course};
use crate::records::{self, NAMESERVER_TTL};
use crate::snapshot::{CutRole, Found, Place, Snapshot, Stand};
use crate::static_names::{Delegation, Holding, WHOAMI};
use crate::steer::{Family, Pick};
use crate::wire_name::WireName;
use crate::zone::Cut;
use crate::{Kind, Label, Node, Question, Reply, alias, binding, whoami};

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
    match step(snapshot, who, question, &question.name) {
        Step::Reply(reply) => reply,
        Step::Alias(first) => alias::concluded(alias::follow(snapshot, who, question, first)),
    }
}

/// What a name leads to.
pub(crate) enum Step {
    /// The end.
    Reply(Reply),
    /// A static CNAME, to be followed.
    Alias(Record),
}

/// One walk through the zones.
pub(crate) fn step<'s>(snapshot: &'s Snapshot, who: &'s Label, question: &Question, name: &Name) -> Step {
    let path = WireName::new(name);
    let Some(place) = snapshot.place(&path) else {
        return Step::Reply(Reply::refused());
    };
    let asked = Asked { snapshot, who, question, name, path: &path };
    if place.own == 0 && question.qtype == RecordType::DS {
        return Step::Reply(asked.signer(&place));
    }
    match place.cut {
        Some(cut) => Step::Reply(asked.in_cut(&place, cut)),
        None => asked.in_zone(&place),
    }
}

/// A question on its way through the zones.
struct Asked<'s, 'q> {
    snapshot: &'s Snapshot,
    who: &'s Label,
    question: &'q Question,
    /// The name that the question has come to.
    name: &'q Name,
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
            return Reply::delegation(&cut.nameservers, &cut.glue);
        };
        if place.own == 0 {
            return self.apex(&cut.soa, &cut.nameservers, &cut.glue);
        }
        if let Some(node) = self.nameserver(place) {
            return self.addresses_of(node, &cut.soa);
        }
        match self.snapshot.find(place, self.path) {
            None => Reply::nxdomain(&cut.soa),
            Some(found) => match self.snapshot.stand(place, found) {
                Some(stand) => self.steered(&self.course(place, stand), &cut.soa, Kind::of_role(role)),
                None => Reply::nodata(&cut.soa),
            },
        }
    }

    fn in_zone(&self, place: &Place<'s>) -> Step {
        let zone = place.zone;
        if place.own > 0 && self.path.label(place.own - 1) == WHOAMI {
            return Step::Reply(whoami::reply(self.snapshot, self.who, self.question, self.name, self.path, place));
        }
        if let Some(delegation) = zone.delegation(self.path, place.own) {
            return Step::Reply(self.delegated(delegation, &zone.soa));
        }
        match self.snapshot.find(place, self.path) {
            Some(found) => self.at(place, found),
            None if place.own == 0 => Step::Reply(self.apex(&zone.soa, &zone.nameservers, &zone.glue)),
            None => Step::Reply(match self.nameserver(place) {
                Some(node) => self.addresses_of(node, &zone.soa),
                None => Reply::nxdomain(&zone.soa),
            }),
        }
    }

    /// A name of the zone at which something stands, or the wildcard that it falls under.
    fn at(&self, place: &Place<'s>, found: Found) -> Step {
        let zone = place.zone;
        let holding = zone.holding(found.content);
        Step::Reply(match (self.snapshot.stand(place, found), holding) {
            // The zone's own records stand at the apex beside all others.
            (_, _) if place.own == 0 && is_head(self.question.qtype) => {
                self.apex(&zone.soa, &zone.nameservers, &zone.glue)
            }
            (Some(stand), None) => self.service(place, stand),
            (Some(stand), Some(_)) if stand.pool.has(self.question.qtype) => self.service(place, stand),
            (None, Some(holding)) if holding.alias().is_some() => return self.alias(holding),
            (_, Some(holding)) => self.held(holding, &zone.soa),
            (None, None) => Reply::nodata(&zone.soa),
        })
    }

    /// A name that is another one's alias.
    fn alias(&self, holding: &Holding) -> Step {
        match holding.alias() {
            // RFC 1034 section 4.3.2 step 3a: "If the data at the node is a CNAME, and QTYPE doesn't match CNAME, copy
            // the CNAME RR into the answer section of the response, change QNAME to the canonical name in the CNAME
            // RR, and go back to step 1."
            Some(alias) if !matches!(self.question.qtype, RecordType::CNAME | RecordType::ANY) => {
                Step::Alias(self.owned(alias))
            }
            alias => {
                Step::Reply(Reply::positive(alias.map(|alias| self.owned(alias)).into_iter().collect(), Kind::Static))
            }
        }
    }

    /// A name with records, as far as the type asked for goes.
    fn held(&self, holding: &Holding, soa: &Record) -> Reply {
        if self.question.qtype == RecordType::ANY {
            return Reply::positive(vec![records::any_is_minimal(self.name)], Kind::Zone);
        }
        match holding.get(self.question.qtype) {
            Some(records) => Reply::positive(records.iter().map(|record| self.owned(record)).collect(), Kind::Static),
            None => Reply::nodata(soa),
        }
    }

    /// A name at or below a child zone that is not the mesh's.
    fn delegated(&self, delegation: &Delegation, soa: &Record) -> Reply {
        // RFC 4035 section 3.1.4.1: DS at a cut is answered by the parent.
        if self.question.qtype == RecordType::DS && *self.name == delegation.apex {
            return match delegation.signers.as_slice() {
                [] => Reply::nodata(soa),
                signers => Reply::positive(signers.iter().map(|record| self.owned(record)).collect(), Kind::Static),
            };
        }
        Reply::delegation(&delegation.nameservers, &delegation.glue)
    }

    /// The node whose name server is asked for.
    fn nameserver(&self, place: &Place<'s>) -> Option<&'s Node> {
        let node = self.snapshot.nameserver(self.path.label(0));
        node.filter(|node| place.own == 1 && !node.addresses.is_empty())
    }

    fn course(&self, place: &Place<'s>, stand: Stand<'s>) -> Course<'s> {
        let Question { source, subnet, port, id, .. } = *self.question;
        let client = Client::new(source, subnet).drawing(Question::draw(port, id));
        course(self.snapshot, self.who, place, self.path, stand, client)
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
        let name = self.name;
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
    fn service(&self, place: &Place<'s>, stand: Stand<'s>) -> Reply {
        let course = self.course(place, stand);
        let reply = match course.turn {
            Turn::Refer { cut, serves } => self.referral(&course, place.own, cut, serves),
            Turn::Answer(direct) => self.steered(&course, &place.zone.soa, Kind::of_direct(direct)),
            _ => self.steered(&course, &place.zone.soa, Kind::Direct),
        };
        Reply { basis: course.basis, ..reply }
    }

    /// A CNAME into a cut, and as much of what stands there as this node may say.
    fn referral(&self, course: &Course<'s>, own: usize, cut: &Cut, serves: Option<CutRole>) -> Reply {
        let Some(target) = self.path.name_below(own, &cut.apex) else {
            return self.steered(course, &cut.soa, Kind::Direct);
        };
        let cname = records::cname(self.name, target.clone());
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
            let chosen = self.chosen(course, &target);
            if chosen.answers.is_empty() {
                reply.authorities = vec![cut.soa.clone()];
                reply.additionals.clear();
            }
            reply.failed_open = chosen.failed_open;
            reply.answers.extend(chosen.answers);
            reply.additionals.extend(chosen.additionals);
        }
        reply
    }

    /// What a service has of the asked type, or NODATA.
    fn steered(&self, course: &Course<'s>, soa: &Record, kind: Kind) -> Reply {
        if self.question.qtype == RecordType::ANY {
            return Reply::positive(vec![records::any_is_minimal(self.name)], Kind::Zone);
        }
        let chosen = self.chosen(course, self.name);
        let failed_open = chosen.failed_open;
        if chosen.answers.is_empty() {
            let nodata = Reply::nodata(soa);
            return if failed_open { Reply { scope: Some(course.scope), failed_open, ..nodata } } else { nodata };
        }
        let reply = Reply::positive(chosen.answers, kind);
        Reply { scope: Some(course.scope), additionals: chosen.additionals, failed_open, ..reply }
    }

    /// The records of the chosen servers.
    fn chosen(&self, course: &Course<'s>, owner: &Name) -> Chosen {
        let records = |addresses: &[IpAddr], ttl: u32| -> Vec<Record> {
            addresses.iter().map(|address| records::address(owner, ttl, *address)).collect()
        };
        let qtype = self.question.qtype;
        if let Some(family) = Family::of_type(qtype) {
            let pick = course.pick(family);
            let answers = records(&addresses(&pick), course.ttl(&pick));
            // Where there is no server of the family, none is down.
            let failed_open = pick.failed_open() && (!answers.is_empty() || pick.withholds());
            return Chosen { answers, additionals: Vec::new(), failed_open };
        }
        let Some(params) = binding::params(course.pool.service(), qtype) else {
            return Chosen { answers: Vec::new(), additionals: Vec::new(), failed_open: false };
        };
        let picks = [course.pick(Family::V4), course.pick(Family::V6)];
        let hints: Vec<IpAddr> = picks.iter().flat_map(addresses).collect();
        let ttl = picks.iter().map(|pick| course.ttl(pick)).fold(u32::MAX, u32::min);
        // RFC 9460 section 4.1: "When replying to an SVCB query, authoritative DNS servers SHOULD return A, AAAA, and SVCB
        // records in the Additional Section for any TargetNames that are in the zone."
        Chosen {
            answers: vec![binding::record(owner, ttl, qtype, params, &hints)],
            additionals: records(&hints, ttl),
            // Of hints one family may be up: they are only hints.
            failed_open: false,
        }
    }

    /// A record of the asked name: its owner is written as it was asked.
    fn owned(&self, record: &Record) -> Record {
        let mut record = record.clone();
        record.name = self.name.clone();
        record
    }
}

/// What the chosen servers put into a reply.
struct Chosen {
    answers: Vec<Record>,
    additionals: Vec<Record>,
    failed_open: bool,
}

/// The addresses of the chosen servers, each once (RFC 2181 section 5).
fn addresses(pick: &Pick<'_>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    pick.give(|address| addresses.push(address));
    addresses
}

/// Types that a zone itself has at its apex, and what a question for ANY gets there.
fn is_head(qtype: RecordType) -> bool {
    matches!(qtype, RecordType::SOA | RecordType::NS | RecordType::ANY)
}
