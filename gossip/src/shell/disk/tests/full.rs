//! A disk that takes no more: the node goes on, and nothing is lost once there is room.

use std::{
    fs::File,
    io,
    sync::{Arc, Mutex},
};

use redb::{StorageBackend, backends::FileBackend};

use super::*;

/// How many more changes to the file the disk takes; none: as many as come.
type Room = Arc<Mutex<Option<u64>>>;

#[derive(Debug)]
struct Disk {
    file: FileBackend,
    room: Room,
}

impl Disk {
    fn spend(&self) -> io::Result<()> {
        match &mut *self.room.lock().unwrap() {
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.spend()?;
        self.file.set_len(len)
    }
    /// Where blocks are allocated late, this is what fails.
    fn sync_data(&self) -> io::Result<()> {
        self.spend()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.spend()?;
        self.file.write(offset, data)
    }
}

fn opener(room: &Room) -> Opener {
    let room = room.clone();
    Box::new(move |file: File| {
        database::open_backend(Disk { file: FileBackend::new(file).unwrap(), room: room.clone() })
    })
}

fn open_on(dir: &Path, room: &Room) -> (Store, Remembered) {
    Store::open_with(dir, wall(), me(), opener(room)).unwrap()
}

/// The disk fills at each step that a save takes, in turn.
#[test]
fn a_save_that_found_no_room_is_made_up_for() {
    for left in 0.. {
        let dir = saved(pages(0..30, 1));
        let room = Room::default();
        let (mut store, _) = open_on(dir.path(), &room);
        *room.lock().unwrap() = Some(left);
        let Err(full) = store.save(pages(10..60, 2), vec![key(1)]) else {
            assert!(left > 5, "a save takes but {left} steps");
            return;
        };
        assert!(full.to_string().contains("Is there room"), "{full}");
        // As it stays full, newer content comes.
        assert!(store.is_behind() && store.save(pages(20..21, 3), Vec::new()).is_err());
        *room.lock().unwrap() = None;
        store.save(Vec::new(), Vec::new()).unwrap();
        assert!(!store.is_behind() && !store.take_lost(), "after {left} steps");
        drop(store);
        let mut expected: BTreeMap<Key, u64> = pages(0..60, 2).iter().map(|page| (page.key(), 2)).collect();
        expected.extend((0..10).map(|slot| (key(slot), 1)));
        expected.insert(key(20), 3);
        expected.remove(&key(1));
        assert_eq!(versions(dir.path()), expected, "after {left} steps");
        assert!(!dir.path().join("replica.damaged").exists());
    }
}

/// ... and there is no room before the node stops.
#[test]
fn a_save_that_found_no_room_harms_none_before() {
    for left in 0.. {
        let dir = saved(pages(0..30, 1));
        let room = Room::default();
        let (mut store, _) = open_on(dir.path(), &room);
        *room.lock().unwrap() = Some(left);
        let done = store.save(pages(0..60, 2), Vec::new()).is_ok();
        drop(store);
        let found = versions(dir.path());
        assert!(!dir.path().join("replica.damaged").exists());
        let (old, new) = ((0..30).map(|slot| (key(slot), 1)), (0..60).map(|slot| (key(slot), 2)));
        assert!(found == new.collect() || (!done && found == old.collect()), "after {left} steps: {found:?}");
        if done {
            return;
        }
    }
}

/// The disk was full before the start: at each step that opening, or making, the file takes.
#[test]
fn a_node_starts_on_a_full_disk_and_keeps_what_is_there() {
    for (there, found_at_last) in [(true, 31), (false, 1)] {
        for left in 0.. {
            let dir = if there { saved(pages(0..30, 1)) } else { scratch() };
            let room = Arc::new(Mutex::new(Some(left)));
            let (mut store, Remembered { pages: found, .. }) = open_on(dir.path(), &room);
            let started = store.database.is_some();
            assert!(found.len() == if started && there { 30 } else { 0 });
            *room.lock().unwrap() = None;
            store.save(pages(40..41, 2), Vec::new()).unwrap();
            drop(store);
            assert_eq!(versions(dir.path()).len(), found_at_last, "after {left} steps");
            assert!(!dir.path().join("replica.damaged").exists());
            if started {
                assert!(left > 2);
                break;
            }
        }
    }
}

/// While the node ran, another hand spoilt the file, and it is opened anew after a failure.
#[test]
fn a_file_spoilt_under_a_running_node_is_written_anew() {
    let dir = saved(pages(0..30, 1));
    let room = Room::default();
    let (mut store, _) = open_on(dir.path(), &room);
    *room.lock().unwrap() = Some(0);
    store.save(pages(30..31, 1), Vec::new()).unwrap_err();
    // The directory stays ours while the database is closed.
    assert!(store.database.is_none() && matches!(Store::open(dir.path(), wall(), me()), Err(MeshError::InUse { .. })));
    *room.lock().unwrap() = None;
    fs::write(dir.path().join("replica"), "spoilt").unwrap();
    store.save(pages(31..32, 1), Vec::new()).unwrap();
    assert!(store.take_lost() && !store.take_lost());
    store.save(pages(0..32, 1), Vec::new()).unwrap();
    drop(store);
    assert_eq!(versions(dir.path()).len(), 32);
    assert!(dir.path().join("replica.damaged").exists());
}

/// The same on a real file system of 2 MB: this test again, in a mount namespace of its own.
#[test]
#[cfg(target_os = "linux")]
fn a_small_tmpfs_fills_and_is_emptied() {
    const INSIDE: &str = "NIGH_TEST_TMPFS";
    let name = "shell::disk::tests::full::a_small_tmpfs_fills_and_is_emptied";
    if let Some(dir) = std::env::var_os(INSIDE) {
        return fill_and_empty(Path::new(&dir));
    }
    let dir = scratch();
    let script = "mount -t tmpfs -o size=2m tmpfs \"$0\" || exit 77; exec \"$@\"";
    let inside = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, dir.path())
        .output();
    match inside {
        Ok(inside) if inside.status.success() => {
            let said = String::from_utf8_lossy(&inside.stdout);
            assert!(said.contains("1 passed"), "{said}");
        }
        Ok(inside) if inside.status.code() == Some(101) => {
            panic!("{}{}", String::from_utf8_lossy(&inside.stdout), String::from_utf8_lossy(&inside.stderr));
        }
        // No namespaces, or none with mounts, are allowed here: the tests above stand for this one.
        Ok(_) | Err(_) => {}
    }
}

#[cfg(target_os = "linux")]
fn fill_and_empty(dir: &Path) {
    let (mut store, _) = open(dir);
    store.save(pages(0..100, 1), Vec::new()).unwrap();
    let mut ballast = File::create(dir.join("ballast")).unwrap();
    let full = io::copy(&mut io::repeat(1), &mut ballast).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    let error = store.save(pages(0..800, 2), Vec::new()).unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
    store.save(Vec::new(), Vec::new()).unwrap_err();
    // Not even the epoch: a start says so.
    drop(store);
    assert!(matches!(Store::open(dir, wall(), me()), Err(MeshError::State { .. })));
    drop(ballast);
    fs::remove_file(dir.join("ballast")).unwrap();
    let (mut store, Remembered { pages: found, .. }) = open(dir);
    assert_eq!(found, pages(0..100, 1));
    store.save(pages(0..800, 2), Vec::new()).unwrap();
    drop(store);
    assert_eq!(versions(dir), (0..800).map(|slot| (key(slot), 2)).collect());
}
