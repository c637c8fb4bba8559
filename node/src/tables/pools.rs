//! What a node imported from DNS-A: pages of [`super::POOLS`], one for each source.
//!
//! A source is a name and who is asked for it, so services with one origin share a page. The page of a writer that died
//! stays, and with it the last known set. `generation` orders the pages of one source without a clock: a writer whose set
//! changes goes one above all that it sees.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::rr::Name;
use nigh_gossip::{Slot, codec};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::latency::reason;
use crate::catalogue::origin::{MAX_FROM, server};
use crate::catalogue::{MAX_SERVERS, Origin, name};
use crate::config::value::contactable;

/// The most addresses that are taken from one name: as many as a service may have servers.
pub const MAX_IMPORTED: usize = MAX_SERVERS;

/// Separates slots of sources from every other use of the hash.
const SLOT_DOMAIN: &str = "nigh 2026 pool source slot 1";

/// A name, and who is asked for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The name.
    pub name: Name,
    /// The servers of DNS-A; none: the node's resolver.
    pub from: Vec<SocketAddr>,
}

impl From<&Origin> for Source {
    fn from(origin: &Origin) -> Self {
        Self { name: origin.name.clone(), from: origin.from.clone() }
    }
}

impl Source {
    /// Its page.
    pub fn slot(&self) -> Slot {
        let mut hasher = blake3::Hasher::new_derive_key(SLOT_DOMAIN);
        hasher.update(name::text(&self.name).as_bytes());
        for server in &self.from {
            hasher.update(&[0]);
            hasher.update(server.to_string().as_bytes());
        }
        let mut slot = [0; 16];
        slot.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Slot(slot)
    }
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// What was asked, and whom.
    pub source: Source,
    /// Of pages by dead or failing writers the highest holds.
    pub generation: u64,
    /// What was found, in order.
    pub addresses: Vec<IpAddr>,
    /// Why this is not what DNS-A says now; empty if it is.
    pub trouble: String,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    name: String,
    from: Vec<String>,
    generation: u64,
    addresses: Vec<ByteBuf>,
    trouble: String,
}

impl Pool {
    /// The body of the page.
    pub fn encode(&self) -> Vec<u8> {
        let octets = |address: &IpAddr| match address {
            IpAddr::V4(v4) => ByteBuf::from(v4.octets().to_vec()),
            IpAddr::V6(v6) => ByteBuf::from(v6.octets().to_vec()),
        };
        codec::encode(&Wire {
            name: name::text(&self.source.name),
            from: self.source.from.iter().map(ToString::to_string).collect(),
            generation: self.generation,
            addresses: self.addresses.iter().take(MAX_IMPORTED).map(octets).collect(),
            trouble: reason(&self.trouble),
        })
    }

    /// Reads a body: addresses that nobody can be contacted at are left out.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let wire: Wire = codec::decode(body).ok()?;
        if wire.from.len() > MAX_FROM {
            return None;
        }
        let from: Option<Vec<SocketAddr>> = wire.from.iter().map(|text| server(text).ok()).collect();
        let mut addresses: Vec<IpAddr> =
            wire.addresses.iter().take(MAX_IMPORTED).filter_map(|octets| address(octets)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Some(Self {
            source: Source { name: name::host(&wire.name).ok()?, from: from? },
            generation: wire.generation,
            addresses,
            trouble: reason(&wire.trouble),
        })
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let address = match octets.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)),
        _ => return None,
    };
    contactable(address).is_ok().then_some(address)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn pool(addresses: Vec<IpAddr>) -> Pool {
        let source = Source {
            name: name::host("www.origin.example.com").unwrap(),
            from: vec!["203.0.113.1:53".parse().unwrap(), "[2001:db8::1]:5300".parse().unwrap()],
        };
        Pool { source, generation: 7, addresses, trouble: "no reply".into() }
    }

    #[test]
    fn the_largest_pool_survives_the_wire_in_one_page() {
        let addresses = (0..MAX_IMPORTED as u128).map(|n| Ipv6Addr::from((0x2001 << 112) + n).into()).collect();
        let body = pool(addresses).encode();
        assert!(body.len() <= nigh_gossip::MAX_BODY, "{}", body.len());
        assert_eq!(Pool::decode(&body).unwrap().encode(), body);
    }

    #[test]
    fn addresses_that_make_no_sense_are_left_out() {
        let mut body = pool(vec!["0.0.0.0".parse().unwrap(), "192.0.2.1".parse().unwrap(), "ff02::1".parse().unwrap()]);
        assert_eq!(Pool::decode(&body.encode()).unwrap().addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        body.source.from = vec!["203.0.113.1:53".parse().unwrap(); MAX_FROM + 1];
        assert_eq!(Pool::decode(&body.encode()), None);
    }

    #[test]
    fn another_server_is_another_source() {
        let one = pool(Vec::new()).source;
        let other = Source { from: Vec::new(), ..one.clone() };
        assert_ne!(one.slot(), other.slot());
        assert_eq!(one.slot(), one.clone().slot());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Pool::decode(&bytes);
        }
    }
}
