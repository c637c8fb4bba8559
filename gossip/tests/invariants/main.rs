//! What must always hold, one file for each, in simulated meshes of a size for every day.
//!
//! The same runs at full size are commands of the `simulate` example. A failure prints the seed;
//! `NIGH_SEED=… cargo test -p nigh-gossip --test invariants NAME` runs the same again, and
//! `cargo run --release -p nigh-gossip --example simulate -- fuzz --seed … --runs 1` with more nodes.

#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "tests read their seed from the environment")]

mod bytes;
mod convergence;
mod death_in_time;
mod memory;
mod no_false_verdict;
mod resurrection;
mod revocation;
mod same_trace;
#[path = "../seed/mod.rs"]
mod seed;
mod signatures;
mod stamps;

use std::time::Duration;

use nigh_gossip::{
    Key, Owner, Slot, Table,
    sim::{Geography, Index, Sim, Standing},
};

use seed::Seed;

const ROWS: Table = Table(16);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A mesh that stands, a few seconds old.
fn standing(seed: &Seed, nodes: usize, claims_per_node: usize) -> Sim {
    let geography = Geography::world();
    let mut sim = Standing { claims_per_node, geography, ..Standing::new(nodes, seed.0) }.build();
    sim.warm_up(secs(5));
    assert!(sim.settled(), "a standing mesh is settled");
    sim
}

/// `nodes` nodes, each joining through one of the first three, settled.
fn joined(seed: u64, nodes: usize) -> Sim {
    let mut sim = Sim::new(seed);
    sim.add(&[]);
    for node in 1..nodes {
        sim.add(&[(node - 1).min(node % 3)]);
    }
    assert!(sim.run_until(secs(30), Sim::settled).is_some(), "{nodes} nodes did not settle");
    sim
}

/// The body that `reader` holds of a page of `writer`.
fn read(sim: &Sim, reader: Index, writer: Index, slot: u32) -> Option<Vec<u8>> {
    let key = Key { owner: Owner::Node(sim.id(writer)), table: ROWS, slot: Slot::page(slot) };
    sim.engine(reader)?.replica().get(&key).map(|page| page.body().to_vec())
}
