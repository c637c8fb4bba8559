//! The unit of replication: a signed register with one writer.
//!
//! A node's tables are cut into pages of at most 64 rows, about a kilobyte. A page is named by its [`Key`] and ordered
//! by its [`Stamp`]; the higher stamp wins everywhere. Removing a row is newer content, so rows need no tombstones.
//!
//! What is signed (Ed25519, the writer's key, domain-separated, over exact bytes) is a [`Header`]: key, version and the
//! hash of the body. Any node can hand on any page with proof, no member can write about another, and how the body
//! travels is the link's business: whole, or as a [delta](crate::frame) against the version before.
//!
//! Pages of [`Owner::Operators`] (the catalogue, admissions) may be signed by the root key and by those that it
//! [appointed](crate::operator); their stamps carry a hybrid logical clock (milliseconds, counter).
//!
//! **Invariant:** a [`Page`] in memory has a valid signature by [`Page::signer`] and the body that it names; there is
//! no other way to make one.
//! **Invariant:** (major, minor) equal and content different is *equivocation*; the hash makes the order total, so all
//! replicas keep the same one. (`crdts::LWWReg` keeps its own on equal markers and never converges.)

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use crate::{
    codec::{self, DecodeError},
    content::Content,
    id::NodeId,
    repair,
};

/// The longest body of a page. 64 rows need about 1 KB; the rest is room for long names and for fields to come.
pub const MAX_BODY: usize = 8 * 1024;
/// The longest header: 150 bytes today, the rest is for fields to come.
const MAX_HEADER: usize = 384;
/// The longest encoding of a page: body, header and signature.
pub(crate) const MAX_PAGE: usize = MAX_BODY + MAX_HEADER + 128;

/// Separates our signatures from every other use of the same key (libp2p's handshakes among them).
const DOMAIN: &[u8] = b"nigh/page/2\0";

/// Who may write a page: one node, or the operators of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// This node and nobody else.
    Node(NodeId),
    /// The root key, and those that it appointed for the table.
    Operators,
}

/// Which table a page belongs to. Tables below [`Table::FIRST_UNREAD`] are read by this
/// crate; the others pass through unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Table(pub u16);

impl Table {
    /// A node's incarnation and mesh addresses ([`crate::member::Member`]).
    pub const MEMBER: Self = Self(1);
    /// A node's opinion of those it watches ([`crate::verdict::WatchRow`]).
    pub const WATCH: Self = Self(2);
    /// A node's round-trip times to the peers it is linked to.
    pub const RTT: Self = Self(3);
    /// Operators': who is a member ([`crate::admission::Certificate`]).
    pub const ADMISSION: Self = Self(4);
    /// Operators': who is one no more.
    pub const REVOCATION: Self = Self(5);
    /// The root's: who else writes for the operators ([`crate::operator::Appointment`]).
    pub const OPERATOR: Self = Self(6);
    /// This table and those above pass through unread.
    pub const FIRST_UNREAD: Self = Self(16);

    /// Liveness and membership: what must not wait for a tree to be mended.
    pub(crate) fn is_urgent(self) -> bool {
        matches!(self, Self::MEMBER | Self::WATCH | Self::ADMISSION | Self::REVOCATION | Self::OPERATOR)
    }

    /// The order in which a node that lacks everything gets it: without the appointment of its signer no admission is
    /// stored, without an admission nothing else is, and with members and claims it can answer.
    pub(crate) fn rank(self) -> u16 {
        match self {
            Self::OPERATOR => 0,
            Self::ADMISSION | Self::REVOCATION => 1,
            Self::MEMBER => 2,
            Self::RTT => u16::MAX, // the least needed
            Self(other) => other.saturating_add(1),
        }
    }
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

impl Key {
    /// What decides about others comes before them: appointments, admissions, all else of the operators, pages of nodes.
    pub(crate) fn precedence(&self) -> (bool, u16) {
        (self.owner != Owner::Operators, self.table.rank())
    }
}

/// Orders the versions of one key. For a node's pages major is the epoch (one per start of the process) and minor the
/// sequence number; for operators' records they are the two halves of a hybrid logical clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Epoch, or milliseconds.
    pub major: u64,
    /// Sequence number, or counter.
    pub minor: u64,
    /// First half of the BLAKE3 hash of the signed header: makes the order total.
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
    /// The body is not the one that was signed.
    #[error("the body is not the one that {0:?} signed")]
    Body(NodeId),
    /// A slot longer than 16 bytes, or a page of the operators that does not say which of them signed.
    #[error("a header that makes no sense")]
    Header,
}

