//! What each fuzz target does with its bytes, as plain functions.
//!
//! The binaries in `fuzz_targets/` call one each. `dns/tests/corpus.rs` includes this file and replays the corpus, so a
//! toolchain without a fuzzer guards what was found as well. A function returns if its bytes are handled as they should
//! be, and panics if not.
//!
//! | target | input | must hold |
//! |---|---|---|
//! | `packet` | a packet | the rules of `rules.rs` for the reply of a node with something of everything |
//! | `empty` | a packet | the same for a node that knows nothing yet |
//! | `ways` | a packet | the short way and the long way say the same |
//! | `query` | a packet | our parser reads what hickory's reads, and is stricter only where it means to be |

pub mod decode;
pub mod rules;

#[path = "../../tests/world_text/mod.rs"]
mod world_text;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use nigh_dns::{Arrival, Counters, Fault, Handler, Query, Snapshot};

/// What is done with one input; a panic is a find.
pub type Target = fn(&[u8]);

/// All targets, by the names of their binaries. All of them take packets, and share one corpus.
pub const TARGETS: [(&str, Target); 4] = [("packet", packet), ("empty", empty), ("ways", ways), ("query", query)];

/// The moment of every question.
const NOW: Duration = Duration::from_secs(1_700_000_000);

/// A node that has something of everything.
fn everything() -> &'static Handler {
    static HANDLER: OnceLock<Handler> = OnceLock::new();
    HANDLER.get_or_init(|| {
        let mut world = world_text::WorldText::default();
        for line in include_str!("../../tests/world_text/everything.txt").lines() {
            world.line(line).expect("the world reads");
        }
        handler(world.snapshot(None).0)
    })
}

fn handler(snapshot: Snapshot) -> Handler {
    let snapshot = Arc::new(arc_swap::ArcSwap::from_pointee(snapshot));
    Handler::new(snapshot, Arc::new(Counters::new())).with_cookies([7; 16])
}

/// A packet to a node that has something of everything, from several places, by UDP and TCP.
pub fn packet(data: &[u8]) {
    for source in ["203.0.113.9", "8.8.8.8", "2001:db8:c::1"] {
        ask(everything(), data, source.parse().expect("an address"));
    }
}

/// A packet to a node that knows nothing yet.
pub fn empty(data: &[u8]) {
    static HANDLER: OnceLock<Handler> = OnceLock::new();
    let handler = HANDLER.get_or_init(|| handler(Snapshot::empty("fra".parse().expect("a label"))));
    ask(handler, data, IpAddr::from([192, 0, 2, 53]));
}

fn ask(handler: &Handler, data: &[u8], source: IpAddr) {
    let source = SocketAddr::new(source, 53);
    for (arrival, udp) in
        [(Arrival::udp(source, NOW), true), (Arrival::tcp(source, NOW, Duration::from_secs(10)), false)]
    {
        let reply = handler.respond(data, arrival);
        if let Err(what) = rules::check(data, reply.as_deref(), udp) {
            panic!("{what}\nquery {data:02x?}\nreply {reply:02x?}");
        }
    }
}

/// The short way beside the long one: the same header, and the same records in the same order; only names may be
/// compressed better, and be in the case of the question where one points at it and the other does not. As text, because
/// hickory's records are equal when their TTLs are not.
///
/// hickory points at no name in another case, so what it writes to a long question in mixed case may have to be cut where the
/// short way just fits: then that is held to what the long way says where there is room.
pub fn ways(data: &[u8]) {
    static LONG: OnceLock<Handler> = OnceLock::new();
    let handlers = [everything(), LONG.get_or_init(|| everything().clone().long_way_only())];
    for source in ["203.0.113.9", "8.8.8.8", "2001:db8:c::1"] {
        let source = SocketAddr::new(source.parse().expect("an address"), 53);
        let by_tcp = Arrival::tcp(source, NOW, Duration::from_secs(10));
        for arrival in [Arrival::udp(source, NOW), by_tcp] {
            let replies = handlers.map(|handler| handler.respond(data, arrival));
            let [Some(short), Some(long)] = &replies else {
                assert_eq!(replies[0], replies[1], "to {data:02x?}");
                continue;
            };
            if short == long {
                continue;
            }
            if is_cut(long) && !is_cut(short) {
                let whole = handlers[1].respond(data, by_tcp).expect("a reply by TCP");
                assert_eq!(short[..12], whole[..12], "the headers to {data:02x?}");
                assert_eq!(text_and_opt(short).0, text_and_opt(&whole).0, "to {data:02x?}");
                continue;
            }
            assert_eq!(short[..12], long[..12], "the headers to {data:02x?}");
            assert_eq!(text_and_opt(short), text_and_opt(long), "to {data:02x?}");
            assert!(short.len() <= long.len(), "compressed less: {short:02x?} to {data:02x?}");
        }
    }
}

