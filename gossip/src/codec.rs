//! Bytes on the wire and on disk: CBOR (RFC 8949), through one door.
//!
//! `serde_cbor` is unmaintained (RUSTSEC-2021-0127), so nothing else in the workspace names it. The door has a hard
//! limit on input length (the crate bounds nesting at 128 levels itself), refuses trailing bytes, and a test decodes
//! what it writes with a second CBOR crate: the format is the RFC's, not a crate's.
//!
//! Structs are written packed (fields by number). A reader skips numbers it does not know, so fields may be added at
//! the end. **Never verify a signature over a re-encoding**: the crate accepts duplicate keys and long integers, so
//! one value has many encodings. [`crate::Page`] signs and keeps exact bytes.

use serde::{Serialize, de::DeserializeOwned};

/// The longest input that is looked at. Above the largest message ([`crate::message::MAX_MESSAGE`]) and the largest
/// replica file chunk; everything else is far smaller and checks its own limit first.
pub const MAX_INPUT: usize = 1 << 20;

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MAX_INPUT`].
    #[error("{0} bytes are more than the limit of {MAX_INPUT}")]
    TooLong(usize),
    /// Not CBOR, or not of the expected shape.
    #[error("not the CBOR that was expected")]
    Malformed(#[source] serde_cbor::Error),
}

/// Writes a value as packed CBOR.
///
/// # Panics
/// Never for the types of this workspace: plain structs, enums, sequences and byte strings always encode.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    #[expect(
        clippy::expect_used,
        reason = "plain data into a Vec cannot fail; a type that can is a bug to find in tests"
    )]
    serde_cbor::ser::to_vec_packed(value).expect("plain data encodes")
}

/// Reads a value; all bytes must belong to it.
///
/// # Errors
/// [`DecodeError`], whose display tells the reason.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_INPUT {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    serde_cbor::from_slice(bytes).map_err(DecodeError::Malformed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        a: u64,
        b: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        a: u64,
        b: String,
        #[serde(with = "serde_bytes")]
        c: Vec<u8>,
    }

    #[test]
    fn a_reader_skips_fields_that_came_later() {
        let new = New { a: 7, b: "x".into(), c: vec![1, 2, 3] };
        let old: Old = decode(&encode(&new)).unwrap();
        assert_eq!(old, Old { a: 7, b: "x".into() });
    }

    #[test]
    fn trailing_bytes_and_long_inputs_are_refused() {
        let mut bytes = encode(&1u8);
        bytes.push(0);
        assert!(matches!(decode::<u8>(&bytes), Err(DecodeError::Malformed(_))));
        assert!(matches!(decode::<u8>(&vec![0; MAX_INPUT + 1]), Err(DecodeError::TooLong(_))));
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        let bytes = vec![0x81; 100_000];
        assert!(decode::<ciborium::Value>(&bytes).is_err());
    }

    proptest! {
        /// The wire format is RFC 8949: another implementation reads the same value.
        #[test]
        fn a_second_cbor_crate_reads_what_we_write(a: u64, b: String, c: Vec<u8>) {
            let bytes = encode(&New { a, b: b.clone(), c: c.clone() });
            let value: ciborium::Value = ciborium::from_reader(&bytes[..]).unwrap();
            let expected = ciborium::Value::Map(vec![
                (0.into(), a.into()),
                (1.into(), b.into()),
                (2.into(), ciborium::Value::Bytes(c)),
            ]);
            prop_assert_eq!(value, expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode::<New>(&bytes);
        }
    }
}
