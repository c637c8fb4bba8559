//! `whoami.<zone>`: a resolver asks who it is, and hears the address that it was seen with.
//!
//! A node learns through its resolvers' answers from which addresses they leave for the Internet, and people learn it
//! with `dig`. Any name below it does too, because a resolver answers a second question for one name from its cache:
//! whoever wants to know asks for a name that nobody asked for before. For the same reason the TTL is 0.
//!
//! ```text
//!   a1b2.whoami.lb.example.com A    203.0.113.53
//!                              TXT  "source=203.0.113.53" "port=4711" "transport=udp" "node=fra" "ecs=192.0.2.0/24"
//! ```
//!
//! **Lookouts.** Which node a resolver asks for that name, and by which family, is its own choice, and some always choose
//! the nearest, which is the node that wants to know: it would be its own witness. So each node has two child zones of
//! its own, `4.fra.whoami.<zone>` and `6.fra.whoami.<zone>`, with itself for the only server, at its addresses of that
//! family alone. Who asks below them chooses both. The rule of cuts holds here too: a node that is named as the server
//! of a lookout answers and never refers.
//!
//! **Statements.** Who asks for TXT under a nonce ([`NONCE`] characters of base32) is given one string more, in which the
//! node puts its name to what it saw. Signing takes a hundred times as long as answering, so it is done after the rate
//! limit, and the [`Witness`] may decline. What a statement says is the node's business: this crate only carries it.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::records::{self, NAMESERVER_TTL};
use crate::snapshot::{Place, Snapshot};
use crate::steer::Family;
use crate::wire_name::WireName;
use crate::{Kind, Label, Node, Question, Reply};

/// RFC 1035 section 3.2.1: "Zero values are interpreted to mean that the RR can only be used for the transaction in
/// progress, and should not be cached."
const TTL: u32 = 0;

/// Characters of a nonce, the first label of a question for a statement: 20 octets in base32.
pub const NONCE: usize = 32;

/// The label of the name server within a lookout.
const SERVER: &[u8] = b"ns";

/// Puts its name to what was seen of a resolver.
pub trait Witness: Send + Sync {
    /// The string for who asked from `source` under this nonce, which is in lower case, `at` a time since 1970; nothing:
    /// not now. At most 255 octets.
    fn attest(&self, nonce: &[u8; NONCE], source: IpAddr, at: Duration) -> Option<String>;
}

/// A child zone by which a resolver is made to ask one node, by one family.
struct Lookout<'s> {
    node: &'s Node,
    family: Family,
    apex: Name,
}

impl<'s> Lookout<'s> {
    /// The lookout that a name lies in; its apex has three labels in front of the zone's.
    fn of(snapshot: &'s Snapshot, name: &Name, path: &WireName, place: &Place<'s>) -> Option<Self> {
        let family = match path.label(place.own.checked_sub(3)?) {
            b"4" => Family::V4,
            b"6" => Family::V6,
            _ => return None,
        };
        let node = snapshot.node(std::str::from_utf8(path.label(place.own - 2)).ok()?)?;
        let reached = node.addresses.iter().any(|address| family.has(*address));
        reached.then(|| Self { node, family, apex: name.trim_to(place.zone.depth + 3) })
    }

    fn server(&self) -> Name {
        // The longest apex that was asked for may leave no room; then there are no names below it either.
        self.apex.prepend_label(SERVER).unwrap_or_else(|_| self.apex.clone())
    }

    fn addresses(&self, owner: &Name) -> Vec<Record> {
        let addresses = self.node.addresses.iter().filter(|address| self.family.has(**address));
        addresses.map(|address| records::address(owner, NAMESERVER_TTL, *address)).collect()
    }
}

/// What `who` says to a question at or below `whoami`.
pub(crate) fn reply(
    snapshot: &Snapshot,
    who: &Label,
    question: &Question,
    name: &Name,
    path: &WireName,
    place: &Place<'_>,
) -> Reply {
    let Some(lookout) = Lookout::of(snapshot, name, path, place) else {
        return seen(who, question, name, &place.zone.soa);
    };
    let server = lookout.server();
    let nameserver = records::nameserver(&lookout.apex, server.clone());
    if path.labels() == place.zone.depth + 3 && question.qtype == RecordType::DS {
        return Reply::nodata(&place.zone.soa); // The parent's to answer (RFC 4035 section 3.1.4.1).
    }
    if lookout.node.label != *who {
        return Reply::delegation(&[nameserver], &lookout.addresses(&server));
    }
    let soa = records::soa(&lookout.apex, &place.zone.apex, server.clone(), snapshot.zone_serial());
    match (place.own, question.qtype) {
        (3, RecordType::NS) => {
            Reply { additionals: lookout.addresses(&server), ..Reply::positive(vec![nameserver], Kind::Zone) }
        }
        (3, RecordType::SOA | RecordType::ANY) => Reply::positive(vec![soa], Kind::Zone),
        (3, _) => Reply::nodata(&soa),
        (4, qtype) if path.label(0) == SERVER => {
            let asked = Family::of_type(qtype).is_some_and(|family| family == lookout.family);
            if asked { Reply::positive(lookout.addresses(name), Kind::Zone) } else { Reply::nodata(&soa) }
        }
        _ => seen(who, question, name, &soa),
    }
}

