//! The bodies of a liar's pages: nigh's tables, as nigh reads them.

use super::Malice;
use nigh_gossip::verdict::WatchRow;
use nigh_gossip::{NodeId, Slot, Table, codec};
use serde::Serialize;
use serde_bytes::ByteBuf;
use std::net::{IpAddr, Ipv4Addr};

/// Who a node is: its one page.
pub(super) const PROFILE: Table = Table(16);
/// Which resolvers are near it.
pub(super) const CLAIMS: Table = Table(17);
/// What it measured.
const LATENCY: Table = Table(18);

#[derive(Serialize)]
struct Profile<'a> {
    name: &'a str,
    pop: &'a str,
    dns: Vec<IpAddr>,
    serves: Vec<&'a str>,
    draining: bool,
    version: &'a str,
    pressure: u8,
}

#[derive(Serialize)]
struct Claim(ByteBuf, u8, u16);

#[derive(Serialize)]
enum Health {
    Up,
    Down,
}

#[derive(Serialize)]
struct Row {
    server: u64,
    state: Health,
    rtt_us: Option<u32>,
    loss_permille: u16,
    why: String,
}

/// What lies need to know of the truth.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) malice: Malice,
    /// The service, as nigh names it.
    pub(super) service: String,
    /// Its servers.
    pub(super) servers: Vec<String>,
    /// The other nodes.
    pub(super) nodes: Vec<String>,
    /// The ISPs' resolvers, none of which is near.
    pub(super) resolvers: Vec<Ipv4Addr>,
}

impl Truth {
    /// All pages that are written once.
    pub(super) fn pages(&self) -> Vec<(Table, Slot, Vec<u8>)> {
        let page = |table, body| (table, Slot::page(0), body);
        let mut pages = vec![page(PROFILE, self.profile("nowhere")), page(LATENCY, self.rows())];
        if self.malice != Malice::Equivocates {
            pages.push(page(CLAIMS, self.claims()));
        }
        pages
    }

    /// A profile, at a place.
    pub(super) fn profile(&self, pop: &str) -> Vec<u8> {
        let name = self.malice.node();
        let others = self.nodes.iter().filter(|_| self.malice == Malice::Lies).map(String::as_str);
        codec::encode(&Profile {
            name: &name,
            pop,
            dns: vec![self.malice.address().into()],
            serves: std::iter::once(name.as_str()).chain(others).collect(),
            draining: false,
            version: "9.9.9",
            pressure: 0,
        })
    }

    /// One claim within the certificate, and of whoever claims too much everything, down to each resolver.
    pub(super) fn claims(&self) -> Vec<u8> {
        let [a, b, c, _] = self.malice.address().octets();
        let claim = |address: Ipv4Addr, length| Claim(ByteBuf::from(address.octets()), length, 0);
        let mut claims = vec![claim(Ipv4Addr::new(a, b, c, 0), 24)];
        if self.malice == Malice::Claims {
            claims.extend([claim(Ipv4Addr::UNSPECIFIED, 0), claim(Ipv4Addr::new(10, 0, 0, 0), 8)]);
            claims.push(Claim(ByteBuf::from([0; 16]), 0, 0));
            claims.extend(self.resolvers.iter().map(|resolver| claim(*resolver, 32)));
        }
        codec::encode(&claims)
    }

    fn rows(&self) -> Vec<u8> {
        let row = |server: &String| Row {
            server: server_key(&self.service, server),
            state: if self.malice == Malice::Lies { Health::Down } else { Health::Up },
            rtt_us: Some(0),
            loss_permille: if self.malice == Malice::Lies { 1000 } else { 0 },
            why: if self.malice == Malice::Lies { "nobody answers".to_owned() } else { String::new() },
        };
        codec::encode(&self.servers.iter().map(row).collect::<Vec<_>>())
    }
}

/// "These members are silent": everybody that is known, in the incarnation that they are in.
pub(super) fn accusations(of: impl Iterator<Item = (NodeId, u64)>) -> Vec<u8> {
    codec::encode(&of.map(|(accused, incarnation)| WatchRow { accused, incarnation }).collect::<Vec<_>>())
}

fn server_key(service: &str, server: &str) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("nigh latency row 1");
    hasher.update(service.as_bytes());
    hasher.update(&[0]);
    hasher.update(server.as_bytes());
    let mut key = [0; 8];
    hasher.finalize_xof().fill(&mut key);
    u64::from_be_bytes(key)
}
