//! What goes right, and who may; what goes wrong has a file per cause.
#![allow(clippy::unwrap_used)]

mod crash;
mod damage;
mod full;
mod measure;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ed25519_dalek::SigningKey;
use redb::{ReadableDatabase, ReadableTable};

use super::{
    MeshError, Remembered, Store,
    database::{self, FORMAT, Opener, PAGES},
};
use crate::{
    codec,
    id::NodeId,
    page::{Key, Owner, Page, Slot, Table},
};

/// In memory where there is such a place: what is synced is a matter for the model in [`crash`], and takes long on a disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn signing() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn me() -> NodeId {
    signing().verifying_key().into()
}

fn key(slot: u32) -> Key {
    Key { owner: Owner::Node(me()), table: Table(16), slot: Slot::page(slot) }
}

fn page(slot: u32, minor: u64) -> Page {
    Page::sign(&signing(), key(slot), 1, minor, [minor.to_be_bytes().as_slice(), &[7; 900]].concat())
}

fn pages(slots: std::ops::Range<u32>, minor: u64) -> Vec<Page> {
    slots.map(|slot| page(slot, minor)).collect()
}

fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(5_000)
}

fn open(dir: &Path) -> (Store, Remembered) {
    Store::open(dir, wall(), me()).unwrap()
}

/// Opens, and gives the version of each page that is there.
fn versions(dir: &Path) -> BTreeMap<Key, u64> {
    open(dir).1.pages.iter().map(|page| (page.key(), page.stamp().minor)).collect()
}

/// A directory whose replica holds the given pages.
fn saved(pages: Vec<Page>) -> tempfile::TempDir {
    let dir = scratch();
    open(dir.path()).0.save(pages, Vec::new()).unwrap();
    dir
}

/// Alters the file as no nigh would.
fn tamper(dir: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = redb::Database::open(dir.join("replica")).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn what_was_saved_comes_back_and_what_was_deleted_does_not() {
    let dir = saved(pages(0..9, 1));
    let (mut store, Remembered { pages: found, .. }) = open(dir.path());
    assert_eq!(found, pages(0..9, 1));
    store.save(pages(2..4, 5), vec![key(7), key(100)]).unwrap();
    drop(store);
    let expected = [0, 1, 4, 5, 6, 8].map(|slot| (key(slot), 1)).into_iter().chain([2, 3].map(|slot| (key(slot), 5)));
    assert_eq!(versions(dir.path()), expected.collect());
}

#[test]
fn a_missing_directory_is_an_error_before_anything_is_signed() {
    let dir = scratch();
    assert!(matches!(Store::open(&dir.path().join("gone"), wall(), me()), Err(MeshError::State { .. })));
}

#[test]
fn a_second_process_is_told_so_and_changes_nothing() {
    let dir = saved(pages(0..3, 1));
    let refused = || {
        let before = fs::read_to_string(dir.path().join("epoch")).unwrap();
        let refused = Store::open(dir.path(), wall(), me()).err().unwrap();
        assert!(refused.to_string().starts_with("another nigh uses the state in "), "{refused}");
        assert_eq!(fs::read_to_string(dir.path().join("epoch")).unwrap(), before);
        assert!(!dir.path().join("replica.damaged").exists());
    };
    let (first, _) = open(dir.path());
    refused();
    // Also where the second sees another `lock` than the first.
    fs::remove_file(dir.path().join("lock")).unwrap();
    refused();
    drop(first);
    open(dir.path()).0.close();
    assert_eq!(versions(dir.path()).len(), 3);
}

#[test]
fn a_lost_epoch_is_found_above_my_own_pages() {
    let own = |slot, major| Page::sign(&signing(), key(slot), major, 3, vec![1]);
    let other = SigningKey::from_bytes(&[2; 32]);
    let owner = Owner::Node(other.verifying_key().into());
    let foreign = Page::sign(&other, Key { owner, ..key(0) }, 1 << 40, 1, vec![1]);
    let dir = saved(vec![own(0, 7_000), own(1, 9_000), own(2, 8_000), foreign]);
    fs::remove_file(dir.path().join("epoch")).unwrap();
    assert_eq!(open(dir.path()).1.epoch, 9_001);
    assert_eq!(open(dir.path()).1.epoch, 9_002);
    fs::write(dir.path().join("epoch"), "many").unwrap();
    assert!(matches!(Store::open(dir.path(), wall(), me()), Err(MeshError::Epoch { .. })));
}

#[test]
fn a_page_that_does_not_verify_is_dropped_alone() {
    let dir = saved(pages(0..600, 1));
    tamper(dir.path(), |transaction| {
        let mut table = transaction.open_table(PAGES).unwrap();
        let mut forged = page(3, 2).to_bytes().to_vec();
        *forged.last_mut().unwrap() ^= 1;
        table.insert(codec::encode(&key(3)).as_slice(), forged.as_slice()).unwrap();
        table.insert(codec::encode(&key(4)).as_slice(), page(5, 9).to_bytes().as_slice()).unwrap();
        table.insert(b"no key".as_slice(), b"no page".as_slice()).unwrap();
        table.insert(b"long".as_slice(), vec![0; 1 << 20].as_slice()).unwrap();
    });
    let expected: BTreeMap<Key, u64> =
        (0..600).filter(|slot| ![3, 4].contains(slot)).map(|slot| (key(slot), 1)).collect();
    assert_eq!(versions(dir.path()), expected);
    let database = redb::Database::open(dir.path().join("replica")).unwrap();
    let table = database.begin_read().unwrap().open_table(PAGES).unwrap();
    assert_eq!(table.iter().unwrap().count(), 598, "they are not met at each start");
}
