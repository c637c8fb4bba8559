//! What travels over a link.
//!
//! A link is an ordered stream of messages, each behind a four-byte length. Pages travel as their exact signed bytes.
//! A message that cannot be read ends the stream it came on, never the process.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    codec::{self, DecodeError},
    page::{Key, Page, PageError, Stamp},
};

/// The longest message: a listing of 2,048 stamps at about 90 bytes, with room to spare.
pub const MAX_MESSAGE: usize = 512 * 1024;
/// Bytes of pages put into one message, so that a heartbeat never waits behind more than this.
pub(crate) const PAGES_PER_MESSAGE: usize = 32 * 1024;

/// A heartbeat: a sign of life that also measures the round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The sender's clock in microseconds; the receiver only hands it back.
    pub clock: u64,
    /// The clock last received, and for how many microseconds it was held before this answer.
    pub echo: Option<(u64, u64)>,
}

/// One message. See [`crate::repair`](self) for the four that repair.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// I am here.
    Beat(Beat),
    /// Pages that the sender believes are news, or was asked for.
    Pages(Vec<Page>),
    /// Digest of everything the sender holds, under a salt.
    Root {
        /// Salt of this exchange.
        salt: u64,
        /// Hash over the bucket sums.
        root: [u8; 16],
    },
    /// Answer to a root that differed: all bucket sums under the same salt.
    Buckets {
        /// Salt of this exchange.
        salt: u64,
        /// 256 sums.
        sums: Vec<u64>,
    },
    /// All stamps that the sender holds in these buckets.
    Stamps {
        /// Buckets that are listed in full.
        buckets: Vec<u8>,
        /// What they hold.
        stamps: Vec<(Key, Stamp)>,
    },
    /// Please send these.
    Want(Vec<Key>),
}

/// The same as it is encoded; new variants go at the end.
#[derive(Serialize, Deserialize)]
enum Wire {
    Beat(Beat),
    Pages(Vec<ByteBuf>),
    Root { salt: u64, root: serde_bytes::ByteArray<16> },
    Buckets { salt: u64, sums: Vec<u64> },
    Stamps { buckets: ByteBuf, stamps: Vec<(Key, Stamp)> },
    Want(Vec<Key>),
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Not the CBOR of a message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It carries something that is no page.
    #[error("a page in the message is not valid")]
    Page(#[from] PageError),
}

impl Message {
    /// The message's bytes, without the length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&match self {
            Self::Beat(beat) => Wire::Beat(*beat),
            Self::Pages(pages) => Wire::Pages(pages.iter().map(|page| ByteBuf::from(page.to_bytes())).collect()),
            Self::Root { salt, root } => Wire::Root { salt: *salt, root: serde_bytes::ByteArray::new(*root) },
            Self::Buckets { salt, sums } => Wire::Buckets { salt: *salt, sums: sums.clone() },
            Self::Stamps { buckets, stamps } => {
                Wire::Stamps { buckets: ByteBuf::from(buckets.clone()), stamps: stamps.clone() }
            }
            Self::Want(keys) => Wire::Want(keys.clone()),
        })
    }

    /// Reads a message and checks the signature of every page in it.
    ///
    /// # Errors
    /// [`MessageError`]; hostile bytes never panic.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        Ok(match codec::decode(bytes)? {
            Wire::Beat(beat) => Self::Beat(beat),
            Wire::Pages(pages) => {
                Self::Pages(pages.iter().map(|bytes| Page::from_bytes(bytes)).collect::<Result<_, _>>()?)
            }
            Wire::Root { salt, root } => Self::Root { salt, root: root.into_array() },
            Wire::Buckets { salt, sums } => Self::Buckets { salt, sums },
            Wire::Stamps { buckets, stamps } => Self::Stamps { buckets: buckets.into_vec(), stamps },
            Wire::Want(keys) => Self::Want(keys),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::page::{Owner, Slot, Table};

    #[test]
    fn every_kind_survives_the_wire() {
        let signing = SigningKey::from_bytes(&[1; 32]);
        let key = Key { owner: Owner::Node(signing.verifying_key().into()), table: Table(16), slot: Slot::page(3) };
        let page = Page::sign(&signing, key, 1, 2, vec![1, 2, 3]);
        for message in [
            Message::Beat(Beat { clock: 1, echo: Some((2, 3)) }),
            Message::Pages(vec![page.clone(), page.clone()]),
            Message::Root { salt: 1, root: [2; 16] },
            Message::Buckets { salt: 1, sums: vec![u64::MAX; 256] },
            Message::Stamps { buckets: vec![0, 255], stamps: vec![(key, page.stamp())] },
            Message::Want(vec![key, Key { owner: Owner::Operators, ..key }]),
        ] {
            assert_eq!(Message::decode(&message.encode()).unwrap(), message);
        }
    }

    #[test]
    fn the_longest_listing_fits_a_message() {
        let signing = SigningKey::from_bytes(&[1; 32]);
        let key =
            Key { owner: Owner::Node(signing.verifying_key().into()), table: Table(u16::MAX), slot: Slot([255; 16]) };
        let stamp = crate::page::Stamp { major: u64::MAX, minor: u64::MAX, hash: [255; 16] };
        let message =
            Message::Stamps { buckets: vec![255; 256], stamps: vec![(key, stamp); crate::repair::MAX_STAMPS] };
        assert!(message.encode().len() < MAX_MESSAGE, "{}", message.encode().len());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Message::decode(&bytes);
        }
    }
}
