//! Who may do what.
//!
//! ```text
//!   Unix socket ─▶ who may open the file may do everything
//!   TCP ─▶ Host, Origin ─▶ token or none: role ─▶ GET: read, POST: write
//! ```
//!
//! A browser on an operator's machine reaches loopback, and runs what any page of the web tells it. A page whose name was
//! made to point to 127.0.0.1 (DNS rebinding) sends that name as Host, and a page of another site its own as Origin: both
//! are refused, so that only the node's own pages ask the node anything. Under TLS the certificate says whose the name is.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;

use super::audit::{Audit, Edit};
use super::connection::Peer;
use super::tls::{self, Tls};
use super::tokens::{Role, Tokens};
use super::watched::Watched;
use super::{Refusal, RefusalKind};
use crate::config::{AdminConfig, Anonymous};

/// Of a path that was asked for in vain, so much is written down.
const LONGEST_PATH: usize = 100;

/// What to do where there is no file of tokens.
pub(crate) const NO_TOKENS: &str = "`nigh token NAME --role read` prints a line for it";
/// What to do where there is no certificate or key of the listener.
pub(crate) const NO_TLS: &str = "have both from an authority, or from openssl req -x509 (deploy/monitoring/README.md)";

/// Why the files of the TCP listener are not to be used; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Others may use it.
    #[error("{path}: mode {mode:04o} lets others use this file; if nobody has, run: chmod g-w,o= {path}")]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// What is wrong in the file of tokens, with its lines.
    #[error("{0}")]
    Tokens(String),
    /// No certificate, no key, or the two do not go together.
    #[error("{path}: {problem}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Not there.
    #[error("{path}: no such file; {remedy}")]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// What makes it.
        remedy: &'static str,
    },
    /// The system refused.
    #[error("{path}: cannot be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// Whom the TCP listener lets in. Clones look at the same files.
#[derive(Clone, Debug, Default)]
pub struct Access {
    anonymous: bool,
    tokens: Option<Arc<Watched<Tokens>>>,
    names: Vec<String>,
    tls: Option<Arc<Tls>>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// A process that may open the Unix socket.
    Socket { uid: Option<u32>, pid: Option<i32> },
    /// Whose token came along.
    Holder { name: String, role: Role, from: SocketAddr },
    /// Somebody.
    Anonymous { from: SocketAddr },
}

impl Access {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// [`AccessError`]
    pub fn open(config: &AdminConfig) -> Result<Self, AccessError> {
        let missing = |remedy| {
            move |error| match error {
                AccessError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => {
                    AccessError::Missing { path, remedy }
                }
                other => other,
            }
        };
        let tokens = config.tokens.clone().map(|path| Watched::open(vec![path], Tokens::read)).transpose();
        let tokens = tokens.map_err(missing(NO_TOKENS))?;
        let tls = config.tls.clone().map(|files| tls::open(files.certificate, files.key)).transpose();
        let tls = tls.map_err(missing(NO_TLS))?;
        Ok(Self {
            anonymous: config.anonymous == Anonymous::Read,
            tokens: tokens.map(Arc::new),
            names: config.names.clone(),
            tls: tls.map(Arc::new),
        })
    }

    /// Files that changed and are at fault since: a certificate that was renewed badly is noticed before the old one ends.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let tokens = self.tokens.as_ref().and_then(|tokens| tokens.warning());
        let tls = self.tls.as_ref().and_then(|tls| tls.warning());
        tokens.map(|why| format!("admin.tokens: {why}")).into_iter().chain(tls.map(|why| format!("admin.tls: {why}")))
    }

    /// The server's side of TLS, if the listener speaks it.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Who asks; a token that is wrong is worse than none.
    fn who(&self, peer: Peer, headers: &HeaderMap) -> Result<Who, Refusal> {
        let unknown = |error: &str, hint: &str| {
            Err(Refusal { kind: RefusalKind::Unknown, error: error.into(), hint: hint.into() })
        };
        let from = match peer {
            Peer::Socket { uid, pid } => return Ok(Who::Socket { uid, pid }),
            Peer::Tcp(from) => from,
        };
        match headers.get(header::AUTHORIZATION) {
            None if self.anonymous => Ok(Who::Anonymous { from }),
            None => unknown("a token is needed", "send it as in Authorization: Bearer TOKEN; `nigh token` makes one"),
            Some(sent) => {
                let token = bearer(sent.as_bytes());
                let tokens = self.tokens.as_ref().map(|tokens| tokens.current());
                match tokens.as_ref().zip(token).and_then(|(tokens, token)| tokens.holder(token)) {
                    Some(holder) => Ok(Who::Holder { name: holder.name.clone(), role: holder.role, from }),
                    None => unknown("this token is none of this node's", "see the file that admin.tokens names there"),
                }
            }
        }
    }

    /// Whether a request may come from the page that it says it comes from.
    fn check_site(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let forbidden = |error: String, hint: &str| Refusal { kind: RefusalKind::Forbidden, error, hint: hint.into() };
        let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if self.tls.is_none()
            && !is_nobodys(host)
            && !self.names.iter().any(|name| name.eq_ignore_ascii_case(name_of(host)))
        {
            return Err(forbidden(
                format!("{host:?} is no name of this node's admin API"),
                "ask for it by address or as localhost, or list the name in admin.names",
            ));
        }
        if !headers.contains_key(header::ORIGIN) {
            return Ok(());
        }
        let origin = text(header::ORIGIN).unwrap_or_default();
        match origin.split_once("://") {
            Some(("http" | "https", site)) if site.eq_ignore_ascii_case(host) => Ok(()),
            _ => Err(forbidden(
                format!("{origin:?} is another site"),
                "only the node's own pages may use it from a browser",
            )),
        }
    }
}

