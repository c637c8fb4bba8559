//! What holds for every world and every question, however odd: few names, so that everything meets everything.
#![allow(clippy::unwrap_used, reason = "a test: panics are its verdict")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::svcb::{Alpn, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, CNAME, MX, NS, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use nigh_dns::{
    Claim, Kind, Label, Mode, Node, Policy, Question, Reply, RrSet, Server, Service, Snapshot, Standing, Terms, World,
    Zone, answer, explain,
};
use proptest::prelude::*;

const ZONES: [&str; 2] = ["z.test.", "y.test."];

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// Names of up to three labels below a zone: services, cuts, wildcards and the mesh's own among them.
fn any_name() -> impl Strategy<Value = Name> {
    let label = prop::sample::select(vec!["a", "b", "*", "fra", "nyc", "ns-fra", "whoami", "ns-x"]);
    let zone = prop::sample::select(vec![ZONES[0], ZONES[0], ZONES[1], "test."]);
    (prop::collection::vec(label, 0..4), zone).prop_map(|(labels, zone)| {
        let text = labels.iter().map(|label| format!("{label}.")).collect::<String>() + zone;
        name(&text)
    })
}

fn any_set() -> impl Strategy<Value = RrSet> {
    let data = prop_oneof![
        4 => any_name().prop_map(|to| vec![RData::CNAME(CNAME(to))]),
        2 => any_name().prop_map(|to| vec![RData::NS(NS(to))]),
        2 => (1u8..3).prop_map(|count| (0..count).map(|n| RData::A(A::new(192, 0, 2, n))).collect()),
        2 => Just(vec![RData::TXT(TXT::new(vec!["text".to_owned()])); 2]),
        1 => any_name().prop_map(|to| vec![RData::MX(MX::new(10, to))]),
    ];
    (any_name(), data, 0u32..9).prop_map(|(name, data, ttl)| RrSet { name, rtype: data[0].record_type(), ttl, data })
}

