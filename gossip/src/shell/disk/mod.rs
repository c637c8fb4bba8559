//! What survives a restart: the [epoch] and the replica.
//!
//! ```text
//!   state_dir/ lock             held while a nigh uses the directory
//!              epoch            a number; never goes back
//!              replica          the pages, in a database
//!              replica.damaged  the last file that could not be read   } kept for a person to look at,
//!              replica.newer    the last file of a newer version       } never read again
//! ```
//!
//! The replica is a convenience: it holds the members' addresses, so that learnt peers are remembered, and the
//! catalogue, so that a mesh restarts as a whole. So nothing that is wrong with it keeps a node from starting or from
//! running: a file that does not read is put aside and everything is fetched from the neighbours; what cannot be
//! written is kept and written when it can.
//!
//! **Invariant:** nothing is signed before the lock is held and the epoch is on disk, above the last one and above every
//! page of mine that the replica holds (should the epoch file be lost and the clock be wrong).
//! **Invariant:** after [`Store::save`] returned without an error, [`Store::open`] gives what it was called with, or
//! later, whatever crash comes between; and it never gives a page without a valid signature.

mod database;
mod epoch;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use self::database::{Database, Loaded, Opener, Trouble, guarded};
pub(super) use self::epoch::remember_epoch;
use super::MeshError;
use crate::{
    id::NodeId,
    page::{Key, Owner, Page},
};

/// What the last run left to this one.
pub(super) struct Remembered {
    /// The epoch of this start, already on disk.
    pub epoch: u64,
    /// Every page with a valid signature that was saved.
    pub pages: Vec<Page>,
}

/// The state directory, locked, with the replica in it.
pub(super) struct Store {
    path: PathBuf,
    opener: Opener,
    /// None after a failure: redb wants to be opened anew after one.
    database: Option<Database>,
    /// What no save has written yet; bounded by the keys of the replica.
    unsaved: BTreeMap<Key, Option<Page>>,
    /// The file was put aside while we ran: the new one lacks what earlier saves wrote.
    lost: bool,
    lock: File,
}

impl Store {
    /// Takes the directory for this process and reads what node `me` left in it. Blocks.
    ///
    /// # Errors
    /// [`MeshError::InUse`], [`MeshError::Epoch`] or [`MeshError::State`]; never for the replica's sake.
    pub(super) fn open(dir: &Path, wall: SystemTime, me: NodeId) -> Result<(Self, Remembered), MeshError> {
        Self::open_with(dir, wall, me, Box::new(database::open_file))
    }

    fn open_with(dir: &Path, wall: SystemTime, me: NodeId, opener: Opener) -> Result<(Self, Remembered), MeshError> {
        let lock = lock(dir)?;
        let used = epoch::stored(dir)?;
        let mut store =
            Self { path: dir.join("replica"), opener, database: None, unsaved: BTreeMap::new(), lost: false, lock };
        let pages = match store.open_database(Database::load) {
            Ok(loaded) => store.verified(loaded),
            Err(Trouble::InUse) => return Err(MeshError::InUse { path: dir.to_path_buf() }),
            Err(trouble) => {
                let error = store.cannot_save(&trouble);
                tracing::error!(%error, "starting without what was remembered; asking the neighbours");
                Vec::new()
            }
        };
        // A new file now lacks nothing: what is not in it, the engine does not know either.
        store.lost = false;
        let own = pages.iter().filter(|page| page.key().owner == Owner::Node(me)).map(|page| page.stamp().major).max();
        let epoch = epoch::above(used.max(own.unwrap_or(0)), wall);
        remember_epoch(dir, epoch)?;
        Ok((store, Remembered { epoch, pages }))
    }

