//! How a page travels: whole, or as a delta against the version before it.
//!
//! Most new versions differ from the last in a few rows, so a writer sends the difference: an LZ4 block with the old
//! body as dictionary, and the digest that names the old version. The signature covers the hash of the
//! body, so a delta needs no signature of its own, and a relay passes on the very delta that it received. Who lacks the
//! base asks for the whole page.
//!
//! Rejected: signing the deltas (a join would need the whole chain), a row format known to this crate (tables pass
//! through unread), zstd (a C library; on 1 KB it gains nothing here).

use bytes::Bytes;

use crate::page::{Header, MAX_BODY, Page};

/// Bytes that a delta must save to be worth a possible miss.
const WORTHWHILE: usize = 32;

/// The difference between a version and the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Digest of the version that the patch applies to.
    pub(crate) base: u64,
    /// An LZ4 block whose dictionary is the base's body.
    pub(crate) patch: Bytes,
}

impl Delta {
    /// What leads from `base` to `page`, if saying it is shorter than the page.
    pub(crate) fn between(base: &Page, page: &Page) -> Option<Self> {
        // LZ4 needs a dictionary to refer to; below this a page is all header anyway.
        if base.body().len() < WORTHWHILE || page.body().len() < 2 * WORTHWHILE {
            return None;
        }
        let patch = lz4_flex::block::compress_with_dict(page.body(), base.body());
        (patch.len() + WORTHWHILE <= page.body().len()).then(|| Self { base: base.digest(), patch: patch.into() })
    }

    /// The body that `header` names, if this is the right base and the patch leads there.
    fn apply(&self, base: &Page) -> Option<Bytes> {
        if base.digest() != self.base {
            return None;
        }
        let mut body = vec![0; MAX_BODY];
        let length = lz4_flex::block::decompress_into_with_dict(&self.patch, &mut body, base.body()).ok()?;
        body.truncate(length);
        Some(body.into())
    }
}

/// A page on its way.
#[derive(Clone, Debug)]
pub struct Frame {
    pub(crate) of: Of,
    pub(crate) delta: Option<Delta>,
}

/// What a frame holds of its page.
#[derive(Clone, Debug)]
pub(crate) enum Of {
    /// All of it: a frame of ours, or one that came whole.
    Page(Page),
    /// A verified header, whose body the delta leads to.
    Header(std::sync::Arc<Header>),
}

impl Frame {
    /// The page, whole.
    pub(crate) fn whole(page: Page) -> Self {
        Self { of: Of::Page(page), delta: None }
    }

    pub(crate) fn header(&self) -> &Header {
        match &self.of {
            Of::Page(page) => page.header(),
            Of::Header(header) => header,
        }
    }

    /// The page, given what is held of its key; `None` if that is not the base.
    pub(crate) fn complete(&self, held: Option<&Page>) -> Option<Page> {
        match (&self.of, &self.delta) {
            (Of::Page(page), None) => Some(page.clone()),
            // Handed over within a process (the simulator): the base is still required, the work is not done again.
            (Of::Page(page), Some(delta)) => (held?.digest() == delta.base).then(|| page.clone()),
            (Of::Header(header), Some(delta)) => {
                let body = delta.apply(held?)?;
                Page::join(header.again(), body).ok()
            }
            (Of::Header(_), None) => None,
        }
    }

    /// Bytes on a wire, nearly: what queues and the simulator count.
    pub(crate) fn size(&self) -> usize {
        let header = self.header();
        let content = match (&self.delta, &self.of) {
            (Some(delta), _) => delta.patch.len() + 9,
            (None, Of::Page(page)) => page.body().len(),
            (None, Of::Header(_)) => 0,
        };
        header.signed.len() + header.signature.len() + content + 12
    }
}

impl From<Page> for Frame {
    fn from(page: Page) -> Self {
        Self::whole(page)
    }
}

/// Equal when they carry the same page in the same way.
impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.header().key == other.header().key
            && self.header().stamp == other.header().stamp
            && self.delta == other.delta
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::page::{Key, Owner, Slot, Table};

    fn page(version: u64, body: Vec<u8>) -> Page {
        let signing = SigningKey::from_bytes(&[1; 32]);
        let key = Key { owner: Owner::Node(signing.verifying_key().into()), table: Table(16), slot: Slot::page(0) };
        Page::sign(&signing, key, 1, version, body)
    }

    /// A page of 64 rows of 12 bytes, as claims are.
    fn rows(changed: impl Fn(u8) -> u8) -> Vec<u8> {
        (0..64u8)
            .flat_map(|row| [198, 51, row, 0, 24, 7, row ^ 0x5a, row.wrapping_mul(31), 9, 1, 0, changed(row)])
            .collect()
    }

    /// As a reader leaves it: the header verified, the body not there yet.
    fn received(page: &Page, delta: Delta) -> Frame {
        let header = page.header().again();
        Frame { of: Of::Header(std::sync::Arc::new(header)), delta: Some(delta) }
    }

    #[test]
    fn ten_changed_rows_of_64_travel_in_a_fifth_of_the_page() {
        let old = page(1, rows(|_| 3));
        let new = page(2, rows(|row| if row % 6 == 0 { 4 } else { 3 }));
        let delta = Delta::between(&old, &new).unwrap();
        assert!(delta.patch.len() * 5 <= new.body().len(), "{} of {}", delta.patch.len(), new.body().len());
        let made = received(&new, delta.clone()).complete(Some(&old)).unwrap();
        assert_eq!((made.body(), &made), (new.body(), &new));
        // Without the base, or with another version, it leads nowhere.
        assert!(received(&new, delta.clone()).complete(None).is_none());
        assert!(received(&new, delta.clone()).complete(Some(&new)).is_none());
        assert!(Frame { of: Of::Page(new.clone()), delta: Some(delta) }.complete(Some(&new)).is_none());
    }

    #[test]
    fn what_does_not_get_shorter_travels_whole() {
        let old = page(1, vec![0; 600]);
        let noise = blake3::Hasher::new().finalize_xof().read_vec(600);
        assert_eq!(Delta::between(&old, &page(2, noise)), None);
        assert_eq!(Delta::between(&page(1, vec![]), &old), None);
    }

    trait ReadVec {
        fn read_vec(self, n: usize) -> Vec<u8>;
    }
    impl ReadVec for blake3::OutputReader {
        fn read_vec(mut self, n: usize) -> Vec<u8> {
            let mut bytes = vec![0; n];
            self.fill(&mut bytes);
            bytes
        }
    }

    proptest! {
        /// A relay cannot make a delta lead to another body: it is the signed one, or nothing.
        #[test]
        fn an_altered_patch_leads_nowhere_else(at in 0usize..200, byte: u8) {
            let old = page(1, rows(|_| 3));
            let new = page(2, rows(|row| row));
            let mut delta = Delta::between(&old, &new).unwrap();
            let mut patch = delta.patch.to_vec();
            let at = at % patch.len();
            patch[at] = byte;
            delta.patch = patch.into();
            if let Some(made) = received(&new, delta).complete(Some(&old)) {
                prop_assert_eq!(made.body(), new.body());
            }
        }

        #[test]
        fn arbitrary_patches_never_panic(patch: Vec<u8>) {
            let old = page(1, rows(|_| 3));
            let frame = received(&page(2, vec![1]), Delta { base: old.digest(), patch: patch.into() });
            let _ = frame.complete(Some(&old));
        }
    }
}
