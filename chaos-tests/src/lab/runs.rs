//! Runs: a prefix and a directory of their own, and a record by which a later run knows whose leftovers are whose.
//!
//! A record names the owner by pid *and* start time, since pids come round again. Leftovers are cleared only when that
//! very process is gone, so two runs at once do not disturb each other, and neither does anything else on the machine.
//!
//! Rejected: one fixed prefix that is cleared at start, which ends a second run's bed under its feet.

use super::netns::{self, Namespace};
use super::ram;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Records of running beds. Root only, and empty after a reboot, as the namespaces are.
const RECORDS: &str = "/run/nigh-chaos";
/// What the names of our directories and namespaces begin with.
const NAMESPACE_PREFIX: &str = "nigh-";
const DIRECTORY_PREFIX: &str = "nigh-chaos-";

/// Who owns what.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Record {
    pid: u32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot.
    started: u64,
    /// To be removed with the run; none when the logs are to be kept.
    directory: Option<PathBuf>,
}

/// A run of a bed.
#[derive(Debug)]
pub struct Run {
    guard: Arc<RunGuard>,
}

/// Removes the run's directory and record when the run and all its namespaces are gone.
#[derive(Debug)]
pub struct RunGuard {
    id: String,
    directory: PathBuf,
    keep: bool,
}

impl Run {
    /// Clears what dead runs left and begins a new one. `keep`: the directory with configurations and logs stays.
    pub fn begin(keep: bool) -> Result<Self> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        fs::create_dir_all(RECORDS).with_context(|| format!("creating {RECORDS} (needs root)"))?;
        sweep(Path::new(RECORDS), started)?;
        let pid = std::process::id();
        let id = format!("{pid}.{}", RUNS.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::Builder::new()
            .prefix(DIRECTORY_PREFIX)
            .tempdir()
            .context("making a directory for configurations and logs")?
            .keep();
        let guard = RunGuard { id, directory, keep };
        let record = Record {
            pid,
            started: started(pid).context("reading our own start time from /proc")?,
            directory: (!keep).then(|| guard.directory.clone()),
        };
        // Written beside and renamed: another run that sweeps now sees all of it or nothing.
        let fresh = Path::new(RECORDS).join(format!(".{}", guard.id));
        fs::write(&fresh, serde_json::to_vec(&record)?).context("writing the run's record")?;
        fs::rename(&fresh, guard.record()).context("writing the run's record")?;
        Ok(Self { guard: Arc::new(guard) })
    }

    /// Makes a namespace for a host.
    pub fn namespace(&self, host: &str) -> Result<Namespace> {
        Namespace::create(format!("{}{host}", namespace_prefix(&self.guard.id)), Arc::clone(&self.guard))
    }

    /// The directory for configurations and logs.
    pub fn directory(&self) -> &Path {
        &self.guard.directory
    }

    /// A directory of its own for a host.
    pub fn host_directory(&self, host: &str) -> Result<PathBuf> {
        let directory = self.guard.directory.join(host);
        fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
        Ok(directory)
    }
}

impl RunGuard {
    fn record(&self) -> PathBuf {
        Path::new(RECORDS).join(&self.id)
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        // Nobody to tell; what stays is cleared by the next run.
        ram::unmount_below(&self.directory);
        if !self.keep {
            drop(fs::remove_dir_all(&self.directory));
        }
        drop(fs::remove_file(self.record()));
    }
}

/// With the dash at the end: the prefix of run 12.3 is not one of run 12.34.
fn namespace_prefix(id: &str) -> String {
    format!("{NAMESPACE_PREFIX}{id}-")
}

