//! One record: what it is about, and the page it travels as.
//!
//! **Invariant:** a record's slot is a hash of its identity, and the identity stands in the record in full. Both are
//! compared when it is read, so a record cannot be moved to another one's place, signature and all.

use std::fmt;

use hickory_proto::rr::Name;
use nigh_gossip::{Key, Owner, Slot, codec};
use serde::{Deserialize, Serialize};

use super::wire;
use super::{Policy, RrSet, Server, TABLE, Zone, name};

/// The layout of records as written by this version.
const VERSION: u16 = 1;

/// Separates slots of records from every other use of the hash.
const SLOT_DOMAIN: &str = "nigh 2026 catalogue record slot 1";

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// A zone.
    Zone(Name),
    /// A service's policy.
    Service(Name),
    /// A server of a service.
    Server(Name, String),
    /// Static records of a name, and the number of their type.
    Records(Name, u16),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(apex) => write!(f, "zone/{}", name::text(apex)),
            Self::Service(service) => write!(f, "service/{}", name::text(service)),
            Self::Server(service, id) => write!(f, "server/{}/{id}", name::text(service)),
            // The number: a later version may know a word for it that this one does not.
            Self::Records(owner, rtype) => write!(f, "records/{}/{rtype}", name::text(owner)),
        }
    }
}

impl Identity {
    /// The page's key.
    pub fn key(&self) -> Key {
        key_of(&self.to_string())
    }

    fn parse(text: &str) -> Result<Self, Unreadable> {
        let (kind, rest) = text.split_once('/').ok_or_else(|| Unreadable::UnknownKind(text.to_owned()))?;
        let malformed = |problem: String| Unreadable::Malformed(format!("{text}: {problem}"));
        let identity = match kind {
            "zone" => Self::Zone(name::zone(rest).map_err(malformed)?),
            "service" => Self::Service(name::service(rest).map_err(malformed)?),
            "server" => {
                let (service, id) = rest.split_once('/').ok_or_else(|| malformed("no server id".into()))?;
                Self::Server(name::service(service).map_err(malformed)?, name::server_id(id).map_err(malformed)?)
            }
            "records" => {
                let (owner, rtype) = rest.rsplit_once('/').ok_or_else(|| malformed("no record type".into()))?;
                let rtype = rtype.parse().map_err(|_| malformed("no number of a record type".into()))?;
                Self::Records(name::owner(owner).map_err(malformed)?, rtype)
            }
            _ => return Err(Unreadable::UnknownKind(text.to_owned())),
        };
        // One thing has one identity: two spellings would be two registers of it.
        if identity.to_string() == text { Ok(identity) } else { Err(malformed("not in lower case".into())) }
    }
}

fn key_of(identity: &str) -> Key {
    let mut slot = [0; 16];
    slot.copy_from_slice(&blake3::derive_key(SLOT_DOMAIN, identity.as_bytes())[..16]);
    Key { owner: Owner::Operators, table: TABLE, slot: Slot(slot) }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a zone.
    Zone(Zone),
    /// Of a service.
    Service(Policy),
    /// Of a server.
    Server(Server),
    /// Of static records.
    Records(RrSet),
}

/// A record: a value, or the word that there is none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is about.
    pub identity: Identity,
    /// What it says; `None` is a tombstone.
    pub value: Option<Value>,
}

/// Why the body of a page is not a record that this version can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Written by a later version.
    #[error("record {0:?} is of a kind that this version does not know; upgrade nigh on this node")]
    UnknownKind(String),
    /// Written by a later version.
    #[error("record {0:?} has layout {1}, and this version knows up to {VERSION}; upgrade nigh on this node")]
    UnknownVersion(String, u16),
    /// In a place that belongs to another record, or in another table.
    #[error("record {0:?} is in another record's place")]
    Misplaced(String),
    /// No record at all, or with values beyond their bounds.
    #[error("malformed record: {0}")]
    Malformed(String),
}

/// The outer layer, which every version can read.
#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u16,
    identity: String,
    value: Option<serde_bytes::ByteBuf>,
}

impl Record {
    /// The body of the record's page.
    pub fn encode(&self) -> Vec<u8> {
        let value = self.value.as_ref().map(|value| serde_bytes::ByteBuf::from(wire::encode(value)));
        codec::encode(&Envelope { version: VERSION, identity: self.identity.to_string(), value })
    }

    /// Reads the body of the page at `key`.
    ///
    /// # Errors
    /// [`Unreadable`]; hostile bytes never panic.
    pub fn decode(key: Key, body: &[u8]) -> Result<Self, Unreadable> {
        let envelope: Envelope = codec::decode(body).map_err(|e| Unreadable::Malformed(e.to_string()))?;
        if key != key_of(&envelope.identity) {
            return Err(Unreadable::Misplaced(envelope.identity));
        }
        Self::open(envelope)
    }

    /// Reads a body that is in no page yet.
    ///
    /// # Errors
    /// [`Unreadable`]; hostile bytes never panic.
    pub fn read(body: &[u8]) -> Result<Self, Unreadable> {
        Self::open(codec::decode(body).map_err(|e| Unreadable::Malformed(e.to_string()))?)
    }

    fn open(envelope: Envelope) -> Result<Self, Unreadable> {
        if envelope.version > VERSION {
            return Err(Unreadable::UnknownVersion(envelope.identity, envelope.version));
        }
        let identity = Identity::parse(&envelope.identity)?;
        let value = match envelope.value {
            None => None,
            Some(bytes) => Some(
                wire::decode(&identity, &bytes)
                    .map_err(|problem| Unreadable::Malformed(format!("{identity}: {problem}")))?,
            ),
        };
        Ok(Self { identity, value })
    }
}
