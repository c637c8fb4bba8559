//! What holds for every policy, over pools drawn by proptest.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::Name;
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::{option, sample};

use super::{Family, Pick, Pool, Ranking, Reason, Seen, Whose};
use crate::{
    AllDown, Choice, Cost, Duty, Label, Milli, Mode, Objective, Override, Pace, Pin, Policy, RowState, Server, Service,
    Sticky, Terms,
};

/// A server, with what is seen of it.
#[derive(Clone, Debug)]
struct Drawn {
    server: Server,
    seen: Option<Seen>,
}

fn me() -> Label {
    "fra".parse().unwrap()
}

fn any_terms() -> impl Strategy<Value = Terms> {
    let duty = prop_oneof![5 => Just(Duty::Up), 1 => Just(Duty::Drain), 1 => Just(Duty::Off)];
    let canary = prop_oneof![4 => Just(0), 1 => Just(30_000_u32)];
    (0..3_u8, 0..4_u16, duty, canary, 0..3_u32).prop_map(|(tier, place, duty, canary, cost)| Terms {
        tier,
        place,
        duty,
        canary: Milli(canary),
        cost: Cost { default: Milli(cost * 1000), nodes: BTreeMap::new() },
    })
}

fn any_seen() -> impl Strategy<Value = Option<Seen>> {
    let state = prop_oneof![4 => Just(RowState::Up), 1 => Just(RowState::Down), 1 => Just(RowState::Unknown)];
    let seen = (state, option::weighted(0.9, 0..20_u64), 0..4_u8, option::of(0..12_u8));
    option::weighted(0.9, seen).prop_map(|seen| {
        seen.map(|(state, rtt, loss, load)| Seen {
            state,
            rtt: rtt.map(Duration::from_millis),
            loss: f32::from(loss) / 100.0,
            load: load.map(|load| f32::from(load) / 10.0),
            as_of: Duration::ZERO,
            why: String::new(),
        })
    })
}

