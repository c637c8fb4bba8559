//! What the mesh knows, as one immutable value for readers on other threads.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    engine::{Counts, Engine},
    id::NodeId,
    member::Member,
    page::{Key, Page},
    verdict::Verdict,
};

/// One member as this node sees it.
#[derive(Clone, Debug)]
pub struct MemberView {
    /// What it says of itself.
    pub member: Member,
    /// What is held of it.
    pub verdict: Verdict,
    /// Whether a link to it is up.
    pub linked: bool,
    /// Smoothed round trip over the link.
    pub rtt: Option<Duration>,
}

/// Everything known at one moment.
#[derive(Clone, Debug)]
pub struct MeshView {
    /// This node.
    pub me: NodeId,
    /// Grows with every change.
    pub version: u64,
    /// All pages held, withdrawn ones (empty bodies) too.
    pub pages: BTreeMap<Key, Page>,
    /// All members known, this one included.
    pub members: BTreeMap<NodeId, MemberView>,
    /// This node is in a minority, or the survivor of a disaster.
    pub cut_off: bool,
    /// Hash over all pages: equal at two nodes when they hold the same.
    pub state_hash: [u8; 16],
    /// Members that signed two pages of one version: a copied key, or a lie.
    pub equivocators: Vec<NodeId>,
    /// Counts since the start.
    pub counts: Counts,
}

impl MeshView {
    pub(super) fn empty(me: NodeId) -> Self {
        Self {
            me,
            version: 0,
            pages: BTreeMap::new(),
            members: BTreeMap::new(),
            cut_off: false,
            state_hash: [0; 16],
            equivocators: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn of(engine: &Engine) -> Self {
        let links: BTreeMap<NodeId, Option<Duration>> = engine.links().collect();
        let members = engine
            .members()
            .iter()
            .map(|(id, member)| {
                let view = MemberView {
                    member: member.clone(),
                    verdict: engine.verdicts().get(id).copied().unwrap_or(Verdict::Alive),
                    linked: links.contains_key(id),
                    rtt: links.get(id).copied().flatten(),
                };
                (*id, view)
            })
            .collect();
        Self {
            me: engine.id(),
            version: engine.version(),
            pages: engine.replica().map(),
            members,
            cut_off: engine.cut_off(),
            state_hash: engine.state_hash(),
            equivocators: engine.replica().equivocations().map(|proof| proof.kept.signer()).collect(),
            counts: engine.counts(),
        }
    }
}
