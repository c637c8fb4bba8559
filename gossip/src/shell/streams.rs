//! The two tasks of a link: one reads a peer's stream, one writes ours.
//!
//! Reading decodes and verifies beside the engine; each waits where the other side of its channel is full, so a slow peer
//! holds up its own link and no other.

use std::{sync::Mutex, time::Duration};

use libp2p::Stream;
use tokio::sync::{mpsc, oneshot};

use super::{
    pace::{self, Pace},
    task::Event,
};
use crate::{id::NodeId, message::Message, stream, time::Moment};

/// Reads until the stream or this node ends; beyond the hello only when the peer is heeded, and no faster than its
/// [pace](Pace).
pub(super) async fn read_all(
    peer: NodeId,
    stream: &mut Stream,
    heard: oneshot::Receiver<()>,
    events: &mpsc::Sender<Event>,
    pace: &Mutex<Pace>,
    clock: impl Fn() -> Moment,
) -> Result<(), stream::StreamError> {
    let message = stream::read_hello(stream).await?;
    if events.send(Event::Message { peer, message }).await.is_err() || heard.await.is_err() {
        return Ok(());
    }
    let mut buffer = Vec::new();
    loop {
        let message = stream::read(stream, &mut buffer).await?;
        let units = pace::units(&message, buffer.len());
        if events.send(Event::Message { peer, message }).await.is_err() {
            return Ok(());
        }
        let wait = pace.lock().map_or(Duration::ZERO, |mut pace| pace.spend(clock(), units));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

pub(super) async fn write_all(
    peer: NodeId,
    link: u64,
    mut stream: Stream,
    mut outbox: mpsc::Receiver<Message>,
    events: mpsc::Sender<Event>,
) {
    while let Some(message) = outbox.recv().await {
        if let Err(error) = stream::write(&mut stream, &message).await {
            tracing::debug!(peer = %peer.short(), %error, "link lost");
            break;
        }
        // Only a hint that there is room again: if the queue is full, the engine's task is busy and looks anyway.
        let _ = events.try_send(Event::Taken);
    }
    let _ = events.send(Event::Closed { peer, link }).await;
}
