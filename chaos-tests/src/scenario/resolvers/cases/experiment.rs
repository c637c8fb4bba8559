//! A question about resolvers rather than about us: do they use addresses that stand beside a CNAME into a cut?
//!
//! A scripted server of `exp.lab.` answers, with AA, a CNAME into a cut and an address of the target ("said by the
//! parent", the American origin); the cut's own server says another one (the European origin). Which one a client gets
//! tells whether its resolver used the first message or asked the cut again. Facts, not demands: only a lookup that fails
//! fails the case. RFC 2181 section 5.4.1 ranks data of the answer section of an authoritative answer highest only for
//! the name that was asked for; resolvers after CVE-2008-1447 take nothing else that a zone cut might separate.

use super::super::lanes::{Lane, each};
use super::super::places::{ASKED, CUT, EXPERIMENT, NEAREST};
use super::super::world::World;
use super::Case;
use crate::bed::scripted::Scripted;
use crate::bed::wire::Said;
use crate::report::Report;
use anyhow::Result;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};
use std::net::Ipv4Addr;

/// The address that the parent's server says, and the one that the cut's server says.
const BY_PARENT: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 80);
/// See [`BY_PARENT`].
const BY_CUT: Ipv4Addr = Ipv4Addr::new(10, 49, 1, 80);
const LONG: u32 = 3600;
const SHORT: u32 = 2;

/// Names below `exp.lab.`, each with a cut of its own (`<first letter>.exp.lab.`), in the order in which they are asked.
/// `bare`: CNAME and address. `with`: the cut's NS and glue beside. `again`: as `with`, into the cut of `with`, which is
/// known by then. `plain`: CNAME, NS and glue without the address, as a node answers that does not serve the cut. `own`:
/// as `with`, but the asked server serves the cut, as a node answers that does. `inside`: the target lies in no cut. `zero`: as
/// `with`, but AA=0, as a delegation has it.
const NAMES: [&str; 7] = ["bare", "with", "again", "plain", "own", "inside", "zero"];

/// See the module.
pub const CASE: Case = Case {
    key: "experiment",
    claim: "it is known whether addresses beside a CNAME into a cut are used when the server does not serve that cut",
    play,
    wire,
    ..Case::PLAIN
};

fn play(world: &mut World, lanes: &mut [Lane], _: &Report) -> Result<()> {
    let _asked = Scripted::start(&world.bed, "asked", ASKED, as_parent)?;
    let _cut = Scripted::start(&world.bed, "cut", CUT, as_cut)?;
    each(lanes, |lane| {
        for name in NAMES {
            let landing = lane.land(name, &format!("{name}.{EXPERIMENT}"), RecordType::A)?;
            let whose = if landing.origin == NEAREST { "asked again" } else { "USED" };
            lane.notes.push(format!("{name}: {whose}"));
        }
        let fresh = lane.refreshes(&format!("with.{EXPERIMENT}"), 1)?;
        let whose = if fresh.iter().all(|landing| landing.origin == NEAREST) { "cut" } else { "parent" };
        lane.notes.push(format!("refresh of with: of the {whose}"));
        Ok(())
    });
    Ok(())
}

/// The questions in order: `P` to the parent's server, `C` to the cut's, names without the zone's.
fn wire(lane: &mut Lane, said: &[Said]) -> Result<()> {
    let egress = lane.kind.seat.egress();
    let path: Vec<String> = said
        .iter()
        .filter(|said| said.is_question() && egress.contains(&said.from.ip()))
        .filter_map(|said| {
            let server = match said.to.ip() {
                ip if ip == ASKED => 'P',
                ip if ip == CUT => 'C',
                _ => return None,
            };
            Some(format!(
                "{server} {}",
                said.what_is_asked().to_ascii_lowercase().replace(&format!(".{EXPERIMENT}"), "")
            ))
        })
        .collect();
    lane.notes.push(path.join(", "));
    Ok(())
}

fn zone() -> Name {
    Name::from_labels(EXPERIMENT.split('.').map(str::as_bytes)).unwrap_or_default()
}

fn below(zone: &Name, label: &str) -> Name {
    zone.prepend_label(label).unwrap_or_else(|_| zone.clone())
}

fn address(name: &Name, ttl: u32, address: Ipv4Addr) -> Record {
    Record::from_rdata(name.clone(), ttl, RData::A(rdata::A(address)))
}

fn server(zone: &Name) -> Record {
    Record::from_rdata(zone.clone(), LONG, RData::NS(rdata::NS(below(zone, "ns"))))
}

fn nothing(message: &mut Message, zone: &Name) {
    let soa = rdata::SOA::new(below(zone, "ns"), below(zone, "hostmaster"), 1, 3600, 600, 86400, 5);
    message.add_authority(Record::from_rdata(zone.clone(), 5, RData::SOA(soa)));
}

/// The cut of a name of the experiment; empty: it is in none.
fn cut_of(name: &str) -> &str {
    match name {
        "inside" => "",
        "again" => "w",
        name => name.get(..1).unwrap_or_default(),
    }
}

