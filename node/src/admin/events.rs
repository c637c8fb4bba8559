//! What happens, as it happens: server-sent events (WHATWG HTML, section 9.2), one `sample` a second and a `happening`
//! for each thing that happened.
//!
//! A stream ends when the node stops, or when its reader was too slow; the reader then asks for `/v1/history`, which has
//! it all, and opens another. So there is no numbering to keep and nothing to resume.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use schemars::JsonSchema;
use serde::Deserialize;

use super::picture::{Heat, HistoryReport, Span};
use super::{Refusal, RefusalKind, Source};
use crate::history::{MOST_WATCHERS, News};

/// `?span=day`
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct HistoryQuery {
    /// How far back.
    #[serde(default)]
    span: Span,
}

/// `?service=www.lb.example.com`
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct HeatQuery {
    /// The service's name.
    service: String,
}

pub(super) async fn history<S: Source>(
    State(node): State<Arc<S>>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<HistoryReport>, Refusal> {
    let Query(query) = query.map_err(|e| invalid(e.body_text(), "as in /v1/history?span=short, or span=day"))?;
    Ok(Json(node.feed().report(query.span)))
}

pub(super) async fn heat<S: Source>(
    State(node): State<Arc<S>>,
    query: Result<Query<HeatQuery>, QueryRejection>,
) -> Result<Json<Heat>, Refusal> {
    let Query(query) = query.map_err(|e| invalid(e.body_text(), "as in /v1/heat?service=www.lb.example.com"))?;
    node.heat(&query.service).map(Json)
}

pub(super) async fn events<S: Source>(State(node): State<Arc<S>>) -> Result<Response, Refusal> {
    let unavailable = |error: String, hint: &str| Refusal { kind: RefusalKind::Unavailable, error, hint: hint.into() };
    let receiver = match node.feed().watch() {
        Ok(Some(receiver)) => receiver,
        Ok(None) => return Err(unavailable("the node is stopping".into(), "ask another one")),
        Err(_) => {
            return Err(unavailable(
                format!("{MOST_WATCHERS} watch already, as many as may"),
                "close a dashboard that nobody looks at, or ask another node",
            ));
        }
    };
    let events = stream::unfold(receiver, async |mut receiver| {
        // An error is the end: the node stops, or this reader was too slow.
        let news = receiver.recv().await.ok()?;
        let event = match &news {
            News::Sample(sample) => Event::default().event("sample").json_data(sample),
            News::Happening(happening) => Event::default().event("happening").json_data(happening),
        };
        Some((Ok::<_, Infallible>(event.ok()?), receiver))
    });
    // Proxies would keep a stream until it ends, which is never.
    Ok((
        [(header::CACHE_CONTROL, "no-store"), (header::HeaderName::from_static("x-accel-buffering"), "no")],
        Sse::new(events),
    )
        .into_response())
}

fn invalid(error: String, hint: &str) -> Refusal {
    Refusal { kind: RefusalKind::Invalid, error, hint: hint.into() }
}
