//! Which node is near a client: longest prefix match over all claims.
//!
//! The longest prefix that covers the client and has a claimant who may be referred to wins; among its claimants the
//! best rank ([`crate::Rank`]), then the lower name, so that every node that holds the same claims picks the same winner. If
//! nobody of the longest prefix can be referred to, the next shorter one is asked.
//!
//! The table knows no standings: who may be referred to is the caller's question, asked anew for each snapshot.
//!
//! **Scope of an answer (RFC 7871 section 7.2.1).** A resolver reuses an answer for the whole block that its scope
//! names, so the block must be answered alike everywhere. That is the claim's prefix, unless more specific claims lie
//! inside it: then the largest block around the client that holds none of them. Rejected: always the claim's prefix,
//! which would hand the answer for 10/8 to the claimants of 10.1/16.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use crate::Claim;

/// All claims.
#[derive(Default)]
pub(crate) struct Claims {
    /// By prefix, then rank.
    list: Vec<Claim>,
    v4: PrefixMap<Ipv4Net, Block>,
    v6: PrefixMap<Ipv6Net, Block>,
}

/// The claims of one prefix: a range of the list.
#[derive(Clone, Copy)]
struct Block {
    start: usize,
    len: usize,
}

impl Claims {
    /// Sorts and indexes claims. Of equal ones (one node, one prefix) the better one stays.
    pub(crate) fn new(mut claims: Vec<Claim>) -> Self {
        for claim in &mut claims {
            claim.prefix = claim.prefix.trunc();
        }
        claims.sort_by(|a, b| (a.prefix, &a.node, a.rank()).cmp(&(b.prefix, &b.node, b.rank())));
        claims.dedup_by(|later, first| (later.prefix, &later.node) == (first.prefix, &first.node));
        claims.sort_by(|a, b| (a.prefix, a.rank()).cmp(&(b.prefix, b.rank())));

        let mut this = Self::default();
        let mut start = 0;
        for block in claims.chunk_by(|a, b| a.prefix == b.prefix) {
            let place = Block { start, len: block.len() };
            match block[0].prefix {
                IpNet::V4(net) => drop(this.v4.insert(net, place)),
                IpNet::V6(net) => drop(this.v6.insert(net, place)),
            }
            start += block.len();
        }
        this.list = claims;
        this
    }

    /// The claims whose prefix covers the client, block by block, longest prefix first, best claimant first.
    pub(crate) fn covering(&self, client: IpNet) -> Vec<&[Claim]> {
        let mut blocks: Vec<&[Claim]> = match client {
            IpNet::V4(net) => self.v4.cover(&net).map(|(_, block)| self.of(*block)).collect(),
            IpNet::V6(net) => self.v6.cover(&net).map(|(_, block)| self.of(*block)).collect(),
        };
        blocks.reverse();
        blocks
    }

    /// The claim that wins for the client among those whose node is `usable`.
    pub(crate) fn best(&self, client: IpNet, usable: impl Fn(&Claim) -> bool) -> Option<&Claim> {
        let longest = match client {
            IpNet::V4(net) => self.v4.get_lpm(&net).map(|(_, block)| *block),
            IpNet::V6(net) => self.v6.get_lpm(&net).map(|(_, block)| *block),
        }?;
        // Nearly always somebody of the longest prefix is there, so the shorter ones are not even looked up.
        self.of(longest)
            .iter()
            .find(|claim| usable(claim))
            .or_else(|| self.covering(client).into_iter().skip(1).flatten().find(|claim| usable(claim)))
    }

    /// The length of the largest block around the client within which nobody has a claim of his own, given the claim
    /// that won for it. Never longer than the client's own prefix, never shorter than the winning one.
    ///
    /// Claims count here whether their node is there or not: a block that is too small is still right, and asking
    /// each claim inside a large block would let one question cost as much as all claims.
    pub(crate) fn scope(&self, client: IpNet, won: Option<&Claim>) -> u8 {
        let from = won.map_or(0, |claim| claim.prefix.prefix_len());
        (from..client.prefix_len())
            .find(|length| self.is_alike(block_around(client, *length), won.map(|_| from)))
            .unwrap_or(client.prefix_len())
    }

    /// Does no claim lie in the block, but for the one of length `won` that covers it?
    fn is_alike(&self, block: IpNet, won: Option<u8>) -> bool {
        match block {
            IpNet::V4(net) => self.v4.children(&net).all(|(inner, _)| won == Some(inner.prefix_len())),
            IpNet::V6(net) => self.v6.children(&net).all(|(inner, _)| won == Some(inner.prefix_len())),
        }
    }