fn any_service() -> impl Strategy<Value = Service> {
    (any_name(), any::<bool>(), any::<bool>(), 1u8..3, 0usize..3).prop_map(|(name, answer, https, answers, servers)| {
        let address = |n: usize| IpAddr::from([192, 0, 2, u8::try_from(n).unwrap()]);
        Service {
            name,
            mode: if answer { Mode::Answer } else { Mode::Refer },
            ttl: 20,
            answers,
            spread: Duration::ZERO,
            https: https.then(|| vec![(SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".to_owned()])))]),
            svcb: None,
            policy: Policy::default(),
            servers: (0..servers)
                .map(|n| Server { id: n.to_string(), address: address(n), weight: 1, terms: Terms::default() })
                .collect(),
        }
    })
}

fn node(label: &str, address: u8, standing: Standing) -> Node {
    let label: Label = label.parse().unwrap();
    let addresses = vec![IpAddr::from([198, 51, 100, address])];
    Node { serves: vec![label.clone()], label, pop: String::new(), addresses, standing }
}

fn any_world() -> impl Strategy<Value = World> {
    let standing = prop::sample::select(vec![Standing::Alive, Standing::Alive, Standing::Dead]);
    let sets = prop::collection::vec(any_set(), 0..12);
    let services = prop::collection::vec(any_service(), 0..4);
    (sets, services, standing, prop::sample::select(vec!["fra", "nyc"])).prop_map(
        |(records, services, nyc, claimant)| {
            let mut world = World::new("fra".parse().unwrap());
            world.zones = ZONES.iter().map(|apex| Zone { apex: name(apex), nameservers: Vec::new() }).collect();
            world.nodes = vec![node("fra", 7, Standing::Alive), node("nyc", 9, nyc)];
            let prefix = "203.0.113.0/24".parse().unwrap();
            let node = claimant.parse().unwrap();
            world.claims.insert(Claim { node, prefix, preference: 1, proven: false, rtt: None });
            world.records = records;
            world.services = services;
            world
        },
    )
}

fn any_question() -> impl Strategy<Value = Question> {
    let types = [
        RecordType::A,
        RecordType::AAAA,
        RecordType::TXT,
        RecordType::MX,
        RecordType::NS,
        RecordType::SOA,
        RecordType::DS,
        RecordType::CNAME,
        RecordType::HTTPS,
        RecordType::ANY,
    ];
    let source = prop::sample::select(vec![[203, 0, 113, 53], [8, 8, 8, 8]]);
    let subnet = prop::option::of(Just("203.0.113.0/25".parse().unwrap()));
    (any_name(), prop::sample::select(types.to_vec()), source, subnet)
        .prop_map(|(name, qtype, source, subnet)| Question { subnet, ..Question::new(name, qtype, source.into()) })
}

/// The name at the end of the aliases in the answer section; they must follow one another from the asked name.
fn last_name(question: &Question, reply: &Reply) -> Result<Name, TestCaseError> {
    let mut at = question.name.clone();
    for record in &reply.answers {
        prop_assert_eq!(&record.name, &at, "out of line");
        if let RData::CNAME(to) = &record.data
            && !matches!(question.qtype, RecordType::CNAME | RecordType::ANY)
        {
            at = to.0.clone();
        }
    }
    Ok(at)
}

/// RFC 2181 section 5: no record twice, one TTL for each name and type. Section 10.1: a CNAME is alone.
fn sets_are_whole(records: &[Record]) -> Result<(), TestCaseError> {
    for (at, one) in records.iter().enumerate() {
        for other in records[..at].iter().filter(|other| other.name == one.name) {
            prop_assert!(one.data != other.data, "{one} twice");
            prop_assert!(one.record_type() != other.record_type() || one.ttl == other.ttl, "{one} beside {other}");
            let alias = [one, other].iter().any(|record| record.record_type() == RecordType::CNAME);
            prop_assert!(!alias, "{one} beside {other}");
        }
    }
    Ok(())
}

fn soa_of(reply: &Reply) -> Option<&Name> {
    let mut owners = reply.authorities.iter().filter(|record| record.record_type() == RecordType::SOA);
    owners.next().map(|record| &record.name)
}

/// A negative answer bears the SOA of the zone that the last name is in (RFC 2308 section 2.1), with the lesser TTL.
fn is_rightly_negative(
    snapshot: &Snapshot,
    question: &Question,
    reply: &Reply,
    last: &Name,
) -> Result<(), TestCaseError> {
    let owner = soa_of(reply).expect("a negative answer has a SOA record");
    prop_assert!(reply.authoritative && reply.authorities.len() == 1 && reply.additionals.is_empty());
    prop_assert!(reply.authorities[0].ttl <= 30);
    let at_apex = question.qtype == RecordType::DS && last != owner;
    prop_assert!(owner.zone_of(last), "{owner} is not above {last}");
    // No zone or cut of ours lies between.
    let mut between = last.clone();
    while between != *owner && !at_apex {
        let asked = answer(snapshot, &Question::new(between.clone(), RecordType::SOA, question.source));
        let apex = asked.answers.first().is_some_and(|record| record.record_type() == RecordType::SOA);
        prop_assert!(!apex || asked.answers[0].name != between, "{between} is nearer than {owner}");
        between = between.base_name();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn every_reply_is_well_formed(world in any_world(), questions in prop::collection::vec(any_question(), 1..8)) {
        let (snapshot, _) = Snapshot::build(world);
        for question in &questions {
            let reply = answer(&snapshot, question);
            explain(&snapshot, snapshot.me(), &question.name, question.qtype, question.source, Duration::ZERO).to_string();
            let last = last_name(question, &reply)?;
            sets_are_whole(&reply.answers)?;
            sets_are_whole(&reply.authorities)?;
            sets_are_whole(&reply.additionals)?;
            // AA is that of the first name: not set on a bare delegation or refusal alone.
            let bare = matches!(reply.kind, Kind::Delegation | Kind::Refused) && reply.answers.is_empty();
            prop_assert_eq!(reply.authoritative, !bare);
            if soa_of(&reply).is_some() {
                is_rightly_negative(&snapshot, question, &reply, &last)?;
            }
            let answered = reply.answers.iter().any(|record| record.name == last);
            let negative = reply.authoritative && !answered && soa_of(&reply).is_some();
            prop_assert!(reply.code != ResponseCode::NXDomain || negative);
            // RFC 8020 section 2: nothing is below a name that does not exist.
            if reply.code == ResponseCode::NXDomain && question.name.iter().count() < 8 {
                let below = last.prepend_label("a").unwrap();
                let asked = answer(&snapshot, &Question { name: below, ..question.clone() });
                prop_assert_eq!(asked.code, ResponseCode::NXDomain);
            }
        }
    }

    /// Static records without aliases and delegations, beside RFC 4592 written down naively.
    #[test]
    fn names_are_found_as_rfc_4592_says(
        mut world in any_world(),
        questions in prop::collection::vec(any_question(), 1..8),
    ) {
        world.services.clear();
        world.zones.truncate(1);
        world.records.retain(|set| !matches!(set.rtype, RecordType::CNAME | RecordType::NS));
        let zone = name(ZONES[0]);
        let own = |name: &Name| -> Option<Vec<Vec<u8>>> {
            zone.zone_of(name).then(|| name.iter().take(name.iter().count() - 2).map(<[u8]>::to_vec).collect())
        };
        let reserved = |labels: &[Vec<u8>]| labels.last().is_some_and(|top| {
            [&b"fra"[..], b"nyc", b"ns-fra", b"ns-x", b"whoami"].contains(&top.as_slice())
        });
        world.records.retain(|set| own(&set.name).is_some_and(|labels| !reserved(&labels)));
        let sets: Vec<(Vec<Vec<u8>>, RecordType)> =
            world.records.iter().map(|set| (own(&set.name).unwrap(), set.rtype)).collect();
        let (snapshot, _) = Snapshot::build(world);

        let owners: BTreeSet<_> = sets.iter().map(|(owner, _)| owner.clone()).collect();
        let exists = |name: &[Vec<u8>]| name.is_empty() || owners.iter().any(|owner| owner.ends_with(name));
        for question in questions {
            let Some(asked) = own(&question.name).filter(|labels| !labels.is_empty() && !reserved(labels)) else { continue };
            let source = match exists(&asked) {
                true => Some(asked.clone()),
                false => {
                    let encloser = (1..=asked.len()).map(|at| &asked[at..]).find(|name| exists(name)).unwrap();
                    let wild = [&[b"*".to_vec()], encloser].concat();
                    exists(&wild).then_some(wild)
                }
            };
            let reply = answer(&snapshot, &question);
            let code = if source.is_some() { ResponseCode::NoError } else { ResponseCode::NXDomain };
            prop_assert_eq!(reply.code, code, "{}", question.name);
            if question.qtype != RecordType::ANY {
                let held = sets.iter().any(|(owner, rtype)| Some(owner) == source.as_ref() && *rtype == question.qtype);
                prop_assert_eq!(held, !reply.answers.is_empty(), "{} {}", question.name, question.qtype);
            }
        }
    }
}
