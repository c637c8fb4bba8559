//! The TCP front (RFC 7766): two octets of length, then a message, as often as the client likes.
//!
//! Questions of one connection are answered in the order in which they came, one at a time; that is all the
//! backpressure that is needed. Connections are bounded, and the fuller the house, the sooner idle ones must go, so
//! that a crowd of idle ones cannot keep the others out for long.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use crate::serve::{LAST_CALL, clock, told_to_stop};
use crate::{Arrival, Handler};

/// How many connections, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections per listener.
    connections: usize,
    /// How long one may be idle, or take over one message.
    patience: Duration,
    /// The same when more than half of the places are taken.
    impatience: Duration,
}

/// Resolvers open one connection each, seldom, so 512 bound memory to a few megabytes and nobody who means well meets
/// them. RFC 7766 section 6.2.3 asks for an idle time "in the order of a few seconds".
pub(crate) const LIMITS: Limits =
    Limits { connections: 512, patience: Duration::from_secs(10), impatience: Duration::from_secs(1) };

/// How long a question that is half here at the stop may take to arrive.
const LAST_PATIENCE: Duration = Duration::from_millis(250);

/// Connections accepted, and questions answered per connection, after the stop: nobody may put it off for ever.
const MOST_LATE: usize = 64;

/// Rest after a failed accept: most often there are no file descriptors left, and trying on would only burn.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Accepts until stopped, then lets each connection end what it has begun.
pub(crate) async fn run(listener: TcpListener, handler: Handler, mut stop: watch::Receiver<bool>, limits: Limits) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut late = 0;
    while late < MOST_LATE {
        late += usize::from(*stop.borrow());
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = told_to_stop(&mut stop) => match timeout(LAST_CALL, accept(&listener, &places)).await {
                Ok(accepted) => accepted,
                Err(_) => break,
            },
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, source, place)) => {
                let (handler, stop, places) = (handler.clone(), stop.clone(), places.clone());
                connections.spawn(async move {
                    let ended = connection(stream, source, handler, stop, &places, limits).await;
                    debug!(%source, ?ended, "TCP connection ended");
                    drop(place);
                });
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

/// A connection, once there is a place for it. Until then it waits in the listener's backlog.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, source) = listener.accept().await?;
    Ok((stream, source, place))
}

async fn connection(
    mut stream: TcpStream,
    source: SocketAddr,
    handler: Handler,
    mut stop: watch::Receiver<bool>,
    places: &Semaphore,
    limits: Limits,
) -> io::Result<()> {
    // An answer is one write: waiting for more to send would only delay it.
    stream.set_nodelay(true)?;
    let mut packet = Vec::new();
    let mut late = 0;
    while late < MOST_LATE {
        late += usize::from(*stop.borrow());
        let crowded = places.available_permits() < limits.connections / 2;
        let patience = if crowded { limits.impatience } else { limits.patience };
        if !next_query(&mut stream, &mut packet, &mut stop, patience).await? {
            return Ok(());
        }
        let Some(reply) = handler.respond(&packet, Arrival::tcp(source, clock(), patience)) else {
            // Who sends things that deserve no reply does not speak DNS.
            return Ok(());
        };
        let mut framed = Vec::with_capacity(reply.len() + 2);
        framed.extend(u16::try_from(reply.len()).map_err(io::Error::other)?.to_be_bytes());
        framed.extend(reply);
        timeout(limits.patience, stream.write_all(&framed)).await??;
    }
    Ok(())
}

/// Reads the next question. False: there is none, the client or we are done.
async fn next_query(
    stream: &mut TcpStream,
    packet: &mut Vec<u8>,
    stop: &mut watch::Receiver<bool>,
    patience: Duration,
) -> io::Result<bool> {
    let first = tokio::select! {
        first = timeout(patience, stream.read_u8()) => Some(first),
        () = told_to_stop(stop) => None,
    };
    let first = match first {
        Some(first) => first,
        None => timeout(LAST_CALL, stream.read_u8()).await,
    };
    let first = match first {
        Ok(Ok(first)) => first,
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Ok(Err(error)) => return Err(error),
        Err(_) => return Ok(false),
    };
    let patience = if *stop.borrow() { LAST_PATIENCE } else { patience };
    timeout(patience, async {
        let second = stream.read_u8().await?;
        packet.resize(usize::from(u16::from_be_bytes([first, second])), 0);
        stream.read_exact(packet).await.map(drop)
    })
    .await??;
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use arc_swap::ArcSwap;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;
    use tokio::time::timeout;

    use super::{Limits, run};
    use crate::{Counters, Handler, Snapshot};

    const DEADLINE: Duration = Duration::from_secs(20);

    /// `. NS`, in its frame.
    const QUERY: &[u8] = b"\0\x11\x12\x34\0\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01";

    async fn start(limits: Limits) -> (SocketAddr, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let snapshot = Snapshot::empty("fra".parse().unwrap());
        let handler = Handler::new(Arc::new(ArcSwap::from_pointee(snapshot)), Arc::new(Counters::new()));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(run(listener, handler, stopped, limits));
        (address, stop)
    }

    /// The octets until the connection is closed.
    async fn rest(stream: &mut TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset is a way to close, too.
        let _ = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("still open");
        bytes
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_and_so_is_half_a_question() {
        let soon = Duration::from_millis(20);
        let (address, _stop) = start(Limits { connections: 10, patience: soon, impatience: soon }).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(&QUERY[..10]).await.unwrap();
        assert!(rest(&mut idle).await.is_empty());
        assert!(rest(&mut slow).await.is_empty());
    }

    #[tokio::test]
    async fn a_full_house_closes_idle_connections_sooner() {
        let limits = Limits { connections: 2, patience: DEADLINE * 100, impatience: Duration::from_millis(20) };
        let (address, _stop) = start(limits).await;
        let mut idle = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        // All places are taken: this one waits for the others to be sent away.
        let mut late = TcpStream::connect(address).await.unwrap();
        late.write_all(QUERY).await.unwrap();
        let mut reply = [0; 19];
        timeout(DEADLINE, late.read_exact(&mut reply)).await.expect("never let in").unwrap();
        assert_eq!((&reply[2..4], reply[5]), (&b"\x12\x34"[..], 5), "REFUSED, to this question");
        assert!(rest(&mut idle[1]).await.is_empty());
    }
}
