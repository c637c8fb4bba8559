//! libp2p, set up for a mesh of known peers: QUIC and TCP (Noise, Yamux), streams of one protocol, limits.
//!
//! The protocol's name carries the mesh's id, so nodes of different meshes connect and then find nothing to say.
//! Nothing is discovered or relayed: who exists is replicated, where they are stands in their member pages.

use std::{net::SocketAddr, time::Duration};

use ed25519_dalek::SigningKey;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    allow_block_list::{self, BlockedPeers},
    connection_limits::{self, ConnectionLimits},
    identity::{Keypair, PublicKey, ed25519},
    multiaddr::Protocol,
    noise, swarm, tcp, yamux,
};

use super::{MeshError, door};
use crate::id::NodeId;

/// Connections in all. A node keeps 16 links; the rest is room for newcomers at a bootstrap peer.
const MAX_CONNECTIONS: u32 = 512;
/// Handshakes in progress from outside: they cost CPU before we know who it is.
const MAX_PENDING_IN: u32 = 64;
/// Bytes of a stream that wait here unread, at the most: libp2p's ten million would be what each member that is read at its
/// [pace](super::pace) can make us hold. A round trip of 200 ms leaves five megabytes a second.
const WINDOW: u32 = 1 << 20;
/// Streams that a peer may have open: the present one, and old ones on their way out.
const STREAMS: u32 = 8;
/// Both ends may dial at once; a limit of one could close both connections.
const MAX_PER_PEER: u32 = 2;
/// A link holds a stream, which keeps its connection; this is for connections that never got one.
const IDLE: Duration = Duration::from_secs(30);

#[derive(swarm::NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) streams: libp2p_stream::Behaviour,
    /// The revoked. Who was never admitted is let in as far as its hello: it may bring its certificate.
    pub(super) barred: allow_block_list::Behaviour<BlockedPeers>,
    limits: connection_limits::Behaviour,
    door: door::Behaviour,
}

pub(super) fn build(signing: &SigningKey, listen: &[SocketAddr]) -> Result<Swarm<Behaviour>, MeshError> {
    let keypair = keypair(signing)?;
    let limits = ConnectionLimits::default()
        .with_max_established(Some(MAX_CONNECTIONS))
        .with_max_pending_incoming(Some(MAX_PENDING_IN))
        .with_max_established_per_peer(Some(MAX_PER_PEER));
    let mut swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|error| MeshError::Transport(error.to_string()))?
        .with_quic_config(|mut quic| {
            quic.max_stream_data = WINDOW;
            quic.max_connection_data = 2 * WINDOW;
            quic.max_concurrent_stream_limit = STREAMS;
            quic
        })
        .with_behaviour(|_| Behaviour {
            streams: libp2p_stream::Behaviour::new(),
            barred: allow_block_list::Behaviour::default(),
            limits: connection_limits::Behaviour::new(limits),
            door: door::Behaviour::new(),
        })
        .map_err(|error| MeshError::Transport(error.to_string()))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build();
    for address in listen {
        for transport in [Transport::Quic, Transport::Tcp] {
            swarm
                .listen_on(transport.address(*address))
                .map_err(|error| MeshError::Listen { address: *address, reason: deepest(&error) })?;
        }
    }
    Ok(swarm)
}

/// The two ways to reach an address.
#[derive(Clone, Copy, Debug)]
pub(super) enum Transport {
    Quic,
    Tcp,
}

impl Transport {
    /// QUIC first, and TCP in turn: where UDP is filtered, the second attempt comes half a second later.
    pub(super) fn of_attempt(attempt: u32) -> Self {
        if attempt.is_multiple_of(2) { Self::Quic } else { Self::Tcp }
    }

    pub(super) fn address(self, at: SocketAddr) -> Multiaddr {
        let ip = Multiaddr::from(at.ip());
        match self {
            Self::Quic => ip.with(Protocol::Udp(at.port())).with(Protocol::QuicV1),
            Self::Tcp => ip.with(Protocol::Tcp(at.port())),
        }
    }
}

pub(super) fn protocol(mesh: NodeId) -> Result<StreamProtocol, MeshError> {
    StreamProtocol::try_from_owned(format!("/nigh/{mesh}/1")).map_err(|error| MeshError::Transport(error.to_string()))
}

fn keypair(signing: &SigningKey) -> Result<Keypair, MeshError> {
    let mut bytes = signing.to_keypair_bytes();
    let keypair =
        ed25519::Keypair::try_from_bytes(&mut bytes).map_err(|error| MeshError::Transport(error.to_string()))?;
    Ok(keypair.into())
}

/// The key inside a peer id: ids of Ed25519 keys hold them whole.
pub(super) fn node_id(peer: &PeerId) -> Option<NodeId> {
    let key = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?.try_into_ed25519().ok()?;
    NodeId::from_bytes(key.to_bytes()).ok()
}

pub(super) fn peer_id(node: NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(node.as_bytes()).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// The last cause of an error: libp2p wraps "address in use" three times.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn node_and_peer_ids_are_one_key() {
        let signing = SigningKey::from_bytes(&[3; 32]);
        let node = NodeId::from(signing.verifying_key());
        let peer = keypair(&signing).unwrap().public().to_peer_id();
        assert_eq!(node_id(&peer), Some(node));
        assert_eq!(peer_id(node), Some(peer));
    }

    #[test]
    fn addresses_of_both_transports() {
        let at: SocketAddr = "192.0.2.1:4242".parse().unwrap();
        assert_eq!(Transport::of_attempt(0).address(at).to_string(), "/ip4/192.0.2.1/udp/4242/quic-v1");
        assert_eq!(Transport::of_attempt(1).address(at).to_string(), "/ip4/192.0.2.1/tcp/4242");
    }
}
