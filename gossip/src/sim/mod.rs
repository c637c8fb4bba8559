//! A mesh in one thread under virtual time: the engine's proof ground.
//!
//! ```text
//!                 queue (time, sequence)                     one seed
//!                        │ next event                           │
//!   host: real Engine ◀──┴── event ──▶ network: delay, loss, cuts, ordered streams
//!         disk, clock, liar's hand      └── bytes counted, deliveries hashed
//! ```
//!
//! The nodes are real [`Engine`]s. Modelled are the `network` (geography, loss on ordered streams, cuts, idle
//! timeouts), the processes (kills, pauses, stalls, skewed clocks), the disks (kept, wiped, rolled back) and lying
//! members ([`Lie`]). Everything random comes from one seed, and a hash over all deliveries is kept: **the same seed
//! gives the same trace**. `README.md` beside this file says what that leaves out.
//!
//! Messages of honest nodes are handed over as values, so signatures are made but not checked again at each hop;
//! what a liar touched travels as bytes and is decoded and verified.

mod chaos;
mod cuts;
mod event;
mod host;
mod liar;
mod life;
mod measure;
mod network;
mod operators;
mod queue;
mod standing;
mod traffic;

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::Duration,
};

use ed25519_dalek::SigningKey;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    engine::{Counts, Engine},
    id::NodeId,
    page::{Key, Owner, Page, Slot, Stamp, Table},
    rosters::Rosters,
    time::Moment,
    verdict::Verdict,
};
pub use chaos::{Chaos, Disk, Fault};
use host::Host;
pub use liar::Lie;
pub use measure::{Death, FalseVerdicts, Spread, Times};
use network::Network;
pub use network::geography::{Geography, GeographyError};
use queue::{Event, Queue};
pub use standing::Standing;
pub use traffic::{KINDS, Traffic};

/// A node of the simulation, by number.
pub type Index = usize;

/// The table of [`Sim::edit`]'s records.
pub const EDITS: Table = Table(32);

/// Ids are public keys: eight of their bytes are a hash already, and the same in every process.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks_exact(8) {
            self.0 ^= chunk.try_into().map_or(0, u64::from_le_bytes);
        }
    }
    fn write_usize(&mut self, _length: usize) {}
}

/// A simulated mesh.
pub struct Sim {
    now: Moment,
    queue: Queue,
    hosts: Vec<Host>,
    by_id: HashMap<NodeId, u32, BuildHasherDefault<IdHasher>>,
    network: Network,
    connections: u32,
    rng: ChaCha8Rng,
    keys: operators::Keys,
    edits: u64,
    rosters: Arc<Rosters>,
    /// All ids in order: the seats while all are admitted.
    by_seat: Vec<(NodeId, u32)>,
    /// Heartbeats are not sent: the network tells an engine when a peer falls silent (see [`cuts`]).
    modelled_beats: bool,
    trace: event::Trace,
    delivered: u64,
    unreadable: u64,
    events: u64,
    spreads: Vec<Spread>,
    deaths: Vec<Death>,
    false_verdicts: FalseVerdicts,
    /// Kept between calls so that their memory is.
    arrivals: Vec<network::stream::Parcel>,
    peers: Vec<NodeId>,
}

