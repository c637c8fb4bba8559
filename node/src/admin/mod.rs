//! The operators' door to a running node: HTTP over a Unix socket and, where the configuration says so, TCP; JSON both ways.
//!
//! ```text
//!   nigh status ─▶ client ═ Unix socket ═ server ─▶ access ─▶ routes ─▶ Source (the running node)
//!                    ▲    or TCP             │
//!                    └──────── report ◀──────┘
//! ```
//!
//! Who may open the socket may do everything (mode 0660: the service's user and group). Who comes over TCP has a role.
//! An edit of the catalogue is signed before it gets here; a node that is broken into cannot make one.
//!
//! **Invariant:** this module knows neither gossip's engine nor the DNS; [`Source`] is all it sees of the node.

mod access;
mod audit;
mod client;
mod connection;
mod coverage;
pub mod dns_a_report;
mod events;
mod openapi;
mod operations;
pub mod picture;
pub mod preview;
pub mod probes;
pub(crate) mod remote;
pub mod report;
mod routes;
mod server;
mod source;
mod tls;
mod tokens;
mod watched;

pub use access::{Access, AccessError};
pub(crate) use access::{NO_TLS, NO_TOKENS};
pub use audit::Audit;
pub use client::{Client, ClientError};
pub use operations::document;
pub use remote::RemoteError;
pub use server::{BindError, Server};
pub use source::{ExplainQuery, Explained, QueryType, Refusal, RefusalKind, Source, Submitted};
pub use tokens::{Role, make as make_token};
