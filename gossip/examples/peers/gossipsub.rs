//! libp2p's gossipsub, bare: one topic, nothing replicated, no members.
//!
//! Settings: D = 6 (5 to 12), heartbeat 1 s and all else by default, except flood_publish off (by default a writer sends
//! to all it is connected to) and message ids of 20 bytes (a hash of content and writer). Signed and strictly validated,
//! over QUIC. It has no discovery: each node dials 8 others drawn by the seed, about 16 connections a node as nigh has,
//! and keeps them. Copies are counted in the data transform, which sees a message before it is known to be a duplicate.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    identity::{Keypair, ed25519},
    multiaddr::Protocol,
    swarm::{SwarmEvent, dial_opts::DialOpts},
};
use libp2p_gossipsub::{
    AllowAllSubscriptionFilter, Behaviour, ConfigBuilder, DataTransform, Event, IdentTopic, Message,
    MessageAuthenticity, MessageId, RawMessage, TopicHash,
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha12Rng;
use std::time::Duration;

use crate::{
    Fallible,
    node::{Orders, Seat, say},
    words::{Order, Said, change, now},
};

const DIALS: usize = 8;
/// gossipsub grafts below this; a node with so many mesh peers (or all there are) is ready.
const MESH_LOW: usize = 5;
const TICK: Duration = Duration::from_millis(250);

/// Counts every copy that comes, and leaves it as it is.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicU64>);

impl DataTransform for Counting {
    fn inbound_transform(&self, raw: RawMessage) -> std::io::Result<Message> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Message { source: raw.source, data: raw.data, sequence_number: raw.sequence_number, topic: raw.topic })
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> std::io::Result<Vec<u8>> {
        Ok(data)
    }
}

type Gossipsub = Behaviour<Counting, AllowAllSubscriptionFilter>;

/// Runs the node.
pub async fn run(seat: Seat, mut orders: Orders) -> Fallible<()> {
    let received = Counting::default();
    let topic = IdentTopic::new("changes");
    let mut swarm = swarm(&seat, received.clone())?;
    swarm.behaviour_mut().subscribe(&topic)?;
    swarm.listen_on(address(&seat, seat.index))?;
    let mut others: Vec<usize> = (0..seat.nodes).filter(|other| *other != seat.index).collect();
    others.shuffle(&mut ChaCha12Rng::from_seed(seat.draw("dials", seat.index)));
    others.truncate(DIALS);
    let (mut news, mut ready) = (0, false);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Write(text)) => {
                    if let Some(change) = change(text.as_bytes()) {
                        say(&Said::Wrote(change, now()));
                    }
                    swarm.behaviour_mut().publish(topic.clone(), text)?;
                }
                Some(Order::Count) => {
                    let all = received.0.load(Ordering::Relaxed);
                    say(&Said::Copies(news, all.saturating_sub(news)));
                }
                None => return Ok(()),
            },
            event = swarm.select_next_some() => {
                if let SwarmEvent::Behaviour(Event::Message { message, .. }) = event {
                    news += 1;
                    if let Some(change) = change(&message.data) {
                        say(&Said::Seen(change, now()));
                    }
                }
            }
            // Until ready: a listener that was not up yet is dialled again.
            _ = tick.tick(), if !ready => {
                for &other in &others {
                    let peer = peer(&seat, other)?;
                    if !swarm.is_connected(&peer) {
                        // The default condition: not while a dial to it is under way.
                        let _ = swarm.dial(DialOpts::peer_id(peer).addresses(vec![address(&seat, other)]).build());
                    }
                }
                let connected = others.iter().all(|other| peer(&seat, *other).is_ok_and(|peer| swarm.is_connected(&peer)));
                let mesh = swarm.behaviour().mesh_peers(&topic.hash()).count();
                if connected && mesh >= MESH_LOW.min(seat.nodes - 1) {
                    ready = true;
                    say(&Said::Ready);
                }
            }
        }
    }
}

fn swarm(seat: &Seat, received: Counting) -> Fallible<Swarm<Gossipsub>> {
    let config = ConfigBuilder::default()
        .mesh_n(6)
        .flood_publish(false)
        .message_id_fn(|message| {
            let mut hash = blake3::Hasher::new();
            hash.update(&message.source.map(PeerId::to_bytes).unwrap_or_default()).update(&message.data);
            MessageId::new(&hash.finalize().as_bytes()[..20])
        })
        .build()?;
    let keypair = keypair(seat, seat.index)?;
    let behaviour = Gossipsub::new_with_transform(MessageAuthenticity::Signed(keypair.clone()), config, received)?;
    Ok(SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_quic()
        .with_behaviour(|_| behaviour)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
        .build())
}

fn keypair(seat: &Seat, index: usize) -> Fallible<Keypair> {
    Ok(ed25519::Keypair::try_from_bytes(&mut seat.key(index).to_keypair_bytes())?.into())
}

fn peer(seat: &Seat, index: usize) -> Fallible<PeerId> {
    Ok(keypair(seat, index)?.public().to_peer_id())
}

fn address(seat: &Seat, index: usize) -> Multiaddr {
    let at = seat.at(index);
    Multiaddr::from(at.ip()).with(Protocol::Udp(at.port())).with(Protocol::QuicV1)
}
