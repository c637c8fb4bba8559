//! Who hears whom: cuts of the network, silence on a link, and when the transport gives a connection up.
//!
//! An end is *deaf* while nothing can come from its peer: the path is cut, the peer stands still, is dead, or has
//! forgotten the connection. Deaf for the idle timeout, it closes; the far end, if it is still there, is deaf from then
//! on. An end that hears again in time goes on as if nothing had been, and what was sent meanwhile arrives.

use std::time::Duration;

use rand::RngExt;

use super::{Index, Sim, network::IDLE, number, queue::Event};
use crate::{
    engine::{Engine, TICK},
    id::NodeId,
    liveness::watch::TURNS,
    time::Moment,
};

/// After a cut the transport's next try comes within this long: a heartbeat is due on every link.
const RETRY_AFTER_CUT_US: u64 = 200_000;
/// Between two turns of a round of heartbeats.
const TURN_US: u64 = TICK.as_micros() as u64;

impl Sim {
    /// Cuts the network: hosts reach only those of their own group.
    pub fn partition(&mut self, group: impl Fn(Index) -> usize) {
        self.network.partition(group);
        self.listen_everywhere();
    }

    /// From now on nothing that `from` sends arrives at `to`; the other direction is as it was.
    pub fn cut_one_way(&mut self, from: Index, to: Index) {
        self.network.cut_one_way(number(from), number(to));
        self.listen(number(to));
    }

    /// Joins what was cut, partitions and single directions.
    pub fn heal(&mut self) {
        self.network.heal();
        self.listen_everywhere();
    }

    /// Whether packets from one node arrive at another.
    #[must_use]
    pub fn reaches(&self, from: Index, to: Index) -> bool {
        self.network.reaches(number(from), number(to))
    }

    fn listen_everywhere(&mut self) {
        for node in 0..self.hosts.len() {
            self.listen(number(node));
        }
        for to in 0..self.hosts.len() {
            for at in 0..self.hosts[to].ends.len() {
                let (from, to) = (self.hosts[to].ends[at].peer, number(to));
                let retry = Duration::from_micros(self.network.rng.random_range(0..RETRY_AFTER_CUT_US));
                let delay = self.network.delay(from, to);
                self.release(from, to, delay + retry);
            }
        }
    }

    /// Looks at the links of a node from both ends.
    pub(super) fn listen_around(&mut self, node: u32) {
        self.listen(node);
        let peers: Vec<u32> = self.hosts[node as usize].ends.iter().map(|end| end.peer).collect();
        for peer in peers {
            self.listen(peer);
            self.release(peer, node, Duration::ZERO);
        }
    }

    /// Looks at every end of a node: does it hear its peer?
    pub(super) fn listen(&mut self, node: u32) {
        for at in 0..self.hosts[node as usize].ends.len() {
            let end = &self.hosts[node as usize].ends[at];
            let (peer, connection, since) = (end.peer, end.connection, end.deaf_since);
            let far = &self.hosts[peer as usize];
            let hears = far.acts()
                && self.network.reaches(peer, node)
                && far.end(node).is_some_and(|end| end.connection == connection);
            match since {
                None if !hears => {
                    self.hosts[node as usize].ends[at].deaf_since = Some(self.now);
                    self.schedule(self.now + IDLE, Event::Idle { node, peer, connection });
                    self.tell_beats(node, peer, connection);
                }
                Some(_) if hears => {
                    self.hosts[node as usize].ends[at].deaf_since = None;
                    self.tell_beats(node, peer, connection);
                }
                _ => {}
            }
        }
    }

    /// What waited on the way from one host to another goes on after `wait`, if there is a way again.
    fn release(&mut self, from: u32, to: u32, wait: Duration) {
        let now = self.now;
        if !self.network.reaches(from, to) || self.hosts[to as usize].paused {
            return;
        }
        let Some(end) = self.hosts[from as usize].end_mut(to).filter(|end| end.out.is_held(now)) else { return };
        end.out.hold_until(now + wait);
        let connection = end.connection;
        if let Some(at) = end.out.arm(now) {
            self.schedule(at, Event::Deliver { from, to, connection });
        }
    }

    /// The transport of this end has heard nothing for the idle timeout.
    pub(super) fn handle_idle(&mut self, node: u32, peer: u32, connection: u32) {
        let now = self.now;
        let host = &mut self.hosts[node as usize];
        if host.paused {
            host.defer(Event::Idle { node, peer, connection });
        } else if host.end_of(peer, connection).and_then(|end| end.deaf_since).is_some_and(|s| now.since(s) >= IDLE) {
            self.handle_down(node, peer, connection);
        }
    }

    /// This end is gone, for whatever reason.
    pub(super) fn handle_down(&mut self, node: u32, peer: u32, connection: u32) {
        let now = self.now;
        let id = self.hosts[peer as usize].id;
        let host = &mut self.hosts[node as usize];
        if host.paused {
            host.defer(Event::Down { node, peer, connection });
            return;
        }
        let Some(end) = host.close(peer, connection) else { return };
        let clock = host.clock(now);
        if end.up
            && let Some(engine) = &mut host.engine
        {
            if self.modelled_beats {
                let last = last_beat(engine, clock, peer, id, end.deaf_since.unwrap_or(now));
                engine.handle_quiet(clock, id, last);
            }
            engine.handle_link_down(clock, id);
            self.pump(node);
        }
        self.listen(peer);
    }

    /// With modelled heartbeats: what changed at the far end shows here after the way of the last one.
    fn tell_beats(&mut self, node: u32, peer: u32, connection: u32) {
        if self.modelled_beats {
            let at = self.now + self.network.delay(peer, node);
            self.schedule(at, Event::Beats { node, peer, connection });
        }
    }

    /// With modelled heartbeats: tells an engine whether its peer's arrive. Of those that do not, the last one came up
    /// to a round of beats ago, when it was this node's turn.
    pub(super) fn handle_beats(&mut self, node: u32, peer: u32, connection: u32) {
        if !self.modelled_beats {
            return;
        }
        let rtt = self.network.delay(node, peer) + self.network.delay(peer, node);
        let (now, id) = (self.now, self.hosts[peer as usize].id);
        let host = &mut self.hosts[node as usize];
        let clock = host.clock(now);
        let end = host.end_of(peer, connection).map(|end| (end.up, end.deaf_since));
        let (Some((true, deaf_since)), Some(engine)) = (end, &mut host.engine) else { return };
        if let Some(since) = deaf_since {
            let last = last_beat(engine, clock, peer, id, since);
            engine.handle_quiet(clock, id, last);
        } else {
            engine.handle_steady(id, rtt);
        }
        self.pump(node);
    }
}

/// When the last heartbeat came from a peer that fell silent at `since`. Where in its round the peer was is the same for
/// all its watchers, and different each time.
fn last_beat(engine: &Engine, clock: Moment, peer: u32, id: NodeId, since: Moment) -> Moment {
    let (turn, round) = engine.turn_with(id).unwrap_or((0, TURNS));
    let at = (u64::from(peer) ^ since.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Moment(clock.0.saturating_sub((at + turn * TURN_US) % (round * TURN_US)))
}
