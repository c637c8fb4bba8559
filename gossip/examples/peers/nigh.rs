//! nigh: [`Mesh`], started as `nigh run` starts it.
//!
//! Settings: none but addresses and keys. A change is a page of the node's own (Ed25519-signed, as all pages), over
//! QUIC. It is seen when the view shows it, dead is a verdict in the view: both include the time by which the shell
//! gathers changes before it tells its readers. Copies are the engine's own counts of pages.

use std::collections::{BTreeMap, BTreeSet};

use nigh_gossip::{Certificate, Key, Mesh, MeshConfig, MeshView, NodeId, Owner, Slot, Stamp, Table, verdict::Verdict};

use crate::{
    Fallible,
    node::{Orders, Seat, say},
    words::{Order, Said, change, now},
};

/// Where the changes are written: a table that the crate passes through unread, as the node's own are.
const TABLE: Table = Table(200);

fn config(seat: &Seat) -> MeshConfig {
    let operator = ed25519_dalek::SigningKey::from_bytes(&seat.draw("operator", 0));
    let bootstrap = if seat.index == 0 { Vec::new() } else { vec![seat.at(0).to_string()] };
    let certificate = Certificate {
        node: seat.key(seat.index).verifying_key().into(),
        name: format!("n{}", seat.index),
        serial: u64::from_be_bytes(*seat.draw("serial", seat.index).first_chunk().unwrap_or(&[0; 8])),
        prefixes: Vec::new(),
        not_after: u64::MAX,
    };
    MeshConfig {
        signing: seat.key(seat.index),
        mesh: operator.verifying_key().into(),
        certificate: Some(certificate.sign(&operator, 1, 0)),
        appointment: None,
        listen: vec![seat.here()],
        advertise: vec![seat.here().to_string()],
        bootstrap,
        state_dir: seat.dir.clone(),
    }
}

/// Runs the node.
pub async fn run(seat: Seat, mut orders: Orders) -> Fallible<()> {
    let mesh = Mesh::start(config(&seat)).await?;
    let mut watch = Watch {
        nodes: (0..seat.nodes).map(|index| (seat.key(index).verifying_key().into(), index)).collect(),
        me: mesh.id(),
        seen: BTreeMap::new(),
        dead: BTreeSet::new(),
        ready: false,
    };
    let mut view = mesh.view();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Write(text)) => {
                    if let Some(change) = change(text.as_bytes()) {
                        say(&Said::Wrote(change, now()));
                    }
                    mesh.publish(TABLE, Slot::page(0), text.into_bytes()).await?;
                }
                Some(Order::Count) => {
                    let counts = view.borrow().counts;
                    say(&Said::Copies(counts.pages_new, counts.pages_again));
                }
                None => return Ok(()),
            },
            changed = view.changed() => {
                changed?;
                let view = view.borrow_and_update().clone();
                watch.read(&view);
            }
        }
    }
}

/// What the views showed so far.
struct Watch {
    nodes: BTreeMap<NodeId, usize>,
    me: NodeId,
    seen: BTreeMap<NodeId, Stamp>,
    dead: BTreeSet<NodeId>,
    ready: bool,
}

impl Watch {
    fn read(&mut self, view: &MeshView) {
        let at = now();
        for (&id, &index) in self.nodes.iter().filter(|(id, _)| **id != self.me) {
            let key = Key { owner: Owner::Node(id), table: TABLE, slot: Slot::page(0) };
            if let Some(page) = view.pages.get(&key)
                && self.seen.insert(id, page.stamp()) != Some(page.stamp())
                && let Some(change) = change(page.body())
            {
                say(&Said::Seen(change, at));
            }
            let dead = view.members.get(&id).is_some_and(|member| member.verdict == Verdict::Dead);
            if !dead {
                self.dead.remove(&id);
            } else if self.dead.insert(id) {
                say(&Said::Dead(index, at));
            }
        }
        if !self.ready && view.members.values().filter(|m| m.verdict == Verdict::Alive).count() == self.nodes.len() {
            self.ready = true;
            say(&Said::Ready);
        }
    }
}
