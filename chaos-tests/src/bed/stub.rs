//! A stub resolver as it sits in a client: asks its ISP's resolver over UDP, tries again, and times it.
//!
//! Own code rather than `dig`, whose times move in steps of 4 ms on some kernels, and which is a process a query.

use crate::lab::{Namespace, netns};
use anyhow::{Context, Result};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How often a query is sent before it has failed. As glibc with `attempts:3`.
pub const TRIES: u32 = 3;
/// How long a try waits for its answer.
pub const TRY_PATIENCE: Duration = Duration::from_secs(2);
/// What a stub says that it takes by UDP (`options edns0` of glibc): no answer of a bed is cut short on the last mile.
const TAKES: u16 = 4096;
/// Larger than any UDP message.
const MESSAGE_MAX: usize = 65_535;

/// An answer as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The response code.
    pub code: ResponseCode,
    /// The names that the question is an alias of, in order, each with the TTL left.
    pub aliases: Vec<(String, u32)>,
    /// The addresses, each with the TTL left.
    pub addresses: Vec<(IpAddr, u32)>,
    /// What the records say that are neither, as in a zone file.
    pub others: Vec<String>,
    /// AD: the resolver has validated it.
    pub validated: bool,
}

impl Reply {
    /// Whether it says what was asked for.
    pub fn is_good(&self) -> bool {
        self.code == ResponseCode::NoError && (!self.addresses.is_empty() || !self.others.is_empty())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// Nobody answered in time.
    Silence,
    /// The resolver's port is closed.
    Refused,
    /// Something else is wrong with the socket or the name.
    Broken(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence => f.write_str("no answer"),
            Self::Refused => f.write_str("port closed"),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

/// A lookup with its tries.
#[derive(Debug)]
pub struct Lookup {
    /// How it ended.
    pub outcome: Result<Reply, Failure>,
    /// How often the query was sent.
    pub tries: u32,
    /// From the first send to the end.
    pub took: Duration,
}

/// A socket to one resolver. It belongs to the namespace of the thread that makes it.
#[derive(Debug)]
pub struct Stub {
    socket: UdpSocket,
}

impl Stub {
    /// A client of the resolver at this address.
    pub fn connect(resolver: impl Into<IpAddr>) -> Result<Self> {
        let resolver = resolver.into();
        let any = if resolver.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        Self::connect_from(any, resolver)
    }

    /// The same with a source address.
    pub fn connect_from(source: IpAddr, resolver: IpAddr) -> Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::from((source, 0))).context("opening a UDP socket")?;
        // Connected: answers of others never arrive, and a closed port is told at once.
        socket.connect(SocketAddr::from((resolver, 53))).with_context(|| format!("no way to {resolver}"))?;
        Ok(Self { socket })
    }

    /// A client in a namespace.
    pub fn inside(space: &Namespace, resolver: impl Into<IpAddr>) -> Result<Self> {
        let resolver = resolver.into();
        netns::inside(space.name(), || Self::connect(resolver))?
    }

    /// The same with a source address, which must be one of the namespace's.
    pub fn inside_from(space: &Namespace, source: IpAddr, resolver: IpAddr) -> Result<Self> {
        netns::inside(space.name(), || Self::connect_from(source, resolver))?
    }

    /// Asks, and asks again when nobody answers.
    pub fn ask(&self, name: &str, kind: RecordType) -> Lookup {
        let start = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = self.ask_once(name, kind, TRY_PATIENCE);
            let again = matches!(outcome, Err(Failure::Silence | Failure::Refused));
            if !again || tries == TRIES {
                return Lookup { outcome, tries, took: start.elapsed() };
            }
        }
    }

    /// Asks once.
    pub fn ask_once(&self, name: &str, kind: RecordType, patience: Duration) -> Result<Reply, Failure> {
        let name = fully_qualified(name)?;
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Query;
        message.metadata.recursion_desired = true;
        // RFC 6840 section 5.7: AD in a query asks for AD in the answer.
        message.metadata.authentic_data = true;
        let mut edns = Edns::new();
        edns.set_max_payload(TAKES);
        message.edns = Some(edns);
        message.add_query(Query::query(name, kind));
        let bytes = message.to_vec().map_err(|error| Failure::Broken(error.to_string()))?;
        self.socket.send(&bytes).map_err(failure)?;
        let deadline = Instant::now() + patience;
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Silence);
            }
            self.socket.set_read_timeout(Some(left)).map_err(failure)?;
            let length = self.socket.recv(&mut buffer).map_err(failure)?;
            // Anything else is the late answer to an earlier try.
            if let Some(reply) = buffer.get(..length).and_then(|bytes| read(bytes, &message)) {
                return Ok(reply);
            }
        }
    }
}

