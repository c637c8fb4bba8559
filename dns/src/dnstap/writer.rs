//! The thread that writes: out of the queue, into the socket or the file, and back to the socket when its reader returns.

#![allow(clippy::disallowed_methods, reason = "the shell: here the clock, the disk and the sockets come in")]

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::Shutdown;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{CONTENT_TYPE, QUEUE, Seen, Tap, TapCounts, frames};
use crate::Label;

/// How long a reader may take for its part of the handshake, and to take what is written.
const PATIENCE: Duration = Duration::from_secs(5);
/// From one try to reach the reader to the next.
const AGAIN: Duration = Duration::from_secs(1);
/// A reader sees what there is after so long at the latest; also how soon a stop is noticed.
const LOOK: Duration = Duration::from_millis(100);
/// After the stop what is still in the queue is written for so long.
const LAST: Duration = Duration::from_secs(1);
/// Octets written at once.
const BUFFER: usize = 64 * 1024;
/// A file is ended at this size: it is for a look, and a disk that is full is for nobody. `fstrm_capture` behind a socket
/// splits and rotates.
const LONGEST_FILE: u64 = 1 << 30;

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To whoever listens at this Unix socket.
    Socket(PathBuf),
    /// Into this file, which begins anew.
    File(PathBuf),
}

/// The thread's owner; the thread ends when it goes.
#[must_use = "dropping it ends the tap"]
pub struct Tapper {
    tap: Tap,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Tapper {
    /// Starts the thread. Of so many messages one is taken; `identity` stands in each.
    ///
    /// # Errors
    /// The file cannot be made, or there is no thread. A socket without a reader is no error: it is tried again and again.
    pub fn start(target: Target, sample: NonZeroU32, identity: Label) -> io::Result<Self> {
        let (queue, seen) = sync_channel(QUEUE);
        let tap = Tap { queue, counts: Arc::default(), sample };
        let stop = Arc::new(AtomicBool::new(false));
        let file = match &target {
            Target::File(path) => Some(create(path)?),
            Target::Socket(_) => None,
        };
        let writer = Writer { seen, counts: tap.counts.clone(), stop: stop.clone(), identity };
        let thread = Builder::new().name("nigh-dnstap".to_owned());
        let thread = thread.spawn(move || match (target, file) {
            (Target::Socket(path), _) => writer.serve(&path),
            (Target::File(path), Some(file)) => writer.fill(&path, file),
            (Target::File(_), None) => {}
        })?;
        Ok(Self { tap, stop, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Writes what is still in the queue, and ends well. Waits for that.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if thread.is_some_and(|thread| thread.join().is_err()) {
            warn!("the thread of dnstap did not end well");
        }
    }
}

impl Drop for Tapper {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Writer {
    seen: Receiver<Seen>,
    counts: Arc<TapCounts>,
    stop: Arc<AtomicBool>,
    identity: Label,
}

/// Why writing ended.
enum Ended {
    Stopped,
    Full,
    Failed(io::Error),
}

impl Writer {
    /// Reaches the reader, again and again, and writes to it.
    fn serve(&self, path: &std::path::Path) {
        let mut was_there = true;
        while !self.is_stopped() {
            let error = match greet(path) {
                Ok(stream) => {
                    info!(socket = %path.display(), "dnstap is read");
                    was_there = true;
                    match self.to_reader(&stream) {
                        Ended::Failed(error) => error,
                        Ended::Stopped | Ended::Full => return farewell(&stream),
                    }
                }
                Err(error) => error,
            };
            if was_there {
                warn!(socket = %path.display(), %error, "nobody reads dnstap: messages are dropped until somebody does");
                was_there = false;
            }
            let until = Instant::now() + AGAIN;
            while !self.is_stopped() && Instant::now() < until {
                std::thread::sleep(LOOK);
            }
        }
    }

    fn to_reader(&self, stream: &UnixStream) -> Ended {
        let mut out = BufWriter::with_capacity(BUFFER, stream);
        self.counts.connected.store(true, Ordering::Relaxed);
        let ended = self.write(&mut out, u64::MAX);
        self.counts.connected.store(false, Ordering::Relaxed);
        // What is left in the buffer would be tried again when it is dropped, and again for as long.
        if matches!(ended, Ended::Failed(_)) {
            let _ = out.into_parts();
        }
        ended
    }

    fn fill(&self, path: &std::path::Path, file: File) {
        let mut out = BufWriter::with_capacity(BUFFER, file);
        self.counts.connected.store(true, Ordering::Relaxed);
        let ended = match out.write_all(&frames::control(frames::START, Some(CONTENT_TYPE))) {
            Ok(()) => self.write(&mut out, LONGEST_FILE),
            Err(error) => Ended::Failed(error),
        };
        self.counts.connected.store(false, Ordering::Relaxed);
        let closed = out.write_all(&frames::control(frames::STOP, None)).and_then(|()| out.flush());
        match (ended, closed) {
            (Ended::Failed(error), _) | (_, Err(error)) => {
                warn!(file = %path.display(), %error, "the dnstap file cannot be written any further");
            }
            (Ended::Full, _) => {
                warn!(file = %path.display(), "the dnstap file is as long as it may be, and is ended");
            }
            (Ended::Stopped, _) => {}
        }
    }

    /// Writes what comes until told to stop, or until so much is written.
    fn write(&self, out: &mut impl Write, longest: u64) -> Ended {
        let (mut written, mut last) = (0, None);
        loop {
            if self.is_stopped() {
                let last = *last.get_or_insert_with(|| Instant::now() + LAST);
                if Instant::now() >= last {
                    return Ended::Stopped;
                }
            }
            let next = match self.seen.try_recv() {
                Ok(seen) => Ok(seen),
                Err(_) => match out.flush() {
                    Ok(()) => self.seen.recv_timeout(LOOK),
                    Err(error) => return Ended::Failed(error),
                },
            };
            let seen = match next {
                Ok(seen) => seen,
                Err(RecvTimeoutError::Timeout) if !self.is_stopped() => continue,
                Err(_) => return Ended::Stopped,
            };
            for message in seen.messages(self.identity.as_str()) {
                if let Err(error) = out.write_all(&frames::length(&message)).and_then(|()| out.write_all(&message)) {
                    return Ended::Failed(error);
                }
                written += message.len() as u64 + 4;
                self.counts.written.fetch_add(1, Ordering::Relaxed);
            }
            if written >= longest {
                return Ended::Full;
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Who asks what is nobody else's business.
fn create(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(path)
}

/// Connects, and agrees with the reader on what comes.
fn greet(path: &std::path::Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&frames::control(frames::READY, Some(CONTENT_TYPE)))?;
    frames::expect(&mut stream, frames::ACCEPT, CONTENT_TYPE)?;
    stream.write_all(&frames::control(frames::START, Some(CONTENT_TYPE)))?;
    Ok(stream)
}

/// Says that nothing more comes, and waits for the reader to have taken it all. One that does not is not waited for long.
fn farewell(mut stream: &UnixStream) {
    let _ = stream.set_read_timeout(Some(LAST));
    let _ = stream.write_all(&frames::control(frames::STOP, None));
    let _ = frames::expect(&mut stream, frames::FINISH, CONTENT_TYPE);
    let _ = stream.shutdown(Shutdown::Both);
}
