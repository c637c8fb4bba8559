//! Web probes against real servers on loopback: raw ones that misbehave, and hyper with rustls for the rest.
#![allow(clippy::unwrap_used)]

mod hostile;
mod nginx;
mod secure;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::measure::outcome::{Attempt, Outcome};
use crate::measure::target::{GrpcSpec, HttpSpec, ProbeKind, ProbeSpec, TlsSpec};

const PATIENT: Duration = Duration::from_secs(10);
const HASTY: Duration = Duration::from_millis(150);

fn http() -> HttpSpec {
    let web = WebSpec { host: "www.example.com".into(), tls: None, http2: false, reuse: false };
    HttpSpec { web, path: "/healthz?x=1".into(), expect: (200, 399), body: None }
}

fn probe_of(server: SocketAddr, kind: ProbeKind) -> Probe {
    let interval = Duration::from_secs(60);
    let spec = ProbeSpec { kind, port: server.port(), interval, timeout: PATIENT, retries: 0, rise: 1, fall: 1 };
    Probe { address: server.ip(), spec }
}

async fn get(web: &Web, server: SocketAddr, spec: &HttpSpec, timeout: Duration) -> Attempt {
    let probe = probe_of(server, ProbeKind::Http(spec.clone()));
    get::probe(web, &probe, spec, Sources::default(), timeout).await
}

fn why(attempt: Attempt) -> String {
    match attempt.outcome {
        Outcome::Failed(failure) => failure.to_string(),
        Outcome::NotMade(why) => why,
        other => format!("{other:?}"),
    }
}

/// What a good server does with a request: status, fields, body.
type Handler = fn(&Request<Incoming>) -> Response<Full<Bytes>>;

struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

/// A server of HTTP/1.1 or 2, with TLS or without, until it is dropped; `lasts` requests long per connection.
async fn serve(tls: Option<rustls::ServerConfig>, http2: bool, handler: Handler) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let (counted, acceptor) = (connections.clone(), tls.map(|config| TlsAcceptor::from(Arc::new(config))));
    let task = tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let acceptor = acceptor.clone();
            tasks.spawn(async move {
                let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(handler(&request))));
                match acceptor {
                    None => answer(TokioIo::new(stream), http2, service).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            answer(TokioIo::new(stream), http2, service).await;
                        }
                    }
                }
            });
        }
    });
    Server { address, connections, _task: AbortOnDropHandle::new(task) }
}

async fn answer<I, S>(io: I, http2: bool, service: S)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible> + Send,
    S::Future: Send + 'static,
{
    if http2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}

/// A self-signed certificate for a name, and the server that shows it.
fn certificate(
    name: &str,
    alpn: &[&[u8]],
    change: impl FnOnce(&mut CertificateParams),
) -> (String, rustls::ServerConfig) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut params);
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    (certificate.pem(), config)
}
