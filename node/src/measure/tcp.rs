//! Shell: one TCP connection, and the time it took.
//!
//! The time is that of `connect` alone: SYN out, SYN+ACK in, answered by the server's kernel. It is one round trip of
//! the network and nothing else, which is what steers best; whether the service behind it is well is a matter for an
//! HTTP probe.
//!
//! Connections end by reset (linger zero). A proper close would leave the port in TIME_WAIT for a minute *here*: 500
//! probes a second are 30,000 such ports, more than there are, once probes are bound to a source address. Nothing was
//! sent, so the reset loses nothing.
//!
//! Not used: the kernel's own
//! estimate from `TCP_INFO` (finer by the runtime's wake-up time, but unsafe code for some tens of microseconds).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};

use super::outcome::{Failure, Outcome, connect_failed, not_made};

/// Where probes come from: at most one address per family; the system chooses for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// For servers with an IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// For servers with an IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl Sources {
    /// The source for probes to `server`, with any port; `None`: as the system likes.
    pub(super) fn towards(&self, server: IpAddr) -> Option<SocketAddr> {
        let source = match server {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        };
        source.map(|address| SocketAddr::new(address, 0))
    }
}

/// Opens a connection and closes it.
pub async fn probe(server: SocketAddr, sources: Sources, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, connect(server, sources, timeout)).await {
        Ok(Ok((_, took))) => Outcome::Answered(took),
        Ok(Err(outcome)) => outcome,
        Err(_) => Outcome::Failed(Failure::Timeout(timeout)),
    }
}

/// A connection that will end by reset, and the time connecting took. Does not itself watch the time: `timeout` is for
/// the words of the reason.
pub(super) async fn connect(
    server: SocketAddr,
    sources: Sources,
    timeout: Duration,
) -> Result<(TcpStream, Duration), Outcome> {
    let socket = prepare(server, sources)?;
    let start = Instant::now();
    let stream = socket.connect(server).await.map_err(|error| connect_failed(&error, timeout))?;
    Ok((stream, start.elapsed()))
}

fn prepare(server: SocketAddr, sources: Sources) -> Result<TcpSocket, Outcome> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| not_made("socket", &error))?;
    let ready = || -> io::Result<()> {
        socket.set_zero_linger()?;
        match sources.towards(server.ip()) {
            Some(source) => socket.bind(source),
            None => Ok(()),
        }
    };
    ready().map_err(|error| not_made("cannot use the configured measure.source", &error))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::net::TcpListener;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_listener_answers() {
        let (_listener, address) = listener().await;
        let outcome = probe(address, Sources::default(), TIMEOUT).await;
        assert!(matches!(outcome, Outcome::Answered(took) if took < TIMEOUT), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let (listener, address) = listener().await;
        drop(listener);
        match probe(address, Sources::default(), TIMEOUT).await {
            Outcome::Failed(failure) => assert_eq!(failure.to_string(), "connect: refused"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_silent_one_times_out() {
        // A listener whose backlog is full drops further SYNs: silence, without a packet leaving this machine.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let _listener = socket.listen(1).unwrap();
        let (mut held, mut last) = (Vec::new(), None);
        let timeout = Duration::from_millis(100);
        for _ in 0..8 {
            let attempt = tokio::time::timeout(timeout, TcpStream::connect(address)).await;
            held.extend(attempt);
            last = Some(probe(address, Sources::default(), timeout).await);
            if matches!(last, Some(Outcome::Failed(_))) {
                break;
            }
        }
        assert_eq!(last, Some(Outcome::Failed(Failure::Timeout(timeout))));
    }

    #[tokio::test]
    async fn probes_come_from_the_configured_source_and_end_by_reset() {
        let (listener, address) = listener().await;
        let sources = Sources { v4: Some(Ipv4Addr::new(127, 0, 0, 9)), v6: None };
        assert!(matches!(probe(address, sources, TIMEOUT).await, Outcome::Answered(_)));
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), IpAddr::from([127, 0, 0, 9]));
        stream.readable().await.unwrap();
        let read = stream.try_read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(read, Err(io::ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn a_source_that_is_not_ours_is_our_own_fault() {
        let (_listener, address) = listener().await;
        let sources = Sources { v4: Some(Ipv4Addr::new(192, 0, 2, 1)), v6: None };
        match probe(address, sources, TIMEOUT).await {
            Outcome::NotMade(why) => assert!(why.contains("measure.source"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
