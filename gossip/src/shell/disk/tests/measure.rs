//! Figures, not verdicts: `cargo test --release -p nigh-gossip --lib -- --ignored --nocapture measure`.
#![allow(clippy::print_stderr)]
