//! Storms: faults drawn from a seed, done to real nodes among real resolvers, while clients ask all the time and an oracle
//! that knows the history says what each of them may get.
//!
//! ```text
//!   seed ─▶ plan ─▶ run ──▶ world (processes, paths) ◀── faults
//!                    │        │ lookups, wire, /proc, logs
//!                    │        ▼
//!                    └──▶ history ─▶ oracle, invariants ─▶ report, outcome
//! ```
//!
//! What decides ([`plan`], [`history`], [`oracle`], [`invariant::wire`]) is pure and tested without a bed; [`world`] does.

pub mod answers;
mod checks;
mod disk;
pub mod duty;
pub mod fault;
pub mod figures;
pub mod flood;
pub mod geography;
pub mod history;
mod hostile;
pub mod invariant;
pub mod oracle;
pub mod outcome;
pub mod page;
mod parts;
mod paths;
pub mod plan;
pub mod promise;
mod run;
mod seconds;
pub mod timeline;
pub mod world;

pub use checks::claims;
pub use run::{Given, Source, run};
