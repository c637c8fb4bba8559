//! The unit of replication: a signed register with one writer.
//!
//! A node's tables are cut into pages of at most 64 rows, about a kilobyte. A page is named by its [`Key`] and ordered
//! by its [`Stamp`]; the higher stamp wins everywhere. Removing a row is newer content, so rows need no tombstones.
//! The signature (Ed25519, the writer's key) covers exact bytes behind a domain label, so any node can hand on any
//! page with proof, and no member can write about another.
//!
//! Catalogue records are pages too, with [`Owner::Operators`]: any operator's key may sign a version of the same key,
//! and their stamps carry a hybrid logical clock (milliseconds, counter).
//!
//! **Invariant:** a [`Page`] in memory has a valid signature by [`Page::signer`]; there is no other way to make one.
//! **Invariant:** (major, minor) equal and content different is *equivocation*; the hash makes the order total, so all
//! replicas keep the same one. (`crdts::LWWReg` keeps its own on equal markers and never converges.)

use std::{fmt, sync::Arc};

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey};
use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    id::NodeId,
    repair,
};

/// The longest body of a page. 64 rows need about 1 KB; the rest is room for long names and for fields to come.
pub const MAX_BODY: usize = 8 * 1024;
/// The longest encoding of a page: body, header and signature.
pub(crate) const MAX_PAGE: usize = MAX_BODY + 512;

/// Separates our signatures from every other use of the same key (libp2p's handshakes among them).
const DOMAIN: &[u8] = b"nigh/page/1\0";

/// Who may write a page: one node, or any operator of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// This node and nobody else.
    Node(NodeId),
    /// Every key in the mesh's set of operators.
    Operators,
}

/// Which table a page belongs to. Tables below 16 are read by this crate; the others pass through unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Table(pub u16);

impl Table {
    /// A node's incarnation and mesh addresses ([`crate::member::Member`]).
    pub const MEMBER: Self = Self(1);
    /// A node's opinion of those it watches ([`crate::verdict::WatchRow`]).
    pub const WATCH: Self = Self(2);
    /// A node's round-trip times to the peers it is linked to.
    pub const RTT: Self = Self(3);
}

/// Which page of a table: a page number, or a hash of a record's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl Slot {
    /// The slot of the `number`th page of a table.
    #[must_use]
    pub fn page(number: u32) -> Self {
        Self(u128::from(number).to_be_bytes())
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", u128::from_be_bytes(self.0))
    }
}

/// What a page is about; at most one page of each key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Who may write it.
    pub owner: Owner,
    /// The table.
    pub table: Table,
    /// The page of that table.
    pub slot: Slot,
}

/// Orders the versions of one key. For a node's pages major is the epoch (one per start of the process) and minor the
/// sequence number; for operators' records they are the two halves of a hybrid logical clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Epoch, or milliseconds.
    pub major: u64,
    /// Sequence number, or counter.
    pub minor: u64,
    /// First half of the BLAKE3 hash of the signed bytes: makes the order total.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 16],
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}#{:02x}{:02x}", self.major, self.minor, self.hash[0], self.hash[1])
    }
}

/// Why bytes are not a page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Longer than any page may be.
    #[error("a page of {0} bytes is longer than {MAX_PAGE}")]
    TooLong(usize),
    /// Not the CBOR of a page.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The signature does not fit the bytes and the key.
    #[error("the signature of {0:?} is not valid")]
    Signature(NodeId),
}

/// What is signed, as it stands on the wire.
#[derive(Serialize, Deserialize)]
struct Signed {
    key: Key,
    major: u64,
    minor: u64,
    signer: NodeId,
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
}

/// Exact signed bytes and their signature.
#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(with = "serde_bytes")]
    signed: Vec<u8>,
    signature: serde_bytes::ByteArray<64>,
}

struct Inner {
    key: Key,
    stamp: Stamp,
    signer: NodeId,
    bucket: u8,
    body: Bytes,
    envelope: Bytes,
}

/// A page whose signature has been checked. Cheap to clone.
#[derive(Clone)]
pub struct Page(Arc<Inner>);

