//! A process that may run only some of the time: stopped and resumed by turns, from a thread of its own.
//!
//! Where control groups cannot limit CPU time (in containers), this does; and it makes an origin flap.

use crate::sys::{self, Signal};
use anyhow::{Context, Result};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A duty cycle. The process runs again when this is dropped.
pub struct Duty {
    runs: Duration,
    /// Closing it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Duty {
    /// Lets a child of ours run and stand still by turns. Its owner must not wait for its end while this is there: then
    /// the pid could come to belong to another.
    pub fn start(pid: u32, runs: Duration, stands: Duration) -> Result<Self> {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name("duty".to_owned())
            .spawn(move || {
                for signal in [Signal::Halt, Signal::Resume].into_iter().cycle() {
                    // A child that has ended is a finding of others.
                    drop(sys::tell_pid(pid, signal));
                    let pause = if signal == Signal::Halt { stands } else { runs };
                    if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                        drop(sys::tell_pid(pid, Signal::Resume));
                        return;
                    }
                }
            })
            .context("starting a thread")?;
        Ok(Self { runs, stop: Some(stop), thread: Some(thread) })
    }

    /// Whether its process runs for so long at a time.
    pub fn is_of(&self, runs: Duration) -> bool {
        self.runs == runs
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
