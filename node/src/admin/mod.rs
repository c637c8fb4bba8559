//! The operators' door to a running node: HTTP over a Unix socket, JSON both ways.
//!
//! ```text
//!   nigh status ─▶ client ═ Unix socket ═ server ─▶ Source (the running node)
//!                    ▲                       │
//!                    └──────── report ◀──────┘
//! ```
//!
//! Who may open the socket may do everything (mode 0660: the service's user and group), so there are no tokens here.
//! An edit of the catalogue is signed before it gets here; a node that is broken into cannot make one.
//!
//! **Invariant:** this module knows neither gossip's engine nor the DNS; [`Source`] is all it sees of the node.

mod client;
pub mod dns_a_report;
mod listener;
pub mod preview;
pub mod probes;
pub mod report;
mod routes;
mod server;
mod source;

pub use client::{Client, ClientError};
pub use server::{BindError, Server};
pub use source::{ExplainQuery, Explained, QueryType, Refusal, RefusalKind, Source, Submitted};
