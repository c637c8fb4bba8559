//! Membership, replication and liveness: what every node knows, and how it comes to know it.
//!
//! The crate knows nothing of DNS. It keeps a replica of **pages** (signed registers with one writer each), floods new
//! ones over its links, repairs what the flood missed, and derives from replicated rows which members are dead.
//!
//! ```text
//!   shell (tokio, libp2p, disk)                 core (no clock, no I/O, no randomness of its own)
//!   ───────────────────────────                 ─────────────────────────────────────────────────
//!   link up / message / link down ── handle_* ─▶ engine ─┬─ replica    what is true: join of all pages
//!   timer ───────────────────────── handle_* ─▶          ├─ admission  who may be here
//!                                                        ├─ operator   whose word that is
//!   bytes to a peer ◀───────────── poll_* ─────          ├─ roster     who links to whom, who watches whom
//!   dial, close ◀───────────────── poll_* ─────          ├─ spread     news along a tree for each writer
//!                                                        ├─ repair     anti-entropy between two replicas
//!                                                        ├─ watch      heartbeats, probes, suspicion
//!                                                        └─ verdict    dead or alive, from replicated rows
//! ```
//!
//! **Invariant:** everything outside [`shell`] is a function of its arguments. `now` and the seed come from outside,
//! maps are ordered, so the same inputs give the same outputs to the bit; [`sim`] rests on that. Without the feature
//! `shell` the crate is the core alone, and libp2p, tokio and redb are not built: so it is fuzzed.

pub mod admission;
mod bits;
mod budget;
pub mod codec;
mod content;
pub mod engine;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod id;
mod link;
mod liveness;
pub mod member;
pub mod message;
pub mod operator;
mod page;
mod pages;
mod quota;
mod repair;
mod replica;
mod roster;
mod rosters;
mod round_trip;
#[cfg(feature = "shell")]
pub mod shell;
pub mod sim;
mod stream;
mod time;

pub use admission::Certificate;
pub use id::{IdError, NodeId};
pub use liveness::verdict;
pub use operator::{Appointment, Rights};
pub use page::{Header, Key, MAX_BODY, Owner, Page, PageError, Slot, Stamp, Table};
pub use pages::Pages;
pub use quota::{MAX_BYTES_PER_NODE, MAX_PAGES_PER_NODE};
pub use repair::Listed;
pub use replica::{Accepted, Admission, Equivocation, Refused, Replica};
#[cfg(feature = "shell")]
pub use shell::{FOREIGN, MemberView, Mesh, MeshConfig, MeshError, MeshView};
pub use time::Moment;
