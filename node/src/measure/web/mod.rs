//! Shell: connections to web servers, and one exchange over them. HTTP/1.1 and HTTP/2, with TLS and without.
//!
//! ```text
//!  get, grpc ── request ──▶ Connection ── hyper ── Tap (first byte, bound) ── TLS ── TCP
//!                              ▲  │ reuse = true
//!                              └─ kept: one per probe, at most as many as the descriptors allow
//! ```
//!
//! **Which time.** Three could be called "the latency to the server":
//! - connecting: one round trip, but only to whoever ends TCP. Behind a load balancer or a proxy that is not the
//!   server, and a server that thinks for 200 ms looks as good as one that does not.
//! - connecting plus answer: what a new visitor feels, but two round trips and more with TLS, so twice as far as the same
//!   server measured by TCP; rows of the two kinds could not be compared.
//! - **request to first byte**: one round trip plus the server's own time to begin an answer. That is what an operator
//!   who chose an HTTP probe wants steered by, and on a fast server it equals the TCP time. This is what we take.
//!
//! With HTTP/1.1 the clock stops at the first byte, seen below hyper; a head that dribbles in later makes the probe fail
//! by the timeout, not the RTT grow. With HTTP/2 the first bytes are the server's settings, so the clock stops at the head.
//!
//! **Hostile answers.** A probe has one timeout; hyper holds at most [`MAX_HEAD`] of a head and 100 fields; all that is
//! read, floods of 1xx heads or of HTTP/2 frames included, ends at [`MAX_ANSWER`]. What hyper spawns ends with its
//! connection.
//!
//! A kept connection may have been closed by the server in the meantime, as HTTP allows at any moment: that says nothing
//! about its health, and the exchange is made again over a fresh one.

pub mod get;
pub mod grpc;
mod tap;
#[cfg(test)]
mod tests;
pub mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{error, io};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, getrlimit};
use tokio_util::task::AbortOnDropHandle;

pub use self::tap::MAX_ANSWER;
use self::tap::{Meter, Tap, Wire};
use self::tls::Tls;
use super::board::MAX_TARGETS;
use super::outcome::{Failure, Outcome};
use super::target::{Probe, WebSpec};
use super::tcp::{self, Sources};

/// What hyper may hold of one head: twice what common servers send at most (8 KiB).
pub const MAX_HEAD: usize = 16 * 1024;

/// Connections kept between probes, at most: one for each target that there can be ...
pub const MOST_KEPT: usize = MAX_TARGETS;
/// ... and this part of the descriptors that the process may have: DNS, mesh and disk need theirs.
const KEPT_PART: u64 = 4;

const AGENT: &str = concat!("nigh/", env!("CARGO_PKG_VERSION"));

/// What web probes share: authorities, and connections kept.
#[derive(Debug)]
pub struct Web {
    tls: Tls,
    kept: Mutex<BTreeMap<Probe, Connection>>,
    most_kept: usize,
}

impl Default for Web {
    fn default() -> Self {
        Self::new(Tls::default())
    }
}

impl Web {
    /// Checks certificates by `tls`.
    pub fn new(tls: Tls) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most_kept = usize::try_from(descriptors / KEPT_PART).unwrap_or(MOST_KEPT).min(MOST_KEPT);
        Self { tls, kept: Mutex::default(), most_kept }
    }

    /// Closes the connections of probes that are no longer made.
    pub fn keep_only(&self, wanted: impl Fn(&Probe) -> bool) {
        self.kept().retain(|probe, _| wanted(probe));
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeMap<Probe, Connection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, probe: &Probe, spec: &WebSpec) -> Option<Connection> {
        if spec.reuse { self.kept().remove(probe) } else { None }
    }

    /// Keeps a connection for the next exchange, if that is wanted and possible.
    fn keep(&self, probe: &Probe, spec: &WebSpec, connection: Connection) {
        let mut kept = self.kept();
        if spec.reuse && connection.driver.is_some() && kept.len() < self.most_kept {
            kept.insert(probe.clone(), connection);
        }
    }

    async fn open(
        &self,
        server: SocketAddr,
        spec: &WebSpec,
        sources: Sources,
        timeout: Duration,
    ) -> Result<Connection, Outcome> {
        let (stream, _) = tcp::connect(server, sources, timeout).await?;
        // A request is one segment; waiting for more to send would only add to the time.
        stream.set_nodelay(true).map_err(|error| Failure::of("connect", error))?;
        let (wire, certificate_ends) = match &spec.tls {
            None => (Wire::Plain(stream), None),
            Some(tls) => {
                let (stream, ends) = self.tls.connect(stream, &spec.host, tls, spec.http2).await?;
                (Wire::Tls(Box::new(stream)), ends)
            }
        };
        let meter = Arc::new(Meter::default());
        meter.begin();
        let tap = TokioIo::new(Tap { wire, meter: meter.clone() });
        let spawned = Arc::new(Spawned::default());
        let (sender, driver): (_, Driver) = if spec.http2 {
            let mut builder = http2::Builder::new(Executor(Arc::downgrade(&spawned)));
            builder.max_header_list_size(MAX_HEAD as u32).initial_stream_window_size(MAX_ANSWER as u32);
            let (sender, connection) = builder.handshake(tap).await.map_err(|error| failed(&error))?;
            (Sender::Two(sender), Box::pin(connection))
        } else {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(MAX_HEAD);
            let (sender, connection) = builder.handshake(tap).await.map_err(|error| failed(&error))?;
            (Sender::One(sender), Box::pin(connection))
        };
        Ok(Connection { sender, driver: Some(driver), meter, certificate_ends, _spawned: spawned })
    }
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;
type Body = Full<Bytes>;

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

