//! The other end of the admin API, for the command line: one request per connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use nigh_gossip::Page;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

use super::preview::{Preview, Proposal};
use super::remote::{Remote, RemoteError, Way};
use super::routes::{MAX_BATCH, MAX_REQUEST, Pages};
use super::{ExplainQuery, Refusal, RefusalKind, Submitted};
use crate::catalogue::admission::MAX_SUBMIT;
use crate::catalogue::record::Record;
use crate::telemetry::TRACEPARENT;

/// A little more than the server's own limit, so that its word about it arrives.
const TIMEOUT: Duration = Duration::from_secs(12);
/// The largest answer read: a full catalogue, several times over.
const MAX_ANSWER: usize = 256 << 20;

/// Why there is no answer; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket, or nobody behind it.
    #[error("no node listens on {}: is nigh running? try --socket or NIGH_SOCKET", .0.display())]
    NobodyListens(PathBuf),
    /// No way to the node's port.
    #[error("no node at {url}: {problem}; is admin.listen in its configuration, and the port open?")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the system says.
        problem: String,
    },
    /// Its certificate is not good.
    #[error("{url} is not trusted: {problem}; name it as its certificate does, and its authority with --ca FILE")]
    Untrusted {
        /// Where it is.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// Not in the group.
    #[error("no permission to use {}: become a member of its group (see ls -l), or use sudo", .0.display())]
    NotAllowed(PathBuf),
    /// The node refused.
    #[error("{0}")]
    Refused(Refusal),
    /// Too slow.
    #[error("no answer from {0} within {seconds} s; look at the node's log", seconds = TIMEOUT.as_secs())]
    Slow(String),
    /// Something else went wrong on the way.
    #[error("cannot talk to the node on {at}: {problem}")]
    Broken {
        /// The socket, or the URL.
        at: String,
        /// What went wrong.
        problem: String,
    },
}

/// The way to a node's admin API.
#[derive(Debug, Clone)]
pub struct Client {
    target: Arc<Target>,
    trace: Option<HeaderValue>,
}

#[derive(Debug)]
enum Target {
    Socket(PathBuf),
    Url(Remote),
}

impl Client {
    /// The socket at `path`; nothing is opened yet.
    pub fn new(path: &Path) -> Self {
        Self { target: Arc::new(Target::Socket(path.to_owned())), trace: None }
    }

    /// The node at `url`, with the token in that file, and a certificate by the authority in that file; nothing is
    /// opened yet but those.
    ///
    /// # Errors
    /// [`RemoteError`]
    pub fn at(url: &str, token: Option<&Path>, ca: Option<&Path>) -> Result<Self, RemoteError> {
        Ok(Self { target: Arc::new(Target::Url(Remote::new(url, token, ca)?)), trace: None })
    }

    /// Its edits are part of this trace: a `traceparent` of W3C Trace Context.
    #[must_use]
    pub fn within(mut self, trace: Option<HeaderValue>) -> Self {
        self.trace = trace;
        self
    }

