//! Transaction signatures (RFC 8945): messages to and from DNS-A under a shared secret.
//!
//! Signed is what travels, octet by octet, so this works on octets: [`sign`] appends a record, [`Verifier::check`] takes
//! it off. A reply's MAC covers the request's, and in a transfer each message's covers the one before (section 5.3.1), so
//! nothing can be left out, repeated or taken from another exchange.
//!
//! **Invariant:** only [`Verifier`] makes a message out of signed octets, and the MAC is compared in constant time.
//! Rejected: hickory's signer, whose feature pulls in all of DNSSEC and changes how every record is read in the process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::BinEncodable;
use ring::hmac;

use super::message::HEADER;

/// Clocks may differ by this (section 10: "300 seconds is RECOMMENDED").
pub const FUDGE: u16 = 300;
/// Messages of a transfer that may follow unsigned on a signed one (section 5.3.1: at most 99).
const MOST_UNSIGNED: usize = 99;
const TYPE_TSIG: [u8; 2] = 250u16.to_be_bytes();
const CLASS_ANY: [u8; 2] = 255u16.to_be_bytes();

/// Algorithms of RFC 8945 section 6 that are neither broken nor truncated; SHA-1 for servers that know nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// hmac-sha1.
    Sha1,
    /// hmac-sha256, which every server must know.
    Sha256,
    /// hmac-sha384.
    Sha384,
    /// hmac-sha512.
    Sha512,
}

impl Algorithm {
    /// By its name as servers' configurations have it.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "hmac-sha1" => Some(Self::Sha1),
            "hmac-sha256" => Some(Self::Sha256),
            "hmac-sha384" => Some(Self::Sha384),
            "hmac-sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// That name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "hmac-sha1",
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    fn ring(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// A key.
#[derive(Clone)]
pub struct Key {
    name: Name,
    algorithm: Algorithm,
    secret: Arc<hmac::Key>,
}

/// Without the secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.name, self.algorithm.as_str())
    }
}

impl Key {
    /// A key of this name.
    pub fn new(name: Name, algorithm: Algorithm, secret: &[u8]) -> Self {
        let secret = Arc::new(hmac::Key::new(algorithm.ring(), secret));
        Self { name: name.to_lowercase(), algorithm, secret }
    }

    /// The part of the record that the MAC covers, and that stands before and after the time in it: name, class and TTL,
    /// then the algorithm (section 4.3.3).
    fn variables(&self, time: [u8; 8], error: u16, other: &[u8]) -> Vec<u8> {
        let mut octets = wire(&self.name);
        octets.extend(CLASS_ANY);
        octets.extend([0; 4]);
        octets.extend(wire(&self.algorithm_name()));
        octets.extend(time);
        octets.extend(error.to_be_bytes());
        octets.extend(length(other));
        octets.extend(other);
        octets
    }

    fn algorithm_name(&self) -> Name {
        let mut name = Name::from_ascii(self.algorithm.as_str()).unwrap_or_default();
        name.set_fqdn(true);
        name
    }
}

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// No signature where there must be one.
    #[error("the reply is not signed")]
    Unsigned,
    /// The record cannot be read, or is not the last.
    #[error("the signature cannot be read")]
    Malformed,
    /// Another key or algorithm.
    #[error("the reply is signed with another key")]
    Key,
    /// The MAC is not right.
    #[error("the signature is wrong: is the secret the same on both sides?")]
    Mac,
    /// Signed too long ago, or in the future.
    #[error("the clocks of this host and the server differ by more than {FUDGE} s")]
    Time,
    /// The server did not believe us: BADSIG, BADKEY or BADTIME (section 5.2).
    #[error("the server says {0}")]
    Refused(&'static str),
}

/// Signs a message at this Unix time, and returns it with what checks the reply.
pub fn sign(mut message: Vec<u8>, key: &Key, unix: Duration) -> (Vec<u8>, Verifier) {
    let verifier = |mac| Verifier { key: key.clone(), mac, unsigned: Vec::new(), pending: 0, first: true };
    let time = timers(unix);
    let Some(id) = message.first_chunk::<2>().copied() else { return (message, verifier(Vec::new())) };
    let mut context = hmac::Context::with_key(&key.secret);
    context.update(&message);
    context.update(&key.variables(time, 0, &[]));
    let mac = context.sign().as_ref().to_vec();
    append(&mut message, key, time, &mac, id);
    (message, verifier(mac))
}

/// The reply to a request that [`request`] has let in, signed over the request's MAC.
pub fn sign_reply(mut message: Vec<u8>, key: &Key, request_mac: &[u8], unix: Duration) -> Vec<u8> {
    let time = timers(unix);
    let Some(id) = message.first_chunk::<2>().copied() else { return message };
    let mut context = hmac::Context::with_key(&key.secret);
    context.update(&length(request_mac));
    context.update(request_mac);
    context.update(&message);
    context.update(&key.variables(time, 0, &[]));
    let mac = context.sign();
    append(&mut message, key, time, mac.as_ref(), id);
    message
}

