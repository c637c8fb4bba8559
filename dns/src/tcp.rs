//! The TCP front (RFC 7766): two octets of length, then a message, as often as the client likes.
//!
//! ```text
//!   read ─▶ input ─▶ every whole question in it ─▶ output ─▶ one write ─┐
//!     ▲                                                                 │
//!     └─────────── nothing whole left ◀─────────────────────────────────┘
//! ```
//!
//! Questions of one connection are answered in the order in which they came, and what came together goes out together:
//! that is all the pipelining and all the backpressure that is needed, since an answer never waits for anything.
//!
//! **Against those who mean harm**, each with a bound: connections in all and of one network ([`House`]); the time until
//! the first question, between questions, and for one question to arrive (whose clock begins with its first octet, so
//! that an octet a second gains nothing); the time for answers to be taken; the length of a question; the octets of
//! answers that wait to be taken. The fuller the house, the sooner idle ones must go, so that a crowd of idle ones cannot
//! keep the others out for long.

#![allow(clippy::disallowed_methods, reason = "the shell: here the clock comes in")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use crate::house::{Guest, House};
use crate::serve::{LAST_CALL, clock, told_to_stop};
use crate::{Arrival, Handler};

/// How many connections, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections in all.
    pub(crate) connections: usize,
    /// Connections of one network.
    pub(crate) of_one_network: usize,
    /// How long a new one may be without a question.
    pub(crate) first: Duration,
    /// How long one may be idle, take over one message, or leave answers untaken.
    pub(crate) patience: Duration,
    /// The same when more than half of the places are taken.
    pub(crate) impatience: Duration,
}

/// Resolvers open one connection each, seldom, so 512 bound memory to some tens of megabytes at the very worst, and
/// nobody who means well meets them; an eighth of them serves a whole farm behind one network. RFC 7766 section 6.2.3
/// asks for an idle time "in the order of a few seconds"; and who connects has a question ready.
pub(crate) const LIMITS: Limits = Limits {
    connections: 512,
    of_one_network: 64,
    first: Duration::from_secs(3),
    patience: Duration::from_secs(10),
    impatience: Duration::from_secs(1),
};

/// Longer messages are no questions: a name, an OPT record with all its options and padding come to less than 1 KiB.
const LONGEST_QUERY: usize = 4096;

/// Octets that are read at once: room for some thirty questions.
const READ: usize = 2048;

/// When so many octets of answers wait, they are written before the next question is looked at.
const MOST_OUTPUT: usize = 16 * 1024;

/// How long a question that is half here at the stop may take to arrive: its other segment may have been lost, and comes
/// again after a second at most where a path is not slower than that.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// Connections accepted, and rounds per connection, after the stop: nobody may put it off for ever.
const MOST_LATE: usize = 64;

