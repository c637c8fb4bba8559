//! What the API offers, as an OpenAPI 3.1 document.
//!
//! Operations are described where they are routed (`operations`). What they say is described by the types that are
//! serialised: the schemas of OpenAPI 3.1 are JSON Schema, which `schemars` makes.
//!
//! Rejected: `utoipa`. It describes what a type reads, so that a field which may be missing there need not be in an answer
//! either, where ours always are; and it wants every handler described once more, beside its route.

use axum::http::{Method, StatusCode};
use axum::routing::MethodFilter;
use schemars::generate::{Contract, SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::{Refusal, RefusalKind, access};

/// How schemas of bodies are made.
type Make = fn(&mut SchemaGenerator) -> Schema;

/// What every operation may be refused for, over TCP or on a node that has too much to do.
const ALWAYS: [RefusalKind; 3] = [RefusalKind::Unknown, RefusalKind::Forbidden, RefusalKind::Unavailable];

/// One method of one path.
pub(super) struct Operation {
    pub(super) path: &'static str,
    pub(super) method: Method,
    what: &'static str,
    status: StatusCode,
    /// Media types of the answer, each with its schema.
    answers: Vec<(&'static str, Make)>,
    /// What comes in a stream, by the name of the event.
    events: Vec<(&'static str, Make)>,
    body: Option<Make>,
    query: Option<Make>,
    refusals: Vec<RefusalKind>,
}

fn make<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<T>()
}

impl Operation {
    fn new(method: Method, path: &'static str, what: &'static str) -> Self {
        Self {
            path,
            method,
            what,
            status: StatusCode::OK,
            answers: Vec::new(),
            events: Vec::new(),
            body: None,
            query: None,
            refusals: ALWAYS.into(),
        }
    }

    /// GET, answered with a `T` in JSON.
    pub(super) fn get<T: JsonSchema>(path: &'static str, what: &'static str) -> Self {
        Self::get_as::<T>(path, "application/json", what)
    }

    /// GET, answered with something of that media type.
    pub(super) fn get_as<T: JsonSchema>(path: &'static str, media: &'static str, what: &'static str) -> Self {
        Self::new(Method::GET, path, what).or::<T>(media)
    }

    /// GET, answered with server-sent events.
    pub(super) fn stream(path: &'static str, what: &'static str) -> Self {
        Self::get_as::<String>(path, "text/event-stream", what)
    }

    /// POST of a `B`, answered with a `T`, both in JSON.
    pub(super) fn post<B: JsonSchema, T: JsonSchema>(path: &'static str, what: &'static str) -> Self {
        let body: Option<Make> = Some(make::<B>);
        Self { body, ..Self::new(Method::POST, path, what).or::<T>("application/json") }.may(RefusalKind::Invalid)
    }

    /// POST of nothing, answered with a `T` in JSON.
    pub(super) fn order<T: JsonSchema>(path: &'static str, status: StatusCode, what: &'static str) -> Self {
        Self { status, ..Self::new(Method::POST, path, what).or::<T>("application/json") }
    }

    /// Or, if the asker accepts that, with something of another media type.
    pub(super) fn or<T: JsonSchema>(mut self, media: &'static str) -> Self {
        self.answers.push((media, make::<T>));
        self
    }

    /// The data of events of that name is a `T` in JSON.
    pub(super) fn event<T: JsonSchema>(mut self, name: &'static str) -> Self {
        self.events.push((name, make::<T>));
        self
    }

    /// With the fields of `Q` in the query.
    pub(super) fn asked<Q: JsonSchema>(mut self) -> Self {
        self.query = Some(|schemas| Q::json_schema(schemas));
        self.may(RefusalKind::Invalid)
    }

    /// It may be refused for this, too.
    pub(super) fn may(mut self, kind: RefusalKind) -> Self {
        self.refusals.push(kind);
        self
    }

    /// What the router takes for it.
    pub(super) fn filter(&self) -> MethodFilter {
        if self.method == Method::POST { MethodFilter::POST } else { MethodFilter::GET }
    }

    fn id(&self) -> String {
        let words: Vec<&str> = self.path.split(['/', '.']).filter(|word| !word.is_empty() && *word != "v1").collect();
        format!("{}_{}", self.method.as_str().to_lowercase(), words.join("_"))
    }

    fn describe(&self, schemas: &mut SchemaGenerator) -> Value {
        let answer = json!({ "description": "Done.", "content": self.content(&self.answers, schemas) });
        let mut responses = Map::from_iter([(self.status.as_str().to_owned(), answer)]);
        for kind in &self.refusals {
            let name = json!({ "$ref": format!("#/components/responses/{kind:?}") });
            responses.insert(kind.status().as_str().to_owned(), name);
        }
        let mut said = json!({
            "operationId": self.id(),
            "summary": self.what,
            // The Unix socket needs no token.
            "security": [{ "token": [access::needed(&self.method).as_str()] }, {}],
            "responses": responses,
        });
        if let Some(body) = self.body {
            let content = self.content(&[("application/json", body)], schemas);
            said["requestBody"] = json!({ "required": true, "content": content });
        }
        if let Some(query) = self.query {
            // A question may leave out what an answer always has.
            let asked = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
            said["parameters"] = parameters(&query(&mut asked.into_generator()));
        }
        said
    }

    fn content(&self, media: &[(&'static str, Make)], schemas: &mut SchemaGenerator) -> Value {
        let mut content = Map::new();
        for (media, make) in media {
            let mut schema = make(schemas).to_value();
            if !self.events.is_empty() {
                // OpenAPI 3.1 has no words for what is in a stream.
                let events = self.events.iter().map(|(name, make)| ((*name).to_owned(), make(schemas).to_value()));
                schema["x-events"] = events.collect::<Map<_, _>>().into();
            }
            content.insert((*media).to_owned(), json!({ "schema": schema }));
        }
        content.into()
    }
}

fn parameters(query: &Schema) -> Value {
    let required = query.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let fields = query.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let required = required.contains(&Value::from(name.as_str()));
        json!({ "name": name, "in": "query", "required": required, "description": description, "schema": schema })
    };
    fields.into_iter().map(parameter).collect()
}

/// What it means for the asker.
fn meaning(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::Invalid => "The request is not as it should be.",
        RefusalKind::Unknown => "Over TCP: no token, or none of this node's.",
        RefusalKind::Forbidden => {
            "The token has not the role; the signer may not do this; or a browser asks for another site's page."
        }
        RefusalKind::NotFound => "Nothing of that name is known here.",
        RefusalKind::Internal => "A fault of nigh: please report it.",
        RefusalKind::Unavailable => "Not now, and perhaps soon: the node stops, or has too much to do.",
    }
}

/// The document.
pub(super) fn document<'o>(operations: impl Iterator<Item = &'o Operation>) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.contract = Contract::Serialize;
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = operation.describe(&mut schemas);
    }
    let refusal = json!({ "application/json": { "schema": schemas.subschema_for::<Refusal>() } });
    let refusals = RefusalKind::ALL.map(|kind| {
        let said = json!({ "description": meaning(kind), "content": refusal });
        (format!("{kind:?}"), said)
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "nigh admin API",
            // Of the API, not of the program: fields and operations are added, never renamed or removed.
            "version": "1",
            "description": "What a node tells its operators, and what they may tell it. Over the Unix socket whoever may open \
                            it may do everything; over TCP a token says who asks, and which role that has, unless \
                            `admin.anonymous` lets everybody read. Fields and events may be added at any time. What is not \
                            known at all is answered 404 or 405, with the same body as other refusals. HEAD is answered as \
                            GET.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": Map::from_iter(refusals),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token that `nigh token NAME --role ROLE` made; role `write` includes `read`.",
                },
            },
        },
    })
}
