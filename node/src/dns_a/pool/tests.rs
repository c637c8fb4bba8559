#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::dns_a::importing;
use crate::dns_a::polling::Found;

const SERVICES: &str = r#"
[[zone]]
name = "lb.example.com"
[[service]]
name = "www.lb.example.com"
origin = "www.origin.example.com"
origin_from = "203.0.113.1"
origin_within = "192.0.2.0/24"
[service.probe]
kind = "tcp"
port = 80
[[service.server]]
id = "written"
address = "192.0.2.9"
weight = 5
"#;

fn catalogue() -> Catalogue {
    Catalogue::parse(SERVICES).unwrap()
}

fn source() -> Source {
    catalogue().services.values().next().unwrap().policy.origin.as_deref().unwrap().into()
}

fn node(n: u8) -> NodeId {
    ed25519_dalek::SigningKey::from_bytes(&[n; 32]).verifying_key().into()
}

fn page(generation: u64, last: &[u8], trouble: &str) -> Arc<Pool> {
    let addresses = last.iter().map(|last| [192, 0, 2, *last].into()).collect();
    Arc::new(Pool { source: source(), generation, addresses, trouble: trouble.to_owned() })
}

fn one(n: u8, alive: bool, page: Option<Arc<Pool>>) -> Contributor {
    Contributor { id: node(n), alive, pools: page.into_iter().collect(), duties: None }
}

fn held(contributors: &[Contributor]) -> Held {
    Pools::new(&catalogue(), contributors).sources.remove(&source()).unwrap()
}

/// Nodes 0 to 5 in the order of their turn.
fn turns() -> Vec<u8> {
    let order = rank::first(&source().slot(), (0..6).map(|n| (1, node(n))));
    order.iter().map(|id| (0..6).find(|n| node(*n) == *id).unwrap()).collect()
}

#[test]
fn the_first_live_importer_without_trouble_holds_and_then_the_newest_page() {
    let turn = turns();
    let all = |alive: [bool; 3], trouble: [&str; 3]| {
        let pages = [page(1, &[1], trouble[0]), page(3, &[2], trouble[1]), page(2, &[3], trouble[2])];
        let mut nodes: Vec<Contributor> =
            pages.into_iter().enumerate().map(|(n, page)| one(turn[n], alive[n], Some(page))).collect();
        nodes.push(one(turn[3], true, None));
        nodes.sort_by_key(|one| one.id);
        held(&nodes)
    };
    let well = all([true; 3], [""; 3]);
    assert_eq!((well.holder, well.is_last_known), (Some(node(turn[0])), false));
    assert_eq!(well.importers, [0, 1, 2].map(|n| node(turn[n])));
    assert_eq!(all([false, true, true], [""; 3]).holder, Some(node(turn[1])), "the next of the living");
    assert_eq!(all([true; 3], ["no reply", "", ""]).holder, Some(node(turn[1])), "one in trouble is passed over");
    assert_eq!(all([true; 3], ["no reply", "", ""]).importers.len(), 4, "and helped out");
    let gone = all([true; 3], ["no reply"; 3]);
    assert_eq!((gone.holder, gone.is_last_known), (Some(node(turn[1])), true), "the newest of all");
    assert_eq!(all([false; 3], [""; 3]).holder, Some(node(turn[1])), "also of the dead");
}

#[test]
fn who_holds_the_zone_comes_before_who_only_asks() {
    let turn = turns();
    let mut last = one(turn[5], true, None);
    let zone = crate::catalogue::name::host("origin.example.com").unwrap();
    last.duties = Some(Arc::new(Duties { zones: [(zone, 0)].into(), ..Duties::default() }));
    let mut nodes: Vec<Contributor> = turn[..5].iter().map(|n| one(*n, true, None)).collect();
    nodes.push(last);
    assert_eq!(held(&nodes).importers, [node(turn[5]), node(turn[0]), node(turn[1])]);
}

