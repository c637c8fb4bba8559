//! What is asked where: one list, from which both the router and the document come, so that nothing is served that is not
//! described, nor described that is not served.

use std::sync::Arc;

use axum::extract::{Extension, Json, State};
use axum::handler::Handler;
use axum::http::{StatusCode, header};
use axum::routing::{MethodRouter, on};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::coverage::{self, CoverageQuery};
use super::events::{self, HeatQuery, HistoryQuery};
use super::openapi::{self, Operation};
use super::picture::{Coverage, Happening, Heat, HistoryReport, Sample};
use super::preview::{Preview, Proposal};
use super::report::ProbedLine;
use super::routes::{Document, Draining, Pages, catalogue, drain, explain, metrics, preview, submit};
use super::{ExplainQuery, RefusalKind, Source, Submitted};

/// What the API offers, as an OpenAPI document.
#[must_use]
pub fn document<S: Source>() -> Value {
    openapi::document(served::<S>().iter().map(|(operation, _)| operation))
}

/// An operation, and what answers it.
type Served<S> = (Operation, MethodRouter<Arc<S>>);

/// The handler answers to the method that is described.
fn serve<S: Source, T: 'static>(operation: Operation, handler: impl Handler<T, Arc<S>>) -> Served<S> {
    let handler = on(operation.filter(), handler);
    (operation, handler)
}

/// What the node tells of itself; what is described is what is told.
fn tell<S: Source, T: JsonSchema + Serialize + 'static>(
    path: &'static str,
    what: &'static str,
    told: fn(&S) -> T,
) -> Served<S> {
    let handler = move |State(node): State<Arc<S>>| async move { Json(told(&node)) };
    serve(Operation::get::<T>(path, what), handler)
}

/// All that needs a role.
pub(super) fn served<S: Source>() -> Vec<Served<S>> {
    use RefusalKind::{Internal, NotFound};
    let probes = async |State(node): State<Arc<S>>| Json(node.probes().await);
    let described = async |Extension(Document(text)): Extension<Document>| {
        ([(header::CONTENT_TYPE, "application/json")], String::from(&*text))
    };
    vec![
        tell("/v1/status", "The node at a glance", S::status),
        tell("/v1/peers", "All nodes that have spoken, and where they stand", S::peers),
        tell("/v1/members", "All nodes that were admitted or revoked", S::members),
        tell("/v1/operators", "Keys that write for the operators, and those that did", S::operator_lines),
        tell("/v1/equivocations", "Proofs that a key is in use twice", S::equivocations),
        tell("/v1/admissions", "Certificates, revocations and appointments, as they were signed", |node: &S| {
            Pages::encode(&node.admissions())
        }),
        tell("/v1/claims", "Which node claims which resolvers, best first", S::claims),
        serve(
            Operation::get::<Coverage>("/v1/coverage", "The claims that someone looks for").asked::<CoverageQuery>(),
            coverage::coverage::<S>,
        ),
        tell("/v1/unclaimed", "Networks that ask this node most and nobody claims", S::unclaimed),
        tell("/v1/latency", "What each node measured of each server", S::latency),
        serve(Operation::get::<Vec<ProbedLine>>("/v1/probes", "What this node probes, and what came of it"), probes),
        tell("/v1/services", "The services and their servers", S::services),
        tell("/v1/map", "The nodes with their places, and who is linked to whom", S::map),
        serve(
            Operation::get::<Heat>("/v1/heat", "A service as each node sees it, and what its clients get")
                .asked::<HeatQuery>()
                .may(NotFound),
            events::heat::<S>,
        ),
        serve(
            Operation::get::<HistoryReport>("/v1/history", "What the node remembers of itself").asked::<HistoryQuery>(),
            events::history::<S>,
        ),
        serve(
            Operation::stream("/v1/events", "What happens, as it happens: server-sent events")
                .event::<Sample>("sample")
                .event::<Happening>("happening"),
            events::events::<S>,
        ),
        tell("/v1/pools", "What was imported from DNS-A", S::pools),
        tell("/v1/delegations", "The delegations that the mesh keeps at DNS-A", S::delegations),
        serve(
            Operation::get::<nigh_dns::Explanation>("/v1/explain", "What a query would be answered, and why")
                .or::<String>("text/plain")
                .asked::<ExplainQuery>()
                .may(NotFound)
                .may(Internal),
            explain::<S>,
        ),
        serve(
            Operation::get::<Pages>("/v1/catalogue", "The catalogue's records, as the operator signed them"),
            catalogue::<S>,
        ),
        serve(
            Operation::post::<Pages, Submitted>(
                "/v1/catalogue",
                "Takes signed records, certificates, revocations and appointments",
            )
            .may(Internal),
            submit::<S>,
        ),
        serve(
            Operation::post::<Proposal, Preview>("/v1/preview", "What records would change, and for whom")
                .may(Internal),
            preview::<S>,
        ),
        serve(
            Operation::order::<Draining>("/v1/drain", StatusCode::ACCEPTED, "Begins to drain, as SIGTERM does"),
            drain::<S>,
        ),
        serve(Operation::get::<Map<String, Value>>("/v1/openapi.json", "This document"), described),
        serve(
            Operation::get_as::<String>("/metrics", "text/plain", "What Prometheus reads, in its text format"),
            metrics::<S>,
        ),
    ]
}
