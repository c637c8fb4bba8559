//! A mesh that stands already: every node admitted, all replicas equal, links as the overlay says.
//!
//! A join of ten thousand nodes is an experiment of its own; the others begin after it. Nothing is invented: each
//! engine first runs alone, so that it writes its own pages itself. Their join is one replica, and all engines start
//! anew with a copy of it, as if they had run before ([`Shared`](crate::engine::Shared)): copies share what is equal,
//! so a page costs a node nothing until it changes. Then links come up at both ends in the order of the nodes.

use std::{sync::Arc, time::Duration};

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

/// Versions that each writer has behind it: neither the next nor the hundred after it is one that floods.
const SEASONED: u64 = 300;

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
        for _ in 0..self.nodes {
            // They know each other: a bootstrap peer would only add a link.
            sim.add_stopped(&[]);
        }
        let mut truth = Replica::new(sim.keys.root.verifying_key().into(), [sim.keys.root.verifying_key().into()]);
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
        let roster = sim.roster();
        for node in 0..self.nodes {
            put(round_trips(&sim, &roster, node));
        }
        for slot in 0..self.records {
            sim.edits += 1;
            let key = Key { owner: Owner::Operators, table: EDITS, slot: Slot::page(slot) };
            put(Page::sign(&sim.keys.daily, key, 1, sim.edits, vec![7; 200]));
        }
        let mut beginning = None;
        for node in 0..self.nodes {
            let seed = sim.rng.random();
            let mut setup = sim.setup(node, seed);
            setup.shared.settled = Some(truth.clone());
            setup.shared.beginning = beginning.clone();
            sim.boot(node, |clock| Engine::new(clock, setup));
            if beginning.is_none() {
                beginning = sim.engine(node).map(|engine| Arc::new(engine.beginning()));
            }
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
        let roster = sim.roster();
        for node in 0..self.nodes {
            for peer in sim.neighbours(&roster, node).into_iter().filter(|peer| *peer > number(node)) {
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

/// What a node measured of its peers before. Its version number is that of a node that has been here for a while: the
/// next ones take the trees.
fn round_trips(sim: &Sim, roster: &Roster, node: Index) -> Page {
    let host = &sim.hosts[node];
    let row = |peer: u32| {
        let rtt = sim.network.delay(number(node), peer) + sim.network.delay(peer, number(node));
        (sim.hosts[peer as usize].id, u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX))
    };
    let mut rows: Vec<_> = sim.neighbours(roster, node).into_iter().map(row).collect();
    rows.sort_unstable();
    let key = Key { owner: Owner::Node(host.id), table: Table::RTT, slot: Slot::page(0) };
    Page::sign(&host.signing, key, 1, SEASONED, codec::encode(&rows))
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
    fn roster(&self) -> Roster {
        let admitted = self.hosts.iter().filter_map(|host| host.certificate.certificate());
        Roster::new(admitted.map(|certificate| (certificate.node, certificate.serial)))
    }

    fn neighbours(&self, roster: &Roster, node: Index) -> Vec<u32> {
        let Some(seat) = roster.seat(&self.hosts[node].id) else { return Vec::new() };
        roster.neighbours(seat, |_| true).into_iter().filter_map(|peer| self.index(roster.id(peer))).collect()
    }

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
