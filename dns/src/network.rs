//! The network that a client counts as part of where something is shared out among clients.

use std::net::IpAddr;

/// A /24 of IPv4 or a /56 of IPv6: what one customer has, at most, and what BIND's and Knot's rate limits take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Network(u64);

impl Network {
    /// The network of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(u32::from(v4) >> 8)),
            IpAddr::V6(v6) => Self((u128::from(v6) >> 72) as u64 | 1 << 63),
        }
    }

    /// Different for different networks.
    pub(crate) fn octets(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }
}