    /// Reads `/v1/WHAT` as JSON.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn get<T: DeserializeOwned>(&self, what: &str) -> Result<T, ClientError> {
        let answer = self.send(Method::GET, what, "application/json", Bytes::new()).await?;
        self.parse(&answer)
    }

    /// Asks for an explanation, as text for people.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn explain_text(&self, query: &ExplainQuery) -> Result<String, ClientError> {
        let answer = self.send(Method::GET, &explain_path(query), "text/plain", Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Asks for an explanation, as JSON.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn explain_json(&self, query: &ExplainQuery) -> Result<serde_json::Value, ClientError> {
        self.get(&explain_path(query)).await
    }

    /// The catalogue's records; signatures are checked here once more.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn catalogue(&self) -> Result<Vec<Page>, ClientError> {
        let pages: Pages = self.get("catalogue").await?;
        pages.decode().map_err(|problem| self.broken(problem))
    }

    /// Certificates and revocations; signatures are checked here once more.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn admissions(&self) -> Result<Vec<Page>, ClientError> {
        let pages: Pages = self.get("admissions").await?;
        pages.decode().map_err(|problem| self.broken(problem))
    }

    /// Submits signed records, certificates or revocations, in as many requests as they need.
    ///
    /// # Errors
    /// [`ClientError`]; earlier requests stay done then, and applying again does the rest.
    pub async fn submit(&self, pages: &[Page]) -> Result<Submitted, ClientError> {
        let mut total = Submitted::default();
        for batch in batches(pages) {
            let done: Submitted = self.post("catalogue", &Pages::encode(batch)).await?;
            total.accepted += done.accepted;
            total.superseded += done.superseded;
        }
        Ok(total)
    }

    /// Asks what these records would change. Nothing: they are more than one request takes.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn preview(&self, records: &[Record]) -> Result<Option<Preview>, ClientError> {
        let records: Vec<String> =
            records.iter().map(|record| data_encoding::BASE64.encode(&record.encode())).collect();
        let bytes: usize = records.iter().map(|record| record.len() + 3).sum();
        if bytes + 64 > MAX_REQUEST {
            return Ok(None);
        }
        self.post("preview", &Proposal { records }).await.map(Some)
    }

    /// Tells the node to drain, as SIGTERM does.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn drain(&self) -> Result<(), ClientError> {
        self.send(Method::POST, "drain", "application/json", Bytes::new()).await.map(drop)
    }

    async fn post<T: DeserializeOwned>(&self, what: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| self.broken(e))?;
        let answer = self.send(Method::POST, what, "application/json", body.into()).await?;
        self.parse(&answer)
    }

    async fn send(&self, method: Method, what: &str, accept: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let (prefix, host, bearer) = match &*self.target {
            Target::Socket(_) => ("", "nigh", None),
            Target::Url(remote) => (remote.prefix.as_str(), remote.authority.as_str(), remote.bearer.as_ref()),
        };
        let trace = self.trace.as_ref().filter(|_| method == Method::POST);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{prefix}/v1/{what}"))
            .header(header::HOST, host)
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(bearer) = bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        if let Some(trace) = trace {
            request = request.header(TRACEPARENT, trace);
        }
        let request = request.body(Full::new(body)).map_err(|e| self.broken(e))?;
        match tokio::time::timeout(TIMEOUT, self.connect_and_exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Slow(self.shown())),
        }
    }

    async fn connect_and_exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, ClientError> {
        match &*self.target {
            Target::Socket(path) => {
                let stream = tokio::net::UnixStream::connect(path).await.map_err(|e| self.no_socket(path, &e))?;
                self.exchange(stream, request).await
            }
            Target::Url(remote) => match remote.connect().await.map_err(|e| no_way(remote, &e))? {
                Way::Plain(stream) => self.exchange(stream, request).await,
                Way::Tls(stream) => self.exchange(stream, request).await,
            },
        }
    }

    async fn exchange<S>(&self, stream: S, request: Request<Full<Bytes>>) -> Result<Bytes, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(e))?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|e| self.broken(e))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|e| self.broken(e))?;
            Ok((status, body.to_bytes()))
        };
        // The connection is driven beside the exchange, which fails by itself when the connection does.
        let driven = async {
            let _ = connection.await;
            std::future::pending().await
        };
        let (status, body): (StatusCode, Bytes) = tokio::select! {
            done = exchange => done?,
            never = driven => never,
        };
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => {
                Err(ClientError::Refused(self.advised(Refusal { kind: RefusalKind::of(status), ..refusal })))
            }
            Err(_) => Err(self.broken(format!("it answered {status}; is it another program, or another version?"))),
        }
    }

    /// In the words of the command line, where the node can only speak of HTTP.
    fn advised(&self, mut refusal: Refusal) -> Refusal {
        if let Target::Url(remote) = &*self.target
            && refusal.kind == RefusalKind::Unknown
            && remote.bearer.is_none()
        {
            refusal.hint = "name the file that has it with --token-file or NIGH_TOKEN_FILE".into();
        }
        refusal
    }

    fn parse<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(answer)
            .map_err(|e| self.broken(format!("its answer is not as expected ({e}); is it another version?")))
    }

    fn no_socket(&self, path: &Path, error: &io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NobodyListens(path.to_owned()),
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed(path.to_owned()),
            _ => self.broken(error),
        }
    }

    fn broken(&self, problem: impl ToString) -> ClientError {
        ClientError::Broken { at: self.shown(), problem: problem.to_string() }
    }

    fn shown(&self) -> String {
        match &*self.target {
            Target::Socket(path) => path.display().to_string(),
            Target::Url(remote) => remote.shown.clone(),
        }
    }
}

fn no_way(remote: &Remote, error: &io::Error) -> ClientError {
    let url = remote.shown.clone();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(problem)) => {
            ClientError::Untrusted { url, problem: format!("its certificate is not valid: {problem}") }
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            ClientError::Broken { at: url, problem: "no TLS is spoken there".into() }
        }
        Some(other) => ClientError::Broken { at: url, problem: other.to_string() },
        None => ClientError::Unreachable { url, problem: error.to_string() },
    }
}

/// Cuts records into requests that the server takes.
fn batches(pages: &[Page]) -> Vec<&[Page]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, page) in pages.iter().enumerate() {
        bytes += page.to_bytes().len();
        if i > start && (bytes > MAX_BATCH || i - start == MAX_SUBMIT) {
            batches.push(&pages[start..i]);
            (start, bytes) = (i, page.to_bytes().len());
        }
    }
    if start < pages.len() {
        batches.push(&pages[start..]);
    }
    batches
}

fn explain_path(query: &ExplainQuery) -> String {
    let mut pairs = vec![("name", query.name.clone()), ("from", query.from.to_string())];
    pairs.push(("type", query.rtype.to_string()));
    pairs.extend(query.at.clone().map(|at| ("at", at)));
    let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}={}", percent(&value))).collect();
    format!("explain?{}", pairs.join("&"))
}

/// Percent-encoding (RFC 3986, section 2.1) of everything but unreserved characters.
fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