/// Rest after a failed accept: most often there are no file descriptors left, and trying on would only burn.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Accepts until stopped, then lets each connection end what it has begun.
pub(crate) async fn run(
    listener: TcpListener,
    handler: Handler,
    mut stop: watch::Receiver<bool>,
    limits: Limits,
    house: Arc<House>,
) {
    let mut connections = JoinSet::new();
    let mut late = 0;
    while late < MOST_LATE {
        late += usize::from(*stop.borrow());
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = told_to_stop(&mut stop) => match timeout(LAST_CALL, accept(&listener, &house)).await {
                Ok(accepted) => accepted,
                Err(_) => break,
            },
            accepted = accept(&listener, &house) => accepted,
        };
        match accepted {
            Ok((stream, source, Some(guest))) => {
                let connection =
                    Connection { stream, source, handler: handler.clone(), stop: stop.clone(), limits, guest };
                connections.spawn(async move {
                    let ended = connection.run().await;
                    debug!(%source, ?ended, "TCP connection ended");
                });
            }
            // Closed at once: whoever tries again finds a place when another is given back.
            Ok((_, source, None)) => {
                handler.counters().connection_refused();
                debug!(%source, "a network has its share of TCP connections");
            }
            Err(error) => {
                debug!(%error, "accepting a TCP connection failed");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener, house: &Arc<House>) -> io::Result<(TcpStream, SocketAddr, Option<Guest>)> {
    let place = house.place().await.ok_or(io::ErrorKind::Other)?;
    let (stream, source) = listener.accept().await?;
    let guest = house.enter(source.ip(), place);
    Ok((stream, source, guest))
}

struct Connection {
    stream: TcpStream,
    source: SocketAddr,
    handler: Handler,
    stop: watch::Receiver<bool>,
    limits: Limits,
    guest: Guest,
}

/// What is left of the input when all whole questions in it are answered.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    /// Part of a question, or nothing.
    Part,
    /// More to be answered, once the output is written.
    More,
    /// Who sends this does not speak DNS.
    Rubbish,
}

impl Connection {
    async fn run(mut self) -> io::Result<()> {
        // Answers are one write: waiting for more to send would only delay them.
        self.stream.set_nodelay(true)?;
        let (mut input, mut output) = (Vec::new(), Vec::new());
        let mut deadline = Instant::now() + self.limits.first.min(self.patience());
        let mut late = 0;
        while late < MOST_LATE {
            late += usize::from(*self.stop.borrow());
            let arrival = Arrival::tcp(self.source, clock(), self.patience());
            let rest = answer(&self.handler, arrival, &mut input, &mut output);
            if !output.is_empty() {
                timeout(self.limits.patience, self.stream.write_all(&output)).await??;
                output.clear();
                deadline = Instant::now() + self.patience();
            }
            match rest {
                Rest::Rubbish => return Ok(()),
                Rest::More => {}
                Rest::Part => {
                    let begun = !input.is_empty();
                    if !self.read(&mut input, deadline).await? {
                        return Ok(());
                    }
                    if !begun {
                        deadline = Instant::now() + self.patience();
                    }
                }
            }
        }
        Ok(())
    }

    /// How long the next question may take.
    fn patience(&self) -> Duration {
        if self.guest.is_crowded() { self.limits.impatience } else { self.limits.patience }
    }

    /// Reads what is there. False: there is nothing more, the client or we are done.
    async fn read(&mut self, input: &mut Vec<u8>, deadline: Instant) -> io::Result<bool> {
        input.reserve(READ);
        let read = tokio::select! {
            read = timeout_at(deadline, self.stream.read_buf(input)) => Some(read),
            () = told_to_stop(&mut self.stop) => None,
        };
        let read = match read {
            Some(read) => read,
            // Half a question may still be on its way; a whole one comes at once.
            None => {
                let last = if input.is_empty() { LAST_CALL } else { LAST_PATIENCE };
                timeout(last, self.stream.read_buf(input)).await
            }
        };
        Ok(read.is_ok_and(|read| read.is_ok_and(|octets| octets > 0)))
    }
}

/// Answers every whole question of the input, as long as the output is not full.
fn answer(handler: &Handler, arrival: Arrival, input: &mut Vec<u8>, output: &mut Vec<u8>) -> Rest {
    let mut reply = Vec::new();
    let mut used = 0;
    let rest = loop {
        if output.len() >= MOST_OUTPUT {
            break Rest::More;
        }
        let Some((&[first, second], after)) = input[used..].split_first_chunk() else { break Rest::Part };
        let length = usize::from(u16::from_be_bytes([first, second]));
        if length > LONGEST_QUERY {
            break Rest::Rubbish;
        }
        let Some(packet) = after.get(..length) else { break Rest::Part };
        if !handler.respond_into(packet, arrival, &mut reply) {
            break Rest::Rubbish;
        }
        let Ok(size) = u16::try_from(reply.len()) else { break Rest::Rubbish };
        output.extend(size.to_be_bytes());
        output.extend(&reply);
        used += 2 + length;
    };
    input.drain(..used);
    rest
}

#[cfg(test)]
mod tests;
