//! Random faults, and what must hold during and after them.
//!
//! Two phases, as openraft's and TigerBeetle's simulators have them. In the **safety phase** a random fault happens
//! every so often and only safety is checked: nothing held ever gets older, nothing is held that its owner did not
//! sign. Then all is healed and started, and **liveness** is checked: within a deadline all agree, on the truth, and
//! every node's rows are everywhere what it last wrote, withdrawn ones nowhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{EDITS, Index, Sim};
use crate::page::{Key, Owner, Slot, Stamp, Table};

/// The table that nodes write to here.
const ROWS: Table = Table(16);
/// Pages that a node writes, and records that the operator edits.
const SLOTS: u32 = 4;
/// The wait between two faults is drawn up to this.
const BETWEEN: Duration = Duration::from_millis(800);
/// At most this share of the nodes is down at one time, one in so many.
const DOWN: usize = 3;

/// Something that goes wrong, or an ordinary write between.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A node writes a page, or withdraws it (no body).
    Write(Index, u32, Option<u8>),
    /// The operator edits through this node.
    Edit(Index, u32),
    /// A process dies, its host too if `silently`.
    Kill(Index, bool),
    /// A process starts; its disk may be wiped or rolled back before.
    Start(Index, Disk),
    /// A copy of the disk is kept.
    BackUp(Index),
    /// SIGSTOP for this long.
    Pause(Index, Duration),
    /// Nodes from this one on reach only each other.
    Partition(Index),
    /// Nothing from the one arrives at the other.
    OneWay(Index, Index),
    /// All cuts end.
    Heal,
    /// This share of packets gets lost.
    Loss(f64),
}

/// In what state a disk is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// As it was left.
    Kept,
    /// Empty.
    Wiped,
    /// As it was at the last backup.
    RolledBack,
}

/// A source of faults, and the memory of what must be true.
pub struct Chaos {
    rng: ChaCha8Rng,
    written: BTreeMap<(Index, u32), Option<Vec<u8>>>,
    edited: BTreeMap<u32, BTreeSet<Vec<u8>>>,
    /// Node -> its life, and the stamps that it held when it was last looked at.
    held: BTreeMap<Index, (u32, BTreeMap<Key, Stamp>)>,
    versions: u64,
}

