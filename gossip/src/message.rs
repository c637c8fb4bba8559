//! What travels over a link.
//!
//! A link is an ordered stream of messages, each behind a four-byte length. The first one on a stream is a
//! [`Message::Hello`]. A message that cannot be read ends the stream it came on, never the process; a kind that a later
//! version added does too, so a later version looks at the version in the peer's
//! `Hello` before it sends one.

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use crate::{
    codec::{self, DecodeError},
    frame::{Delta, Frame, Of},
    page::{Header, Page, PageError},
    repair::Listed,
};

/// The longest message: a listing of 32,768 digests, with room to spare.
pub const MAX_MESSAGE: usize = 512 * 1024;
/// The longest first message: a certificate, the appointment of its signer, and room for fields to come.
pub(crate) const MAX_HELLO: usize = 16 * 1024;
/// Bytes of pages put into one message, so that a heartbeat never waits behind more than this.
pub(crate) const PAGES_PER_MESSAGE: usize = 32 * 1024;
/// What this node speaks.
pub(crate) const VERSION: u16 = 2;

/// A heartbeat: a sign of life that also measures the round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The sender's clock in microseconds; the receiver only hands it back.
    pub clock: u64,
    /// The clock last received, and for how many microseconds it was held before this answer.
    pub echo: Option<(u64, u64)>,
    /// The sender misses the receiver: answer at once.
    pub probe: bool,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The first message of each side: what it speaks, and its certificate if it has one.
    Hello {
        /// Version of the protocol.
        version: u16,
        /// The operators' word for the sender.
        certificate: Option<Page>,
        /// The root's word for the key that signed the certificate, if it is not the root's own.
        appointment: Option<Page>,
    },
    /// I am here.
    Beat(Beat),
    /// News, along the tree of its origin or in a flood.
    News(Vec<Frame>),
    /// Pages that the receiver asked for, or was found to lack.
    Given(Vec<Frame>),
    /// News of these origins (first eight bytes of their keys) came from elsewhere: tell me of it, do not send it.
    Prune(Vec<u64>),
    /// Digests of news that the sender holds and did not send on this link.
    Have(Vec<u64>),
    /// Send me this.
    Graft(Graft),
    /// Digest of everything the sender holds, under a salt; 0 is none.
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
    /// Digests of all pages that the sender holds in these buckets.
    Digests(Vec<Listed>),
    /// Please send these, if you still hold them.
    Want(Vec<Listed>),
}

/// What somebody misses, and of whom it wants to be sent news from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graft {
    /// Versions that were announced and did not come; their origins are grafted too.
    #[serde(with = "packed_u64s")]
    pub digests: Vec<u64>,
    /// Origins, named by the first eight bytes of their keys.
    #[serde(with = "packed_u64s")]
    pub origins: Vec<u64>,
    /// Of everyone: the sender is new.
    pub all: bool,
}

