//! What stands in files, read again when they change: tokens are revoked and certificates renewed while the node runs.
//!
//! **Invariant:** what was good stays in use until what is good comes. A file that is half written, or gone, is a warning of
//! the node's for as long as it is so, and changes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::access::AccessError;

/// Files are looked at no oftener than this, whoever asks how often.
const LOOK: Duration = Duration::from_secs(1);

/// The content of files.
pub(super) struct Watched<T> {
    paths: Vec<PathBuf>,
    read: fn(&[PathBuf]) -> Result<T, AccessError>,
    held: ArcSwap<T>,
    seen: Mutex<Seen>,
}

struct Seen {
    marks: Vec<Option<Mark>>,
    at: Instant,
    /// What is wrong with what the files say now.
    fault: Option<String>,
}

/// Differs whenever a file does: device, inode, size, and when it or its mode changed.
type Mark = (u64, u64, u64, i64, i64);

impl<T> Watched<T> {
    /// Reads the files for the first time.
    pub(super) fn open(
        paths: Vec<PathBuf>,
        read: fn(&[PathBuf]) -> Result<T, AccessError>,
    ) -> Result<Self, AccessError> {
        // Before the files are read: what changes meanwhile is seen as a change.
        let seen = Seen { marks: marks(&paths), at: Instant::now(), fault: None };
        let held = ArcSwap::from_pointee(read(&paths)?);
        Ok(Self { paths, read, held, seen: Mutex::new(seen) })
    }

    /// What the files say.
    pub(super) fn current(&self) -> Arc<T> {
        // Whoever comes while another looks takes what was there.
        if let Ok(mut seen) = self.seen.try_lock()
            && seen.at.elapsed() >= LOOK
        {
            seen.at = Instant::now();
            self.look(&mut seen);
        }
        self.held.load_full()
    }

    /// That the files are at fault, and what is used in their place.
    pub(super) fn warning(&self) -> Option<String> {
        drop(self.current());
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.fault.as_ref().map(|fault| format!("{fault}; what was read before stays in use"))
    }

    fn look(&self, seen: &mut Seen) {
        let now = marks(&self.paths);
        if seen.marks == now {
            return;
        }
        seen.marks = now;
        seen.fault = match (self.read)(&self.paths) {
            Ok(read) => {
                self.held.store(Arc::new(read));
                tracing::info!(files = ?self.paths, "read again: they changed");
                None
            }
            Err(error) => Some(format!("{:#}", anyhow::Error::new(error))),
        };
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("paths", &self.paths).finish_non_exhaustive()
    }
}

fn marks(paths: &[PathBuf]) -> Vec<Option<Mark>> {
    let mark = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
    };
    paths.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    fn number(paths: &[PathBuf]) -> Result<u32, AccessError> {
        let text =
            fs::read_to_string(&paths[0]).map_err(|source| AccessError::Io { path: paths[0].clone(), source })?;
        text.trim().parse().map_err(|_| AccessError::Tokens("no number".into()))
    }

    /// As if the last look were long ago.
    fn later(watched: &Watched<u32>) -> u32 {
        watched.seen.lock().unwrap().at = Instant::now() - LOOK;
        *watched.current()
    }

    fn replace(path: &Path, text: &str) {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    #[test]
    fn a_change_is_seen_and_a_mistake_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        assert!(Watched::open(vec![path.clone()], number).is_err());
        fs::write(&path, "1").unwrap();
        let watched = Watched::open(vec![path.clone()], number).unwrap();
        replace(&path, "2");
        assert_eq!(*watched.current(), 1, "the files were looked at a moment ago");
        assert_eq!(later(&watched), 2);
        assert_eq!(watched.warning(), None);
        replace(&path, "two");
        assert_eq!(later(&watched), 2);
        assert_eq!(watched.warning().unwrap(), "no number; what was read before stays in use");
        fs::remove_file(&path).unwrap();
        assert_eq!(later(&watched), 2);
        assert!(watched.warning().unwrap().contains("No such file"), "{:?}", watched.warning());
        replace(&path, "3");
        assert_eq!(later(&watched), 3);
        assert_eq!(watched.warning(), None);
    }
}
