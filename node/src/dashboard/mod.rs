//! The page that an operator leaves open on a wall: `GET /` of the admin server.
//!
//! ```text
//!   index.html ─ style.css
//!        └─ app.js ─┬─ api.js      fetch, the token, the stream of events
//!                   ├─ map.js      POPs, links, verdicts          ◀── /v1/map      map.rs
//!                   ├─ heat.js     who gets what where            ◀── /v1/heat     heat.rs
//!                   ├─ plots.js    time                           ◀── /v1/history, /v1/events
//!                   ├─ ask.js      why?                           ◀── /v1/explain
//!                   └─ claims.js   claims and unclaimed demand    ◀── /v1/coverage, /v1/unclaimed
//! ```
//!
//! Its files are in the binary, as they are in the repository: plain modules, no framework, nothing to build. The page
//! asks nobody but this node, and the policy that it comes with lets it ask nobody else; no text of another node ever
//! becomes markup. It reads through the same API as everyone, with the same token; the files themselves are public, as
//! this repository is.
//!
//! Rejected: a bundler and a framework (a supply chain for one page); a WebSocket (the page has nothing to say); the
//! browser's EventSource (it cannot send a token in a header).

mod heat;
mod map;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

pub use heat::heat;
pub use map::map;

/// A file of the page.
struct Asset {
    name: &'static str,
    kind: &'static str,
    body: &'static str,
}

macro_rules! assets {
    ($($name:literal: $kind:expr),* $(,)?) => {
        [$(Asset { name: $name, kind: $kind, body: include_str!(concat!("page/", $name)) }),*]
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const INDEX: &str = "index.html";

static ASSETS: [Asset; 16] = assets! {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "app.js": SCRIPT,
    "api.js": SCRIPT,
    "ask.js": SCRIPT,
    "claims.js": SCRIPT,
    "dom.js": SCRIPT,
    "earth.js": SCRIPT,
    "events.js": SCRIPT,
    "heat.js": SCRIPT,
    "keys.js": SCRIPT,
    "layout.js": SCRIPT,
    "map.js": SCRIPT,
    "plots.js": SCRIPT,
    "tiles.js": SCRIPT,
};

/// Nothing from elsewhere, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The page and its files. They need no right: what they show does.
pub fn router() -> Router {
    Router::new()
        .route("/", get(async |headers: HeaderMap| serve(INDEX, &headers)))
        .route("/assets/{name}", get(async |Path(name): Path<String>, headers: HeaderMap| serve(&name, &headers)))
}

fn serve(name: &str, asked: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return (StatusCode::NOT_FOUND, "the dashboard has no such file\n").into_response();
    };
    // Another version of nigh has other files, so they are asked for each time, and mostly not sent.
    let tag = format!("\"{}\"", &blake3::hash(asset.body.as_bytes()).to_hex()[..16]);
    let known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { asset.body.into_response() };
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 6] = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_nothing_that_is_not_there() {
        for asset in &ASSETS {
            let links = asset.body.split(['"', '\'', '`', '(', ' ']).filter(|word| word.contains("://"));
            let foreign: Vec<&str> = links.filter(|link| !link.starts_with("http://www.w3.org/")).collect();
            assert!(foreign.is_empty(), "{} names {foreign:?}", asset.name);
            let imports = asset.body.lines().filter_map(|line| line.split_once("from \"./"));
            for (_, rest) in imports {
                let file = rest.split('"').next().unwrap_or_default();
                assert!(ASSETS.iter().any(|other| other.name == file), "{} imports {file}", asset.name);
            }
        }
    }

    #[test]
    fn no_text_becomes_markup() {
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT) {
            for banned in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("] {
                assert!(!asset.body.contains(banned), "{} uses {banned}", asset.name);
            }
        }
        let index = &ASSETS[0];
        assert!(!index.body.contains(" style=") && !index.body.contains(" onclick"), "the policy forbids both");
    }

    #[test]
    fn a_file_that_is_known_is_not_sent_again() {
        let first = serve("app.js", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let mut asked = HeaderMap::new();
        asked.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        let second = serve("app.js", &asked);
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        assert!(second.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        assert_eq!(serve("../mod.rs", &asked).status(), StatusCode::NOT_FOUND);
    }
}
