//! Keys that the root appoints and dismisses, in virtual time: what they sign is everywhere while they may, and nowhere
//! after.
//!
//! A failure prints the seed; `NIGH_SEED=… cargo test -p nigh-gossip --test operators NAME` runs the same again.

#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "tests read their seed from the environment")]

mod seed;

use std::time::Duration;

use ed25519_dalek::SigningKey;
use nigh_gossip::{
    Appointment, Certificate, Key, NodeId, Owner, Page, Refused, Rights, Slot, Table, admission,
    operator::{self, MAX_APPOINTED},
    sim::{Index, Sim},
    verdict::Verdict,
};

use seed::Seed;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn id(n: u8) -> NodeId {
    key(n).verifying_key().into()
}

/// `n` nodes that the root admitted, each joining through one of the first three, settled.
fn mesh(seed: &Seed, n: usize) -> Sim {
    let mut sim = Sim::new(seed.0);
    add(&mut sim, n);
    sim
}

fn add(sim: &mut Sim, n: usize) {
    let first = sim.len();
    for node in first..first + n {
        let bootstrap: Vec<Index> = node.checked_sub(1).map(|before| before.min(node % 3)).into_iter().collect();
        sim.add(&bootstrap);
    }
    let took = sim.run_until(secs(20), |sim| sim.running().count() == sim.len() && sim.settled());
    assert!(took.is_some(), "{n} nodes did not settle in 20 s");
}

fn edited(sim: &Sim, reader: Index, slot: u32) -> Option<Vec<u8>> {
    let key = Key { owner: Owner::Operators, table: Table(32), slot: Slot::page(slot) };
    sim.engine(reader)?.replica().get(&key).map(|page| page.body().to_vec())
}

/// Pages that this key signed, at all nodes together.
fn signed(sim: &Sim, by: NodeId) -> usize {
    let count = |(_, engine): (Index, &nigh_gossip::engine::Engine)| {
        engine.replica().pages().iter().filter(|page| page.signer() == by).count()
    };
    sim.running().map(count).sum()
}

fn consistent(sim: &Sim) {
    for (node, engine) in sim.running() {
        assert_eq!(engine.inconsistency(), None, "node {node}");
    }
}

#[test]
fn an_appointed_key_edits_and_admits_and_with_its_dismissal_all_of_it_goes() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 30);
    sim.edit(1, 1, b"by the root");
    let appointment = sim.appoint(4, id(7), true, Rights::ALL);
    sim.run_until(secs(2), |sim| sim.running().all(|(_, engine)| !engine.replica().appointed().is_empty())).unwrap();
    sim.work_with(key(7), Some(appointment));
    sim.edit(20, 2, b"by the appointed");
    add(&mut sim, 3);
    assert!((0..33).all(|node| edited(&sim, node, 2).is_some()));
    assert_eq!(signed(&sim, id(7)), 33 * 4, "an edit and three certificates, everywhere");

    sim.appoint(9, id(7), false, Rights::ALL);
    let gone = sim.run_until(secs(2), |sim| {
        (0..30).all(|node| edited(sim, node, 2).is_none() && sim.engine(node).unwrap().members().count() == 30)
    });
    assert!(gone.unwrap() <= Duration::from_millis(500), "a dismissal floods: {gone:?}");
    // Those whom only that key had admitted are out, and hear why before they are closed.
    sim.run_for(secs(5));
    for node in 30..33 {
        assert!(!sim.engine(node).unwrap().is_admitted());
        assert!((0..30).all(|member| !sim.engine(member).unwrap().hears(sim.id(node))));
    }
    assert!((0..30).all(|node| edited(&sim, node, 1).as_deref() == Some(b"by the root")));
    assert_eq!(signed(&sim, id(7)), 0);
    consistent(&sim);
}

