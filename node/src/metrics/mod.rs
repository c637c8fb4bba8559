//! What Prometheus reads at `/metrics`: what was answered, the mesh, the servers, and the process.
//!
//! Each file has the families of one side and the function that fills them, so that a metric, its words and its number
//! stand together. `deploy/docs/reference/metrics.md` is made from [`families`], and `deploy/monitoring/` may use nothing
//! else (`node/tests/monitoring.rs`).
//!
//! **Invariant:** the number of series is bounded: labels are words of a list, the mesh's own members, or servers up to
//! [`servers::MOST_SERVERS`]. Nothing that an asker chooses becomes a label.

pub mod mesh;
pub mod node;
pub mod process;
pub mod servers;

use nigh_dns::{Counters, Metric, TapCounts};

/// Every family that a node gives out, in the order in which it does.
pub fn families() -> Vec<&'static Metric> {
    let sides: [&[&'static Metric]; 6] = [
        &node::FAMILIES,
        &Counters::FAMILIES,
        &TapCounts::FAMILIES,
        &mesh::FAMILIES,
        &servers::FAMILIES,
        &process::FAMILIES,
    ];
    sides.concat()
}
