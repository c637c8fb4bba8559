//! `grpc.health.v1.Health/Check`, as gRPC's health checking protocol has it: one unary call over HTTP/2.
//!
//! The request holds one field (1: the service's name) and the response another (1: the status), so both are read and
//! written by hand here (protobuf's encoding, and gRPC's five octets before each message) instead of by generated code.
//!
//! Good is `SERVING` and nothing else. A trailer with another status than OK says why not: 5 is a service that the server
//! does not know, 12 a server without the health service.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::{Method, Request, Uri, Version};

use super::{AGENT, Body, Connection, Head, Web, failed};
use crate::measure::outcome::{Attempt, Detail, Failure, Outcome, Seen};
use crate::measure::target::{GrpcSpec, Probe};
use crate::measure::tcp::Sources;

/// The largest response read: a status is two octets behind five.
const MAX_RESPONSE: usize = 1024;
/// `SERVING`.
const SERVING: u64 = 1;

/// Asks once.
pub async fn probe(web: &Web, probe: &Probe, spec: &GrpcSpec, sources: Sources, timeout: Duration) -> Attempt {
    let request = match request(spec) {
        Ok(request) => request,
        Err(error) => return Outcome::NotMade(format!("not probed: check probe.host: {}", Detail::new(error))).into(),
    };
    let whole = async {
        if let Some(connection) = web.take(probe, &spec.web)
            && let Ok(attempt) = ask(web, probe, spec, connection, request.clone()).await
        {
            return attempt;
        }
        let server = SocketAddr::new(probe.address, probe.spec.port);
        match web.open(server, &spec.web, sources, timeout).await {
            Ok(connection) => {
                let asked = ask(web, probe, spec, connection, request).await;
                asked.unwrap_or_else(|error| failed(&error).into())
            }
            Err(outcome) => outcome.into(),
        }
    };
    let in_time = tokio::time::timeout(timeout, whole).await;
    in_time.unwrap_or_else(|_| Outcome::Failed(Failure::Timeout(timeout)).into())
}

/// One call. An error: no head came.
async fn ask(
    web: &Web,
    probe: &Probe,
    spec: &GrpcSpec,
    mut connection: Connection,
    request: Request<Body>,
) -> Result<Attempt, hyper::Error> {
    let seen = Seen { certificate_ends: connection.certificate_ends, load: None };
    let outcome = connection
        .exchange(request, async |head: Result<Head, hyper::Error>| -> Result<Outcome, hyper::Error> {
            let Head { response, took } = head?;
            if response.status() != 200 {
                let (got, wanted) = (response.status().as_u16(), (200, 200));
                return Ok(Outcome::Failed(Failure::Status { got, wanted }));
            }
            // A call that failed at once has its status in the head.
            let early = status(response.headers());
            Ok(match early {
                Some(code) if code != 0 => refused(code),
                _ => judge(response.into_body(), took).await,
            })
        })
        .await?;
    if matches!(outcome, Outcome::Answered(_)) {
        web.keep(probe, &spec.web, connection);
    }
    Ok(Attempt { outcome, seen })
}

fn request(spec: &GrpcSpec) -> Result<Request<Body>, hyper::http::Error> {
    let scheme = if spec.web.tls.is_some() { "https" } else { "http" };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(spec.web.host.as_str())
        .path_and_query("/grpc.health.v1.Health/Check")
        .build()?;
    Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, AGENT)
        .body(Full::new(Bytes::from(message(&spec.service))))
}

/// `HealthCheckRequest { service }` behind its flag (not compressed) and length.
fn message(service: &str) -> Vec<u8> {
    let mut body = Vec::new();
    if !service.is_empty() {
        body.push(0x0a); // field 1, length-delimited
        let mut length = service.len();
        while length > 0x7f {
            body.push(0x80 | (length & 0x7f) as u8);
            length >>= 7;
        }
        body.push(length as u8);
        body.extend_from_slice(service.as_bytes());
    }
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(body.len()).unwrap_or_default().to_be_bytes());
    message.extend(body);
    message
}

async fn judge(mut body: Incoming, took: Duration) -> Outcome {
    let (mut bytes, mut trailer) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            Ok(Err(frame)) => trailer = frame.trailers_ref().and_then(status),
            Err(error) => return failed(&error),
        }
        if bytes.len() > MAX_RESPONSE {
            return Failure::of("grpc", "a response that is too long");
        }
    }
    match (trailer, serving(&bytes)) {
        (Some(code), _) if code != 0 => refused(code),
        (_, Some(SERVING)) => Outcome::Answered(took),
        (_, Some(0)) => Failure::of("grpc", "the service says UNKNOWN"),
        (_, Some(2)) => Failure::of("grpc", "the service says NOT_SERVING"),
        (_, Some(3)) => Failure::of("grpc", "the service is not known there"),
        (_, Some(other)) => Failure::of("grpc", format_args!("a status {other} that there is not")),
        (_, None) => Failure::of("grpc", "no answer of the health service"),
    }
}

fn status(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn refused(code: u32) -> Outcome {
    match code {
        5 => Failure::of("grpc", "the service is not known there"),
        7 => Failure::of("grpc", "permission denied"),
        12 => Failure::of("grpc", "the server has no health service"),
        14 => Failure::of("grpc", "unavailable"),
        16 => Failure::of("grpc", "not authenticated"),
        other => Failure::of("grpc", format_args!("refused with status {other}")),
    }
}

/// The status in a `HealthCheckResponse` behind its five octets; an absent field is 0, as protobuf has it.
fn serving(bytes: &[u8]) -> Option<u64> {
    let (head, message) = bytes.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?);
    if head[0] != 0 || usize::try_from(length).ok()? != message.len() {
        return None;
    }
    let (mut at, mut status) = (message, 0);
    while !at.is_empty() {
        let (key, rest) = varint(at)?;
        at = match key & 7 {
            // Field 1 in any other form is no status.
            kind if key >> 3 == 1 && kind != 0 => return None,
            0 => {
                let (value, rest) = varint(rest)?;
                if key >> 3 == 1 {
                    status = value;
                }
                rest
            }
            1 => rest.get(8..)?,
            2 => {
                let (length, rest) = varint(rest)?;
                rest.get(usize::try_from(length).ok()?..)?
            }
            5 => rest.get(4..)?,
            _ => return None,
        };
    }
    Some(status)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_those_of_protobuf() {
        assert_eq!(message(""), [0, 0, 0, 0, 0]);
        assert_eq!(message("abc"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'b', b'c']);
        let long = message(&"x".repeat(200));
        assert_eq!((long.len(), &long[..8]), (208, &[0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01][..]));
    }

    #[test]
    fn a_status_is_found_among_unknown_fields_and_its_absence_is_unknown() {
        for (bytes, wanted) in [
            (&[0, 0, 0, 0, 2, 0x08, 1][..], Some(1)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[0, 0, 0, 0, 6, 0x12, 2, 9, 9, 0x08, 2], Some(2)),
            (&[1, 0, 0, 0, 2, 0x08, 1], None),
            (&[0, 0, 0, 0, 3, 0x08, 1], None),
            (&[0, 0, 0, 0, 2, 0x08, 0x80], None),
            (&[0, 0, 0, 0, 2, 0x0a, 5], None),
            (&[], None),
        ] {
            assert_eq!(serving(bytes), wanted, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            serving(&bytes);
            let mut framed = vec![0];
            framed.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            framed.extend_from_slice(&bytes);
            serving(&framed);
        }
    }
}
