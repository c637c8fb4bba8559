#![allow(clippy::unwrap_used)]
use std::cmp::Reverse;
use std::time::Duration;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::bucket::MOST_CLAIMANTS;
use super::{ClaimChange, ClaimTable, block_around};
use crate::{Claim, Label};

/// Prefixes from a small corner of the address space, so that they often cover each other.
fn prefix() -> impl Strategy<Value = IpNet> {
    let v4 = (0..256_u32, 0..=32_u8).prop_map(|(low, length)| {
        IpNet::new(std::net::Ipv4Addr::from(0x0a00_0000 | (low << 4)).into(), length).unwrap().trunc()
    });
    let v6 = (0..256_u128, 0..=128_u8).prop_map(|(low, length)| {
        IpNet::new(std::net::Ipv6Addr::from((0x2001_0db8_u128 << 96) | (low << 4)).into(), length).unwrap().trunc()
    });
    prop_oneof![v4, v6]
}

fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let rtt = prop_oneof![0..3_u64, 0..100_u64];
    let claim =
        (prefix(), 0..5_u8, 0..3_u16, any::<bool>(), rtt).prop_map(|(prefix, node, preference, proven, rtt)| Claim {
            node: format!("n{node}").parse().unwrap(),
            prefix,
            preference,
            proven,
            rtt: (rtt > 0).then(|| Duration::from_micros(100 * rtt)),
        });
    // More than a bucket holds, often enough.
    vec(claim, 0..400)
}

/// The rule, read out slowly.
fn slow_best(claims: &[Claim], client: IpNet, usable: impl Fn(&Claim) -> bool) -> Option<&Claim> {
    let covering = claims.iter().filter(|claim| claim.prefix.contains(&client) && usable(claim));
    covering.min_by_key(|claim| {
        (Reverse(claim.prefix.prefix_len()), claim.preference, !claim.proven, time(claim), &claim.node)
    })
}

fn time(claim: &Claim) -> Duration {
    claim.rtt.unwrap_or(Duration::MAX)
}

/// The largest block around the client, not larger than the claim that won, in which nobody else claims anything.
fn slow_scope(claims: &[Claim], client: IpNet, won: Option<&Claim>) -> u8 {
    let from = won.map_or(0, |won| won.prefix.prefix_len());
    let is_alike = |length: &u8| {
        let block = block_around(client, *length);
        !claims.iter().any(|claim| block.contains(&claim.prefix) && won.is_none_or(|won| won.prefix != claim.prefix))
    };
    (from..client.prefix_len()).find(is_alike).unwrap_or(client.prefix_len())
}

