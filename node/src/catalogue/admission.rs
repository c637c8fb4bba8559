//! Which records a node takes from an operator.
//!
//! The check is made once, where an edit enters the mesh; pages that come from peers are checked for their signature
//! and merged. A bound that depends on a node's clock must not decide what a replica holds.

use nigh_gossip::{NodeId, Owner, Page};

use super::TABLE;
use super::hlc::{self, TooFarAhead};
use super::record::{Record, Unreadable};

/// Records in one request: a request stays small, and a large file is sent as several.
pub const MAX_SUBMIT: usize = 1000;

/// Why records are not taken. None of a request is, if one is not.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// Signed by a key that does not rule this mesh.
    #[error("signed by {signer}, but this mesh belongs to {mesh}; sign with that operator's key")]
    Signer {
        /// Who signed.
        signer: NodeId,
        /// The mesh's operator.
        mesh: NodeId,
    },
    /// Another table's page, or another owner's.
    #[error("a page that is no catalogue record; only `nigh apply` and its like submit here")]
    NotARecord,
    /// Not readable here, so it would not be answered from here.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// From the future.
    #[error("{0}: {1}")]
    Ahead(String, TooFarAhead),
    /// More than [`MAX_SUBMIT`].
    #[error("{0} records in one request, where at most {MAX_SUBMIT} are allowed; send them in parts")]
    TooMany(usize),
}

/// Checks records that an operator submits to this node.
///
/// # Errors
/// The first reason not to take them.
pub fn admit(pages: &[Page], mesh: NodeId, now_millis: u64) -> Result<(), NotAdmitted> {
    if pages.len() > MAX_SUBMIT {
        return Err(NotAdmitted::TooMany(pages.len()));
    }
    for page in pages {
        if page.key().table != TABLE || page.key().owner != Owner::Operators {
            return Err(NotAdmitted::NotARecord);
        }
        if page.signer() != mesh {
            return Err(NotAdmitted::Signer { signer: page.signer(), mesh });
        }
        let record = Record::decode(page.key(), page.body())?;
        hlc::bound(page.stamp().into(), now_millis)
            .map_err(|ahead| NotAdmitted::Ahead(record.identity.to_string(), ahead))?;
    }
    Ok(())
}
