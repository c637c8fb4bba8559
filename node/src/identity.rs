//! Secret keys on disk: the node's, made at its first start, and operators', made by `nigh init` and `nigh operator`.
//!
//! Either file is one line, `nigh-node-key-1:` or `nigh-operator-key-1:` and 52 characters of base32. The kinds are
//! told apart so that an operator's key, which writes for the whole mesh, is never put on a node by mistake. Whether it
//! is the mesh's root or a key that the root appointed is not in the file: the mesh knows.
//!
//! **Invariant:** a key file that others may read or write is refused, never mended: whoever could read it may have.
//! A node whose unit loads a credential called `node.key` (LoadCredential=, LoadCredentialEncrypted=) takes that one and
//! makes none: the secret can then lie on the disk encrypted.
//!
//! **Invariant:** no key file is ever overwritten. A new one is written beside its place, with mode 0600 from its
//! first moment, synced, and linked to its name only if nothing is there; a crash leaves no half key.
//!
//! Rejected: PEM (PKCS #8), which invites a password prompt no service manager can answer, and libp2p's protobuf,
//! which no person can tell from a damaged file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use ed25519_dalek::SigningKey;
use nigh_gossip::NodeId;
use zeroize::{Zeroize, Zeroizing};

/// The node's key within its state directory, and among the credentials that its unit loads.
pub const NODE_KEY_FILE: &str = "node.key";

/// A key file is 71 to 75 bytes; reading stops soon after, whatever the path turns out to be.
const MAX_FILE: u64 = 256;
/// Permission bits by which others than the owner could use a file.
const OTHERS: u32 = 0o077;
/// The same of a credential: systemd may leave it root's and let the unit's user read it by an ACL, the mask of which
/// shows as the group's bits.
const OTHERS_OF_A_CREDENTIAL: u32 = 0o037;

/// Whose secret a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One node's, kept in its state directory.
    Node,
    /// An operator's, kept away from the nodes.
    Operator,
}

impl Kind {
    fn tag(self) -> &'static str {
        match self {
            Self::Node => "nigh-node-key-1",
            Self::Operator => "nigh-operator-key-1",
        }
    }

    fn owner(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Operator => "operator",
        }
    }

    fn whose(self) -> &'static str {
        match self {
            Self::Node => "a node's",
            Self::Operator => "an operator's",
        }
    }

    /// What to do about a file that cannot be used.
    fn remedy(self) -> &'static str {
        match self {
            Self::Node => {
                "restore it from a backup, or move it away: the node then makes a new key and joins as a new node"
            }
            Self::Operator => {
                "restore it from a backup; without the root's key a mesh is made anew, another key the root replaces: nigh \
                 operator rotate"
            }
        }
    }
}

