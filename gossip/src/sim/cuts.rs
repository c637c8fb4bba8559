//! Who hears whom: cuts of the network, silence on a link, and when the transport gives a connection up.
//!
//! An end is *deaf* while nothing can come from its peer: the path is cut, the peer stands still, is dead, or has
//! forgotten the connection. Deaf for the idle timeout, it closes; the far end, if it is still there, is deaf from then
//! on. An end that hears again in time goes on as if nothing had been, and what was sent meanwhile arrives.

use std::time::Duration;

use rand::RngExt;

use super::{Index, Sim, network::IDLE, number, queue::Event};
use crate::time::Moment;

/// After a cut the transport's next try comes within this long: a heartbeat is due on every link.
const RETRY_AFTER_CUT_US: u64 = 200_000;
/// Time between two heartbeats.
const BEAT_US: u64 = 200_000;

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
                engine.handle_quiet(clock, id, clock);
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
    /// to a beat ago.
    pub(super) fn handle_beats(&mut self, node: u32, peer: u32, connection: u32) {
        if !self.modelled_beats {
            return;
        }
        let phase = self.rng.random_range(0..BEAT_US);
        let rtt = self.network.delay(node, peer) + self.network.delay(peer, node);
        let (now, id) = (self.now, self.hosts[peer as usize].id);
        let host = &mut self.hosts[node as usize];
        let clock = host.clock(now);
        let hears = host.end_of(peer, connection).map(|end| (end.up, end.deaf_since.is_none()));
        let (Some((true, hears)), Some(engine)) = (hears, &mut host.engine) else { return };
        if hears {
            engine.handle_steady(id, rtt);
        } else {
            engine.handle_quiet(clock, id, Moment(clock.0.saturating_sub(phase)));
        }
        self.pump(node);
    }
}