/// Clears what runs left whose owner is gone. `started` tells when a living process was started.
fn sweep(records: &Path, started: impl Fn(u32) -> Option<u64>) -> Result<()> {
    for entry in fs::read_dir(records).with_context(|| format!("reading {}", records.display()))?.flatten() {
        let Ok(id) = entry.file_name().into_string() else { continue };
        if id.starts_with('.') {
            continue; // being written
        }
        // Gone or unreadable: another run sweeps at the same time.
        let Ok(text) = fs::read(entry.path()) else { continue };
        let Ok(record) = serde_json::from_slice::<Record>(&text) else { continue };
        if started(record.pid) == Some(record.started) {
            continue;
        }
        let prefix = namespace_prefix(&id);
        for name in netns::all().iter().filter(|name| name.starts_with(&prefix)) {
            drop(netns::delete(name)); // may be gone by now, for the same reason
        }
        if let Some(directory) = record.directory.filter(|directory| is_ours(directory)) {
            ram::unmount_below(&directory);
            drop(fs::remove_dir_all(directory));
        }
        drop(fs::remove_file(entry.path()));
    }
    Ok(())
}

/// A record is data: never remove a directory that was not named by us.
fn is_ours(directory: &Path) -> bool {
    directory.is_absolute()
        && directory.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(DIRECTORY_PREFIX))
}

/// When the process was started, if it lives.
fn started(pid: u32) -> Option<u64> {
    start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of a stat line. The second field is the program's name in parentheses and may itself contain any of them.
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Record, Run, is_ours, netns, start_time, sweep};
    use crate::machine::{self, Need};
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_start_time_is_found_behind_any_program_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";
        assert_eq!(start_time(stat), Some(98765));
        assert_eq!(start_time("42 (short) S 1"), None);
        assert_eq!(start_time(""), None);
    }

    #[test]
    fn only_what_dead_owners_left_is_cleared() {
        let records = tempfile::tempdir().unwrap();
        let beds = tempfile::tempdir().unwrap();
        let record = |id: &str, pid: u32, started: u64| {
            let directory = beds.path().join(format!("nigh-chaos-{id}"));
            fs::create_dir(&directory).unwrap();
            let record = Record { pid, started, directory: Some(directory.clone()) };
            fs::write(records.path().join(id), serde_json::to_vec(&record).unwrap()).unwrap();
            directory
        };
        let living = record("lives.0", 10, 100);
        let dead = record("dead.0", 11, 100);
        let recycled = record("pid-came-round.0", 12, 100);
        fs::write(records.path().join(".half-written"), b"{").unwrap();
        fs::write(records.path().join("garbage"), b"{").unwrap();
        sweep(records.path(), |pid| match pid {
            10 => Some(100),
            12 => Some(200),
            _ => None,
        })
        .unwrap();
        assert!(living.exists() && records.path().join("lives.0").exists());
        assert!(!dead.exists() && !records.path().join("dead.0").exists());
        assert!(!recycled.exists() && !records.path().join("pid-came-round.0").exists());
        assert!(records.path().join(".half-written").exists() && records.path().join("garbage").exists());
    }

    #[test]
    fn a_record_cannot_have_us_remove_a_strangers_directory() {
        assert!(is_ours(Path::new("/tmp/nigh-chaos-abc")));
        for stranger in ["/tmp", "/", "nigh-chaos-abc", "/tmp/nigh-chaos-abc/..", "/srv/data"] {
            assert!(!is_ours(Path::new(stranger)), "{stranger}");
        }
    }

    #[test]
    fn a_run_leaves_nothing_behind_even_when_it_panics() {
        if !machine::allows("run with real namespaces", &[Need::Root, Need::Namespaces]) {
            return;
        }
        let mut seen = None;
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let run = Run::begin(false).unwrap();
            let other = Run::begin(false).unwrap();
            let space = run.namespace("host").unwrap();
            let twin = other.namespace("host").expect("another run may use the same host names");
            assert!(netns::all().iter().any(|name| name == space.name()));
            assert_eq!(netns::inside(space.name(), || 7).unwrap(), 7);
            seen = Some((space.name().to_owned(), twin.name().to_owned(), run.directory().to_owned()));
            panic!("as a failed assertion would");
        }));
        assert!(result.is_err());
        let (space, twin, directory) = seen.unwrap();
        assert!(!netns::all().iter().any(|name| *name == space || *name == twin));
        assert!(!directory.exists());
    }
}
