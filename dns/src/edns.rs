//! Our OPT record, written as octets (RFC 6891 section 6.1).

use crate::query::Opt;

/// The largest UDP message sent, and said to be taken: what crosses the Internet unfragmented (RFC 9715 section 3.1,
/// DNS flag day 2020).
pub const LARGEST_UDP: u16 = 1232;

/// What every UDP client takes (RFC 1035 section 4.2.1).
pub(crate) const SMALLEST_UDP: u16 = 512;

/// Owner, type, class, TTL and length.
const HEAD: usize = 11;

/// Room for all options that we send at once: a node name of 64 octets, a subnet of 24, a cookie of 28, an extended
/// error of some 80, an idle time of 6.
const LARGEST: usize = 256;

/// How much a UDP client takes, as far as we go along. RFC 6891 section 6.2.3: "Values lower than 512 MUST be treated as
/// equal to 512."
pub(crate) fn udp_limit(asked: Option<&Opt<'_>>) -> usize {
    asked.map_or(SMALLEST_UDP, |opt| opt.size.clamp(SMALLEST_UDP, LARGEST_UDP)).into()
}

/// An OPT record on its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OptReply {
    octets: [u8; LARGEST],
    length: usize,
}

impl OptReply {
    /// The record for a query that had one; RFC 6891 section 6.1.1: "If an OPT record is present in a received request,
    /// compliant responders MUST include an OPT record in their respective responses."
    ///
    /// Version 0, which is the highest that we know. DO as it came: RFC 3225 section 3, "MUST be copied". The other flags
    /// are zero whatever they were (RFC 6891 section 6.1.4).
    pub(crate) fn to(asked: &Opt<'_>) -> Self {
        let mut octets = [0; LARGEST];
        octets[2] = 41;
        octets[3..5].copy_from_slice(&LARGEST_UDP.to_be_bytes());
        octets[7] = u8::from(asked.dnssec_ok) << 7;
        Self { octets, length: HEAD }
    }

    /// Adds an option. One that finds no room is left out, which [`LARGEST`] precludes.
    pub(crate) fn add(&mut self, code: u16, parts: &[&[u8]]) {
        let data: usize = parts.iter().map(|part| part.len()).sum();
        let Some(room) = self.octets.get_mut(self.length..self.length + 4 + data) else { return };
        let Ok(size) = u16::try_from(data) else { return };
        room[..2].copy_from_slice(&code.to_be_bytes());
        room[2..4].copy_from_slice(&size.to_be_bytes());
        let mut at = 4;
        for part in parts {
            room[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.length += at;
        // At most LARGEST: it fits.
        let options = (self.length - HEAD) as u16;
        self.octets[9..11].copy_from_slice(&options.to_be_bytes());
    }

    /// As far as it is written.
    pub(crate) fn mark(&self) -> usize {
        self.length
    }

    /// Takes back what was added since the mark.
    pub(crate) fn rewind(&mut self, mark: usize) {
        self.length = self.length.min(mark.max(HEAD));
        // At most LARGEST: it fits.
        let options = (self.length - HEAD) as u16;
        self.octets[9..11].copy_from_slice(&options.to_be_bytes());
    }

    /// The upper eight bits of the response code.
    pub(crate) fn set_code_high(&mut self, high: u8) {
        self.octets[5] = high;
    }

    /// The record.
    pub(crate) fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::OptReply;
    use crate::query::Opt;

    #[test]
    fn options_follow_each_other_as_long_as_there_is_room() {
        let mut opt = OptReply::to(&Opt { dnssec_ok: true, ..Opt::default() });
        assert_eq!(opt.octets(), b"\0\0\x29\x04\xd0\0\0\x80\0\0\0");
        opt.set_code_high(1);
        opt.add(3, &[b"f", b"ra"]);
        opt.add(11, &[b""]);
        assert_eq!(opt.octets(), b"\0\0\x29\x04\xd0\x01\0\x80\0\0\x0b\0\x03\0\x03fra\0\x0b\0\0");
        opt.add(5, &[&[0; 300]]);
        opt.add(6, &[&[1; 230]]);
        assert_eq!(opt.octets().len(), 22 + 234);
        opt.add(7, &[b""]);
        assert_eq!(opt.octets().len(), 256);
    }
}
