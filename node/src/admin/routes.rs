//! How what is asked is answered; `operations` says what is asked where. Every answer is JSON, refusals and unknown paths
//! included, but for `/metrics` and the stream of events; `explain` is text on request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Json, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use nigh_gossip::Page;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use super::access::{self, Access, Who};
use super::audit::{Audit, Edit};
use super::operations::{document, served};
use super::preview::{Preview, Proposal};
use super::{ExplainQuery, Refusal, RefusalKind, Source, Submitted};
use crate::catalogue::record::Record;
use crate::catalogue::{admission, hlc};
use crate::dashboard;
use crate::telemetry::{self, TARGET};

/// The largest request body: a full batch of records ([`MAX_BATCH`]) in base64 and JSON, with room to spare.
pub(super) const MAX_REQUEST: usize = 4 << 20;
/// The bytes of records that a client puts into one request.
pub(super) const MAX_BATCH: usize = 1 << 20;

/// Records as they travel: base64 of signed pages.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct Pages {
    /// Each in base64: signed header, signature and body.
    pub(super) pages: Vec<String>,
}

impl Pages {
    pub(super) fn encode(pages: &[Page]) -> Self {
        Self { pages: pages.iter().map(|page| data_encoding::BASE64.encode(&page.to_bytes())).collect() }
    }

    pub(super) fn decode(&self) -> Result<Vec<Page>, String> {
        let page = |text: &String| {
            let bytes = data_encoding::BASE64.decode(text.as_bytes()).map_err(|e| format!("not base64: {e}"))?;
            Page::from_bytes(&bytes).map_err(|e| e.to_string())
        };
        self.pages.iter().map(page).collect()
    }
}

pub(super) fn router<S: Source>(
    source: Arc<S>,
    access: Arc<Access>,
    audit: Arc<Audit>,
    request_timeout: Duration,
) -> Router {
    let door = (access, Arc::clone(&audit));
    let mut api = Router::new();
    let document: Arc<str> = document::<S>().to_string().into();
    let mut posts = Vec::new();
    for (operation, handler) in served::<S>() {
        if operation.method == Method::POST {
            posts.push(operation.path);
        }
        api = api.route(operation.path, handler);
    }
    let posts = posts.join(", ");
    Router::new()
        .merge(api.with_state(source).route_layer(middleware::from_fn_with_state(door.clone(), access::allowed)))
        .merge(pages())
        .fallback(unknown_path)
        .method_not_allowed_fallback(async move |request: Request| unknown_method(&request, &posts))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .layer(middleware::from_fn_with_state(request_timeout, in_time))
        .layer(middleware::from_fn_with_state(door, access::same_site))
        .layer(Extension(audit))
        .layer(Extension(Document(document)))
}

/// What everybody may read who reaches the listener: pages that hold nothing of this node, and ask for a token.
fn pages() -> Router {
    dashboard::router()
}

/// The document that describes the API.
#[derive(Clone)]
pub(super) struct Document(pub(super) Arc<str>);

/// The answer to an order to drain.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Draining {
    /// Always true.
    draining: bool,
}

/// For Prometheus, which asks at this path unless it is told another.
pub(super) async fn metrics<S: Source>(State(node): State<Arc<S>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], node.metrics())
}

pub(super) async fn explain<S: Source>(
    State(node): State<Arc<S>>,
    headers: HeaderMap,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|e| Refusal {
        kind: RefusalKind::Invalid,
        error: e.body_text(),
        hint: "as in /v1/explain?name=www.lb.example.com&from=203.0.113.53&type=A&at=fra".into(),
    })?;
    let explained = node.explain(&query)?;
    let wants_text = headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/plain"));
    Ok(if wants_text { explained.text.into_response() } else { Json(explained.json).into_response() })
}

pub(super) async fn catalogue<S: Source>(State(node): State<Arc<S>>) -> Json<Pages> {
    Json(Pages::encode(&node.catalogue()))
}

pub(super) async fn submit<S: Source>(
    State(node): State<Arc<S>>,
    Extension(audit): Extension<Arc<Audit>>,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
    body: Result<Json<Pages>, JsonRejection>,
) -> Result<Json<Submitted>, Refusal> {
    let span = edit_span(&headers);
    // A task of its own: who hangs up has edited all the same, and it is written down.
    let taken = async move {
        let mut edit = Edit::new("submit");
        let taken = take(&*node, &mut edit, body).await;
        match &taken {
            Ok(submitted) => drop(Span::current().record("accepted", telemetry::count(submitted.accepted))),
            Err(refusal) => telemetry::failed(&Span::current(), &refusal.error),
        }
        audit.done(&who, &edit, taken.as_ref().map(|submitted| Some(*submitted))).await;
        taken
    };
    let taken = tokio::spawn(taken.instrument(span));
    taken.await.map_err(|e| ended("the edit", &e))?.map(Json)
}

