//! Connections: taken while there is room, and none holds its place without asking anything.
//!
//! Rejected: `axum::serve`. It waits for the head of a request for ever, and at the end for every connection, so one
//! browser that holds a stream of events open would keep a node from stopping.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections open at a time, on a socket: more than people and their scripts need, few enough that a script gone wrong
/// does not take the file descriptors that the DNS needs. Further ones wait in the kernel's queue.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// Pause after a failed accept, which mostly means "out of descriptors"; trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// For the head of a request, and for the next one of a connection that is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Where connections come from.
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
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
    Tcp(tokio::net::TcpStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                let who = stream.peer_cred().ok();
                let peer = Peer::Socket { uid: who.map(|who| who.uid()), pid: who.and_then(|who| who.pid()) };
                (Stream::Unix(stream), peer)
            }),
            Self::Tcp(listener) => listener.accept().await.map(|(stream, from)| (Stream::Tcp(stream), Peer::Tcp(from))),
        }
    }
}

/// Answers until told to stop; then requests under way have `grace` to end.
pub(super) async fn serve(listener: Listener, router: Router, grace: Duration, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
                    let (router, stop) = (router.clone(), stop.clone());
                    open.spawn(async move {
                        match stream {
                            Stream::Unix(stream) => converse(stream, peer, router, stop).await,
                            Stream::Tcp(stream) => converse(stream, peer, router, stop).await,
                        }
                        drop(place);
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