impl Chaos {
    /// Faults drawn from this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            written: BTreeMap::new(),
            edited: BTreeMap::new(),
            held: BTreeMap::new(),
            versions: 0,
        }
    }

    /// Lets something happen, and time pass.
    pub fn step(&mut self, sim: &mut Sim) -> Fault {
        let fault = self.draw(sim);
        self.apply(sim, &fault);
        let wait = BETWEEN.mul_f64(self.rng.random_range(0.0..1.0));
        sim.run_for(wait);
        fault
    }

    fn draw(&mut self, sim: &Sim) -> Fault {
        let nodes = sim.len();
        let node = self.rng.random_range(0..nodes);
        let running = sim.engine(node).is_some();
        let down = nodes - sim.running().count();
        let slot = self.rng.random_range(0..SLOTS);
        match self.rng.random_range(0..100) {
            0..30 if running => Fault::Write(node, slot, self.rng.random_bool(0.8).then(|| self.rng.random())),
            30..40 if running => Fault::Edit(node, slot),
            40..55 if running && down < nodes / DOWN => Fault::Kill(node, self.rng.random_bool(0.5)),
            55..60 if running => Fault::BackUp(node),
            60..68 => Fault::Pause(node, Duration::from_millis(self.rng.random_range(100..8000))),
            68..72 => Fault::Partition(self.rng.random_range(0..nodes)),
            72..78 => Fault::OneWay(node, self.rng.random_range(0..nodes)),
            78..84 => Fault::Heal,
            84..88 => Fault::Loss(self.rng.random_range(0.0..0.3)),
            _ => match (0..nodes).find(|other| sim.engine((node + other) % nodes).is_none()) {
                Some(other) => {
                    let disk = [Disk::Kept, Disk::Kept, Disk::Wiped, Disk::RolledBack][self.rng.random_range(0..4)];
                    Fault::Start((node + other) % nodes, disk)
                }
                None => Fault::Heal,
            },
        }
    }

    fn apply(&mut self, sim: &mut Sim, fault: &Fault) {
        match *fault {
            Fault::Write(node, slot, what) => {
                if sim.is_paused(node) {
                    return;
                }
                self.versions += 1;
                let body = what.map(|byte| [&self.versions.to_be_bytes()[..], &[byte; 20]].concat());
                sim.publish(node, ROWS, slot, body.as_deref().unwrap_or_default());
                self.written.insert((node, slot), body);
            }
            Fault::Edit(node, slot) => {
                if sim.is_paused(node) {
                    return;
                }
                self.versions += 1;
                let body = self.versions.to_be_bytes().to_vec();
                sim.edit(node, slot, &body);
                self.edited.entry(slot).or_default().insert(body);
            }
            Fault::Kill(node, silently) => sim.kill(node, silently),
            Fault::Start(node, disk) => {
                match disk {
                    Disk::Kept => {}
                    Disk::Wiped => sim.wipe(node),
                    Disk::RolledBack => sim.roll_back(node),
                }
                self.start(sim, node);
            }
            Fault::BackUp(node) => sim.back_up(node),
            Fault::Pause(node, time) => sim.pause(node, time),
            Fault::Partition(first) => sim.partition(|node| usize::from(node >= first)),
            Fault::OneWay(from, to) => sim.cut_one_way(from, to),
            Fault::Heal => sim.heal(),
            Fault::Loss(share) => sim.set_loss(share),
        }
    }

    /// A process starts and, as the real one does, writes what it has to say.
    fn start(&self, sim: &mut Sim, node: Index) {
        sim.start(node);
        for ((_, slot), body) in self.written.range((node, 0)..(node + 1, 0)) {
            sim.publish(node, ROWS, *slot, body.as_deref().unwrap_or_default());
        }
    }

    /// Ends all faults and starts everyone.
    pub fn heal(&mut self, sim: &mut Sim) {
        sim.heal();
        sim.set_loss(0.0);
        sim.stop_stalls();
        for node in 0..sim.len() {
            if sim.engine(node).is_none() {
                self.start(sim, node);
            }
        }
    }

    /// Safety: what must hold at every moment.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&mut self, sim: &Sim) -> Result<(), String> {
        for (node, engine) in sim.honest() {
            let (life, held) = self.held.entry(node).or_default();
            if *life != sim.life(node) {
                (*life, *held) = (sim.life(node), BTreeMap::new());
            }
            for page in engine.replica().pages().iter() {
                let key = page.key();
                if let Owner::Node(owner) = key.owner
                    && owner != page.signer()
                {
                    return Err(format!("node {node} holds {page:?}, signed by {:?}", page.signer()));
                }
                if let Some(before) = held.insert(key, page.stamp())
                    && before > page.stamp()
                {
                    return Err(format!("node {node} held {key:?} at {before:?} and now at {:?}", page.stamp()));
                }
            }
            if let Some(lost) = held.keys().find(|key| engine.replica().page(key).is_none()) {
                return Err(format!("node {node} no longer holds {lost:?}"));
            }
        }
        Ok(())
    }

    /// Liveness: after [`Chaos::heal`], what must hold within the deadline, and stay.
    ///
    /// # Errors
    /// What does not.
    pub fn converge(&mut self, sim: &mut Sim, deadline: Duration) -> Result<Duration, String> {
        let took = sim.run_until(deadline, |sim| sim.settled() && self.rows_are_right(sim).is_ok());
        self.check(sim)?;
        match took {
            Some(took) => Ok(took),
            None if !sim.verdicts_are_true() => Err(format!("verdicts are not true {deadline:?} after the healing")),
            None if !sim.agreed() => Err(format!("replicas differ {deadline:?} after the healing")),
            None => self.rows_are_right(sim).map(|()| deadline),
        }
    }

    fn rows_are_right(&self, sim: &Sim) -> Result<(), String> {
        for (reader, engine) in sim.honest() {
            for ((writer, slot), body) in &self.written {
                let key = Key { owner: Owner::Node(sim.id(*writer)), table: ROWS, slot: Slot::page(*slot) };
                let held = engine.replica().get(&key).map(|page| page.body().to_vec());
                if held != *body {
                    return Err(format!("node {reader} holds {held:?} of node {writer}'s page {slot}, not {body:?}"));
                }
            }
            for (slot, bodies) in &self.edited {
                let key = Key { owner: Owner::Operators, table: EDITS, slot: Slot::page(*slot) };
                if let Some(page) = engine.replica().get(&key)
                    && !bodies.contains(page.body())
                {
                    return Err(format!("node {reader} holds an edit of record {slot} that nobody made"));
                }
            }
        }
        Ok(())
    }
}
