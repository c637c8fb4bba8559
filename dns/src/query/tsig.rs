//! The TSIG record of a query (RFC 8945 section 4.2): as much of it as a refusal needs.

use super::name;

/// Octets of Time Signed, Fudge and MAC Size after the algorithm's name.
const BEFORE_MAC: usize = 10;

/// Octets of Original ID, Error and Other Len after the MAC.
const AFTER_MAC: usize = 6;

/// A signature, in the octets of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tsig<'p> {
    /// The key's name, uncompressed.
    pub key: &'p [u8],
    /// The algorithm's name, uncompressed.
    pub algorithm: &'p [u8],
    /// Time Signed and Fudge.
    pub time: [u8; 8],
    /// Original ID.
    pub original_id: [u8; 2],
}

impl<'p> Tsig<'p> {
    pub(super) fn read(key: &'p [u8], data: &'p [u8]) -> Option<Self> {
        // "The name ... MUST NOT be compressed": section 4.2.
        let end = name::extent(data, 0).filter(|extent| extent.plain)?.end;
        let (algorithm, rest) = data.split_at_checked(end)?;
        let (fixed, rest) = rest.split_first_chunk::<BEFORE_MAC>()?;
        let (time, size) = fixed.split_first_chunk::<8>()?;
        let mac = usize::from(u16::from_be_bytes([*size.first()?, *size.get(1)?]));
        let rest = rest.get(mac..)?;
        let (fixed, other) = rest.split_first_chunk::<AFTER_MAC>()?;
        let complete = other.len() == usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        complete.then_some(Self { key, algorithm, time: *time, original_id: [fixed[0], fixed[1]] })
    }
}
