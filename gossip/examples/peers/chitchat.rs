//! chitchat (Scuttlebutt with a phi accrual detector), over its own UDP transport.
//!
//! Settings: failure detector by default (phi 8, intervals of up to 10 s), protocol version 0 (its default), gossip
//! every second (the default of its documentation and of Quickwit), and once more every 50 ms, as its own tests do. A
//! change is a value of the node's own; it is seen when a subscriber is called. Dead is: no longer among the live nodes.
//! Not signed, not encrypted. It doesn't count copies; a node is only sent what its digest lacks.

use std::{collections::BTreeSet, time::Duration};

use chitchat::{
    ChitchatConfig, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat, transport::UdpTransport,
};

use crate::{
    Fallible,
    node::{Orders, Seat, say},
    words::{Order, Said, change, now},
};

const KEY: &str = "change";

/// Runs the node.
pub async fn run(seat: Seat, mut orders: Orders, every: Duration) -> Fallible<()> {
    let config = ChitchatConfig {
        chitchat_id: ChitchatId::new(seat.index.to_string(), 0, seat.here()),
        cluster_id: "peers".into(),
        gossip_interval: every,
        listen_addr: seat.here(),
        seed_nodes: vec![seat.at(0).to_string()],
        failure_detector_config: FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: Duration::from_secs(3600),
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V0,
    };
    let server = spawn_chitchat(config, Vec::new(), &UdpTransport).await?;
    let me = server.chitchat_id().clone();
    let (_subscription, mut live) = server
        .with_chitchat(|chitchat| {
            let me = me.clone();
            let subscription = chitchat.subscribe_event(KEY, move |event| {
                if let Some(change) = change(event.value.as_bytes()).filter(|_| *event.node != me) {
                    say(&Said::Seen(change, now()));
                }
            });
            (subscription, chitchat.live_nodes_watcher())
        })
        .await;
    let (mut alive, mut ready) = (BTreeSet::new(), false);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Write(text)) => {
                    if let Some(change) = change(text.as_bytes()) {
                        say(&Said::Wrote(change, now()));
                    }
                    server.with_chitchat(|chitchat| chitchat.self_node_state().set(KEY, &text)).await;
                }
                Some(Order::Count) => {}
                None => return Ok(()),
            },
            changed = live.changed() => {
                changed?;
                let at = now();
                let present: BTreeSet<usize> =
                    live.borrow_and_update().keys().filter_map(|id| seat.whose(id.gossip_advertise_addr.port())).collect();
                for gone in alive.difference(&present) {
                    say(&Said::Dead(*gone, at));
                }
                alive = present;
                if !ready && alive.len() == seat.nodes {
                    ready = true;
                    say(&Said::Ready);
                }
            }
        }
    }
}