/// Checks a request's signature: the message without it, and its MAC.
///
/// # Errors
/// [`Distrust`].
pub fn request(octets: &[u8], key: &Key, unix: Duration) -> Result<(Vec<u8>, Vec<u8>), Distrust> {
    let (message, tsig) = split(octets)?.ok_or(Distrust::Unsigned)?;
    tsig.is_by(key)?;
    let mut signed = message.clone();
    signed.extend(key.variables(tsig.time, tsig.error, &tsig.other));
    hmac::verify(&key.secret, &signed, &tsig.mac).map_err(|_| Distrust::Mac)?;
    tsig.is_of(unix)?;
    Ok((message, tsig.mac))
}

/// Checks the messages that answer one request, in their order.
#[derive(Clone, Debug)]
pub struct Verifier {
    key: Key,
    /// Of the request, then of the last signed message.
    mac: Vec<u8>,
    /// Messages since that one.
    unsigned: Vec<u8>,
    pending: usize,
    first: bool,
}

impl Verifier {
    /// The message without its signature. In a transfer, messages after the first may come without; they are believed only
    /// when [`Verifier::is_settled`] says so after a later one.
    ///
    /// # Errors
    /// [`Distrust`]: the exchange is over.
    pub fn check(&mut self, octets: &[u8], unix: Duration) -> Result<Vec<u8>, Distrust> {
        let Some((message, tsig)) = split(octets)? else {
            if self.first || self.pending >= MOST_UNSIGNED {
                return Err(Distrust::Unsigned);
            }
            self.unsigned.extend(octets);
            self.pending += 1;
            return Ok(octets.to_vec());
        };
        match tsig.error {
            16 => return Err(Distrust::Refused("BADSIG: is the secret the same on both sides?")),
            17 => return Err(Distrust::Refused("BADKEY: it does not know this key, or not for this")),
            // BADTIME is signed, but what it says is no use to us either way.
            18 => return Err(Distrust::Refused("BADTIME: the clocks differ")),
            22 => return Err(Distrust::Refused("BADTRUNC")),
            _ => {}
        }
        tsig.is_by(&self.key)?;
        let mut signed = length(&self.mac).to_vec();
        signed.extend(&self.mac);
        signed.extend(&self.unsigned);
        signed.extend(&message);
        if self.first {
            signed.extend(self.key.variables(tsig.time, tsig.error, &tsig.other));
        } else {
            signed.extend(tsig.time); // "TSIG Timers" alone: section 5.3.1.
        }
        hmac::verify(&self.key.secret, &signed, &tsig.mac).map_err(|_| Distrust::Mac)?;
        tsig.is_of(unix)?;
        self.mac = tsig.mac;
        self.unsigned.clear();
        (self.pending, self.first) = (0, false);
        Ok(message)
    }

    /// Whether everything so far is signed for.
    pub fn is_settled(&self) -> bool {
        !self.first && self.pending == 0
    }
}

/// A TSIG record's data.
struct Tsig {
    key: Vec<u8>,
    algorithm: Vec<u8>,
    time: [u8; 8],
    mac: Vec<u8>,
    error: u16,
    other: Vec<u8>,
}

impl Tsig {
    fn is_by(&self, key: &Key) -> Result<(), Distrust> {
        let same = |octets: &[u8], name: &Name| octets.eq_ignore_ascii_case(&wire(name));
        if same(&self.key, &key.name) && same(&self.algorithm, &key.algorithm_name()) {
            Ok(())
        } else {
            Err(Distrust::Key)
        }
    }

    fn is_of(&self, unix: Duration) -> Result<(), Distrust> {
        let [a, b, c, d, e, f, g, h] = self.time;
        let signed = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let fudge = u64::from(u16::from_be_bytes([g, h]).min(FUDGE));
        if signed.abs_diff(unix.as_secs()) <= fudge { Ok(()) } else { Err(Distrust::Time) }
    }
}