/// From the request to what came of it, within the trace of who asks.
fn edit_span(headers: &HeaderMap) -> Span {
    let span = info_span!(
        target: TARGET,
        "edit",
        otel.kind = "server",
        otel.status_description = Empty,
        records = Empty,
        accepted = Empty,
    );
    telemetry::adopt(&span, headers);
    span
}

async fn take<S: Source>(
    node: &S,
    edit: &mut Edit,
    body: Result<Json<Pages>, JsonRejection>,
) -> Result<Submitted, Refusal> {
    let Json(body) = body.map_err(|e| Refusal {
        kind: RefusalKind::Invalid,
        error: e.body_text(),
        hint: format!("{{\"pages\":[..]}} with base64 of signed pages is expected, at most {MAX_REQUEST} bytes"),
    })?;
    let refuse =
        |error: String| Refusal { kind: RefusalKind::Invalid, error, hint: "none of the records were taken".into() };
    let pages = body.decode().map_err(refuse)?;
    *edit = std::mem::take(edit).of(&pages);
    Span::current().record("records", telemetry::count(pages.len()));
    let check = info_span!(target: TARGET, "check");
    let checked = check.in_scope(|| admission::admit(&pages, &node.operators(), hlc::unix_millis()));
    checked.map_err(|e| Refusal {
        kind: match e {
            admission::NotAdmitted::Signer { .. } | admission::NotAdmitted::NotRoot { .. } => RefusalKind::Forbidden,
            _ => RefusalKind::Invalid,
        },
        ..refuse(e.to_string())
    })?;
    node.submit(pages).await
}

fn ended(what: &str, error: &tokio::task::JoinError) -> Refusal {
    Refusal {
        kind: RefusalKind::Internal,
        error: format!("{what} came to no end: {error}"),
        hint: "this is a fault in nigh; please report it".into(),
    }
}

pub(super) async fn preview<S: Source>(
    State(node): State<Arc<S>>,
    body: Result<Json<Proposal>, JsonRejection>,
) -> Result<Json<Preview>, Refusal> {
    let refuse = |error: String| Refusal {
        kind: RefusalKind::Invalid,
        error,
        hint: format!(
            "{{\"records\":[..]}} with base64 of the bodies of records is expected, at most {MAX_REQUEST} bytes"
        ),
    };
    let Json(proposal) = body.map_err(|e| refuse(e.body_text()))?;
    let record = |text: &String| {
        let body = data_encoding::BASE64.decode(text.as_bytes()).map_err(|e| format!("not base64: {e}"))?;
        Record::read(&body).map_err(|e| e.to_string())
    };
    let records: Vec<Record> = proposal.records.iter().map(record).collect::<Result<_, _>>().map_err(refuse)?;
    // Every service is ranked for every node: too long to hold a thread that others wait for.
    let looked = tokio::task::spawn_blocking(move || node.preview(records)).await;
    looked.map(Json).map_err(|e| ended("the preview", &e))
}

pub(super) async fn drain<S: Source>(
    State(node): State<Arc<S>>,
    Extension(audit): Extension<Arc<Audit>>,
    Extension(who): Extension<Who>,
) -> impl IntoResponse {
    node.drain();
    audit.done(&who, &Edit::new("drain"), Ok(None)).await;
    (StatusCode::ACCEPTED, Json(Draining { draining: true }))
}

async fn unknown_path(request: Request) -> Refusal {
    Refusal {
        kind: RefusalKind::NotFound,
        error: format!("nothing at {}", request.uri().path()),
        hint: "/v1/openapi.json lists what there is; the dashboard is at /".into(),
    }
}

fn unknown_method(request: &Request, posts: &str) -> Response {
    let refusal = Refusal {
        kind: RefusalKind::Invalid,
        error: format!("{} is not for {}", request.method(), request.uri().path()),
        hint: format!("GET reads; POST is for {posts}"),
    };
    (StatusCode::METHOD_NOT_ALLOWED, Json(refusal)).into_response()
}

async fn in_time(State(timeout): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal {
            kind: RefusalKind::Unavailable,
            error: format!("no answer within {}", humantime::format_duration(timeout)),
            hint: "the node is overloaded; look at its log and try again".into(),
        }
        .into_response(),
    }
}

impl RefusalKind {
    /// Each of them.
    pub(super) const ALL: [Self; 6] =
        [Self::Invalid, Self::Unknown, Self::Forbidden, Self::NotFound, Self::Unavailable, Self::Internal];

    /// How HTTP says it.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unknown => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What a status stands for.
    pub(super) fn of(status: StatusCode) -> Self {
        Self::ALL.into_iter().find(|kind| kind.status() == status).unwrap_or_default()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let mut response = (status, Json(self)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"nigh\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
