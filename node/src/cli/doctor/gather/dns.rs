//! One question to one server, with what a doctor wants to know beside the answer.
//!
//! A server cookie of version 1 (RFC 9018) has the second in which it was made, so any node tells its clock to whoever
//! asks with a cookie. Padding (RFC 7830) makes a question as long as the longest reply.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption, NSIDPayload};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::UdpSocket;

use crate::dns_a::exchange;
use crate::dns_a::message::{Question, UDP_SIZE};

/// Until a datagram counts as lost. A second one follows.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Packets passed over that fit no question of ours.
const MAX_STRAY: usize = 64;
/// What stands for a reply where the host has no address of the family, or no route: nobody else's fault.
pub(crate) const NO_WAY: &str = "this host has no way to addresses of that family";
/// The codes of options that hickory does not know.
const COOKIE: u16 = 10;
const PADDING: u16 = 12;

/// How to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Over a connection.
    pub(crate) tcp: bool,
    /// As long as the longest reply, and not to be fragmented.
    pub(crate) large: bool,
}

/// What came.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The reply.
    pub(crate) message: Message,
    /// How long it took.
    pub(crate) took: Duration,
    /// The node that it is from.
    pub(crate) node: Option<String>,
    /// The second at which it was made there, since 1970 and modulo 2^32.
    pub(crate) clock: Option<u32>,
    /// The largest message that the server takes.
    pub(crate) size: Option<u16>,
    /// The path's MTU, as far as this host knows.
    pub(crate) mtu: Option<u32>,
}

/// Asks; a lost datagram once more.
pub(crate) async fn ask(server: SocketAddr, name: &Name, rtype: RecordType, manner: Manner) -> Result<Told, String> {
    let question = Question::query(rand::random(), name.clone(), rtype);
    let octets = octets(&question, manner.large).map_err(|error| error.to_string())?;
    let check = |octets: &[u8]| question.reply(octets).ok();
    let mut began = Instant::now();
    let (message, mtu) = if manner.tcp {
        let reply = exchange::tcp(server, &octets, check).await;
        (reply.map_err(|failure| of_exchange(&failure))?, None)
    } else {
        match udp(server, &octets, manner.large, check).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                began = Instant::now();
                udp(server, &octets, manner.large, check).await.map_err(|error| words(&error))?
            }
            other => other.map_err(|error| words(&error))?,
        }
    };
    let edns = message.edns.as_ref();
    let nsid = match edns.and_then(|edns| edns.option(EdnsCode::NSID)) {
        Some(EdnsOption::NSID(id)) => Some(String::from_utf8_lossy(id.as_ref()).into_owned()),
        _ => None,
    };
    let node = nsid.map(|id| id.chars().filter(|c| !c.is_control()).take(64).collect());
    let cookie = edns.and_then(|edns| edns.option(EdnsCode::Cookie).or_else(|| edns.option(EdnsCode::Unknown(COOKIE))));
    let clock = match cookie {
        Some(EdnsOption::Unknown(_, cookie)) => made_at(cookie),
        _ => None,
    };
    let size = edns.map(Edns::max_payload);
    Ok(Told { took: began.elapsed(), node, clock, size, mtu, message })
}

/// The time in a server cookie: client cookie, version, three octets of zeros, time, hash.
fn made_at(cookie: &[u8]) -> Option<u32> {
    let server = cookie.get(8..)?;
    (server.first() == Some(&1)).then_some(())?;
    server.get(4..8)?.first_chunk().map(|time| u32::from_be_bytes(*time))
}

fn of_exchange(failure: &exchange::Failure) -> String {
    match failure {
        exchange::Failure::Io(_, error) => words(error),
        exchange::Failure::Silent(_) => "no reply".to_owned(),
        other => other.to_string(),
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no reply".to_owned(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported => {
            NO_WAY.to_owned()
        }
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        _ if error.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32) => {
            "too large for the way, as this host knows".to_owned()
        }
        _ => error.to_string(),
    }
}

fn octets(question: &Question, large: bool) -> Result<Vec<u8>, hickory_proto::ProtoError> {
    let mut message = question.message(false);
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_SIZE);
    if let Ok(nsid) = NSIDPayload::new(Vec::new()) {
        edns.options_mut().insert(EdnsOption::NSID(nsid));
    }
    let client: [u8; 8] = rand::random();
    edns.options_mut().insert(EdnsOption::Unknown(COOKIE, client.to_vec()));
    message.edns = Some(edns);
    if large {
        // What is there already, and the head of one more option.
        let length = message.to_vec()?.len() + 4;
        let padding = vec![0; usize::from(UDP_SIZE).saturating_sub(length)];
        if let Some(edns) = message.edns.as_mut() {
            edns.options_mut().insert(EdnsOption::Unknown(PADDING, padding));
        }
    }
    message.to_vec()
}

async fn udp(
    server: SocketAddr,
    octets: &[u8],
    whole: bool,
    check: impl Fn(&[u8]) -> Option<Message>,
) -> io::Result<(Message, Option<u32>)> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    if whole {
        unfragmented(&socket, server)?;
    }
    socket.connect(server).await?;
    socket.send(octets).await?;
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut buffer = vec![0; 4096];
    for _ in 0..MAX_STRAY {
        let received = tokio::time::timeout_at(until, socket.recv(&mut buffer)).await;
        let length = received.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if let Some(message) = check(buffer.get(..length).unwrap_or_default()) {
            let mtu = server.is_ipv4().then(|| rustix::net::sockopt::ip_mtu(&socket).ok()).flatten();
            return Ok((message, mtu));
        }
    }
    Err(io::Error::other("only packets came that are no reply"))
}

/// Sets "do not fragment", and makes the kernel tell what it learns of the way.
fn unfragmented(socket: &UdpSocket, server: SocketAddr) -> io::Result<()> {
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };
    if server.is_ipv4() {
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DO)?;
    } else {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DO)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cookie_of_version_one_tells_the_time() {
        let mut cookie = [7; 8].to_vec();
        cookie.extend([1, 0, 0, 0, 0x65, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9]);
        assert_eq!(made_at(&cookie), Some(0x6500_0001));
        cookie[8] = 2;
        assert_eq!(made_at(&cookie), None);
        assert_eq!(made_at(&cookie[..10]), None);
        assert_eq!(made_at(&[]), None);
    }

    #[test]
    fn a_large_question_is_as_long_as_the_longest_reply() {
        let question = Question::query(1, Name::from_ascii("lb.example.com.").unwrap(), RecordType::SOA);
        assert_eq!(octets(&question, true).unwrap().len(), 1232);
        assert!(octets(&question, false).unwrap().len() < 100);
    }
}
