//! What stands behind a claim: another node's statement, and the round trip to the resolver. Rows of [`super::EVIDENCE`].
//!
//! Apart from the claims themselves: a claim is 10 octets, its evidence 150, and a reader of an older version, which knows
//! no evidence, goes on reading claims. A row belongs to the claim of its writer with the same prefix; without one it says
//! nothing.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use nigh_gossip::{NodeId, Slot, codec};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use crate::discovery::{DRAWN, MAX_EGRESS_OF_NODE, Proof, Statement};

/// Rows of a page as a writer fills it, and as a reader takes: each costs the reader a signature to check.
pub const ROWS: usize = 16;
/// Pages of one node that a reader takes: as many as hold all that a node may find.
pub const MAX_PAGES: usize = MAX_EGRESS_OF_NODE.div_ceil(ROWS);

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Of the claim with this prefix.
    pub prefix: IpNet,
    /// The round trip to the resolver.
    pub rtt: Option<Duration>,
    /// Another node's word.
    pub proof: Option<Proof>,
}

/// As it travels, fields by number; later ones may be added.
#[derive(Serialize, Deserialize)]
struct Wire {
    address: ByteBuf,
    length: u8,
    rtt_us: Option<u32>,
    proof: Option<WireProof>,
}

#[derive(Serialize, Deserialize)]
struct WireProof {
    witness: NodeId,
    time: u32,
    drawn: ByteArray<DRAWN>,
    signature: ByteArray<64>,
}

/// The bodies of all pages that hold these rows.
pub fn pages(rows: &[Evidence]) -> Vec<(Slot, Vec<u8>)> {
    let pages = rows.chunks(ROWS).take(MAX_PAGES).zip(0u32..);
    pages
        .map(|(rows, number)| (Slot::page(number), codec::encode(&rows.iter().map(to_wire).collect::<Vec<_>>())))
        .collect()
}

/// Reads a body; rows that make no sense are left out.
pub fn decode(body: &[u8]) -> Option<Vec<Evidence>> {
    let rows: Vec<Wire> = codec::decode(body).ok()?;
    Some(rows.into_iter().take(ROWS).filter_map(from_wire).collect())
}

fn to_wire(row: &Evidence) -> Wire {
    let address = match row.prefix.network() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    Wire {
        address: ByteBuf::from(address),
        length: row.prefix.prefix_len(),
        rtt_us: row.rtt.map(|rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)),
        proof: row.proof.map(|proof| WireProof {
            witness: proof.statement.witness,
            time: proof.statement.time,
            drawn: ByteArray::new(proof.drawn),
            signature: ByteArray::new(proof.statement.signature),
        }),
    }
}

fn from_wire(wire: Wire) -> Option<Evidence> {
    Some(Evidence {
        prefix: super::claims::prefix(&wire.address, wire.length)?,
        rtt: wire.rtt_us.map(|us| Duration::from_micros(us.into())),
        proof: wire.proof.map(|proof| Proof {
            drawn: proof.drawn.into_array(),
            statement: Statement { witness: proof.witness, time: proof.time, signature: proof.signature.into_array() },
        }),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;

    fn row(n: u8, proven: bool) -> Evidence {
        let key = SigningKey::from_bytes(&[n; 32]);
        let mesh = key.verifying_key().into();
        let address = IpAddr::from([192, 0, 2, n]);
        let statement = Statement::sign(&key, mesh, b"nonce", address, 1_800_000_000);
        Evidence {
            prefix: address.into(),
            rtt: Some(Duration::from_micros(1234)),
            proof: proven.then_some(Proof { drawn: [n; DRAWN], statement }),
        }
    }

    #[test]
    fn evidence_survives_the_wire_and_takes_little() {
        let rows: Vec<Evidence> = (0..40).map(|n| row(n, n % 2 == 0)).collect();
        let pages = pages(&rows);
        let read: Vec<Evidence> = pages.iter().flat_map(|(_, body)| decode(body).unwrap()).collect();
        assert_eq!(read, rows);
        assert!(pages.iter().all(|(_, body)| body.len() < nigh_gossip::MAX_BODY));
        assert!(super::pages(&[row(1, true)])[0].1.len() <= 160, "{}", super::pages(&[row(1, true)])[0].1.len());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