/// The same as it is encoded; new variants go at the end.
#[derive(Serialize, Deserialize)]
enum Wire {
    Hello {
        version: u16,
        certificate: Option<ByteBuf>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        appointment: Option<ByteBuf>,
    },
    Beat(Beat),
    News(Vec<WireFrame>),
    Given(Vec<WireFrame>),
    Prune(#[serde(with = "packed_u64s")] Vec<u64>),
    Have(#[serde(with = "packed_u64s")] Vec<u64>),
    Graft(Graft),
    Root {
        salt: u64,
        root: ByteArray<16>,
    },
    Buckets(u64, #[serde(with = "packed_u64s")] Vec<u64>),
    Digests(Vec<WireListed>),
    Want(Vec<WireListed>),
}

#[derive(Serialize, Deserialize)]
struct WireFrame {
    signed: ByteBuf,
    signature: ByteArray<64>,
    /// The body; or a patch, if there is a base.
    content: ByteBuf,
    base: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WireListed(u8, #[serde(with = "packed_u64s")] Vec<u64>);

/// Numbers as one byte string, eight bytes each: half the size of a CBOR array, and one length to check.
mod packed_u64s {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use serde_bytes::ByteBuf;

    pub(super) fn serialize<S: Serializer>(numbers: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        let bytes = ByteBuf::deserialize(deserializer)?;
        let (numbers, rest) = bytes.as_chunks::<8>();
        if rest.is_empty() {
            Ok(numbers.iter().map(|number| u64::from_be_bytes(*number)).collect())
        } else {
            Err(D::Error::custom("numbers of eight bytes each"))
        }
    }
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
    /// Something else came before the hello.
    #[error("the first message is no hello")]
    NotHello,
}

impl Message {
    /// The message's bytes, without the length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&match self {
            Self::Hello { version, certificate, appointment } => {
                let [certificate, appointment] =
                    [certificate, appointment].map(|page| page.as_ref().map(|page| ByteBuf::from(page.to_bytes())));
                Wire::Hello { version: *version, certificate, appointment }
            }
            Self::Beat(beat) => Wire::Beat(*beat),
            Self::News(frames) => Wire::News(frames.iter().map(WireFrame::from).collect()),
            Self::Given(frames) => Wire::Given(frames.iter().map(WireFrame::from).collect()),
            Self::Prune(origins) => Wire::Prune(origins.clone()),
            Self::Have(digests) => Wire::Have(digests.clone()),
            Self::Graft(graft) => Wire::Graft(graft.clone()),
            Self::Root { salt, root } => Wire::Root { salt: *salt, root: ByteArray::new(*root) },
            Self::Buckets { salt, sums } => Wire::Buckets(*salt, sums.clone()),
            Self::Digests(lists) => Wire::Digests(to_wire(lists)),
            Self::Want(lists) => Wire::Want(to_wire(lists)),
        })
    }

    /// Reads a message and checks the signature of every page in it. Bodies that travel as deltas are checked where the
    /// base is held.
    ///
    /// # Errors
    /// [`MessageError`]; hostile bytes never panic.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        Ok(match codec::decode(bytes)? {
            Wire::Hello { version, certificate, appointment } => Self::hello(version, certificate, appointment)?,
            Wire::Beat(beat) => Self::Beat(beat),
            Wire::News(frames) => Self::News(frames.into_iter().map(Frame::try_from).collect::<Result<_, _>>()?),
            Wire::Given(frames) => Self::Given(frames.into_iter().map(Frame::try_from).collect::<Result<_, _>>()?),
            Wire::Prune(origins) => Self::Prune(origins),
            Wire::Have(digests) => Self::Have(digests),
            Wire::Graft(graft) => Self::Graft(graft),
            Wire::Root { salt, root } => Self::Root { salt, root: root.into_array() },
            Wire::Buckets(salt, sums) => Self::Buckets { salt, sums },
            Wire::Digests(lists) => Self::Digests(from_wire(lists)),
            Wire::Want(lists) => Self::Want(from_wire(lists)),
        })
    }

    /// Reads the first message of a peer, of whom nothing is known. What is no hello is refused unread: the signatures
    /// in half a megabyte of pages are a quarter of a second of work.
    ///
    /// # Errors
    /// [`MessageError`]; hostile bytes never panic.
    pub(crate) fn decode_hello(bytes: &[u8]) -> Result<Self, MessageError> {
        match codec::decode(bytes)? {
            Wire::Hello { version, certificate, appointment } => Ok(Self::hello(version, certificate, appointment)?),
            _ => Err(MessageError::NotHello),
        }
    }

    fn hello(version: u16, certificate: Option<ByteBuf>, appointment: Option<ByteBuf>) -> Result<Self, PageError> {
        let read = |page: Option<ByteBuf>| page.map(|bytes| Page::from_bytes(&bytes)).transpose();
        Ok(Self::Hello { version, certificate: read(certificate)?, appointment: read(appointment)? })
    }

    /// Length of the encoding, nearly, without encoding: what the simulator counts.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        let listed = |lists: &[Listed]| lists.iter().map(|listed| 6 + 8 * listed.digests.len()).sum::<usize>();
        4 + match self {
            Self::Hello { certificate, appointment, .. } => {
                8 + [certificate, appointment].into_iter().flatten().map(|page| page.size() + 16).sum::<usize>()
            }
            Self::Beat(_) => 32,
            Self::News(frames) | Self::Given(frames) => frames.iter().map(Frame::size).sum(),
            Self::Prune(numbers) | Self::Have(numbers) => 3 + 8 * numbers.len(),
            Self::Graft(graft) => 8 + 8 * (graft.digests.len() + graft.origins.len()),
            Self::Root { .. } => 30,
            Self::Buckets { sums, .. } => 12 + 8 * sums.len(),
            Self::Digests(lists) | Self::Want(lists) => listed(lists),
        }
    }
}

