//! The one task that drives the engine.
//!
//! A *link* is up while our own outgoing stream to the peer is. A stream that breaks while the connection lives is
//! opened again; the engine hears of a link only when there is something to write to.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm,
    swarm::{ConnectionId, SwarmEvent, dial_opts::DialOpts},
};
use libp2p_stream::{Control, IncomingStreams, OpenStreamError};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    Command, MeshConfig, MeshError, MeshView,
    contacts::Contacts,
    disk::{self, Remembered, Store},
    door::{self, Origin},
    pace::Paces,
    saving::Saver,
    streams::{read_all, write_all},
    swarm::{self, Behaviour, Transport},
};
use crate::{
    engine::{Action, Engine, Setup, Shared, Target},
    id::NodeId,
    message::Message,
    replica::Accepted,
    time::Moment,
};

/// Messages from all readers that the engine has not seen yet; a full queue makes the readers wait.
const INBOX: usize = 256;
/// Messages handed to a writer ahead: one being written, one ready.
const WRITER: usize = 2;
/// Inbound streams of one peer that are read: the present one, and an old one on its way out.
const STREAMS_PER_PEER: usize = 2;
/// Readers are told of a change at once, and then not again for this long: the changes until then are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// ... and longer if making the view is dear: it takes at most this part of the task's time.
const SHOW_SHARE: u32 = 20;
/// Opening a stream on a live connection takes a round trip; a peer that does not answer is no link.
const OPEN: Duration = Duration::from_secs(5);
/// A stream that broke younger than this is not opened again at once: a peer that takes no stream of ours (it has all
/// that it reads of us, or its version cannot read us) would have us open one each round trip.
const YOUNG: Duration = Duration::from_secs(1);
/// It is opened after this instead: five times in the silence that is accused.
const REOPEN: Duration = Duration::from_millis(200);
/// A peer dials only when it has no link to us. If it does while we hold a connection on which it was silent for this
/// long, that one is a left-over of its last life, which QUIC would notice after 10 s only. A younger one
/// means that both dialled at once, and both may stay.
const LEFT_OVER: Duration = Duration::from_millis(600);
/// How long a goodbye may take to be written to the neighbours.
const GOODBYE: Duration = Duration::from_millis(500);

/// From the tasks beside the engine's.
pub(super) enum Event {
    Opened { peer: NodeId, stream: Stream },
    NotOpened { peer: NodeId, foreign: bool },
    Closed { peer: NodeId, link: u64 },
    Taken,
    Message { peer: NodeId, message: Message },
    ReaderEnded { peer: NodeId },
    Resolved { target: Target, addresses: Vec<Multiaddr> },
}

/// The connections with one peer, and when it was last heard on any.
#[derive(Default)]
struct Connections {
    open: Vec<(ConnectionId, Instant)>,
    heard: Option<Instant>,
    /// It called, from here.
    from: Option<Origin>,
}

struct Writer {
    link: u64,
    since: Instant,
    messages: mpsc::Sender<Message>,
}

pub(super) struct Task {
    engine: Engine,
    start: Instant,
    state_dir: PathBuf,
    protocol: StreamProtocol,

    swarm: Swarm<Behaviour>,
    control: Control,
    incoming: IncomingStreams,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    view: watch::Sender<Arc<MeshView>>,

    writers: BTreeMap<NodeId, Writer>,
    readers: BTreeMap<NodeId, usize>,
    /// Readers that have read a hello and wait until the engine heeds the peer: what a stranger says is not verified,
    /// and nothing that a member says before our own stream to it is up gets lost. At most [`STREAMS_PER_PEER`] for
    /// each connection.
    waiting: Vec<(NodeId, oneshot::Sender<()>)>,
    /// How fast each peer is read.
    paces: Paces,
    links: u64,
    connections: BTreeMap<NodeId, Connections>,
    contacts: Contacts,
    side_tasks: JoinSet<()>,
    shown: u64,
    /// Something changed since.
    unshown: bool,
    shown_at: Instant,
    /// What the last view cost to make: thousands of members take milliseconds.
    show_took: Duration,
    saver: Saver,
}

