//! A page fetched from inside a namespace: HTTP/1.0, one request a connection, which is all that a check needs.

use crate::lab::{Namespace, netns};
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Largest answer that is read: an origin's page is its name.
const ANSWER_MAX: u64 = 64 << 10;

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Fetches `path` of `host` at an address. Connecting and each read may take as long as `patience`.
pub fn get(from: &Namespace, at: SocketAddr, host: &str, path: &str, patience: Duration) -> Result<Page> {
    let answer = netns::inside(from.name(), || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&at, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    })?
    .with_context(|| format!("fetching http://{at}{path}"))?;
    parse(&answer).with_context(|| format!("fetching http://{at}{path}"))
}

fn parse(answer: &[u8]) -> Result<Page> {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        bail!("no end of the header in {} bytes", answer.len());
    };
    let status = head
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .with_context(|| format!("no status in {:?}", head.lines().next().unwrap_or_default()))?;
    Ok(Page { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Page, parse};

    #[test]
    fn a_page_is_its_status_and_body() {
        let page = parse(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\neu-central-1\n").unwrap();
        assert_eq!(page, Page { status: 200, body: "eu-central-1\n".to_owned() });
        assert_eq!(parse(b"HTTP/1.0 503 No\r\n\r\n").unwrap().status, 503);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for odd in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 \xff\r\n\r\n"] {
            assert!(parse(odd).is_err(), "{odd:?}");
        }
    }
}