/// What a resolver is told about itself.
fn seen(who: &Label, question: &Question, name: &Name, soa: &Record) -> Reply {
    let source = question.source.to_canonical();
    match question.qtype {
        RecordType::TXT => {
            let mut words = vec![
                format!("source={source}"),
                format!("port={}", question.port),
                format!("transport={}", question.transport),
                format!("node={who}"),
            ];
            words.extend(question.subnet.map(|subnet| format!("ecs={subnet}")));
            let record = Record::from_rdata(name.clone(), TTL, RData::TXT(TXT::new(words)));
            // RFC 7871 section 7.2.1: the scope is how much of the subnet the answer depends on, and that is all of it.
            let scope = question.subnet.map_or(0, |subnet| subnet.prefix_len());
            Reply { scope: Some(scope), ..Reply::positive(vec![record], Kind::Whoami) }
        }
        RecordType::ANY => Reply::positive(vec![records::any_is_minimal(name)], Kind::Zone),
        qtype if Family::of_type(qtype).is_some_and(|family| family.has(source)) => {
            Reply::positive(vec![records::address(name, TTL, source)], Kind::Whoami)
        }
        _ => Reply::nodata(soa),
    }
}

/// Adds the witness's string to a reply, if it was asked for under a nonce.
pub(crate) fn attest(witness: &dyn Witness, reply: &mut Reply, source: IpAddr, at: Duration) {
    let [record] = reply.answers.as_mut_slice() else { return };
    let RData::TXT(text) = &mut record.data else { return };
    let Some(nonce) = record.name.iter().next().and_then(nonce) else { return };
    if let Some(string) = witness.attest(&nonce, source.to_canonical(), at) {
        text.txt_data = text.txt_data.iter().cloned().chain([string.into_bytes().into_boxed_slice()]).collect();
    }
}

/// A label in the shape of a nonce, in lower case: resolvers may vary the case of what they ask.
fn nonce(label: &[u8]) -> Option<[u8; NONCE]> {
    let mut nonce: [u8; NONCE] = label.try_into().ok()?;
    nonce.make_ascii_lowercase();
    nonce.iter().all(|c| matches!(c, b'a'..=b'z' | b'2'..=b'7')).then_some(nonce)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{NONCE, Witness, attest, nonce};
    use crate::{Question, Reply, World};
    use hickory_proto::rr::{Name, RData, RecordType};
    use std::net::IpAddr;
    use std::time::Duration;

    struct Echo;

    impl Witness for Echo {
        fn attest(&self, nonce: &[u8; NONCE], source: IpAddr, at: Duration) -> Option<String> {
            let nonce = std::str::from_utf8(nonce).ok()?;
            (at.as_secs() == 7).then(|| format!("proof={nonce} {source}"))
        }
    }

    fn said(name: &str, at: u64) -> Vec<String> {
        let mut world = World::new("fra".parse().unwrap());
        let apex = Name::from_ascii("lb.example.com.").unwrap();
        world.zones.push(crate::Zone { apex, nameservers: Vec::new() });
        let (snapshot, _) = crate::Snapshot::build(world);
        let source: IpAddr = "::ffff:203.0.113.53".parse().unwrap();
        let question = Question::new(Name::from_ascii(name).unwrap(), RecordType::TXT, source);
        let mut reply: Reply = crate::answer(&snapshot, &question);
        attest(&Echo, &mut reply, source, Duration::from_secs(at));
        let RData::TXT(text) = &reply.answers[0].data else { panic!("{reply:?}") };
        text.txt_data.iter().map(|string| String::from_utf8_lossy(string).into_owned()).collect()
    }

    #[test]
    fn who_asks_under_a_nonce_is_given_a_statement_and_nobody_else() {
        let label = "ABCDEFGHIJKLMNOPqrstuvwxyz234567";
        let said_to = said(&format!("{label}.whoami.lb.example.com."), 7);
        assert_eq!(said_to.last().unwrap(), &format!("proof={} 203.0.113.53", label.to_lowercase()));
        assert_eq!(said_to.len(), 5);
        assert_eq!(said(&format!("{label}.whoami.lb.example.com."), 8).len(), 4, "the witness declines");
        assert_eq!(said("a1b2.whoami.lb.example.com.", 7).len(), 4);
        assert_eq!(nonce(&[b'1'; NONCE]), None);
        assert_eq!(nonce(&[b'a'; NONCE - 1]), None);
    }
}
