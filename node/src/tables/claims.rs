//! "The resolvers in this prefix are near me": rows of [`super::CLAIMS`].
//!
//! Configured claims stand in the slots from 0 on, those that were found from [`FOUND`] on: what is found comes and goes,
//! and must not move ten thousand configured rows from page to page.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use ipnet::IpNet;
use nigh_gossip::{Slot, codec};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{MAX_ROWS, ROWS_PER_PAGE};

/// One claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The resolvers.
    pub prefix: IpNet,
    /// Lower wins.
    pub preference: u16,
    /// Another node has seen the resolver there. Not on the wire: it follows from [`super::evidence`].
    pub proven: bool,
    /// The round trip to the resolver; from there too.
    pub rtt: Option<Duration>,
}

impl Claim {
    /// One without evidence.
    pub fn new(prefix: IpNet, preference: u16) -> Self {
        Self { prefix, preference, proven: false, rtt: None }
    }
}

/// The slot of the first page of claims that were found, above all that a configuration can fill.
pub const FOUND: u32 = 1024;

/// As it travels: 4 or 16 bytes of address, length, preference.
#[derive(Serialize, Deserialize)]
struct Wire(ByteBuf, u8, u16);

/// The bodies of all pages that hold these claims, from this slot on.
pub fn pages(from: u32, claims: &[Claim]) -> Vec<(Slot, Vec<u8>)> {
    let mut claims = claims.to_vec();
    claims.sort_unstable();
    claims
        .chunks(ROWS_PER_PAGE)
        .zip(from..)
        .map(|(rows, number)| {
            let rows: Vec<Wire> = rows.iter().map(to_wire).collect();
            (Slot::page(number), codec::encode(&rows))
        })
        .collect()
}

/// Reads a body; rows that are no prefix are left out.
pub fn decode(body: &[u8]) -> Option<Vec<Claim>> {
    let rows: Vec<Wire> = codec::decode(body).ok()?;
    Some(rows.iter().take(MAX_ROWS).filter_map(from_wire).collect())
}

fn to_wire(claim: &Claim) -> Wire {
    let address = match claim.prefix.network() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    Wire(ByteBuf::from(address), claim.prefix.prefix_len(), claim.preference)
}

fn from_wire(Wire(address, length, preference): &Wire) -> Option<Claim> {
    Some(Claim::new(prefix(address, *length)?, *preference))
}

/// A prefix from the octets of its address and its length.
pub(super) fn prefix(address: &[u8], length: u8) -> Option<IpNet> {
    let address = match address.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?)),
        _ => return None,
    };
    Some(IpNet::new(address, length).ok()?.trunc())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn claims_survive_the_wire(rows in prop::collection::vec((any::<u32>(), 0u8..=32, any::<u16>()), 0..200)) {
            let mut claims: Vec<Claim> = rows
                .into_iter()
                .map(|(address, length, preference)| {
                    Claim::new(IpNet::new(Ipv4Addr::from(address).into(), length).unwrap().trunc(), preference)
                })
                .collect();
            claims.push(Claim::new("2001:db8::/48".parse().unwrap(), 1));
            let pages = pages(FOUND, &claims);
            prop_assert!(pages.iter().all(|(_, body)| body.len() < 2 * 1024));
            let mut read: Vec<Claim> = pages.iter().flat_map(|(_, body)| decode(body).unwrap()).collect();
            claims.sort_unstable();
            read.sort_unstable();
            prop_assert_eq!(read, claims);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn rows_that_are_no_prefix_are_left_out() {
        let rows = vec![
            Wire(ByteBuf::from([1, 2, 3]), 8, 1),
            Wire(ByteBuf::from([10, 1, 2, 3]), 33, 1),
            Wire(ByteBuf::from([10, 1, 2, 3]), 8, 1),
        ];
        let read = decode(&codec::encode(&rows)).unwrap();
        assert_eq!(read, [Claim::new("10.0.0.0/8".parse().unwrap(), 1)]);
    }
}