/// Why there is no key; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Others than the owner may use the file.
    #[error("{path}: mode {mode:04o} lets others use this key; if nobody has, run: chmod 600 {path}")]
    Loose {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to another user.
    #[error("{path}: belongs to user {owner}, but nigh runs as user {me}; run: chown {me} {path}")]
    Foreign {
        /// The key file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        me: u32,
    },
    /// Not a regular file.
    #[error("{path}: not a regular file; {remedy}")]
    NotAFile {
        /// What was found.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// Short, long or damaged.
    #[error("{path}: damaged, no {kind} key in it; {remedy}")]
    Damaged {
        /// The key file.
        path: PathBuf,
        /// Which kind was expected.
        kind: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A node's key where an operator's is expected, or the other way round.
    #[error("{path}: holds {found} key, where {expected} key is expected; name the right file")]
    WrongKind {
        /// The key file.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// Another key as a credential and in the state directory.
    #[error("{credential} and {path}: two keys, and a node is one of them; move away the one that is not this node's")]
    Two {
        /// What the unit loaded.
        credential: PathBuf,
        /// The file in the state directory.
        path: PathBuf,
    },
    /// A key is there already.
    #[error("{0}: exists already, and a key is never overwritten; name another file, or use the key that is there")]
    Exists(PathBuf),
    /// No operator's key where one was named. A node's is made at its first start.
    #[error(
        "{path}: no such file; name the operator's key that `nigh init` or `nigh operator` wrote, or make a new mesh with \
         its root key: nigh init --key {path}"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
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

/// The folder of the credentials that systemd loaded for this process.
fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The permission bits that a secret at `path` must not have.
pub(crate) fn forbidden(path: &Path) -> u32 {
    if credentials().is_some_and(|folder| path.starts_with(folder)) { OTHERS_OF_A_CREDENTIAL } else { OTHERS }
}

/// The node's key: the credential, or the one in `state_dir`; makes the directory, and the key at the first start.
///
/// # Errors
/// [`KeyError`], which says what to do.
pub fn node_key(state_dir: &Path) -> Result<SigningKey, KeyError> {
    match credentials().map(|folder| folder.join(NODE_KEY_FILE)).filter(|path| path.exists()) {
        Some(credential) => credential_key(&credential, &state_dir.join(NODE_KEY_FILE)),
        None => state_key(state_dir),
    }
}

/// A key that was left in the state directory is another id, which `nigh id` may have told the operator.
fn credential_key(credential: &Path, path: &Path) -> Result<SigningKey, KeyError> {
    let key = load_checked(credential, Kind::Node, OTHERS_OF_A_CREDENTIAL, true)?;
    match load(path, Kind::Node) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(key),
        Ok(same) if same == key => Ok(key),
        _ => Err(KeyError::Two { credential: credential.to_owned(), path: path.to_owned() }),
    }
}

fn state_key(state_dir: &Path) -> Result<SigningKey, KeyError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .map_err(|source| io_error(state_dir, "make the state directory", source))?;
    let path = state_dir.join(NODE_KEY_FILE);
    match load(&path, Kind::Node) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        loaded => return loaded,
    }
    match create(&path, Kind::Node) {
        // Another process was first; whether it may run beside this one is not for the key to say.
        Err(KeyError::Exists(_)) => load(&path, Kind::Node),
        created => created,
    }
}

/// The public half of the node's key in `state_dir`; makes the key if there is none. Root may read it for the node's
/// own user, who makes the directory his when he first runs; in a directory that is his already the new key is his too.
///
/// # Errors
/// [`KeyError`], which says what to do.
pub fn node_id(state_dir: &Path) -> Result<NodeId, KeyError> {
    match node_key(state_dir) {
        Err(KeyError::Foreign { path, me: 0, .. }) => read(&path, Kind::Node).map(|key| public(&key)),
        Err(error) => Err(error),
        Ok(key) => {
            let path = state_dir.join(NODE_KEY_FILE);
            if !path.exists() {
                return Ok(public(&key)); // a credential
            }
            let given = fs::metadata(state_dir).and_then(|folder| match nix::unistd::geteuid().is_root() {
                true if folder.uid() != 0 => chown(&path, Some(folder.uid()), Some(folder.gid())),
                _ => Ok(()),
            });
            given.map_err(|source| io_error(&path, "give the key to the owner of its folder", source))?;
            Ok(public(&key))
        }
    }
}

/// Reads a key file.
///
/// # Errors
/// [`KeyError`], which says what to do.
pub fn load(path: &Path, kind: Kind) -> Result<SigningKey, KeyError> {
    load_checked(path, kind, OTHERS, false)
}

/// As [`load`], with the permission bits that it must not have, and whether it may be root's.
fn load_checked(path: &Path, kind: Kind, forbidden: u32, roots: bool) -> Result<SigningKey, KeyError> {
    // O_NONBLOCK: a pipe put in the file's place must not hang the start.
    let file = OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path).map_err(
        |source| match (kind, source.kind()) {
            (Kind::Operator, io::ErrorKind::NotFound) => KeyError::Missing { path: path.to_owned() },
            _ => io_error(path, "open the key", source),
        },
    )?;
    check_metadata(path, &file, kind, forbidden, roots)?;
    parse(path, file, kind)
}

