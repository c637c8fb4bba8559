//! What a node says of itself to the mesh: where it is reached, and which incarnation it is in.
//!
//! An accusation names an incarnation; a node that finds itself accused refutes by writing a higher one
//! (SWIM, Das et al. 2002, section 4.2). `left` is a goodbye: the node went on purpose, nobody need wait for a verdict.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    codec,
    id::NodeId,
    page::{Key, Owner, Page, Slot, Table},
};

/// Addresses a member may list; more are not looked at.
pub const MAX_ADDRESSES: usize = 16;

/// The one page of table [`Table::MEMBER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Grows with each start and each refutation; never repeats.
    pub incarnation: u64,
    /// `host:port`, reached by QUIC over UDP and by TCP.
    pub addresses: Vec<String>,
    /// The node has left on purpose.
    pub left: bool,
    /// Drawn at each start of the process: tells two processes with one key apart.
    #[serde(default)]
    pub boot: u64,
}

impl Member {
    /// Reads a member page; `None` for another table or slot, or a body that cannot be read (a newer major format).
    #[must_use]
    pub fn read(page: &Page) -> Option<(NodeId, Self)> {
        let Key { owner: Owner::Node(id), table: Table::MEMBER, slot } = page.key() else { return None };
        if slot != Slot::page(0) {
            return None; // Of two pages, which was heeded would depend on the order in which they came.
        }
        let mut member: Self = codec::decode(page.body()).ok()?;
        member.addresses.truncate(MAX_ADDRESSES);
        Some((id, member))
    }
}

/// Reads the body of a page of [`Table::RTT`]: the writer's round trips to its peers.
#[must_use]
pub fn round_trips(body: &[u8]) -> Option<Vec<(NodeId, Duration)>> {
    let rows: Vec<(NodeId, u32)> = codec::decode(body).ok()?;
    Some(rows.into_iter().map(|(peer, us)| (peer, Duration::from_micros(us.into()))).collect())
}
