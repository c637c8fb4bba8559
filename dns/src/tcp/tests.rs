#![allow(clippy::unwrap_used)]
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{LONGEST_QUERY, Limits, MOST_OUTPUT, Rest, answer, run};
use crate::house::House;
use crate::{Arrival, Counters, Handler, Snapshot};

const DEADLINE: Duration = Duration::from_secs(20);

const SOON: Duration = Duration::from_millis(20);

/// Nobody has to go.
const PATIENT: Limits = Limits {
    connections: 10,
    of_one_network: 10,
    first: DEADLINE.saturating_mul(100),
    patience: DEADLINE.saturating_mul(100),
    impatience: DEADLINE.saturating_mul(100),
};

/// `. NS`, in its frame.
const QUERY: &[u8] = b"\0\x11\x12\x34\0\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01";

struct Running {
    address: SocketAddr,
    handler: Handler,
    _stop: watch::Sender<bool>,
}

async fn start(limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let snapshot = Snapshot::empty("fra".parse().unwrap());
    let handler = Handler::new(Arc::new(ArcSwap::from_pointee(snapshot)), Arc::new(Counters::new()));
    let (stop, stopped) = watch::channel(false);
    let house = House::new(limits.connections, limits.of_one_network);
    tokio::spawn(run(listener, handler.clone(), stopped, limits, house));
    Running { address, handler, _stop: stop }
}

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.address).await.unwrap()
}

/// The octets until the connection is closed.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is a way to close, too.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("still open");
    bytes
}

async fn one_reply(stream: &mut TcpStream) -> [u8; 19] {
    let mut reply = [0; 19];
    timeout(DEADLINE, stream.read_exact(&mut reply)).await.expect("no reply").unwrap();
    assert_eq!((&reply[2..4], reply[5]), (&b"\x12\x34"[..], 5), "REFUSED, to this question");
    reply
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_so_is_half_a_question() {
    let running = start(Limits { patience: SOON, ..PATIENT }).await;
    let (mut idle, mut slow) = (connect(&running).await, connect(&running).await);
    idle.write_all(QUERY).await.unwrap();
    one_reply(&mut idle).await;
    slow.write_all(&QUERY[..10]).await.unwrap();
    assert!(rest(&mut idle).await.is_empty());
    assert!(rest(&mut slow).await.is_empty());
}

#[tokio::test]
async fn who_connects_and_asks_nothing_is_closed_first() {
    let running = start(Limits { first: SOON, ..PATIENT }).await;
    let (mut silent, mut asking) = (connect(&running).await, connect(&running).await);
    asking.write_all(QUERY).await.unwrap();
    one_reply(&mut asking).await;
    assert!(rest(&mut silent).await.is_empty());
    // The other is still there.
    asking.write_all(QUERY).await.unwrap();
    one_reply(&mut asking).await;
}

/// The clock of a question begins with its first octet, however many come after.
#[tokio::test]
async fn an_octet_now_and_then_gains_no_time() {
    let running = start(Limits { patience: SOON * 10, ..PATIENT }).await;
    let mut slow = connect(&running).await;
    let mut pace = tokio::time::interval(SOON);
    let closed = timeout(DEADLINE, async {
        // A question of 255 octets would take five seconds.
        for octet in [0, 0xff].into_iter().chain([7; 255]) {
            pace.tick().await;
            let mut byte = [0];
            if slow.write_all(&[octet]).await.is_err() || matches!(slow.try_read(&mut byte), Ok(0)) {
                return true;
            }
        }
        false
    });
    assert!(closed.await.expect("still writing"));
}

#[tokio::test]
async fn a_full_house_closes_idle_connections_sooner() {
    let running = start(Limits { connections: 2, impatience: SOON, ..PATIENT }).await;
    let mut idle = [connect(&running).await, connect(&running).await];
    // All places are taken: this one waits for the others to be sent away.
    let mut late = connect(&running).await;
    late.write_all(QUERY).await.unwrap();
    one_reply(&mut late).await;
    assert!(rest(&mut idle[1]).await.is_empty());
}

#[tokio::test]
async fn a_network_gets_its_share_of_connections_and_no_more() {
    let running = start(Limits { of_one_network: 2, ..PATIENT }).await;
    let mut held = [connect(&running).await, connect(&running).await];
    for stream in &mut held {
        stream.write_all(QUERY).await.unwrap();
        one_reply(stream).await;
    }
    let mut third = connect(&running).await;
    assert!(rest(&mut third).await.is_empty());
    assert_eq!(running.handler.counters().read().connections_refused, 1);
    // Another network is let in.
    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.1.1:0".parse().unwrap()).unwrap();
    let mut other = elsewhere.connect(running.address).await.unwrap();
    other.write_all(QUERY).await.unwrap();
    one_reply(&mut other).await;
}

/// RFC 7766 section 6.2.1.1: pipelined. What came together goes out together, up to a bound.
#[tokio::test]
async fn questions_that_came_together_are_answered_together() {
    let running = start(PATIENT).await;
    let arrival = Arrival::tcp(running.address, DEADLINE, DEADLINE);
    let (mut input, mut output) = ([QUERY.repeat(20), QUERY[..7].to_vec()].concat(), Vec::new());
    assert_eq!(answer(&running.handler, arrival, &mut input, &mut output), Rest::Part);
    assert_eq!((output.len(), &input[..]), (20 * 19, &QUERY[..7]));
    let mut input = QUERY.repeat(MOST_OUTPUT);
    let answered = |input: &mut Vec<u8>| {
        let mut output = Vec::new();
        let rest = answer(&running.handler, arrival, input, &mut output);
        (rest, output.len().div_ceil(100) * 100)
    };
    assert_eq!(answered(&mut input), (Rest::More, MOST_OUTPUT.div_ceil(100) * 100));

    let mut stream = connect(&running).await;
    stream.write_all(&QUERY.repeat(20)).await.unwrap();
    // The end of the questions is not the end of the answers.
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await.len(), 20 * 19);
}

/// A client that asks and asks and takes nothing: what waits for it is bounded, and it is sent away.
#[tokio::test]
async fn who_does_not_take_its_answers_is_sent_away() {
    let running = start(Limits { patience: SOON, ..PATIENT }).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(running.address).await.unwrap();
    let asked = timeout(DEADLINE, async {
        let mut asked = 0_u64;
        while deaf.write_all(&QUERY.repeat(1000)).await.is_ok() {
            asked += 1000;
        }
        asked
    });
    let asked = asked.await.expect("it is heard for ever");
    // What was answered fits into the buffers of two sockets and our own.
    let answered = running.handler.counters().read().queries;
    assert!(answered < asked + 1000 && answered * 19 < 16 * 1024 * 1024 + MOST_OUTPUT as u64, "{answered} of {asked}");
}

#[tokio::test]
async fn a_message_that_no_question_needs_is_not_waited_for() {
    let running = start(PATIENT).await;
    for first in [&b"\xff\xff"[..], &(LONGEST_QUERY as u16 + 1).to_be_bytes(), b"\0\0", b"\0\x05hello"] {
        let mut stream = connect(&running).await;
        stream.write_all(first).await.unwrap();
        assert!(rest(&mut stream).await.is_empty(), "{first:?}");
    }
}
