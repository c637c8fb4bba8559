//! A mesh in one thread under virtual time: the engine's proof ground.
//!
//! Discrete events in one heap ordered by (time, sequence). The nodes are real [`Engine`]s; what is modelled is the
//! network (delay per pair, ordered links, partitions, kills that are noticed at once or never) and the disk (epoch and
//! pages at the last moment, or wiped). Everything random comes from one seed, and a hash over all deliveries is kept:
//! **the same seed gives the same trace**.
//!
//! Messages are handed over as values, so signatures are made but not checked again at each hop; decoding and
//! verifying have tests of their own.

mod network;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
    time::Duration,
};

use ed25519_dalek::SigningKey;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    admission::Certificate,
    engine::{Action, Counts, Engine, Setup, Shared, Target},
    id::NodeId,
    message::Message,
    page::{Key, Owner, Page, Slot, Table},
    rosters::Rosters,
    time::Moment,
    verdict::Verdict,
};
use network::{Connection, Network};

/// A node of the simulation, by number.
pub type Index = usize;

struct Host {
    id: NodeId,
    certificate: Page,
    signing: SigningKey,
    engine: Option<Engine>,
    /// Grows with each start, so that events of an earlier life are void.
    life: u64,
    epoch: u64,
    disk: Vec<Page>,
    bootstrap: Vec<Index>,
    /// The connection behind each of the engine's links.
    links: BTreeMap<Index, Connection>,
}

#[derive(Debug)]
enum Event {
    Tick { node: Index, life: u64 },
    Dial { from: Index, to: Index },
    LinkUp { node: Index, peer: Index, connection: Connection },
    LinkDown { node: Index, peer: Index, connection: Connection },
    Deliver { from: Index, to: Index, connection: Connection, message: Message },
}

struct Scheduled {
    at: Moment,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// A simulated mesh.
pub struct Sim {
    now: Moment,
    sequence: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    hosts: Vec<Host>,
    by_id: BTreeMap<NodeId, Index>,
    network: Network,
    rng: ChaCha8Rng,
    operator: SigningKey,
    edits: u64,
    rosters: Arc<Rosters>,
    trace: blake3::Hasher,
    delivered: u64,
}

impl Sim {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let network = Network::new(rng.random());
        Self {
            now: Moment::ZERO,
            sequence: 0,
            queue: BinaryHeap::new(),
            hosts: Vec::new(),
            by_id: BTreeMap::new(),
            network,
            rng,
            operator: SigningKey::from_bytes(&[0xee; 32]),
            edits: 0,
            rosters: Arc::default(),
            trace: blake3::Hasher::new(),
            delivered: 0,
        }
    }

    /// Adds a node that knows these others as bootstrap peers, and starts it.
    pub fn add(&mut self, bootstrap: &[Index]) -> Index {
        let node = self.hosts.len();
        let signing = SigningKey::from_bytes(&self.rng.random());
        let certificate = Certificate {
            node: signing.verifying_key().into(),
            name: format!("node-{node}"),
            serial: self.rng.random(),
            prefixes: Vec::new(),
            not_after: u64::MAX,
        };
        self.hosts.push(Host {
            id: signing.verifying_key().into(),
            certificate: certificate.sign(&self.operator, 1, 0),
            signing,
            engine: None,
            life: 0,
            epoch: 0,
            disk: Vec::new(),
            bootstrap: bootstrap.to_vec(),
            links: BTreeMap::new(),
        });
        self.by_id.insert(self.id(node), node);
        self.network.add_host();
        self.start(node);
        node
    }

    /// Starts a node from its disk.
    pub fn start(&mut self, node: Index) {
        let seed = self.rng.random();
        let host = &mut self.hosts[node];
        host.life += 1;
        host.epoch += 1;
        host.links.clear();
        let setup = Setup {
            signing: host.signing.clone(),
            operators: vec![self.operator.verifying_key().into()],
            certificate: Some(host.certificate.clone()),
            epoch: host.epoch,
            addresses: vec![address(node)],
            bootstrap: host.bootstrap.iter().map(|peer| address(*peer)).collect(),
            pages: host.disk.clone(),
            seed,
            shared: Shared { rosters: self.rosters.clone(), ..Shared::default() },
        };
        host.engine = Some(Engine::new(self.now, setup));
        let life = host.life;
        self.schedule(self.now, Event::Tick { node, life });
    }

