//! Dead or alive: what I hear myself ([`watch`]), and what follows from what all of us wrote down ([`verdict`]).
//!
//! ```text
//!   beats, links ─▶ watch ── rows ─▶ my watch page ─▶ spread ─▶ everybody's watch pages ─▶ verdict ─▶ who is dead
//!                     └───── hearing (mine alone, never sent) ─────────────────────────────▶─┘
//! ```

pub mod verdict;
pub(crate) mod watch;
