//! Spans that end elsewhere than they begin: an edit takes effect with a snapshot, a verdict when the mesh was told.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nigh_gossip::{Key, Page, Stamp};
use tracing::Span;

use super::count;

/// Edits whose effect is waited for at a time; of more than that the oldest are given up. A snapshot is made within
/// milliseconds, so this many wait only where something is badly wrong.
pub const MAX_WAITING: usize = 64;

/// Edits that were taken in and that no snapshot has yet.
#[derive(Debug, Default)]
pub struct Effects(Mutex<Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    span: Span,
    key: Key,
    stamp: Stamp,
}

impl Effects {
    /// The span ends with the first snapshot of a view that has this page, or one that came after it in its place.
    pub fn wait_for(&self, span: Span, page: &Page) {
        if span.is_disabled() {
            return;
        }
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == MAX_WAITING {
            waiting.remove(0);
        }
        waiting.push(Waiting { span, key: page.key(), stamp: page.stamp() });
    }

    /// A snapshot was made, of this number, from what `held` says of each page: its stamp.
    pub fn taken(&self, serial: u64, held: impl Fn(&Key) -> Option<Stamp>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|waiting| {
            let waits = held(&waiting.key).is_none_or(|stamp| stamp < waiting.stamp);
            if !waits {
                waiting.span.record("snapshot", count(serial));
            }
            waits
        });
    }
}

/// The span of what changed measurements, on its way from who measures to who tells the mesh. Of several before that the
/// first.
#[derive(Debug, Default)]
pub struct Cause(Mutex<Option<(Duration, Span)>>);

impl Cause {
    /// Is in the measurements of this time.
    pub fn put(&self, at: Duration, span: Span) {
        if !span.is_disabled() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((at, span));
        }
    }

    /// What is in the measurements of this time, and was not taken yet.
    pub fn take(&self, at: Duration) -> Option<Span> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.take_if(|(since, _)| *since <= at).map(|(_, span)| span)
    }
}