impl Who {
    fn role(&self) -> Role {
        match self {
            Self::Socket { .. } => Role::Write,
            Self::Holder { role, .. } => *role,
            Self::Anonymous { .. } => Role::Read,
        }
    }
}

/// The token of an Authorization field (RFC 6750, section 2.1).
fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    host.split_once(':').map_or(host, |(name, _)| name)
}

/// An address, or `localhost`: nobody can make those lead elsewhere.
fn is_nobodys(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(ip, _)| ip.parse::<Ipv6Addr>().is_ok());
    }
    let name = name_of(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Refuses what a page of another site makes a browser send.
pub(super) async fn same_site(
    State((access, audit)): State<(Arc<Access>, Arc<Audit>)>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if let Peer::Tcp(from) = peer
        && let Err(refusal) = access.check_site(request.headers())
    {
        let attempt = attempt(&request);
        note(&audit, &Who::Anonymous { from }, attempt, &refusal).await;
        return Err(refusal);
    }
    Ok(next.run(request).await)
}

/// What is written down of a request that is refused: one to edit, or with a token that is none. A page that asks before its
/// reader has given it a token is not worth it.
fn attempt(request: &Request) -> Option<Edit> {
    let noted = needed(request.method()) == Role::Write || request.headers().contains_key(header::AUTHORIZATION);
    // Whoever asks chooses the path.
    let path: String = request.uri().path().chars().take(LONGEST_PATH).collect();
    noted.then(|| Edit::new(format!("{} {path}", request.method())))
}

async fn note(audit: &Audit, who: &Who, attempt: Option<Edit>, refusal: &Refusal) {
    if let Some(attempt) = attempt {
        audit.done(who, &attempt, Err(refusal)).await;
    }
}

/// The role that a request needs.
pub(super) fn needed(method: &Method) -> Role {
    if matches!(*method, Method::GET | Method::HEAD) { Role::Read } else { Role::Write }
}

/// Finds out who asks, and refuses what they may not.
pub(super) async fn allowed(
    State((access, audit)): State<(Arc<Access>, Arc<Audit>)>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let needed = needed(request.method());
    let who = match access.who(peer, request.headers()) {
        Ok(who) => who,
        Err(refusal) => {
            if let Peer::Tcp(from) = peer {
                let attempt = attempt(&request);
                note(&audit, &Who::Anonymous { from }, attempt, &refusal).await;
            }
            return Err(refusal);
        }
    };
    if who.role() < needed {
        let refusal = Refusal {
            kind: RefusalKind::Forbidden,
            error: format!("this needs the role \"{}\"", needed.as_str()),
            hint: "use a token that has it, or the Unix socket".into(),
        };
        let attempt = attempt(&request);
        note(&audit, &who, attempt, &refusal).await;
        return Err(refusal);
    }
    request.extensions_mut().insert(who);
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_nodes_own_pages_may_ask() {
        let access = Access { names: vec!["nigh.example.com".into()], ..Access::default() };
        let site = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            access.check_site(&headers).map_err(|refusal| refusal.error)
        };
        let mine = ["127.0.0.1:8053", "localhost:8053", "LOCALHOST", "[::1]:8053", "192.0.2.1", "nigh.example.com:80"];
        for host in mine {
            assert_eq!(site(host, None), Ok(()), "{host}");
            assert_eq!(site(host, Some(&format!("http://{host}"))), Ok(()), "{host}");
        }
        let others =
            ["", "evil.example", "evil.example:8053", "127.0.0.1.evil.example", "localhost.evil.example", "[evil]"];
        for host in others {
            assert!(site(host, None).is_err(), "{host}");
        }
        let origins =
            ["null", "http://evil.example", "http://127.0.0.1:80", "http://localhost:8053", "ws://127.0.0.1:8053"];
        for origin in origins {
            assert!(site("127.0.0.1:8053", Some(origin)).is_err(), "{origin}");
        }
    }

    #[test]
    fn a_token_follows_its_scheme() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        for other in [&b"Basic abc"[..], b"abc", b"", b"Bearer"] {
            assert_eq!(bearer(other), None);
        }
    }
}
