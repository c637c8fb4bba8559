//! Traces of real nodes, received over HTTP and decoded by the protocol's own crate: what an edit, a join, a change of verdict
//! and a round of discovery look like to a collector, and that a collector that is not there changes nothing.
//!
//! `cargo test -p nigh --features otlp --test telemetry`

#![cfg(all(target_os = "linux", feature = "otlp"))]
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "processes/dns.rs"]
mod dns;
#[allow(dead_code)]
#[path = "processes/fleet.rs"]
mod fleet;
#[allow(dead_code)]
#[path = "processes/ground.rs"]
mod ground;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Outcome;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, Instant};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use dns::ask;
use fleet::{Fleet, Process, ensure, until};

/// The trace that an edit is a part of, and who began it (the example of Trace Context).
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const CATALOGUE: &str = "[[zone]]\nname = \"lb.test\"\n";
/// A node's own time for its last spans, and what stopping takes otherwise.
const STOPPED_WITHIN: Duration = Duration::from_secs(8);

/// A collector: takes OTLP over HTTP, and keeps it.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    resource: Arc<Mutex<BTreeMap<String, String>>>,
    /// What it says in place of taking spans.
    refuses: Arc<Mutex<Option<StatusCode>>>,
    /// What must stand in the header `authorization`.
    wants: Arc<Mutex<Option<&'static str>>>,
}

