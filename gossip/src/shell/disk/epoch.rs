//! The epoch: one number in a file of its own.
//!
//! It is written, and synced, before the first page of a start is signed: stamps never repeat. It does not live in the
//! database beside it, for it must survive the loss of that: a replica is fetched again from the neighbours, an epoch
//! from nobody. And it is at least the Unix time, so that a lost disk does no harm.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::MeshError;

/// The epoch of the last start, 0 before the first.
pub(super) fn stored(dir: &Path) -> Result<u64, MeshError> {
    let path = dir.join("epoch");
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u64>().map_err(|_| MeshError::Epoch { path: path.clone() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(MeshError::Epoch { path }),
        Err(source) => Err(MeshError::State { path, source }),
    }
}

/// Above every epoch used before.
pub(super) fn above(used: u64, wall: SystemTime) -> u64 {
    let unix = wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    unix.max(used.saturating_add(1))
}

/// Keeps the epoch: when this returns, no crash can take it back.
pub(in crate::shell) fn remember_epoch(dir: &Path, epoch: u64) -> Result<(), MeshError> {
    let path = dir.join("epoch");
    replace(&path, format!("{epoch}\n").as_bytes()).map_err(|source| MeshError::State { path, source })
}

/// Writes a file so that a crash leaves the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new: PathBuf = path.with_extension("new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        // Nothing of ours should stand about on a full disk.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    rename(&new, path)
}

/// A rename that survives a power cut.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    match to.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn next(dir: &Path, wall: SystemTime) -> u64 {
        let epoch = above(stored(dir).unwrap(), wall);
        remember_epoch(dir, epoch).unwrap();
        epoch
    }

    #[test]
    fn epochs_grow_even_when_the_clock_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let late = UNIX_EPOCH + Duration::from_secs(5_000);
        assert_eq!(next(dir.path(), late), 5_000);
        assert_eq!(next(dir.path(), UNIX_EPOCH), 5_001);
        assert_eq!(next(dir.path(), late), 5_002);
    }

    #[test]
    fn what_is_no_number_is_an_error_and_not_a_zero() {
        let dir = tempfile::tempdir().unwrap();
        for damaged in [&b"x"[..], b"", b"-1", b"17\n18", b"\xff\xfe", b"99999999999999999999"] {
            fs::write(dir.path().join("epoch"), damaged).unwrap();
            assert!(matches!(stored(dir.path()), Err(MeshError::Epoch { .. })), "{damaged:?}");
        }
    }

    /// `/dev/full` takes no byte; the link to it is what a half-written file is on a full disk.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_keeps_the_old_epoch_and_no_rest_of_the_new() {
        let dir = tempfile::tempdir().unwrap();
        remember_epoch(dir.path(), 7).unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("epoch.new")).unwrap();
        assert!(matches!(remember_epoch(dir.path(), 8), Err(MeshError::State { .. })));
        assert!(fs::symlink_metadata(dir.path().join("epoch.new")).is_err());
        assert_eq!(stored(dir.path()).unwrap(), 7);
    }
}
