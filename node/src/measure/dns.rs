//! Shell: one DNS query, and the time until its response.
//!
//! Over UDP; over TCP where the response comes truncated (RFC 7766, section 5), and the time is then that of both, for that
//! is what a resolver waits. Sent as a resolver would send it to an authoritative server (RD clear), with a random ID from a
//! random port, and a response counts only with our ID and question: anything else is waited past.
//!
//! Only the header and the question of a response are read: whether it is the right one and what its code is stand there
//! (RFC 1035, section 4.1), and records that we could not read are no fault of the server's health.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use super::outcome::{Failure, Outcome, connect_failed, not_made};
use super::target::DnsSpec;
use super::tcp::{self, Sources};

/// What is kept of a response: header and question, and nothing of what follows.
const MAX_READ: usize = 512;
const HEADER: usize = 12;
/// The codes by their numbers (RFC 1035, RFC 2136).
const CODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
    "NOTZONE",
];

/// Asks once.
pub async fn probe(server: SocketAddr, spec: &DnsSpec, sources: Sources, timeout: Duration) -> Outcome {
    let query = match query(spec) {
        Ok(query) => query,
        Err(why) => return Outcome::NotMade(format!("not probed: check probe.name: {why}")),
    };
    let whole = async {
        let start = Instant::now();
        let mut response = by_udp(server, &query, sources, timeout).await?;
        if response.truncated {
            response = by_tcp(server, &query, sources, timeout).await?;
        }
        Ok((response.code, start.elapsed()))
    };
    match tokio::time::timeout(timeout, whole).await {
        Err(_) => Outcome::Failed(Failure::Timeout(timeout)),
        Ok(Err(outcome)) => outcome,
        Ok(Ok((code, took))) if u16::from(code) == spec.rcode => Outcome::Answered(took),
        Ok(Ok((code, _))) => {
            Failure::of("dns", format_args!("{}, wanted {}", code_word(code.into()), code_word(spec.rcode)))
        }
    }
}

/// The word for a response code.
pub fn code_word(code: u16) -> String {
    CODES.get(usize::from(code)).map_or_else(|| format!("RCODE{code}"), |word| (*word).to_owned())
}

/// The number of a response code, by its word.
pub fn code_number(word: &str) -> Option<u16> {
    CODES.iter().position(|code| code.eq_ignore_ascii_case(word)).and_then(|at| u16::try_from(at).ok())
}

fn query(spec: &DnsSpec) -> Result<Vec<u8>, String> {
    let mut name = Name::from_ascii(&spec.name).map_err(|error| error.to_string())?;
    name.set_fqdn(true);
    let mut message = Message::new(rand::rng().random(), MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name, RecordType::from(spec.rtype)));
    message.to_vec().map_err(|error| error.to_string())
}

async fn by_udp(server: SocketAddr, query: &[u8], sources: Sources, timeout: Duration) -> Result<Response, Outcome> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let source = sources.towards(server.ip());
    let socket = UdpSocket::bind(source.unwrap_or(any)).await.map_err(|error| match source {
        Some(_) => not_made("cannot use the configured measure.source", &error),
        None => not_made("socket", &error),
    })?;
    // Only from there, and the word that nobody listens there comes back as an error.
    socket.connect(server).await.map_err(|error| connect_failed(&error, timeout))?;
    socket.send(query).await.map_err(|error| connect_failed(&error, timeout))?;
    let mut bytes = [0; MAX_READ];
    loop {
        let length = socket.recv(&mut bytes).await.map_err(|error| connect_failed(&error, timeout))?;
        if let Some(response) = read(query, bytes.get(..length).unwrap_or_default()) {
            return Ok(response);
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &[u8], sources: Sources, timeout: Duration) -> Result<Response, Outcome> {
    let broken = |error: io::Error| Failure::of("dns", format_args!("over TCP: {error}"));
    let (mut stream, _) = tcp::connect(server, sources, timeout).await?;
    let length = u16::try_from(query.len()).unwrap_or_default();
    // One segment: some servers read no further than what comes first.
    let message = [&length.to_be_bytes()[..], query].concat();
    stream.write_all(&message).await.map_err(broken)?;
    let length = usize::from(stream.read_u16().await.map_err(broken)?);
    let mut bytes = vec![0; length.min(MAX_READ)];
    stream.read_exact(&mut bytes).await.map_err(broken)?;
    read(query, &bytes).ok_or_else(|| Failure::of("dns", "over TCP: an answer to another question"))
}

/// What matters of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Response {
    code: u8,
    truncated: bool,
}