/// An open connection to a server.
struct Connection {
    sender: Sender,
    /// Gone when it has ended: what is still asked of it would wait for ever otherwise.
    driver: Option<Driver>,
    meter: Arc<Meter>,
    certificate_ends: Option<u64>,
    _spawned: Arc<Spawned>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("open", &self.driver.is_some()).finish_non_exhaustive()
    }
}

/// The head of an answer, and how long it took to come.
struct Head {
    response: Response<Incoming>,
    took: Duration,
}

impl Connection {
    /// Sends a request and does with the answer as `then` says, while the connection is driven.
    async fn exchange<T>(
        &mut self,
        request: Request<Body>,
        then: impl AsyncFnOnce(Result<Head, hyper::Error>) -> T,
    ) -> T {
        self.meter.begin();
        let (meter, sender) = (&self.meter, &mut self.sender);
        let exchange = async move {
            // A connection that was kept has to take note of the end of its last exchange first.
            let ready = match sender {
                Sender::One(sender) => sender.ready().await,
                Sender::Two(sender) => sender.ready().await,
            };
            if let Err(error) = ready {
                return then(Err(error)).await;
            }
            let sent = Instant::now();
            let head = match sender {
                Sender::One(sender) => sender.send_request(request).await.map(|response| {
                    // Set by the byte that this head began with.
                    let first = meter.first_byte().unwrap_or_else(Instant::now);
                    Head { response, took: first.saturating_duration_since(sent) }
                }),
                Sender::Two(sender) => {
                    sender.send_request(request).await.map(|response| Head { response, took: sent.elapsed() })
                }
            };
            then(head).await
        };
        let mut exchange = std::pin::pin!(exchange);
        if let Some(driver) = &mut self.driver {
            tokio::select! {
                biased;
                done = &mut exchange => return done,
                // The connection is over; what it brought is with the exchange already.
                _ = driver => {}
            }
        }
        self.driver = None;
        exchange.await
    }
}

/// The tasks that hyper spawned for one connection; they end with it.
#[derive(Debug, Default)]
struct Spawned(Mutex<Vec<AbortOnDropHandle<()>>>);

/// Weak, or tasks that hold their executor would keep themselves alive.
#[derive(Clone, Debug)]
struct Executor(Weak<Spawned>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        let Some(spawned) = self.0.upgrade() else { return };
        let mut tasks = spawned.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(AbortOnDropHandle::new(tokio::spawn(task)));
    }
}

/// What was wrong with an exchange, in words for people.
fn failed(error: &hyper::Error) -> Outcome {
    let mut source = error::Error::source(error);
    let mut own = None;
    // HTTP/2 wraps the error of the socket once more.
    while let Some(inner) = source {
        own = own.or_else(|| inner.downcast_ref::<io::Error>());
        source = inner.source();
    }
    if error.is_parse() {
        // In hyper's words, such as "message head is too large".
        Failure::of("http", format_args!("no proper answer: {error}"))
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        Failure::of("http", "closed before the answer")
    } else if let Some(own) = own {
        match own.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Failure::of("http", "reset before the answer")
            }
            io::ErrorKind::UnexpectedEof => Failure::of("http", "closed before the answer"),
            _ => Failure::of("http", own),
        }
    } else {
        match error::Error::source(error) {
            Some(source) => Failure::of("http", source),
            None => Failure::of("http", error),
        }
    }
}
