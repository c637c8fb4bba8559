//! The audit log: who changed what, when, from where, and what came of it.
//!
//! ```text
//!   POST ─▶ routes ─▶ Source ─▶ Audit ─▶ log
//!                                 └─ queue ─▶ a thread ─▶ file   one line of JSON each
//! ```
//!
//! The answer waits for its line, so that what a client was told is on disk; but not for a disk that is stuck.
//!
//! **Invariant:** no edit is refused, and none waits long, because its line cannot be written. That a line is missing is said in
//! the log, in `nigh status`, and by the next line.
//!
//! Rejected: writing where requests are served (a disk that hangs would hang them), and one line for each record (an edit is one
//! act, and whoever reads the log counts acts).

mod file;

use std::io;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nigh_gossip::{Page, Table, admission};
use nix::unistd::{Uid, User};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use self::file::{Job, LogFile};
use super::access::Who;
use super::{Refusal, Submitted};
use crate::catalogue::{self, admission::MAX_SUBMIT, record::Record};

/// Lines that wait for the disk; further ones go to the log alone.
const QUEUE: usize = 256;
/// How long an answer waits for its line.
const PATIENCE: Duration = Duration::from_secs(1);
/// Refused attempts that are written at once, and then one in each [`REFUSED_EVERY`]: whoever guesses must not fill the disk.
const REFUSED_BURST: u32 = 20;
const REFUSED_EVERY: Duration = Duration::from_secs(1);
/// Records that the node's log names; the file names all.
const LOGGED: usize = 5;

/// Where edits are written down.
#[derive(Debug)]
pub struct Audit {
    node: String,
    writer: Option<SyncSender<Job>>,
    /// What keeps lines from the file.
    trouble: Arc<Mutex<Option<String>>>,
    refused: Mutex<Refused>,
}

#[derive(Debug)]
struct Refused {
    left: u32,
    since: Instant,
    unwritten: u64,
}

/// An edit, or the attempt at one.
#[derive(Debug, Default, Serialize)]
pub(super) struct Edit {
    action: String,
    /// How many records came.
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    set: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deleted: Vec<String>,
    /// Whose signatures they bear.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signers: Vec<String>,
}

impl Edit {
    pub(super) fn new(action: impl Into<String>) -> Self {
        Self { action: action.into(), ..Self::default() }
    }

    /// Names what these pages are about.
    pub(super) fn of(mut self, pages: &[Page]) -> Self {
        self.records = Some(pages.len());
        for page in pages.iter().take(MAX_SUBMIT) {
            let (record, gone) = named(page);
            if gone {
                self.deleted.push(record)
            } else {
                self.set.push(record)
            }
            let signer = page.signer().to_string();
            if !self.signers.contains(&signer) && self.signers.len() < LOGGED {
                self.signers.push(signer);
            }
        }
        self
    }
}

/// What a page is about, and whether it says that there is no such thing any more.
fn named(page: &Page) -> (String, bool) {
    let read = match page.key().table {
        catalogue::TABLE => Record::decode(page.key(), page.body())
            .ok()
            .map(|record| (record.identity.to_string(), record.value.is_none())),
        Table::ADMISSION => page
            .certificate()
            .map(|certificate| (format!("certificate/{}/{}", certificate.name, certificate.node), false)),
        Table::REVOCATION => admission::read_revocation(page).map(|node| (format!("revocation/{node}"), false)),
        Table::OPERATOR => page.appointment().map(|appointment| {
            (format!("operator/{}/{}", appointment.name, appointment.operator), !appointment.appointed)
        }),
        _ => None,
    };
    read.unwrap_or_else(|| (format!("unreadable/{}", page.key().table.0), false))
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    node: &'a str,
    #[serde(flatten)]
    edit: &'a Edit,
    outcome: &'static str,
    by: By,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(flatten)]
    submitted: Option<Submitted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// Refused attempts since the last line that have none.
    #[serde(skip_serializing_if = "is_none")]
    unwritten: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Who it was.