fn any_pool(most: usize) -> impl Strategy<Value = Vec<Drawn>> {
    vec((0..4_u16, any::<bool>(), any_terms(), any_seen()), 0..most).prop_map(|drawn| {
        let one = |(at, (weight, v6, terms, seen)): (usize, (u16, bool, Terms, Option<Seen>))| {
            let v4 = std::net::Ipv4Addr::new(192, 0, 2, at as u8);
            let address = if v6 && at % 3 == 0 { v4.to_ipv6_mapped().into() } else { IpAddr::from(v4) };
            Drawn { server: Server { id: format!("s{at:02}"), address, weight, terms }, seen }
        };
        drawn.into_iter().enumerate().map(one).collect()
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let all_down = prop_oneof![
        2 => Just(AllDown::LastGood),
        1 => Just(AllDown::All),
        1 => Just(AllDown::None),
        1 => Just(AllDown::Addresses(vec![IpAddr::from([198, 51, 100, 1])])),
    ];
    let objective = (0..3_u32, 0..2_u32, 0..2_u32, 0..2_u32).prop_map(|(latency, loss, load, cost)| Objective {
        latency: Milli(latency * 500),
        loss: Milli(loss * 1000),
        load: Milli(load * 200),
        cost: Milli(cost * 1000),
    });
    let pin = prop_oneof![
        (0..3_u8).prop_map(Pin::Tier),
        vec(0..8_u8, 1..3).prop_map(|ids| Pin::Servers(ids.iter().map(|id| format!("s{id:02}")).collect()))
    ];
    let prefix = option::of(sample::select(vec!["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"]));
    let overrides = vec((prefix, pin), 0..3).prop_map(|overrides| {
        let one = |(prefix, to): (Option<&str>, Pin)| Override {
            prefix: prefix.map(|prefix| prefix.parse().unwrap()),
            node: None,
            to,
        };
        overrides.into_iter().map(one).collect()
    });
    let ttl_min = option::of(1..30_u32);
    (any::<bool>(), objective, any::<bool>(), 0..4_u16, all_down, ttl_min, (0..40_u64, 0..40_u64), overrides).prop_map(
        |(first, objective, tied, min_up, all_down, ttl_min, (fall, rise), overrides)| Policy {
            choice: if first { Choice::First } else { Choice::Best },
            objective,
            sticky: if tied { Sticky::Client } else { Sticky::None },
            min_up,
            all_down,
            ttl_min,
            pace: Pace { fall: Duration::from_secs(fall), rise: Duration::from_secs(rise) },
            overrides,
        },
    )
}

fn pool(servers: &[Drawn], policy: Policy, answers: u8, spread: u64) -> Pool {
    let service = Service {
        name: Name::from_ascii("www.lb.example.com.").unwrap(),
        mode: Mode::Refer,
        ttl: 20,
        answers,
        spread: Duration::from_millis(spread),
        https: None,
        svcb: None,
        policy,
        servers: servers.iter().map(|drawn| drawn.server.clone()).collect(),
    };
    let mut pool = Pool::new(me(), service, &mut Vec::new());
    for drawn in servers {
        if let Some(seen) = &drawn.seen {
            pool.see(me(), &drawn.server.id, seen.clone());
        }
    }
    pool
}

fn whose(client: u32) -> Whose {
    Whose { net: IpNet::from(IpAddr::V4(client.into())), draw: client }
}

fn with_pick<T>(pool: &Pool, client: u32, look: impl FnOnce(Pick<'_>) -> T) -> T {
    let me = me();
    let eye = pool.eye(&me).unwrap_or_else(|| pool.blind(&me));
    look(pool.pick(&eye, Family::V4, whose(client)))
}

fn ids(ranking: &Ranking<'_>) -> Vec<String> {
    ranking.servers.iter().map(|ranked| ranked.server.id.clone()).collect()
}

fn first(pool: &Pool, client: u32) -> Option<String> {
    with_pick(pool, client, |pick| pick.rank().chosen().next().map(|ranked| ranked.server.id.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// The two ways to ask one pick say the same.
    #[test]
    fn what_is_given_is_what_is_ranked_as_chosen(
        servers in any_pool(12), policy in any_policy(), answers in 0..5_u8, spread in 0..30_u64, client: u32,
    ) {
        let pool = pool(&servers, policy, answers, spread);
        with_pick(&pool, client, |pick| {
            let mut given = Vec::new();
            pick.give(|address| given.push(address));
            let ranking = pick.rank();
            let chosen: Vec<IpAddr> = ranking.chosen().map(|ranked| ranked.server.address).collect();
            let instead = matches!(&pool.service().policy.all_down, AllDown::Addresses(_));
            if !(instead && ranking.failed_open) {
                prop_assert_eq!(given, chosen);
            }
            prop_assert_eq!(
                ranking.chosen().count(),
                ranking.servers.iter().filter(|ranked| ranked.reason.is_chosen()).count(),
                "the chosen stand first"
            );
            Ok(())
        })?;
    }

    /// The order of the servers in the catalogue, and the call, do not matter.
    #[test]
    fn a_ranking_is_total_and_deterministic(
        servers in any_pool(10), policy in any_policy(), spread in 0..30_u64, client: u32, turn in 0..10_usize,
    ) {
        let ranked = |servers: &[Drawn]| {
            let pool = pool(servers, policy.clone(), 2, spread);
            with_pick(&pool, client, |pick| {
                let ranking = pick.rank();
                (ids(&ranking), ranking.servers.iter().map(|ranked| ranked.reason.clone()).collect::<Vec<_>>(), ranking.ttl)
            })
        };
        let expected = ranked(&servers);
        let all: BTreeSet<&String> = expected.0.iter().collect();
        prop_assert_eq!(all.len(), servers.len(), "every server once");
        let mut turned = servers.clone();
        turned.rotate_left(turn.min(servers.len()));
        prop_assert_eq!(ranked(&turned), expected);
    }

    /// No server that may not be given is, and none that is down while another is up.
    #[test]
    fn nobody_gets_what_is_off_or_down(
        servers in any_pool(10), policy in any_policy(), answers in 0..5_u8, client: u32,
    ) {
        let pool = pool(&servers, policy.clone(), answers, 5);
        with_pick(&pool, client, |pick| {
            let ranking = pick.rank();
            let may = |drawn: &&Drawn| drawn.server.terms.duty != Duty::Off && drawn.server.address.is_ipv4();
            let is_up = |seen: Option<&Seen>| seen.is_some_and(|seen| seen.state == RowState::Up);
            let up = servers.iter().filter(may).any(|drawn| is_up(drawn.seen.as_ref()));
            let undrained = servers.iter().filter(may).any(|drawn| is_up(drawn.seen.as_ref()) && drawn.server.terms.duty == Duty::Up);
            prop_assert_eq!(ranking.failed_open, !up);
            for ranked in ranking.chosen() {
                prop_assert!(ranked.server.terms.duty != Duty::Off && ranked.server.address.is_ipv4());
                prop_assert!(!up || is_up(ranked.seen));
                prop_assert!(!undrained || ranked.server.terms.duty == Duty::Up);
            }
            prop_assert!(!up || ranking.chosen().count() > 0, "someone is up, so someone is given");
            prop_assert!((1..=20).contains(&ranking.ttl));
            Ok(())
        })?;
    }

    /// A tier serves if it has enough, and no later one does then; an override may say otherwise.
    #[test]
    fn the_first_tier_with_enough_serves(servers in any_pool(12), policy in any_policy(), client: u32) {
        let policy = Policy { overrides: Vec::new(), ..policy };
        let min_up = usize::from(policy.min_up.max(1));
        let pool = pool(&servers, policy, 4, 1000);
        let live = |tier: u8| servers.iter().filter(|drawn| {
            let Server { weight, address, terms, .. } = &drawn.server;
            let up = drawn.seen.as_ref().is_some_and(|seen| seen.state == RowState::Up);
            up && *weight > 0 && address.is_ipv4() && terms.duty == Duty::Up && terms.canary.0 == 0 && terms.tier == tier
        }).count();
        let Some(serving) = (0..3).find(|tier| live(*tier) >= min_up) else { return Ok(()) };
        with_pick(&pool, client, |pick| {
            for ranked in pick.rank().chosen() {
                let canary = matches!(ranked.reason, Reason::Canary { .. });
                prop_assert!(canary || ranked.server.terms.tier == serving, "{:?}", ranked);
            }
            Ok(())
        })?;
    }

    /// Of equally good servers, one that goes moves its own clients only.
    #[test]
    fn a_server_that_goes_moves_only_its_own_clients(
        weights in vec(1..5_u16, 2..8), canaries in 0..3_usize, gone in any::<sample::Index>(), client: u32,
    ) {
        let servers: Vec<Drawn> = weights.iter().enumerate().map(|(at, weight)| {
            let canary = Milli(if at < canaries { 20_000 } else { 0 });
            let terms = Terms { canary, ..Terms::default() };
            let rtt = Some(Duration::from_millis(10));
            let seen = Seen { state: RowState::Up, rtt, loss: 0.0, load: None, as_of: Duration::ZERO, why: String::new() };
            let server = Server { id: format!("s{at:02}"), address: [192, 0, 2, at as u8].into(), weight: *weight, terms };
            Drawn { server, seen: Some(seen) }
        }).collect();
        // The last of those that are no canaries has the clients of all when it is alone.
        let ordinary = weights.len().saturating_sub(canaries);
        if ordinary < 2 {
            return Ok(());
        }
        let gone = gone.index(servers.len());
        let mut fewer = servers.clone();
        fewer.remove(gone);
        let before = first(&pool(&servers, Policy::default(), 1, 0), client);
        let after = first(&pool(&fewer, Policy::default(), 1, 0), client);
        prop_assert!(before == after || before == Some(format!("s{gone:02}")), "{before:?} became {after:?}");
    }

    /// The shares that an operator is told add up, and name whom the clients get.
    #[test]
    fn shares_name_the_chosen(servers in any_pool(10), policy in any_policy(), client: u32) {
        let policy = Policy { overrides: Vec::new(), ..policy };
        let pool = pool(&servers, policy, 1, 5);
        with_pick(&pool, client, |pick| {
            let shares = pick.shares();
            let sum: f64 = shares.servers.iter().map(|share| share.part).sum();
            prop_assert!(shares.servers.is_empty() || (sum - 1.0).abs() < 1e-9, "{:?}", shares);
            let first = pick.rank().chosen().next().map(|ranked| ranked.server.id.clone());
            let named = |id: &String| shares.servers.iter().any(|share| share.server == *id && share.part > 0.0);
            prop_assert!(first.is_none_or(|id| named(&id)));
            Ok(())
        })?;
    }
}

/// 20,000 clients, five standard deviations.
#[test]
fn clients_fall_as_the_shares_say() {
    let servers: Vec<Drawn> = [(3, 0), (2, 0), (5, 0), (1, 10_000), (1, 5_000)]
        .into_iter()
        .enumerate()
        .map(|(at, (weight, canary))| {
            let terms = Terms { canary: Milli(canary), ..Terms::default() };
            let seen = Seen {
                state: RowState::Up,
                rtt: Some(Duration::from_millis(if canary > 0 { 200 } else { 10 })),
                loss: 0.0,
                load: None,
                as_of: Duration::ZERO,
                why: String::new(),
            };
            let server = Server { id: format!("s{at:02}"), address: [192, 0, 2, at as u8].into(), weight, terms };
            Drawn { server, seen: Some(seen) }
        })
        .collect();
    for sticky in [Sticky::Client, Sticky::None] {
        let pool = pool(&servers, Policy { sticky, ..Policy::default() }, 1, 0);
        let mut got: BTreeMap<String, u32> = BTreeMap::new();
        for client in 0..20_000 {
            *got.entry(first(&pool, 0x0a00_0000 + client).unwrap()).or_default() += 1;
        }
        let shares = with_pick(&pool, 1, |pick| pick.shares());
        assert_eq!(shares.servers.len(), 5);
        for share in shares.servers {
            let expected = 20_000.0 * share.part;
            let deviation = (expected * (1.0 - share.part)).sqrt();
            let counted = f64::from(got[&share.server]);
            assert!((counted - expected).abs() < 5.0 * deviation, "{}: {counted}, not {expected}", share.server);
        }
    }
}

/// Without a tie each query draws: one client gets all of them, and a canary keeps its own clients all the same.
#[test]
fn without_a_tie_each_query_draws_anew() {
    let seen = |rtt| Seen {
        state: RowState::Up,
        rtt: Some(Duration::from_millis(rtt)),
        loss: 0.0,
        load: None,
        as_of: Duration::ZERO,
        why: String::new(),
    };
    let servers: Vec<Drawn> = (0..3)
        .map(|at| Drawn {
            server: Server {
                id: format!("s{at:02}"),
                address: [192, 0, 2, at].into(),
                weight: 1,
                terms: Terms::default(),
            },
            seen: Some(seen(10)),
        })
        .collect();
    let pool = |sticky| pool(&servers, Policy { sticky, ..Policy::default() }, 1, 0);
    let met = |pool: &Pool| -> usize {
        let me = me();
        let eye = pool.eye(&me).unwrap();
        let net = whose(7).net;
        let one = |draw| pool.pick(&eye, Family::V4, Whose { net, draw }).rank().servers[0].server.id.clone();
        (0..100).map(one).collect::<BTreeSet<_>>().len()
    };
    assert_eq!([met(&pool(Sticky::Client)), met(&pool(Sticky::None))], [1, 3]);
}