fn read(path: &Path, kind: Kind) -> Result<SigningKey, KeyError> {
    parse(path, File::open(path).map_err(|source| io_error(path, "open the key", source))?, kind)
}

fn parse(path: &Path, file: File, kind: Kind) -> Result<SigningKey, KeyError> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize));
    let damaged = || KeyError::Damaged { path: path.to_owned(), kind: kind.owner(), remedy: kind.remedy() };
    match file.take(MAX_FILE).read_to_string(&mut text) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(damaged()),
        Err(source) => return Err(io_error(path, "read the key", source)),
    }
    let (tag, secret) = text.trim_end().split_once(':').ok_or_else(damaged)?;
    if tag != kind.tag() {
        return Err(match [Kind::Node, Kind::Operator].into_iter().find(|other| other.tag() == tag) {
            Some(found) => KeyError::WrongKind { path: path.to_owned(), found: found.whose(), expected: kind.whose() },
            None => damaged(),
        });
    }
    let bytes = Zeroizing::new(BASE32_NOPAD_NOCASE.decode(secret.as_bytes()).map_err(|_| damaged())?);
    let mut seed = Zeroizing::new([0; 32]);
    if bytes.len() != seed.len() {
        return Err(damaged());
    }
    seed.copy_from_slice(&bytes);
    Ok(SigningKey::from_bytes(&seed))
}

/// Makes a new key and its file.
///
/// # Errors
/// [`KeyError::Exists`] if anything is at `path`; nothing is overwritten.
pub fn create(path: &Path, kind: Kind) -> Result<SigningKey, KeyError> {
    if path.symlink_metadata().is_ok() {
        return Err(KeyError::Exists(path.to_owned()));
    }
    let no_randomness = |e| io_error(path, "draw a random key", io::Error::other(e));
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(no_randomness)?;
    let mut encoded = BASE32_NOPAD.encode(seed.as_ref());
    encoded.make_ascii_lowercase();
    let line = Zeroizing::new(format!("{}:{encoded}\n", kind.tag()));
    encoded.zeroize();

    // Not our pid: in a container it is the same at each start, and a crash may have left a file of that name.
    let beside = path.with_extension(format!("new-{:016x}", getrandom::u64().map_err(no_randomness)?));
    let written = write_new(&beside, &line).and_then(|()| {
        // A link, not a rename: of two processes that start at once one gets `AlreadyExists`, none loses its key.
        fs::hard_link(&beside, path)
    });
    let removed = fs::remove_file(&beside);
    match written {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(KeyError::Exists(path.to_owned())),
        Err(source) => return Err(io_error(path, "write the key", source)),
    }
    removed.and_then(|()| sync_folder(path)).map_err(|source| io_error(path, "finish writing the key", source))?;
    Ok(SigningKey::from_bytes(&seed))
}

/// The public half, as it is shown and configured.
pub fn public(key: &SigningKey) -> NodeId {
    NodeId::from(key.verifying_key())
}

fn write_new(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

/// The name of a new file is safe only once its folder is on disk.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Checks the opened file, not its path: what is at the path may change in between.
fn check_metadata(path: &Path, file: &File, kind: Kind, forbidden: u32, roots: bool) -> Result<(), KeyError> {
    let metadata = file.metadata().map_err(|source| io_error(path, "look at the key's mode", source))?;
    if !metadata.is_file() {
        return Err(KeyError::NotAFile { path: path.to_owned(), remedy: kind.remedy() });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(KeyError::Loose { path: path.to_owned(), mode });
    }
    let me = nix::unistd::geteuid().as_raw();
    if metadata.uid() != me && !(roots && metadata.uid() == 0) {
        return Err(KeyError::Foreign { path: path.to_owned(), owner: metadata.uid(), me });
    }
    Ok(())
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> KeyError {
    KeyError::Io { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests;
