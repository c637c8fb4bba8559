//! The replica as a redb file: one table of pages by key, one of facts about the file.
//!
//! Why [redb](https://www.redb.org): a save costs what changed, in one transaction; it is pure Rust, one file, no thread
//! of its own; and it says of a file that it was altered (checksums of all pages, verified at every open here) instead
//! of reading on. Rejected: SQLite (a C library, for two tables without a query), fjall (a log-structured tree with
//! threads and a folder of files, built for writes by the million), a flat file (rewritten whole for each changed row).
//!
//! Our own pages carry signatures, so what is read from the file is as good as what comes from the wire: verified, or
//! not taken. The checksums are for redb's own pages, which steer where it reads and writes.
//!
//! **Invariant:** `replica` is a whole database from its first moment: it is made beside, and renamed.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    panic::{self, AssertUnwindSafe},
    path::Path,
    thread,
};

use redb::{ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, backends::FileBackend};

use super::epoch::rename;
use crate::{
    codec,
    page::{Key, Page},
};

/// Of what we write into the tables; 1 was a flat file.
pub(super) const FORMAT: u64 = 2;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
/// [`Key`] in CBOR, and the page as it travels.
pub(super) const PAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pages");

/// redb's cache. The engine holds all pages itself, so this serves only the tree's branches at a save.
const CACHE: usize = 2 << 20;
/// Pages read before they are verified: bounds what a load holds beside the pages themselves.
const BATCH: usize = 4096;
/// Fewer pages than this (7 ms of curve arithmetic) are not worth a thread.
const PART: usize = 256;

/// redb's file format that this program reads, where its header keeps it (once in each of two commit slots), and what
/// stands at the head of all its formats. redb reports a newer one as corruption, which is no word for a downgrade.
const REDB_FORMAT: u8 = 3;
const REDB_FORMAT_AT: [usize; 2] = [64, 192];
const REDB_MAGIC: &[u8] = b"redb";

/// Why the file is not to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("there is none")]
    Missing,
    #[error("another process has it open")]
    InUse,
    #[error("it is of a newer version of nigh ({0})")]
    Newer(String),
    #[error("{0}")]
    Damaged(String),
    /// Not the file's fault: no room, a file system gone read-only, too many open files.
    #[error("{0}")]
    Disk(String),
}

