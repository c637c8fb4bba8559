//! The document that describes the API: its copy is the one that is served, and it is true.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::described::{Answer, ask, document, faults, readable};
use crate::fake::Fake;

#[test]
fn the_copy_in_the_pages_is_the_document() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docs/openapi.json");
    let now = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("NIGH_BLESS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let copy = fs::read_to_string(&path).unwrap_or_default();
    let differs = now.lines().zip(copy.lines()).find(|(now, then)| now != then);
    assert!(
        copy == now,
        "deploy/docs/openapi.json is not what the code says, first at {differs:?}; write it anew: NIGH_BLESS=1 cargo test \
         -p nigh --test admin, and read the difference"
    );
}

#[test]
fn nothing_is_routed_beside_the_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin");
    let mut routed = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines =
            text.lines().filter(|line| [".route(", ".nest(", "_service("].iter().any(|word| line.contains(word)));
        routed.extend(lines.map(|line| format!("{}: {}", path.file_name().unwrap().display(), line.trim())));
    }
    let from_the_list = ["routes.rs: api = api.route(operation.path, handler);"];
    assert_eq!(routed, from_the_list, "a route belongs into the list in operations.rs, which describes it as well");
}

#[tokio::test]
async fn answers_are_as_described() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _stop) = Fake::new(crate::operator()).serve(folder.path());
    let document = document();
    assert_eq!(ask(&socket, "GET", "/v1/openapi.json", "", "").await.json(), document);

    let paths = readable(&document);
    assert!(paths.len() > 15, "{paths:?}");
    // This node explains nothing; one that does is asked in `processes`.
    for (path, asked) in paths.iter().filter(|(path, _)| path != "/v1/explain") {
        let answer = ask(&socket, "GET", asked, "", "").await;
        assert_eq!((answer.status, answer.faults(&document, "get", path)), (200, Vec::new()), "{}", answer.body);
    }
}

#[tokio::test]
async fn refusals_are_as_described() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _stop) = Fake::new(crate::operator()).serve(folder.path());
    let document = document();
    let refused = [
        (400, "GET", "/v1/explain"),
        (404, "GET", "/v1/explain?name=www.elsewhere.test&from=192.0.2.1"),
        (400, "GET", "/v1/heat"),
        (400, "GET", "/v1/history?span=century"),
        (400, "GET", "/v1/coverage?limit=many"),
        (400, "POST", "/v1/catalogue"),
        (400, "POST", "/v1/preview"),
    ];
    for (status, method, target) in refused {
        let answer = ask(&socket, method, target, "", "").await;
        let path = target.split('?').next().unwrap();
        let faults = answer.faults(&document, &method.to_lowercase(), path);
        assert_eq!((answer.status, faults), (status, Vec::new()), "{method} {target}");
    }
    // Everything is refused to whom nothing is allowed.
    let access = nigh::admin::Access::default();
    let folder = tempfile::tempdir().unwrap();
    let (address, _stop) = Fake::new(crate::operator()).serve_tcp(folder.path(), access).await;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let request = format!("{} {path}", method.to_uppercase());
            for (status, fields) in [(401, ""), (403, "Origin: http://evil.example\r\n")] {
                let answer = Answer::read(&crate::tcp::exchange(address, &request, fields).await);
                assert_eq!((answer.status, answer.faults(&document, method, path)), (status, Vec::new()), "{request}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_as_described_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _stop) = Fake::new(crate::operator()).serve(folder.path());
    let good = ask(&socket, "GET", "/v1/status", "", "").await.json();
    let document = document();
    let schema = &document["components"]["schemas"]["Status"];
    assert_eq!(faults(&document, schema, &good), Vec::<String>::new());
    let wrong: [fn(&mut Value); 5] = [
        |status| status["node"]["uptime_s"] = json!("long"),
        |status| status["admission"]["state"] = json!("perhaps"),
        |status| drop(status["mesh"].as_object_mut().unwrap().remove("links")),
        |status| status["dns"]["queries"] = json!(-1),
        |status| status["node"]["mood"] = json!("good"),
    ];
    for (at, spoil) in wrong.iter().enumerate() {
        let mut status = good.clone();
        spoil(&mut status);
        assert!(!faults(&document, schema, &status).is_empty(), "number {at} was not found");
    }
}
