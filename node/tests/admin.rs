//! The admin API over real sockets: what each side says when all is well, and when it is not.

#![allow(clippy::unwrap_used)]

mod described;
mod fake;
#[path = "admin/openapi.rs"]
mod openapi;
#[path = "admin/tcp.rs"]
mod tcp;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use nigh::admin::{Client, ExplainQuery, Server};
use nigh::catalogue::hlc::Clock;
use nigh::catalogue::record::{Identity, Record};
use nigh::catalogue::{Catalogue, Records, plan, sign};
use nigh_gossip::Page;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use fake::Fake;

fn operator() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn pages(key: &SigningKey, servers: usize) -> Vec<Page> {
    let servers: Vec<String> =
        (0..servers).map(|i| format!("{{ id = \"{i}\", address = \"10.0.{}.{}\" }}", i / 250, i % 250 + 1)).collect();
    let services: String = servers
        .chunks(200)
        .enumerate()
        .map(|(i, servers)| {
            format!(
                "[[service]]\nname = \"s{i}.lb.example.com\"\nprobe = {{ kind = \"tcp\", port = 80 }}\nserver = [{}]\n",
                servers.join(", ")
            )
        })
        .collect();
    let file = format!("[[zone]]\nname = \"lb.example.com\"\n{services}");
    let desired = Catalogue::parse(&file).unwrap_or_else(|errors| panic!("{errors}"));
    // A stamp long ago: admitted whatever this machine's clock says.
    sign(&plan(&Records::default(), &desired), key, &mut Clock::default(), 1_000_000).unwrap()
}

/// A request as written, and the status and body of its answer.
async fn raw(path: &Path, request: &str) -> (String, Value) {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn prometheus_gets_its_text_format() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _stop) = Fake::new(operator()).serve(folder.path());
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: nigh\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert_eq!(body, "nigh_dns_queries_total 7\n");
}

#[tokio::test]
async fn every_report_has_the_keys_that_scripts_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _stop) = Fake::new(operator()).serve(folder.path());
    let client = Client::new(&path);
    let get = async |what: &str| client.get::<Value>(what).await.unwrap();

    let mesh_id = nigh::identity::public(&operator()).to_string();
    let status = json!({
        "node": { "name": "fra", "id": "aaaa", "pop": "Frankfurt", "version": "0.1.0", "uptime_s": 3725, "draining": false },
        "mesh": { "id": mesh_id, "members": 3, "alive": 2, "links": 1, "pages": 17, "state_hash": "beef" },
        "dns": { "queries": 12, "referrals": 7, "cut_answers": 5, "errors": 0, "listen": ["192.0.2.7:53"] },
        "admission": { "state": "admitted", "ends": 2_000_000_000, "silenced": false, "equivocations": 0 },
        "catalogue": { "zones": 1, "services": 1, "servers": 2, "records": 3 },
        "snapshot": { "serial": 42 },
        "measuring": { "servers": 2, "up": 1, "down": 1, "unknown": 0, "flapping": 1, "isolated": true },
        "resolvers": [],
        "warnings": ["no claim for 203.0.113.0/24"],
    });
    assert_eq!(get("status").await, status);
    let peer = json!({
        "name": "nyc", "id": "abcdefghijklmnop", "pop": "", "verdict": "dead", "linked": true, "rtt_ms": 81.25,
        "incarnation": 3, "mesh_addresses": ["192.0.2.7:4242"], "dns_addresses": ["192.0.2.7"], "cuts": ["nyc"],
        "equivocated": true, "version": "0.1.0", "self": false,
    });
    assert_eq!(get("peers").await[1], peer);
    let member = json!({
        "name": "nyc", "id": "abcdefghijklmnop", "admission": "ended", "verdict": "absent", "linked": false,
        "prefixes": ["203.0.113.0/24"], "ends": 2_000_000_000, "ends_in_s": -5, "self": false,
    });
    assert_eq!(get("members").await[1], member);
    let proof = json!({
        "name": "nyc", "id": "abcdefghijklmnop", "table": 17, "version": [3, 9], "kept": "AAAA", "lost": "BBBB",
    });
    assert_eq!(get("equivocations").await[0], proof);
    let claim = json!({
        "prefix": "203.0.113.0/24", "node": "fra", "preference": 10, "verdict": "alive", "best": true, "void": false,
        "proven": true, "witness": "nyc", "proof_age_s": 90, "rtt_ms": 1.25,
    });
    assert_eq!(get("claims").await[0], claim);
    let unclaimed = json!({
        "network": "198.51.100.0/24", "questions": 3200, "error": 16, "nearest": "fra", "by": "network",
        "operator": 64500, "country": "DE",
    });
    assert_eq!(get("unclaimed").await[0], unclaimed);
    let row = json!({
        "node": "fra", "service": "www.lb.example.com", "server": "nyc-1", "address": "192.0.2.1", "state": "down",
        "rtt_ms": null, "loss": 0.25, "age_s": 1.5, "why": "", "flapping": false,
    });
    assert_eq!(get("latency").await[1], row);
    let service = json!({
        "name": "www.lb.example.com", "mode": "refer", "ttl": 20, "answers": 1, "spread_ms": 0.0, "choose": "best",
        "objective": "latency", "min_up": 1, "all_down": "last-good", "sticky": "client", "overrides": [],
        "probe": {
            "kind": "tcp", "port": 443, "interval_ms": 2000.0, "timeout_ms": 1000.0, "retries": 0, "rise": 2, "fall": 3,
            "budget": 50,
        },
        "servers": [
            { "id": "fra-1", "address": "192.0.2.1", "weight": 1, "tier": 0, "state": "up", "canary_percent": 0.0, "cost": 0.0 },
            { "id": "nyc-1", "address": "192.0.2.1", "weight": 10, "tier": 0, "state": "up", "canary_percent": 2.5, "cost": 0.0 },
        ],
    });
    assert_eq!(get("services").await, json!([service]));
    let probe = json!({
        "service": "www.lb.example.com", "server": "fra-1", "address": "192.0.2.1", "role": "both", "kind": "https",
        "port": 443, "verify": true, "interval_ms": 20000.0, "pace": "thin", "next_ms": 1500.0, "last": "answered",
        "last_ms": 12.34, "last_age_ms": 250.0, "state": "up", "streak": 40, "needed": 3, "certificate_days": 9,
    });
    assert_eq!(get("probes").await[0], probe);
}

