//! Connections: taken while there is room, and none holds its place without asking anything.
//!
//! Rejected: `axum::serve`. It waits for the head of a request for ever, and at the end for every connection, so one
//! browser that holds a stream of events open would keep a node from stopping.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, header};
use futures::StreamExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::tls::Tls;

/// Connections open at a time, on a socket: more than people and their scripts need, few enough that a script gone wrong
/// does not take the file descriptors that the DNS needs. Further ones wait in the kernel's queue.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// Of these, those that one address far away may have: it must not keep the others out.
const MAX_PER_ADDRESS: usize = 16;

/// For a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a failed accept, which mostly means "out of descriptors"; trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// For the head of a request, and for the next one of a connection that is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Where connections come from.
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener, Option<Arc<Tls>>),
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A process of this host that may open the socket.
    Socket { uid: Option<u32>, pid: Option<i32> },
    /// Whoever sends from this address.
    Tcp(SocketAddr),
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(TcpStream, Arc<ServerConfig>),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                let who = stream.peer_cred().ok();
                let peer = Peer::Socket { uid: who.map(|who| who.uid()), pid: who.and_then(|who| who.pid()) };
                (Stream::Unix(stream), peer)
            }),
            Self::Tcp(listener, tls) => listener.accept().await.map(|(stream, from)| {
                let stream = match tls {
                    Some(tls) => Stream::Tls(stream, Arc::clone(&tls.current())),
                    None => Stream::Tcp(stream),
                };
                (stream, Peer::Tcp(from))
            }),
        }
    }
}

/// Answers until told to stop; then requests under way have `grace` to end.
pub(super) async fn serve(listener: Listener, router: Router, grace: Duration, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let shares = Shares::default();
    let mut open = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed; without a place the connection just has none to give back.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => {}
            (accepted, place) = next => match accepted {
                Ok((stream, peer)) => {
                    let Some(share) = shares.take(peer) else { continue };
                    let (router, stop) = (router.clone(), stop.clone());
                    open.spawn(async move {
                        stream.serve(peer, router, stop).await;
                        drop((place, share));
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin API cannot accept; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    // What is left after that is closed with the set.
    let _ = tokio::time::timeout(grace, async { while open.join_next().await.is_some() {} }).await;
}

impl Stream {
    async fn serve(self, peer: Peer, router: Router, stop: CancellationToken) {
        match self {
            Self::Unix(stream) => converse(stream, peer, router, stop).await,
            Self::Tcp(stream) => converse(stream, peer, router, stop).await,
            Self::Tls(stream, config) => {
                let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream));
                match handshake.await {
                    Ok(Ok(stream)) => converse(stream, peer, router, stop).await,
                    Ok(Err(error)) => tracing::debug!(%error, ?peer, "no TLS with a client of the admin API"),
                    Err(_) => tracing::debug!(?peer, "a client of the admin API did not finish its TLS handshake"),
                }
            }
        }
    }
}

/// How many connections each address has.
#[derive(Default)]
struct Shares(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// One connection of an address; given back when it is dropped.
struct Share(Arc<Mutex<BTreeMap<IpAddr, usize>>>, IpAddr);

impl Shares {
    /// Nothing if the address has its part. This host's own addresses, as of a proxy, may take all there is.
    fn take(&self, peer: Peer) -> Option<Option<Share>> {
        let Peer::Tcp(from) = peer else { return Some(None) };
        let address = from.ip().to_canonical();
        if address.is_loopback() {
            return Some(None);
        }
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count == MAX_PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Some(Share(Arc::clone(&self.0), address)))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = counts.entry(self.1) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

async fn converse<S>(stream: S, peer: Peer, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let routes = TowerToHyperService::new(router);
    let stopping = stop.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let answer = routes.call(request);
        let stopping = stopping.clone();
        async move { answer.await.map(|response| until(response, stopping)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, ?peer, "a connection to the admin API broke");
    }
}

/// A stream of events has no end of its own: the node's is.
fn until(response: Response<Body>, stop: CancellationToken) -> Response<Body> {
    let events = |kind: &header::HeaderValue| kind.as_bytes().starts_with(b"text/event-stream");
    if !response.headers().get(header::CONTENT_TYPE).is_some_and(events) {
        return response;
    }
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(stop.cancelled_owned())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_address_has_a_part_and_gets_it_back() {
        let shares = Shares::default();
        let from = |text: &str| Peer::Tcp(text.parse().unwrap());
        let held: Vec<_> = (0..MAX_PER_ADDRESS).map(|_| shares.take(from("192.0.2.1:9")).unwrap()).collect();
        assert!(shares.take(from("192.0.2.1:10")).is_none());
        assert!(shares.take(from("[::ffff:192.0.2.1]:10")).is_none());
        assert!(shares.take(from("192.0.2.2:9")).is_some());
        assert!((0..MAX_CONNECTIONS).all(|_| shares.take(from("127.0.0.1:9")).is_some()));
        drop(held);
        assert!(shares.take(from("192.0.2.1:9")).is_some());
        assert!(shares.0.lock().unwrap().is_empty());
    }
}
