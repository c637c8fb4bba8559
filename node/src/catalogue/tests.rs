#![allow(clippy::unwrap_used)]

mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hickory_proto::rr::Name;
use nigh_gossip::{Key, Owner, Page, Slot, Table, codec};
use proptest::prelude::*;
use serde::Serialize;

use super::admission::{NotAdmitted, admit};
use super::hlc::Clock;
use super::operators::Operators;
use super::record::{Identity, Record, Unreadable, Value};
use super::{
    Catalogue, Mode, Origin, Policy, Records, RrSet, Server, Service, SvcParams, TABLE, Zone, name, plan, sign, wire,
};
use crate::identity;
use crate::measure::target::{DnsSpec, GrpcSpec, HttpSpec, ProbeKind, ProbeSpec, Probing, TlsSpec, WebSpec};

/// A Tuesday.
const NOW: u64 = 1_790_000_000_000;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

/// Plans, signs and applies, as `nigh apply` and a node do together.
fn apply(records: &mut Records, desired: &Catalogue) -> Vec<Page> {
    let mut clock = Clock::after(records.stamps());
    let pages = sign(&plan(records, desired), &key(), &mut clock, NOW).unwrap();
    for page in &pages {
        records.apply(&Page::from_bytes(&page.to_bytes()).unwrap());
    }
    pages
}

fn parsed(text: &str) -> Catalogue {
    Catalogue::parse(text).unwrap_or_else(|errors| panic!("{errors}"))
}

const FILE: &str = r#"
[[zone]]
name = "lb.example.com"
[[service]]
name = "www.lb.example.com"
probe = { kind = "http", port = 80, host = "www.example.com" }
server = [{ id = "fra-1", address = "192.0.2.1" }, { id = "nyc-1", address = "2001:db8::1", weight = 3 }]
"#;