#[tokio::test]
async fn explain_comes_as_text_or_json_and_refusals_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _stop) = Fake::new(operator()).serve(folder.path());
    let client = Client::new(&path);
    let mut query = ExplainQuery {
        name: "www.lb.example.com".into(),
        from: "2001:db8::53".parse().unwrap(),
        rtype: "aaaa".parse().unwrap(),
        at: Some("n y&c".into()),
    };
    assert_eq!(client.explain_text(&query).await.unwrap(), "www.lb.example.com AAAA from 2001:db8::53\n");
    let expected = json!({ "name": "www.lb.example.com", "type": "AAAA", "from": "2001:db8::53", "at": "n y&c" });
    assert_eq!(client.explain_json(&query).await.unwrap(), expected);
    query.name = "www.example.net".into();
    let refused = client.explain_text(&query).await.unwrap_err();
    assert_eq!(refused.to_string(), "www.example.net is in no zone of the mesh; see nigh services");

    for incomplete in ["explain", "explain?name=a&from=b", "explain?name=a&from=::1&type=MXX"] {
        let refused = client.get::<Value>(incomplete).await.unwrap_err().to_string();
        assert!(refused.starts_with("Failed to deserialize query string"), "{refused}");
        assert!(refused.ends_with("; as in /v1/explain?name=www.lb.example.com&from=203.0.113.53&type=A&at=fra"));
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _stop) = Fake::new(operator()).serve(folder.path());
    let close = "Host: nigh\r\nConnection: close\r\n";
    let (status, body) = raw(&path, &format!("GET /v2/status HTTP/1.1\r\n{close}\r\n")).await;
    assert_eq!((status.as_str(), &body["error"]), ("HTTP/1.1 404 Not Found", &json!("nothing at /v2/status")));
    let (status, body) = raw(&path, &format!("DELETE /v1/catalogue HTTP/1.1\r\n{close}\r\n")).await;
    assert_eq!(status, "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(body["error"], "DELETE is not for /v1/catalogue");
    assert_eq!(body["hint"], "GET reads; POST is for /v1/catalogue, /v1/preview, /v1/drain");

    let json_type = "Content-Type: application/json\r\n";
    for body in ["", "{", "{\"pages\":[\"?\"]}", "{\"pages\":[\"AAAA\"]}", "[]"] {
        let length = body.len();
        let request =
            format!("POST /v1/catalogue HTTP/1.1\r\n{close}{json_type}Content-Length: {length}\r\n\r\n{body}");
        let (status, answer) = raw(&path, &request).await;
        assert_eq!(status, "HTTP/1.1 400 Bad Request", "{body}");
        assert!(answer["error"].is_string() && answer["hint"].is_string(), "{answer}");
    }
    let body = " ".repeat((4 << 20) + 1);
    let length = body.len();
    let request = format!("POST /v1/catalogue HTTP/1.1\r\n{close}{json_type}Content-Length: {length}\r\n\r\n{body}");
    let (status, answer) = raw(&path, &request).await;
    assert_eq!(status, "HTTP/1.1 400 Bad Request");
    assert!(answer["error"].as_str().unwrap().contains("length limit exceeded"), "{answer}");
}

