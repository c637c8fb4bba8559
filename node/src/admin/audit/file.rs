//! The file of the audit log, as one thread has it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use nix::fcntl::OFlag;
use tokio::sync::oneshot;

/// The auditors' group may read.
pub(super) const MODE: u32 = 0o640;

/// What the thread is asked for.
pub(super) enum Job {
    /// To write a line, and say when that was tried.
    Line(Vec<u8>, oneshot::Sender<()>),
    /// To open the file anew.
    Reopen,
}

/// The file, as the thread has it.
pub(super) struct LogFile {
    path: PathBuf,
    /// What keeps lines from it.
    trouble: Arc<Mutex<Option<String>>>,
    open: Option<File>,
    /// The last line is not whole.
    torn: bool,
    /// Lines that were not written since the last that was.
    missing: u64,
}

impl LogFile {
    pub(super) fn new(path: &Path, trouble: Arc<Mutex<Option<String>>>) -> Self {
        Self { path: path.to_owned(), trouble, open: None, torn: false, missing: 0 }
    }

    /// Makes sure that it can be written.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.file().map(|_| ())
    }

    /// Says what keeps lines from the file, once.
    pub(super) fn report(&self, outcome: io::Result<()>) {
        let now = outcome.err().map(|error| {
            let path = self.path.display();
            format!("the audit log {path} cannot be written: {error}; edits are taken, and written to the log alone")
        });
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*trouble, &now) {
            (old, Some(new)) if old.as_ref() != Some(new) => tracing::warn!("{new}"),
            (Some(_), None) => tracing::info!(path = ?self.path, "the audit log is written again"),
            _ => {}
        }
        *trouble = now;
    }

    /// Does what comes until nobody is left to ask.
    pub(super) fn follow(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Reopen => {
                    self.open = None;
                    let opened = self.open();
                    self.report(opened);
                }
                Job::Line(line, written) => {
                    let outcome = self.write(&line);
                    if outcome.is_err() {
                        self.missing += 1;
                    }
                    self.report(outcome);
                    // Whoever waited may have given up.
                    let _ = written.send(());
                }
            }
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let (torn, missing) = (self.torn, self.missing);
        let file = self.file()?;
        let mut whole = Vec::with_capacity(line.len() + 64);
        if torn {
            whole.push(b'\n');
        }
        if missing > 0 {
            let time = humantime::format_rfc3339_millis(SystemTime::now());
            writeln!(whole, "{{\"time\":\"{time}\",\"action\":\"audit\",\"missing\":{missing}}}")?;
        }
        whole.extend_from_slice(line);
        let before = file.metadata()?.len();
        let written = file.write_all(&whole).and_then(|()| match file.sync_data() {
            // What is no file on a disk has nothing to sync.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        });
        let after = file.metadata().map_or(before, |found| found.len());
        // A part of a line, as on a disk that became full: what comes next begins on a line of its own.
        self.torn = written.is_err() && (torn || after != before);
        written?;
        self.missing = 0;
        Ok(())
    }

    /// The file that is at the path now: it may have been put aside.
    fn file(&mut self) -> io::Result<&mut File> {
        let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
        let there = std::fs::metadata(&self.path).ok().map(identity);
        let held = self.open.as_ref().and_then(|file| file.metadata().ok()).map(identity);
        let same = there.is_some() && there == held;
        let file = match self.open.take().filter(|_| same) {
            Some(file) => file,
            None => {
                self.torn = false;
                OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(MODE)
                    // A pipe that nobody reads must not hold the node up.
                    .custom_flags(OFlag::O_NONBLOCK.bits())
                    .open(&self.path)?
            }
        };
        Ok(self.open.insert(file))
    }
}
