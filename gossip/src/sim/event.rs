//! What an event does, and what an engine wants done after it.

use std::time::Duration;

use super::{
    Sim,
    host::{Host, address, node_at},
    liar,
    network::stream::{Filling, Load, Parcel, Path},
    number,
    queue::Event,
    traffic,
};
use crate::{
    engine::{Action, Engine, Target},
    id::NodeId,
    time::Moment,
};

/// Bytes that a host's line takes in a microsecond: 100 Mbit/s. What does not fit leaves later.
const UPLINK_BYTES_PER_US: u64 = 12;
/// An engine whose timer asks to be called at once, again and again, would stop the world's clock.
const SHORTEST_TIMER: Duration = Duration::from_micros(100);
/// Bytes of the trace that are hashed at a time.
const TRACE_CHUNK: usize = 64 * 1024;

/// A hash over everything that was delivered.
#[derive(Default)]
pub(super) struct Trace {
    hasher: blake3::Hasher,
    pending: Vec<u8>,
}

impl Trace {
    fn record(&mut self, now: Moment, from: u32, to: u32, kind: usize, bytes: u32) {
        self.pending.extend_from_slice(&now.0.to_be_bytes());
        self.pending.extend_from_slice(&from.to_be_bytes());
        self.pending.extend_from_slice(&to.to_be_bytes());
        self.pending.extend_from_slice(&bytes.to_be_bytes());
        self.pending.push(u8::try_from(kind).unwrap_or(u8::MAX));
        if self.pending.len() >= TRACE_CHUNK {
            self.hasher.update(&self.pending);
            self.pending.clear();
        }
    }

    pub(super) fn text(&self) -> String {
        self.hasher.clone().update(&self.pending).finalize().to_hex()[..16].to_owned()
    }
}

