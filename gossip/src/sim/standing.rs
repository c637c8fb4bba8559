//! A mesh that stands already: every node admitted, all replicas equal, links as the overlay says.
//!
//! A join of ten thousand nodes is an experiment of its own; the others begin after it. Nothing is invented: each
//! engine first runs alone, so that it writes its own pages itself. Their join is one replica, and all engines start
//! anew with a copy of it, as if they had run before ([`Shared`](crate::engine::Shared)): copies share what is equal,
//! so a page costs a node nothing until it changes. Then links come up at both ends in the order of the nodes.

use std::time::Duration;

use rand::RngExt;
use serde_bytes::ByteBuf;

use super::{EDITS, Geography, Index, Sim, number};
use crate::{
    codec,
    engine::Engine,
    page::{Key, Owner, Page, Slot, Table},
    replica::Replica,
    roster::Roster,
    time::Moment,
};

/// The table of claims; only its size and its changes matter here.
const CLAIMS: Table = Table(16);
/// Rows of one page.
const ROWS: usize = 64;
/// Rows that differ between two versions of a page.
const CHANGED: usize = 10;

/// A mesh to build.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Nodes.
    pub nodes: usize,
    /// Claims that each has, in pages of 64.
    pub claims_per_node: usize,
    /// Records of the catalogue.
    pub records: u32,
    /// Where they stand.
    pub geography: Geography,
    /// Heartbeats are modelled by the network instead of sent.
    pub modelled_beats: bool,
    /// Seed of everything.
    pub seed: u64,
}

impl Standing {
    /// `nodes` nodes with 100 claims each, all over the world.
    #[must_use]
    pub fn new(nodes: usize, seed: u64) -> Self {
        Self { nodes, claims_per_node: 100, records: 0, geography: Geography::world(), modelled_beats: false, seed }
    }

    /// Builds it.
    #[must_use]
    pub fn build(self) -> Sim {
        let mut sim = Sim::on(self.geography.clone(), self.seed);
        sim.modelled_beats = self.modelled_beats;
        for node in 0..self.nodes {
            sim.add_stopped(&if node == 0 { vec![] } else { vec![(node - 1).min(node % 3)] });
        }
        let mut truth = Replica::new(sim.operator.verifying_key().into(), [sim.operator.verifying_key().into()]);
        let mut put = |page: Page| {
            let accepted = truth.accept(page);
            debug_assert!(accepted.is_ok(), "{accepted:?}");
        };
        sim.hosts.iter().for_each(|host| put(host.certificate.clone()));
        for node in 0..self.nodes {
            sim.hosts[node].disk.epoch = 1;
            let seed = sim.rng.random();
            let alone = self.write(&sim, node, seed);
            alone.replica().pages().of(Owner::Node(alone.id())).cloned().for_each(&mut put);
        }
        for slot in 0..self.records {
            sim.edits += 1;
            let key = Key { owner: Owner::Operators, table: EDITS, slot: Slot::page(slot) };
            put(Page::sign(&sim.operator, key, 1, sim.edits, vec![7; 200]));
        }
        for node in 0..self.nodes {
            let seed = sim.rng.random();
            let mut setup = sim.setup(node, seed);
            setup.shared.settled = Some(truth.clone());
            sim.boot(node, |clock| Engine::new(clock, setup));
        }
        self.link(&mut sim);
        // As after a flood of everyone; the trees are learnt from the first changes.
        sim.hosts.iter_mut().filter_map(|host| host.engine.as_mut()).for_each(|engine| engine.begin_eager());
        sim
    }

    /// Starts one engine and lets it write what it has to say.
    fn write(&self, sim: &Sim, node: Index, seed: u64) -> Engine {
        let clock = sim.hosts[node].clock(Moment::ZERO);
        let mut engine = Engine::new(clock, sim.setup(node, seed));
        for page in 0..self.claims_per_node.div_ceil(ROWS) {
            let rows = (self.claims_per_node - page * ROWS).min(ROWS);
            let page = number(page);
            engine.publish(clock, CLAIMS, Slot::page(page), claims(node, page, rows, 0));
        }
        engine
    }

    fn link(&self, sim: &mut Sim) {
        let admitted = sim.hosts.iter().filter_map(|host| host.certificate.certificate());
        let roster = Roster::new(admitted.map(|certificate| (certificate.node, certificate.serial)));
        for node in 0..self.nodes {
            let Some(seat) = roster.seat(&sim.hosts[node].id) else { continue };
            for peer in roster.neighbours(seat, |_| true) {
                let Some(peer) = sim.index(roster.id(peer)).filter(|peer| *peer > number(node)) else { continue };
                sim.connections += 1;
                let connection = sim.connections;
                sim.hosts[node].open(peer, connection);
                sim.hosts[peer as usize].open(number(node), connection);
                sim.handle_up(number(node), peer, connection);
                sim.handle_up(peer, number(node), connection);
            }
        }
    }
}

/// The body of a page of claims: prefixes of the node's own, of which ten change their preference with each version.
fn claims(node: Index, page: u32, rows: usize, version: u32) -> Vec<u8> {
    let base = blake3::hash(&[number(node).to_be_bytes(), page.to_be_bytes()].concat());
    let mut random = blake3::Hasher::new().update(base.as_bytes()).finalize_xof();
    let rows: Vec<(ByteBuf, u8, u16)> = (0..rows)
        .map(|row| {
            let mut bytes = [0; 6];
            random.fill(&mut bytes);
            // The version in which this row changed last.
            let changed = (0..=version).rev().take(ROWS / CHANGED + 1).find(|version| {
                let first = *version as usize * CHANGED;
                (0..CHANGED).any(|n| (first + n) % rows == row)
            });
            let preference = u16::from(bytes[4]) ^ u16::try_from(changed.unwrap_or(0) % 1000).unwrap_or(0);
            (ByteBuf::from([bytes[0], bytes[1], bytes[2], 0]), 24, preference)
        })
        .collect();
    codec::encode(&rows)
}

impl Sim {
    /// A node's measurements moved: ten rows of one page of claims change.
    pub fn drift(&mut self, node: Index, page: u32, rows: usize, version: u32) {
        self.publish(node, CLAIMS, page, &claims(node, page, rows.min(ROWS), version));
    }

    /// Lets the mesh stand for a while and forgets what was counted until then.
    pub fn warm_up(&mut self, time: Duration) {
        self.run_for(time);
        self.forget_spreads();
        self.forget_false_verdicts();
    }
}
