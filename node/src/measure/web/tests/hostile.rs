//! Servers that misbehave, byte by byte; and the time that is taken.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// A server for one connection: reads the request's head, then does as `answer` says, and gives the head back.
async fn raw<F, A>(answer: F) -> (SocketAddr, AbortOnDropHandle<String>)
where
    F: FnOnce(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        answer(stream).await;
        String::from_utf8(head).unwrap()
    });
    (address, AbortOnDropHandle::new(server))
}

async fn ask_one_that_says(bytes: &'static [u8], timeout: Duration) -> Attempt {
    let (address, _server) = raw(async |mut stream: TcpStream| {
        stream.write_all(bytes).await.ok();
        if !bytes.starts_with(b"HTTP/1.1 2") {
            return;
        }
        // Until the other side is done.
        stream.read_u8().await.ok();
    })
    .await;
    get(&Web::default(), address, &http(), timeout).await
}

/// Says nothing for a while, as a slow server does.
async fn quiet(stream: &mut TcpStream, span: Duration) {
    tokio::time::timeout(span, stream.read_u8()).await.ok();
}

/// Writes `chunk` again and again until the other side has had enough.
async fn flood(stream: &mut TcpStream, chunk: &[u8]) {
    while stream.write_all(chunk).await.is_ok() {}
}

#[tokio::test]
async fn a_good_answer_and_what_was_asked() {
    let (address, server) = raw(async |mut stream: TcpStream| {
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    })
    .await;
    let attempt = get(&Web::default(), address, &http(), PATIENT).await;
    assert!(matches!(attempt.outcome, Outcome::Answered(took) if took > Duration::ZERO), "{attempt:?}");
    let head = server.await.unwrap();
    assert!(head.starts_with("GET /healthz?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: www.example.com\r\n"), "{head}");
    assert!(head.contains(concat!("user-agent: nigh/", env!("CARGO_PKG_VERSION"), "\r\n")), "{head}");
}

#[tokio::test]
async fn the_time_is_the_servers_own_and_stops_at_the_first_byte() {
    let (think, dribble) = (Duration::from_millis(60), Duration::from_millis(400));
    let (address, _server) = raw(async move |mut stream: TcpStream| {
        quiet(&mut stream, think).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        quiet(&mut stream, dribble).await;
        stream.write_all(b"content-length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    let start = Instant::now();
    let attempt = get(&Web::default(), address, &http(), PATIENT).await;
    let whole = start.elapsed();
    // Both bounds hold however slow this machine is.
    assert!(
        matches!(attempt.outcome, Outcome::Answered(took) if took >= think && took + dribble <= whole),
        "{attempt:?} {whole:?}"
    );
}

#[tokio::test]
async fn a_wrong_status_fails_and_the_range_is_inclusive() {
    assert_eq!(
        why(ask_one_that_says(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", PATIENT).await),
        "status 503, wanted 200-399"
    );
    assert_eq!(
        why(ask_one_that_says(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", PATIENT).await),
        "status 400, wanted 200-399"
    );
    for edge in [&b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..], b"HTTP/1.1 399 Odd\r\ncontent-length: 0\r\n\r\n"]
    {
        assert!(matches!(ask_one_that_says(edge, PATIENT).await.outcome, Outcome::Answered(_)));
    }
}

#[tokio::test]
async fn what_is_not_http_fails_with_a_reason() {
    assert_eq!(
        why(ask_one_that_says(b"SSH-2.0-OpenSSH_9.9\r\n\r\n", PATIENT).await),
        "http: no proper answer: invalid HTTP version parsed"
    );
    assert_eq!(why(ask_one_that_says(b"", PATIENT).await), "http: closed before the answer");
    assert_eq!(why(ask_one_that_says(b"HTTP/1.1 30", PATIENT).await), "http: closed before the answer");
}

#[tokio::test]
async fn silence_and_half_a_head_time_out() {
    assert_eq!(why(ask_one_that_says(b"HTTP/1.1 200 OK\r\nx: ", HASTY).await), "timeout after 150ms");
    let (address, _server) = raw(async |mut stream: TcpStream| {
        stream.read_u8().await.ok();
    })
    .await;
    assert_eq!(why(get(&Web::default(), address, &http(), HASTY).await), "timeout after 150ms");
}

#[tokio::test]
async fn a_body_that_never_ends_or_stalls_does_not_matter() {
    let stalls = ask_one_that_says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", HASTY * 10).await;
    assert!(matches!(stalls.outcome, Outcome::Answered(_)), "{stalls:?}");
    let (address, server) = raw(async |mut stream: TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        flood(&mut stream, &[b'x'; 4096]).await;
    })
    .await;
    let endless = get(&Web::default(), address, &http(), PATIENT).await;
    assert!(matches!(endless.outcome, Outcome::Answered(_)), "{endless:?}");
    // Ends because we hung up.
    server.await.unwrap();
}

#[tokio::test]
async fn hostile_heads_end_early() {
    for (start, chunk, wanted) in [
        ("HTTP/1.1 200 OK\r\n", "a: b\r\n", "http: no proper answer: message head is too large"),
        ("HTTP/1.1 200 OK\r\nx: ", "xxxxxxxxxxxxxxxx", "http: no proper answer: message head is too large"),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", "http: an answer of more than 64 KiB"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", "http: an answer of more than 64 KiB"),
    ] {
        let (address, server) = raw(async move |mut stream: TcpStream| {
            stream.write_all(start.as_bytes()).await.ok();
            flood(&mut stream, chunk.as_bytes()).await;
        })
        .await;
        assert_eq!(why(get(&Web::default(), address, &http(), PATIENT).await), wanted, "{start}{chunk}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_path_or_host_that_cannot_be_sent_is_told_to_the_operator() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let wild = HttpSpec { path: "/a b".into(), ..http() };
    let web = WebSpec { host: "a\r\nx: y".into(), ..http().web };
    for spec in [wild, HttpSpec { web, ..http() }] {
        match get(&Web::default(), nowhere, &spec, PATIENT).await.outcome {
            Outcome::NotMade(why) => assert!(why.contains("probe.path"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn refused_is_said_as_with_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(why(get(&Web::default(), address, &http(), PATIENT).await), "connect: refused");
}