/// Time Signed and Fudge.
fn timers(unix: Duration) -> [u8; 8] {
    let [_, _, a, b, c, d, e, f] = unix.as_secs().to_be_bytes();
    let [g, h] = FUDGE.to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

fn append(message: &mut Vec<u8>, key: &Key, time: [u8; 8], mac: &[u8], id: [u8; 2]) {
    let mut data = wire(&key.algorithm_name());
    data.extend(time);
    data.extend(length(mac));
    data.extend(mac);
    data.extend(id);
    data.extend([0; 4]); // no error, no other data
    message.extend(wire(&key.name));
    message.extend(TYPE_TSIG);
    message.extend(CLASS_ANY);
    message.extend([0; 4]);
    message.extend(length(&data));
    message.extend(data);
    count(message, 1);
}

/// Adds to ARCOUNT.
fn count(message: &mut [u8], more: i32) {
    if let Some([high, low]) = message.get_mut(10..12).and_then(|octets| <&mut [u8; 2]>::try_from(octets).ok()) {
        let count = i32::from(u16::from_be_bytes([*high, *low])) + more;
        [*high, *low] = u16::try_from(count).unwrap_or(0).to_be_bytes();
    }
}

/// A message in two: as it was before it was signed, and its signature if it has one.
fn split(octets: &[u8]) -> Result<Option<(Vec<u8>, Tsig)>, Distrust> {
    let header: &[u8; HEADER] = octets.first_chunk().ok_or(Distrust::Malformed)?;
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let mut at = HEADER;
    for _ in 0..number(4) {
        at = after_name(octets, at).ok_or(Distrust::Malformed)? + 4;
    }
    let records = u32::from(number(6)) + u32::from(number(8)) + u32::from(number(10));
    for left in (0..records).rev() {
        let (owner, head) = (at, after_name(octets, at).ok_or(Distrust::Malformed)?);
        let fixed: &[u8; 10] = octets.get(head..).and_then(<[u8]>::first_chunk).ok_or(Distrust::Malformed)?;
        let data = head + fixed.len();
        at = data + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let data = octets.get(data..at).ok_or(Distrust::Malformed)?;
        if fixed[..2] != TYPE_TSIG {
            continue;
        }
        // Section 5.1: it is the last record of the additional section; anywhere else it is a format error.
        if left != 0 || number(10) == 0 || at != octets.len() {
            return Err(Distrust::Malformed);
        }
        let key = octets.get(owner..head).ok_or(Distrust::Malformed)?.to_vec();
        let (tsig, id) = tsig(key, data).ok_or(Distrust::Malformed)?;
        let mut message = octets[..owner].to_vec();
        message[..2].copy_from_slice(&id);
        count(&mut message, -1);
        return Ok(Some((message, tsig)));
    }
    Ok(None)
}

fn tsig(key: Vec<u8>, data: &[u8]) -> Option<(Tsig, [u8; 2])> {
    let (algorithm, rest) = data.split_at_checked(after_name(data, 0)?)?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let (size, rest) = rest.split_first_chunk::<2>()?;
    let (mac, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
    let (id, rest) = rest.split_first_chunk::<2>()?;
    let (error, rest) = rest.split_first_chunk::<2>()?;
    let (size, other) = rest.split_first_chunk::<2>()?;
    let complete = other.len() == usize::from(u16::from_be_bytes(*size));
    let tsig = Tsig {
        key,
        algorithm: algorithm.to_vec(),
        time: *time,
        mac: mac.to_vec(),
        error: u16::from_be_bytes(*error),
        other: other.to_vec(),
    };
    complete.then_some((tsig, *id))
}

/// The end of a name; a pointer ends it too (RFC 1035 section 4.1.4), for nobody needs to follow it here. A key's name
/// that is compressed equals none, which section 4.2 wants.
fn after_name(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*octets.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=63 => at += length + 1,
            192..=255 => return Some(at + 2),
            _ => return None,
        }
    }
}

fn wire(name: &Name) -> Vec<u8> {
    name.to_bytes().unwrap_or_default()
}