#[test]
fn an_operator_reads_what_will_change() {
    let mut records = Records::default();
    let show = |records: &Records, text: &str| -> Vec<String> {
        plan(records, &parsed(text)).iter().map(ToString::to_string).collect()
    };
    let expected = [
        "+ zone lb.example.com: nameservers by name",
        "+ service www.lb.example.com: answers 1, expect 200-399, fall 3, host www.example.com, interval 2s, mode refer, \
         path /, probe http port 80, rise 2, spread 0s, timeout 1s, ttl 20",
        "+ server www.lb.example.com fra-1: address 192.0.2.1, weight 1",
        "+ server www.lb.example.com nyc-1: address 2001:db8::1, weight 3",
    ];
    assert_eq!(show(&records, FILE), expected);
    apply(&mut records, &parsed(FILE));
    assert_eq!(show(&records, FILE), [""; 0]);

    let edited = FILE
        .replace(r#"kind = "http", port = 80, host = "www.example.com""#, r#"kind = "tcp", port = 443"#)
        .replace("weight = 3", "weight = 4")
        .replace("fra-1", "fra-2")
        .replace("[[service]]", "nameservers = [\"fra\"]\n[[service]]\nttl = 30");
    let expected = [
        "~ zone lb.example.com: nameservers by name -> fra",
        "~ service www.lb.example.com: expect 200-399 -> none, host www.example.com -> none, path / -> none, \
         probe http port 80 -> tcp port 443, ttl 20 -> 30",
        "- server www.lb.example.com fra-1",
        "+ server www.lb.example.com fra-2: address 192.0.2.1, weight 1",
        "~ server www.lb.example.com nyc-1: weight 3 -> 4",
    ];
    assert_eq!(show(&records, &edited), expected);
}

#[test]
fn a_server_added_while_its_service_was_removed_is_left_out_and_cleaned_up() {
    let mut records = Records::default();
    apply(&mut records, &parsed(FILE));
    let mut other = records.clone();
    // One operator removes the service, the other adds a server to it, neither having seen the other's edit.
    let bare = "[[zone]]\nname = \"lb.example.com\"";
    apply(&mut records, &parsed(bare));
    let more = FILE.replace("[{ id", "[{ id = \"late\", address = \"192.0.2.9\" }, { id");
    for page in apply(&mut other, &parsed(&more)) {
        records.apply(&page);
    }
    let (catalogue, problems) = Catalogue::from_records(&records);
    assert_eq!((catalogue, problems), (parsed(bare), vec![]));
    let cleaning: Vec<String> = plan(&records, &parsed(bare)).iter().map(ToString::to_string).collect();
    assert_eq!(cleaning, ["- server www.lb.example.com late"]);
}

/// A zone and what a zone file says of it.
fn with_records(zone_file: &str) -> Catalogue {
    let text = "[[zone]]\nname = \"lb.example.com\"\nrecords = \"lb.zone\"";
    Catalogue::parse_with(text, |_| Ok(zone_file.to_owned())).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn static_records_are_read_signed_and_read_back() {
    let mut records = Records::default();
    let desired = with_records(include_str!("../../tests/zones/good.zone"));
    let expected = [
        "+ zone lb.example.com: nameservers by name",
        "+ record lb.example.com MX: data 10 mx.lb.example.com., ttl 3600",
        "+ record lb.example.com TXT: data \"a \\\"quoted\\\" string\" \"plain word\" \"semi;colon\" \"A\\255\", ttl 300",
        "+ record lb.example.com CAA: data 128 issue \"ca.example.net; validationmethods=dns-01\", ttl 300",
        "+ record child.lb.example.com NS: data ns.child.lb.example.com., ttl 3600",
        "+ record child.lb.example.com DS: data \\# 36 00010D02D2ABDE240D7CD3EE6B4B28C54DF034B97983A1D16E8A410E4561CB106618E971, ttl 3600",
        "+ record ns.child.lb.example.com A: data 192.0.2.1, ttl 60",
        "+ record key.lb.example.com HINFO: data  os, ttl 3600",
        "+ record key.lb.example.com TXT: data \"v=DKIM1; k=rsa; \" \"p=MIIB\", ttl 3600",
        "+ record key.lb.example.com SRV: data 0 1 5060 lb.example.com., ttl 3600",
        "+ record key.lb.example.com NAPTR: data 100 10 \"S\" \"SIP+D2U\" \"\" _sip._udp.lb.example.com., ttl 3600",
        "+ record key.lb.example.com SSHFP: data 4 2 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971, ttl 3600",
        "+ record key.lb.example.com OPENPGPKEY: data bWVzaA==, ttl 3600",
        "+ record key.lb.example.com TYPE256: data \\# 24 000A000168747470733A2F2F6578616D706C652E6E65742F, ttl 3600",
        "+ record sub.lb.example.com TXT: data \"sub\", ttl 3600",
        "+ record _25._tcp.sub.lb.example.com TLSA: data 3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971, ttl 3600",
        "+ record dotted\\.label.sub.lb.example.com TYPE65280: data \\# 3 ABCDEF, ttl 3600",
        "+ record mx.sub.lb.example.com A: data 192.0.2.25, ttl 3600",
        "+ record svc.lb.example.com SVCB: data 0 alias.lb.example.com., ttl 3600",
        "+ record svc.lb.example.com HTTPS: data 1 . alpn=h2,h3, port=8443, ttl 3600",
        "+ record *.wild.lb.example.com CNAME: data Target.Example.NET., ttl 3600",
    ];
    let shown: Vec<String> = plan(&records, &desired).iter().map(ToString::to_string).collect();
    assert_eq!(shown, expected);
    apply(&mut records, &desired);
    assert_eq!(Catalogue::from_records(&records), (desired.clone(), vec![]));
    assert_eq!(plan(&records, &desired), vec![]);

    // One set changes: one page. The order of its records in the file is no change.
    let texts = "$TTL 60\n@ TXT a\n@ TXT b\n@ MX 1 mx\n";
    apply(&mut records, &with_records(texts));
    assert_eq!(plan(&records, &with_records("$TTL 60\n@ TXT b\n@ MX 1 mx\n@ TXT a\n")), vec![]);
    let edited = with_records("$TTL 60\n@ TXT a\n@ TXT c\n@ MX 1 mx\n");
    let shown: Vec<String> = plan(&records, &edited).iter().map(ToString::to_string).collect();
    assert_eq!(shown, [r#"~ record lb.example.com TXT: data "a" | "b" -> "a" | "c""#]);
}

#[derive(Serialize)]
struct Envelope<'a> {
    version: u16,
    identity: &'a str,
    value: Option<serde_bytes::ByteBuf>,
}

/// A record as another version, or a broken program, might sign it.
fn foreign(identity: &str, version: u16, value: &[u8]) -> Page {
    let key_of = |identity: &str| {
        let mut slot = [0; 16];
        slot.copy_from_slice(&blake3::derive_key("nigh 2026 catalogue record slot 1", identity.as_bytes())[..16]);
        Key { owner: Owner::Operators, table: TABLE, slot: Slot(slot) }
    };
    let body = codec::encode(&Envelope { version, identity, value: Some(serde_bytes::ByteBuf::from(value)) });
    Page::sign(&key(), key_of(identity), NOW, 0, body)
}

#[test]
fn what_cannot_be_read_is_reported_and_the_rest_stands() {
    let mut records = Records::default();
    apply(&mut records, &parsed(FILE));
    let misplaced = Record { identity: Identity::Zone(name::zone("b.example").unwrap()), value: None };
    let elsewhere = Identity::Zone(name::zone("a.example").unwrap()).key();
    for page in [
        foreign("tag/eu", 1, b""),
        foreign("zone/later.example.com", 2, b""),
        foreign("zone/Upper.example.com", 1, b""),
        foreign("service/broken.lb.example.com", 1, b"\xff"),
        foreign("service/www.example.net", 1, &service_bytes()),
        foreign("records/www.example.net/1", 1, &rrset_bytes(60, &[&[192, 0, 2, 1]])),
        foreign("records/a.lb.example.com/1", 1, &rrset_bytes(60, &[&[192, 0, 2]])),
        foreign("records/b.lb.example.com/1", 1, &rrset_bytes(60, &[])),
        foreign("records/c.lb.example.com/16", 1, &rrset_bytes(60, &[&[0; 5121]])),
        foreign("records/c2.lb.example.com/17", 1, &rrset_bytes(60, &[&[][..]; 1025])),
        foreign("records/d.lb.example.com/1", 1, &rrset_bytes(604_801, &[&[192, 0, 2, 1]])),
        foreign("records/e.lb.example.com/A", 1, &rrset_bytes(60, &[&[192, 0, 2, 1]])),
        foreign("records/f.lb.example.com/15", 1, &rrset_bytes(60, &[&[0, 1, 1, b'a', 0xc0, 2]])),
        foreign("server/www.lb.example.com/short", 1, &codec::encode(&(serde_bytes::ByteBuf::from([1, 2, 3]), 1))),
        Page::sign(&key(), elsewhere, NOW, 0, misplaced.encode()),
    ] {
        records.apply(&page);
    }
    let (catalogue, problems) = Catalogue::from_records(&records);
    assert_eq!(catalogue, parsed(FILE));
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let expected = [
        "malformed record: records/a.lb.example.com/1: data that is none of type A",
        "malformed record: records/b.lb.example.com/1: 0 records, 0 octets or ttl 60 beyond bounds",
        "malformed record: records/c.lb.example.com/16: 1 records, 5121 octets or ttl 60 beyond bounds",
        "malformed record: records/c2.lb.example.com/17: 1025 records, 0 octets or ttl 60 beyond bounds",
        "malformed record: records/d.lb.example.com/1: 1 records, 4 octets or ttl 604801 beyond bounds",
        "malformed record: records/e.lb.example.com/A: no number of a record type",
        "malformed record: records/f.lb.example.com/15: data that is none of type MX",
        "malformed record: server/www.lb.example.com/short: an address of 3 bytes",
        "malformed record: service/broken.lb.example.com: not the CBOR that was expected",
        "malformed record: zone/Upper.example.com: not in lower case",
        "record \"tag/eu\" is of a kind that this version does not know; upgrade nigh on this node",
        "record \"zone/b.example\" is in another record's place",
        "record \"zone/later.example.com\" has layout 2, and this version knows up to 1; upgrade nigh on this node",
        "records/www.example.net/1: left out: in no zone of the catalogue",
        "service/www.example.net: left out: in no zone of the catalogue",
    ];
    assert_eq!(problems, expected);
}

fn rrset_bytes(ttl: u32, data: &[&[u8]]) -> Vec<u8> {
    let data: Vec<_> = data.iter().map(|data| serde_bytes::ByteBuf::from(*data)).collect();
    codec::encode(&(ttl, data))
}

/// The bytes of a policy, cut out of a record that has one.
fn service_bytes() -> Vec<u8> {
    let service = parsed(FILE).services.into_values().next().unwrap();
    super::wire::encode(&Value::Service(service.policy))
}

#[test]
fn a_record_in_the_wrong_place_is_refused() {
    let record = Record { identity: Identity::Zone(name::zone("a.example").unwrap()), value: None };
    assert_eq!(Record::decode(record.identity.key(), &record.encode()), Ok(record.clone()));
    let wrong = Key { slot: Slot([0; 16]), ..record.identity.key() };
    assert_eq!(Record::decode(wrong, &record.encode()), Err(Unreadable::Misplaced("zone/a.example".into())));
}

#[test]
fn only_the_operators_timely_records_are_admitted() {
    let mesh = &Operators::only(identity::public(&key()));
    let changes = plan(&Records::default(), &parsed(FILE));
    let signed = |key: &SigningKey, now| sign(&changes, key, &mut Clock::default(), now).unwrap();
    admit(&signed(&key(), NOW), mesh, NOW).unwrap();
    admit(&signed(&key(), NOW - 86_400_000), mesh, NOW).unwrap();

    let ahead = admit(&signed(&key(), NOW + 660_000), mesh, NOW).unwrap_err();
    let text = "zone/lb.example.com: stamped 11m ahead of this host's clock, where at most 10m are allowed; \
                set the clock right (timedatectl), here or where the edit was signed";
    assert_eq!(ahead.to_string(), text);
    let stranger = signed(&SigningKey::from_bytes(&[6; 32]), NOW);
    assert!(matches!(admit(&stranger, mesh, NOW), Err(NotAdmitted::Signer { .. })));
    let other_table = Key { table: Table(17), ..changes[0].identity.key() };
    let page = Page::sign(&key(), other_table, NOW, 0, vec![]);
    assert!(matches!(admit(&[page], mesh, NOW), Err(NotAdmitted::NotAnEdit)));
    let garbled = Page::sign(&key(), changes[0].identity.key(), NOW, 0, vec![1]);
    assert!(matches!(admit(&[garbled], mesh, NOW), Err(NotAdmitted::Unreadable(_))));
    let many = vec![signed(&key(), NOW)[0].clone(); 1001];
    assert!(matches!(admit(&many, mesh, NOW), Err(NotAdmitted::TooMany(1001))));
}

fn any_kind() -> impl Strategy<Value = (ProbeKind, u16)> {
    let tls = prop::option::of((any::<bool>(), prop::option::of("[a-z]{1,9}")));
    let tls = tls.prop_map(|tls| tls.map(|(verify, ca)| TlsSpec { verify, ca: ca.filter(|_| verify) }));
    let web = ("[a-z]{1,9}", tls, any::<bool>(), any::<bool>());
    let web = web.prop_map(|(host, tls, http2, reuse)| WebSpec { host, tls, http2, reuse });
    let http = (web.clone(), "/[a-z]{0,9}", 100u16..300, prop::option::of("[a-z]{1,9}"));
    let http = http.prop_map(|(web, path, first, body)| HttpSpec { web, path, expect: (first, 399), body });
    let grpc = (web, "[a-z]{0,9}").prop_map(|(web, service)| GrpcSpec { web: WebSpec { http2: true, ..web }, service });
    let dns = ("[a-z]{1,9}", 1u16..300, 0u16..11).prop_map(|(name, rtype, rcode)| DnsSpec { name, rtype, rcode });
    let words = prop::collection::vec("[a-z]{1,9}", 1..4);
    let with_port = prop_oneof![
        Just(ProbeKind::Tcp),
        http.prop_map(ProbeKind::Http),
        grpc.prop_map(ProbeKind::Grpc),
        dns.prop_map(ProbeKind::Dns),
        words.clone().prop_map(ProbeKind::Command),
    ];
    prop_oneof![(with_port, 1u16..), Just((ProbeKind::Icmp, 0)), words.prop_map(|words| (ProbeKind::Command(words), 0)),]
}

fn any_probing() -> impl Strategy<Value = Probing> {
    let times = (100_000u64..=3_600_000_000, 5000u64..=30_000_000);
    let spec = (any_kind(), times, 0u32..=5, 1u32..=30, 1u32..=30).prop_map(
        |((kind, port), (interval, timeout), retries, rise, fall)| ProbeSpec {
            kind,
            port,
            interval: Duration::from_micros(interval),
            timeout: Duration::from_micros(timeout),
            retries,
            rise,
            fall,
        },
    );
    let spec = spec.boxed();
    let latency = prop::option::of(spec.clone());
    (spec, latency, 1u32..=100_000).prop_map(|(health, latency, budget)| Probing { health, latency, budget })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let params = || prop::option::of((prop::option::of("[a-z][0-9]"), prop::option::of(1u16..)));
    let params = (params(), params()).prop_map(|(https, svcb)| (https.map(svc), svcb.map(svc)));
    let origin = prop::option::of(("[a-z]{1,9}\\.origin\\.example", prop::collection::vec(any_server(), 0..=4)));
    let origin = origin.prop_map(|origin| {
        origin.map(|(name, servers)| {
            Box::new(Origin {
                name: name::host(&name).unwrap(),
                from: servers.iter().map(|server| (server.address, 53 + server.weight % 2).into()).collect(),
                within: servers.iter().map(|server| server.address.into()).collect(),
            })
        })
    });
    let more = (params, policy::any_steering(), origin);
    (any::<bool>(), 1u32..=3600, 1u8..=8, any_probing(), 0u64..=1_000_000, more).prop_map(
        |(answer, ttl, answers, probe, spread, ((https, svcb), steering, origin))| Policy {
            mode: if answer { Mode::Answer } else { Mode::Refer },
            ttl,
            answers,
            spread: Duration::from_micros(spread),
            probe: Box::new(probe),
            https,
            svcb,
            steering: Box::new(steering),
            origin,
        },
    )
}

fn svc((alpn, port): (Option<String>, Option<u16>)) -> SvcParams {
    let alpn = alpn.map(|alpn| format!("alpn={alpn}"));
    let port = port.map(|port| format!("port={port}"));
    let words: Vec<String> = alpn.into_iter().chain(port).chain(["key7=x".to_owned()]).collect();
    super::svc_params::read(&words).unwrap()
}

fn any_server() -> impl Strategy<Value = Server> {
    let v4 = (1u8..=223, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| IpAddr::from([a, b, c, d]));
    let v6 = any::<[u8; 15]>().prop_map(|rest| {
        let mut bytes = [0x20; 16];
        bytes[1..].copy_from_slice(&rest);
        IpAddr::from(bytes)
    });
    policy::on_any_terms((prop_oneof![v4, v6], any::<u16>()).prop_map(|(address, weight)| Server::new(address, weight)))
}

/// Few names, so that states overlap; services only in zones that are there, as the file demands.
fn any_catalogue() -> impl Strategy<Value = Catalogue> {
    let zones = prop::collection::btree_map(
        prop::sample::select(vec!["lb.example.com", "lb.example.org"]),
        prop::collection::btree_set("[a-z]{1,3}", 0..4),
        0..3,
    );
    let servers = prop::collection::btree_map("[a-c]", any_server(), 1..4);
    let services = prop::collection::btree_map(
        prop::sample::select(vec!["a.lb.example.com", "b.lb.example.com", "a.lb.example.org", "lb.example.org"]),
        (any_policy(), servers),
        0..4,
    );
    let texts = prop::collection::btree_set(prop::collection::vec(any::<u8>(), 0..20), 1..4);
    let records = prop::collection::btree_map(
        (prop::sample::select(vec!["lb.example.com", "_a.lb.example.com", "*.b.lb.example.org"]), 16u16..18),
        (0u32..=604_800, texts),
        0..4,
    );
    (zones, services, records).prop_map(|(zones, services, records)| {
        let zones: BTreeMap<_, _> = zones
            .into_iter()
            .map(|(apex, nodes): (&str, BTreeSet<String>)| {
                let nameservers = nodes.iter().map(|node| node.parse().unwrap()).collect();
                (name::zone(apex).unwrap(), Zone { nameservers })
            })
            .collect();
        let services = services
            .into_iter()
            .map(|(host, (policy, servers))| (name::service(host).unwrap(), Service { policy, servers }))
            .filter(|(host, _)| zones.keys().any(|zone| zone.zone_of(host)))
            .collect();
        let records = records
            .into_iter()
            .map(|((owner, rtype), (ttl, texts))| {
                let mut data = Vec::new();
                for text in texts {
                    // Of type 17 hickory knows nothing: any bytes are right.
                    let length = [u8::try_from(text.len()).unwrap()];
                    let bytes = if rtype == 16 { [&length[..], &text].concat() } else { text };
                    data.push(wire::rdata(rtype.into(), &bytes).unwrap());
                }
                ((name::owner(owner).unwrap(), rtype), RrSet::new(ttl, data))
            })
            .filter(|((owner, _), _): &((Name, u16), RrSet)| zones.keys().any(|zone| zone.zone_of(owner)))
            .collect();
        Catalogue { zones, services, records }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever was there before, an applied file is what is there after; applying it again changes nothing.
    #[test]
    fn an_applied_catalogue_is_what_the_records_say(history in prop::collection::vec(any_catalogue(), 1..5)) {
        let mut records = Records::default();
        for desired in &history {
            apply(&mut records, desired);
            prop_assert_eq!(Catalogue::from_records(&records), (desired.clone(), vec![]));
            prop_assert_eq!(plan(&records, desired), vec![]);
        }
    }

    /// Two operators edit apart, and their records arrive in any order, some twice: all nodes have the same catalogue,
    /// and either operator's next edit reaches what it says.
    #[test]
    fn the_order_of_arrival_is_lost(
        (base, left, right, next) in (any_catalogue(), any_catalogue(), any_catalogue(), any_catalogue()),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let mut mine = Records::default();
        let mut pages = apply(&mut mine, &base);
        let mut theirs = mine.clone();
        pages.extend(apply(&mut mine, &left));
        pages.extend(apply(&mut theirs, &right));

        let in_turn = Records::from_pages(&pages);
        let mut shuffled = Records::from_pages(order.iter().filter(|_| !pages.is_empty()).map(|i| i.get(&pages)));
        for page in pages.iter().rev() {
            shuffled.apply(page);
        }
        prop_assert_eq!(&shuffled, &in_turn);
        apply(&mut shuffled, &next);
        prop_assert_eq!(Catalogue::from_records(&shuffled), (next, vec![]));
    }

    /// Bits of zone files in any order: each is read or reported, and what is read travels and comes back.
    #[test]
    fn no_zone_file_goes_wrong_silently(words in prop::collection::vec(prop::sample::select(vec![
        "$TTL 60\n", "$ORIGIN ", "a", "@", "*", ".", " ", "\n", "\n", "(", ")", ";x\n", "\"q q\"", "\\", "\\065", "\\.",
        " IN ", " 300 ", " A 192.0.2.1", " TXT ", " MX 10 ", " CNAME ", " NS ", " \\# 2 abcd", " TYPE700", " HTTPS 1 . alpn=h2",
        " SRV 0 0 0 ", "é", "\r\n", "$INCLUDE /etc/passwd",
    ]), 0..30)) {
        let text = words.concat();
        let catalogue = "[[zone]]\nname = \"lb.example.com\"\nrecords = \"lb.zone\"";
        match Catalogue::parse_with(catalogue, |_| Ok(text.clone())) {
            Ok(desired) => {
                let mut records = Records::default();
                apply(&mut records, &desired);
                prop_assert_eq!(Catalogue::from_records(&records), (desired, vec![]));
            }
            Err(faults) => for fault in faults.iter() {
                prop_assert!(fault.problem.starts_with("lb.zone:"), "{}", fault);
            }
        }
    }

    #[test]
    fn arbitrary_bodies_never_panic(body: Vec<u8>, identity in "(zone|service|server|records)/[a-z.*]{0,9}/?[a-z]?[0-9]{0,3}", value: Vec<u8>) {
        let page = foreign(&identity, 1, &value);
        let _ = Record::decode(page.key(), page.body());
        let _ = Record::decode(page.key(), &body);
    }
}