#[test]
fn imported_servers_stand_beside_written_ones_within_their_prefixes() {
    let mut pool = Pool::clone(&page(1, &[1, 9], ""));
    pool.addresses.extend(["198.51.100.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
    let mut catalogue = catalogue();
    Pools::new(&catalogue, &[one(0, true, Some(Arc::new(pool)))]).add_to(&mut catalogue);
    let service = catalogue.services.values().next().unwrap();
    let servers: Vec<(&str, u16)> = service.servers.iter().map(|(id, server)| (id.as_str(), server.weight)).collect();
    assert_eq!(servers, [("192.0.2.1", 1), ("written", 5)]);
    assert_eq!(server_id("2001:db8::1".parse().unwrap()), "2001-0db8-0000-0000-0000-0000-0000-0001");
}

#[test]
fn a_set_is_kept_over_a_restart_and_a_page_goes_when_nobody_needs_it() {
    let turn = turns();
    let me = node(turn[0]);
    let nodes = |pages: [Option<Arc<Pool>>; 4]| -> Vec<Contributor> {
        pages.into_iter().enumerate().map(|(n, page)| one(turn[n], true, page)).collect()
    };
    let written = |nodes: &[Contributor], me: NodeId, found: Found| {
        let pools = Pools::new(&catalogue(), nodes);
        let own = nodes.iter().find(|one| one.id == me).unwrap().pools.clone();
        let pages = importing::pages(&pools, me, &own, &[(source(), found)].into());
        pages.into_iter().map(|(_, body)| Pool::decode(&body)).collect::<Vec<_>>()
    };
    let nothing = || Found { addresses: None, trouble: "no reply".into() };
    let some = |last: &[u8]| Found { addresses: Some(page(0, last, "").addresses.clone()), trouble: String::new() };
    // Started anew while DNS-A is gone: what the last run found stays, with the trouble.
    let before = nodes([Some(page(4, &[1, 2], "")), Some(page(6, &[1, 2], "")), None, None]);
    assert_eq!(written(&before, me, nothing()), [Some(Pool::clone(&page(4, &[1, 2], "no reply")))]);
    assert_eq!(written(&before, me, some(&[1, 2])), [], "nothing new");
    assert_eq!(written(&before, me, some(&[3])), [Some(Pool::clone(&page(7, &[3], "")))], "above all others");
    // The fourth is not needed while three hold it well, and stays while one of them does not.
    let (fourth, full) = (node(turn[3]), Some(page(1, &[1], "")));
    let all = nodes([full.clone(), full.clone(), full.clone(), full.clone()]);
    assert_eq!(written(&all, fourth, some(&[1])), [None]);
    assert_eq!(written(&nodes([full.clone(), full.clone(), None, full.clone()]), fourth, some(&[1])), []);
    // An origin that no service has.
    let pools = Pools::new(&Catalogue::default(), &all);
    assert_eq!(importing::pages(&pools, me, &all[0].pools, &BTreeMap::new()), [(source().slot(), Vec::new())]);
}

proptest! {
    /// Whatever the order in which nodes are listed, the same page holds; and there is one as long as any has a set.
    #[test]
    fn every_node_finds_the_same_holder(
        seen in prop::collection::vec((any::<bool>(), prop::option::of((0..4u64, 0..3u8, any::<bool>()))), 6..7),
        turn in 0..6usize,
    ) {
        let mut nodes: Vec<Contributor> = seen
            .iter()
            .enumerate()
            .map(|(n, (alive, pool))| {
                let pool = pool.map(|(generation, set, well)| {
                    page(generation, &[1, 2, 3][..usize::from(set)], if well { "" } else { "no reply" })
                });
                one(n as u8, *alive, pool)
            })
            .collect();
        let one = held(&nodes);
        nodes.rotate_left(turn);
        let other = held(&nodes);
        prop_assert_eq!(&one, &other);
        let any_set = nodes.iter().any(|one| one.pools.iter().any(|pool| !pool.addresses.is_empty()));
        prop_assert_eq!(one.holder.is_some(), any_set);
        prop_assert!(one.importers.len() <= rank::TRYING);
    }
}