impl Sim {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::on(Geography::world(), seed)
    }

    /// An empty world with this geography.
    #[must_use]
    pub fn on(geography: Geography, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let network = Network::new(rng.random(), geography);
        Self {
            now: Moment::ZERO,
            queue: Queue::new(),
            hosts: Vec::new(),
            by_id: HashMap::default(),
            network,
            connections: 0,
            rng,
            keys: operators::Keys::new(SigningKey::from_bytes(&[0xee; 32])),
            edits: 0,
            rosters: Arc::default(),
            by_seat: Vec::new(),
            modelled_beats: false,
            trace: event::Trace::default(),
            delivered: 0,
            unreadable: 0,
            events: 0,
            spreads: Vec::new(),
            deaths: Vec::new(),
            false_verdicts: FalseVerdicts::default(),
            arrivals: Vec::new(),
            peers: Vec::new(),
        }
    }

    /// Share of packets that are lost from now on.
    pub fn set_loss(&mut self, loss: f64) {
        self.network.loss = loss.clamp(0.0, 0.9);
    }

    /// A packet takes up to this share of its delay longer; a tenth from the start.
    pub fn set_jitter(&mut self, share: f64) {
        self.network.jitter = share.max(0.0);
    }

    /// A node writes a page of its own.
    pub fn publish(&mut self, node: Index, table: Table, slot: u32, body: &[u8]) {
        let now = self.now;
        let host = &mut self.hosts[node];
        let clock = host.clock(now);
        if let Some(engine) = &mut host.engine {
            engine.publish(clock, table, Slot::page(slot), body.to_vec());
        }
        self.pump(number(node));
    }

    /// An operator edits a catalogue record through one node; returns what was written.
    pub fn edit(&mut self, node: Index, slot: u32, body: &[u8]) -> (Key, Stamp) {
        self.edits += 1;
        let key = Key { owner: Owner::Operators, table: EDITS, slot: Slot::page(slot) };
        let page = Page::sign(&self.keys.daily, key, 1, self.edits, body.to_vec());
        let stamp = page.stamp();
        if self.hosts[node].engine.is_some() {
            let accepted = self.submit(node, page);
            debug_assert!(accepted.is_ok(), "{accepted:?}");
        }
        (key, stamp)
    }

    /// Lets virtual time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, event)) = self.queue.pop(until) {
            self.now = at;
            self.events += 1;
            self.handle(event);
        }
        self.now = until;
    }

    /// Lets time pass until the condition holds, looking every 50 ms; `None` if it did not within `limit`.
    pub fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        while !condition(self) {
            if self.now.since(start) >= limit {
                return None;
            }
            self.run_for(Duration::from_millis(50));
        }
        Some(self.now.since(start))
    }

    /// Nodes, running or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether no node was added yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The engine of a running node.
    #[must_use]
    pub fn engine(&self, node: Index) -> Option<&Engine> {
        self.hosts[node].engine.as_deref()
    }

    /// A node's id.
    #[must_use]
    pub fn id(&self, node: Index) -> NodeId {
        self.hosts[node].id
    }

    /// Running nodes.
    pub fn running(&self) -> impl Iterator<Item = (Index, &Engine)> {
        self.hosts.iter().enumerate().filter_map(|(node, host)| Some((node, host.engine.as_deref()?)))
    }

    /// Running members that tell the truth.
    pub fn honest(&self) -> impl Iterator<Item = (Index, &Engine)> {
        self.running().filter(|(node, _)| self.hosts[*node].liar.is_none() && !self.hosts[*node].revoked)
    }

    /// Whether all honest nodes hold the same pages, and say so by the same hash.
    #[must_use]
    pub fn agreed(&self) -> bool {
        let mut engines = self.honest().map(|(_, engine)| engine);
        let Some(first) = engines.next() else { return true };
        let hash = first.state_hash();
        engines.all(|engine| engine.state_hash() == hash && engine.replica() == first.replica())
    }

    /// Whether every honest node's verdicts are the truth: all that run alive, all others dead or gone.
    #[must_use]
    pub fn verdicts_are_true(&self) -> bool {
        self.honest().all(|(_, engine)| {
            self.hosts.iter().all(|host| {
                let alive = engine.verdict(host.id) == Verdict::Alive;
                alive == (host.engine.is_some() && !host.revoked)
            })
        })
    }

    /// Everyone agrees, on the truth.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.verdicts_are_true() && self.agreed()
    }

    /// Sum of the running nodes' counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.running().fold(Counts::default(), |sum, (_, engine)| {
            let counts = engine.counts();
            Counts {
                pages_new: sum.pages_new + counts.pages_new,
                pages_again: sum.pages_again + counts.pages_again,
                pages_refused: sum.pages_refused + counts.pages_refused,
                repairs: sum.repairs + counts.repairs,
                refutations: sum.refutations + counts.refutations,
                deltas_missed: sum.deltas_missed + counts.deltas_missed,
                grafts: sum.grafts + counts.grafts,
                dropped: sum.dropped + counts.dropped,
                withheld: sum.withheld + counts.withheld,
            }
        })
    }

    /// Which life of a node this is: grows with each start.
    #[must_use]
    pub fn life(&self, node: Index) -> u32 {
        self.hosts[node].life
    }

    /// Bytes of one node since the beginning, over all its lives.
    #[must_use]
    pub fn traffic(&self, node: Index) -> Traffic {
        self.hosts[node].traffic
    }

    /// Virtual time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now.since(Moment::ZERO)
    }

    /// Messages delivered so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Messages so far that could not be read, or held a page without a valid signature.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Events so far: timers, deliveries, changes of links.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Hash over every delivery so far.
    #[must_use]
    pub fn trace(&self) -> String {
        self.trace.text()
    }

    fn schedule(&mut self, at: Moment, event: Event) {
        self.queue.push(at.max(self.now), event);
    }

    fn index(&self, id: NodeId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }
}

/// A node's number as events carry it.
fn number(node: Index) -> u32 {
    u32::try_from(node).unwrap_or(u32::MAX)
}
