//! Names in a packet: how far one goes, and the one that is asked for.

use std::fmt;

/// Octets of the longest name, its root included (RFC 1035 section 2.3.4).
const LONGEST: usize = 255;

/// Where a name ends in the packet, and whether all of it stands there.
pub(super) struct Extent {
    pub(super) end: usize,
    /// Without a pointer.
    pub(super) plain: bool,
}

/// Walks over a name. Nothing: it is none.
///
/// A pointer ends a name (RFC 1035 section 4.1.4), so it need not be followed to know what comes after.
pub(super) fn extent(packet: &[u8], start: usize) -> Option<Extent> {
    let mut at = start;
    loop {
        let length = usize::from(*packet.get(at)?);
        match length {
            0 => return (at + 1 - start <= LONGEST).then_some(Extent { end: at + 1, plain: true }),
            1..=63 => at += 1 + length,
            0xc0.. => return packet.get(at + 1).map(|_| Extent { end: at + 2, plain: false }),
            // "The 10 and 01 combinations are reserved for future use" (RFC 1035 section 4.1.4), and the future of one
            // of them is over (RFC 6891 section 5).
            _ => return None,
        }
        // The root has yet to come.
        if at + 1 - start > LONGEST {
            return None;
        }
    }
}

/// A name as it was asked: uncompressed wire form, case and all, with the root.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AskedName<'p>(&'p [u8]);

impl<'p> AskedName<'p> {
    /// The octets must be one whole name: [`extent`] says so.
    pub(super) fn new(octets: &'p [u8]) -> Self {
        Self(octets)
    }

    /// The octets, from the first length to the root's zero.
    pub fn octets(&self) -> &'p [u8] {
        self.0
    }

    /// The labels without their lengths, the root left out.
    pub fn labels(&self) -> impl Iterator<Item = &'p [u8]> + use<'p> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first().filter(|(length, _)| **length > 0)?;
            let (label, after) = after.split_at_checked(usize::from(*length))?;
            rest = after;
            Some(label)
        })
    }
}

impl fmt::Debug for AskedName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.labels().try_for_each(|label| write!(f, "{}.", label.escape_ascii()))
    }
}