impl From<&Frame> for WireFrame {
    fn from(frame: &Frame) -> Self {
        let header = frame.header();
        let content = match (&frame.delta, &frame.of) {
            (Some(delta), _) => &delta.patch[..],
            (None, Of::Page(page)) => page.body(),
            (None, Of::Header(_)) => &[],
        };
        Self {
            signed: ByteBuf::from(&header.signed[..]),
            signature: ByteArray::new(header.signature),
            content: ByteBuf::from(content),
            base: frame.delta.as_ref().map(|delta| delta.base),
        }
    }
}

impl TryFrom<WireFrame> for Frame {
    type Error = PageError;

    fn try_from(wire: WireFrame) -> Result<Self, PageError> {
        if wire.content.len() > crate::page::MAX_PAGE {
            return Err(PageError::TooLong(wire.content.len()));
        }
        let header = Header::from_parts(&wire.signed, wire.signature.into_array())?;
        let content = wire.content.into_vec().into();
        Ok(match wire.base {
            None => Self::whole(Page::join(header, content)?),
            Some(base) => {
                Self { of: Of::Header(std::sync::Arc::new(header)), delta: Some(Delta { base, patch: content }) }
            }
        })
    }
}

fn to_wire(lists: &[Listed]) -> Vec<WireListed> {
    lists.iter().map(|listed| WireListed(listed.bucket, listed.digests.clone())).collect()
}

