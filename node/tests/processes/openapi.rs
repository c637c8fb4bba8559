//! What real nodes say is what the OpenAPI document says, of every operation that is in it.

use std::collections::BTreeSet;
use std::path::Path;

use data_encoding::BASE64;
use nigh::catalogue::record::Record;
use nigh::catalogue::{Catalogue, Records, plan};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;

use crate::described::{ask, document, faults, readable};
use crate::fleet::{DEADLINE, Fleet};
use crate::origins::{Origins, catalogue};
use crate::{AMS, CPH, QUICK, whole_mesh};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_node_answers_as_described() {
    let fleet = Fleet::new();
    let _origins = Origins::start(&fleet.ground).await;
    let _nodes = whole_mesh(&fleet).await;
    let socket = fleet.socket(AMS);
    let document = document();
    let mut asked = BTreeSet::new();
    let mut good = async |method: &str, target: &str, fields: &str, body: &Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = ask(&socket, method, target, fields, &body).await;
        let path = target.split('?').next().unwrap();
        let faults = answer.faults(&document, &method.to_lowercase(), path);
        assert!(answer.status < 300 && faults.is_empty(), "{} {faults:#?}\n{}", answer.status, answer.body);
        asked.insert(format!("{} {path}", method.to_lowercase()));
        answer
    };
    for (_, target) in readable(&document) {
        good("GET", &target, "", &Value::Null).await;
    }
    assert_eq!(good("GET", "/v1/openapi.json", "", &Value::Null).await.json(), document);
    good("GET", "/metrics", "", &Value::Null).await;
    let explain = "/v1/explain?name=www.lb.test&from=203.0.113.53";
    assert_eq!(good("GET", explain, "Accept: text/plain\r\n", &Value::Null).await.kind, "text/plain");

    // An edit that changes something, looked at.
    let pin = format!("[[service.override]]\nprefix = \"{}\"\nservers = [\"cph\"]\n", fleet.ground.network(AMS));
    let edited = catalogue(&fleet.ground, QUICK).replacen("[[service.server]]", &format!("{pin}[[service.server]]"), 1);
    let edited = plan(&Records::default(), &Catalogue::parse(&edited).unwrap());
    let records: Vec<String> = edited
        .into_iter()
        .map(|change| BASE64.encode(&Record { identity: change.identity, value: change.after }.encode()))
        .collect();
    let preview = good("POST", "/v1/preview", "", &json!({ "records": records })).await.json();
    assert!(preview["services"][1]["changes"][0]["after"]["servers"][0]["server"] == "cph", "{preview}");
    // Records that it has already.
    let held = good("GET", "/v1/catalogue", "", &Value::Null).await.json();
    assert_ne!(good("POST", "/v1/catalogue", "", &held).await.json()["superseded"], 0);
    // Something happens while someone listens.
    let stream = listen(&socket).await;
    fleet.apply(CPH, &catalogue(&fleet.ground, QUICK).replace("mode = \"refer\"", "mode = \"refer\"\nttl = 19")).await;
    let heard = tokio::time::timeout(DEADLINE, hear(stream, &document)).await.unwrap();
    assert_eq!(heard, BTreeSet::from(["happening".to_owned(), "sample".to_owned()]));
    good("POST", "/v1/drain", "", &Value::Null).await;
    asked.insert("get /v1/events".into());

    let paths = document["paths"].as_object().unwrap().iter();
    let described = paths
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}")));
    assert_eq!(asked, described.collect(), "what is described is asked here, all of it");
}

/// The stream of events, from now on.
async fn listen(socket: &Path) -> Lines<BufReader<UnixStream>> {
    let mut connection = UnixStream::connect(socket).await.unwrap();
    connection.write_all(b"GET /v1/events HTTP/1.1\r\nHost: nigh\r\n\r\n").await.unwrap();
    let mut lines = BufReader::new(connection).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "HTTP/1.1 200 OK");
    lines
}

/// Hears each kind of event that the document knows; gives their names.
async fn hear(mut lines: Lines<BufReader<UnixStream>>, document: &Value) -> BTreeSet<String> {
    let stream = &document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"];
    let kinds = stream["schema"]["x-events"].as_object().unwrap();
    let (mut event, mut heard) = (String::new(), BTreeSet::new());
    while heard.len() < kinds.len() {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some(name) = line.strip_prefix("event: ") {
            event = name.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            let schema = kinds.get(&event).unwrap_or_else(|| panic!("{event} is not described"));
            let faults = faults(document, schema, &serde_json::from_str(data).unwrap());
            assert!(faults.is_empty(), "{event}: {faults:#?}\n{data}");
            heard.insert(event.clone());
        }
    }
    heard
}
