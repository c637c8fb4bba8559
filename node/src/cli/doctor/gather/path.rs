//! Asks the other nodes, with small questions and with large ones.

use std::net::SocketAddr;

use futures::StreamExt as _;
use futures::stream;
use hickory_proto::rr::{Name, RecordType};

use super::clock;
use super::dns::{self, Manner, NO_WAY, Told};
use crate::admin::report::{Peer, Verdict};
use crate::cli::doctor::judge::path::Asked;
use crate::run::unix;

/// Addresses that are asked: of a large mesh a part tells enough.
const MOST_ASKED: usize = 48;
/// Asked at a time.
const AT_ONCE: usize = 16;

/// Asks the live nodes; gives what came, and their clocks less ours.
pub(crate) async fn ask(peers: &[Peer], port: u16, zone: &Name) -> (Vec<Asked>, Vec<(String, i64)>) {
    let mut live: Vec<&Peer> =
        peers.iter().filter(|peer| !peer.is_self && peer.verdict == Verdict::Alive && !peer.name.is_empty()).collect();
    live.sort_by_key(|peer| !peer.linked);
    let addresses = live.iter().flat_map(|peer| peer.dns_addresses.iter().map(|ip| (peer.name.clone(), *ip)));
    let wanted: Vec<(String, SocketAddr)> =
        addresses.take(MOST_ASKED).map(|(node, ip)| (node, SocketAddr::new(ip, port))).collect();
    let asked: Vec<(Asked, Option<i64>)> =
        stream::iter(wanted).map(|(node, at)| one(node, at, zone.clone())).buffered(AT_ONCE).collect().await;
    let asked: Vec<_> =
        asked.into_iter().filter(|(at, _)| !at.plain.as_ref().is_err_and(|why| why == NO_WAY)).collect();
    let mut clocks: Vec<(String, i64)> =
        asked.iter().filter_map(|(asked, clock)| Some((asked.node.clone(), (*clock)?))).collect();
    clocks.dedup_by(|a, b| a.0 == b.0);
    (asked.into_iter().map(|(asked, _)| asked).collect(), clocks)
}

async fn one(node: String, at: SocketAddr, zone: Name) -> (Asked, Option<i64>) {
    let plain = dns::ask(at, &zone, RecordType::SOA, Manner::default()).await;
    let clock = plain.as_ref().ok().and_then(|told| told.clock).map(|clock| clock::node(clock, unix()));
    let large = match &plain {
        Ok(_) => dns::ask(at, &zone, RecordType::SOA, Manner { large: true, tcp: false }).await,
        Err(why) => Err(why.clone()),
    };
    let size = plain.as_ref().ok().and_then(|told| told.size);
    let mtu = large.as_ref().ok().and_then(|told| told.mtu);
    let plain = plain.map(|Told { took, .. }| took.as_secs_f64() * 1000.0);
    (Asked { node, at, plain, large: large.map(drop), mtu, size }, clock)
}
