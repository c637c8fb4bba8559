//! DNS-A, the zone owner's own name server: what the mesh takes from it and what it keeps there.
//!
//! ```text
//!   services with an origin ─▶ importing: is it my turn? ─▶ importer ─ question, transfer ─▶ DNS-A
//!            ▲                                                 │
//!   facts ◀─ pool: whose page holds? ◀── all replicas ◀── page ┘
//! ```
//!
//! A few nodes ask, all hold. **Invariant:** which page holds for a source is a function of replicated state
//! ([`pool`]), so all nodes answer from one set. **Invariant:** DNS-A gone, or saying that there is nothing, never
//! empties a pool: the last known set stands, also after a restart, for it is in the replica (the spirit of RFC 8767).
//! **Invariant:** no reply, however it is formed, makes anything here panic, wait for ever or grow without bound; each
//! bound is named where it holds.
//!
//! Rejected: hickory's resolver and client (a cache of their own, and no word on when to stop believing); a majority
//! vote between importers, because DNS-A may well answer each by where it stands.

pub mod chase;
pub mod delegation;
pub mod exchange;
pub mod importer;
pub mod importing;
pub mod key_file;
pub mod message;
pub mod notify;
pub mod polling;
pub mod pool;
pub mod rank;
pub mod serial;
pub mod side;
pub mod transfer;
pub mod tsig;
pub mod upkeep;
pub mod zones;
