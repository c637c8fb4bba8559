//! The bed without our own nodes: name servers, a resolver and an origin on the WAN, and clients that measure it.
#![allow(clippy::unwrap_used)]

use hickory_proto::rr::RecordType;
use nigh_chaos::bed::named::{self, ZoneFile};
use nigh_chaos::bed::resolver::Manner;
use nigh_chaos::bed::stub::{Failure, Stub};
use nigh_chaos::bed::unbound::Unbound;
use nigh_chaos::bed::{Bed, Host, http, nginx, resolver};
use nigh_chaos::lab::Run;
use nigh_chaos::machine::{self, Need};
use nigh_chaos::scenario::delays;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const ROOT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
const DNS_A: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 53);
const ISP: Ipv4Addr = Ipv4Addr::new(10, 49, 0, 53);
const ORIGIN: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 80);

#[test]
fn a_client_reaches_an_origin_through_root_dns_a_and_resolver() {
    let needs = [Need::Root, Need::Namespaces, Need::Tun, Need::Named, Need::Unbound, Need::Nginx];
    if !machine::allows("bed with bind9, unbound and nginx", &needs) {
        return;
    }
    let hosts = [
        Host::new("root", "eu-west-2", ROOT),
        Host::new("dns-a", "us-east-2", DNS_A),
        Host::new("isp", "eu-central-1", ISP),
        Host::new("us-east-1", "us-east-1", ORIGIN),
    ];
    let run = Run::begin(false).unwrap();
    let link = |from: &Host, to: &Host| delays::one_way(from.region, to.region);
    let bed = Bed::build(run, &hosts, 1, link).unwrap();
    let zone = named::lab_zone(&[DNS_A.into()], &[]);
    let zone = ZoneFile { text: zone.text + &format!("www.lab. CNAME origin.lab.\norigin.lab. A {ORIGIN}\n"), ..zone };
    let _root = named::start(&bed, "root", ROOT, &[named::root_zone(&[ROOT.into()], &[DNS_A.into()])]).unwrap();
    let mut dns_a = named::start(&bed, "dns-a", DNS_A, &[zone]).unwrap();
    let mut unbound = resolver::start(&bed, &Unbound, "isp", ISP.into(), &[ROOT.into()], &Manner::default()).unwrap();
    let mut origin = nginx::start(&bed, "us-east-1", &[ORIGIN.into()]).unwrap();

    let space = bed.space("isp").unwrap();
    let client = Stub::inside(space, ISP).unwrap();
    let first = client.ask("www.lab", RecordType::A);
    let reply = first.outcome.unwrap();
    // Between the resolver's asking and its answer a second may end.
    assert!(matches!(reply.addresses[..], [(address, 3590..=3600)] if address == ORIGIN), "{:?}", reply.addresses);
    assert!(matches!(&reply.aliases[..], [(name, 3590..=3600)] if name == "origin.lab"), "{:?}", reply.aliases);
    let to_dns_a = delays::round_trip("eu-central-1", "us-east-2").unwrap();
    assert!(first.took >= to_dns_a.mul_f64(0.9), "a fresh answer comes from DNS-A: {:?}", first.took);
    let second = client.ask("www.lab", RecordType::A);
    assert!(second.outcome.unwrap().is_good());
    assert!(second.took < to_dns_a / 2, "the second from the cache: {:?}", second.took);
    let nothing = client.ask("nothing.lab", RecordType::A).outcome.unwrap();
    assert!(!nothing.is_good() && nothing.addresses.is_empty(), "{nothing:?}");

    let at = SocketAddr::from((ORIGIN, nginx::PORT));
    let patience = Duration::from_secs(5);
    let page = http::get(space, at, "www.lab", "/", patience).unwrap();
    assert_eq!((page.status, page.body.as_str()), (200, "us-east-1\n"));

    bed.wan().change("isp", "us-east-1", |link| link.cut = true).unwrap();
    assert!(http::get(space, at, "www.lab", "/", Duration::from_millis(300)).is_err(), "the path is cut");
    bed.wan().change("isp", "us-east-1", |link| link.cut = false).unwrap();
    origin.kill().unwrap();
    assert!(http::get(space, at, "www.lab", "/", patience).is_err(), "the origin is dead");
    dns_a.kill().unwrap();
    assert!(dns_a.alive().is_err());
    unbound.stop(Duration::from_secs(10)).unwrap();
    let refused = client.ask_once("www.lab", RecordType::A, patience);
    assert!(matches!(refused, Err(Failure::Refused)), "{refused:?}");
}
