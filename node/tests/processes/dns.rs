//! A client of DNS: one question at a time, no cache.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Loopback loses nothing and a node answers in microseconds; the rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// A reply.
#[derive(Debug)]
pub struct Reply {
    /// The response code.
    pub code: ResponseCode,
    /// Where the aliases lead, without the root's dot.
    pub aliases: Vec<String>,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

/// A question for a name's IPv4 addresses.
pub fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(format!("{name}.").parse().unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

/// Asks over UDP. Errors: nobody listens there, or nobody answers.
pub async fn ask(from: IpAddr, to: SocketAddr, name: &str) -> io::Result<Reply> {
    let socket = UdpSocket::bind((from, 0)).await?;
    socket.connect(to).await?;
    socket.send(&question(name)).await?;
    let mut packet = vec![0; 4096];
    let length = timeout(PATIENCE, socket.recv(&mut packet)).await??;
    Ok(reply(&packet[..length]))
}

/// Reads a reply.
pub fn reply(packet: &[u8]) -> Reply {
    let message = Message::from_vec(packet).unwrap();
    let aliases = message.answers.iter().filter_map(|record| match &record.data {
        RData::CNAME(target) => Some(target.0.to_string().trim_end_matches('.').to_owned()),
        _ => None,
    });
    let addresses = message.answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        _ => None,
    });
    Reply { code: message.metadata.response_code, aliases: aliases.collect(), addresses: addresses.collect() }
}