fn name(label: &Label) -> &str {
    label.as_str()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The table answers by the rule, also after half of it came and went, and is the same however it came about.
    #[test]
    fn the_table_answers_by_the_rule(list in claims(), passing in claims(), clients in vec(prefix(), 20), away in 0..5_u8) {
        let mut table: ClaimTable = list.iter().chain(&passing).cloned().collect();
        let before = table.clone();
        table.apply(passing.iter().map(|claim| {
            (claim.node.clone(), ClaimChange { gone: vec![(claim.prefix, claim.rank().0)], come: Vec::new() })
        }));
        prop_assert_eq!(&table, &list.iter().cloned().collect::<ClaimTable>());
        prop_assert_eq!(&before, &list.iter().chain(&passing).cloned().collect::<ClaimTable>(), "a copy changed");
        prop_assert_eq!(table.len(), list.len());
        let away = format!("n{away}");
        for client in clients {
            let best = table.best(client, |node| name(table.node(node).unwrap()) != away);
            let won = best.and_then(|best| table.claim(best, client));
            let expected = slow_best(&list, client, |claim| name(&claim.node) != away);
            prop_assert_eq!(won.as_ref(), expected);
            prop_assert_eq!(table.scope(client, best.map(|best| best.length)), slow_scope(&list, client, expected));
            let covering = table.covering(client);
            let first = covering.first().and_then(|best| table.claim(*best, client));
            prop_assert_eq!(first.as_ref(), slow_best(&list, client, |_| true));
            prop_assert_eq!(covering.iter().find(|best| name(table.node(best.node).unwrap()) != away), best.as_ref());
        }
    }

    #[test]
    fn within_a_scope_everybody_has_the_same_best_claim(list in claims(), client in prefix(), other in any::<u128>()) {
        let table: ClaimTable = list.into_iter().collect();
        let won = table.best(client, |_| true);
        let scope = table.scope(client, won.map(|best| best.length));
        prop_assert!(scope <= client.prefix_len());
        prop_assert!(won.is_none_or(|best| scope >= best.length));
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

fn claim(node: usize, prefix: &str) -> Claim {
    let node = format!("n{node:05}").parse().unwrap();
    Claim { node, prefix: prefix.parse().unwrap(), preference: 10, proven: false, rtt: None }
}

#[test]
fn of_several_claims_of_one_node_the_better_one_counts() {
    let with = |preference| Claim { preference, ..claim(1, "10.1.2.3/8") };
    let table: ClaimTable = [with(5), with(2), with(9)].into_iter().collect();
    let client = "10.0.0.1/32".parse().unwrap();
    let covering: Vec<Claim> =
        table.covering(client).into_iter().filter_map(|best| table.claim(best, client)).collect();
    assert_eq!(covering, [Claim { prefix: "10.0.0.0/8".parse().unwrap(), ..with(2) }]);
}

#[test]
fn not_more_than_a_few_claimants_of_a_prefix_are_asked() {
    let all: Vec<Claim> = (0..300).map(|node| claim(node, "10.1.0.0/16")).chain([claim(999, "10.0.0.0/8")]).collect();
    let table: ClaimTable = all.into_iter().collect();
    let client = "10.1.2.3/32".parse().unwrap();
    let asked = std::cell::Cell::new(0);
    let alive = |first_alive: usize| {
        asked.set(0);
        let best = table.best(client, |node| {
            asked.set(asked.get() + 1);
            name(table.node(node).unwrap()) >= format!("n{first_alive:05}").as_str()
        });
        best.map(|best| name(table.node(best.node).unwrap()).to_owned())
    };
    assert_eq!(alive(MOST_CLAIMANTS - 1).unwrap(), format!("n{:05}", MOST_CLAIMANTS - 1));
    assert_eq!(alive(MOST_CLAIMANTS).unwrap(), "n00999", "the prefix around it is next");
    assert_eq!(asked.get(), MOST_CLAIMANTS + 1);
}

#[test]
fn numbers_of_nodes_are_used_again() {
    let mut table = ClaimTable::new();
    for round in 0..3 {
        let claims: Vec<Claim> = (0..100).map(|node| claim(100 * round + node, "10.0.0.0/8")).collect();
        table.extend(claims.iter().cloned());
        assert_eq!((table.len(), table.nodes().count(), table.numbers()), (100, 100, 100));
        table.apply(claims.into_iter().map(|claim| {
            let rank = claim.rank().0;
            (claim.node, ClaimChange { gone: vec![(claim.prefix, rank)], come: Vec::new() })
        }));
        assert!(table.is_empty());
    }
}

/// The rule, read out slowly: of all usable claims the one with the most bits in common, if they are enough.
#[test]
fn the_nearest_claim_has_the_most_bits_in_common() {
    let claim = |prefix: &str, node: &str| Claim {
        node: node.parse().unwrap(),
        prefix: prefix.parse().unwrap(),
        preference: 10,
        proven: false,
        rtt: None,
    };
    let table: ClaimTable = [
        claim("203.0.0.0/24", "fra"),
        claim("203.0.128.0/24", "nyc"),
        claim("203.0.129.7/32", "tyo"),
        claim("2001:db8:1::/48", "lon"),
    ]
    .into_iter()
    .collect();
    let nearest = |client: &str, away: &str| {
        let usable = |number: u16| table.node(number).is_some_and(|label| label.as_str() != away);
        let (best, _) = table.nearest(crate::claims::host(client.parse().unwrap()), usable)?;
        Some(table.node(best.node)?.to_string())
    };
    assert_eq!(nearest("203.0.1.1", "").as_deref(), Some("fra"));
    assert_eq!(nearest("203.0.129.1", "").as_deref(), Some("tyo"), "29 bits in common, against 23");
    assert_eq!(nearest("203.0.129.1", "tyo").as_deref(), Some("nyc"), "the other neighbour");
    assert_eq!(nearest("203.0.130.1", "").as_deref(), Some("tyo"), "22 bits, to the one side only");
    assert_eq!(nearest("203.1.0.1", ""), None, "15 bits are no neighbourhood");
    assert_eq!(nearest("2001:db8:7::1", "").as_deref(), Some("lon"));
    assert_eq!(nearest("2001:db9::1", ""), None);
}
