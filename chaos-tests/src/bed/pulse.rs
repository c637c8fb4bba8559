//! A client that asks the same question all the time, in a thread of its own, so that a fault is seen as clients see it.

use super::stub::{Failure, Lookup, Reply, Stub};
use anyhow::{Context, Result};
use hickory_proto::rr::RecordType;
use std::collections::VecDeque;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Beats kept: more than an hour at two a second; the oldest go first.
const BEATS_MAX: usize = 8_192;

/// One lookup.
#[derive(Clone, Debug)]
pub struct Beat {
    /// When it was begun.
    pub begun: Instant,
    /// How long it took, tries included.
    pub took: Duration,
    /// How often it was sent.
    pub tries: u32,
    /// The reply, or why there was none.
    pub outcome: Result<Reply, String>,
}

impl Beat {
    fn new(begun: Instant, lookup: Lookup) -> Self {
        let outcome = lookup.outcome.map_err(|failure: Failure| failure.to_string());
        Self { begun, took: lookup.took, tries: lookup.tries, outcome }
    }

    /// When it was over.
    pub fn ended(&self) -> Instant {
        self.begun + self.took
    }

    /// Whether the client got what it asked for.
    pub fn is_good(&self) -> bool {
        self.outcome.as_ref().is_ok_and(Reply::is_good)
    }
}

/// A client at work. Ends when dropped.
#[derive(Debug)]
pub struct Pulse {
    beats: Arc<Mutex<VecDeque<Beat>>>,
    /// Closing it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    /// Asks for the addresses of `name`, `every` so often or as fast as answers come.
    pub fn start(stub: Stub, name: &str, every: Duration) -> Result<Self> {
        let beats = Arc::new(Mutex::new(VecDeque::new()));
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name("pulse".to_owned())
            .spawn({
                let (beats, name) = (Arc::clone(&beats), name.to_owned());
                move || {
                    let mut next = Instant::now();
                    loop {
                        let begun = Instant::now();
                        let beat = Beat::new(begun, stub.ask(&name, RecordType::A));
                        let mut beats = beats.lock().unwrap_or_else(PoisonError::into_inner);
                        if beats.len() == BEATS_MAX {
                            beats.pop_front();
                        }
                        beats.push_back(beat);
                        drop(beats);
                        next = (next + every).max(Instant::now());
                        let pause = next.saturating_duration_since(Instant::now());
                        if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                            return;
                        }
                    }
                }
            })
            .context("starting a client's thread")?;
        Ok(Self { beats, stop: Some(stop), thread: Some(thread) })
    }

    /// The lookups that have ended, oldest first.
    pub fn all(&self) -> Vec<Beat> {
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.iter().cloned().collect()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
