//! What the replicated pages say, named and decoded: who is who, who claims what, who measured what.
//!
//! Two nodes may carry one name (a host that was set up anew has a new key). The name then belongs to one of them, the
//! same one everywhere: a live node before a dead one, then the lower key. The other is reported, not obeyed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hickory_proto::rr::Name;
use nigh_dns::{Label, Standing};
use nigh_gossip::{Key, MemberView, MeshView, NodeId, Owner, Slot, Stamp, Table, member, verdict::Verdict};

use crate::{
    catalogue::{self, Catalogue, Records},
    tables::{
        self,
        claims::Claim,
        latency::{Row, ServerKey},
        memo::Memo,
        profile::Profile,
    },
};

/// One node, as its pages have it.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// Its key.
    pub id: NodeId,
    /// What it says of itself.
    pub profile: Arc<Profile>,
    /// As a member of the mesh.
    pub member: MemberView,
    /// How the mesh sees it.
    pub standing: Standing,
    /// When it was last held to be alive, on this process's clock: its rows are confirmed until then, because a living
    /// writer tells what changes and is silent about what does not.
    pub confirmed: Duration,
    /// Its claims, page by page.
    pub claims: Vec<Arc<Vec<Claim>>>,
    /// Its measurements, page by page.
    pub rows: Vec<Arc<Vec<Row>>>,
    /// Round trips it measured to its peers.
    pub rtt: BTreeMap<NodeId, Duration>,
}

/// The catalogue, and what is looked up in it.
#[derive(Debug, Default)]
pub struct Listed {
    /// Zones and services.
    pub catalogue: Catalogue,
    /// The server behind the key of a measurement.
    pub servers: BTreeMap<ServerKey, (Name, String)>,
    /// Equal wherever the catalogue is: the time of its newest record, in Unix seconds.
    pub serial: u32,
    /// What in the records does not fit.
    pub problems: Vec<String>,
}

/// Everything that is known, at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// This node's name.
    pub me: Label,
    /// When, on this process's clock.
    pub at: Duration,
    /// All named nodes.
    pub nodes: BTreeMap<Label, NodeFacts>,
    /// Members whose profile has not come, or whose name belongs to another.
    pub nameless: BTreeMap<NodeId, MemberView>,
    /// The catalogue.
    pub listed: Arc<Listed>,
    /// What someone should look at.
    pub warnings: Vec<String>,
}

/// Turns views into facts; remembers what was decoded.
pub struct Reader {
    me: Label,
    profiles: Memo<Profile>,
    claims: Memo<Vec<Claim>>,
    rows: Memo<Vec<Row>>,
    rtt: Memo<Vec<(NodeId, Duration)>>,
    confirmed: BTreeMap<NodeId, Duration>,
    records: Vec<(Key, Stamp)>,
    listed: Arc<Listed>,
}

impl Reader {
    /// For the node of this name.
    pub fn new(me: Label) -> Self {
        Self {
            me,
            profiles: Memo::new(tables::PROFILE, Profile::decode),
            claims: Memo::new(tables::CLAIMS, tables::claims::decode),
            rows: Memo::new(tables::LATENCY, tables::latency::decode),
            rtt: Memo::new(Table::RTT, member::round_trips),
            confirmed: BTreeMap::new(),
            records: Vec::new(),
            listed: Arc::default(),
        }
    }

    /// The facts of a view.
    pub fn read(&mut self, now: Duration, view: &MeshView) -> Facts {
        let mut facts = Facts {
            me: self.me.clone(),
            at: now,
            nodes: BTreeMap::new(),
            nameless: BTreeMap::new(),
            listed: self.list(view),
            warnings: Vec::new(),
        };
        for (id, member) in &view.members {
            self.add(now, view, *id, member, &mut facts);
        }
        facts.warnings.extend(self.listed.problems.iter().cloned());
        let nodes = facts.nodes.keys();
        facts.warnings.extend(self.listed.catalogue.hidden_by(nodes).into_iter().map(|(service, node)| {
            format!(
                "service {} is hidden by the cut of node {node}: rename the service or the node",
                catalogue::name::text(&service)
            )
        }));
        if view.cut_off {
            facts.warnings.push(
                "most members are silent from here: this node is cut off, or they are down. Is the mesh port open?"
                    .into(),
            );
        }
        facts.warnings.extend(view.equivocators.iter().map(|id| {
            format!("node {id} signed two pages of one version: its key is in use twice, or it lies. Revoke it")
        }));
        facts
    }

    fn add(&mut self, now: Duration, view: &MeshView, id: NodeId, member: &MemberView, facts: &mut Facts) {
        let Some(profile) = self.profiles.of_node(&view.pages, id).into_iter().next() else {
            facts.nameless.insert(id, member.clone());
            return;
        };
        let standing = match member.verdict {
            Verdict::Dead => Standing::Dead,
            Verdict::Left => Standing::Left,
            Verdict::Alive if profile.draining => Standing::Draining,
            Verdict::Alive => Standing::Alive,
        };
        let confirmed = self.confirmed.entry(id).or_insert(now);
        if standing.answers() {
            *confirmed = now;
        }
        let node = NodeFacts {
            id,
            member: member.clone(),
            standing,
            confirmed: *confirmed,
            claims: self.claims.of_node(&view.pages, id),
            rows: self.rows.of_node(&view.pages, id),
            rtt: self.rtt.of_node(&view.pages, id).iter().flat_map(|rows| rows.iter().copied()).collect(),
            profile,
        };
        let name = node.profile.name.clone();
        let Some(other) = facts.nodes.insert(name.clone(), node.clone()) else { return };
        // This node is asked under its own name, whoever else carries it.
        let rank = |node: &NodeFacts| (node.id != view.me, !node.standing.answers(), node.id);
        let (keeps, loses) = if rank(&other) <= rank(&node) { (other, node) } else { (node, other) };
        if loses.standing.answers() {
            facts.warnings.push(format!(
                "two live nodes are named {name}: {} is used, {} is not. Give one of them another node.name",
                keeps.id, loses.id
            ));
        }
        facts.nameless.insert(loses.id, loses.member);
        facts.nodes.insert(name, keeps);
    }

    /// The catalogue, decoded again only when one of its records changed.
    fn list(&mut self, view: &MeshView) -> Arc<Listed> {
        let first = Key { owner: Owner::Operators, table: Table(0), slot: Slot([0; 16]) };
        let pages = || view.pages.range(first..).map(|(_, page)| page);
        let records: Vec<(Key, Stamp)> = pages().map(|page| (page.key(), page.stamp())).collect();
        if records != self.records {
            let (catalogue, problems) = Catalogue::from_records(&Records::from_pages(pages()));
            let servers = catalogue
                .services
                .iter()
                .flat_map(|(name, service)| {
                    let text = catalogue::name::text(name);
                    service
                        .servers
                        .keys()
                        .map(move |id| (ServerKey::new(&text, id), (name.clone(), id.clone())))
                        .collect::<Vec<_>>()
                })
                .collect();
            let newest = records.iter().map(|(_, stamp)| stamp.major).max().unwrap_or(0);
            self.listed = Arc::new(Listed {
                catalogue,
                servers,
                // Serial arithmetic (RFC 1982) wraps in 2106, and so may this.
                serial: (newest / 1000) as u32,
                problems: problems.iter().map(ToString::to_string).collect(),
            });
            self.records = records;
        }
        self.listed.clone()
    }
}