/// The response, if these are the octets of one to that query.
fn read(query: &[u8], bytes: &[u8]) -> Option<Response> {
    let (asked, question) = query.split_at_checked(HEADER)?;
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let is_response = header[2] & 0x80 != 0 && header[..2] == asked[..2];
    // A server that could not read the query may leave the question out.
    let counted = u16::from_be_bytes([header[4], header[5]]);
    let same = counted == 1 && rest.get(..question.len())?.eq_ignore_ascii_case(question);
    let code = header[3] & 0x0f;
    (is_response && (same || (counted == 0 && code != 0))).then_some(Response { code, truncated: header[2] & 2 != 0 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use tokio::net::TcpListener;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn spec(rcode: u16) -> DnsSpec {
        DnsSpec { name: "www.example.com".into(), rtype: 1, rcode }
    }

    /// A server that answers over UDP with that code, and truncated ones over TCP; before the answer comes one to
    /// somebody else's query.
    async fn serve(code: u8, truncated: bool) -> (SocketAddr, AbortOnDropHandle<()>) {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let answer = move |query: &[u8], truncated: bool| {
            let mut answer = query.to_vec();
            answer[2] |= 0x80 | if truncated { 2 } else { 0 };
            answer[3] = code;
            answer
        };
        let task = tokio::spawn(async move {
            let mut bytes = [0; 512];
            let (length, client) = udp.recv_from(&mut bytes).await.unwrap();
            let good = answer(&bytes[..length], truncated);
            let mut other = good.clone();
            (other[0], other[3]) = (!other[0], 5);
            udp.send_to(&other, client).await.unwrap();
            udp.send_to(&good, client).await.unwrap();
            if truncated {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let length = stream.read_u16().await.unwrap();
                let mut query = vec![0; length.into()];
                stream.read_exact(&mut query).await.unwrap();
                stream.write_u16(length).await.unwrap();
                stream.write_all(&answer(&query, false)).await.unwrap();
                // Until the other side is done.
                stream.read_u8().await.ok();
            }
        });
        (address, AbortOnDropHandle::new(task))
    }

    #[tokio::test]
    async fn a_response_counts_by_its_code_over_udp_and_over_tcp() {
        for truncated in [false, true] {
            let (address, _server) = serve(0, truncated).await;
            let outcome = probe(address, &spec(0), Sources::default(), TIMEOUT).await;
            assert!(matches!(outcome, Outcome::Answered(_)), "{truncated}: {outcome:?}");
        }
        let (address, _server) = serve(2, false).await;
        match probe(address, &spec(0), Sources::default(), TIMEOUT).await {
            Outcome::Failed(failure) => assert_eq!(failure.to_string(), "dns: SERVFAIL, wanted NOERROR"),
            other => panic!("{other:?}"),
        }
        let (address, _server) = serve(3, false).await;
        assert!(matches!(probe(address, &spec(3), Sources::default(), TIMEOUT).await, Outcome::Answered(_)));
    }

    #[tokio::test]
    async fn nobody_there_is_refused_at_once() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        match probe(address, &spec(0), Sources::default(), TIMEOUT).await {
            Outcome::Failed(failure) => assert_eq!(failure.to_string(), "connect: refused"),
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn no_response_is_too_much(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let query = query(&spec(0)).unwrap();
            read(&query, &bytes);
            prop_assert_eq!(read(&query, &query), None, "our own query is no response");
        }
    }
}
