//! One GET: the time to the first byte of its answer, and whether the answer is a good one.
//!
//! A good answer has a complete head within the timeout, with a status in the range. The body counts only where
//! [`HttpSpec::body`] wants a text in it, which must come within [`super::MAX_ANSWER`] octets and the timeout; else it is read
//! so that a small answer ends properly at the server, and dropped. Redirects are not followed: the probe asks *this*
//! server.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Method, Request, Uri, Version};

use super::{AGENT, Body, Connection, Head, Web, failed};
use crate::measure::outcome::{Attempt, Detail, Failure, Outcome, Seen};
use crate::measure::target::{HttpSpec, Probe};
use crate::measure::tcp::Sources;

/// Where ORCA's load reports stand in an answer.
const LOAD: &str = "endpoint-load-metrics";
/// The longest load report kept: some thirty figures.
const MAX_LOAD: usize = 1024;

/// Asks once.
pub async fn probe(web: &Web, probe: &Probe, spec: &HttpSpec, sources: Sources, timeout: Duration) -> Attempt {
    let request = match request(spec) {
        Ok(request) => request,
        Err(error) => {
            let why = format!("not probed: check probe.path and probe.host: {}", Detail::new(error));
            return Outcome::NotMade(why).into();
        }
    };
    // Set when the answer has been judged; only the rest of a body is left to the timeout then.
    let decided = OnceLock::new();
    let whole = async {
        let server = SocketAddr::new(probe.address, probe.spec.port);
        if let Some(connection) = web.take(probe, &spec.web) {
            go(web, probe, spec, connection, request.clone(), &decided, false).await;
            if decided.get().is_some() {
                return;
            }
        }
        match web.open(server, &spec.web, sources, timeout).await {
            Ok(connection) => go(web, probe, spec, connection, request, &decided, true).await,
            Err(outcome) => drop(decided.set(outcome.into())),
        }
    };
    let _in_time = tokio::time::timeout(timeout, whole).await;
    decided.into_inner().unwrap_or_else(|| Outcome::Failed(Failure::Timeout(timeout)).into())
}

fn request(spec: &HttpSpec) -> Result<Request<Body>, hyper::http::Error> {
    let builder = Request::builder().method(Method::GET).header(USER_AGENT, AGENT).header(ACCEPT, "*/*");
    let builder = if spec.web.http2 {
        let scheme = if spec.web.tls.is_some() { "https" } else { "http" };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(spec.web.host.as_str())
            .path_and_query(spec.path.as_str())
            .build()?;
        builder.version(Version::HTTP_2).uri(uri)
    } else {
        let builder = builder.uri(&spec.path).header(HOST, &spec.web.host);
        if spec.web.reuse { builder } else { builder.header(CONNECTION, "close") }
    };
    builder.body(Full::default())
}

/// One exchange. That nothing came over a connection that was kept decides nothing.
async fn go(
    web: &Web,
    probe: &Probe,
    spec: &HttpSpec,
    mut connection: Connection,
    request: Request<Body>,
    decided: &OnceLock<Attempt>,
    fresh: bool,
) {
    let certificate_ends = connection.certificate_ends;
    let whole = connection
        .exchange(request, async |head| {
            let Head { response, took } = match head {
                Ok(head) => head,
                Err(error) => {
                    if fresh {
                        decided.get_or_init(|| failed(&error).into());
                    }
                    return false;
                }
            };
            let load = response.headers().get(LOAD).and_then(|value| value.to_str().ok());
            let load = load.filter(|text| text.len() <= MAX_LOAD).map(str::to_owned);
            let seen = Seen { certificate_ends, load };
            let decide = |outcome| drop(decided.set(Attempt { outcome, seen: seen.clone() }));
            let got = response.status().as_u16();
            let mut body = response.into_body();
            if !(spec.expect.0..=spec.expect.1).contains(&got) {
                decide(Outcome::Failed(Failure::Status { got, wanted: spec.expect }));
            } else if let Some(wanted) = &spec.body {
                decide(match holds(&mut body, wanted).await {
                    Ok(true) => Outcome::Answered(took),
                    Ok(false) => Outcome::Failed(Failure::Body(wanted.clone())),
                    Err(error) => failed(&error),
                });
            } else {
                decide(Outcome::Answered(took));
            }
            loop {
                match body.frame().await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return false,
                    None => return true,
                }
            }
        })
        .await;
    if whole {
        web.keep(probe, &spec.web, connection);
    }
}

/// Whether a body holds a text; reads no further than that.
async fn holds(body: &mut Incoming, wanted: &str) -> Result<bool, hyper::Error> {
    let wanted = wanted.as_bytes();
    let mut seen: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        // What came before, as far as the text may have begun in it.
        seen.drain(..seen.len().saturating_sub(wanted.len().saturating_sub(1)));
        seen.extend_from_slice(&data);
        if seen.windows(wanted.len().max(1)).any(|window| window == wanted) {
            return Ok(true);
        }
    }
    Ok(wanted.is_empty())
}