fn from_wire(lists: Vec<WireListed>) -> Vec<Listed> {
    lists.into_iter().map(|WireListed(bucket, digests)| Listed { bucket, digests }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::page::{Key, Owner, Slot, Table};

    fn page(version: u64, last: u8) -> Page {
        let signing = SigningKey::from_bytes(&[1; 32]);
        let key = Key { owner: Owner::Node(signing.verifying_key().into()), table: Table(16), slot: Slot::page(3) };
        let mut body: Vec<u8> = (0..200).collect();
        body.push(last);
        Page::sign(&signing, key, 1, version, body)
    }

    fn every_kind() -> Vec<Message> {
        let (old, new) = (page(1, 1), page(2, 2));
        let delta = Frame { delta: Delta::between(&old, &new), of: Of::Page(new.clone()) };
        assert!(delta.delta.is_some());
        let lists = vec![Listed { bucket: 3, digests: vec![1, u64::MAX] }, Listed { bucket: 255, digests: vec![] }];
        vec![
            Message::Hello { version: VERSION, certificate: None, appointment: None },
            Message::Hello { version: VERSION, certificate: Some(old.clone()), appointment: None },
            Message::Hello { version: VERSION, certificate: Some(old.clone()), appointment: Some(new.clone()) },
            Message::Beat(Beat { clock: 1, echo: Some((2, 3)), probe: true }),
            Message::News(vec![Frame::whole(old.clone()), delta]),
            Message::Given(vec![Frame::whole(old)]),
            Message::Prune(vec![1, 2]),
            Message::Have(vec![u64::MAX; 100]),
            Message::Graft(Graft { digests: vec![1], origins: vec![], all: true }),
            Message::Root { salt: 1, root: [2; 16] },
            Message::Buckets { salt: 1, sums: vec![u64::MAX; 256] },
            Message::Digests(lists.clone()),
            Message::Want(lists),
        ]
    }

    #[test]
    fn every_kind_survives_the_wire_and_is_as_long_as_it_says() {
        for message in every_kind() {
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes).unwrap(), message);
            let (real, said) = (bytes.len() + 4, message.wire_len());
            assert!(real.abs_diff(said) <= 24 + real / 20, "{message:?}: {real}, {said}");
        }
    }

    /// Members of the version before, that know of no appointments.
    #[test]
    fn a_hello_without_an_appointment_is_what_it_always_was() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Before {
            Hello { version: u16, certificate: Option<ByteBuf> },
        }
        let certificate = Some(page(1, 1));
        let without = Message::Hello { version: VERSION, certificate: certificate.clone(), appointment: None };
        let bytes = ByteBuf::from(page(1, 1).to_bytes());
        let before = Before::Hello { version: VERSION, certificate: Some(bytes) };
        assert_eq!(without.encode(), codec::encode(&before));
        assert_eq!(Message::decode_hello(&codec::encode(&before)).unwrap(), without);
        let with = Message::Hello { version: VERSION, certificate, appointment: Some(page(2, 2)) };
        assert_eq!(codec::decode::<Before>(&with.encode()).unwrap(), before);
        let hello: ciborium::Value = ciborium::from_reader(&with.encode()[..]).unwrap();
        let fields = hello.as_map().unwrap()[0].1.as_map().unwrap();
        assert_eq!(fields[2], (2.into(), ciborium::Value::Bytes(page(2, 2).to_bytes())));
    }

    /// The longest certificate with the longest appointment, or a newcomer would not get in.
    #[test]
    fn the_longest_hello_fits() {
        let root = SigningKey::from_bytes(&[1; 32]);
        let longest = |table, body| {
            let key = crate::admission::key(table, root.verifying_key().into());
            Some(Page::sign(&root, key, u64::MAX, u64::MAX, vec![7; body]))
        };
        let certificate = longest(Table::ADMISSION, crate::page::MAX_BODY);
        let appointment = longest(Table::OPERATOR, crate::operator::MAX_BODY);
        let hello = Message::Hello { version: VERSION, certificate, appointment };
        assert!(hello.encode().len() <= MAX_HELLO, "{}", hello.encode().len());
    }

    /// What README's CDDL says, read with another implementation of RFC 8949.
    #[test]
    fn messages_look_as_the_readme_says() {
        use ciborium::Value;
        let number = |n: u64| Value::from(n);
        let read = |message: &Message| ciborium::from_reader::<Value, _>(&message.encode()[..]).unwrap();
        let map = |entries: Vec<(u64, Value)>| Value::Map(entries.into_iter().map(|(k, v)| (number(k), v)).collect());
        let kind = |name: &str, content: Value| Value::Map(vec![(Value::from(name), content)]);
        let beat = Message::Beat(Beat { clock: 5, echo: Some((6, 7)), probe: true });
        let echo = Value::Array(vec![number(6), number(7)]);
        assert_eq!(read(&beat), kind("Beat", map(vec![(0, number(5)), (1, echo), (2, Value::Bool(true))])));
        let sums = Value::Bytes([0u64, 1].iter().flat_map(|n| n.to_be_bytes()).collect());
        let buckets = Message::Buckets { salt: 9, sums: vec![0, 1] };
        assert_eq!(read(&buckets), kind("Buckets", Value::Array(vec![number(9), sums.clone()])));
        let want = Message::Want(vec![Listed { bucket: 3, digests: vec![0, 1] }]);
        assert_eq!(read(&want), kind("Want", Value::Array(vec![Value::Array(vec![number(3), sums])])));
        let page = page(1, 1);
        let Value::Map(news) = read(&Message::News(vec![Frame::whole(page.clone())])) else { panic!("no map") };
        let Value::Array(frames) = &news[0].1 else { panic!("no array") };
        let content = map(vec![
            (0, Value::Bytes(page.header().signed.to_vec())),
            (1, Value::Bytes(page.header().signature.to_vec())),
            (2, Value::Bytes(page.body().to_vec())),
            (3, Value::Null),
        ]);
        assert_eq!((&news[0].0, frames), (&Value::from("News"), &vec![content]));
        let Value::Map(header) = ciborium::from_reader::<Value, _>(&page.header().signed[..]).unwrap() else {
            panic!("no map")
        };
        assert_eq!(header.len(), 7);
        assert_eq!(header[2].1, Value::Bytes(vec![3]), "a slot without leading zeros");
    }

    #[test]
    fn the_longest_listing_fits_a_message() {
        let lists: Vec<Listed> = (0..=255)
            .map(|bucket| Listed { bucket, digests: vec![u64::MAX; crate::repair::MAX_DIGESTS / 256] })
            .collect();
        let message = Message::Digests(lists);
        assert!(message.encode().len() < MAX_MESSAGE, "{}", message.encode().len());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Message::decode(&bytes);
        }

        /// One flipped bit ends the stream, or what is read carries no page that was not signed.
        #[test]
        fn a_flipped_bit_forges_nothing(kind in 0usize..13, at in 0usize..2000, bit in 0u8..8) {
            let message = &every_kind()[kind];
            let mut bytes = message.encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(Message::News(frames) | Message::Given(frames)) = Message::decode(&bytes) {
                for page in frames.iter().filter_map(|frame| frame.complete(Some(&page(1, 1)))) {
                    prop_assert!(page.body() == self::page(1, 1).body() || page.body() == self::page(2, 2).body());
                }
            }
        }
    }
}