/// The other half goes on with the key, and comes back with what it signed.
#[test]
fn a_dismissal_while_partitioned_leaves_nothing_of_the_key_after_the_healing() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 40);
    let appointment = sim.appoint(0, id(7), true, Rights::ALL);
    sim.edit(0, 1, b"before");
    sim.run_until(secs(5), Sim::settled).unwrap();
    let side = |node: Index| usize::from(node >= 25);
    sim.partition(side);
    sim.run_for(secs(10));
    // Over there the stolen key overwrites, adds, and revokes a node of this side.
    sim.work_with(key(7), Some(appointment));
    sim.edit(30, 1, b"overwritten");
    sim.edit(30, 2, b"added");
    sim.submit(30, admission::revoke(&key(7), sim.id(3), 9, 0)).unwrap();
    // Here it is dismissed, and had been at work before that came through.
    sim.edit(10, 3, b"here as well");
    sim.run_for(secs(2));
    sim.appoint(1, id(7), false, Rights::ALL);
    sim.run_for(secs(5));
    assert!((25..40).all(|node| edited(&sim, node, 2).is_some()));
    assert!((0..25).all(|node| edited(&sim, node, 3).is_none() && edited(&sim, node, 1).is_some()));
    sim.heal();
    sim.run_until(secs(60), |sim| sim.settled() && signed(sim, id(7)) == 0).unwrap();
    for node in 0..40 {
        assert_eq!(edited(&sim, node, 1).as_deref(), Some(&b"before"[..]), "as it was on this side: node {node}");
        assert_eq!((edited(&sim, node, 2), edited(&sim, node, 3)), (None, None));
        assert_eq!(sim.engine(node).unwrap().verdict(sim.id(3)), Verdict::Alive);
    }
    consistent(&sim);
}

#[test]
fn what_is_signed_anew_before_the_dismissal_stays_throughout() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 5);
    let old = sim.appoint(0, id(7), true, Rights::ALL);
    sim.run_for(secs(1));
    sim.work_with(key(7), Some(old));
    sim.edit(1, 1, b"www");
    add(&mut sim, 10);
    sim.appoint(2, id(8), true, Rights::ALL);
    sim.run_for(secs(1));
    // As `nigh operator rotate` does: every page of the old key, by the new one, above it.
    let engine = sim.engine(3).unwrap();
    let again: Vec<Page> = engine.replica().pages().iter().filter(|page| page.signer() == id(7)).cloned().collect();
    assert_eq!(again.len(), 11);
    for page in again {
        let stamp = page.stamp();
        sim.submit(3, Page::sign(&key(8), page.key(), stamp.major, stamp.minor + 1_000, page.body().to_vec())).unwrap();
    }
    sim.run_for(secs(1));
    let links: Vec<usize> = sim.running().map(|(_, engine)| engine.links().count()).collect();
    sim.appoint(4, id(7), false, Rights::ALL);
    for _ in 0..60 {
        sim.run_for(Duration::from_millis(50));
        assert!(sim.verdicts_are_true() && (0..15).all(|node| edited(&sim, node, 1).is_some()));
    }
    assert_eq!(signed(&sim, id(7)), 0);
    assert_eq!(sim.running().map(|(_, engine)| engine.links().count()).collect::<Vec<_>>(), links);
    consistent(&sim);
}

/// Nobody of them was admitted by the root: with empty replicas they know each other by what they show at the door.
#[test]
fn a_newcomer_with_an_empty_disk_joins_a_mesh_of_an_appointed_key() {
    let seed = Seed::new();
    let mut sim = Sim::new(seed.0);
    let appointment = Appointment { operator: id(7), name: "k7".into(), appointed: true, rights: Rights::ALL };
    let appointment = appointment.sign(&sim.root(), 1, 0);
    sim.work_with(key(7), Some(appointment));
    add(&mut sim, 6);
    sim.edit(2, 1, b"www");
    let newcomer = sim.add(&[0]);
    sim.run_until(secs(10), Sim::settled).unwrap();
    assert!(edited(&sim, newcomer, 1).is_some());
    // A member that lost its disk is one of these too.
    sim.kill(3, false);
    sim.wipe(3);
    sim.run_for(secs(1));
    sim.start(3);
    sim.run_until(secs(10), Sim::settled).unwrap();
    assert!(edited(&sim, 3, 1).is_some());
    // And all at once, from their disks.
    for node in 0..7 {
        sim.kill(node, false);
    }
    (0..7).for_each(|node| sim.start(node));
    sim.run_until(secs(20), Sim::settled).unwrap();
    assert!((0..7).all(|node| edited(&sim, node, 1).is_some()));
    consistent(&sim);
}

