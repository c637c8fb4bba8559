//! The OPT record of a query (RFC 6891 section 6.1) and the options that change an answer.
//!
//! Of an option that comes twice the first one counts (RFC 7873 section 4 says so for cookies; the others do not say).
//! Options that are not known here are passed over: RFC 6891 section 6.1.2, "Any OPTION-CODE values not understood by a
//! responder or requestor MUST be ignored."

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

pub(crate) const NSID: u16 = 3;
pub(crate) const SUBNET: u16 = 8;
pub(crate) const COOKIE: u16 = 10;
pub(crate) const KEEPALIVE: u16 = 11;
const PADDING: u16 = 12;
pub(crate) const EXTENDED_ERROR: u16 = 15;

/// Octets of a client cookie (RFC 7873 section 4).
pub(crate) const CLIENT_COOKIE: usize = 8;

/// What an OPT record asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opt<'p> {
    /// The longest UDP message that the asker takes.
    pub size: u16,
    /// The version of EDNS. Of versions but 0 no options are read.
    pub version: u8,
    /// DO.
    pub dnssec_ok: bool,
    /// Which server is this? (RFC 5001)
    pub nsid: bool,
    /// How long may a TCP connection be idle? (RFC 7828)
    pub keepalive: bool,
    /// The asker padded (RFC 7830).
    pub padding: bool,
    /// The client's subnet (RFC 7871).
    pub subnet: Option<Subnet<'p>>,
    /// The cookie (RFC 7873).
    pub cookie: Option<CookieOption<'p>>,
}

/// A client subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet<'p> {
    octets: &'p [u8],
    /// The prefix; nothing if the option says that there is none to go by.
    pub net: Option<IpNet>,
}

/// A cookie as it came: the client's eight octets, and what it holds to be ours, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieOption<'p> {
    /// The client cookie.
    pub client: [u8; CLIENT_COOKIE],
    /// The server cookie: none, or 8 to 32 octets.
    pub server: &'p [u8],
}

/// What is wrong within an OPT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptFault {
    /// The options do not fill the record.
    Length,
    /// A malformed client subnet (RFC 7871 section 6).
    Subnet,
    /// A cookie of a length that no cookie has.
    Cookie,
}

impl<'p> Opt<'p> {
    /// Reads class, TTL and data of the record.
    pub(super) fn read(class: [u8; 2], ttl: [u8; 4], data: &'p [u8]) -> (Self, Option<OptFault>) {
        let mut opt =
            Self { size: u16::from_be_bytes(class), version: ttl[1], dnssec_ok: ttl[2] & 0x80 != 0, ..Self::default() };
        // Another version may mean other options; it is answered with BADVERS.
        let fault = if opt.version == 0 { opt.options(data).err() } else { None };
        (opt, fault)
    }

    fn options(&mut self, mut rest: &'p [u8]) -> Result<(), OptFault> {
        while !rest.is_empty() {
            let (&[c0, c1, l0, l1], after) = rest.split_first_chunk().ok_or(OptFault::Length)?;
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            let (data, after) = after.split_at_checked(length).ok_or(OptFault::Length)?;
            rest = after;
            // Behind a malformed option nothing is read: another of its kind would take its place.
            self.option(u16::from_be_bytes([c0, c1]), data)?;
        }
        Ok(())
    }

    fn option(&mut self, code: u16, data: &'p [u8]) -> Result<(), OptFault> {
        match code {
            NSID => self.nsid = true,
            KEEPALIVE => self.keepalive = true,
            PADDING => self.padding = true,
            SUBNET if self.subnet.is_none() => self.subnet = Some(Subnet::read(data).ok_or(OptFault::Subnet)?),
            COOKIE if self.cookie.is_none() => self.cookie = Some(CookieOption::read(data).ok_or(OptFault::Cookie)?),
            _ => {}
        }
        Ok(())
    }
}

impl<'p> Subnet<'p> {
    /// RFC 7871 section 6: "A server receiving an ECS option that uses either too few or too many ADDRESS octets, or that
    /// has non-zero ADDRESS bits set beyond SOURCE PREFIX-LENGTH, SHOULD return FORMERR".
    fn read(octets: &'p [u8]) -> Option<Self> {
        let (&[f0, f1, source, scope], address) = octets.split_first_chunk()?;
        // "In queries, it MUST be set to 0."
        if scope != 0 || address.len() != usize::from(source).div_ceil(8) {
            return None;
        }
        // Length 0 says "leave my client out of it", in whichever family.
        if source == 0 {
            return Some(Self { octets, net: None });
        }
        let ip: IpAddr = match u16::from_be_bytes([f0, f1]) {
            1 => Ipv4Addr::from(padded(address)?).into(),
            2 => Ipv6Addr::from(padded(address)?).into(),
            _ => return None,
        };
        let net = IpNet::new(ip, source).ok()?;
        (net.network() == ip).then_some(Self { octets, net: Some(net) })
    }

    /// FAMILY, SOURCE PREFIX-LENGTH, SCOPE PREFIX-LENGTH and ADDRESS, as they came.
    pub fn octets(&self) -> &'p [u8] {
        self.octets
    }
}

fn padded<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(all)
}

impl<'p> CookieOption<'p> {
    /// RFC 7873 section 5.2.2: a COOKIE option of another length than 8 or 16 to 40 octets is FORMERR.
    fn read(octets: &'p [u8]) -> Option<Self> {
        let (client, server) = octets.split_first_chunk()?;
        matches!(server.len(), 0 | 8..=32).then_some(Self { client: *client, server })
    }
}
