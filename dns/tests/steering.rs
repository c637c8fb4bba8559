//! What holds for the choice of servers, whatever was measured.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test: panics are its verdict")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hickory_proto::rr::Name;
use nigh_dns::{
    Decision, Family, Mode, Node, Policy, Reason, Row, RowState, Server, Service, Snapshot, Standing, Terms, World,
    Zone, decide,
};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

const NAME: &str = "www.lb.example.com.";

/// A server and what is seen of it.
#[derive(Clone, Debug)]
struct Seen {
    weight: u16,
    v6: bool,
    row: Option<(RowState, Option<u16>)>,
}

fn seen() -> impl Strategy<Value = Seen> {
    let state = prop_oneof![3 => Just(RowState::Up), 1 => Just(RowState::Down), 1 => Just(RowState::Unknown)];
    let row = proptest::option::weighted(0.9, (state, proptest::option::weighted(0.9, 0..60_u16)));
    (0..4_u16, proptest::bool::weighted(0.2), row).prop_map(|(weight, v6, row)| Seen { weight, v6, row })
}

fn snapshot(servers: &[Seen], answers: u8, spread: u64) -> Snapshot {
    let me: nigh_dns::Label = "fra".parse().unwrap();
    let name = Name::from_ascii(NAME).unwrap();
    let mut world = World::new(me.clone());
    world.zones.push(Zone { apex: Name::from_ascii("lb.example.com.").unwrap(), nameservers: Vec::new() });
    world.nodes.push(Node {
        label: me.clone(),
        pop: String::new(),
        addresses: vec!["198.51.100.7".parse().unwrap()],
        serves: vec![me.clone()],
        standing: Standing::Alive,
    });
    let address = |at: usize, v6| -> IpAddr {
        let v4 = Ipv4Addr::new(192, 0, 2, at as u8);
        if v6 { v4.to_ipv6_compatible().into() } else { v4.into() }
    };
    let servers = servers.iter().enumerate();
    world.services.push(Service {
        name: name.clone(),
        mode: Mode::Answer,
        ttl: 20,
        answers,
        spread: Duration::from_millis(spread),
        https: None,
        svcb: None,
        policy: Policy::default(),
        servers: servers
            .clone()
            .map(|(at, seen)| Server {
                id: format!("s{at:02}"),
                address: address(at, seen.v6),
                weight: seen.weight,
                terms: Terms::default(),
            })
            .collect(),
    });
    for (at, seen) in servers {
        let Some((state, rtt)) = seen.row else { continue };
        world.rows.push(Row {
            node: me.clone(),
            service: name.clone(),
            server: format!("s{at:02}"),
            state,
            rtt: rtt.map(|millis| Duration::from_millis(millis.into())),
            loss: 0.0,
            load: None,
            as_of: Duration::ZERO,
            why: String::new(),
        });
    }
    Snapshot::build(world).0
}

fn decided(snapshot: &Snapshot, client: u32) -> Decision<'_> {
    let client = IpAddr::V4(client.into());
    decide(snapshot, snapshot.me(), &Name::from_ascii(NAME).unwrap(), Family::V4, client).unwrap()
}

