//! Shell: one HTTP/1.1 GET over a fresh connection, and the time to the first byte of its answer.
//!
//! **Which time.** Three could be called "the latency to the server":
//! - connecting: one round trip, but only to whoever ends TCP. Behind a load balancer or a proxy that is not the
//!   server, and a server that thinks for 200 ms looks as good as one that does not.
//! - connecting plus answer: what a new visitor feels, but two round trips, so twice as far as the same server measured
//!   by TCP; rows of the two kinds could not be compared.
//! - **request to first byte**: one round trip plus the server's own time to begin an answer. That is what an operator
//!   who chose an HTTP probe wants steered by, and on a fast server it equals the TCP time. This is what we take.
//!
//! The clock stops at the first byte, seen below hyper; a head that dribbles in later makes the probe fail by the
//! timeout, not the RTT grow.
//!
//! **What counts as well.** A complete head within the timeout, with a status in the range. The body does not count: it
//! is read up to [`MAX_ANSWER`] so that a small answer ends properly at the server, and dropped.
//!
//! **Hostile answers.** The whole probe has one timeout; hyper holds at most [`MAX_HEAD`] of a head and 100 fields; all
//! that is read, floods of 1xx heads included, ends at [`MAX_ANSWER`]. Redirects are not followed: the probe asks
//! *this* server.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::{error, io};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::outcome::{Detail, Failure, Outcome};
use super::tcp::{self, Sources};

/// What hyper may hold of one head: twice what common servers send at most (8 KiB).
pub const MAX_HEAD: usize = 16 * 1024;
/// All that is read of one answer; several times the health pages seen in practice.
pub const MAX_ANSWER: usize = 64 * 1024;

const AGENT: &str = concat!("nigh/", env!("CARGO_PKG_VERSION"));

/// The question.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Path, and query if any.
    pub path: &'a str,
    /// The `Host` header.
    pub host: &'a str,
    /// Lowest and highest status that means "well".
    pub expect: (u16, u16),
}

/// Asks once.
pub async fn probe(server: SocketAddr, question: Question<'_>, sources: Sources, timeout: Duration) -> Outcome {
    let request = Request::builder()
        .method(Method::GET)
        .uri(question.path)
        .header(HOST, question.host)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new());
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            return Outcome::NotMade(format!("not probed: check probe.path and probe.host: {}", Detail::new(error)));
        }
    };
    // Set when the head has decided; only the body is left to the timeout then.
    let decided = OnceLock::new();
    let whole = async {
        let outcome = match tcp::connect(server, sources, timeout).await {
            Ok((stream, _)) => ask(stream, request, question.expect, &decided).await,
            Err(outcome) => outcome,
        };
        decided.get_or_init(|| outcome);
    };
    let _in_time = tokio::time::timeout(timeout, whole).await;
    decided.into_inner().unwrap_or(Outcome::Failed(Failure::Timeout(timeout)))
}

async fn ask(
    stream: TcpStream,
    request: Request<Empty<Bytes>>,
    expect: (u16, u16),
    decided: &OnceLock<Outcome>,
) -> Outcome {
    let first_byte = Arc::new(OnceLock::new());
    let tap = Tap { stream, left: MAX_ANSWER, first_byte: first_byte.clone() };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = match builder.handshake(TokioIo::new(tap)).await {
        Ok(pair) => pair,
        Err(error) => return failed(&error),
    };
    let sent = Instant::now();
    let exchange = async move {
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(error) => return failed(&error),
        };
        let got = response.status().as_u16();
        let outcome = if (expect.0..=expect.1).contains(&got) {
            // Set by the byte that this head began with.
            Outcome::Answered(
                first_byte.get().map_or_else(|| sent.elapsed(), |at: &Instant| at.saturating_duration_since(sent)),
            )
        } else {
            Outcome::Failed(Failure::Status { got, wanted: expect })
        };
        decided.get_or_init(|| outcome.clone());
        let mut body = response.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        outcome
    };
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        outcome = &mut exchange => outcome,
        // The connection is over; what it brought is with the exchange already.
        _ = connection => exchange.await,
    }
}

fn failed(error: &hyper::Error) -> Outcome {
    let own = error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let words = if error.is_parse() {
        // In hyper's words, such as "message head is too large".
        Detail::new(format_args!("no proper answer: {error}"))
    } else if error.is_incomplete_message() || error.is_canceled() {
        Detail::new("closed before the answer")
    } else if let Some(own) = own {
        match own.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Detail::new("reset before the answer"),
            _ => Detail::new(own),
        }
    } else {
        Detail::new(error)
    };
    Outcome::Failed(Failure::Http(words))
}

