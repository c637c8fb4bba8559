//! One question to one server, and its reply: the sockets.
//!
//! A socket is made for each question, so its port is drawn anew by the system. What comes in is offered to a check;
//! what fails it is passed over, `MAX_STRAY` times at most: a flood of guesses ends the attempt instead of winning it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::message::{Question, UDP_SIZE};

/// Until a server counts as silent. A second try follows, and then the next server.
pub const PATIENCE: Duration = Duration::from_millis(1500);
/// Rounds through all servers.
const ROUNDS: usize = 2;
/// Packets that fail the check before an attempt is given up.
const MAX_STRAY: usize = 64;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Silence.
    #[error("{0} does not reply")]
    Silent(SocketAddr),
    /// Only things that were no reply.
    #[error("{0} sends no reply that fits")]
    Strays(SocketAddr),
    /// The network said no.
    #[error("{0}: {1}")]
    Io(SocketAddr, io::Error),
    /// There is nobody to ask.
    #[error("nobody to ask: no resolver is configured, and the system uses none")]
    Nobody,
    /// A reply that says no.
    #[error("{0} says {1}")]
    Refused(SocketAddr, ResponseCode),
}

/// Asks servers one after the other until one has an answer; NXDOMAIN is one.
///
/// # Errors
/// What the last one said, or did not.
pub async fn ask(servers: &[SocketAddr], name: &Name, rtype: RecordType, recurse: bool) -> Result<Message, Failure> {
    let mut last = Failure::Nobody;
    for server in (0..ROUNDS).flat_map(|_| servers) {
        match ask_one(*server, name, rtype, recurse).await {
            Ok(reply) => match reply.metadata.response_code {
                ResponseCode::NoError | ResponseCode::NXDomain => return Ok(reply),
                code => last = Failure::Refused(*server, code),
            },
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

async fn ask_one(server: SocketAddr, name: &Name, rtype: RecordType, recurse: bool) -> Result<Message, Failure> {
    let question = Question::query(rand::random(), name.clone(), rtype);
    let octets = octets(&question.message(recurse), server)?;
    let reply = udp(server, &octets, |octets| question.reply(octets).ok()).await?;
    if !reply.metadata.truncation {
        return Ok(reply);
    }
    tcp(server, &octets, |octets| question.reply(octets).ok()).await
}

/// A message as octets.
///
/// # Errors
/// It cannot be encoded.
pub fn octets(message: &Message, server: SocketAddr) -> Result<Vec<u8>, Failure> {
    message.to_vec().map_err(|error| Failure::Io(server, io::Error::other(error)))
}

/// By UDP.
///
/// # Errors
/// [`Failure`].
pub async fn udp<T>(
    server: SocketAddr,
    octets: &[u8],
    mut check: impl FnMut(&[u8]) -> Option<T>,
) -> Result<T, Failure> {
    let broken = |error| Failure::Io(server, error);
    let until = Instant::now() + PATIENCE;
    let socket = UdpSocket::bind(any(server)).await.map_err(broken)?;
    // Connected: the kernel passes on nothing from anybody else, and tells of a closed port at once.
    socket.connect(server).await.map_err(broken)?;
    socket.send(octets).await.map_err(broken)?;
    let mut buffer = vec![0; usize::from(UDP_SIZE.max(4096))];
    for _ in 0..MAX_STRAY {
        let received = timeout_at(until, socket.recv(&mut buffer)).await;
        let length = received.map_err(|_| Failure::Silent(server))?.map_err(broken)?;
        if let Some(reply) = check(&buffer[..length]) {
            return Ok(reply);
        }
    }
    Err(Failure::Strays(server))
}

/// By TCP, on a connection of its own.
///
/// # Errors
/// [`Failure`].
pub async fn tcp<T>(
    server: SocketAddr,
    octets: &[u8],
    mut check: impl FnMut(&[u8]) -> Option<T>,
) -> Result<T, Failure> {
    let until = Instant::now() + 2 * PATIENCE;
    let mut stream = connect(server, until).await?;
    send(&mut stream, server, octets, until).await?;
    let reply = receive(&mut stream, server, until).await?;
    check(&reply).ok_or(Failure::Strays(server))
}

/// A connection.
///
/// # Errors
/// [`Failure`].
pub async fn connect(server: SocketAddr, until: Instant) -> Result<TcpStream, Failure> {
    let connected = timeout_at(until, TcpStream::connect(server)).await;
    connected.map_err(|_| Failure::Silent(server))?.map_err(|error| Failure::Io(server, error))
}

/// Sends a message with its length before it (RFC 1035 section 4.2.2).
///
/// # Errors
/// [`Failure`].
pub async fn send(stream: &mut TcpStream, server: SocketAddr, octets: &[u8], until: Instant) -> Result<(), Failure> {
    let length = u16::try_from(octets.len()).map_err(|error| Failure::Io(server, io::Error::other(error)))?;
    let mut framed = Vec::with_capacity(octets.len() + 2);
    framed.extend(length.to_be_bytes());
    framed.extend(octets);
    let sent = timeout_at(until, stream.write_all(&framed)).await;
    sent.map_err(|_| Failure::Silent(server))?.map_err(|error| Failure::Io(server, error))
}

/// The next message of a connection.
///
/// # Errors
/// [`Failure`].
pub async fn receive(stream: &mut TcpStream, server: SocketAddr, until: Instant) -> Result<Vec<u8>, Failure> {
    let read = async {
        let length = stream.read_u16().await?;
        let mut octets = vec![0; usize::from(length)];
        stream.read_exact(&mut octets).await?;
        Ok(octets)
    };
    let received = timeout_at(until, read).await;
    received.map_err(|_| Failure::Silent(server))?.map_err(|error| Failure::Io(server, error))
}

fn any(server: SocketAddr) -> SocketAddr {
    let ip: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, 0)
}