impl<E: Into<redb::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse,
            redb::Error::Io(error) => Self::of_io(&error),
            error @ (redb::Error::PreviousIo | redb::Error::DatabaseClosed) => Self::Disk(error.to_string()),
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl Trouble {
    fn of_io(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        // ENFILE and EMFILE have no kind.
        let too_many_files = matches!(error.raw_os_error(), Some(23 | 24));
        match error.kind() {
            Kind::NotFound => Self::Missing,
            Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::FileTooLarge
            | Kind::ReadOnlyFilesystem
            | Kind::OutOfMemory
            | Kind::Interrupted
            | Kind::WouldBlock
            | Kind::TimedOut
            | Kind::ResourceBusy => Self::Disk(error.to_string()),
            _ if too_many_files => Self::Disk(error.to_string()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// What was read from a file.
#[derive(Default)]
pub(super) struct Loaded {
    pub pages: Vec<Page>,
    /// The keys under which something else than a page of that key with a valid signature stands.
    pub bad: Vec<Vec<u8>>,
}

pub(super) struct Database(redb::Database);

/// Makes a database of an open file: the door through which tests bring a disk that fails.
pub(super) type Opener = Box<dyn Fn(File) -> Result<redb::Database, redb::DatabaseError> + Send>;

pub(super) fn open_file(file: File) -> Result<redb::Database, redb::DatabaseError> {
    open_backend(FileBackend::new(file)?)
}

pub(super) fn open_backend(backend: impl StorageBackend) -> Result<redb::Database, redb::DatabaseError> {
    redb::Builder::new().set_cache_size(CACHE).set_check_integrity_on_open(true).create_with_backend(backend)
}

impl Database {
    /// An existing file, with all checksums verified, repaired after a crash.
    pub(super) fn open(path: &Path, opener: &Opener) -> Result<Self, Trouble> {
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| Trouble::of_io(&e))?;
        let mut head = Vec::new();
        file.by_ref().take(256).read_to_end(&mut head).map_err(|error| Trouble::of_io(&error))?;
        // redb would make a new database of it.
        if head.is_empty() {
            return Err(Trouble::Damaged("it is empty".into()));
        }
        if head.starts_with(REDB_MAGIC)
            && REDB_FORMAT_AT.iter().all(|at| head.get(*at).is_some_and(|format| *format > REDB_FORMAT))
        {
            return Err(Trouble::Newer(format!("redb's file format {}", head[REDB_FORMAT_AT[0]])));
        }
        let database = opener(file)?;
        let format = {
            let meta = database.begin_read()?.open_table(META)?;
            meta.get(FORMAT_KEY)?.map(|format| format.value())
        };
        match format {
            Some(FORMAT) => Ok(Self(database)),
            Some(format) if format > FORMAT => Err(Trouble::Newer(format!("format {format}"))),
            format => Err(Trouble::Damaged(format!("its format is {format:?}, not {FORMAT}"))),
        }
    }

    /// A new, empty one, which appears under its name when it is whole.
    pub(super) fn create(path: &Path, opener: &Opener) -> Result<Self, Trouble> {
        let new = path.with_extension("new");
        let made = Self::make(&new, opener).and_then(|made| {
            rename(&new, path).map_err(|error| Trouble::Disk(error.to_string()))?;
            Ok(made)
        });
        if made.is_err() {
            let _ = fs::remove_file(&new);
        }
        made
    }

    fn make(path: &Path, opener: &Opener) -> Result<Self, Trouble> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(|error| Trouble::Disk(error.to_string()))?;
        let database = opener(file)?;
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
        transaction.open_table(PAGES)?;
        transaction.commit()?;
        Ok(Self(database))
    }

    /// All pages, their signatures verified on all cores.
    pub(super) fn load(&self) -> Result<Loaded, Trouble> {
        let table = self.0.begin_read()?.open_table(PAGES)?;
        let mut entries = table.iter()?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut loaded = Loaded::default();
        loop {
            let batch = entries
                .by_ref()
                .take(BATCH)
                .map(|entry| entry.map(|(key, page)| (key.value().to_vec(), page.value().to_vec())))
                .collect::<Result<Vec<_>, _>>()?;
            if batch.is_empty() {
                return Ok(loaded);
            }
            let part = batch.len().div_ceil(cores).max(PART);
            let verified = thread::scope(|scope| {
                let threads: Vec<_> = batch.chunks(part).map(|part| scope.spawn(|| verify(part))).collect();
                threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Result<Vec<_>, _>>()
            });
            for part in verified.unwrap_or_else(|panic| panic::resume_unwind(panic)) {
                loaded.pages.extend(part.pages);
                loaded.bad.extend(part.bad);
            }
        }
    }

    /// All or nothing; when this returns, no crash can take it back.
    pub(super) fn write(&self, changes: &BTreeMap<Key, Option<Page>>) -> Result<(), Trouble> {
        let transaction = self.0.begin_write()?;
        let mut table = transaction.open_table(PAGES)?;
        for (key, page) in changes {
            let key = codec::encode(key);
            match page {
                Some(page) => table.insert(key.as_slice(), page.to_bytes().as_slice())?,
                None => table.remove(key.as_slice())?,
            };
        }
        drop(table);
        Ok(transaction.commit()?)
    }

    /// Takes out what is no page.
    pub(super) fn clear(&self, bad: &[Vec<u8>]) -> Result<(), Trouble> {
        let transaction = self.0.begin_write()?;
        let mut table = transaction.open_table(PAGES)?;
        for key in bad {
            table.remove(key.as_slice())?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }
}

fn verify(entries: &[(Vec<u8>, Vec<u8>)]) -> Loaded {
    let mut loaded = Loaded::default();
    for (key, bytes) in entries {
        match Page::from_row(key, bytes) {
            Some(page) => loaded.pages.push(page),
            None => loaded.bad.push(key.clone()),
        }
    }
    loaded
}

/// redb means to report an altered file and not to panic; a second net, for here a panic would keep a node from starting.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Trouble::Damaged(format!("the database gave up on it: {}", words.unwrap_or_default())))
    })
}