/// What is signed, as it stands on the wire. Fields that are added at the end are signed, kept and passed on unread.
#[derive(Serialize, Deserialize)]
struct Signed {
    /// The node that wrote it; none for the operators.
    writer: Option<NodeId>,
    table: Table,
    /// Without leading zeros.
    slot: ByteBuf,
    major: u64,
    minor: u64,
    /// Which operator signed; none where the writer did.
    signer: Option<NodeId>,
    /// First half of the BLAKE3 hash of the body. To make two bodies of one hash takes 2^64 work, and would let a
    /// writer say two things about itself.
    body: ByteArray<16>,
}

/// A signed header whose signature has been checked.
#[derive(Debug)]
pub struct Header {
    pub(crate) key: Key,
    pub(crate) stamp: Stamp,
    pub(crate) signer: NodeId,
    body: [u8; 16],
    /// Names this version of this key in repair and in notices: the third quarter of the header's hash.
    pub(crate) digest: u64,
    /// Which bucket of a digest it falls into; a function of the key, kept because repair asks often.
    pub(crate) bucket: u8,
    pub(crate) signed: Bytes,
    pub(crate) signature: [u8; 64],
}

impl Header {
    /// Reads a header and checks its signature over the bytes that came.
    ///
    /// # Errors
    /// [`PageError`]; hostile bytes never panic.
    pub(crate) fn from_parts(signed: &[u8], signature: [u8; 64]) -> Result<Self, PageError> {
        if signed.len() > MAX_HEADER {
            return Err(PageError::TooLong(signed.len()));
        }
        let parts: Signed = codec::decode(signed)?;
        let (owner, signer) = match (parts.writer, parts.signer) {
            (Some(writer), None) => (Owner::Node(writer), writer),
            (None, Some(signer)) => (Owner::Operators, signer),
            _ => return Err(PageError::Header),
        };
        let mut slot = [0; 16];
        let at = slot.len().checked_sub(parts.slot.len()).ok_or(PageError::Header)?;
        slot[at..].copy_from_slice(&parts.slot);
        let verifying = signer.verifying_key().map_err(|_| PageError::Signature(signer))?;
        verifying
            .verify_strict(&message(signed), &Signature::from_bytes(&signature))
            .map_err(|_| PageError::Signature(signer))?;
        let key = Key { owner, table: parts.table, slot: Slot(slot) };
        Ok(Self::assemble(signed, signature, key, &parts, signer))
    }

    /// Another copy: one signature, checked once, may be joined with its body where the base is found.
    pub(crate) fn again(&self) -> Self {
        Self { signed: self.signed.clone(), ..*self }
    }

    fn assemble(signed: &[u8], signature: [u8; 64], key: Key, parts: &Signed, signer: NodeId) -> Self {
        let whole = blake3::hash(signed);
        let (mut hash, mut digest) = ([0; 16], [0; 8]);
        hash.copy_from_slice(&whole.as_bytes()[..16]);
        digest.copy_from_slice(&whole.as_bytes()[16..24]);
        Self {
            key,
            stamp: Stamp { major: parts.major, minor: parts.minor, hash },
            signer,
            body: parts.body.into_array(),
            digest: u64::from_be_bytes(digest),
            bucket: repair::bucket(&key),
            signed: Bytes::copy_from_slice(signed),
            signature,
        }
    }
}

struct Inner {
    header: Header,
    body: Bytes,
    /// What this crate reads in the body, once somebody asked.
    content: OnceLock<Box<Content>>,
}