#[tokio::test]
async fn records_are_taken_in_batches_and_only_from_the_operator() {
    let folder = tempfile::tempdir().unwrap();
    let node = Fake::new(operator());
    let (path, _stop) = node.serve(folder.path());
    let client = Client::new(&path);

    let many = pages(&operator(), 2500);
    let submitted = client.submit(&many).await.unwrap();
    assert_eq!((submitted.accepted, submitted.superseded), (many.len(), 0));
    assert_eq!(client.catalogue().await.unwrap(), many);

    let stranger = SigningKey::from_bytes(&[6; 32]);
    let refused = client.submit(&pages(&stranger, 1)).await.unwrap_err().to_string();
    assert!(refused.contains("has not appointed for this"), "{refused}");
    let zone = Record { identity: Identity::Zone("b.example.".parse().unwrap()), value: None };
    let ahead = Page::sign(&operator(), zone.identity.key(), u64::MAX / 2, 0, zone.encode());
    let refused = client.submit(&[ahead]).await.unwrap_err().to_string();
    assert!(refused.starts_with("zone/b.example: stamped "), "{refused}");
    assert_eq!(client.catalogue().await.unwrap().len(), many.len());
}

#[tokio::test]
async fn drain_reaches_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let node = Fake::new(operator());
    let (path, _stop) = node.serve(folder.path());
    Client::new(&path).drain().await.unwrap();
    assert!(node.draining.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_socket_left_by_the_dead_is_replaced_and_one_of_the_living_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/nigh.sock");
    std::fs::create_dir(folder.path().join("run")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = Server::bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o660);

    let error = Server::bind(&path).unwrap_err().to_string();
    let expected = format!(
        "{}: another process (pid {}) answers on this admin socket; stop it first, or give this node another \
         admin.socket in its configuration",
        path.display(),
        std::process::id()
    );
    assert_eq!(error.replace('"', ""), expected);
    drop(server);
    assert_eq!(std::fs::read_dir(folder.path().join("run")).unwrap().count(), 0);

    std::fs::write(&path, "mine").unwrap();
    let error = Server::bind(&path).unwrap_err().to_string();
    assert!(error.contains("is there and is no socket"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}

#[tokio::test]
async fn a_client_without_a_node_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nigh.sock");
    let expected = format!("no node listens on {}: is nigh running? try --socket or NIGH_SOCKET", path.display());
    let error = Client::new(&path).get::<Value>("status").await.unwrap_err();
    assert_eq!(error.to_string(), expected);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = Client::new(&path).get::<Value>("status").await.unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_stuck_node_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let node = Arc::new(Fake::stuck_after(operator(), true, Duration::from_millis(20)));
    let (path, _stop) = node.serve(folder.path());
    let error = Client::new(&path).submit(&pages(&operator(), 1)).await.unwrap_err().to_string();
    assert_eq!(error, "no answer within 20ms; the node is overloaded; look at its log and try again");
}

#[tokio::test]
async fn a_crowd_waits_for_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _stop) = Fake::new(operator()).serve(folder.path());
    let mut crowd = Vec::new();
    for _ in 0..64 {
        crowd.push(UnixStream::connect(&path).await.unwrap());
    }
    let client = Client::new(&path);
    let mut waiting = std::pin::pin!(client.get::<Value>("status"));
    // That something does not happen can only be waited for; too short a wait would pass, not fail.
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    crowd.pop();
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_request_under_way_is_finished_when_the_node_stops() {
    let folder = tempfile::tempdir().unwrap();
    let node = Fake::new(operator());
    let path = folder.path().join("nigh.sock");
    let stop = tokio_util::sync::CancellationToken::new();
    let serving = tokio::spawn(Server::bind(&path).unwrap().serve(node, stop.clone()));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /v1/claims HTTP/1.1\r\n").await.unwrap();
    // The server has the connection once it has read something; a second one's answer proves that its turn has come.
    Client::new(&path).get::<Value>("claims").await.unwrap();
    stop.cancel();
    stream.write_all(b"Host: nigh\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    serving.await.unwrap().unwrap();
    assert!(!path.exists());
}
