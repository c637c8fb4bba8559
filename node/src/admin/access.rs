//! Who may do what.
//!
//! ```text
//!   Unix socket ─▶ who may open the file may do everything
//!   TCP ─▶ Host, Origin ─▶ role ─▶ GET: read, POST: write
//! ```
//!
//! A browser on an operator's machine reaches loopback, and runs what any page of the web tells it. A page whose name was
//! made to point to 127.0.0.1 (DNS rebinding) sends that name as Host, and a page of another site its own as Origin: both
//! are refused, so that only the node's own pages ask the node anything.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;

use super::connection::Peer;
use super::{Refusal, RefusalKind};

/// Whom the TCP listener lets in.
#[derive(Debug, Default)]
pub struct Access {
    anonymous: bool,
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ask.
    Read,
    /// And edit.
    Write,
}

impl Access {
    /// Whether those may read who show no token.
    pub fn new(anonymous: bool) -> Self {
        Self { anonymous }
    }

    /// The role of whoever asks.
    fn role(&self, peer: Peer) -> Result<Role, Refusal> {
        match peer {
            Peer::Socket { .. } => Ok(Role::Write),
            Peer::Tcp(_) if self.anonymous => Ok(Role::Read),
            Peer::Tcp(_) => Err(Refusal {
                kind: RefusalKind::Unknown,
                error: "a token is needed".into(),
                hint: "send it as in Authorization: Bearer TOKEN".into(),
            }),
        }
    }
}

/// Refuses what a page of another site makes a browser send.
pub(super) async fn same_site(
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if let Peer::Tcp(_) = peer {
        check_site(request.headers())?;
    }
    Ok(next.run(request).await)
}

fn check_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let forbidden = |error: String, hint: &str| Refusal { kind: RefusalKind::Forbidden, error, hint: hint.into() };
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    if !is_mine(host) {
        return Err(forbidden(
            format!("{host:?} is no name of this node's admin API"),
            "ask for it by address, or as localhost",
        ));
    }
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let origin = text(header::ORIGIN).unwrap_or_default();
    match origin.split_once("://") {
        Some(("http" | "https", site)) if site.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(forbidden(format!("{origin} is another site"), "only the node's own pages may use it from a browser")),
    }
}

/// An address is nobody's to redirect, and so is `localhost`.
fn is_mine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => return rest.split_once(']').is_some_and(|(ip, _)| ip.parse::<Ipv6Addr>().is_ok()),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Asks for a role that goes with the method.
pub(super) async fn allowed(
    State(access): State<Arc<Access>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let needed = if matches!(*request.method(), Method::GET | Method::HEAD) { Role::Read } else { Role::Write };
    if access.role(peer)? < needed {
        return Err(Refusal {
            kind: RefusalKind::Forbidden,
            error: "this needs the role \"write\"".into(),
            hint: "use the Unix socket".into(),
        });
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_nodes_own_pages_may_ask() {
        let site = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            check_site(&headers).map_err(|refusal| refusal.error)
        };
        for host in ["127.0.0.1:8053", "localhost:8053", "LOCALHOST", "[::1]:8053", "192.0.2.1"] {
            assert_eq!(site(host, None), Ok(()), "{host}");
            assert_eq!(site(host, Some(&format!("http://{host}"))), Ok(()), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:8053", "127.0.0.1.evil.example", "localhost.evil.example", "[evil]"]
        {
            assert!(site(host, None).is_err(), "{host}");
        }
        for origin in
            ["null", "http://evil.example", "http://127.0.0.1:80", "http://localhost:8053", "ws://127.0.0.1:8053"]
        {
            assert!(site("127.0.0.1:8053", Some(origin)).is_err(), "{origin}");
        }
    }
}