/// A page whose signature has been checked. Cheap to clone.
#[derive(Clone)]
pub struct Page(Arc<Inner>);

/// A page as it rests on disk and passes through the admin interface.
#[derive(Serialize, Deserialize)]
struct Envelope {
    signed: ByteBuf,
    signature: ByteArray<64>,
    body: ByteBuf,
}

impl Page {
    /// Writes and signs a page.
    ///
    /// # Panics
    /// If `body` is longer than [`MAX_BODY`]: the writer cuts its tables into pages, so that is a bug of ours.
    #[must_use]
    pub fn sign(signing: &SigningKey, key: Key, major: u64, minor: u64, body: Vec<u8>) -> Self {
        assert!(body.len() <= MAX_BODY, "a page body of {} bytes", body.len());
        let signer = NodeId::from(signing.verifying_key());
        let from = key.slot.0.iter().take_while(|byte| **byte == 0).count();
        let parts = Signed {
            writer: match key.owner {
                Owner::Node(writer) => Some(writer),
                Owner::Operators => None,
            },
            table: key.table,
            slot: ByteBuf::from(&key.slot.0[from..]),
            major,
            minor,
            signer: (key.owner == Owner::Operators).then_some(signer),
            body: ByteArray::new(hash(&body)),
        };
        let signed = codec::encode(&parts);
        let signature = signing.sign(&message(&signed)).to_bytes();
        let header = Header::assemble(&signed, signature, key, &parts, signer);
        Self::new(header, body.into())
    }

    fn new(header: Header, body: Bytes) -> Self {
        Self(Arc::new(Inner { header, body, content: OnceLock::new() }))
    }

    /// Joins a verified header and the body that it names.
    ///
    /// # Errors
    /// [`PageError::Body`] if it names another one.
    pub(crate) fn join(header: Header, body: Bytes) -> Result<Self, PageError> {
        if body.len() > MAX_BODY {
            return Err(PageError::TooLong(body.len()));
        }
        if hash(&body) != header.body {
            return Err(PageError::Body(header.signer));
        }
        Ok(Self::new(header, body))
    }

    /// Reads a page and checks its signature over the bytes that came.
    ///
    /// # Errors
    /// [`PageError`]; hostile bytes never panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PageError> {
        if bytes.len() > MAX_PAGE {
            return Err(PageError::TooLong(bytes.len()));
        }
        let Envelope { signed, signature, body } = codec::decode(bytes)?;
        Self::join(Header::from_parts(&signed, signature.into_array())?, body.into_vec().into())
    }

    /// What rests on disk under a key, if it is a page of that key.
    pub(crate) fn from_row(key: &[u8], page: &[u8]) -> Option<Self> {
        Self::from_bytes(page).ok().filter(|page| codec::encode(page.key_ref()) == key)
    }

    /// The page as it rests on disk.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = self.header();
        codec::encode(&Envelope {
            signed: ByteBuf::from(&header.signed[..]),
            signature: ByteArray::new(header.signature),
            body: ByteBuf::from(&self.0.body[..]),
        })
    }

    /// Bytes it takes, in memory and on a wire: an estimate that is never more than 32 short.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.header.signed.len() + self.0.header.signature.len() + self.0.body.len()
    }

    pub(crate) fn header(&self) -> &Header {
        &self.0.header
    }

    /// What the page is about.
    #[must_use]
    pub fn key(&self) -> Key {
        self.0.header.key
    }

    pub(crate) fn key_ref(&self) -> &Key {
        &self.0.header.key
    }

    /// Its version.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.0.header.stamp
    }

    /// Whose key signed it.
    #[must_use]
    pub fn signer(&self) -> NodeId {
        self.0.header.signer
    }

    /// Names this version of this key.
    pub(crate) fn digest(&self) -> u64 {
        self.0.header.digest
    }

    /// Which bucket of a digest it falls into.
    pub(crate) fn bucket(&self) -> usize {
        usize::from(self.0.header.bucket)
    }

    /// Its content; empty means that the page was withdrawn.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// What this crate reads in it, decoded once.
    pub(crate) fn content(&self) -> &Content {
        self.0.content.get_or_init(|| Box::new(Content::read(self)))
    }
}

