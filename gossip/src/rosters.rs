//! Rosters made before. The same certificates make the same roster, so ten thousand simulated nodes need it once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{id::NodeId, roster::Roster};

/// Rosters remembered: the one before and the one after an admission that is on its way.
const ROSTERS: usize = 4;

/// A memo of [`Roster::new`].
#[derive(Debug, Default)]
pub(crate) struct Rosters(Mutex<VecDeque<([u8; 32], Arc<Roster>)>>);

impl Rosters {
    /// The roster of these nodes and serials.
    pub(crate) fn of(&self, admitted: impl Iterator<Item = (NodeId, u64)>) -> Arc<Roster> {
        let mut admitted: Vec<(NodeId, u64)> = admitted.collect();
        admitted.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for (id, serial) in &admitted {
            hasher.update(id.as_bytes());
            hasher.update(&serial.to_be_bytes());
        }
        let hash = *hasher.finalize().as_bytes();
        // A panic while it was held left at worst an entry out: the memo is as good as before.
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, roster)) = made.iter().find(|(of, _)| *of == hash) {
            return roster.clone();
        }
        let roster = Arc::new(Roster::new(admitted));
        made.push_front((hash, roster.clone()));
        made.truncate(ROSTERS);
        roster
    }
}