impl Page {
    /// Writes and signs a page.
    ///
    /// # Panics
    /// If `body` is longer than [`MAX_BODY`]: the writer cuts its tables into pages, so that is a bug of ours.
    #[must_use]
    pub fn sign(signing: &SigningKey, key: Key, major: u64, minor: u64, body: Vec<u8>) -> Self {
        assert!(body.len() <= MAX_BODY, "a page body of {} bytes", body.len());
        let signer = NodeId::from(signing.verifying_key());
        let signed = codec::encode(&Signed { key, major, minor, signer, body: body.clone() });
        let signature = signing.sign(&message(&signed));
        let envelope = Envelope { signature: serde_bytes::ByteArray::new(signature.to_bytes()), signed };
        Self::assemble(&envelope, key, major, minor, signer, body)
    }

    /// Reads a page and checks its signature over the bytes that came.
    ///
    /// # Errors
    /// [`PageError`]; hostile bytes never panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PageError> {
        if bytes.len() > MAX_PAGE {
            return Err(PageError::TooLong(bytes.len()));
        }
        let envelope: Envelope = codec::decode(bytes)?;
        let Signed { key, major, minor, signer, body } = codec::decode(&envelope.signed)?;
        if body.len() > MAX_BODY {
            return Err(PageError::TooLong(bytes.len()));
        }
        let verifying = signer.verifying_key().map_err(|_| PageError::Signature(signer))?;
        verifying
            .verify_strict(&message(&envelope.signed), &Signature::from_bytes(&envelope.signature))
            .map_err(|_| PageError::Signature(signer))?;
        Ok(Self::assemble(&envelope, key, major, minor, signer, body))
    }

    fn assemble(envelope: &Envelope, key: Key, major: u64, minor: u64, signer: NodeId, body: Vec<u8>) -> Self {
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::hash(&envelope.signed).as_bytes()[..16]);
        Self(Arc::new(Inner {
            key,
            stamp: Stamp { major, minor, hash },
            signer,
            bucket: repair::bucket(&key),
            body: body.into(),
            envelope: codec::encode(envelope).into(),
        }))
    }

    /// The page as it travels and rests on disk.
    #[must_use]
    pub fn to_bytes(&self) -> &[u8] {
        &self.0.envelope
    }

    /// What the page is about.
    #[must_use]
    pub fn key(&self) -> Key {
        self.0.key
    }

    /// Its version.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.0.stamp
    }

    /// Whose key signed it.
    #[must_use]
    pub fn signer(&self) -> NodeId {
        self.0.signer
    }

    /// Which bucket of a digest it falls into; a function of the key, kept because repair asks often.
    pub(crate) fn bucket(&self) -> u8 {
        self.0.bucket
    }

    /// Its content; empty means that the page was withdrawn.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }
}

fn message(signed: &[u8]) -> Vec<u8> {
    [DOMAIN, signed].concat()
}

impl PartialEq for Page {
    fn eq(&self, other: &Self) -> bool {
        // The hash covers everything that is signed.
        self.0.key == other.0.key && self.0.stamp == other.0.stamp
    }
}

impl Eq for Page {}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}", self.0.key, self.0.stamp)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn page(body: &[u8]) -> (SigningKey, Page) {
        let signing = SigningKey::from_bytes(&[7; 32]);
        let key = Key { owner: Owner::Node(signing.verifying_key().into()), table: Table(16), slot: Slot::page(0) };
        let page = Page::sign(&signing, key, 3, 9, body.to_vec());
        (signing, page)
    }

    #[test]
    fn a_page_survives_the_wire() {
        let (_, page) = page(b"rows");
        let read = Page::from_bytes(page.to_bytes()).unwrap();
        assert_eq!(read, page);
        assert_eq!(read.body(), b"rows");
        assert_eq!(read.to_bytes(), page.to_bytes());
    }

    #[test]
    fn a_signature_of_another_domain_is_refused() {
        let (signing, page) = page(b"rows");
        let envelope: Envelope = codec::decode(page.to_bytes()).unwrap();
        let bare = signing.sign(&envelope.signed);
        let forged = Envelope { signature: serde_bytes::ByteArray::new(bare.to_bytes()), ..envelope };
        assert!(matches!(Page::from_bytes(&codec::encode(&forged)), Err(PageError::Signature(_))));
    }

    proptest! {
        /// No relay can alter a page: every flipped bit is noticed or changes nothing that was signed.
        #[test]
        fn every_altered_byte_is_noticed(at in 0usize..1000, bit in 0u8..8) {
            let (_, page) = page(b"some rows of a table");
            let mut bytes = page.to_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(read) = Page::from_bytes(&bytes) {
                prop_assert_eq!(read, page);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Page::from_bytes(&bytes);
        }
    }
}
