//! What no member says: more pages than a node may have, others' pages that others never signed, noise.

use ed25519_dalek::SigningKey;
use nigh_gossip::frame::Frame;
use nigh_gossip::message::{Graft, Message};
use nigh_gossip::{Key, Listed, NodeId, Owner, Page, Slot, Table};
use rand::{Rng, RngExt};

/// Own pages in a message: about as many octets as an honest one has at most.
const PAGES: usize = 28;
/// Octets in each.
const BODY: usize = 1000;
/// The slots that are written: five times as many pages as a member may have.
const SLOTS: u32 = 5000;
/// Tables that nobody reads.
const TABLES: u16 = 1000;
/// Every so many messages is one that ends its stream, which then has to be opened again.
const NOISE_EVERY: u64 = 256;
/// Octets of noise.
const NOISE: usize = 4096;

/// Makes junk.
pub(super) struct Junk {
    signing: SigningKey,
    me: NodeId,
    epoch: u64,
    made: u64,
}

impl Junk {
    pub(super) fn new(signing: SigningKey, epoch: u64) -> Self {
        let me = NodeId::from(signing.verifying_key());
        Self { signing, me, epoch, made: 0 }
    }

    /// The next message, or what is none. `others` are pages that others wrote.
    pub(super) fn next(&mut self, others: &[Page], random: &mut impl Rng) -> Vec<u8> {
        self.made += 1;
        match self.made % NOISE_EVERY {
            0 => {
                let mut noise = vec![0; NOISE];
                random.fill_bytes(&mut noise);
                noise
            }
            64 => self.forged(others, random),
            128 => self.in_anothers_name(others, random),
            192 => Vec::new(),
            // Steps of an exchange that nobody began, and a wish for everything.
            n if n % 16 == 1 => Message::Digests(vec![Listed { bucket: 7, digests: vec![self.made; 4000] }]).encode(),
            n if n % 16 == 2 => {
                Message::Graft(Graft { digests: vec![self.made; 500], origins: vec![u64::MAX], all: true }).encode()
            }
            n if n % 16 == 3 => Message::Have((0..500).map(|digest| digest ^ self.made).collect()).encode(),
            // What everybody holds already, as it is.
            n if n % 16 == 4 && !others.is_empty() => {
                let again = (0..PAGES).filter_map(|_| others.get(random.random_range(0..others.len())));
                Message::News(again.cloned().map(Frame::from).collect()).encode()
            }
            _ => Message::News((0..PAGES).map(|_| Frame::from(self.page(random))).collect()).encode(),
        }
    }

    fn page(&mut self, random: &mut impl Rng) -> Page {
        let slot = Slot::page(random.random_range(0..SLOTS));
        let table = Table(TABLES + random.random_range(0..4));
        self.made += NOISE_EVERY; // each a version of its own, without a change of turn
        let mut body = vec![0; BODY];
        random.fill_bytes(&mut body);
        Page::sign(&self.signing, Key { owner: Owner::Node(self.me), table, slot }, self.epoch, self.made, body)
    }

    /// Another's page with a bit of its body changed.
    fn forged(&self, others: &[Page], random: &mut impl Rng) -> Vec<u8> {
        let Some(page) = others.get(random.random_range(0..others.len().max(1))) else { return Vec::new() };
        let mut bytes = Message::News(vec![Frame::from(page.clone())]).encode();
        if let Some(at) = place(&bytes, page.body()) {
            bytes[at + page.body().len() / 2] ^= 1;
        }
        bytes
    }

    /// A page of ours, signed by us, in which another stands as its writer.
    fn in_anothers_name(&mut self, others: &[Page], random: &mut impl Rng) -> Vec<u8> {
        let mut bytes = Message::News(vec![Frame::from(self.page(random))]).encode();
        let other = others.get(random.random_range(0..others.len().max(1))).map(Page::signer);
        if let (Some(other), Some(at)) = (other, place(&bytes, self.me.as_bytes())) {
            bytes[at..at + 32].copy_from_slice(other.as_bytes());
        }
        bytes
    }
}

fn place(bytes: &[u8], part: &[u8]) -> Option<usize> {
    (!part.is_empty()).then(|| bytes.windows(part.len()).position(|window| window == part))?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Junk;
    use ed25519_dalek::SigningKey;
    use nigh_gossip::message::Message;
    use nigh_gossip::{Key, NodeId, Owner, Page, Slot, Table};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn forged_pages_are_none_and_the_flooders_own_are_good() {
        let other = SigningKey::from_bytes(&[1; 32]);
        let key =
            Key { owner: Owner::Node(NodeId::from(other.verifying_key())), table: Table(17), slot: Slot::page(0) };
        let others = vec![Page::sign(&other, key, 1, 1, vec![7; 100])];
        let mut junk = Junk::new(SigningKey::from_bytes(&[2; 32]), 1);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        assert!(Message::decode(&junk.forged(&others, &mut random)).is_err());
        assert!(Message::decode(&junk.in_anothers_name(&others, &mut random)).is_err());
        let kinds: Vec<bool> = (0..256).map(|_| Message::decode(&junk.next(&others, &mut random)).is_ok()).collect();
        assert_eq!(kinds.iter().filter(|good| !**good).count(), 4, "noise, two that are forged, and nothing");
    }
}
