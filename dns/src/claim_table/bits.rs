//! Addresses as numbers, of either family.
//!
//! IPv6 is kept as two words: a `u128` wants 16 octets of alignment and would make each cell of a bucket a third larger.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An address: a string of bits, first bit first.
pub(super) trait Bits: Copy + Ord + Default {
    /// How many there are.
    const WIDTH: u8;

    /// The number in the next few bits behind `depth`; `STRIDE` divides the width.
    fn digit<const STRIDE: u8>(self, depth: u8) -> usize;

    /// The last address of the block of that length that this one begins.
    fn last(self, length: u8) -> Self;

    /// The next address.
    fn next(self) -> Option<Self>;

    /// How many first bits are equal.
    fn common(self, other: Self) -> u8;

    /// The block of that length that begins here.
    fn block(self, length: u8) -> IpNet;
}

impl Bits for u32 {
    const WIDTH: u8 = 32;

    fn digit<const STRIDE: u8>(self, depth: u8) -> usize {
        (self << depth >> (Self::WIDTH - STRIDE)) as usize
    }

    fn last(self, length: u8) -> Self {
        self | Self::MAX.checked_shr(length.into()).unwrap_or(0)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn common(self, other: Self) -> u8 {
        (self ^ other).leading_zeros() as u8
    }

    fn block(self, length: u8) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(self), length.min(Self::WIDTH)))
    }
}

/// An IPv6 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wide([u64; 2]);

impl From<u128> for Wide {
    fn from(bits: u128) -> Self {
        Self([(bits >> 64) as u64, bits as u64])
    }
}

impl From<Wide> for u128 {
    fn from(Wide([high, low]): Wide) -> u128 {
        Self::from(high) << 64 | Self::from(low)
    }
}

impl Bits for Wide {
    const WIDTH: u8 = 128;

    fn digit<const STRIDE: u8>(self, depth: u8) -> usize {
        let word = self.0[usize::from(depth / 64)];
        (word << (depth % 64) >> (64 - STRIDE)) as usize
    }

    fn last(self, length: u8) -> Self {
        (u128::from(self) | u128::MAX.checked_shr(length.into()).unwrap_or(0)).into()
    }

    fn next(self) -> Option<Self> {
        u128::from(self).checked_add(1).map(Self::from)
    }

    fn common(self, other: Self) -> u8 {
        (u128::from(self) ^ u128::from(other)).leading_zeros() as u8
    }

    fn block(self, length: u8) -> IpNet {
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(u128::from(self)), length.min(Self::WIDTH)))
    }
}
