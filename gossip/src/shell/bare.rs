//! A member's transport without its engine: for tests that drive an [engine](crate::engine) themselves, or say on the
//! true wire what no member says.
//!
//! Nothing of `nigh` uses it. It keeps a stream to every peer that it is connected to, as the `super::task` does,
//! and writes whatever it is given behind a length: a message, or octets that are none.
//!
//! Rejected: a second set-up of libp2p where the tests are (it would drift from the one that members use).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use ed25519_dalek::SigningKey;
use futures::{AsyncWriteExt, StreamExt};
use libp2p::{
    PeerId, Stream, StreamProtocol, Swarm,
    swarm::{SwarmEvent, dial_opts::DialOpts},
};
use libp2p_stream::{Control, IncomingStreams};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    MeshError,
    swarm::{self, Behaviour, Transport},
};
use crate::{id::NodeId, message::Message, stream};

/// Messages from all readers that were not taken yet.
const INBOX: usize = 256;
/// Messages handed to a writer ahead.
const WRITER: usize = 2;
/// Before a stream that broke is opened again.
const REOPEN: Duration = Duration::from_millis(100);

/// What a [`Bare`] hears.
#[derive(Debug)]
pub enum Heard {
    /// There is a stream to this peer.
    Up(NodeId),
    /// It broke.
    Down(NodeId),
    /// The peer said something; the signatures in it hold.
    Message(NodeId, Message),
}

enum Event {
    Opened(NodeId, Stream),
    NotOpened(NodeId),
    Closed(NodeId),
    Message(NodeId, Message),
}

/// The transport.
pub struct Bare {
    swarm: Swarm<Behaviour>,
    control: Control,
    incoming: IncomingStreams,
    protocol: StreamProtocol,
    links: BTreeMap<NodeId, mpsc::Sender<Vec<u8>>>,
    /// Peers to which a stream is being opened.
    opening: BTreeSet<NodeId>,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
}

impl Bare {
    /// Listens, in a mesh. Within a tokio runtime.
    ///
    /// # Errors
    /// [`MeshError`].
    pub fn new(signing: &SigningKey, mesh: NodeId, listen: &[SocketAddr]) -> Result<Self, MeshError> {
        let swarm = swarm::build(signing, listen)?;
        let mut control = swarm.behaviour().streams.new_control();
        let protocol = swarm::protocol(mesh)?;
        let incoming = control.accept(protocol.clone()).map_err(|error| MeshError::Transport(error.to_string()))?;
        let (sender, events) = mpsc::channel(INBOX);
        Ok(Self {
            swarm,
            control,
            incoming,
            protocol,
            links: BTreeMap::new(),
            opening: BTreeSet::new(),
            tasks: JoinSet::new(),
            sender,
            events,
        })
    }

    /// Calls whoever is there, by QUIC.
    pub fn dial(&mut self, at: SocketAddr) {
        let address = Transport::Quic.address(at);
        let _ = self.swarm.dial(DialOpts::unknown_peer_id().address(address).build());
    }

    /// The peers that there is a stream to.
    pub fn links(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.links.keys().copied()
    }

    /// Whether a peer takes something now.
    #[must_use]
    pub fn has_room(&self, peer: NodeId) -> bool {
        self.links.get(&peer).is_some_and(|link| link.capacity() > 0)
    }

    /// Writes octets behind their length; whether there was room.
    pub fn send(&self, peer: NodeId, octets: Vec<u8>) -> bool {
        self.links.get(&peer).is_some_and(|link| link.try_send(octets).is_ok())
    }

    /// The next thing that happens. Nothing is lost if this is dropped before it is ready.
    pub async fn next(&mut self) -> Heard {
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => {
                    if let SwarmEvent::ConnectionEstablished { peer_id, .. } = event {
                        self.open(peer_id, Duration::ZERO);
                    }
                }
                Some((peer, stream)) = self.incoming.next() => self.read(peer, stream),
                Some(_) = self.tasks.join_next() => {}
                Some(event) = self.events.recv() => match event {
                    Event::Message(peer, message) => return Heard::Message(peer, message),
                    Event::Opened(peer, stream) => {
                        self.opening.remove(&peer);
                        self.write(peer, stream);
                        return Heard::Up(peer);
                    }
                    Event::NotOpened(peer) => {
                        self.opening.remove(&peer);
                        self.open_again(peer);
                    }
                    Event::Closed(peer) => {
                        self.links.remove(&peer);
                        self.open_again(peer);
                        return Heard::Down(peer);
                    }
                },
            }
        }
    }

    fn open_again(&mut self, peer: NodeId) {
        if let Some(peer) = swarm::peer_id(peer).filter(|peer| self.swarm.is_connected(peer)) {
            self.open(peer, REOPEN);
        }
    }

    fn open(&mut self, peer: PeerId, wait: Duration) {
        let Some(node) = swarm::node_id(&peer) else { return };
        if self.links.contains_key(&node) || !self.opening.insert(node) {
            return;
        }
        let (mut control, protocol, events) = (self.control.clone(), self.protocol.clone(), self.sender.clone());
        self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            let event = match control.open_stream(peer, protocol).await {
                Ok(stream) => Event::Opened(node, stream),
                Err(_) => Event::NotOpened(node),
            };
            let _ = events.send(event).await;
        });
    }

    fn read(&mut self, peer: PeerId, mut stream: Stream) {
        let Some(peer) = swarm::node_id(&peer) else { return };
        let events = self.sender.clone();
        self.tasks.spawn(async move {
            let mut buffer = Vec::new();
            while let Ok(message) = stream::read(&mut stream, &mut buffer).await {
                if events.send(Event::Message(peer, message)).await.is_err() {
                    return;
                }
            }
        });
    }

    fn write(&mut self, peer: NodeId, mut stream: Stream) {
        let (link, mut outbox) = mpsc::channel::<Vec<u8>>(WRITER);
        self.links.insert(peer, link);
        let events = self.sender.clone();
        self.tasks.spawn(async move {
            while let Some(octets) = outbox.recv().await {
                let length = u32::try_from(octets.len()).unwrap_or(u32::MAX).to_be_bytes();
                let written = async {
                    stream.write_all(&length).await?;
                    stream.write_all(&octets).await?;
                    stream.flush().await
                };
                if written.await.is_err() {
                    break;
                }
            }
            let _ = events.send(Event::Closed(peer)).await;
        });
    }
}
