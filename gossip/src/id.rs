//! Who wrote it: an Ed25519 public key, the same one that libp2p authenticates the link with.
//!
//! One key for both means that a page's writer and a link's far end are compared as bytes; no table maps one to the
//! other. Written as 52 characters of lower-case base32 (RFC 4648 section 6, no padding), which fit a DNS label.

use std::{fmt, str::FromStr};

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The public key of a node or of an operator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

/// Why a text or some bytes are not an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// Not 52 characters of base32.
    #[error("an id is 52 characters a-z and 2-7: `nigh id nigh.toml` prints a node's, `nigh init` printed the mesh's")]
    NotBase32,
    /// Right length, but no point on the curve.
    #[error("these 32 bytes are no Ed25519 public key; was the id copied in full?")]
    NotAKey,
}

impl NodeId {
    /// Takes the 32 bytes of a public key and checks that they are one.
    ///
    /// # Errors
    /// [`IdError::NotAKey`] if they are no point on the curve.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, IdError> {
        VerifyingKey::from_bytes(&bytes).map_err(|_| IdError::NotAKey)?;
        Ok(Self(bytes))
    }

    /// The key's 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key as `ed25519-dalek` wants it.
    pub(crate) fn verifying_key(&self) -> Result<VerifyingKey, IdError> {
        VerifyingKey::from_bytes(&self.0).map_err(|_| IdError::NotAKey)
    }

    /// The first eight bytes, big endian: how origins are named on a link.
    pub(crate) fn prefix(&self) -> u64 {
        self.0.iter().take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
    }

    /// The first eight characters: enough for a person, never for a program.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

impl From<VerifyingKey> for NodeId {
    fn from(key: VerifyingKey) -> Self {
        Self(key.to_bytes())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for NodeId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let bytes = BASE32_NOPAD_NOCASE.decode(text.as_bytes()).map_err(|_| IdError::NotBase32)?;
        Self::from_bytes(bytes.try_into().map_err(|_| IdError::NotBase32)?)
    }
}

/// As text where people read it (JSON, TOML), as 32 bytes where machines do (CBOR).
impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            let bytes = serde_bytes::ByteArray::<32>::deserialize(deserializer)?;
            // Whether it is a point on the curve is found where a signature is checked: most ids on the wire
            // (watch rows, requests) are only compared.
            Ok(Self(bytes.into_array()))
        }
    }
}
