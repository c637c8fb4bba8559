//! The admin API over TCP: who is let in, and to do what.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use nigh::admin::{Access, Audit, Client, Role, Server, make_token};
use nigh::config::{AdminConfig, Anonymous, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;

fn node() -> Arc<Fake> {
    Fake::new(SigningKey::from_bytes(&[5; 32]))
}

fn anonymous() -> Access {
    Access::open(&AdminConfig { anonymous: Anonymous::Read, ..AdminConfig::default() }).unwrap()
}

fn write(path: &Path, text: &str, mode: u32) {
    // As a whole, or a node could read the first half.
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(new, path).unwrap();
}

/// An authority, and a certificate of its for 127.0.0.1 and localhost, in files.
fn certify(folder: &Path) -> TlsFiles {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = authority.self_signed(&authority_key).unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority, &authority_key).unwrap();
    let files = TlsFiles { certificate: folder.join("node.pem"), key: folder.join("node.key") };
    write(&folder.join("ca.pem"), &authority.pem(), 0o644);
    write(&files.certificate, &certificate.pem(), 0o644);
    write(&files.key, &key.serialize_pem(), 0o640);
    files
}

/// Asks until the answer is as wanted: files that change are looked at once a second.
async fn until(mut wanted: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !wanted().await {
        assert!(std::time::Instant::now() < deadline, "it never came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The answer to a request with these fields, as it came.
pub async fn exchange(address: SocketAddr, request: &str, fields: &str) -> String {
    let host = if fields.contains("Host:") { String::new() } else { format!("Host: {address}\r\n") };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("{request} HTTP/1.1\r\n{host}{fields}Connection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The status, the head and the body of the answer to a request with these fields.
async fn ask(address: SocketAddr, request: &str, fields: &str) -> (u16, String, Value) {
    let answer = exchange(address, request, fields).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn whoever_shows_no_token_reads_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let node = node();
    let (address, _stop) = node.serve_tcp(folder.path(), anonymous()).await;
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
    let (address, _stop) = node().serve_tcp(folder.path(), anonymous()).await;
    for fields in ["Host: evil.example\r\n", "Origin: http://evil.example\r\n", "Origin: null\r\n"] {
        let (status, _, body) = ask(address, "GET /v1/status", fields).await;
        assert_eq!(status, 403, "{fields}");
        assert!(body["hint"].is_string(), "{body}");
    }
    assert_eq!(ask(address, "GET /v1/status", &format!("Origin: http://{address}\r\n")).await.0, 200);
    assert_eq!(ask(address, "GET /v1/status", "Host: localhost:8053\r\n").await.0, 200);
}

#[tokio::test]
async fn a_token_lets_in_as_far_as_its_role_goes_and_no_longer_than_it_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    let (reader, read_line) = make_token("grafana", Role::Read).unwrap();
    let (writer, write_line) = make_token("ops", Role::Write).unwrap();
    write(&path, &format!("{read_line}\n{write_line}\n"), 0o640);
    // Who shows a wrong token is refused, also where one who shows none may read.
    let config = AdminConfig { tokens: Some(path.clone()), anonymous: Anonymous::Read, ..AdminConfig::default() };
    let node = node();
    let access = Access::open(&config).unwrap();
    let (address, _stop) = node.serve_tcp(folder.path(), access.clone()).await;
    let get = async |token: &str| ask(address, "GET /v1/status", &format!("Authorization: Bearer {token}\r\n")).await.0;
    let drain =
        async |token: &str| ask(address, "POST /v1/drain", &format!("Authorization: Bearer {token}\r\n")).await.0;
    assert_eq!((get(&reader).await, get(&writer).await, get("nigh_wrong").await), (200, 200, 401));
    assert_eq!((drain(&reader).await, drain("nigh_wrong").await), (403, 401));
    assert!(!node.draining.load(Ordering::Relaxed));
    assert_eq!(drain(&writer).await, 202);
    assert!(node.draining.load(Ordering::Relaxed));

    write(&path, &format!("{write_line}\n"), 0o640);
    until(async || get(&reader).await == 401).await;
    // A mistake in the file changes nothing, and is a warning while it is there.
    assert_eq!(access.warnings().next(), None);
    write(&path, "nonsense", 0o640);
    until(async || access.warnings().any(|why| why.contains("admin.tokens") && why.contains("stays in use"))).await;
    assert_eq!(get(&writer).await, 200);
    write(&path, &format!("{write_line}\n"), 0o640);
    until(async || access.warnings().next().is_none()).await;
}

#[tokio::test]
async fn tls_with_a_token_and_a_renewed_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, token_file) = (folder.path().join("tokens"), folder.path().join("ops.token"));
    let (token, line) = make_token("ops", Role::Write).unwrap();
    write(&tokens, &line, 0o600);
    write(&token_file, &format!("{}\n", &*token), 0o600);
    let config = AdminConfig { tokens: Some(tokens), tls: Some(certify(folder.path())), ..AdminConfig::default() };
    let (address, _stop) = node().serve_tcp(folder.path(), Access::open(&config).unwrap()).await;
    let ca = folder.path().join("ca.pem");
    let url = format!("https://{address}");
    let get = async |client: Client| client.get::<Value>("status").await.map_err(|error| error.to_string());

    let client = Client::at(&url, Some(&token_file), Some(&ca)).unwrap();
    assert_eq!(get(client.clone()).await.unwrap()["node"]["name"], "fra");
    client.drain().await.unwrap();
    let by_name = Client::at(&format!("https://localhost:{}", address.port()), Some(&token_file), Some(&ca)).unwrap();
    get(by_name).await.unwrap();
    let refused = get(Client::at(&url, None, Some(&ca)).unwrap()).await.unwrap_err();
    assert_eq!(refused, "a token is needed; name the file that has it with --token-file or NIGH_TOKEN_FILE");
    let in_clear = get(Client::at(&format!("http://{address}"), None, None).unwrap()).await;
    assert!(in_clear.unwrap_err().starts_with("cannot talk to the node on http://"));

    // Another authority has certified the node anew; who trusts only the old one is told.
    let old = folder.path().join("old.pem");
    fs::rename(&ca, &old).unwrap();
    certify(folder.path());
    let trusting_old = Client::at(&url, Some(&token_file), Some(&old)).unwrap();
    until(async || get(trusting_old.clone()).await.is_err()).await;
    let untrusted = get(trusting_old).await.unwrap_err();
    assert!(untrusted.contains("is not trusted: its certificate is not valid"), "{untrusted}");
    get(Client::at(&url, Some(&token_file), Some(&ca)).unwrap()).await.unwrap();
}

#[tokio::test]
async fn files_that_are_wrong_keep_the_node_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let files = certify(folder.path());
    let open = |config: AdminConfig| Access::open(&config).unwrap_err().to_string();
    let tls = |files: &TlsFiles| AdminConfig { tls: Some(files.clone()), ..AdminConfig::default() };
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(open(tls(&files)).contains("mode 0644 lets others use this file; if nobody has, run: chmod g-w,o= "));
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    let swapped = TlsFiles { certificate: files.key.clone(), key: files.key.clone() };
    assert!(open(tls(&swapped)).contains("no certificate in PEM"), "{}", open(tls(&swapped)));
    let other = tempfile::tempdir().unwrap();
    let mixed = TlsFiles { key: certify(other.path()).key, ..files };
    assert!(open(tls(&mixed)).contains("does not go with the key"), "{}", open(tls(&mixed)));
    let tokens = folder.path().join("tokens");
    write(&tokens, "read a\n\nall b 00\n", 0o600);
    let said = open(AdminConfig { tokens: Some(tokens.clone()), ..AdminConfig::default() });
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.starts_with(&format!("{}:1: role, name and SHA-256", tokens.display())), "{said}");
}