    /// SIGKILL: the process is gone; its peers' connections are reset, or, if `silently` (the host lost power), they
    /// notice only when the link's idle timeout ends.
    pub fn kill(&mut self, node: Index, silently: bool) {
        let host = &mut self.hosts[node];
        if let Some(engine) = host.engine.take() {
            host.disk = engine.replica().pages().iter().cloned().collect();
        }
        let after = if silently { network::IDLE } else { Duration::ZERO };
        for (peer, connection) in self.network.close_all(node) {
            let at = self.now + after + self.network.delay(node, peer);
            self.schedule(at, Event::LinkDown { node: peer, peer: node, connection });
        }
    }

    /// Empties a stopped node's disk. Its epoch is forgotten too.
    pub fn wipe(&mut self, node: Index) {
        let host = &mut self.hosts[node];
        host.disk.clear();
        host.epoch = 0;
    }

    /// Cuts the network: hosts reach only those of their own group.
    pub fn partition(&mut self, group: impl Fn(Index) -> usize) {
        self.network.partition(group);
        for (a, b, connection) in self.network.severed() {
            for (node, peer) in [(a, b), (b, a)] {
                self.schedule(self.now + network::IDLE, Event::LinkDown { node, peer, connection });
            }
        }
    }

    /// Joins what was cut.
    pub fn heal(&mut self) {
        self.network.partition(|_| 0);
    }

    /// A node writes a page of its own.
    pub fn publish(&mut self, node: Index, table: Table, slot: u32, body: &[u8]) {
        let now = self.now;
        if let Some(engine) = &mut self.hosts[node].engine {
            engine.publish(now, table, Slot::page(slot), body.to_vec());
        }
        self.pump(node);
    }

    /// The operator edits a catalogue record through one node.
    pub fn edit(&mut self, node: Index, slot: u32, body: &[u8]) {
        self.edits += 1;
        let key = Key { owner: Owner::Operators, table: Table(32), slot: Slot::page(slot) };
        let page = Page::sign(&self.operator, key, 1, self.edits, body.to_vec());
        let now = self.now;
        if let Some(engine) = &mut self.hosts[node].engine {
            let accepted = engine.submit(now, page);
            debug_assert!(accepted.is_ok());
        }
        self.pump(node);
    }

    /// Lets virtual time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.queue.peek().is_some_and(|Reverse(next)| next.at <= until) {
            if let Some(Reverse(next)) = self.queue.pop() {
                self.now = next.at;
                self.handle(next.event);
            }
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

    /// The engine of a running node.
    #[must_use]
    pub fn engine(&self, node: Index) -> Option<&Engine> {
        self.hosts[node].engine.as_ref()
    }

    /// A node's id.
    #[must_use]
    pub fn id(&self, node: Index) -> NodeId {
        self.hosts[node].id
    }

    /// Running nodes.
    pub fn running(&self) -> impl Iterator<Item = (Index, &Engine)> {
        self.hosts.iter().enumerate().filter_map(|(node, host)| Some((node, host.engine.as_ref()?)))
    }

    /// Whether all running nodes hold the same pages, and say so by the same hash.
    #[must_use]
    pub fn agreed(&self) -> bool {
        let mut engines = self.running().map(|(_, engine)| engine);
        let Some(first) = engines.next() else { return true };
        engines.all(|engine| engine.replica() == first.replica())
            && self.running().all(|(_, engine)| engine.state_hash() == first.state_hash())
    }

    /// Whether every running node's verdicts are the truth: all that run alive, all others dead or gone.
    #[must_use]
    pub fn verdicts_are_true(&self) -> bool {
        self.running().all(|(_, engine)| {
            (0..self.hosts.len()).all(|node| {
                let alive = engine.verdict(self.id(node)) == Verdict::Alive;
                alive == self.hosts[node].engine.is_some()
            })
        })
    }

    /// Everyone agrees, on the truth.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.agreed() && self.verdicts_are_true()
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

    /// Hash over every delivery so far.
    #[must_use]
    pub fn trace(&self) -> String {
        self.trace.finalize().to_hex()[..16].to_owned()
    }

