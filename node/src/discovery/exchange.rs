//! One question to one resolver and its answer: the shell of discovery.
//!
//! Each try has a socket, a port and an id of its own (RFC 5452), connected to the resolver, so that only it is heard; an
//! answer counts if id and question are those that were sent. A truncated one is asked for again by TCP.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::rounds::Outcome;

/// How long each try waits. A resolver that must learn the way to the mesh first takes a second on a long path.
const TRIES: [Duration; 2] = [Duration::from_millis(1500), Duration::from_millis(2500)];
/// What our questions say they take by UDP (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;
/// The largest datagram that is looked at.
const LARGEST: usize = 4096;

/// Asks, and asks a second time if nothing comes.
pub(super) async fn ask(to: SocketAddr, name: &Name, rtype: RecordType) -> Outcome {
    let mut why = String::new();
    for patience in TRIES {
        let begun = Instant::now();
        match timeout_at(begun + patience, once(to, name, rtype)).await {
            Ok(Ok(message)) => return outcome(&message, begun.elapsed()),
            Ok(Err(error)) => why = format!("{to}: {error}"),
            Err(_) => why = format!("{to} does not answer"),
        }
    }
    Outcome::Silent(why)
}

async fn once(to: SocketAddr, name: &Name, rtype: RecordType) -> std::io::Result<Message> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|error| std::io::Error::other(error.to_string()))?;
    let id = u16::from_be_bytes(id);
    let packet = question(id, name, rtype).map_err(|error| std::io::Error::other(error.to_string()))?;
    let own: SocketAddr =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(to).await?;
    socket.send(&packet).await?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match read(buffer.get(..length).unwrap_or_default(), id, name, rtype) {
            Some(message) if message.metadata.truncation => break,
            Some(message) => return Ok(message),
            None => {}
        }
    }
    // RFC 7766 section 8: two octets of length, in one segment with what follows.
    let mut stream = TcpStream::connect(to).await?;
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes()[..], &packet].concat()).await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; length.into()];
    stream.read_exact(&mut reply).await?;
    read(&reply, id, name, rtype).ok_or_else(|| std::io::Error::other("an answer to another question by TCP"))
}

fn question(id: u16, name: &Name, rtype: RecordType) -> Result<Vec<u8>, hickory_proto::ProtoError> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), rtype));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_SIZE);
    message.set_edns(edns);
    message.to_vec()
}

/// The message, if it answers what was asked.
fn read(packet: &[u8], id: u16, name: &Name, rtype: RecordType) -> Option<Message> {
    let message = Message::from_vec(packet).ok()?;
    let meta = &message.metadata;
    let answers = meta.id == id && meta.message_type == MessageType::Response;
    let [query] = message.queries.as_slice() else { return None };
    (answers && query.name() == name && query.query_type() == rtype).then_some(message)
}

fn outcome(message: &Message, took: Duration) -> Outcome {
    let code = message.metadata.response_code;
    if code != ResponseCode::NoError {
        return Outcome::Useless(format!("the resolver says {code}"));
    }
    let strings = message.answers.iter().filter_map(|record| match &record.data {
        RData::TXT(text) => Some(text.txt_data.iter().map(|string| string.to_vec())),
        _ => None,
    });
    Outcome::Answer { strings: strings.flatten().collect(), took }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::TXT;
    use tokio::net::TcpListener;

    use super::*;

    fn name() -> Name {
        Name::from_ascii("nonce.whoami.lb.example.com.").unwrap()
    }

    fn reply(query: &[u8], change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::from_vec(query).unwrap();
        message.metadata.message_type = MessageType::Response;
        let text = TXT::new(vec!["source=192.0.2.1".into()]);
        message.add_answer(Record::from_rdata(name(), 0, RData::TXT(text)));
        change(&mut message);
        message.to_vec().unwrap()
    }

    /// Forged answers come first: wrong id, another question, no answer at all. Then a truncated one, and the rest by TCP.
    #[tokio::test]
    async fn only_an_answer_to_the_question_counts_and_a_truncated_one_is_asked_for_by_tcp() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        let stream = TcpListener::bind(to).await.unwrap();
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let query = &buffer[..length];
            let forged = TXT::new(vec!["source=6.6.6.6".into()]);
            let forge = |message: &mut Message| message.answers[0].data = RData::TXT(forged.clone());
            let another = |message: &mut Message| {
                forge(message);
                message.metadata.id ^= 1;
            };
            server.send_to(&reply(query, another), from).await.unwrap();
            let elsewhere = |message: &mut Message| {
                forge(message);
                message.queries[0].set_query_type(RecordType::A);
            };
            server.send_to(&reply(query, elsewhere), from).await.unwrap();
            server.send_to(b"\x00\x01", from).await.unwrap();
            let truncated = |message: &mut Message| {
                message.answers.clear();
                message.metadata.truncation = true;
            };
            server.send_to(&reply(query, truncated), from).await.unwrap();
            let (mut peer, _) = stream.accept().await.unwrap();
            let length = peer.read_u16().await.unwrap();
            let mut query = vec![0; length.into()];
            peer.read_exact(&mut query).await.unwrap();
            let reply = reply(&query, |_| ());
            peer.write_u16(reply.len() as u16).await.unwrap();
            peer.write_all(&reply).await.unwrap();
        });
        let outcome = ask(to, &name(), RecordType::TXT).await;
        let Outcome::Answer { strings, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(strings, [b"source=192.0.2.1".to_vec()]);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_closed_port_is_silence() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = socket.local_addr().unwrap();
        drop(socket);
        assert!(matches!(ask(to, &name(), RecordType::TXT).await, Outcome::Silent(_)));
    }
}
