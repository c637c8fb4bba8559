//! What survives a restart: the epoch, and the replica.
//!
//! The **epoch** is written, and synced, before the first page of a start is signed: stamps never repeat. It is at
//! least the Unix time, so a lost disk does no harm. The **replica** is a convenience (it holds the members' addresses,
//! so that learnt peers are remembered, and the catalogue, so that a mesh restarts as a whole): a file that does not
//! read is put aside and everything is fetched from the neighbours.
//!
//! File of pages: a line with the format, then for each page a four-byte length and its signed bytes, then a BLAKE3
//! hash over all before it. Both files are replaced by rename.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::MeshError;
use crate::page::Page;

const MAGIC: &[u8] = b"nigh replica 1\n";
/// A replica file longer than this is not ours: the design's largest state is below 100 MB.
const MAX_FILE: u64 = 512 << 20;

/// The epoch of this start, already on disk.
pub(super) fn next_epoch(dir: &Path, wall: SystemTime) -> Result<u64, MeshError> {
    let path = dir.join("epoch");
    let stored = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u64>().map_err(|_| MeshError::Epoch { path: path.clone() })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(source) => return Err(MeshError::State { path, source }),
    };
    let unix = wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let epoch = unix.max(stored.saturating_add(1));
    remember_epoch(dir, epoch)?;
    Ok(epoch)
}

pub(super) fn remember_epoch(dir: &Path, epoch: u64) -> Result<(), MeshError> {
    let path = dir.join("epoch");
    replace(&path, format!("{epoch}\n").as_bytes()).map_err(|source| MeshError::State { path, source })
}

/// The pages of the last run. Damage costs a resync, never the start: see the log.
pub(super) fn load_pages(dir: &Path) -> Vec<Page> {
    let path = dir.join("replica");
    match read_file(&path) {
        Ok(bytes) => match parse(&bytes) {
            Some(pages) => pages,
            None => {
                put_aside(&path);
                Vec::new()
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the remembered replica cannot be read; asking the neighbours");
            Vec::new()
        }
    }
}

pub(super) fn save_pages(dir: &Path, pages: &[Page]) -> Result<(), MeshError> {
    let mut bytes = MAGIC.to_vec();
    for page in pages {
        let page = page.to_bytes();
        bytes.extend_from_slice(&u32::try_from(page.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&page);
    }
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    let path = dir.join("replica");
    replace(&path, &bytes).map_err(|source| MeshError::State { path, source })
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large to be a replica"));
    }
    fs::read(path)
}

/// The pages of an undamaged file; a page whose signature does not hold is left out.
fn parse(bytes: &[u8]) -> Option<Vec<Page>> {
    let (content, hash) = bytes.split_at_checked(bytes.len().checked_sub(blake3::OUT_LEN)?)?;
    if blake3::hash(content).as_bytes() != hash {
        return None;
    }
    let mut rest = content.strip_prefix(MAGIC)?;
    let mut pages = Vec::new();
    while !rest.is_empty() {
        let (length, more) = rest.split_at_checked(4)?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let (page, more) = more.split_at_checked(usize::try_from(length).ok()?)?;
        pages.extend(Page::from_bytes(page).ok());
        rest = more;
    }
    Some(pages)
}

fn put_aside(path: &Path) {
    let aside = path.with_extension("damaged");
    match fs::rename(path, &aside) {
        Ok(()) => tracing::warn!(kept = %aside.display(), "the remembered replica is damaged; asking the neighbours"),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the remembered replica is damaged and cannot be put aside")
        }
    }
}

/// Writes a file so that a crash leaves the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new: PathBuf = path.with_extension("new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        // On a full disk the rest of a replica would keep the epoch and the cuts from being written.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    fs::rename(&new, path)?;
    // The rename itself must survive a power cut.
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::page::{Key, Owner, Slot, Table};

    fn pages() -> Vec<Page> {
        let signing = SigningKey::from_bytes(&[1; 32]);
        let owner = Owner::Node(signing.verifying_key().into());
        (0..3)
            .map(|slot| {
                Page::sign(&signing, Key { owner, table: Table(16), slot: Slot::page(slot) }, 1, 1, vec![7; 99])
            })
            .collect()
    }

    #[test]
    fn epochs_grow_even_when_the_clock_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let late = UNIX_EPOCH + Duration::from_secs(5_000);
        assert_eq!(next_epoch(dir.path(), late).unwrap(), 5_000);
        assert_eq!(next_epoch(dir.path(), UNIX_EPOCH).unwrap(), 5_001);
        assert_eq!(next_epoch(dir.path(), late).unwrap(), 5_002);
        fs::write(dir.path().join("epoch"), "x").unwrap();
        assert!(matches!(next_epoch(dir.path(), late), Err(MeshError::Epoch { .. })));
    }

    #[test]
    fn a_missing_directory_is_an_error_before_anything_is_signed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(next_epoch(&dir.path().join("gone"), UNIX_EPOCH), Err(MeshError::State { .. })));
    }

    #[test]
    fn pages_come_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load_pages(dir.path()), []);
        save_pages(dir.path(), &pages()).unwrap();
        assert_eq!(load_pages(dir.path()), pages());
    }

    /// `/dev/full` takes no byte; the link to it is what a half-written file is on a full disk.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_keeps_the_old_file_and_no_rest_of_the_new() {
        let dir = tempfile::tempdir().unwrap();
        save_pages(dir.path(), &pages()).unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("replica.new")).unwrap();
        assert!(matches!(save_pages(dir.path(), &[]), Err(MeshError::State { .. })));
        assert!(fs::symlink_metadata(dir.path().join("replica.new")).is_err());
        assert_eq!(load_pages(dir.path()), pages());
    }

    #[test]
    fn any_damage_is_noticed_and_the_file_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        save_pages(dir.path(), &pages()).unwrap();
        let good = fs::read(dir.path().join("replica")).unwrap();
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(parse(&bad).is_none(), "byte {at}");
            assert!(parse(&good[..at]).is_none(), "cut at {at}");
        }
        fs::write(dir.path().join("replica"), &good[..good.len() / 2]).unwrap();
        assert_eq!(load_pages(dir.path()), []);
        assert!(dir.path().join("replica.damaged").exists());
    }
}
