//! Whether answers are what the OpenAPI document says.

use std::path::Path;

use nigh::running::Running;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What must be asked to get an answer.
const ASKED: [(&str, &str); 2] =
    [("/v1/explain", "name=www.lb.test&from=203.0.113.53&type=A"), ("/v1/heat", "service=www.lb.test")];

/// The document, as a node serves it.
pub fn document() -> Value {
    nigh::admin::document::<Running>()
}

/// The paths that are read as JSON, with what must be asked.
pub fn readable(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let json =
        paths.filter(|(_, methods)| !methods["get"]["responses"]["200"]["content"]["application/json"].is_null());
    json.map(|(path, methods)| {
        let asked = ASKED.iter().find(|(at, _)| at == path).map(|(_, query)| *query);
        let needed =
            methods["get"]["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["required"] == true));
        assert_eq!(asked.is_some(), needed, "{path}: which questions does it need? Write one above");
        (path.clone(), asked.map(|query| format!("{path}?{query}")).unwrap_or(path.clone()))
    })
    .collect()
}

/// What a node said.
pub struct Answer {
    pub status: u16,
    /// Its media type.
    pub kind: String,
    pub body: String,
}

impl Answer {
    /// One that came as bytes.
    pub fn read(bytes: &str) -> Self {
        let (head, body) = bytes.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {bytes:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let kind = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-type: ").map(str::to_owned));
        let kind = kind.unwrap_or_default().split(';').next().unwrap().to_owned();
        Self { status, kind, body: body.to_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// What is wrong with it as an answer to that.
    pub fn faults(&self, document: &Value, method: &str, path: &str) -> Vec<String> {
        let said = &document["paths"][path][method]["responses"][self.status.to_string()];
        let said = resolved(document, said);
        let Some(content) = said["content"].get(&self.kind) else {
            return vec![format!("{method} {path}: {} {} is not described", self.status, self.kind)];
        };
        let value = if self.kind == "application/json" { self.json() } else { self.body.clone().into() };
        let faults = faults(document, &content["schema"], &value);
        faults.into_iter().map(|fault| format!("{method} {path} {}: {fault}", self.status)).collect()
    }
}

/// Asks at a socket.
pub async fn ask(socket: &Path, method: &str, target: &str, fields: &str, body: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: nigh\r\nConnection: close\r\nContent-Type: application/json\r\n{fields}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    Answer::read(&answer)
}

fn resolved<'d>(document: &'d Value, said: &'d Value) -> &'d Value {
    match said["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => said,
    }
}

/// What is wrong with a value, by a schema of the document. A client bears a field that it does not know; here it is a fault.
pub fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut schema = schema.clone();
    let fields = schema.as_object_mut().expect("a schema");
    fields.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    let mut components = document["components"].clone();
    for described in components["schemas"].as_object_mut().unwrap().values_mut() {
        if described["properties"].is_object() && described["additionalProperties"].is_null() {
            described["additionalProperties"] = false.into();
        }
    }
    fields.insert("components".into(), components);
    let validator = jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}