/// Appointed for one table, it tries the others; a member tries; and the key goes on after its dismissal.
#[test]
fn who_may_not_sign_is_refused_everywhere() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 8);
    sim.appoint(0, id(7), true, Rights { catalogue: true, admissions: false });
    sim.run_for(secs(1));
    let edit = |by: &SigningKey, slot: u32, at: u64| {
        let key = Key { owner: Owner::Operators, table: Table(32), slot: Slot::page(slot) };
        Page::sign(by, key, at, 0, b"mine".to_vec())
    };
    let own = Appointment { operator: id(8), name: "k8".into(), appointed: true, rights: Rights::ALL };
    let node = id(9);
    let certificate = Certificate { node, name: "mole".into(), serial: 1, prefixes: vec![], not_after: u64::MAX };
    for by in [key(7), key(50)] {
        let appoints = sim.submit(1, own.sign(&by, 9, 0));
        assert!(matches!(appoints, Err(Refused::NotTheOwner { .. })), "{appoints:?}");
        let itself = Appointment { operator: id(7), ..own.clone() };
        assert!(sim.submit(1, itself.sign(&by, 9, 0)).is_err());
        let admits = sim.submit(1, certificate.sign(&by, 9, 0));
        assert!(matches!(admits, Err(Refused::NotAppointed { .. })), "{admits:?}");
        let revokes = sim.submit(1, admission::revoke(&by, sim.id(2), 9, 0));
        assert!(matches!(revokes, Err(Refused::NotAppointed { .. })), "{revokes:?}");
    }
    sim.submit(1, edit(&key(7), 1, 9)).unwrap();
    sim.appoint(5, id(7), false, Rights::ALL);
    for round in 0..20 {
        let late = sim.submit(round % 8, edit(&key(7), 1, 10 + round as u64));
        sim.run_for(Duration::from_millis(100));
        // A node that has not heard of it yet may take it, for as long as the news is on its way.
        assert!(round < 5 || matches!(late, Err(Refused::NotAppointed { .. })), "{late:?}");
    }
    sim.run_until(secs(5), Sim::settled).unwrap();
    assert_eq!(signed(&sim, id(7)), 0);
    assert!(sim.running().all(|(_, engine)| !engine.replica().is_admitted(node)));
    consistent(&sim);
}

/// A tool gone wild, with the root's key: those at work stay at work, and no more than may count do.
#[test]
fn a_flood_of_appointments_changes_nothing_for_those_at_work() {
    let seed = Seed::new();
    let mut sim = mesh(&seed, 8);
    sim.appoint(0, id(7), true, Rights::ALL);
    sim.run_for(secs(1));
    let edit = |by: u8, slot: u32| {
        let at = Key { owner: Owner::Operators, table: Table(32), slot: Slot::page(slot) };
        Page::sign(&key(by), at, 5, 0, b"edit".to_vec())
    };
    sim.submit(1, edit(7, 1)).unwrap();
    for n in 20..220u8 {
        sim.appoint(usize::from(n) % 8, id(n), true, Rights::ALL);
    }
    sim.run_until(secs(10), Sim::settled).unwrap();
    for (node, engine) in sim.running() {
        assert_eq!(engine.replica().appointed().len(), MAX_APPOINTED, "node {node}");
        assert_eq!(engine.replica().pages().of_operators(Table::OPERATOR).count(), 201);
        assert!(engine.replica().may_operate(id(7), Table(32)));
    }
    assert!((0..8).all(|node| edited(&sim, node, 1).is_some()));
    let over = sim.submit(2, edit(219, 2));
    assert!(matches!(over, Err(Refused::NotAppointed { .. })), "{over:?}");
    // The first of them are dismissed, and the last of them count.
    for n in 20..=219 - u8::try_from(MAX_APPOINTED).unwrap() + 1 {
        sim.appoint(0, id(n), false, Rights::ALL);
    }
    sim.submit(0, edit(219, 2)).unwrap();
    sim.run_until(secs(10), |sim| sim.settled() && (0..8).all(|node| edited(sim, node, 2).is_some())).unwrap();
    assert!(sim.engine(3).unwrap().replica().page(&operator::key(id(20))).is_some());
    consistent(&sim);
}