#[derive(Debug, Default, Serialize)]
struct By {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    /// Who logged in before they became that user, as with sudo.
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<String>,
}

impl By {
    fn new(who: &Who) -> Self {
        match who {
            Who::Socket { uid, pid } => {
                Self { kind: "socket", name: uid.and_then(user), uid: *uid, pid: *pid, login: pid.and_then(login) }
            }
            Who::Holder { name, .. } => Self { kind: "token", name: Some(name.clone()), ..Self::default() },
            Who::Anonymous { .. } => Self { kind: "anonymous", ..Self::default() },
        }
    }
}

fn user(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

fn login(pid: i32) -> Option<String> {
    let uid: u32 = std::fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?.trim().parse().ok()?;
    // All ones: nobody logged in.
    if uid == u32::MAX { None } else { user(uid).or_else(|| Some(uid.to_string())) }
}

impl Audit {
    /// To the node's log alone.
    pub fn to_log(node: &str) -> Self {
        let refused = Refused { left: REFUSED_BURST, since: Instant::now(), unwritten: 0 };
        Self { node: node.to_owned(), writer: None, trouble: Arc::default(), refused: Mutex::new(refused) }
    }

    /// To a file as well.
    ///
    /// # Errors
    /// The path cannot be used. That its disk is full is no error: the file is tried again with each line.
    pub fn to_file(node: &str, path: &Path) -> io::Result<Self> {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let mut audit = Self::to_log(node);
        let mut log = LogFile::new(path, Arc::clone(&audit.trouble));
        match log.open() {
            Err(error) if !matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem) => {
                return Err(error);
            }
            opened => log.report(opened),
        }
        let (sender, jobs) = sync_channel(QUEUE);
        std::thread::Builder::new().name("audit".into()).spawn(move || log.follow(&jobs))?;
        audit.writer = Some(sender);
        Ok(audit)
    }

    /// As the configuration of that node says. A program that puts the file aside may say so with SIGHUP; without a file that
    /// signal ends the node, as that of a closed terminal should.
    ///
    /// # Errors
    /// The path cannot be used.
    pub fn start(node: &str, path: Option<&Path>) -> io::Result<Arc<Self>> {
        let Some(path) = path else { return Ok(Arc::new(Self::to_log(node))) };
        let audit = Arc::new(Self::to_file(node, path)?);
        let (mut hangup, told) = (signal(SignalKind::hangup())?, Arc::clone(&audit));
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                told.reopen();
            }
        });
        Ok(audit)
    }

    /// Opens the file anew, for programs that put it aside and say so.
    pub fn reopen(&self) {
        if let Some(writer) = &self.writer {
            // A full queue is one whose next line looks where the file is.
            let _ = writer.try_send(Job::Reopen);
        }
    }

    /// Words for the operator while lines are missing.
    pub fn warning(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes down what came of an edit.
    pub(super) async fn done(&self, who: &Who, edit: &Edit, outcome: Result<Option<Submitted>, &Refusal>) {
        let (outcome, submitted, error) = match outcome {
            Ok(submitted) => ("done", submitted, None),
            Err(refusal) => ("refused", None, Some(refusal.error.as_str())),
        };
        if error.is_some() && !self.may_write_refused() {
            return;
        }
        let unwritten = std::mem::take(&mut self.refused.lock().unwrap_or_else(PoisonError::into_inner).unwritten);
        let from = match who {
            Who::Socket { .. } => None,
            Who::Holder { from, .. } | Who::Anonymous { from } => Some(from.to_string()),
        };
        let by = By::new(who);
        let records: Vec<&String> = edit.set.iter().chain(&edit.deleted).take(LOGGED).collect();
        tracing::info!(
            action = %edit.action, outcome, by = by.name.as_deref().unwrap_or(by.kind), pid = by.pid,
            from = from.as_deref(), records = edit.records, first = ?records, error, unwritten, "audit"
        );
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let line = Line { time, node: &self.node, edit, outcome, by, from, submitted, error, unwritten };
        let (Some(writer), Ok(mut line)) = (&self.writer, serde_json::to_vec(&line)) else { return };
        line.push(b'\n');
        let (written, wait) = oneshot::channel();
        if writer.try_send(Job::Line(line, written)).is_err() || tokio::time::timeout(PATIENCE, wait).await.is_err() {
            tracing::warn!("the disk of the audit log is stuck: the line above is not in it yet");
        }
    }

    fn may_write_refused(&self) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let back = refused.since.elapsed().as_secs() / REFUSED_EVERY.as_secs();
        if back > 0 {
            refused.left = REFUSED_BURST.min(refused.left.saturating_add(u32::try_from(back).unwrap_or(u32::MAX)));
            refused.since = Instant::now();
        }
        if refused.left == 0 {
            refused.unwritten += 1;
            return false;
        }
        refused.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::MetadataExt;

    use serde_json::Value;

    use super::file::MODE;
    use super::*;

    fn lines(path: &Path) -> Vec<Value> {
        std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn me() -> Who {
        Who::Socket { uid: Some(0), pid: None }
    }

    #[tokio::test]
    async fn a_file_that_was_put_aside_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("audit"), folder.path().join("audit.1"));
        let audit = Audit::to_file("fra", &path).unwrap();
        audit.done(&me(), &Edit::new("drain"), Ok(None)).await;
        std::fs::rename(&path, &aside).unwrap();
        audit.done(&me(), &Edit::new("submit"), Ok(Some(Submitted { accepted: 3, superseded: 1 }))).await;
        let (old, new) = (lines(&aside), lines(&path));
        assert_eq!((old.len(), new.len()), (1, 1));
        assert_eq!((&old[0]["action"], &old[0]["outcome"]), (&Value::from("drain"), &Value::from("done")));
        assert_eq!((&new[0]["accepted"], &new[0]["by"]["name"]), (&Value::from(3), &Value::from("root")));
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, MODE);
    }

    #[tokio::test]
    async fn a_full_disk_is_said_and_the_gap_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let audit = Audit::to_file("fra", &path).unwrap();
        assert_eq!(audit.warning(), None);
        for _ in 0..2 {
            audit.done(&me(), &Edit::new("drain"), Ok(None)).await;
        }
        let warning = audit.warning().unwrap();
        assert!(warning.contains("No space left on device") && warning.contains("edits are taken"), "{warning}");
        std::fs::remove_file(&path).unwrap();
        audit.done(&me(), &Edit::new("drain"), Ok(None)).await;
        assert_eq!(audit.warning(), None);
        let lines = lines(&path);
        assert_eq!((lines.len(), &lines[0]["missing"]), (2, &Value::from(2)));
    }

    #[tokio::test]
    async fn whoever_guesses_does_not_fill_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let audit = Audit::to_file("fra", &path).unwrap();
        let from = "192.0.2.1:9".parse().unwrap();
        let refusal = Refusal { kind: super::super::RefusalKind::Unknown, error: "no".into(), hint: String::new() };
        for _ in 0..500 {
            audit.done(&Who::Anonymous { from }, &Edit::new("POST /v1/drain"), Err(&refusal)).await;
        }
        audit.done(&me(), &Edit::new("drain"), Ok(None)).await;
        let lines = lines(&path);
        assert!((21..60).contains(&lines.len()), "{}", lines.len());
        let unwritten: u64 = lines.iter().filter_map(|line| line["unwritten"].as_u64()).sum();
        assert_eq!(unwritten + lines.len() as u64, 501);
        assert_eq!(lines[0]["from"], "192.0.2.1:9");
    }

    #[test]
    fn a_path_that_cannot_be_used_is_told_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Audit::to_file("fra", folder.path()).is_err());
        assert!(Audit::to_file("fra", &folder.path().join("none/audit")).is_err());
    }
}