impl Task {
    pub(super) async fn new(
        config: MeshConfig,
        commands: mpsc::Receiver<Command>,
        view: watch::Sender<Arc<MeshView>>,
    ) -> Result<Self, MeshError> {
        let id = NodeId::from(config.signing.verifying_key());
        let dir = config.state_dir.clone();
        let opened = tokio::task::spawn_blocking(move || Store::open(&dir, SystemTime::now(), id)).await;
        let (store, Remembered { epoch, pages }) = opened.map_err(|_| MeshError::Stopped)??;
        let saver = Saver::new(store, pages.len());
        let swarm = swarm::build(&config.signing, &config.listen)?;
        let mut control = swarm.behaviour().streams.new_control();
        let protocol = swarm::protocol(config.mesh)?;
        let incoming = control.accept(protocol.clone()).map_err(|error| MeshError::Transport(error.to_string()))?;
        let start = Instant::now();
        let (sender, events) = mpsc::channel(INBOX);
        tracing::info!(%id, epoch, pages = pages.len(), "joining the mesh");
        let engine = Engine::new(
            Moment::ZERO,
            Setup {
                signing: config.signing,
                roots: vec![config.mesh],
                certificate: config.certificate,
                appointment: config.appointment,
                epoch,
                addresses: config.advertise,
                bootstrap: config.bootstrap,
                pages,
                seed: rand::random(),
                shared: Shared::default(),
            },
        );
        let mut task = Self {
            engine,
            start,
            state_dir: config.state_dir,
            protocol,
            swarm,
            control,
            incoming,
            commands,
            events,
            sender,
            view,
            writers: BTreeMap::new(),
            readers: BTreeMap::new(),
            waiting: Vec::new(),
            paces: Paces::default(),
            links: 0,
            connections: BTreeMap::new(),
            contacts: Contacts::default(),
            side_tasks: JoinSet::new(),
            shown: 0,
            unshown: true,
            shown_at: start,
            show_took: Duration::ZERO,
            saver,
        };
        task.show();
        Ok(task)
    }

