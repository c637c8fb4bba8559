//! Addresses as numbers, of either family.
//!
//! IPv6 is kept as four words: a `u128` wants 16 octets of alignment and would make each cell of a bucket larger.

use std::cmp::Ordering;
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

    /// How many first bits are equal.
    fn common(self, other: Self) -> u8;

    /// The block of that length that begins here.
    fn block(self, length: u8) -> IpNet;

    /// As words of memory, and how many.
    const WORDS: usize;
    fn words(self) -> impl AsRef<[u32]>;
    fn of_words(words: &[u32]) -> Self;

    /// How many of these addresses, which are sorted, are not behind this one.
    fn count_until(sorted: &[u32], address: Self) -> usize;
}

/// So many addresses are counted rather than searched: to look at all of them at once is quicker than to guess six times
/// which half to look at.
const FEW: usize = 64;

impl Bits for u32 {
    const WIDTH: u8 = 32;

    fn digit<const STRIDE: u8>(self, depth: u8) -> usize {
        (self << depth >> (Self::WIDTH - STRIDE)) as usize
    }

    fn last(self, length: u8) -> Self {
        self | Self::MAX.checked_shr(length.into()).unwrap_or(0)
    }

    fn common(self, other: Self) -> u8 {
        (self ^ other).leading_zeros() as u8
    }

    fn block(self, length: u8) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(self), length.min(Self::WIDTH)))
    }

    const WORDS: usize = 1;

    fn words(self) -> impl AsRef<[u32]> {
        [self]
    }

    fn of_words(words: &[u32]) -> Self {
        words.first().copied().unwrap_or_default()
    }

    #[inline]
    fn count_until(sorted: &[u32], address: Self) -> usize {
        if sorted.len() <= FEW {
            return sorted.iter().map(|start| u32::from(*start <= address)).sum::<u32>() as usize;
        }
        sorted.partition_point(|start| *start <= address)
    }
}

/// An IPv6 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wide([u32; 4]);

impl From<u128> for Wide {
    fn from(bits: u128) -> Self {
        Self([(bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32])
    }
}

impl From<Wide> for u128 {
    fn from(Wide(words): Wide) -> u128 {
        words.into_iter().fold(0, |bits, word| bits << 32 | Self::from(word))
    }
}

impl Ord for Wide {
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from(*self).cmp(&u128::from(*other))
    }
}

impl PartialOrd for Wide {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Bits for Wide {
    const WIDTH: u8 = 128;

    fn digit<const STRIDE: u8>(self, depth: u8) -> usize {
        let word = self.0[usize::from(depth / 32)];
        (word << (depth % 32) >> (32 - STRIDE)) as usize
    }

    fn last(self, length: u8) -> Self {
        (u128::from(self) | u128::MAX.checked_shr(length.into()).unwrap_or(0)).into()
    }

    fn common(self, other: Self) -> u8 {
        (u128::from(self) ^ u128::from(other)).leading_zeros() as u8
    }

    fn block(self, length: u8) -> IpNet {
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(u128::from(self)), length.min(Self::WIDTH)))
    }

    const WORDS: usize = 4;

    fn words(self) -> impl AsRef<[u32]> {
        self.0
    }

    fn of_words(words: &[u32]) -> Self {
        Self(words.first_chunk().copied().unwrap_or_default())
    }

    #[inline]
    fn count_until(sorted: &[u32], address: Self) -> usize {
        sorted.as_chunks().0.partition_point(|start| Self(*start) <= address)
    }
}