fn fully_qualified(name: &str) -> Result<Name, Failure> {
    let mut name: Name = name.parse().map_err(|error| Failure::Broken(format!("{name}: {error}")))?;
    name.set_fqdn(true);
    Ok(name)
}

fn failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Failure::Silence,
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        _ => Failure::Broken(error.to_string()),
    }
}

/// The reply in these bytes, if they answer this very question.
fn read(bytes: &[u8], question: &Message) -> Option<Reply> {
    let message = Message::from_vec(bytes).ok()?;
    if message.metadata.id != question.metadata.id
        || message.metadata.message_type != MessageType::Response
        || message.queries != question.queries
    {
        return None;
    }
    let mut reply = Reply {
        code: message.metadata.response_code,
        aliases: Vec::new(),
        addresses: Vec::new(),
        others: Vec::new(),
        validated: message.metadata.authentic_data,
    };
    for record in &message.answers {
        match &record.data {
            RData::CNAME(target) => {
                reply.aliases.push((target.0.to_string().trim_end_matches('.').to_lowercase(), record.ttl));
            }
            RData::A(address) => reply.addresses.push((address.0.into(), record.ttl)),
            RData::AAAA(address) => reply.addresses.push((address.0.into(), record.ttl)),
            data => reply.others.push(data.to_string()),
        }
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Failure, Reply, Stub, read};
    use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
    use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn question() -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(name("www.lb.lab."), RecordType::A));
        message
    }

    fn answer(question: &Message) -> Message {
        let mut message = question.clone();
        message.metadata.message_type = MessageType::Response;
        let cname = RData::CNAME(rdata::CNAME(name("www.FRA.lb.lab.")));
        message.add_answer(Record::from_rdata(name("www.lb.lab."), 60, cname));
        message.add_answer(Record::from_rdata(name("www.fra.lb.lab."), 2, RData::A(rdata::A::new(10, 0, 0, 1))));
        message
    }

    #[test]
    fn a_reply_has_the_chain_and_the_addresses() {
        let question = question();
        let reply = read(&answer(&question).to_vec().unwrap(), &question).unwrap();
        let expected = Reply {
            code: ResponseCode::NoError,
            aliases: vec![("www.fra.lb.lab".to_owned(), 60)],
            addresses: vec![(Ipv4Addr::new(10, 0, 0, 1).into(), 2)],
            others: Vec::new(),
            validated: false,
        };
        assert_eq!(reply, expected);
        assert!(reply.is_good());
    }

    #[test]
    fn an_answer_to_something_else_is_passed_over() {
        let question = question();
        let mut other_id = answer(&question);
        other_id.metadata.id ^= 1;
        let mut other_name = answer(&question);
        other_name.queries[0].name = name("mail.lb.lab.");
        for message in [other_id, other_name, question.clone()] {
            assert_eq!(read(&message.to_vec().unwrap(), &question), None);
        }
        assert_eq!(read(b"", &question), None);
    }

    #[test]
    fn an_alias_without_an_address_is_not_good() {
        let question = question();
        let mut message = answer(&question);
        message.answers.truncate(1);
        assert!(!read(&message.to_vec().unwrap(), &question).unwrap().is_good());
        let mut failed = answer(&question);
        failed.metadata.response_code = ResponseCode::ServFail;
        assert!(!read(&failed.to_vec().unwrap(), &question).unwrap().is_good());
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(silent.local_addr().unwrap()).unwrap();
        let stub = Stub { socket };
        let outcome = stub.ask_once("www.lb.lab", RecordType::A, Duration::from_millis(5));
        assert!(matches!(outcome, Err(Failure::Silence)), "{outcome:?}");
    }
}