    pub(super) async fn run(mut self) {
        loop {
            self.pump();
            let timeout = self.start + self.engine.poll_timeout().since(Moment::ZERO);
            self.unshown |= self.contacts.take_changed() || self.engine.version() != self.shown;
            let wake = if self.unshown { timeout.min(self.show_at()) } else { timeout };
            tokio::select! {
                event = self.swarm.select_next_some() => self.handle_swarm(event),
                Some((peer, stream)) = self.incoming.next() => self.handle_incoming(peer, stream),
                Some(event) = self.events.recv() => self.handle_event(event),
                command = self.commands.recv() => match command {
                    Some(Command::Leave { done }) => return self.leave(Some(done)).await,
                    None => return self.leave(None).await,
                    Some(Command::Die) => return,
                    Some(command) => self.handle_command(command),
                },
                Some(_) = self.side_tasks.join_next() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            let now = self.now();
            self.engine.handle_wall_clock(unix_seconds());
            self.engine.handle_timeout(now);
            self.unshown |= self.contacts.take_changed() || self.engine.version() != self.shown;
            if self.unshown && self.show_at() <= Instant::now() {
                self.show();
            }
            self.saver.save_if_due(&mut self.engine, &mut self.side_tasks);
        }
    }

    fn now(&self) -> Moment {
        self.start.elapsed().into()
    }

    /// Carries out what the engine asks for.
    fn pump(&mut self) {
        self.let_readers_go_on();
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Dial { target, attempt } => self.resolve(target, Transport::of_attempt(attempt)),
                Action::Close(node) => {
                    if let Some(peer) = swarm::peer_id(node) {
                        let _ = self.swarm.disconnect_peer_id(peer);
                    }
                }
                Action::Bar(node) => {
                    if let Some(peer) = swarm::peer_id(node) {
                        self.swarm.behaviour_mut().barred.block_peer(peer);
                    }
                }
                Action::Unbar(node) => {
                    if let Some(peer) = swarm::peer_id(node) {
                        self.swarm.behaviour_mut().barred.unblock_peer(peer);
                    }
                }
                Action::RememberEpoch(epoch) => {
                    if let Err(error) = disk::remember_epoch(&self.state_dir, epoch) {
                        tracing::error!(%error, "the epoch could not be written; after a restart old pages may win for a while");
                    }
                }
            }
        }
        let now = self.now();
        let ready: Vec<NodeId> = self.engine.ready().collect();
        for peer in ready {
            let Some(writer) = self.writers.get(&peer) else { continue };
            while let Ok(place) = writer.messages.try_reserve() {
                match self.engine.poll_transmit(now, peer) {
                    Some(message) => place.send(message),
                    None => break,
                }
            }
        }
    }

    fn let_readers_go_on(&mut self) {
        for (peer, reader) in std::mem::take(&mut self.waiting) {
            if self.engine.hears(peer) {
                let _ = reader.send(());
            } else if !reader.is_closed() {
                self.waiting.push((peer, reader));
            }
        }
    }

    fn handle_swarm(&mut self, event: SwarmEvent<swarm::BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, num_established, endpoint, .. } => {
                let node = swarm::node_id(&peer_id);
                let bootstrap = self.contacts.handle_connected(connection_id, node);
                let Some(node) = node else {
                    let _ = self.swarm.disconnect_peer_id(peer_id);
                    return;
                };
                if let Some(address) = bootstrap {
                    self.engine.handle_bootstrap(&address, node);
                }
                let from = Origin::of(endpoint.get_remote_address()).filter(|_| endpoint.is_listener());
                if from.is_some_and(|from| self.is_crowded(node, from)) {
                    self.swarm.close_connection(connection_id);
                    return;
                }
                self.replace_connections(node, connection_id, from);
                if num_established.get() == 1 {
                    self.open(node, peer_id, Duration::ZERO);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                let Some(node) = swarm::node_id(&peer_id) else { return };
                tracing::debug!(peer = %node.short(), ?cause, "connection closed");
                if let Some(connections) = self.connections.get_mut(&node) {
                    connections.open.retain(|(id, _)| *id != connection_id);
                }
                if num_established == 0 {
                    self.connections.remove(&node);
                    self.waiting.retain(|(peer, _)| *peer != node);
                    self.close(node);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.contacts.handle_failed(connection_id, &error);
            }
            SwarmEvent::NewListenAddr { address, .. } => tracing::debug!(%address, "listening for the mesh"),
            SwarmEvent::ListenerClosed { reason, addresses, .. } => {
                tracing::error!(
                    ?addresses,
                    ?reason,
                    "a mesh listener closed; peers cannot reach this node there until it restarts"
                );
            }
            _ => {}
        }
    }

    /// Whether a stranger comes from where as many stand at the door as may. Looks at every connection, of which there
    /// are hundreds at most, for each that is new.
    fn is_crowded(&self, node: NodeId, from: Origin) -> bool {
        let stranger = |node: &NodeId| !self.engine.hears(*node) && !self.engine.replica().is_admitted(*node);
        let there = self.connections.iter().filter(|(other, at)| at.from == Some(from) && stranger(other));
        stranger(&node) && there.count() >= door::MAX_STRANGERS
    }

    /// Notes a new connection and closes those that it shows to be left over.
    fn replace_connections(&mut self, node: NodeId, new: ConnectionId, caller: Option<Origin>) {
        let Connections { open, heard, from } = self.connections.entry(node).or_default();
        *from = caller.or(*from);
        if heard.is_none_or(|heard| heard.elapsed() > LEFT_OVER) {
            for (old, _) in open.iter().filter(|(_, since)| since.elapsed() > LEFT_OVER) {
                self.swarm.close_connection(*old);
            }
        }
        open.push((new, Instant::now()));
    }

    fn handle_incoming(&mut self, peer: PeerId, mut stream: Stream) {
        let Some(peer) = swarm::node_id(&peer) else { return };
        let readers = self.readers.entry(peer).or_default();
        if *readers >= STREAMS_PER_PEER {
            return;
        }
        *readers += 1;
        if *readers > 1
            && let Some(connections) = self.connections.get(&peer)
        {
            // A peer opens a second stream only when its first is gone, so what it no longer writes on may be what we
            // still write to: a life that ended less than LEFT_OVER ago. The newest connection is surely of this one.
            let older = connections.open.len().saturating_sub(1);
            for (old, _) in &connections.open[..older] {
                self.swarm.close_connection(*old);
            }
        }
        let (go_on, heard) = oneshot::channel();
        self.waiting.push((peer, go_on));
        let (events, pace, start) = (self.sender.clone(), self.paces.of(self.now(), peer), self.start);
        self.side_tasks.spawn(async move {
            let clock = || start.elapsed().into();
            if let Err(error) = read_all(peer, &mut stream, heard, &events, &pace, clock).await {
                tracing::debug!(peer = %peer.short(), %error, "stream ended");
            }
            let _ = events.send(Event::ReaderEnded { peer }).await;
        });
    }

    fn handle_event(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Message { peer, message } => {
                if let Some(connections) = self.connections.get_mut(&peer) {
                    connections.heard = Some(Instant::now());
                }
                self.engine.handle_message(now, peer, message);
            }
            Event::Opened { peer, stream } => {
                self.links += 1;
                self.contacts.handle_opened(peer);
                let (messages, outbox) = mpsc::channel(WRITER);
                self.side_tasks.spawn(write_all(peer, self.links, stream, outbox, self.sender.clone()));
                self.writers.insert(peer, Writer { link: self.links, since: Instant::now(), messages });
                self.engine.handle_link_up(now, peer);
            }
            Event::NotOpened { peer, foreign } => {
                if foreign {
                    self.contacts.handle_foreign(peer);
                }
                // A peer of another mesh, or one that is going down: drop the connection, the dialler decides.
                if let Some(peer) = swarm::peer_id(peer) {
                    let _ = self.swarm.disconnect_peer_id(peer);
                }
            }
            Event::Closed { peer, link } => {
                if let Some(writer) = self.writers.get(&peer).filter(|writer| writer.link == link) {
                    let wait = if writer.since.elapsed() < YOUNG { REOPEN } else { Duration::ZERO };
                    self.close(peer);
                    if let Some(peer_id) = swarm::peer_id(peer)
                        && self.swarm.is_connected(&peer_id)
                    {
                        self.open(peer, peer_id, wait);
                    }
                }
            }
            Event::ReaderEnded { peer } => {
                if let Some(readers) = self.readers.get_mut(&peer) {
                    *readers = readers.saturating_sub(1);
                    if *readers == 0 {
                        self.readers.remove(&peer);
                    }
                }
            }
            Event::Resolved { target, addresses } => self.dial(target, addresses),
            Event::Taken => {}
        }
    }

    fn handle_command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Publish { table, slot, body } => self.engine.publish(now, table, slot, body),
            Command::Submit { pages, answer } => {
                let outcome = pages.into_iter().map(|page| self.engine.submit(now, page)).collect::<Vec<_>>();
                if outcome.contains(&Ok(Accepted::New)) {
                    self.show();
                }
                let _ = answer.send(outcome);
            }
            Command::Leave { .. } | Command::Die => {}
        }
    }

    fn open(&mut self, node: NodeId, peer: PeerId, wait: Duration) {
        let (mut control, protocol, events) = (self.control.clone(), self.protocol.clone(), self.sender.clone());
        self.side_tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            let event = match tokio::time::timeout(OPEN, control.open_stream(peer, protocol)).await {
                Ok(Ok(stream)) => Event::Opened { peer: node, stream },
                Ok(Err(error)) => {
                    tracing::debug!(peer = %node.short(), %error, "no stream to the peer");
                    Event::NotOpened { peer: node, foreign: matches!(error, OpenStreamError::UnsupportedProtocol(_)) }
                }
                Err(_) => Event::NotOpened { peer: node, foreign: false },
            };
            let _ = events.send(event).await;
        });
    }

    fn close(&mut self, peer: NodeId) {
        let now = self.now();
        if self.writers.remove(&peer).is_some() {
            self.engine.handle_link_down(now, peer);
        }
    }

    /// Names are looked up beside the engine: a slow resolver must not stop heartbeats.
    fn resolve(&mut self, target: Target, transport: Transport) {
        let hosts = match &target {
            Target::Bootstrap(address) => vec![address.clone()],
            Target::Member(_, addresses) => addresses.clone(),
        };
        let events = self.sender.clone();
        self.side_tasks.spawn(async move {
            let mut addresses = Vec::new();
            for host in hosts {
                match tokio::net::lookup_host(&host).await {
                    Ok(found) => addresses.extend(found.take(4).map(|at| transport.address(at))),
                    Err(error) => tracing::debug!(%host, %error, "address not resolved"),
                }
            }
            let _ = events.send(Event::Resolved { target, addresses }).await;
        });
    }

    fn dial(&mut self, target: Target, addresses: Vec<Multiaddr>) {
        let (options, address) = match target {
            Target::Bootstrap(address) => {
                let Some(first) = addresses.into_iter().next() else {
                    self.contacts.handle_unresolved(&address);
                    return;
                };
                (DialOpts::unknown_peer_id().address(first).build(), Some(address))
            }
            Target::Member(node, _) => {
                let Some(peer) = swarm::peer_id(node).filter(|_| !addresses.is_empty()) else { return };
                (DialOpts::peer_id(peer).addresses(addresses).build(), None)
            }
        };
        let connection = options.connection_id();
        if self.swarm.dial(options).is_ok()
            && let Some(address) = address
        {
            self.contacts.handle_dialled(connection, address);
        }
    }

    /// When readers may be told next.
    fn show_at(&self) -> Instant {
        self.shown_at + GATHER.max(self.show_took * SHOW_SHARE)
    }

    fn show(&mut self) {
        let begin = Instant::now();
        (self.shown, self.unshown) = (self.engine.version(), false);
        let obstacles = self.contacts.obstacles();
        self.view.send_replace(Arc::new(MeshView { obstacles, ..MeshView::of(&self.engine) }));
        self.shown_at = Instant::now();
        // When a whole machine hears of a death at once, one view may take long because others have the core. That says
        // nothing of the next one, and the verdict must not wait twenty times as long: the estimate at most doubles.
        let most = (self.show_took * 2).max(Duration::from_millis(1));
        self.show_took = (self.shown_at - begin).min(most);
    }

    async fn leave(mut self, done: Option<oneshot::Sender<()>>) {
        let now = self.now();
        self.engine.leave(now);
        self.show();
        self.pump();
        let until = Instant::now() + GOODBYE;
        // Keep the connections moving while the writers bring the goodbye out.
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.handle_swarm(event),
                Some(event) = self.events.recv() => self.handle_event(event),
                () = tokio::time::sleep_until(until.into()) => break,
            }
            self.pump();
        }
        let last = self.saver.last(&mut self.engine).await;
        // The sockets and the side tasks end here; whoever waits may bind the ports again soon.
        drop(self);
        last.write().await;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
