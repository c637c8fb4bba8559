//! "This address asked me under that nonce at this time": what a node puts its name to, and what anybody can check.
//!
//! ```text
//!   nonce   = 10 octets drawn at random, and 10 octets of blake3(mesh, claimant, those)      one label of base32
//!   signed  = domain, mesh, nonce as asked for, address, time        ed25519, the witness's key
//!   answer  = proof= base64url(version 1, time 4, witness 32, signature 64)                   one string of a TXT record
//! ```
//!
//! The nonce is made from the name of who will claim. A statement got for one node is therefore of no use to another one
//! that copies it into its own pages, and a witness need not know whom it speaks for. What is left to a liar is to have a
//! second member as an accomplice, and then it may lie within its certificate, as with configured claims.
//!
//! Replay: a statement says when, and counts for [`PROOF_LIFE`]. No merge rule reads a clock (an old proof is stored and
//! passed on like any row); the clock is read where the claim is ranked.

use std::net::IpAddr;
use std::time::Duration;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use nigh_gossip::NodeId;

/// The prefix of the string in the TXT record.
const WORD: &str = "proof=";
const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"nigh whoami statement 1";
/// Octets of a nonce that are drawn.
pub const DRAWN: usize = 10;
/// Octets of a nonce.
const OCTETS: usize = 20;

/// How long a statement proves a claim. Claimants renew it every [`super::told::RENEW`]; the rest is for a claimant whose
/// resolver, or mesh, is out of reach for a while.
pub const PROOF_LIFE: Duration = Duration::from_secs(150 * 60);
/// How far apart the clocks of two nodes may be: nodes keep time by NTP, and one that is minutes off has other troubles.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A name that nobody asked for before, made for one claimant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce([u8; OCTETS]);

impl Nonce {
    /// For a claimant of a mesh, from what was drawn.
    pub fn new(mesh: NodeId, claimant: NodeId, drawn: [u8; DRAWN]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("nigh whoami nonce 1");
        hasher.update(mesh.as_bytes()).update(claimant.as_bytes()).update(&drawn);
        let mut octets = [0; OCTETS];
        octets[..DRAWN].copy_from_slice(&drawn);
        octets[DRAWN..].copy_from_slice(&hasher.finalize().as_bytes()[..OCTETS - DRAWN]);
        Self(octets)
    }

    /// The label, in lower case.
    pub fn label(&self) -> String {
        BASE32_NOPAD.encode(&self.0).to_ascii_lowercase()
    }

    /// What was drawn: with the claimant it makes the nonce again.
    pub fn drawn(&self) -> [u8; DRAWN] {
        let mut drawn = [0; DRAWN];
        drawn.copy_from_slice(&self.0[..DRAWN]);
        drawn
    }
}

/// What a witness says, but for what the asker knows already: address and nonce.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Who says so.
    pub witness: NodeId,
    /// When, in Unix seconds.
    pub time: u32,
    /// Over all of it.
    pub signature: [u8; 64],
}

/// Why a statement proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Worthless {
    /// There was none in the answer, or it could not be read.
    #[error("the answer had no statement")]
    Missing,
    /// The key did not sign this.
    #[error("the statement's signature is wrong")]
    Signature,
    /// Too long ago, or ahead of time.
    #[error("the statement is of another time; do all nodes keep the same clock?")]
    Time,
}

impl Statement {
    /// Says it.
    pub fn sign(key: &SigningKey, mesh: NodeId, label: &[u8], source: IpAddr, time: u32) -> Self {
        let signature = key.sign(&message(mesh, label, source, time)).to_bytes();
        Self { witness: key.verifying_key().into(), time, signature }
    }

