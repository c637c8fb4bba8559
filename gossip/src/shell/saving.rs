//! When the replica is written to disk, and what of it.
//!
//! One save at a time, on a thread of its own. A disk that is slower than the changes gets the newest state each time it
//! is done; what a failed save did not write, the next one does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::JoinSet,
};

use super::disk::Store;
use crate::{
    engine::Engine,
    page::{Key, Page},
};

/// The replica is written to disk this often, if it changed ...
const SAVE: Duration = Duration::from_secs(10);
/// ... and this soon when pages came or went: a new member's address is worth more than a new figure in an old page.
const SAVE_SOON: Duration = Duration::from_secs(2);

pub(super) struct Saver {
    /// Locked by the one task that saves.
    store: Arc<Mutex<Store>>,
    pages: usize,
    last: Instant,
}

/// The last save, to be written once the sockets are closed.
pub(super) struct Last {
    store: OwnedMutexGuard<Store>,
    puts: Vec<Page>,
    deletes: Vec<Key>,
}

impl Saver {
    /// `pages` are on disk already.
    pub(super) fn new(store: Store, pages: usize) -> Self {
        Self { store: Arc::new(Mutex::new(store)), pages, last: Instant::now() }
    }

    pub(super) fn save_if_due(&mut self, engine: &mut Engine, tasks: &mut JoinSet<()>) {
        let pages = engine.replica().pages().len();
        let wait = if pages == self.pages { SAVE } else { SAVE_SOON };
        if self.last.elapsed() < wait {
            return;
        }
        // A disk slower than the changes: when it is done, the newest state is written.
        let Ok(mut store) = self.store.clone().try_lock_owned() else { return };
        self.last = Instant::now();
        self.pages = pages;
        let (puts, deletes) = unsaved(engine, &mut store);
        if !puts.is_empty() || !deletes.is_empty() || store.is_behind() {
            tasks.spawn_blocking(move || save(&mut store, puts, deletes));
        }
    }

    /// What the last save has to write. One that began before may take a while, but not its turn from the last one.
    pub(super) async fn last(&self, engine: &mut Engine) -> Last {
        let mut store = self.store.clone().lock_owned().await;
        let (puts, deletes) = unsaved(engine, &mut store);
        Last { store, puts, deletes }
    }
}

impl Last {
    pub(super) async fn write(self) {
        let Self { mut store, puts, deletes } = self;
        let saved = tokio::task::spawn_blocking(move || {
            save(&mut store, puts, deletes);
            store.close();
        });
        let _ = saved.await;
    }
}

/// The pages to write and the keys to delete.
fn unsaved(engine: &mut Engine, store: &mut Store) -> (Vec<Page>, Vec<Key>) {
    let changed = engine.take_changed();
    let replica = engine.replica();
    if store.take_lost() {
        return (replica.pages().iter().cloned().collect(), Vec::new());
    }
    let (held, gone): (Vec<Key>, Vec<Key>) = changed.into_iter().partition(|key| replica.page(key).is_some());
    (held.iter().filter_map(|key| replica.page(key).cloned()).collect(), gone)
}

/// Says once that it cannot save, and once that it can again.
fn save(store: &mut Store, puts: Vec<Page>, deletes: Vec<Key>) {
    let failed_before = store.is_behind();
    match store.save(puts, deletes) {
        Ok(()) if failed_before => tracing::info!("the replica is saved again; nothing is lost"),
        Ok(()) => {}
        Err(error) if failed_before => tracing::debug!(%error, "the replica still cannot be saved"),
        Err(error) => tracing::error!(
            %error,
            "the node goes on, and tries again with each save; should it stop before one succeeds, it will ask the \
             neighbours for what is new"
        ),
    }
}
