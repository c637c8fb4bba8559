//! One simulated host: the process that may run on it, its disk, its clock, and its ends of connections.
//!
//! What the engine needs to start is made here and nowhere else ([`Host::setup`]), so a change of
//! [`Setup`](crate::engine::Setup) is a change of one function.

use std::sync::Arc;

use ed25519_dalek::SigningKey;

use super::{Index, liar::Liar, network::stream::Stream, queue::Event, traffic::Traffic};
use crate::{
    engine::{Engine, Setup, Shared},
    id::NodeId,
    page::Page,
    rosters::Rosters,
    time::Moment,
};

/// Events kept for a paused host: link changes, at most a few for each peer.
const MAX_DEFERRED: usize = 4096;

/// What a process leaves behind and finds again.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) epoch: u64,
    pub(super) pages: Vec<Page>,
}

/// One end of a connection.
pub(super) struct End {
    pub(super) peer: u32,
    pub(super) connection: u32,
    /// The engine was told of it.
    pub(super) up: bool,
    /// Nothing can come from the peer since then: a cut, a pause, a silent death.
    pub(super) deaf_since: Option<Moment>,
    /// What goes to the peer.
    pub(super) out: Stream,
}

pub(super) struct Host {
    pub(super) id: NodeId,
    pub(super) certificate: Page,
    /// Of the key that signed the certificate, if that is not the root.
    pub(super) appointment: Option<Page>,
    /// The operator ended its membership.
    pub(super) revoked: bool,
    pub(super) signing: SigningKey,
    pub(super) engine: Option<Box<Engine>>,
    /// Grows with each start, so that events of an earlier life are void.
    pub(super) life: u32,
    pub(super) disk: Disk,
    /// An older copy of the disk.
    pub(super) older: Disk,
    pub(super) bootstrap: Vec<Index>,
    /// Added to the process's clock.
    pub(super) skew: u64,
    pub(super) started: Moment,
    /// When the engine's timer will fire.
    pub(super) armed: Option<Moment>,
    /// In the order of the peers' numbers.
    pub(super) ends: Vec<End>,
    /// Paused; the number of pauses tells this one from earlier ones.
    pub(super) paused: bool,
    pub(super) pauses: u32,
    pub(super) deferred: Vec<Event>,
    /// Stalls for a second now and then.
    pub(super) stalls: bool,
    pub(super) traffic: Traffic,
    pub(super) liar: Option<Liar>,
    /// The uplink is busy until then.
    pub(super) uplink_free: Moment,
    /// A page that verdicts rest on came or went: look at them.
    pub(super) judge_soon: bool,
    /// Whom this node held for dead when its verdicts were last looked at, in order.
    pub(super) convicted: Vec<u32>,
}

impl Host {
    pub(super) fn new(signing: SigningKey, certificate: Page, bootstrap: &[Index]) -> Self {
        Self {
            id: signing.verifying_key().into(),
            certificate,
            appointment: None,
            revoked: false,
            signing,
            engine: None,
            life: 0,
            disk: Disk::default(),
            older: Disk::default(),
            bootstrap: bootstrap.to_vec(),
            skew: 0,
            started: Moment::ZERO,
            armed: None,
            ends: Vec::new(),
            paused: false,
            pauses: 0,
            deferred: Vec::new(),
            stalls: false,
            traffic: Traffic::default(),
            liar: None,
            uplink_free: Moment::ZERO,
            judge_soon: false,
            convicted: Vec::new(),
        }
    }

    /// What the next life starts with.
    pub(super) fn setup(&self, node: Index, root: NodeId, rosters: &Arc<Rosters>, beats: bool, seed: u64) -> Setup {
        Setup {
            signing: self.signing.clone(),
            roots: vec![root],
            certificate: Some(self.certificate.clone()),
            appointment: self.appointment.clone(),
            epoch: self.disk.epoch,
            addresses: vec![address(node)],
            bootstrap: self.bootstrap.iter().map(|peer| address(*peer)).collect(),
            pages: self.disk.pages.clone(),
            seed,
            shared: Shared { rosters: rosters.clone(), settled: None, beginning: None, modelled_beats: beats },
        }
    }

    /// The process's own clock: since its start, and off by the skew.
    pub(super) fn clock(&self, now: Moment) -> Moment {
        Moment(now.0 - self.started.0 + self.skew)
    }

    /// When the process's clock shows this.
    pub(super) fn when(&self, clock: Moment) -> Moment {
        Moment(clock.0.saturating_sub(self.skew).saturating_add(self.started.0))
    }

    /// Runs and is not paused.
    pub(super) fn acts(&self) -> bool {
        self.engine.is_some() && !self.paused
    }

    pub(super) fn end(&self, peer: u32) -> Option<&End> {
        self.ends.binary_search_by_key(&peer, |end| end.peer).ok().map(|at| &self.ends[at])
    }

    pub(super) fn end_mut(&mut self, peer: u32) -> Option<&mut End> {
        self.ends.binary_search_by_key(&peer, |end| end.peer).ok().map(|at| &mut self.ends[at])
    }

    /// This end of that connection and no other.
    pub(super) fn end_of(&mut self, peer: u32, connection: u32) -> Option<&mut End> {
        self.end_mut(peer).filter(|end| end.connection == connection)
    }

    /// A new connection; an older one to the same peer is forgotten.
    pub(super) fn open(&mut self, peer: u32, connection: u32) {
        let end = End { peer, connection, up: false, deaf_since: None, out: Stream::default() };
        match self.ends.binary_search_by_key(&peer, |end| end.peer) {
            Ok(at) => self.ends[at] = end,
            Err(at) => self.ends.insert(at, end),
        }
    }

    /// Forgets this end; true if it was there.
    pub(super) fn close(&mut self, peer: u32, connection: u32) -> Option<End> {
        let at = self.ends.binary_search_by_key(&peer, |end| end.peer).ok()?;
        (self.ends[at].connection == connection).then(|| self.ends.remove(at))
    }

    pub(super) fn defer(&mut self, event: Event) {
        if self.deferred.len() < MAX_DEFERRED {
            self.deferred.push(event);
        }
    }
}

/// The mesh address of a node.
pub(super) fn address(node: Index) -> String {
    format!("node-{node}:4242")
}

/// The node behind an address.
pub(super) fn node_at(address: &str) -> Option<Index> {
    address.strip_prefix("node-")?.split(':').next()?.parse().ok()
}
