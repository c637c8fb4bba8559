//! Membership, replication and liveness: what every node knows, and how it comes to know it.
//!
//! The crate knows nothing of DNS. It keeps a replica of **pages** (signed registers with one writer each), floods new
//! ones over its links, repairs what the flood missed, and derives from replicated rows which members are dead.
//!
//! ```text
//!   shell (tokio, libp2p, disk)                 core (no clock, no I/O, no randomness of its own)
//!   ───────────────────────────                 ─────────────────────────────────────────────────
//!   link up / message / link down ── handle_* ─▶ engine ─┬─ replica   what is true: join of all pages
//!   timer ───────────────────────── handle_* ─▶          ├─ repair    anti-entropy between two replicas
//!   bytes to a peer ◀───────────── poll_* ─────          ├─ overlay   who links to whom, who watches whom
//!   dial, close ◀───────────────── poll_* ─────          ├─ watch     heartbeats, suspicion
//!                                                        └─ verdict   dead or alive, from replicated rows
//! ```
//!
//! **Invariant:** everything outside [`shell`] is a function of its arguments. `now` and the seed come from outside,
//! maps are ordered, so the same inputs give the same outputs to the bit; [`sim`] rests on that.

pub mod codec;
pub mod engine;
mod id;
mod link;
pub mod member;
pub mod message;
mod overlay;
mod page;
mod repair;
mod replica;
pub mod shell;
pub mod sim;
mod time;
pub mod verdict;
mod watch;

pub use id::{IdError, NodeId};
pub use page::{Key, MAX_BODY, Owner, Page, PageError, Slot, Stamp, Table};
pub use replica::{Accepted, Refused, Replica};
pub use shell::{MemberView, Mesh, MeshConfig, MeshError, MeshView};
pub use time::Moment;