fn chosen(snapshot: &Snapshot, client: u32) -> Vec<String> {
    decided(snapshot, client).ranking.chosen().map(|ranked| ranked.server.id.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_choice_keeps_the_rules(
        servers in vec(seen(), 0..10), answers in 0..9_u8, spread in 0..30_u64, client in any::<u32>(),
    ) {
        let snapshot = snapshot(&servers, answers, spread);
        let ranking = decided(&snapshot, client).ranking;
        prop_assert_eq!(ranking.servers.len(), servers.len(), "every server has its place");
        let rtt = |seen: &Seen| seen.row.and_then(|(_, rtt)| rtt);
        let up = |seen: &&Seen| !seen.v6 && matches!(seen.row, Some((RowState::Up, _)));
        let live: Vec<&Seen> = servers.iter().filter(up).collect();
        let weighted = live.iter().any(|seen| seen.weight > 0);
        let live: Vec<&Seen> = live.into_iter().filter(|seen| seen.weight > 0 || !weighted).collect();
        let best = live.iter().filter_map(|seen| rtt(seen)).min();
        let near = live.iter().filter(|seen| match (best, rtt(seen)) {
            (Some(best), Some(own)) => u64::from(own - best) <= spread,
            (best, _) => best.is_none(),
        });
        let chosen: Vec<&Seen> = ranking.chosen().map(|ranked| &servers[ranked.server.id[1..].parse::<usize>().unwrap()]).collect();
        prop_assert!(chosen.iter().all(|seen| !seen.v6));
        prop_assert_eq!(ranking.failed_open, live.is_empty());
        prop_assert_eq!(ranking.chosen().count(), ranking.servers.iter().filter(|r| r.reason.is_chosen()).count());
        let most = usize::from(answers.max(1));
        if live.is_empty() {
            let down = |seen: &&Seen| matches!(seen.row, Some((RowState::Down, _)));
            let family: Vec<&Seen> = servers.iter().filter(|seen| !seen.v6).collect();
            let known = family.iter().filter(|seen| !down(seen)).count();
            let expected = if known > 0 { known } else { family.len() };
            prop_assert_eq!(chosen.len(), expected.min(most));
        } else {
            prop_assert_eq!(chosen.len(), near.count().min(most));
            for seen in chosen {
                prop_assert!(up(&seen) && (seen.weight > 0 || !weighted));
                prop_assert!(best.is_none_or(|best| u64::from(rtt(seen).unwrap() - best) <= spread));
            }
        }
    }

    #[test]
    fn a_client_keeps_its_server_unless_that_one_goes(
        count in 2..8_usize, gone in any::<proptest::sample::Index>(), client in any::<u32>(),
    ) {
        let near = Seen { weight: 1, v6: false, row: Some((RowState::Up, Some(10))) };
        let all = vec![near; count];
        let mut fewer = all.clone();
        let gone = gone.index(count);
        fewer[gone].row = Some((RowState::Down, Some(10)));
        let before = chosen(&snapshot(&all, 1, 0), client);
        let after = chosen(&snapshot(&fewer, 1, 0), client);
        let lost = vec![format!("s{gone:02}")];
        prop_assert!(before == after || before == lost);
    }
}

#[test]
fn clients_are_shared_out_by_weight() {
    let weighing = |weight| Seen { weight, v6: false, row: Some((RowState::Up, Some(10))) };
    let snapshot = snapshot(&[weighing(1), weighing(2), weighing(5)], 1, 0);
    let mut got: BTreeMap<String, u32> = BTreeMap::new();
    for client in 0..8000_u32 {
        *got.entry(chosen(&snapshot, 0x0a00_0000 + client)[0].clone()).or_default() += 1;
    }
    // 1000, 2000 and 5000, give or take five standard deviations.
    for (id, expected) in [("s00", 1000.0_f64), ("s01", 2000.0), ("s02", 5000.0)] {
        let deviation = (expected * (1.0 - expected / 8000.0)).sqrt();
        assert!((f64::from(got[id]) - expected).abs() < 5.0 * deviation, "{got:?}");
    }
}

#[test]
fn the_reasons_say_how_far_off_a_server_is() {
    let at = |rtt| Seen { weight: 1, v6: false, row: Some((RowState::Up, Some(rtt))) };
    let snapshot = snapshot(&[at(40), at(12)], 1, 0);
    let ranking = decided(&snapshot, 1).ranking;
    assert_eq!(ranking.servers[0].reason, Reason::Nearest);
    assert_eq!(ranking.servers[1].reason, Reason::Slower { slower: Duration::from_millis(28) });
    assert_eq!(ranking.servers[1].reason.to_string(), "28.0 ms slower than the nearest");
}
