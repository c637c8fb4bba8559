//! The fronts, over real sockets on loopback.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test: panics are its verdict")]

mod world_text;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use nigh_dns::{Counters, Front, Handler, Snapshot, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

/// Long enough for a busy machine, short enough to fail.
const DEADLINE: Duration = Duration::from_secs(20);

const WORLD: [&str; 6] = [
    "zone lb.example.com",
    "node fra alive 127.0.0.1 fra",
    "claim 127.0.0.0/8 fra 10",
    "service www.lb.example.com",
    "server a 192.0.2.1",
    "row fra www.lb.example.com a up 1",
];

struct Running {
    front: Front,
    counters: Arc<Counters>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    udp: Vec<SocketAddr>,
    tcp: SocketAddr,
}

fn snapshot(lines: &[&str]) -> Snapshot {
    let mut world = world_text::WorldText::default();
    lines.iter().for_each(|line| world.line(line).unwrap());
    world.snapshot(None).0
}

async fn start() -> Running {
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot(&WORLD)));
    let counters = Arc::new(Counters::new());
    let mut sockets = Vec::new();
    // Two addresses: an answer must leave from the one that was asked.
    for address in ["127.0.0.1:0", "127.0.0.2:0"] {
        sockets.push(std::net::UdpSocket::bind(address).unwrap());
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let udp = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let tcp = listener.local_addr().unwrap();
    let handler = Handler::new(snapshot.clone(), counters.clone());
    Running { front: serve(handler, sockets, vec![listener]).unwrap(), counters, snapshot, udp, tcp }
}

fn question(id: u16) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii("www.lb.example.com.").unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

fn check(reply: &[u8], id: u16) {
    let message = Message::from_vec(reply).unwrap();
    assert_eq!(message.metadata.id, id);
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    assert_eq!(message.answers.len(), 2, "a CNAME and an address");
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 4096];
    let (length, from) = timeout(DEADLINE, socket.recv_from(&mut buffer)).await.expect("no reply").unwrap();
    buffer.truncate(length);
    (buffer, from)
}

async fn receive_framed(stream: &mut TcpStream) -> Vec<u8> {
    timeout(DEADLINE, async {
        let length = stream.read_u16().await.unwrap();
        let mut reply = vec![0; usize::from(length)];
        stream.read_exact(&mut reply).await.unwrap();
        reply
    })
    .await
    .expect("no reply")
}

fn framed(packet: &[u8]) -> Vec<u8> {
    let mut framed = u16::try_from(packet.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(packet);
    framed
}

#[tokio::test]
async fn udp_answers_from_the_address_that_was_asked() {
    let running = start().await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for (id, server) in (0..).zip(&running.udp) {
        client.send_to(&question(id), server).await.unwrap();
        let (reply, from) = receive(&client).await;
        assert_eq!(from, *server);
        check(&reply, id);
    }
    assert_eq!(running.counters.read().referrals_with_addresses, 2);
    running.front.stop().await;
}

#[tokio::test]
async fn rubbish_does_not_end_the_service() {
    let running = start().await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut response = question(1);
    response[2] |= 0x80;
    for packet in [&b""[..], b"x", &[0xff; 4000], &response, &question(2)[..20]] {
        client.send_to(packet, running.udp[0]).await.unwrap();
    }
    client.send_to(&question(3), running.udp[0]).await.unwrap();
    // One FORMERR for the cut question, nothing for responses and what is too short, then the answer.
    let (formerr, _) = receive(&client).await;
    assert_eq!(Message::from_vec(&formerr).unwrap().metadata.response_code, ResponseCode::FormErr);
    check(&receive(&client).await.0, 3);
    let counts = running.counters.read();
    assert_eq!((counts.dropped, counts.errors, counts.queries), (4, 1, 2));
    running.front.stop().await;
}

#[tokio::test]
async fn tcp_answers_many_questions_on_one_connection() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.tcp).await.unwrap();
    // Pipelined, and the last one in two pieces.
    let mut bytes: Vec<u8> = (0..4).flat_map(|id| framed(&question(id))).collect();
    let tail = bytes.split_off(bytes.len() - 5);
    stream.write_all(&bytes).await.unwrap();
    for id in 0..3 {
        check(&receive_framed(&mut stream).await, id);
    }
    stream.write_all(&tail).await.unwrap();
    check(&receive_framed(&mut stream).await, 3);
    running.front.stop().await;
}

#[tokio::test]
async fn a_new_snapshot_answers_the_next_packet() {
    let running = start().await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(&question(1), running.udp[0]).await.unwrap();
    check(&receive(&client).await.0, 1);
    running.snapshot.store(Arc::new(snapshot(&WORLD[1..])));
    client.send_to(&question(2), running.udp[0]).await.unwrap();
    let reply = Message::from_vec(&receive(&client).await.0).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    running.front.stop().await;
}

/// One thread: nothing is read between the sending and the stop, so what is answered was answered by the stop.
#[tokio::test(flavor = "current_thread")]
async fn the_stop_answers_what_is_already_here() {
    let running = start().await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(running.tcp).await.unwrap();
    stream.write_all(&framed(&question(0))).await.unwrap();
    check(&receive_framed(&mut stream).await, 0);
    let mut idle = TcpStream::connect(running.tcp).await.unwrap();
    idle.write_all(&framed(&question(1))).await.unwrap();
    check(&receive_framed(&mut idle).await, 1);

    // More than the thread has answered when it is told to stop.
    for id in 10..160 {
        client.send_to(&question(id), running.udp[0]).await.unwrap();
    }
    stream.write_all(&framed(&question(170))).await.unwrap();
    timeout(DEADLINE, running.front.stop()).await.expect("the stop waits for an idle connection");

    for id in 10..160 {
        check(&receive(&client).await.0, id);
    }
    check(&receive_framed(&mut stream).await, 170);
    assert_eq!(timeout(DEADLINE, idle.read(&mut [0; 1])).await.unwrap().unwrap(), 0, "the idle connection is closed");
    UdpSocket::bind(running.udp[0]).await.expect("the address is free again");
}

/// hickory's own server can carry the handler, for the transports that it has and we do not.
#[tokio::test]
async fn hickorys_server_carries_the_handler() {
    let counters = Arc::new(Counters::new());
    let handler = Handler::new(Arc::new(ArcSwap::from_pointee(snapshot(&WORLD))), counters.clone());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = hickory_server::Server::new(handler);
    server.register_socket(socket);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(&question(5), address).await.unwrap();
    check(&receive(&client).await.0, 5);
    assert_eq!(counters.read().referrals_with_addresses, 1);
    server.shutdown_gracefully().await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_pauses_does_not_hold_up_the_stop() {
    let running = start().await;
    let (client, server) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), running.udp[0]);
    let asking = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        loop {
            pace.tick().await;
            // Once the socket is closed, the kernel says so to whoever sends there.
            let _ = client.send_to(&question(1), server).await;
        }
    });
    timeout(DEADLINE, running.front.stop()).await.expect("the stop waits for a pause that never comes");
    asking.abort();
}
