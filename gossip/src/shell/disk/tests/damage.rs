//! Files that another hand, another version or a dying disk left: put aside, and the node starts.

use std::os::unix::fs::symlink;

use super::*;

const META: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");

/// Opens what stands there now, and shows that it serves again. Gives the pages found, and where the file went.
fn survive(dir: &Path, what: &str) -> (Vec<Page>, Option<&'static str>) {
    let (mut store, Remembered { pages: found, .. }) = open(dir);
    let aside = ["damaged", "newer"]
        .into_iter()
        .find(|aside| fs::symlink_metadata(dir.join(format!("replica.{aside}"))).is_ok());
    store.save(pages(50..52, 1), Vec::new()).unwrap_or_else(|error| panic!("{what}: {error}"));
    drop(store);
    let after = versions(dir);
    assert_eq!(after.len(), found.len() + 2, "{what}");
    (found, aside)
}

/// A directory with this file as its replica.
fn with(bytes: &[u8]) -> tempfile::TempDir {
    let dir = scratch();
    fs::write(dir.path().join("replica"), bytes).unwrap();
    dir
}

fn file() -> Vec<u8> {
    fs::read(saved(pages(0..40, 1)).path().join("replica")).unwrap()
}

#[test]
fn a_file_cut_anywhere_is_put_aside() {
    let good = file();
    let cuts = (0..600).step_by(37).chain((600..good.len()).step_by(4099)).chain([good.len() - 1]);
    for at in cuts {
        let dir = with(&good[..at]);
        let (found, aside) = survive(dir.path(), &format!("cut at {at}"));
        assert_eq!((found.len(), aside), (0, Some("damaged")), "cut at {at}");
        assert_eq!(fs::read(dir.path().join("replica.damaged")).unwrap().len(), at);
    }
}

/// What a flip does: in a free part nothing, in a header a commit slot less, elsewhere the file is put aside. Never a page
/// that was not saved.
#[test]
fn a_bit_flipped_anywhere_costs_a_resync_at_most() {
    let good = file();
    let expected = pages(0..40, 1);
    let (mut kept, mut put_aside) = (0, 0);
    for at in (0..320).chain((320..good.len()).step_by(331)) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let dir = with(&bad);
        let (found, aside) = survive(dir.path(), &format!("byte {at}"));
        match aside {
            None => {
                kept += 1;
                assert!(found == expected, "byte {at}: {} pages", found.len());
            }
            Some(_) => {
                put_aside += 1;
                assert!(found.is_empty(), "byte {at}");
            }
        }
    }
    assert!(kept > 10 && put_aside > 50, "{kept} kept, {put_aside} put aside");
}

#[test]
fn other_things_in_its_place_are_put_aside() {
    let mut noise = vec![0; 100_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    for bytes in [b"".as_slice(), b"nigh replica 1\n", &[0; 5_000], b"redb", &noise] {
        let dir = with(bytes);
        assert_eq!(survive(dir.path(), "other bytes"), (Vec::new(), Some("damaged")));
        assert_eq!(fs::read(dir.path().join("replica.damaged")).unwrap(), bytes);
    }
    let dir = scratch();
    fs::create_dir_all(dir.path().join("replica/full")).unwrap();
    assert_eq!(survive(dir.path(), "a directory"), (Vec::new(), Some("damaged")));
    // Root reads whatever its mode is, but not this.
    let dir = scratch();
    symlink("replica", dir.path().join("replica")).unwrap();
    assert_eq!(survive(dir.path(), "an unreadable file"), (Vec::new(), Some("damaged")));
    // A database, but not ours.
    let dir = scratch();
    drop(redb::Database::create(dir.path().join("replica")).unwrap());
    assert_eq!(survive(dir.path(), "another database"), (Vec::new(), Some("damaged")));
}

#[test]
fn the_last_damaged_file_is_kept_and_older_ones_make_room() {
    let dir = with(b"first");
    fs::create_dir_all(dir.path().join("replica.damaged/from/before")).unwrap();
    survive(dir.path(), "over a directory");
    fs::write(dir.path().join("replica"), "second").unwrap();
    survive(dir.path(), "over a file");
    assert_eq!(fs::read(dir.path().join("replica.damaged")).unwrap(), b"second");
}

#[test]
fn a_file_of_a_newer_nigh_is_put_aside_whole() {
    let dir = saved(pages(0..40, 1));
    tamper(dir.path(), |transaction| {
        transaction.open_table(META).unwrap().insert("format", FORMAT + 1).unwrap();
    });
    assert_eq!(survive(dir.path(), "our format"), (Vec::new(), Some("newer")));
    // The newer version finds it as it was.
    let newer = redb::Database::open(dir.path().join("replica.newer")).unwrap();
    assert_eq!(newer.begin_read().unwrap().open_table(PAGES).unwrap().iter().unwrap().count(), 40);
}

#[test]
fn a_file_of_a_newer_redb_is_put_aside_untouched() {
    let mut newer = file();
    for slot in [64, 192] {
        assert_eq!(newer[slot], 3, "redb's header has changed");
        newer[slot] = 4;
    }
    let dir = with(&newer);
    assert_eq!(survive(dir.path(), "redb's format"), (Vec::new(), Some("newer")));
    assert!(fs::read(dir.path().join("replica.newer")).unwrap() == newer);
}

#[test]
fn an_older_format_than_any_of_ours_is_damage() {
    let dir = saved(pages(0..40, 1));
    tamper(dir.path(), |transaction| {
        transaction.open_table(META).unwrap().insert("format", 1).unwrap();
    });
    assert_eq!(survive(dir.path(), "format 1"), (Vec::new(), Some("damaged")));
}

/// redb reports damage; should it panic over some, or over a disk's errors, the node starts all the same.
#[test]
fn a_panic_over_a_file_is_damage_too() {
    let dir = saved(pages(0..40, 1));
    let met = std::cell::Cell::new(false);
    let opener: Opener = Box::new(move |file| {
        assert!(met.replace(true), "a panic that this test wants");
        database::open_file(file)
    });
    let (mut store, Remembered { pages: found, .. }) = Store::open_with(dir.path(), wall(), me(), opener).unwrap();
    assert!(found.is_empty() && dir.path().join("replica.damaged").exists());
    store.save(pages(0..2, 2), Vec::new()).unwrap();
    drop(store);
    assert_eq!(versions(dir.path()).len(), 2);
}
