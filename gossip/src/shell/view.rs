//! What the mesh knows, as one immutable value for readers on other threads.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    admission::Certificate,
    engine::{Counts, Engine},
    id::NodeId,
    member::Member,
    operator::Rights,
    pages::Pages,
    replica::Equivocation,
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
    pub pages: Pages,
    /// The certificates that hold, by node.
    pub certificates: BTreeMap<NodeId, Certificate>,
    /// Keys that may write for the operators beside the root, and what.
    pub operators: BTreeMap<NodeId, Rights>,
    /// All members that ever spoke, this one included, also before it is admitted.
    pub members: BTreeMap<NodeId, MemberView>,
    /// This node is in a minority, or the survivor of a disaster.
    pub cut_off: bool,
    /// Hash over all pages: equal at two nodes when they hold the same.
    pub state_hash: [u8; 16],
    /// Members that signed two pages of one version: a copied key, or a lie. The first proof against each.
    pub equivocations: Vec<Equivocation>,
    /// Another process runs with this node's key, and this one fell silent for it.
    pub silenced: bool,
    /// Why the first contacts of the configuration are not reached, those that are not.
    pub obstacles: Arc<BTreeMap<String, String>>,
    /// Counts since the start.
    pub counts: Counts,
}

impl MeshView {
    /// Whether this node is a member, was one, or is not yet.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.certificates.contains_key(&self.me)
    }

    pub(super) fn empty(me: NodeId) -> Self {
        Self {
            me,
            version: 0,
            pages: Pages::default(),
            certificates: BTreeMap::new(),
            operators: BTreeMap::new(),
            members: BTreeMap::new(),
            cut_off: false,
            state_hash: [0; 16],
            equivocations: Vec::new(),
            silenced: false,
            obstacles: Arc::default(),
            counts: Counts::default(),
        }
    }

    pub(super) fn of(engine: &Engine) -> Self {
        let links: BTreeMap<NodeId, Option<Duration>> = engine.links().collect();
        let mut members: BTreeMap<NodeId, MemberView> = engine
            .members()
            .map(|(id, member, verdict)| {
                let (linked, rtt) = (links.contains_key(&id), links.get(&id).copied().flatten());
                (id, MemberView { member: member.clone(), verdict, linked, rtt })
            })
            .collect();
        if let Some(member) = engine.me().filter(|_| !members.contains_key(&engine.id())) {
            let me = MemberView { member: member.clone(), verdict: Verdict::Alive, linked: false, rtt: None };
            members.insert(engine.id(), me);
        }
        let certificates =
            engine.replica().certificates().map(|certificate| (certificate.node, certificate.clone())).collect();
        Self {
            me: engine.id(),
            version: engine.version(),
            pages: engine.replica().pages().clone(),
            certificates,
            operators: engine.replica().appointed().clone(),
            members,
            cut_off: engine.cut_off(),
            state_hash: engine.state_hash(),
            equivocations: engine.replica().equivocations().cloned().collect(),
            silenced: engine.is_silenced(),
            obstacles: Arc::default(),
            counts: engine.counts(),
        }
    }
}
