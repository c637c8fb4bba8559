//! "The resolvers in this prefix are near me": rows of [`super::CLAIMS`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
}

/// As it travels: 4 or 16 bytes of address, length, preference.
#[derive(Serialize, Deserialize)]
struct Wire(ByteBuf, u8, u16);

/// The bodies of all pages that hold these claims.
pub fn pages(claims: &[Claim]) -> Vec<(Slot, Vec<u8>)> {
    let mut claims = claims.to_vec();
    claims.sort_unstable();
    claims
        .chunks(ROWS_PER_PAGE)
        .zip(0u32..)
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
    let address = match address.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(address.as_slice()).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(address.as_slice()).ok()?)),
        _ => return None,
    };
    let prefix = IpNet::new(address, *length).ok()?.trunc();
    Some(Claim { prefix, preference: *preference })
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
                .map(|(address, length, preference)| Claim {
                    prefix: IpNet::new(Ipv4Addr::from(address).into(), length).unwrap().trunc(),
                    preference,
                })
                .collect();
            claims.push(Claim { prefix: "2001:db8::/48".parse().unwrap(), preference: 1 });
            let pages = pages(&claims);
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
        assert_eq!(read, [Claim { prefix: "10.0.0.0/8".parse().unwrap(), preference: 1 }]);
    }
}
