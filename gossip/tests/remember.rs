//! What a member asks to have written to disk: what changed, and nothing else.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use nigh_gossip::{
    Appointment, Key, Moment, NodeId, Owner, Page, Rights, Slot, Table,
    admission::Certificate,
    engine::{Action, Engine, Setup, Shared},
};

const ROWS: Table = Table(16);

fn signing(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn key(n: u8, table: Table, slot: u32) -> Key {
    Key { owner: Owner::Node(signing(n).verifying_key().into()), table, slot: Slot::page(slot) }
}

fn engine(epoch: u64, pages: Vec<Page>) -> Engine {
    let roots = vec![NodeId::from(signing(9).verifying_key())];
    let setup = Setup {
        signing: signing(1),
        roots,
        certificate: None,
        appointment: None,
        epoch,
        addresses: vec![],
        bootstrap: vec![],
        pages,
        seed: 1,
        shared: Shared::default(),
    };
    Engine::new(Moment::ZERO, setup)
}

fn admission(n: u8) -> Page {
    let node = signing(n).verifying_key().into();
    let certificate = Certificate { node, name: format!("n{n}"), serial: 1, prefixes: vec![], not_after: u64::MAX };
    certificate.sign(&signing(9), 1, 1)
}

/// What the shell has on disk after it has done as asked.
fn save(engine: &mut Engine, disk: &mut Vec<Page>) -> BTreeSet<Key> {
    let changed = engine.take_changed();
    disk.retain(|page| !changed.contains(&page.key()));
    disk.extend(changed.iter().filter_map(|key| engine.replica().page(key).cloned()));
    disk.sort_unstable_by_key(Page::key);
    let mut held: Vec<Page> = engine.replica().pages().iter().cloned().collect();
    held.sort_unstable_by_key(Page::key);
    assert_eq!(*disk, held);
    changed
}

#[test]
fn what_changed_is_asked_for_once() {
    let mut disk = Vec::new();
    let mut engine = engine(5, Vec::new());
    assert!(save(&mut engine, &mut disk).contains(&key(1, Table::MEMBER, 0)));
    assert_eq!(engine.take_changed(), BTreeSet::new());
    engine.publish(Moment::ZERO, ROWS, Slot::page(3), vec![1]);
    engine.publish(Moment::ZERO, ROWS, Slot::page(3), vec![1]);
    let operator = signing(9);
    let record = Key { owner: Owner::Operators, table: Table(40), slot: Slot::page(1) };
    engine.submit(Moment::ZERO, Page::sign(&operator, record, 1, 1, vec![2])).unwrap();
    assert_eq!(save(&mut engine, &mut disk), BTreeSet::from([key(1, ROWS, 3), record]));
}

#[test]
fn what_was_remembered_is_not_written_again_and_what_may_not_be_held_is_deleted() {
    let other = |slot| Page::sign(&signing(2), key(2, ROWS, slot), 1, 1, vec![7]);
    let stranger = Key { owner: Owner::Operators, table: ROWS, slot: Slot::page(0) };
    let mut disk = vec![admission(2), other(0), other(1), Page::sign(&signing(3), stranger, 1, 1, vec![7])];
    disk.extend([4, 5].map(|slot| Page::sign(&signing(1), key(1, ROWS, slot), 3, 1, vec![7])));
    let mut engine = engine(5, disk.clone());
    let own: BTreeSet<Key> = [Table::MEMBER, Table::WATCH].map(|table| key(1, table, 0)).into();
    let changed = save(&mut engine, &mut disk);
    assert_eq!(changed.iter().copied().filter(|key| !own.contains(key)).collect::<Vec<_>>(), [stranger]);
    assert!(disk.contains(&other(0)) && engine.poll_action().is_none());
}

/// The shell starts above remembered pages (so this does not happen); the engine would notice by itself.
#[test]
fn a_start_below_its_own_remembered_pages_goes_above_them() {
    let mut disk = vec![Page::sign(&signing(1), key(1, Table::MEMBER, 0), 70, 9, vec![7])];
    let mut engine = engine(5, disk.clone());
    assert_eq!(engine.poll_action(), Some(Action::RememberEpoch(71)));
    assert!(save(&mut engine, &mut disk).contains(&key(1, Table::MEMBER, 0)));
    assert_eq!(engine.replica().stamp(&key(1, Table::MEMBER, 0)).unwrap().major, 71);
}

/// What is remembered lies there in any order, and a key may have been dismissed since its pages were written.
#[test]
fn what_a_dismissed_key_signed_is_not_remembered() {
    let appointment = |n: u8, appointed| {
        let (operator, name) = (signing(n).verifying_key().into(), format!("k{n}"));
        Appointment { operator, name, appointed, rights: Rights::ALL }.sign(&signing(9), 1 + u64::from(!appointed), 0)
    };
    let edit = |n: u8| {
        let key = Key { owner: Owner::Operators, table: Table(32), slot: Slot::page(u32::from(n)) };
        Page::sign(&signing(n), key, 1, 1, vec![1])
    };
    let admitted = |n: u8, by: u8| {
        let node = signing(n).verifying_key().into();
        Certificate { node, name: format!("n{n}"), serial: 1, prefixes: vec![], not_after: 0 }.sign(&signing(by), 1, 1)
    };
    let row = |n: u8| Page::sign(&signing(n), key(n, Table(16), 0), 1, 1, vec![1]);
    let mut disk = vec![row(2), row(3), admitted(2, 7), admitted(3, 8), edit(7), edit(8)];
    disk.extend([appointment(7, true), appointment(8, false)]);
    let mut engine = engine(5, disk.clone());
    let held = |page: &Page| engine.replica().page(&page.key()) == Some(page);
    assert_eq!(disk.iter().map(held).collect::<Vec<_>>(), [true, false, true, false, true, false, true, true]);
    assert_eq!(engine.inconsistency(), None);
    save(&mut engine, &mut disk);
}
