//! Who of several equally good servers gets a client, and which clients a canary gets.
//!
//! Sharing is weighted rendezvous hashing (Schindelhauer and Schomaker, SPAA 2005): each server draws a score from a
//! hash of service, server and client, scaled by its weight, and the highest wins. A client keeps its server as long
//! as that server is in the pool, and a server that leaves moves only its own clients.
//!
//! A canary takes a client if a hash of the two falls into its share. Each draws for itself, the lower id first, so that
//! a canary that leaves moves only its own clients as well; a second one gets its share of what the first leaves.
//!
//! **Invariant:** [`drawn`] is the only place where those who share are ordered: the answer takes the first of what the
//! explanation shows.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Milli, Sticky};

/// So many servers within the spread are shared out without allocating; more are as well, but slower. Also the most
/// addresses of one answer: by UDP not even so many fit.
pub(super) const FEW: usize = 64;

/// Keeps the draws of canaries apart from those of sharing.
const CANARY: u64 = 0x6361_6e61_7279_2031;

/// By what the clients are told apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose {
    /// Where they are.
    pub(crate) net: IpNet,
    /// Another number for each query, for services that ask for that.
    pub(crate) draw: u32,
}

impl Whose {
    /// What servers are drawn by.
    pub(super) fn lot(&self, sticky: Sticky) -> u64 {
        match sticky {
            Sticky::Client => lot(self.net),
            Sticky::None => mix(u64::from(self.draw)),
        }
    }
}

/// The lot of a client.
pub(super) fn lot(client: IpNet) -> u64 {
    let address = match client.addr() {
        IpAddr::V4(address) => mix(u64::from(u32::from(address))),
        IpAddr::V6(address) => {
            let address = u128::from(address);
            mix(mix((address >> 64) as u64) ^ address as u64)
        }
    };
    mix(address ^ u64::from(client.prefix_len()))
}

/// What a server brings into the draws.
pub(super) fn server_key(service: &[u8], server: &str) -> u64 {
    let mut hash = blake3::Hasher::new();
    hash.update(service);
    hash.update(&[0]);
    hash.update(server.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Gives the places of the first `most` of `count` that share, the lot's own server first. `of` has the key and the
/// weight of the server at each place.
pub(super) fn drawn(
    count: usize,
    of: impl Fn(usize) -> (u64, u16),
    lot: u64,
    most: usize,
    mut give: impl FnMut(usize),
) {
    let score = |place: usize| {
        let (key, weight) = of(place);
        // Of equal scores the first place wins.
        (score(key, weight, lot), usize::MAX - place)
    };
    if most == 1 {
        if let Some((_, place)) = (0..count).map(score).max() {
            give(usize::MAX - place);
        }
        return;
    }
    let mut few = [(0, 0); FEW];
    let mut many = Vec::new();
    let scored = match few.get_mut(..count) {
        Some(few) => few,
        None => {
            many.resize(count, (0, 0));
            &mut many[..]
        }
    };
    for (place, scored) in scored.iter_mut().enumerate() {
        *scored = score(place);
    }
    scored.sort_unstable_by(|a, b| b.cmp(a));
    scored.iter().take(most).for_each(|(_, place)| give(usize::MAX - place));
}

/// The score that a server draws: an exponential variate with the weight as its rate, turned around, so that a server
/// wins with a probability of its weight over the sum of weights. Servers without weight share only when none of the
/// living has any: then all weigh alike.
fn score(key: u64, weight: u16, lot: u64) -> u64 {
    let hash = mix(key ^ lot);
    // 53 bits are what an f64 holds; the half keeps the draw off 0 and 1, where the logarithm is of no use.
    let draw = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let score = f64::from(weight.max(1)) / -draw.ln();
    // The bits of positive floats are in the order of the floats.
    score.to_bits()
}

/// Is a client of a canary's share, in percent?
pub(super) fn is_canary(key: u64, client: IpNet, share: Milli) -> bool {
    let draw = mix(key ^ CANARY ^ lot(client)) >> 32;
    // A hundred thousand thousandths of a percent are all of the 2^32 draws.
    draw * 100_000 < u64::from(share.0) << 32
}

/// Every bit of the output depends on every bit of the input: the finaliser of splitmix64 (Steele et al., OOPSLA 2014).
fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn order(keys: &[(u64, u16)], lot: u64, most: usize) -> Vec<usize> {
        let mut order = Vec::new();
        drawn(keys.len(), |place| keys[place], lot, most, |place| order.push(place));
        order
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_first_few_are_the_first_of_all(
            keys in proptest::collection::vec((0..9_u64, 0..4_u16), 0..100), lot: u64, most in 1..70_usize,
        ) {
            let all = order(&keys, lot, keys.len());
            let mut sorted = all.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..keys.len()).collect::<Vec<_>>(), "everybody has one place");
            prop_assert_eq!(order(&keys, lot, most), &all[..most.min(all.len())]);
        }

        #[test]
        fn who_leaves_changes_nothing_among_the_others(
            keys in proptest::collection::vec((any::<u64>(), 0..4_u16), 1..20), lot: u64,
            gone in any::<proptest::sample::Index>(),
        ) {
            let gone = gone.index(keys.len());
            let mut fewer = keys.clone();
            fewer.remove(gone);
            let before: Vec<_> = order(&keys, lot, 99).into_iter().filter(|at| *at != gone).map(|at| keys[at]).collect();
            let after: Vec<_> = order(&fewer, lot, 99).into_iter().map(|at| fewer[at]).collect();
            prop_assert_eq!(before, after);
        }

        #[test]
        fn a_larger_share_keeps_the_clients_of_a_smaller_one(key: u64, client: [u8; 4], share in 0..100_000_u32) {
            let client = IpNet::from(IpAddr::from(client));
            prop_assert!(!is_canary(key, client, Milli(share)) || is_canary(key, client, Milli(share + 1)));
            prop_assert!(is_canary(key, client, Milli(100_000)) && !is_canary(key, client, Milli(0)));
        }
    }

    #[test]
    fn a_canary_gets_its_share_of_the_clients() {
        let clients = 0..20_000_u32;
        for (key, percent) in [(1, 5.0_f64), (99, 0.5), (7, 50.0)] {
            let share = Milli((percent * 1000.0) as u32);
            let of = |client: &u32| is_canary(key, IpNet::from(IpAddr::from(client.to_be_bytes())), share);
            let got = clients.clone().filter(of).count() as f64;
            let expected = 20_000.0 * percent / 100.0;
            let deviation = (expected * (1.0 - percent / 100.0)).sqrt();
            assert!((got - expected).abs() < 5.0 * deviation, "{got} of 20000, at {percent} %");
        }
    }
}
