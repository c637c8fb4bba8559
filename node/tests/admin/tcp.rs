//! The admin API over TCP: who is let in, and to do what.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ed25519_dalek::SigningKey;
use nigh::admin::Access;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake::Fake;

fn node() -> Arc<Fake> {
    Fake::new(SigningKey::from_bytes(&[5; 32]))
}

/// The status, the head and the body of the answer to a request with these fields.
async fn ask(address: SocketAddr, request: &str, fields: &str) -> (u16, String, Value) {
    let host = if fields.contains("Host:") { String::new() } else { format!("Host: {address}\r\n") };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("{request} HTTP/1.1\r\n{host}{fields}Connection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn whoever_shows_no_token_reads_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let node = node();
    let (address, _stop) = node.serve_tcp(folder.path(), Access::new(true)).await;
    let (status, _, body) = ask(address, "GET /v1/status", "").await;
    assert_eq!((status, &body["node"]["name"]), (200, &Value::from("fra")));
    for post in ["drain", "catalogue", "preview"] {
        let (status, _, body) = ask(address, &format!("POST /v1/{post}"), "").await;
        assert_eq!((status, &body["error"]), (403, &Value::from("this needs the role \"write\"")), "{post}");
    }
    assert!(!node.draining.load(Ordering::Relaxed));
}

#[tokio::test]
async fn without_a_token_nothing_is_said_unless_the_configuration_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _stop) = node().serve_tcp(folder.path(), Access::default()).await;
    for request in ["GET /v1/status", "GET /metrics", "POST /v1/drain", "HEAD /v1/status"] {
        let (status, head, _) = ask(address, request, "").await;
        assert_eq!(status, 401, "{request}");
        assert!(head.contains("www-authenticate: Bearer"), "{head}");
    }
    assert_eq!(ask(address, "GET /v2/status", "").await.0, 404);
}

#[tokio::test]
async fn pages_of_other_sites_ask_in_vain() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _stop) = node().serve_tcp(folder.path(), Access::new(true)).await;
    for fields in ["Host: evil.example\r\n", "Origin: http://evil.example\r\n", "Origin: null\r\n"] {
        let (status, _, body) = ask(address, "GET /v1/status", fields).await;
        assert_eq!(status, 403, "{fields}");
        assert!(body["hint"].is_string(), "{body}");
    }
    assert_eq!(ask(address, "GET /v1/status", &format!("Origin: http://{address}\r\n")).await.0, 200);
    assert_eq!(ask(address, "GET /v1/status", "Host: localhost:8053\r\n").await.0, 200);
}