#[tokio::test]
async fn a_connection_that_asks_nothing_keeps_no_node_from_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let server = nigh::admin::Server::bind(&folder.path().join("nigh.sock")).unwrap();
    let serving = tokio::spawn(server.with_tcp(vec![listener], anonymous()).serve(node(), stop.clone()));
    let mut idle = TcpStream::connect(address).await.unwrap();
    let half = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /v1/sta").await.unwrap();
    ask(address, "GET /v1/status", "").await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(15), serving).await.expect("it waited for them").unwrap().unwrap();
    drop(half);
}

#[tokio::test]
async fn edits_are_written_down_and_so_are_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, log) = (folder.path().join("tokens"), folder.path().join("audit"));
    let (reader, read_line) = make_token("grafana", Role::Read).unwrap();
    let (writer, write_line) = make_token("ops", Role::Write).unwrap();
    write(&tokens, &format!("{read_line}\n{write_line}\n"), 0o600);
    let config = AdminConfig { tokens: Some(tokens), ..AdminConfig::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = folder.path().join("nigh.sock");
    let server = Server::bind(&socket).unwrap().with_tcp(vec![listener], Access::open(&config).unwrap());
    let server = server.with_audit(Arc::new(Audit::to_file("fra", &log).unwrap()));
    tokio::spawn(server.serve(node(), CancellationToken::new()));

    let pages = crate::pages(&crate::operator(), 2);
    let (_, token_file) = (write(&folder.path().join("t"), &writer, 0o600), folder.path().join("t"));
    Client::at(&format!("http://{address}"), Some(&token_file), None).unwrap().submit(&pages).await.unwrap();
    Client::new(&socket).drain().await.unwrap();
    let strange = crate::pages(&SigningKey::from_bytes(&[6; 32]), 1);
    Client::new(&socket).submit(&strange).await.unwrap_err();
    for token in ["", &reader, "nigh_wrong"] {
        ask(address, "POST /v1/drain", &format!("Authorization: Bearer {token}\r\n")).await;
    }
    ask(address, "GET /v1/status", "").await;
    ask(address, "POST /v1/drain", "Host: evil.example\r\n").await;

    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let short: Vec<String> = lines
        .iter()
        .map(|line| {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            [&line["action"], &line["outcome"], &line["by"]["kind"], &line["error"]].map(text).join(" | ")
        })
        .collect();
    let expected = [
        "submit | done | token | -",
        "drain | done | socket | -",
        &format!(
            "submit | refused | socket | signed by {}, a key that mesh {} has not appointed for this; `nigh operator list` has \
             those that it has",
            nigh::identity::public(&SigningKey::from_bytes(&[6; 32])),
            nigh::identity::public(&crate::operator())
        ),
        "POST /v1/drain | refused | anonymous | this token is none of this node's",
        "POST /v1/drain | refused | token | this needs the role \"write\"",
        "POST /v1/drain | refused | anonymous | this token is none of this node's",
        "POST /v1/drain | refused | anonymous | \"evil.example\" is no name of this node's admin API",
    ];
    assert_eq!(short, expected, "{text}");
    let submit = &lines[0];
    assert_eq!((&submit["node"], &submit["by"]["name"], &submit["records"]), (&"fra".into(), &"ops".into(), &4.into()));
    let set: Vec<&str> = submit["set"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(set.contains(&"zone/lb.example.com") && set.contains(&"server/s0.lb.example.com/1"), "{set:?}");
    assert_eq!(submit["signers"][0], nigh::identity::public(&crate::operator()).to_string());
    assert!(submit["from"].as_str().unwrap().starts_with("127.0.0.1:") && submit["accepted"] == 4, "{submit}");
    assert!(humantime::parse_rfc3339(submit["time"].as_str().unwrap()).is_ok());
    assert_eq!(lines[1]["by"]["pid"], std::process::id());
}
