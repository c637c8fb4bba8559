//! A name as a key: its labels in lower case, in wire form (RFC 1035 section 3.1), without the root.
//!
//! Every question starts with "which of my zones is this in, and what stands there?". In wire form a suffix of a name
//! is a suffix of its bytes, so each step is one look-up of a slice, and nothing is allocated. Lower case once, because
//! names compare without case (RFC 4343).

use hickory_proto::rr::{Name, RecordType};

use crate::query::AskedName;

/// Octets of the longest name (RFC 1035 section 2.3.4).
const LONGEST: usize = 255;

/// More labels than that do not fit in [`LONGEST`] octets.
const MOST_LABELS: usize = 128;

/// The labels of a name, lowered.
#[derive(Clone)]
pub(crate) struct WireName {
    bytes: [u8; LONGEST],
    /// Where each label starts, and at `labels` where the last one ends.
    starts: [u8; MOST_LABELS + 1],
    labels: usize,
}

impl WireName {
    /// The key of a name. Labels beyond what a legal name can hold are left off.
    pub(crate) fn new(name: &Name) -> Self {
        let mut wire = Self::EMPTY;
        let mut at = 0;
        for label in name.iter() {
            let end = at + 1 + label.len();
            if end >= LONGEST || wire.labels == MOST_LABELS {
                break;
            }
            // A label has at most 63 octets, and `end` is below 255: both fit.
            wire.bytes[at] = label.len() as u8;
            wire.bytes[at + 1..end].copy_from_slice(label);
            wire.bytes[at + 1..end].make_ascii_lowercase();
            wire.labels += 1;
            wire.starts[wire.labels] = end as u8;
            at = end;
        }
        wire
    }

    /// No name yet, for [`WireName::read`].
    pub(crate) const EMPTY: Self = Self { bytes: [0; LONGEST], starts: [0; MOST_LABELS + 1], labels: 0 };

    /// Becomes the key of a name in a packet; it must be empty.
    pub(crate) fn read(&mut self, asked: AskedName<'_>) {
        let wire = self;
        let octets = asked.octets();
        // All but the root. A name that was read is at most 255 octets long, and each label at least two.
        let end = octets.len().saturating_sub(1).min(LONGEST);
        wire.bytes[..end].copy_from_slice(&octets[..end]);
        // Lengths are at most 63, below every letter.
        wire.bytes[..end].make_ascii_lowercase();
        let mut at = 0;
        while at < end && wire.labels < MOST_LABELS {
            at += 1 + usize::from(octets[at]);
            wire.labels += 1;
            wire.starts[wire.labels] = at as u8;
        }
    }

    /// Number of labels.
    pub(crate) fn labels(&self) -> usize {
        self.labels
    }

    /// The labels from `first` up to but not including `end`, counted from the left. Out of range: nothing.
    pub(crate) fn slice(&self, first: usize, end: usize) -> &[u8] {
        if first >= end || end > self.labels {
            return &[];
        }
        &self.bytes[usize::from(self.starts[first])..usize::from(self.starts[end])]
    }

    /// The last `count` labels.
    pub(crate) fn suffix(&self, count: usize) -> &[u8] {
        self.slice(self.labels.saturating_sub(count), self.labels)
    }

    /// One label without its length octet.
    pub(crate) fn label(&self, index: usize) -> &[u8] {
        self.slice(index, index + 1).get(1..).unwrap_or(&[])
    }

    /// Are the first `own` labels in front of another name short enough to be a name?
    pub(crate) fn fits_below(&self, own: usize, parent: &Name) -> bool {
        // The parent's length does not count the root.
        self.slice(0, own).len() + parent.len() < LONGEST
    }

    /// The first `own` labels, in lower case, in front of another name; nothing if that would be too long.
    pub(crate) fn name_below(&self, own: usize, parent: &Name) -> Option<Name> {
        let before = Name::from_labels((0..own).map(|at| self.label(at))).ok()?;
        before.append_domain(parent).ok()
    }

    /// The whole name.
    pub(crate) fn all(&self) -> &[u8] {
        self.slice(0, self.labels)
    }
}

/// A name as people write it: without the last dot.
pub(crate) fn plain(name: &Name) -> String {
    let text = name.to_ascii();
    match text.strip_suffix('.') {
        Some("") | None => text,
        Some(rest) => rest.to_owned(),
    }
}

/// A record type as people write it; one without a word for it as `TYPE65280` (RFC 3597 section 5).
pub(crate) fn mnemonic(rtype: RecordType) -> String {
    match rtype {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        known => known.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::WireName;
    use hickory_proto::rr::Name;

    #[test]
    fn a_suffix_is_the_key_of_the_parent() {
        let name = WireName::new(&Name::from_ascii("WWW.Lb.Example.COM.").unwrap());
        let parent = WireName::new(&Name::from_ascii("lb.example.com.").unwrap());
        assert_eq!(name.suffix(3), parent.all());
        assert_eq!(name.slice(0, 1), b"\x03www");
        assert_eq!(name.label(1), b"lb");
        assert_eq!(name.label(9), b"");
        assert_eq!(WireName::new(&Name::root()).all(), b"");
    }

    #[test]
    fn the_longest_names_fit() {
        // 127 labels of one octet are 254 octets and the root.
        let most = Name::from_labels(vec![&b"a"[..]; 127]).unwrap();
        assert_eq!(WireName::new(&most).labels(), 127);
        let longest = Name::from_labels(vec![vec![b'x'; 63], vec![b'x'; 63], vec![b'x'; 63], vec![b'x'; 61]]).unwrap();
        assert_eq!(WireName::new(&longest).labels(), 4);
    }
}