    fn schedule(&mut self, at: Moment, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled { at, sequence: self.sequence, event }));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick { node, life } => {
                let now = self.now;
                let host = &mut self.hosts[node];
                let Some(engine) = host.engine.as_mut().filter(|_| host.life == life) else { return };
                engine.handle_timeout(now);
                let next = engine.poll_timeout();
                self.schedule(next, Event::Tick { node, life });
                self.pump(node);
            }
            Event::Dial { from, to } => {
                let both_run = self.hosts[from].engine.is_some() && self.hosts[to].engine.is_some();
                if let Some(connection) = both_run.then(|| self.network.connect(from, to)).flatten() {
                    let answer = self.now + self.network.delay(to, from);
                    self.schedule(self.now, Event::LinkUp { node: to, peer: from, connection });
                    self.schedule(answer, Event::LinkUp { node: from, peer: to, connection });
                }
            }
            Event::LinkUp { node, peer, connection } => {
                let (now, id) = (self.now, self.id(peer));
                let open = self.network.is_open(node, peer, connection);
                let host = &mut self.hosts[node];
                if open && let Some(engine) = &mut host.engine {
                    host.links.insert(peer, connection);
                    engine.handle_bootstrap(&address(peer), id);
                    engine.handle_link_up(now, id);
                    self.pump(node);
                }
            }
            Event::LinkDown { node, peer, connection } => {
                // A partition that healed before the idle timeout leaves the connection as it was.
                if self.network.is_open(node, peer, connection) {
                    if self.network.reaches(node, peer) {
                        return;
                    }
                    self.network.close(node, peer);
                }
                let (now, id) = (self.now, self.id(peer));
                let host = &mut self.hosts[node];
                if host.links.get(&peer) == Some(&connection)
                    && let Some(engine) = &mut host.engine
                {
                    host.links.remove(&peer);
                    engine.handle_link_down(now, id);
                    self.pump(node);
                }
            }
            Event::Deliver { from, to, connection, message } => {
                if !self.network.is_open(from, to, connection) || !self.network.reaches(from, to) {
                    return;
                }
                let (now, id) = (self.now, self.id(from));
                self.delivered += 1;
                for number in [now.0, from as u64, to as u64] {
                    self.trace.update(&number.to_be_bytes());
                }
                self.trace.update(kind(&message));
                if let Some(engine) = &mut self.hosts[to].engine {
                    engine.handle_message(now, id, message);
                    self.pump(to);
                }
            }
        }
    }

    /// Carries out what an engine asks for.
    fn pump(&mut self, node: Index) {
        let now = self.now;
        let Some(mut engine) = self.hosts[node].engine.take() else { return };
        while let Some(action) = engine.poll_action() {
            match action {
                Action::Dial { target, .. } => {
                    if let Some(to) = self.find(&target) {
                        let at = now + self.network.delay(node, to);
                        self.schedule(at, Event::Dial { from: node, to });
                    }
                }
                Action::Close(peer) => {
                    if let Some(peer) = self.index(peer)
                        && let Some(connection) = self.network.close(node, peer)
                    {
                        self.schedule(now, Event::LinkDown { node, peer, connection });
                        let at = now + self.network.delay(node, peer);
                        self.schedule(at, Event::LinkDown { node: peer, peer: node, connection });
                    }
                }
                Action::Bar(_) | Action::Unbar(_) => {}
                Action::RememberEpoch(epoch) => self.hosts[node].epoch = epoch,
            }
        }
        let peers: Vec<NodeId> = engine.ready().collect();
        for peer in peers {
            let Some(to) = self.index(peer) else { continue };
            let Some(connection) = self.network.connection(node, to) else { continue };
            while let Some(message) = engine.poll_transmit(now, peer) {
                let at = self.network.arrival(now, node, to);
                self.schedule(at, Event::Deliver { from: node, to, connection, message });
            }
        }
        self.hosts[node].engine = Some(engine);
    }

    fn index(&self, id: NodeId) -> Option<Index> {
        self.by_id.get(&id).copied()
    }

    fn find(&self, target: &Target) -> Option<Index> {
        let at = match target {
            Target::Bootstrap(address) => address,
            Target::Member(_, addresses) => addresses.first()?,
        };
        at.strip_prefix("node-")?.split(':').next()?.parse().ok().filter(|node| *node < self.hosts.len())
    }
}

fn address(node: Index) -> String {
    format!("node-{node}:4242")
}

fn kind(message: &Message) -> &'static [u8] {
    match message {
        Message::Beat(_) => b"beat",
        Message::News(_) => b"news",
        Message::Given(_) => b"given",
        Message::Hello { .. } => b"hello",
        Message::Prune(_) => b"prune",
        Message::Have(_) => b"have",
        Message::Graft(_) => b"graft",
        Message::Root { .. } => b"root",
        Message::Buckets { .. } => b"buckets",
        Message::Digests(_) => b"digests",
        Message::Want(_) => b"want",
    }
}