impl Sim {
    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Tick { node, life } => self.handle_tick(node, life),
            Event::Dial { from, to } => self.handle_dial(from, to),
            Event::Up { node, peer, connection } => self.handle_up(node, peer, connection),
            Event::Down { node, peer, connection } => self.handle_down(node, peer, connection),
            Event::Idle { node, peer, connection } => self.handle_idle(node, peer, connection),
            Event::Beats { node, peer, connection } => self.handle_beats(node, peer, connection),
            Event::Deliver { from, to, connection } => self.handle_deliver(from, to, connection),
            Event::Resume { node, pause } => self.handle_resume(node, pause),
            Event::Stall { node } => self.handle_stall(node),
        }
    }

    fn handle_tick(&mut self, node: u32, life: u32) {
        let now = self.now;
        let host = &mut self.hosts[node as usize];
        if host.life != life || host.paused || host.armed != Some(now) {
            return;
        }
        host.armed = None;
        let clock = host.clock(now);
        let Some(engine) = &mut host.engine else { return };
        engine.handle_timeout(clock);
        if let Some(liar) = &mut host.liar {
            let all = liar.speak(&host.signing, engine, &mut self.network.rng);
            for said in all {
                let mut load = Some(said.load);
                self.send(node, said.to, |_| load.take());
            }
        }
        self.pump(node);
    }

    fn handle_dial(&mut self, from: u32, to: u32) {
        let (dialler, dialled) = (&self.hosts[from as usize], &self.hosts[to as usize]);
        let open = match (dialler.end(to), dialled.end(from)) {
            (Some(a), Some(b)) => a.connection == b.connection,
            _ => false,
        };
        let reach = self.network.reaches(from, to) && self.network.reaches(to, from);
        if from == to || open || !reach || !dialler.acts() || !dialled.acts() {
            return;
        }
        let Some(answered) = self.network.handshake(self.now, to, from) else { return };
        let Some(finished) = self.network.handshake(answered, from, to) else { return };
        self.connections += 1;
        let connection = self.connections;
        self.hosts[from as usize].open(to, connection);
        self.hosts[to as usize].open(from, connection);
        self.schedule(answered, Event::Up { node: from, peer: to, connection });
        self.schedule(finished, Event::Up { node: to, peer: from, connection });
    }

    pub(super) fn handle_up(&mut self, node: u32, peer: u32, connection: u32) {
        let now = self.now;
        let id = self.hosts[peer as usize].id;
        let host = &mut self.hosts[node as usize];
        if host.paused {
            host.defer(Event::Up { node, peer, connection });
            return;
        }
        let clock = host.clock(now);
        let Some(end) = host.end_of(peer, connection).filter(|end| !end.up) else { return };
        end.up = true;
        if let Some(engine) = &mut host.engine {
            engine.handle_bootstrap(&address(peer as usize), id);
            engine.handle_link_up(clock, id);
            self.handle_beats(node, peer, connection);
            self.pump(node);
        }
    }

    fn handle_deliver(&mut self, from: u32, to: u32, connection: u32) {
        let now = self.now;
        let Some(end) = self.hosts[from as usize].end_of(to, connection) else { return };
        if !end.out.fires(now) {
            return;
        }
        let (receiver, reach) = (&mut self.hosts[to as usize], self.network.reaches(from, to));
        if receiver.paused || !reach || receiver.engine.is_none() {
            return; // It waits in the stream; the end of the pause or of the cut looks again.
        }
        match receiver.end_of(from, connection) {
            // Data proves that the handshake is complete.
            Some(end) if !end.up => self.handle_up(to, from, connection),
            Some(_) => {}
            None => {
                // A stateless reset (RFC 9000 section 10.3): nobody here knows this connection.
                let at = now + self.network.delay(to, from);
                self.schedule(at, Event::Down { node: from, peer: to, connection });
                return;
            }
        }
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let mut blocked = false;
        if let Some(end) = self.hosts[from as usize].end_of(to, connection) {
            blocked = !end.out.has_room();
            arrivals.extend(std::iter::from_fn(|| end.out.pop(now)));
            if let Some(at) = end.out.arm(now) {
                self.schedule(at, Event::Deliver { from, to, connection });
            }
        }
        let id = self.hosts[from as usize].id;
        for parcel in arrivals.drain(..) {
            if !self.take_in(id, from, to, parcel) {
                self.unreadable += 1;
                self.close(to, from, connection);
                break;
            }
        }
        arrivals.clear();
        self.arrivals = arrivals;
        self.pump(to);
        if blocked {
            self.pump(from);
        }
    }

    /// A message arrives; false if it cannot be read.
    fn take_in(&mut self, id: NodeId, from: u32, to: u32, parcel: Parcel) -> bool {
        let now = self.now;
        let Some((mut message, kind)) = liar::receive(parcel.load) else { return false };
        self.delivered += 1;
        self.trace.record(now, from, to, kind, parcel.bytes);
        for spread in &mut self.spreads {
            spread.carried(&message);
        }
        let host = &mut self.hosts[to as usize];
        host.traffic.received(kind, parcel.bytes as usize, parcel.packets.into());
        host.judge_soon |= traffic::is_of_life(&message);
        let clock = host.clock(now);
        if let Some(liar) = &host.liar {
            message = liar.overhear(host.id, message);
        }
        let Some(engine) = &mut host.engine else { return true };
        engine.handle_message(clock, id, message);
        for spread in &mut self.spreads {
            spread.look(now, to, engine);
        }
        true
    }

    fn close(&mut self, node: u32, peer: u32, connection: u32) {
        let at = self.now + self.network.delay(node, peer);
        self.schedule(self.now, Event::Down { node, peer, connection });
        if self.network.reaches(node, peer) {
            self.schedule(at, Event::Down { node: peer, peer: node, connection });
        }
    }

    /// Carries out what an engine asks for.
    pub(super) fn pump(&mut self, node: u32) {
        let now = self.now;
        let host = &mut self.hosts[node as usize];
        if host.paused {
            return;
        }
        let clock = host.clock(now);
        let Some(mut engine) = host.engine.take() else { return };
        while let Some(action) = engine.poll_action() {
            self.act(node, action);
        }
        let mut peers = std::mem::take(&mut self.peers);
        peers.extend(engine.ready());
        for peer in peers.drain(..) {
            self.send(node, peer, |hand| {
                let message = engine.poll_transmit(clock, peer)?;
                let Some((liar, me, rng)) = hand else { return Some(Load::Message(message)) };
                Some(liar.tamper(me, message, rng))
            });
        }
        self.peers = peers;
        self.arm(node, &engine);
        self.hosts[node as usize].engine = Some(engine);
        if std::mem::take(&mut self.hosts[node as usize].judge_soon) {
            self.judge(node);
        }
    }

    fn arm(&mut self, node: u32, engine: &Engine) {
        let now = self.now;
        let host = &mut self.hosts[node as usize];
        let next = host.when(engine.poll_timeout()).max(now + SHORTEST_TIMER);
        if host.armed.is_none_or(|armed| next < armed) {
            host.armed = Some(next);
            let life = host.life;
            self.schedule(next, Event::Tick { node, life });
        }
    }

    fn act(&mut self, node: u32, action: Action) {
        match action {
            Action::Dial { target, .. } => {
                let address = match &target {
                    Target::Bootstrap(address) => Some(address),
                    Target::Member(_, addresses) => addresses.first(),
                };
                let to = address.and_then(|address| node_at(address)).filter(|to| *to < self.hosts.len()).map(number);
                if let Some(to) = to
                    && let Some(at) = self.network.handshake(self.now, node, to)
                {
                    self.schedule(at, Event::Dial { from: node, to });
                }
            }
            Action::Close(peer) => {
                if let Some(peer) = self.index(peer)
                    && let Some(connection) = self.hosts[node as usize].end(peer).map(|end| end.connection)
                {
                    self.close(node, peer, connection);
                }
            }
            // The transport's own refusal: the engine closes such links as well.
            Action::Bar(_) | Action::Unbar(_) => {}
            Action::RememberEpoch(epoch) => self.hosts[node as usize].disk.epoch = epoch,
        }
    }

    /// Puts what `next` gives on the stream to a peer, as long as it takes more.
    fn send(&mut self, node: u32, peer: NodeId, mut next: impl FnMut(Hand<'_>) -> Option<Load>) {
        let now = self.now;
        let Some(to) = self.index(peer) else { return };
        let Host { ends, traffic, liar, uplink_free, id, judge_soon, .. } = &mut self.hosts[node as usize];
        let Ok(at) = ends.binary_search_by_key(&to, |end| end.peer) else { return };
        let end = &mut ends[at];
        if !end.up {
            return;
        }
        let mut filling = Filling::default();
        let mut path: Option<Path> = None;
        while end.out.has_room() {
            let Some(load) = next(liar.as_mut().map(|liar| (liar, *id, &mut self.network.rng))) else { break };
            let (kind, bytes) = match &load {
                Load::Message(message) => {
                    *judge_soon |= traffic::is_of_life(message);
                    (traffic::kind(message), message.wire_len())
                }
                Load::Bytes(bytes) => (traffic::NEWS, bytes.len() + 4),
            };
            let path = *path.get_or_insert_with(|| self.network.path(node, to));
            let leaves = now.max(*uplink_free);
            *uplink_free = leaves + Duration::from_micros(bytes as u64 / UPLINK_BYTES_PER_US);
            let sent = end.out.push(leaves, path, &mut filling, load, bytes, &mut self.network.rng);
            traffic.sent(kind, bytes, sent.packets.into());
            traffic.sent_again(sent.again.into(), bytes);
        }
        if let Some(at) = end.out.arm(now) {
            let connection = end.connection;
            self.schedule(at, Event::Deliver { from: node, to, connection });
        }
    }
}

/// A liar's hand, if there is one.
type Hand<'a> = Option<(&'a mut liar::Liar, NodeId, &'a mut rand_chacha::ChaCha8Rng)>;