fn hash(body: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(body).as_bytes()[..16]);
    hash
}

fn message(signed: &[u8]) -> Vec<u8> {
    [DOMAIN, signed].concat()
}

impl PartialEq for Page {
    fn eq(&self, other: &Self) -> bool {
        // The hash covers everything that is signed. One simulated node hands another the same page in memory.
        Arc::ptr_eq(&self.0, &other.0) || (self.key() == other.key() && self.stamp() == other.stamp())
    }
}

impl Eq for Page {}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}", self.key(), self.stamp())
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
        let (signing, node) = page(b"rows");
        let slot = Slot([0, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0]);
        let key = Key { owner: Owner::Operators, table: Table(32), slot };
        for page in [node, Page::sign(&signing, key, u64::MAX, 0, vec![])] {
            let read = Page::from_bytes(&page.to_bytes()).unwrap();
            assert_eq!(read, page);
            assert_eq!((read.key(), read.signer(), read.body()), (page.key(), page.signer(), page.body()));
            assert_eq!(read.to_bytes(), page.to_bytes());
        }
    }

    #[test]
    fn a_header_with_its_signature_takes_little() {
        let (_, page) = page(b"");
        assert!(page.size() <= 150, "{}", page.size());
    }

    #[test]
    fn a_signature_of_another_domain_is_refused() {
        let (signing, page) = page(b"rows");
        let mut envelope: Envelope = codec::decode(&page.to_bytes()).unwrap();
        envelope.signature = ByteArray::new(signing.sign(&envelope.signed).to_bytes());
        assert!(matches!(Page::from_bytes(&codec::encode(&envelope)), Err(PageError::Signature(_))));
    }

    #[test]
    fn another_body_is_refused() {
        let (_, page) = page(b"rows");
        let mut envelope: Envelope = codec::decode(&page.to_bytes()).unwrap();
        envelope.body = ByteBuf::from(&b"sown"[..]);
        assert!(matches!(Page::from_bytes(&codec::encode(&envelope)), Err(PageError::Body(_))));
    }

    /// A later version adds a field to the header: it is signed, and passes through this one.
    #[test]
    fn fields_that_came_later_pass_through() {
        #[derive(Serialize)]
        struct Later {
            writer: Option<NodeId>,
            table: Table,
            slot: ByteBuf,
            major: u64,
            minor: u64,
            signer: Option<NodeId>,
            body: ByteArray<16>,
            later: u32,
        }
        let (signing, page) = page(b"rows");
        let signed = codec::encode(&Later {
            writer: Some(page.signer()),
            table: Table(16),
            slot: ByteBuf::new(),
            major: 3,
            minor: 10,
            signer: None,
            body: ByteArray::new(hash(b"rows")),
            later: 7,
        });
        let signature = signing.sign(&message(&signed)).to_bytes();
        let read = Page::join(Header::from_parts(&signed, signature).unwrap(), Bytes::from_static(b"rows")).unwrap();
        assert!(read.key() == page.key() && read.stamp() > page.stamp());
        assert_eq!(Page::from_bytes(&read.to_bytes()).unwrap().header().signed, signed);
    }

    proptest! {
        /// No relay can alter a page: every flipped bit is noticed or changes nothing that was signed.
        #[test]
        fn every_altered_byte_is_noticed(at in 0usize..1000, bit in 0u8..8) {
            let (_, page) = page(b"some rows of a table");
            let mut bytes = page.to_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(read) = Page::from_bytes(&bytes) {
                prop_assert_eq!(read.body(), page.body());
                prop_assert_eq!(read, page);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, signature: [u8; 32]) {
            let _ = Page::from_bytes(&bytes);
            let _ = Header::from_parts(&bytes, [signature, signature].concat().try_into().unwrap());
        }
    }
}
