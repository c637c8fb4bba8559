#![allow(clippy::unwrap_used)]
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, prop_assert_eq, prop_oneof, proptest};

use super::{ClaimChange, ClaimTable};
use crate::Claim;
use crate::claims::Claims;

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
    let claim = (prefix(), 0..5_u8, 0..3_u16).prop_map(|(prefix, node, preference)| Claim {
        node: format!("n{node}").parse().unwrap(),
        prefix,
        preference,
        proven: false,
        rtt: None,
    });
    vec(claim, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The table answers as the one that packets are answered from, also after half of it came and went.
    #[test]
    fn the_table_answers_by_the_rule(list in claims(), passing in claims(), clients in vec(prefix(), 20), away in 0..5_u8) {
        let slow = Claims::new(list.clone());
        let mut table: ClaimTable = list.iter().chain(&passing).cloned().collect();
        table.apply(passing.into_iter().map(|claim| {
            (claim.node, ClaimChange { gone: vec![(claim.prefix, claim.preference)], come: Vec::new() })
        }));
        prop_assert_eq!(&table, &list.into_iter().collect::<ClaimTable>());
        let away = format!("n{away}");
        for client in clients {
            let best = table.best(client, |node| table.node(node).unwrap().as_str() != away);
            let won = best.map(|best| Claim {
                node: table.node(best.node).unwrap().clone(),
                prefix: best.prefix(client),
                preference: best.preference,
                proven: false,
                rtt: None,
            });
            let expected = slow.best(client, |claim| claim.node.as_str() != away);
            prop_assert_eq!(won.as_ref(), expected);
            prop_assert_eq!(table.scope(client, best.map(|best| best.length)), slow.scope(client, expected));
        }
    }
}