/// The labels of the asked name in front of the zone's, in lower case, the one nearest to the zone first.
fn labels(message: &Message) -> (Vec<String>, RecordType, Name) {
    let Some(query) = message.queries.first() else { return (Vec::new(), RecordType::A, Name::root()) };
    let labels: Vec<String> =
        query.name().iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
    let own = labels.len().saturating_sub(usize::from(zone().num_labels()));
    (labels.into_iter().take(own).rev().collect(), query.query_type(), query.name().clone())
}

/// Who serves the cut of a name.
fn server_of(name: &str) -> Ipv4Addr {
    if matches!(name, "own" | "o") { ASKED } else { CUT }
}

fn as_parent(message: &mut Message) {
    let (labels, kind, asked) = labels(message);
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    message.metadata.authoritative = true;
    match labels.as_slice() {
        [] if kind == RecordType::NS => {
            message.add_answer(server(&zone()));
            message.add_additional(address(&below(&zone(), "ns"), LONG, ASKED));
        }
        ["ns"] if kind == RecordType::A => drop(message.add_answer(address(&asked, LONG, ASKED))),
        [name] if NAMES.contains(name) => {
            let (cut, target) = match cut_of(name) {
                "" => (None, below(&zone(), "target")),
                cut => (Some(below(&zone(), cut)), below(&below(&zone(), cut), name)),
            };
            message.add_answer(Record::from_rdata(asked, 60, RData::CNAME(rdata::CNAME(target.clone()))));
            message.metadata.authoritative = *name != "zero";
            if *name != "plain" && kind == RecordType::A {
                message.add_answer(address(&target, SHORT, BY_PARENT));
            }
            if let Some(cut) = cut.filter(|_| *name != "bare") {
                message.add_authority(server(&cut));
                message.add_additional(address(&below(&cut, "ns"), LONG, server_of(name)));
            }
        }
        // Asked again, it says what the cut's server would.
        ["target"] if kind == RecordType::A => drop(message.add_answer(address(&asked, SHORT, BY_CUT))),
        ["o", ..] => as_cut(message),
        [cut, ..] if NAMES.iter().any(|name| cut_of(name) == *cut) => {
            let cut = below(&zone(), cut);
            message.metadata.authoritative = false;
            message.add_authority(server(&cut));
            message.add_additional(address(&below(&cut, "ns"), LONG, CUT));
        }
        _ => nothing(message, &zone()),
    }
}

fn as_cut(message: &mut Message) {
    let (labels, kind, asked) = labels(message);
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    message.metadata.authoritative = true;
    let cut = labels.first().map_or_else(zone, |cut| below(&zone(), cut));
    let own = labels.first().map_or(CUT, |cut| server_of(cut));
    match labels.as_slice() {
        [_] if kind == RecordType::NS => {
            message.add_answer(server(&cut));
            message.add_additional(address(&below(&cut, "ns"), LONG, own));
        }
        [_, "ns"] if kind == RecordType::A => drop(message.add_answer(address(&asked, LONG, own))),
        [_, name] if NAMES.contains(name) && kind == RecordType::A => {
            message.add_answer(address(&asked, SHORT, BY_CUT));
        }
        _ => nothing(message, &cut),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{NAMES, as_cut, as_parent, cut_of};
    use hickory_proto::op::{Message, Query};
    use hickory_proto::rr::RecordType;

    fn ask(script: fn(&mut Message), name: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(name.parse().unwrap(), kind));
        script(&mut message);
        message
    }

    #[test]
    fn the_parent_says_what_each_name_stands_for_and_delegates_the_cuts() {
        for (name, answers, authorities) in [
            ("bare", 2, 0),
            ("with", 2, 1),
            ("again", 2, 1),
            ("plain", 1, 1),
            ("own", 2, 1),
            ("inside", 2, 0),
            ("zero", 2, 1),
        ] {
            let said = ask(as_parent, &format!("{name}.Exp.lab."), RecordType::A);
            assert_eq!((said.answers.len(), said.authorities.len()), (answers, authorities), "{name}");
            assert_eq!(said.metadata.authoritative, name != "zero");
        }
        let said = ask(as_parent, "with.w.exp.lab.", RecordType::A);
        assert!(!said.metadata.authoritative && said.answers.is_empty() && said.authorities.len() == 1);
        assert_eq!(ask(as_parent, "own.o.exp.lab.", RecordType::A).answers[0].data.to_string(), "10.49.1.80");
        assert_eq!(ask(as_parent, "target.exp.lab.", RecordType::A).answers[0].data.to_string(), "10.49.1.80");
        assert_eq!(ask(as_parent, "x.exp.lab.", RecordType::A).authorities.len(), 1);
    }

    #[test]
    fn the_cut_says_another_address_and_each_name_but_one_has_a_cut_of_its_own() {
        let said = ask(as_cut, "with.w.exp.lab.", RecordType::A);
        assert!(said.answers[0].data.to_string() == "10.49.1.80" && said.metadata.authoritative);
        assert_eq!(ask(as_cut, "w.exp.lab.", RecordType::NS).answers.len(), 1);
        assert_eq!(NAMES.map(cut_of), ["b", "w", "w", "p", "o", "", "z"]);
    }
}