impl Collector {
    /// Starts one; gives the URL for the configuration.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, url)
    }

    /// Starts one behind TLS, for `localhost`; gives its URL, and its authority in PEM.
    async fn start_with_tls() -> (Self, String, String) {
        let (collector, plain) = Self::start().await;
        let plain = plain.strip_prefix("http://").unwrap().to_owned();
        let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signed.key_pair.serialize_der()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![signed.cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, plain) = (acceptor.clone(), plain.clone());
                tokio::spawn(async move {
                    let mut inner = TcpStream::connect(plain).await?;
                    tokio::io::copy_bidirectional(&mut acceptor.accept(stream).await?, &mut inner).await
                });
            }
        });
        (collector, url, signed.cert.pem())
    }

    /// The first span of this name for which this holds.
    async fn span(&self, name: &str, holds: impl Fn(&Span) -> bool) -> Span {
        until(name, async || {
            let spans = self.spans.lock().unwrap();
            let found = spans.iter().find(|span| span.name == name && holds(span)).cloned();
            found.ok_or_else(|| {
                spans.iter().map(|span| format!("{} {:?}\n", span.name, texts(&span.attributes))).collect()
            })
        })
        .await
    }

    fn count(&self) -> usize {
        self.spans.lock().unwrap().len()
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    if let Some(status) = *collector.refuses.lock().unwrap() {
        return Err(status);
    }
    assert_eq!(headers["content-type"], "application/x-protobuf");
    if let Some(wanted) = *collector.wants.lock().unwrap()
        && headers.get("authorization").is_none_or(|said| said != wanted)
    {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    for of_resource in request.resource_spans {
        *collector.resource.lock().unwrap() = texts(&of_resource.resource.unwrap().attributes);
        let spans = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
        collector.spans.lock().unwrap().extend(spans);
    }
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let value = |pair: &KeyValue| pair.value.as_ref().and_then(|any| any.value.as_ref()).map(text).unwrap_or_default();
    attributes.iter().map(|pair| (pair.key.clone(), value(pair))).collect()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn took(span: &Span) -> Duration {
    Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano)
}

/// A node with a certificate that sends its traces there.
fn start(fleet: &Fleet, url: &str, more: &str) -> Process {
    fleet.certify(0, fleet::NAMES[0], 3600).unwrap();
    let config = fleet.config(0, &fleet.settings(0));
    fleet.start_with(0, &format!("{config}[telemetry]\notlp = \"{url}\"\n{more}"))
}

async fn ready(fleet: &Fleet) {
    until("it can be asked", async || fleet.lines(0, "peers").await.map(drop)).await;
}

async fn answers(fleet: &Fleet, name: &str) {
    until("it answers", async || {
        let asked = ask(fleet.ground.resolver(0), fleet.ground.dns(0), name).await;
        asked.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

/// Applies a catalogue as part of [`TRACE`].
async fn apply(fleet: &Fleet, catalogue: &str) -> std::process::Output {
    let file = fleet.ground.file("services.toml");
    std::fs::write(&file, catalogue).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_nigh"));
    command.arg("apply").arg(file).arg("--key").arg(fleet.ground.file("operator.key"));
    command.env("NIGH_SOCKET", fleet.socket(0)).env("TRACEPARENT", format!("00-{TRACE}-{PARENT}-01"));
    command.kill_on_drop(true).output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_sees_an_edit_within_its_trace_and_what_came_of_it() {
    let (collector, url) = Collector::start().await;
    let fleet = Fleet::new();
    let origin = TcpListener::bind(fleet.ground.origin(0)).await.unwrap();
    let mut node = start(&fleet, &url, "[resolvers]\naddresses = [\"127.0.0.1:9\"]\n");
    ready(&fleet).await;
    let catalogue = format!(
        "{CATALOGUE}[[service]]\nname = \"www.lb.test\"\n[service.probe]\nkind = \"tcp\"\nport = {port}\ninterval = \"200ms\"\n\
         timeout = \"200ms\"\nrise = 1\n[[service.server]]\nid = \"one\"\naddress = \"{ip}\"\n",
        ip = fleet.ground.origin(0).ip(),
        port = fleet.ground.origin(0).port(),
    );
    let applied = apply(&fleet, &catalogue).await;
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));

    let edit = collector.span("edit", |span| hex(&span.trace_id) == TRACE).await;
    assert_eq!((hex(&edit.parent_span_id), edit.kind), (PARENT.into(), SpanKind::Server as i32));
    let said = texts(&edit.attributes);
    assert_eq!((&said["records"], &said["accepted"]), (&"3".into(), &"3".into()), "{said:?}");
    let number =
        |key: &str| edit.attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone()?.value);
    assert_eq!(number("records"), Some(Value::IntValue(3)), "a number, no text");
    for part in ["check", "replicate", "take effect"] {
        let span = collector.span(part, |span| span.trace_id == edit.trace_id).await;
        assert_eq!(hex(&span.parent_span_id), hex(&edit.span_id), "{part}");
        assert!(took(&span) < fleet::DEADLINE, "{part}: {:?}", took(&span));
        if part == "take effect" {
            let snapshot: u64 = texts(&span.attributes)["snapshot"].parse().unwrap();
            assert!(snapshot > 0);
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        }
    }

    let verdict = collector.span("verdict", |span| texts(&span.attributes)["to"] == "Up").await;
    let said = texts(&verdict.attributes);
    assert_eq!(
        (&said["service"], &said["server"], &said["from"]),
        (&"www.lb.test".into(), &"one".into(), &"Unknown".into())
    );
    let told = collector.span("tell the mesh", |span| span.trace_id == verdict.trace_id).await;
    assert_eq!(told.parent_span_id, verdict.span_id);
    drop(origin);
    collector.span("verdict", |span| texts(&span.attributes)["to"] == "Down").await;

    answers(&fleet, "lb.test").await;
    let join = collector.span("join", |_| true).await;
    let entered = collector.span("enter the mesh", |_| true).await;
    assert_eq!((join.trace_id, join.span_id), (entered.trace_id, entered.parent_span_id));

    // Nobody is at port 9, so it is an error, and says so.
    let round = collector.span("discovery round", |_| true).await;
    assert_eq!(texts(&round.attributes)["resolver"], "127.0.0.1:9");
    assert_eq!(round.status.unwrap().code, Outcome::Error as i32);

    let resource = collector.resource.lock().unwrap().clone();
    assert_eq!((&resource["service.name"], &resource["service.instance.id"]), (&"nigh".into(), &"ams".into()));
    // Log lines are as they were.
    assert!(!fleet.log(0).contains("take effect") && !fleet.log(0).contains("edit{"), "{}", fleet.log(0));

    // What waits in the queue is sent before the end.
    let before = collector.count();
    assert!(apply(&fleet, CATALOGUE).await.status.success());
    node.terminate();
    assert_eq!(node.exit_code().await, 0);
    let spans = collector.spans.lock().unwrap();
    assert!(spans[before..].iter().any(|span| span.name == "edit"), "the last edit was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_is_refused_is_a_span_that_failed() {
    let (collector, url) = Collector::start().await;
    let fleet = Fleet::new();
    let _node = start(&fleet, &url, "");
    ready(&fleet).await;
    // Signed by a key that is nobody's.
    let stranger = Fleet::new();
    std::fs::copy(stranger.ground.file("operator.key"), fleet.ground.file("operator.key")).unwrap();
    let pages = {
        let key = nigh::identity::load(&fleet.ground.file("operator.key"), nigh::identity::Kind::Operator).unwrap();
        let id = nigh::identity::public(&key);
        let certificate = nigh_gossip::Certificate {
            node: id,
            name: "eve".into(),
            serial: 1,
            prefixes: Vec::new(),
            not_after: u64::MAX,
        };
        vec![certificate.sign(&key, nigh::catalogue::hlc::unix_millis(), 0)]
    };
    let client = nigh::admin::Client::new(&fleet.socket(0));
    let refused = client.submit(&pages).await.unwrap_err().to_string();
    let edit = collector.span("edit", |_| true).await;
    let status = edit.status.unwrap();
    assert_eq!(status.code, Outcome::Error as i32);
    assert!(!status.message.is_empty() && refused.contains(&status.message), "{:?}, {refused}", status.message);
    assert!(edit.parent_span_id.is_empty(), "nobody named a trace");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_so_many_traces_one_is_sent_but_of_those_that_others_began_all() {
    let (collector, url) = Collector::start().await;
    let fleet = Fleet::new();
    let mut node = start(&fleet, &url, "sample = 1000000\n");
    ready(&fleet).await;
    assert!(apply(&fleet, CATALOGUE).await.status.success());
    collector.span("take effect", |span| hex(&span.trace_id) == TRACE).await;
    node.terminate();
    assert_eq!(node.exit_code().await, 0);
    let spans = collector.spans.lock().unwrap();
    let others: Vec<_> = spans.iter().filter(|span| hex(&span.trace_id) != TRACE).map(|span| &span.name).collect();
    assert!(others.is_empty(), "{others:?}");
}

/// Everything is as without it, but for one warning; and the node's end is not held up.
async fn changes_nothing(fleet: &Fleet, mut node: Process, obstacle: &str) {
    ready(fleet).await;
    assert!(apply(fleet, CATALOGUE).await.status.success());
    answers(fleet, "lb.test").await;
    let warning = "traces do not reach the collector";
    until("the node says so", async || {
        let status = fleet.read(0, &["status"]).await?;
        let warnings = status["warnings"].to_string();
        ensure(warnings.contains(warning) && warnings.contains(obstacle), || warnings)
    })
    .await;
    for n in 0..3 {
        assert!(apply(fleet, &format!("{CATALOGUE}[[zone]]\nname = \"n{n}.test\"\n")).await.status.success());
    }
    answers(fleet, "n2.test").await;
    let asked = Instant::now();
    node.terminate();
    assert_eq!(node.exit_code().await, 0);
    assert!(asked.elapsed() < STOPPED_WITHIN, "{:?}", asked.elapsed());
    let log = fleet.log(0);
    assert_eq!(log.matches(warning).count(), 1, "said once: {log}");
    assert!(log.contains("spans that no collector took"), "counted: {log}");
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_changes_nothing() {
    let fleet = Fleet::new();
    // The lock of this test's block listens at another port, so nobody is at this one.
    let url = format!("http://{}", fleet.ground.origin(7));
    changes_nothing(&fleet, start(&fleet, &url, ""), "refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_changes_nothing() {
    let fleet = Fleet::new();
    // The kernel takes connections, nobody reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    changes_nothing(&fleet, start(&fleet, &url, ""), "no answer within").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_behind_tls_gets_the_header_that_it_wants() {
    let (collector, url, authority) = Collector::start_with_tls().await;
    *collector.wants.lock().unwrap() = Some("Bearer a b");
    let fleet = Fleet::new();
    fleet.certify(0, fleet::NAMES[0], 3600).unwrap();
    let ca = fleet.ground.file("collector-ca.pem");
    std::fs::write(&ca, authority).unwrap();
    let config = fleet.config(0, &fleet.settings(0));
    let trusting = format!("{config}[telemetry]\notlp = \"{url}\"\nca = \"{}\"\n", ca.display());
    let variables = [("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20a%20b")];
    let mut node = fleet.start_amid(fleet::NAMES[0], &trusting, &variables);
    ready(&fleet).await;
    assert!(apply(&fleet, CATALOGUE).await.status.success());
    collector.span("edit", |span| hex(&span.trace_id) == TRACE).await;
    node.terminate();
    assert_eq!(node.exit_code().await, 0);
    assert!(!fleet.log(0).contains("Bearer"), "a secret in the log: {}", fleet.log(0));

    let refused = fleet.start_amid(fleet::NAMES[0], &trusting, &[]);
    changes_nothing(&fleet, refused, "401").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_whose_authority_nobody_knows_gets_nothing() {
    let (collector, url, _) = Collector::start_with_tls().await;
    let fleet = Fleet::new();
    changes_nothing(&fleet, start(&fleet, &url, ""), "certificate").await;
    assert_eq!(collector.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_comes_back_is_sent_what_is_new() {
    let (collector, url) = Collector::start().await;
    *collector.refuses.lock().unwrap() = Some(StatusCode::SERVICE_UNAVAILABLE);
    let fleet = Fleet::new();
    let _node = start(&fleet, &url, "");
    ready(&fleet).await;
    until("the node says that they are refused", async || {
        let log = fleet.log(0);
        ensure(log.contains("traces do not reach the collector"), || log)
    })
    .await;
    *collector.refuses.lock().unwrap() = None;
    assert!(apply(&fleet, CATALOGUE).await.status.success());
    collector.span("edit", |span| hex(&span.trace_id) == TRACE).await;
    until("all is well, and said so", async || {
        let status = fleet.read(0, &["status"]).await?;
        let gone = !status["warnings"].to_string().contains("collector");
        ensure(gone && fleet.log(0).contains("traces reach the collector again"), || fleet.log(0))
    })
    .await;
}