    /// Writes the changes since the last save, and what that one could not write. Blocks.
    ///
    /// # Errors
    /// [`MeshError::Replica`]: the changes are kept for the next call.
    pub(super) fn save(&mut self, puts: Vec<Page>, deletes: Vec<Key>) -> Result<(), MeshError> {
        self.unsaved.extend(puts.into_iter().map(|page| (page.key(), Some(page))));
        self.unsaved.extend(deletes.into_iter().map(|key| (key, None)));
        if self.unsaved.is_empty() {
            return Ok(());
        }
        if self.database.is_none()
            && let Err(trouble) = self.open_database(|_| Ok(()))
        {
            return Err(self.cannot_save(&trouble));
        }
        let Some(database) = self.database.take() else { return Ok(()) };
        let unsaved = &self.unsaved;
        // A database that failed is closed in there, and with it what a second panic could come from.
        let database = guarded(|| database.write(unsaved).map(|()| database));
        self.database = Some(database.map_err(|trouble| self.cannot_save(&trouble))?);
        self.unsaved.clear();
        Ok(())
    }

    /// Whether the last save failed.
    pub(super) fn is_behind(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// Whether the next save must be given every page; says so once.
    pub(super) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Gives the directory up, whoever else still holds a handle to this. Not left to the file's end, for that comes
    /// later when another thread is just starting a process, which has all our files until it is.
    pub(super) fn close(&mut self) {
        self.database = None;
        let _ = self.lock.unlock();
    }

    /// Opens the file and reads it; puts it aside if that cannot be done, and begins a new one.
    fn open_database<T: Default>(&mut self, read: impl Fn(&Database) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let opened = guarded(|| {
            let database = Database::open(&self.path, &self.opener)?;
            let content = read(&database)?;
            Ok((database, content))
        });
        match opened {
            Ok((database, content)) => {
                self.database = Some(database);
                return Ok(content);
            }
            Err(Trouble::Missing) => {}
            Err(Trouble::Newer(what)) => self.put_aside(
                "newer",
                &format!("the remembered replica is of a newer version of nigh ({what}), as after a downgrade"),
            )?,
            Err(Trouble::Damaged(what)) => {
                self.put_aside("damaged", &format!("the remembered replica cannot be read ({what})"))?;
            }
            Err(trouble) => return Err(trouble),
        }
        self.database = Some(guarded(|| Database::create(&self.path, &self.opener))?);
        self.lost = true;
        Ok(T::default())
    }

    fn put_aside(&self, extension: &str, why: &str) -> Result<(), Trouble> {
        let aside = self.path.with_extension(extension);
        let removed = match fs::symlink_metadata(&aside) {
            Ok(older) if older.is_dir() => fs::remove_dir_all(&aside),
            Ok(_) => fs::remove_file(&aside),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        removed.and_then(|()| epoch::rename(&self.path, &aside)).map_err(|error| {
            Trouble::Disk(format!("{why}, and cannot be put aside as {}: {error}; move it away", aside.display()))
        })?;
        tracing::warn!(kept = %aside.display(), "{why}; it is put aside, and the neighbours are asked for everything");
        Ok(())
    }

    /// The pages to start with; what else stood in the file is taken out.
    fn verified(&self, Loaded { pages, bad }: Loaded) -> Vec<Page> {
        if !bad.is_empty() {
            tracing::warn!(
                dropped = bad.len(),
                kept = pages.len(),
                "remembered pages did not verify; asking the neighbours for them"
            );
            let cleared = self.database.as_ref().map(|database| guarded(|| database.clear(&bad)));
            if let Some(Err(error)) = cleared {
                tracing::warn!(%error, "they could not be taken out of the file either");
            }
        }
        pages
    }

    fn cannot_save(&self, trouble: &Trouble) -> MeshError {
        MeshError::Replica { path: self.path.clone(), reason: trouble.to_string() }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// The kernel gives the lock up when the process ends, however it ends. redb locks its file too, but the file may be
/// missing, or closed after a failure, or be put aside.
fn lock(dir: &Path) -> Result<File, MeshError> {
    let path = dir.join("lock");
    let file = match File::options().write(true).create(true).truncate(false).open(&path) {
        Ok(file) => file,
        Err(source) => return Err(MeshError::State { path, source }),
    };
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(MeshError::InUse { path: dir.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(MeshError::State { path, source }),
    }
}
