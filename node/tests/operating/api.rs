//! The page of the admin API, made from the document that a node serves.

use std::fmt::Write;

use nigh::running::Running;
use serde_json::{Map, Value};

const HEAD: &str = "# The admin API

What a node tells its operators, and what they may tell it: HTTP with JSON, on the Unix socket that `[admin] socket` names and,
with `[admin] listen`, over TCP. This page is made from the code, as is [openapi.json](../openapi.json), an OpenAPI 3.1
document from which clients can be generated; a node serves its own at `/v1/openapi.json`. Operations, fields and events may be
added; none is renamed or removed.

```console
$ curl --unix-socket /run/nigh/nigh.sock http://nigh/v1/status
$ curl --header \"Authorization: Bearer $(cat grafana.token)\" https://fra.example.net:8053/v1/status
```

Whoever may open the socket may do everything. Over TCP a token has a role: `read`, or `write`, which includes `read`. `nigh
token NAME --role ROLE` makes one; `anonymous = \"read\"` lets everybody on the host read without.
";

/// What the page says.
pub fn page() -> String {
    let document = nigh::admin::document::<Running>();
    let mut text = HEAD.to_owned();
    text.push_str("\n## Operations\n\n| operation | role | what | gives | refuses |\n|---|---|---|---|---|\n");
    let mut asked = String::new();
    for (path, methods) in object(&document["paths"]) {
        for (method, operation) in object(methods) {
            let name = format!("{} {path}", method.to_uppercase());
            let role = string(&operation["security"][0]["token"][0]);
            let responses = object(&operation["responses"]).iter();
            let (refused, answered): (Vec<_>, Vec<_>) = responses.partition(|(_, answer)| answer["$ref"].is_string());
            let refused: Vec<&str> = refused.into_iter().map(|(status, _)| status.as_str()).collect();
            let gives: Vec<String> = answered.into_iter().map(|(status, answer)| given(status, answer)).collect();
            let takes = match &operation["requestBody"]["content"]["application/json"]["schema"] {
                Value::Null => String::new(),
                body => format!(" of {}", kind(body)),
            };
            let (what, gives, refused) = (string(&operation["summary"]), gives.join(", "), refused.join(" "));
            writeln!(text, "| `{name}`{takes} | {role} | {what} | {gives} | {refused} |").unwrap();
            if let Some(parameters) = operation["parameters"].as_array() {
                write!(asked, "\n### {name}\n\n| field | what it is | |\n|---|---|---|\n").unwrap();
                for parameter in parameters {
                    let [name, what] = ["name", "description"].map(|key| string(&parameter[key]));
                    let may = if parameter["required"] == true { "" } else { "; may be left out" };
                    writeln!(asked, "| `{name}` | {}{may} | {} |", kind(&parameter["schema"]), cell(what)).unwrap();
                }
            }
        }
    }
    text.push_str("\n## Questions\n\nWhat goes behind the path, as in `/v1/history?span=day`.\n");
    text.push_str(&asked);
    text.push_str("\n## Refusals\n\nEach says in a [Refusal](#refusal) what is wrong, and what to do.\n\n| status | what |\n|---|---|\n");
    for status in ["400", "401", "403", "404", "500", "503"] {
        let operations = object(&document["paths"]).values().flat_map(|methods| object(methods).values());
        let mut named = operations.filter_map(|operation| operation["responses"][status]["$ref"].as_str());
        let name = named.next().unwrap_or_else(|| panic!("nothing is refused with {status}"));
        let said = string(&document.pointer(&name[1..]).unwrap()["description"]);
        writeln!(text, "| {status} | {said} |").unwrap();
    }
    text.push_str("\n## What is said\n");
    for (name, schema) in object(&document["components"]["schemas"]) {
        write!(text, "\n### {name}\n\n{}\n\n", string(&schema["description"])).unwrap();
        if let Some(values) = schema["oneOf"].as_array() {
            for value in values {
                writeln!(text, "- `{}`: {}", string(&value["const"]), string(&value["description"])).unwrap();
            }
            continue;
        }
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        text.push_str("| field | what it is | |\n|---|---|---|\n");
        for (field, said) in object(&schema["properties"]) {
            let may = if required.contains(&Value::from(field.as_str())) { "" } else { "; may be missing" };
            let what = cell(string(&said["description"]));
            writeln!(text, "| `{field}` | {}{may} | {what} |", kind(said)).unwrap();
        }
        if schema["additionalProperties"].is_object() {
            writeln!(text, "| any other | {} | |", kind(&schema["additionalProperties"])).unwrap();
        }
    }
    text
}

/// What an operation gives when all is well.
fn given(status: &str, answer: &Value) -> String {
    let media = object(&answer["content"]).iter().map(|(media, content)| match media.as_str() {
        "application/json" => kind(&content["schema"]),
        "text/event-stream" => {
            let events = object(&content["schema"]["x-events"]).iter();
            events.map(|(name, data)| format!("`{name}` with a {}", kind(data))).collect::<Vec<_>>().join(", ")
        }
        other => format!("`{other}`"),
    });
    let media = media.collect::<Vec<_>>().join(" or ");
    if status == "200" { media } else { format!("{media}, with status {status}") }
}

/// What a value may be, in words.
fn kind(schema: &Value) -> String {
    let alternatives = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
    if let Some(alternatives) = alternatives {
        return alternatives.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(value) = schema["const"].as_str() {
        return format!("`{value}`");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        several => several.as_array().unwrap_or_else(|| panic!("no word for {schema}")).iter().map(string).collect(),
    };
    let word = |name: &&str| match (*name, &schema["additionalProperties"]) {
        ("array", _) => match schema["maxItems"].as_u64() {
            Some(items) => format!("{items} of {}", kind(&schema["items"])),
            None => format!("list of {}", kind(&schema["items"])),
        },
        ("object", values @ Value::Object(_)) => format!("by name, {}", kind(values)),
        ("string", _) if schema["format"] == "ip" => "address".to_owned(),
        (name, _) => name.to_owned(),
    };
    types.iter().map(word).collect::<Vec<_>>().join(" or ")
}

/// Text that stands in a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{value} has no fields"))
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