    fn of(&self, block: Block) -> &[Claim] {
        self.list.get(block.start..block.start + block.len).unwrap_or(&[])
    }
}

/// A single address as a prefix. An IPv4 address that a dual-stack socket reports inside IPv6 is an IPv4 address.
pub(crate) fn host(address: IpAddr) -> IpNet {
    IpNet::from(address.to_canonical())
}

/// The block of that length around a prefix.
pub(crate) fn block_around(client: IpNet, length: u8) -> IpNet {
    IpNet::new(client.addr(), length).map_or(client, |net| net.trunc())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ipnet::IpNet;
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::{Claims, block_around};
    use crate::Claim;

    /// Prefixes from a small corner of the address space, so that they often cover each other.
    fn prefix() -> impl Strategy<Value = IpNet> {
        let v4 = (0..16_u32, 8..=32_u8).prop_map(|(low, length)| {
            IpNet::new(std::net::Ipv4Addr::from(0x0a00_0000 | (low << 4)).into(), length).unwrap().trunc()
        });
        let v6 = (0..16_u128, 20..=128_u8).prop_map(|(low, length)| {
            IpNet::new(std::net::Ipv6Addr::from((0x2001_0db8_u128 << 96) | (low << 4)).into(), length).unwrap().trunc()
        });
        prop_oneof![v4, v6]
    }

    fn claims() -> impl Strategy<Value = Vec<Claim>> {
        let claim = (prefix(), 0..5_u8, 0..3_u16).prop_map(|(prefix, node, preference)| Claim {
            node: format!("n{node}").parse().unwrap(),
            prefix,
            preference,
            proven: false,
            rtt: None,
        });
        vec(claim, 0..40)
    }

    /// The rule, read out slowly.
    fn slow_best(claims: &[Claim], client: IpNet, usable: impl Fn(&Claim) -> bool) -> Option<&Claim> {
        let covering = claims.iter().filter(|claim| claim.prefix.contains(&client) && usable(claim));
        covering
            .min_by_key(|claim| (std::cmp::Reverse(claim.prefix.prefix_len()), claim.preference, claim.node.clone()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_best_claim_is_the_one_of_the_rule(list in claims(), client in prefix(), away in 0..5_u8) {
            let table = Claims::new(list.clone());
            let away = format!("n{away}");
            let usable = |claim: &Claim| claim.node.as_str() != away;
            prop_assert_eq!(table.best(client, usable), slow_best(&list, client, usable));
            prop_assert_eq!(table.best(client, |_| true), slow_best(&list, client, |_| true));
        }

        #[test]
        fn within_a_scope_everybody_has_the_same_best_claim(list in claims(), client in prefix(), other in any::<u128>()) {
            let table = Claims::new(list);
            let won = table.best(client, |_| true);
            let scope = table.scope(client, won);
            prop_assert!(scope <= client.prefix_len());
            prop_assert!(won.is_none_or(|claim| scope >= claim.prefix.prefix_len()));
            // Another client of the same block, and as small a network.
            let block = block_around(client, scope);
            let addr = match client {
                IpNet::V4(net) => {
                    let host = u32::MAX.checked_shr(scope.into()).unwrap_or(0);
                    std::net::Ipv4Addr::from(u32::from(net.network()) & !host | (other as u32) & host).into()
                }
                IpNet::V6(net) => {
                    let host = u128::MAX.checked_shr(scope.into()).unwrap_or(0);
                    std::net::Ipv6Addr::from(u128::from(net.network()) & !host | other & host).into()
                }
            };
            let other = IpNet::new(addr, client.prefix_len()).unwrap().trunc();
            prop_assert!(block.contains(&other));
            prop_assert_eq!(table.best(other, |_| true), won);
        }
    }

    #[test]
    fn of_equal_claims_the_better_preference_stays() {
        let claim = |preference| Claim {
            node: "fra".parse().unwrap(),
            prefix: "10.1.2.3/8".parse().unwrap(),
            preference,
            proven: false,
            rtt: None,
        };
        let table = Claims::new(vec![claim(5), claim(2), claim(9)]);
        let blocks = table.covering("10.0.0.1/32".parse().unwrap());
        assert_eq!(blocks.concat(), [Claim { prefix: "10.0.0.0/8".parse().unwrap(), ..claim(2) }]);
    }
}