fn length(octets: &[u8]) -> [u8; 2] {
    u16::try_from(octets.len()).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hickory_proto::rr::RecordType;
    use proptest::prelude::*;

    use super::*;
    use crate::dns_a::message::Question;

    const NOW: Duration = Duration::from_secs(1_790_000_000);

    fn key(secret: &[u8]) -> Key {
        Key::new(Name::from_ascii("Mesh-Key.").unwrap(), Algorithm::Sha256, secret)
    }

    fn question() -> Vec<u8> {
        Question::query(7, Name::from_ascii("origin.example.com.").unwrap(), RecordType::SOA)
            .message(false)
            .to_vec()
            .unwrap()
    }

    fn reply() -> Vec<u8> {
        let mut octets = question();
        octets[2] |= 0x80;
        octets
    }

    /// As a server signs the messages of a transfer: the first over all variables, later ones over the timers, with
    /// whatever unsigned ones were between.
    struct Server {
        mac: Vec<u8>,
        between: Vec<u8>,
        first: bool,
    }

    impl Server {
        fn signed(&mut self, mut message: Vec<u8>, at: Duration) -> Vec<u8> {
            let key = key(b"secret");
            let time = timers(at);
            let mut signed = length(&self.mac).to_vec();
            signed.extend(&self.mac);
            signed.extend(std::mem::take(&mut self.between));
            signed.extend(&message);
            if std::mem::replace(&mut self.first, false) {
                signed.extend(key.variables(time, 0, &[]));
            } else {
                signed.extend(time);
            }
            self.mac = hmac::sign(&key.secret, &signed).as_ref().to_vec();
            append(&mut message, &key, time, &self.mac, [0, 7]);
            message
        }

        fn unsigned(&mut self, message: Vec<u8>) -> Vec<u8> {
            self.between.extend(&message);
            message
        }
    }

    fn exchange() -> (Verifier, Server) {
        let (asked, verifier) = sign(question(), &key(b"secret"), NOW);
        let (message, mac) = request(&asked, &key(b"secret"), NOW).unwrap();
        assert_eq!(message, question());
        (verifier, Server { mac, between: Vec::new(), first: true })
    }

    #[test]
    fn a_request_is_believed_with_its_key_its_time_and_whole() {
        let (asked, _) = sign(question(), &key(b"secret"), NOW);
        assert_eq!(request(&asked, &key(b"other"), NOW), Err(Distrust::Mac));
        let named = Key::new(Name::from_ascii("other.").unwrap(), Algorithm::Sha256, b"secret");
        assert_eq!(request(&asked, &named, NOW), Err(Distrust::Key));
        let harder = Key::new(Name::from_ascii("mesh-key.").unwrap(), Algorithm::Sha512, b"secret");
        assert_eq!(request(&asked, &harder, NOW), Err(Distrust::Key));
        assert_eq!(request(&asked, &key(b"secret"), NOW + Duration::from_secs(301)), Err(Distrust::Time));
        assert_eq!(request(&question(), &key(b"secret"), NOW), Err(Distrust::Unsigned));
    }

    #[test]
    fn a_reply_answers_this_request_and_no_other() {
        let (mut verifier, mut server) = exchange();
        let signed = server.signed(reply(), NOW);
        assert_eq!(verifier.clone().check(&signed, NOW), Ok(reply()));
        assert_eq!(sign_reply(reply(), &key(b"secret"), &exchange().1.mac, NOW), signed);
        let (_, mut other) = sign(question(), &key(b"secret"), NOW + Duration::from_secs(1));
        assert_eq!(other.check(&signed, NOW), Err(Distrust::Mac));
        assert_eq!(verifier.check(&reply(), NOW), Err(Distrust::Unsigned));
    }

    #[test]
    fn a_transfer_may_skip_signatures_but_not_messages() {
        let (verifier, mut server) = exchange();
        let stream = [
            server.signed(reply(), NOW),
            server.unsigned(reply()),
            server.unsigned(reply()),
            server.signed(reply(), NOW),
        ];
        let read = |messages: &[&Vec<u8>]| -> Result<bool, Distrust> {
            let mut verifier = verifier.clone();
            for message in messages {
                verifier.check(message, NOW)?;
            }
            Ok(verifier.is_settled())
        };
        let [a, b, c, d] = &stream;
        assert_eq!(read(&[a, b, c, d]), Ok(true));
        assert_eq!(read(&[a, b, c]), Ok(false), "the end is not signed for");
        assert_eq!(read(&[a, b, d]), Err(Distrust::Mac), "one is missing");
        assert_eq!(read(&[a, b, b, c, d]), Err(Distrust::Mac), "one came twice");
        assert_eq!(read(&[b]), Err(Distrust::Unsigned));
    }

    #[test]
    fn an_endless_unsigned_transfer_ends() {
        let (mut verifier, mut server) = exchange();
        verifier.check(&server.signed(reply(), NOW), NOW).unwrap();
        let taken = (0..1000).take_while(|_| verifier.check(&reply(), NOW).is_ok()).count();
        assert_eq!(taken, MOST_UNSIGNED);
    }

    proptest! {
        #[test]
        fn hostile_octets_never_panic(octets: Vec<u8>) {
            let (mut verifier, _) = exchange();
            let _ = verifier.check(&octets, NOW);
            let _ = request(&octets, &key(b"secret"), NOW);
        }

        #[test]
        fn no_changed_octet_is_believed(at: usize, bit in 0..8u32, cut: Option<usize>) {
            let (mut verifier, mut server) = exchange();
            let mut octets = server.signed(reply(), NOW);
            let at = at % octets.len();
            octets[at] ^= 1 << bit;
            // The id on the wire is not signed for (the original is), nor is the case of the key's and algorithm's names,
            // nor class and TTL of the record, which are read as what they must be.
            if let Some(cut) = cut {
                octets.truncate(cut % octets.len());
            }
            if let Ok(message) = verifier.check(&octets, NOW) {
                prop_assert_eq!(message, reply());
            }
        }
    }
}