/// The connection as hyper sees it: notes when the first byte came, and ends after [`MAX_ANSWER`].
struct Tap {
    stream: TcpStream,
    left: usize,
    first_byte: Arc<OnceLock<Instant>>,
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(Err(io::Error::other(format!("an answer of more than {} KiB", MAX_ANSWER / 1024))));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        let read = buf.filled().len().saturating_sub(before);
        if read > 0 {
            this.first_byte.get_or_init(Instant::now);
            this.left = this.left.saturating_sub(read);
        }
        polled
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    const PATIENT: Duration = Duration::from_secs(10);
    const HASTY: Duration = Duration::from_millis(150);

    const QUESTION: Question<'_> = Question { path: "/healthz?x=1", host: "www.example.com", expect: (200, 399) };

    /// A server for one connection: reads the request's head, then does as `answer` says, and gives the head back.
    async fn serve<F, A>(answer: F) -> (SocketAddr, AbortOnDropHandle<String>)
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

    async fn ask_one_that_says(bytes: &'static [u8], timeout: Duration) -> Outcome {
        let (address, _server) = serve(async |mut stream: TcpStream| {
            stream.write_all(bytes).await.ok();
            if !bytes.starts_with(b"HTTP/1.1 2") {
                return;
            }
            // Until the other side is done.
            stream.read_u8().await.ok();
        })
        .await;
        probe(address, QUESTION, Sources::default(), timeout).await
    }

    fn why(outcome: Outcome) -> String {
        match outcome {
            Outcome::Failed(failure) => failure.to_string(),
            other => format!("{other:?}"),
        }
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
        let (address, server) = serve(async |mut stream: TcpStream| {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        })
        .await;
        let outcome = probe(address, QUESTION, Sources::default(), PATIENT).await;
        assert!(matches!(outcome, Outcome::Answered(took) if took > Duration::ZERO), "{outcome:?}");
        let head = server.await.unwrap();
        assert!(head.starts_with("GET /healthz?x=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("host: www.example.com\r\n"), "{head}");
        assert!(head.contains(concat!("user-agent: nigh/", env!("CARGO_PKG_VERSION"), "\r\n")), "{head}");
    }

    #[tokio::test]
    async fn the_time_is_the_servers_own_and_stops_at_the_first_byte() {
        let (think, dribble) = (Duration::from_millis(60), Duration::from_millis(400));
        let (address, _server) = serve(async move |mut stream: TcpStream| {
            quiet(&mut stream, think).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
            quiet(&mut stream, dribble).await;
            stream.write_all(b"content-length: 0\r\n\r\n").await.unwrap();
        })
        .await;
        let start = Instant::now();
        let outcome = probe(address, QUESTION, Sources::default(), PATIENT).await;
        let whole = start.elapsed();
        // Both bounds hold however slow this machine is.
        assert!(
            matches!(outcome, Outcome::Answered(took) if took >= think && took + dribble <= whole),
            "{outcome:?} {whole:?}"
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
        for edge in
            [&b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..], b"HTTP/1.1 399 Odd\r\ncontent-length: 0\r\n\r\n"]
        {
            assert!(matches!(ask_one_that_says(edge, PATIENT).await, Outcome::Answered(_)));
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
        let (address, _server) = serve(async |mut stream: TcpStream| {
            stream.read_u8().await.ok();
        })
        .await;
        assert_eq!(why(probe(address, QUESTION, Sources::default(), HASTY).await), "timeout after 150ms");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_or_stalls_does_not_matter() {
        let stalls = ask_one_that_says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", HASTY * 10).await;
        assert!(matches!(stalls, Outcome::Answered(_)), "{stalls:?}");
        let (address, server) = serve(async |mut stream: TcpStream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            flood(&mut stream, &[b'x'; 4096]).await;
        })
        .await;
        let endless = probe(address, QUESTION, Sources::default(), PATIENT).await;
        assert!(matches!(endless, Outcome::Answered(_)), "{endless:?}");
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
            let (address, server) = serve(async move |mut stream: TcpStream| {
                stream.write_all(start.as_bytes()).await.ok();
                flood(&mut stream, chunk.as_bytes()).await;
            })
            .await;
            assert_eq!(why(probe(address, QUESTION, Sources::default(), PATIENT).await), wanted, "{start}{chunk}");
            server.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_path_or_host_that_cannot_be_sent_is_told_to_the_operator() {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        for question in [Question { path: "/a b", ..QUESTION }, Question { host: "a\r\nx: y", ..QUESTION }] {
            match probe(nowhere, question, Sources::default(), PATIENT).await {
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
        assert_eq!(why(probe(address, QUESTION, Sources::default(), PATIENT).await), "connect: refused");
    }
}