    /// Checks the signature alone, which holds for ever.
    ///
    /// # Errors
    /// [`Worthless::Signature`].
    pub fn verify(&self, mesh: NodeId, label: &[u8], source: IpAddr) -> Result<(), Worthless> {
        let key = VerifyingKey::from_bytes(self.witness.as_bytes()).map_err(|_| Worthless::Signature)?;
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&message(mesh, label, source, self.time), &signature).map_err(|_| Worthless::Signature)
    }

    /// Whether it counts at this Unix time.
    pub fn is_of(&self, unix: u64, life: Duration) -> bool {
        let time = u64::from(self.time);
        time <= unix.saturating_add(CLOCK_SKEW.as_secs()) && unix.saturating_sub(time) <= life.as_secs()
    }

    /// As a string of the TXT record.
    pub fn to_text(&self) -> String {
        let mut octets = vec![VERSION];
        octets.extend_from_slice(&self.time.to_be_bytes());
        octets.extend_from_slice(self.witness.as_bytes());
        octets.extend_from_slice(&self.signature);
        format!("{WORD}{}", BASE64URL_NOPAD.encode(&octets))
    }

    /// Reads such a string.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let octets = BASE64URL_NOPAD.decode(text.strip_prefix(WORD.as_bytes())?).ok()?;
        let (&[VERSION, a, b, c, d], rest) = octets.split_first_chunk::<5>()? else { return None };
        let (witness, signature) = rest.split_first_chunk::<32>()?;
        Some(Self {
            witness: NodeId::from_bytes(*witness).ok()?,
            time: u32::from_be_bytes([a, b, c, d]),
            signature: signature.try_into().ok()?,
        })
    }
}

impl std::fmt::Debug for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statement").field("witness", &self.witness).field("time", &self.time).finish_non_exhaustive()
    }
}

fn message(mesh: NodeId, label: &[u8], source: IpAddr, time: u32) -> Vec<u8> {
    let source = match source.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    // All of fixed length but the label, which stands last.
    [DOMAIN, mesh.as_bytes(), &source.octets(), &time.to_be_bytes(), label].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn id(seed: u8) -> NodeId {
        key(seed).verifying_key().into()
    }

    #[test]
    fn a_statement_holds_for_what_it_says_and_for_nothing_else() {
        let source: IpAddr = "203.0.113.53".parse().unwrap();
        let nonce = Nonce::new(id(9), id(1), [7; DRAWN]);
        let label = nonce.label();
        assert_eq!(label.len(), nigh_dns::NONCE);
        let said = Statement::sign(&key(2), id(9), label.as_bytes(), source, 1_800_000_000);
        let text = said.to_text();
        assert!(text.len() <= 255, "{}", text.len());
        let read = Statement::from_text(text.as_bytes()).unwrap();
        assert_eq!(read, said);
        assert_eq!(read.witness, id(2));
        assert_eq!(read.verify(id(9), label.as_bytes(), source), Ok(()));
        assert_eq!(read.verify(id(9), label.as_bytes(), "::ffff:203.0.113.53".parse().unwrap()), Ok(()));
        // Another mesh, another address, another time, another witness, and another claimant that copied the page.
        assert_eq!(read.verify(id(8), label.as_bytes(), source), Err(Worthless::Signature));
        assert_eq!(read.verify(id(9), label.as_bytes(), "203.0.113.54".parse().unwrap()), Err(Worthless::Signature));
        let later = Statement { time: said.time + 1, ..said };
        assert_eq!(later.verify(id(9), label.as_bytes(), source), Err(Worthless::Signature));
        let other = Statement { witness: id(3), ..said };
        assert_eq!(other.verify(id(9), label.as_bytes(), source), Err(Worthless::Signature));
        let copied = Nonce::new(id(9), id(4), nonce.drawn()).label();
        assert_eq!(read.verify(id(9), copied.as_bytes(), source), Err(Worthless::Signature));
    }

    #[test]
    fn a_statement_counts_for_a_while() {
        let said = Statement { witness: id(2), time: 1000, signature: [0; 64] };
        let life = Duration::from_secs(600);
        assert!(said.is_of(1000, life) && said.is_of(1600, life) && said.is_of(700, life));
        assert!(!said.is_of(1601, life) && !said.is_of(699, life));
        assert!(Statement { time: u32::MAX, ..said }.is_of(u64::MAX, Duration::MAX), "no overflow");
    }

    proptest! {
        #[test]
        fn arbitrary_strings_are_no_statements(bytes: Vec<u8>, text in "proof=[A-Za-z0-9_-]{0,140}") {
            prop_assert_eq!(Statement::from_text(&bytes), None);
            let _ = Statement::from_text(text.as_bytes());
        }
    }
}