/// TC.
fn is_cut(reply: &[u8]) -> bool {
    reply[2] & 2 != 0
}

/// A reply as text, and the OPT record that it ends with as it is: a client subnet of a family that hickory does not know
/// goes back as it came.
fn text_and_opt(reply: &[u8]) -> (String, &[u8]) {
    let message = decode::message(reply).expect("a message");
    let (rest, opt) = reply.split_at(reply.len() - message.opt().map_or(0, |opt| 11 + opt.data.len()));
    let mut rest = rest.to_vec();
    // ARCOUNT: no message of ours has 256 records.
    rest[11] -= u8::from(!opt.is_empty());
    (format!("{:?}", Message::from_vec(&rest).expect("a message")).to_lowercase(), opt)
}

/// Our parser beside hickory's.
pub fn query(data: &[u8]) {
    let ours = Query::read(data);
    assert_eq!(ours.is_some(), data.len() >= 12 && data[2] & 0x80 == 0);
    let Some(ours) = ours else { return };
    match Message::from_vec(data) {
        Ok(theirs) => agree(data, &ours, &theirs),
        Err(error) => {
            // hickory reads every record; so do we only OPT, and FAMILY 0 in it is right.
            let only_opt = decode::message(data).is_some_and(|all| all.opts().count() == all.records.len());
            let subnet = ours.opt().and_then(|opt| opt.subnet);
            let no_family = subnet.is_some_and(|subnet| subnet.net.is_none());
            // Options of another version are not read.
            let version = ours.opt().is_some_and(|opt| opt.version > 0);
            let fine = ours.fault().is_some() || !only_opt || no_family || version;
            assert!(fine, "hickory says {error}: {data:02x?}");
        }
    }
}

fn agree(data: &[u8], ours: &Query<'_>, theirs: &Message) {
    assert_eq!((ours.id(), ours.opcode()), (theirs.metadata.id, u8::from(theirs.metadata.op_code)));
    if let Some(asked) = ours.question() {
        let question = theirs.queries.first().expect("a question");
        assert!(asked.name.labels().eq(question.name().iter()), "{asked:?} {question:?}");
        assert_eq!(asked.qtype, u16::from(question.query_type()));
        assert_eq!(asked.qclass, u16::from(question.query_class()));
        assert_eq!(asked.octets, &data[12..12 + asked.octets.len()]);
    }
    match ours.fault() {
        None => assert_eq!(theirs.queries.len(), 1),
        // What hickory could read to its end must not have been too short for us.
        Some(Fault::Short | Fault::Name) => panic!("hickory reads {theirs:?}"),
        Some(_) => return,
    }
    assert_eq!(ours.opt().is_some(), theirs.edns.is_some());
    let (Some(opt), Some(edns)) = (ours.opt(), &theirs.edns) else { return };
    // hickory raises what is too small.
    assert_eq!((opt.size.max(512), opt.version), (edns.max_payload().max(512), edns.version()));
    assert_eq!(opt.dnssec_ok, edns.flags().dnssec_ok);
    if opt.version > 0 {
        return;
    }
    assert_eq!(opt.nsid, edns.option(EdnsCode::NSID).is_some());
    assert_eq!(opt.padding, edns.option(EdnsCode::Padding).is_some());
    assert_eq!(opt.keepalive, edns.option(EdnsCode::Keepalive).is_some());
    if let Some(EdnsOption::Subnet(subnet)) = edns.option(EdnsCode::Subnet) {
        let net = opt.subnet.expect("a subnet").net;
        assert_eq!(net.map_or(0, |net| net.prefix_len()), subnet.source_prefix());
        assert!(net.is_none_or(|net| net.addr() == subnet.addr()));
    }
    let cookie = opt.cookie.map(|cookie| [&cookie.client, cookie.server].concat());
    match edns.option(EdnsCode::Cookie) {
        Some(EdnsOption::Unknown(_, theirs)) => assert_eq!(cookie.as_ref(), Some(theirs)),
        other => assert_eq!((cookie, other), (None, None)),
    }
}
