//! The admin API: HTTP on a Unix socket, and over TCP where the configuration says so.
//!
//! A socket file outlives its process, so one that nobody answers on is replaced; one that a living process answers
//! on is an error. A new socket is bound beside its place, given its mode and renamed, so that at no moment it is open
//! to more people than it should be, or missing.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::audit::Audit;
use super::connection::{self, Listener};
use super::{Source, routes};

/// The service's user and group may use the socket; operators join the group.
const SOCKET_MODE: u32 = 0o660;
/// Like the socket; `others` cannot even see it.
const FOLDER_MODE: u32 = 0o750;

/// Until a request is given up: the slowest one waits for the replica to take a batch in.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the admin socket could not be opened; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers there.
    #[error(
        "{path}: another process{pid} answers on this admin socket; stop it first, or give this node another \
         admin.socket in its configuration",
        pid = .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
        /// Who listens on it, if the system tells.
        pid: Option<i32>,
    },
    /// A file that is no socket.
    #[error("{0}: is there and is no socket; move it away, or name another admin.socket in the configuration")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("{path}: cannot {action}")]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// An open admin socket; its file is removed when this is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    tcp: Vec<TcpListener>,
    access: Access,
    audit: Arc<Audit>,
    request_timeout: Duration,
}

impl Server {
    /// Opens the socket, replacing one that a dead process left.
    ///
    /// # Errors
    /// [`BindError`], which says what to do.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |action| move |source| BindError::Io { path: path.to_owned(), action, source };
        if let Some(folder) = path.parent() {
            let made = fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
            made.map_err(failed("make the folder of the admin socket"))?;
        }
        refuse_if_alive(path)?;
        let beside = beside(path);
        // Left by a process of our pid that died here; nobody else uses this name.
        let _ = fs::remove_file(&beside);
        let listener = UnixListener::bind(&beside).map_err(failed("open the admin socket"))?;
        let placed = fs::set_permissions(&beside, fs::Permissions::from_mode(SOCKET_MODE))
            .and_then(|()| fs::rename(&beside, path));
        if placed.is_err() {
            let _ = fs::remove_file(&beside);
        }
        placed.map_err(failed("place the admin socket"))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            tcp: Vec::new(),
            access: Access::default(),
            audit: Arc::new(Audit::to_log("")),
            request_timeout: REQUEST_TIMEOUT,
        })
    }

    /// Answers on these listeners as well, those whom `access` lets in.
    #[must_use]
    pub fn with_tcp(mut self, listeners: Vec<TcpListener>, access: Access) -> Self {
        (self.tcp, self.access) = (listeners, access);
        self
    }

    /// Writes edits down there.
    #[must_use]
    pub fn with_audit(mut self, audit: Arc<Audit>) -> Self {
        self.audit = audit;
        self
    }

    /// Gives requests up after another time than usual.
    #[must_use]
    pub fn with_request_timeout(mut self, request_timeout: Duration) -> Self {
        self.request_timeout = request_timeout;
        self
    }

    /// Answers requests until told to stop; requests under way are finished.
    ///
    /// # Errors
    /// The socket broke.
    pub async fn serve<S: Source>(mut self, source: Arc<S>, stop: CancellationToken) -> io::Result<()> {
        let access = Arc::new(std::mem::take(&mut self.access));
        let mut listeners = vec![Listener::Unix(self.take_listener()?)];
        listeners.extend(self.tcp.drain(..).map(|listener| Listener::Tcp(listener, access.tls())));
        let router = routes::router(source, access, Arc::clone(&self.audit), self.request_timeout);
        let mut serving = JoinSet::new();
        for listener in listeners {
            serving.spawn(connection::serve(listener, router.clone(), self.request_timeout, stop.clone()));
        }
        while let Some(ended) = serving.join_next().await {
            ended.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// The listener, while the file stays ours to remove.
    fn take_listener(&mut self) -> io::Result<UnixListener> {
        let duplicate = std::os::fd::AsFd::as_fd(&self.listener).try_clone_to_owned()?;
        UnixListener::from_std(duplicate.into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A socket that is gone already, or was replaced by the next process's, is no loss.
        let _ = fs::remove_file(&self.path);
    }
}

/// A short name in the same folder: the path may be as long as a socket's address can be.
fn beside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}", std::process::id()))
}

fn refuse_if_alive(path: &Path) -> Result<(), BindError> {
    let failed =
        |source| BindError::Io { path: path.to_owned(), action: "look for another node on the admin socket", source };
    match path.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(stream) => Err(BindError::InUse { path: path.to_owned(), pid: peer_pid(&stream) }),
        Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        Err(e) => Err(failed(e)),
    }
}

fn peer_pid(stream: &std::os::unix::net::UnixStream) -> Option<i32> {
    let stream = stream.try_clone().ok()?;
    stream.set_nonblocking(true).ok()?;
    tokio::net::UnixStream::from_std(stream).ok()?.peer_cred().ok()?.pid()
}
