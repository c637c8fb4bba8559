//! Processes and disks: start, kill, wipe, roll back, pause, stall, lie.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use rand::RngExt;

use super::{
    Index, Lie, Sim,
    host::{Disk, Host},
    liar::Liar,
    number,
    queue::Event,
};
use crate::{
    admission::{self, Certificate},
    engine::{Engine, Setup},
    time::Moment,
};

/// How long a stalling node stands still.
const STALL: Duration = Duration::from_secs(1);
/// Time between two stalls of a node, drawn up to twice this.
const STALL_EVERY: Duration = Duration::from_secs(30);
/// Clocks of processes are off by up to this much.
const MAX_SKEW: Duration = Duration::from_secs(3600);

impl Sim {
    /// Adds a node that knows these others as bootstrap peers, and starts it.
    pub fn add(&mut self, bootstrap: &[Index]) -> Index {
        let node = self.add_stopped(bootstrap);
        self.start(node);
        node
    }

    pub(super) fn add_stopped(&mut self, bootstrap: &[Index]) -> Index {
        let node = self.hosts.len();
        let signing = SigningKey::from_bytes(&self.rng.random());
        let certificate = Certificate {
            node: signing.verifying_key().into(),
            name: format!("node-{node}"),
            serial: self.rng.random(),
            prefixes: Vec::new(),
            not_after: u64::MAX,
        };
        let certificate = certificate.sign(&self.keys.daily, 1, 0);
        let mut host = Host::new(signing, certificate, bootstrap);
        host.appointment.clone_from(&self.keys.appointment);
        // No rule may read a clock as the time of day, so every clock may as well be wrong.
        host.skew = self.rng.random_range(0..u64::try_from(MAX_SKEW.as_micros()).unwrap_or(u64::MAX));
        self.by_id.insert(host.id, number(node));
        let at = self.by_seat.partition_point(|(id, _)| *id < host.id);
        self.by_seat.insert(at, (host.id, number(node)));
        self.hosts.push(host);
        self.network.add_host();
        node
    }

    /// Starts a node from its disk.
    pub fn start(&mut self, node: Index) {
        self.hosts[node].disk.epoch += 1;
        let seed = self.rng.random();
        let setup = self.setup(node, seed);
        self.boot(node, |clock| Engine::new(clock, setup));
    }

    pub(super) fn setup(&self, node: Index, seed: u64) -> Setup {
        let root = self.keys.root.verifying_key().into();
        self.hosts[node].setup(node, root, &self.rosters, self.modelled_beats, seed)
    }

    /// The operator ends a membership, through one node.
    pub fn revoke(&mut self, via: Index, node: Index) {
        let page = admission::revoke(&self.keys.root, self.hosts[node].id, 2, 0);
        self.hosts[node].revoked = true;
        if self.hosts[via].engine.is_some() {
            let accepted = self.submit(via, page);
            debug_assert!(accepted.is_ok(), "{accepted:?}");
        }
    }

    /// Puts an engine on a host.
    pub(super) fn boot(&mut self, node: Index, engine: impl FnOnce(Moment) -> Engine) {
        let now = self.now;
        let host = &mut self.hosts[node];
        host.life += 1;
        host.started = now;
        host.paused = false;
        host.deferred.clear();
        host.ends.clear();
        host.convicted.clear();
        host.engine = Some(Box::new(engine(host.clock(now))));
        host.armed = Some(now);
        let life = host.life;
        self.schedule(now, Event::Tick { node: number(node), life });
    }

    /// SIGKILL: the process is gone; its peers' connections are reset, or, if `silently` (the host lost power), they
    /// notice only when the link's idle timeout ends.
    pub fn kill(&mut self, node: Index, silently: bool) {
        let host = &mut self.hosts[node];
        let Some(engine) = host.engine.take() else { return };
        host.disk.pages = engine.replica().pages().iter().cloned().collect();
        host.armed = None;
        let ends = std::mem::take(&mut host.ends);
        for end in &ends {
            if !silently && self.network.reaches(number(node), end.peer) {
                let at = self.now + self.network.delay(number(node), end.peer);
                let connection = end.connection;
                self.schedule(at, Event::Down { node: end.peer, peer: number(node), connection });
            }
        }
        ends.iter().for_each(|end| self.listen(end.peer));
    }

    /// Empties a stopped node's disk. Its epoch is forgotten too.
    pub fn wipe(&mut self, node: Index) {
        self.hosts[node].disk = Disk::default();
    }

    /// Keeps a copy of a node's disk as it is now, for [`Sim::roll_back`].
    pub fn back_up(&mut self, node: Index) {
        let host = &mut self.hosts[node];
        if let Some(engine) = &host.engine {
            host.disk.pages = engine.replica().pages().iter().cloned().collect();
        }
        host.older = host.disk.clone();
    }

    /// Gives a stopped node the disk of its last backup; an empty one if there was none.
    pub fn roll_back(&mut self, node: Index) {
        let host = &mut self.hosts[node];
        host.disk = host.older.clone();
    }

    /// SIGSTOP: no timer fires, nothing is read or sent. Ends after `time`.
    pub fn pause(&mut self, node: Index, time: Duration) {
        let host = &mut self.hosts[node];
        if !host.acts() {
            return;
        }
        host.paused = true;
        host.pauses += 1;
        let pause = host.pauses;
        self.schedule(self.now + time, Event::Resume { node: number(node), pause });
        self.listen_around(number(node));
    }

    /// Whether a node runs but stands still.
    #[must_use]
    pub fn is_paused(&self, node: Index) -> bool {
        self.hosts[node].paused && self.hosts[node].engine.is_some()
    }

    pub(super) fn handle_resume(&mut self, node: u32, pause: u32) {
        let host = &mut self.hosts[node as usize];
        if !host.paused || host.pauses != pause || host.engine.is_none() {
            return;
        }
        host.paused = false;
        host.armed = Some(self.now);
        let life = host.life;
        // What the process sees first, its late timer or what waited in its sockets, is chance.
        let timer_first = self.rng.random_bool(0.5);
        if timer_first {
            self.schedule(self.now, Event::Tick { node, life });
        }
        for event in std::mem::take(&mut self.hosts[node as usize].deferred) {
            self.schedule(self.now, event);
        }
        self.listen_around(node);
        if !timer_first {
            self.schedule(self.now, Event::Tick { node, life });
        }
    }

    /// From now on the node stands still for a second now and then, as an overcommitted machine does.
    pub fn stall_now_and_then(&mut self, node: Index) {
        self.hosts[node].stalls = true;
        self.schedule_stall(number(node));
    }

    /// No node stalls any more.
    pub fn stop_stalls(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.stalls = false);
    }

    fn schedule_stall(&mut self, node: u32) {
        let wait = STALL_EVERY.mul_f64(self.rng.random_range(0.0..2.0));
        self.schedule(self.now + STALL + wait, Event::Stall { node });
    }

    pub(super) fn handle_stall(&mut self, node: u32) {
        if self.hosts[node as usize].stalls {
            self.pause(node as usize, STALL);
            self.schedule_stall(node);
        }
    }

    /// From now on this member lies.
    pub fn corrupt(&mut self, node: Index, lie: Lie) {
        self.hosts[node].liar = Some(Liar::new(lie));
    }

    /// Says goodbye and, a second later, ends.
    pub fn leave(&mut self, node: Index) {
        let now = self.now;
        let host = &mut self.hosts[node];
        let clock = host.clock(now);
        if let Some(engine) = &mut host.engine {
            engine.leave(clock);
        }
        self.pump(number(node));
        self.run_for(Duration::from_secs(1));
        self.kill(node, false);
    }
}
