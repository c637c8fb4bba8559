//! What the replicated pages say, named and decoded: who is who, who claims what, who measured what.
//!
//! The operator names a node, in its certificate: a node that calls itself something else is reported, not obeyed, and
//! so is one whose certificate has ended. Its claims count within the certificate's prefixes, nowhere else. Of itself a
//! node believes its own name whatever others hold of it: it is asked under that one.
//!
//! Two nodes may carry one name (a host that was set up anew has a new key). The name then belongs to one of them, the
//! same one everywhere: a live node before a dead one, then the lower key. The other is reported, not obeyed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hickory_proto::rr::Name;
use nigh_dns::{Label, Standing};
use nigh_gossip::{Certificate, Key, MemberView, MeshView, NodeId, Stamp, Table, member, verdict::Verdict};

use crate::{
    backups::Candidate,
    catalogue::{self, Catalogue, Records},
    discovery::judge::Judge,
    dns_a::pool::{Contributor, Pools},
    membership::{self, State},
    tables::{
        self,
        claims::Claim,
        duties::Duties,
        evidence::Evidence,
        latency::{Row, ServerKey},
        memo::Memo,
        pools::Pool,
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
    /// When it was last held to be alive by this node as a member, on this process's clock: its rows are confirmed until
    /// then, because a living writer tells what changes and is silent about what does not.
    pub confirmed: Duration,
    /// Since when it has been held to be alive without a break; nothing: it is not.
    pub heard_since: Option<Duration>,
    /// Its claims that its certificate allows, page by page.
    pub claims: Vec<Arc<Vec<Claim>>>,
    /// What it says stands behind them, page by page.
    pub evidence: Vec<Arc<Vec<Evidence>>>,
    /// Those that it does not allow: they count nowhere.
    pub void: Vec<Claim>,
    /// Its measurements, page by page.
    pub rows: Vec<Arc<Vec<Row>>>,
    /// Round trips it measured to its peers.
    pub rtt: BTreeMap<NodeId, Duration>,
    /// What it imported from DNS-A.
    pub pools: Vec<Arc<Pool>>,
    /// What it can do at DNS-A.
    pub duties: Option<Arc<Duties>>,
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

impl Listed {
    /// What the records say.
    pub fn of(records: &Records, serial: u32) -> Self {
        let (catalogue, problems) = Catalogue::from_records(records);
        let servers = servers(&catalogue);
        Self { catalogue, servers, serial, problems: problems.iter().map(ToString::to_string).collect() }
    }
}

/// Everything that is known, at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// This node's name.
    pub me: Label,
    /// When, on this process's clock.
    pub at: Duration,
    /// Others tell this node what changes: it is a member, and linked for long enough that what it lacked has come.
    pub is_told: bool,
    /// All named nodes.
    pub nodes: BTreeMap<Label, NodeFacts>,
    /// Members whose profile has not come, or whose name belongs to another.
    pub nameless: BTreeMap<NodeId, MemberView>,
    /// The catalogue, with the servers that were imported.
    pub listed: Arc<Listed>,
    /// Where those come from.
    pub pools: Arc<Pools>,
    /// What someone should look at.
    pub warnings: Vec<String>,
}

impl Facts {
    /// Of how many other living nodes no probe is answered any more, and how many tell what they measured.
    pub fn unanswered(&self) -> (usize, usize) {
        let others = self.nodes.iter().filter(|(label, node)| **label != self.me && node.standing.takes_referrals());
        others.fold((0, 0), |(alike, others), (_, node)| {
            let mut rows = node.rows.iter().flat_map(|page| page.iter()).peekable();
            let measures = rows.peek().is_some();
            (alike + usize::from(rows.any(Row::is_unanswered)), others + usize::from(measures))
        })
    }

    /// The nodes that may stand in for others, as [`crate::backups`] looks at them.
    pub fn candidates(&self) -> BTreeMap<Label, Candidate> {
        let by_id: BTreeMap<_, _> = self.nodes.iter().map(|(label, node)| (node.id, label)).collect();
        self.nodes
            .iter()
            .filter(|(_, node)| node.standing.takes_referrals() && !node.profile.dns.is_empty())
            .map(|(label, node)| {
                let rtt = node.rtt.iter().filter_map(|(id, rtt)| Some(((*by_id.get(id)?).clone(), *rtt))).collect();
                let serves = node.profile.serves.iter().cloned().collect();
                (label.clone(), Candidate { site: node.profile.pop.clone(), serves, rtt })
            })
            .collect()
    }
}

/// What a node lacks when its first link comes up is there so much later: a few round trips.
const CATCH_UP: Duration = Duration::from_millis(500);

/// When a node was held to be alive by this one.
#[derive(Clone, Copy)]
struct Heard {
    since: Option<Duration>,
    until: Duration,
}

impl Heard {
    fn note(&mut self, now: Duration, alive: bool) {
        self.since = alive.then(|| self.since.unwrap_or(now));
        if alive {
            self.until = now;
        }
    }
}

/// Turns views into facts; remembers what was decoded.
pub struct Reader {
    me: Label,
    profiles: Memo<Profile>,
    claims: Memo<Vec<Claim>>,
    evidence: Memo<Vec<Evidence>>,
    judge: Judge,
    rows: Memo<Vec<Row>>,
    rtt: Memo<Vec<(NodeId, Duration)>>,
    pools: Memo<Pool>,
    duties: Memo<Duties>,
    imported: Imported,
    heard: BTreeMap<NodeId, Heard>,
    linked_since: Option<Duration>,
    known: BTreeSet<NodeId>,
    records: Vec<(Key, Stamp)>,
    listed: Arc<Listed>,
}

impl Reader {
    /// For the node of this name, in a mesh.
    pub fn new(me: Label, mesh: NodeId) -> Self {
        Self {
            me,
            profiles: Memo::new(tables::PROFILE, Profile::decode),
            claims: Memo::new(tables::CLAIMS, tables::claims::decode),
            evidence: Memo::new(tables::EVIDENCE, tables::evidence::decode),
            judge: Judge::new(mesh),
            rows: Memo::new(tables::LATENCY, tables::latency::decode),
            rtt: Memo::new(Table::RTT, member::round_trips),
            pools: Memo::new(tables::POOLS, Pool::decode),
            duties: Memo::new(tables::DUTIES, Duties::decode),
            imported: Imported::default(),
            heard: BTreeMap::new(),
            linked_since: None,
            known: BTreeSet::new(),
            records: Vec::new(),
            listed: Arc::default(),
        }
    }

    /// The facts of a view, `now` on this process's clock and at this Unix time in seconds.
    pub fn read(&mut self, now: Duration, unix: u64, view: &MeshView) -> Facts {
        self.forget_the_gone(view);
        let mut facts = Facts {
            me: self.me.clone(),
            at: now,
            is_told: self.has_caught_up(now, unix, view),
            nodes: BTreeMap::new(),
            nameless: BTreeMap::new(),
            listed: self.list(view),
            pools: Arc::default(),
            warnings: Vec::new(),
        };
        for (id, member) in &view.members {
            self.add(now, unix, view, *id, member, &mut facts);
        }
        self.imported.add_to(&mut facts);
        facts.warnings.extend(self.listed.problems.iter().cloned());
        let nodes = facts.nodes.keys();
        facts.warnings.extend(
            self.listed
                .catalogue
                .in_cuts_of(nodes)
                .into_iter()
                .map(|(what, node)| format!("{what} has a name of the cut of node {node}: rename it or the node")),
        );
        if view.cut_off {
            facts.warnings.push(
                "most members are silent from here: this node is cut off, or they are down. Is the mesh port open?"
                    .into(),
            );
        }
        facts.warnings.extend(membership::two_faced(view).map(|(signer, kept, _)| {
            let name = view.certificates.get(&signer).map(|certificate| certificate.name.as_str());
            membership::accusation(signer, name, kept)
        }));
        facts
    }

    fn has_caught_up(&mut self, now: Duration, unix: u64, view: &MeshView) -> bool {
        // A link brings nothing to one that is no member, and much to one that is admitted again.
        let member = membership::own(view, unix) == State::Admitted;
        let linked = member && view.members.values().any(|member| member.linked);
        self.linked_since = linked.then(|| self.linked_since.unwrap_or(now));
        self.linked_since.is_some_and(|since| since + CATCH_UP <= now)
    }

    /// What was decoded of nodes that were revoked since.
    fn forget_the_gone(&mut self, view: &MeshView) {
        let gone: Vec<NodeId> = self.known.iter().filter(|id| !view.members.contains_key(id)).copied().collect();
        for id in gone {
            self.known.remove(&id);
            self.heard.remove(&id);
            self.profiles.forget(id);
            self.claims.forget(id);
            self.evidence.forget(id);
            self.judge.forget(id);
            self.rows.forget(id);
            self.rtt.forget(id);
            self.pools.forget(id);
            self.duties.forget(id);
        }
    }

    fn add(&mut self, now: Duration, unix: u64, view: &MeshView, id: NodeId, member: &MemberView, facts: &mut Facts) {
        self.known.insert(id);
        let Some(profile) = self.profiles.of_node(&view.pages, id).into_iter().next() else {
            facts.nameless.insert(id, member.clone());
            return;
        };
        let certificate = view.certificates.get(&id);
        if let Err(problem) = may_be_obeyed(certificate, &profile, unix) {
            let ended = certificate.is_some_and(|certificate| State::of(certificate, unix) == State::Ended);
            // Of its own end a node speaks elsewhere, and louder.
            if id != view.me || !ended {
                facts.warnings.push(problem);
            }
            if id != view.me {
                facts.nameless.insert(id, member.clone());
                return;
            }
        }
        let standing = match member.verdict {
            Verdict::Dead | Verdict::Absent => Standing::Dead,
            Verdict::Left => Standing::Left,
            Verdict::Alive if profile.draining => Standing::Draining,
            Verdict::Alive => Standing::Alive,
        };
        let heard = self.heard.entry(id).or_insert(Heard { since: None, until: now });
        heard.note(now, standing.answers() && (facts.is_told || id == view.me));
        let (claims, void) = within(certificate, self.claims.of_node(&view.pages, id));
        if !void.is_empty() && certificate.is_some() {
            facts.warnings.push(beyond(&profile.name, &void));
        }
        let evidence = self.evidence.of_node(&view.pages, id);
        let claims = self.judge.apply(id, claims, evidence.clone(), profile.pressure, &view.certificates, unix);
        let node = NodeFacts {
            id,
            member: member.clone(),
            standing,
            confirmed: heard.until,
            heard_since: heard.since,
            claims,
            evidence,
            void,
            rows: self.rows.of_node(&view.pages, id),
            rtt: self.rtt.of_node(&view.pages, id).iter().flat_map(|rows| rows.iter().copied()).collect(),
            pools: self.pools.of_node(&view.pages, id),
            duties: self.duties.of_node(&view.pages, id).into_iter().next(),
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
        let pages = || view.pages.of_operators(catalogue::TABLE);
        let records: Vec<(Key, Stamp)> = pages().map(|page| (page.key(), page.stamp())).collect();
        if records != self.records {
            let newest = records.iter().map(|(_, stamp)| stamp.major).max().unwrap_or(0);
            // Serial arithmetic (RFC 1982) wraps in 2106, and so may this.
            self.listed = Arc::new(Listed::of(&Records::from_pages(pages()), (newest / 1000) as u32));
            self.records = records;
        }
        self.listed.clone()
    }
}

/// What measurements of a catalogue's servers are found by.
fn servers(catalogue: &Catalogue) -> BTreeMap<ServerKey, (Name, String)> {
    let services = catalogue.services.iter();
    services
        .flat_map(|(name, service)| {
            let text = catalogue::name::text(name);
            let ids = service.servers.keys();
            ids.map(move |id| (ServerKey::new(&text, id), (name.clone(), id.clone()))).collect::<Vec<_>>()
        })
        .collect()
}

/// The catalogue with what was imported, made again only when either changed.
#[derive(Default)]
struct Imported {
    written: Arc<Listed>,
    contributors: Vec<Contributor>,
    listed: Arc<Listed>,
    pools: Arc<Pools>,
}

impl Imported {
    fn add_to(&mut self, facts: &mut Facts) {
        let any = facts.listed.catalogue.services.values().any(|service| service.policy.origin.is_some());
        let contributors: Vec<Contributor> = match any {
            false => Vec::new(),
            true => facts.nodes.values().map(contributor).collect(),
        };
        let is_same = Arc::ptr_eq(&self.written, &facts.listed)
            && self.contributors.len() == contributors.len()
            && self.contributors.iter().zip(&contributors).all(|(one, other)| one.is_same(other));
        if !is_same {
            let written = facts.listed.clone();
            let pools = Pools::new(&written.catalogue, &contributors);
            self.listed = match any {
                false => written.clone(),
                true => {
                    let mut catalogue = written.catalogue.clone();
                    pools.add_to(&mut catalogue);
                    let (serial, problems) = (written.serial, written.problems.clone());
                    Arc::new(Listed { servers: servers(&catalogue), catalogue, serial, problems })
                }
            };
            (self.written, self.contributors, self.pools) = (written, contributors, Arc::new(pools));
        }
        facts.listed = self.listed.clone();
        facts.pools = self.pools.clone();
        facts.warnings.extend(self.pools.warnings());
    }
}

fn contributor(node: &NodeFacts) -> Contributor {
    Contributor {
        id: node.id,
        alive: node.standing.takes_referrals(),
        pools: node.pools.clone(),
        duties: node.duties.clone(),
    }
}

/// Whether what this node says counts; why not, with what to do. One without a certificate is this node itself, which
/// has a warning of its own.
fn may_be_obeyed(certificate: Option<&Certificate>, profile: &Profile, unix: u64) -> Result<(), String> {
    let Some(certificate) = certificate else { return Ok(()) };
    let Certificate { node, name, not_after, .. } = certificate;
    if State::of(certificate, unix) == State::Ended {
        return Err(format!(
            "the certificate of node {name} ended on {}: it counts for nothing until it is renewed: nigh admit {node} \
             --name {name} --key operator.key",
            membership::moment(*not_after)
        ));
    }
    if name != profile.name.as_str() {
        return Err(format!(
            "node {node} calls itself {}, but is admitted as {name}: it is not obeyed. Set its node.name to {name}, or \
             admit it anew as {}",
            profile.name, profile.name
        ));
    }
    Ok(())
}

/// The claims that a certificate allows, and those that it does not. Where all are allowed nothing is copied.
fn within(certificate: Option<&Certificate>, pages: Vec<Arc<Vec<Claim>>>) -> (Vec<Arc<Vec<Claim>>>, Vec<Claim>) {
    let allowed = |claim: &Claim| certificate.is_some_and(|certificate| certificate.allows(&claim.prefix));
    let mut void = Vec::new();
    let pages = pages
        .into_iter()
        .map(|page| {
            if page.iter().all(allowed) {
                return page;
            }
            let (good, bad): (Vec<Claim>, Vec<Claim>) = page.iter().partition(|claim| allowed(claim));
            void.extend(bad);
            Arc::new(good)
        })
        .collect();
    (pages, void)
}

fn beyond(name: &Label, void: &[Claim]) -> String {
    let more = if void.len() > 1 { format!(" and {} more", void.len() - 1) } else { String::new() };
    let first = void.first().map(|claim| claim.prefix.to_string()).unwrap_or_default();
    format!(
        "node {name} claims {first}{more}, which its certificate does not allow: such claims count nowhere. Admit it \
         anew with --prefix, or take the claim out of its configuration"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn certificate() -> Certificate {
        Certificate {
            node: ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key().into(),
            name: "fra".into(),
            serial: 1,
            prefixes: vec!["203.0.113.0/24".parse().unwrap()],
            not_after: 1000,
        }
    }

    fn profile(name: &str) -> Profile {
        Profile {
            name: name.parse().unwrap(),
            pop: String::new(),
            dns: Vec::new(),
            serves: Vec::new(),
            draining: false,
            version: String::new(),
            pressure: 0,
            location: None,
        }
    }

    #[test]
    fn a_node_is_obeyed_under_the_name_it_was_given_and_until_its_certificate_ends() {
        assert_eq!(may_be_obeyed(Some(&certificate()), &profile("fra"), 1000), Ok(()));
        let other = may_be_obeyed(Some(&certificate()), &profile("nyc"), 1000).unwrap_err();
        assert!(other.contains("calls itself nyc, but is admitted as fra"), "{other}");
        let ended = may_be_obeyed(Some(&certificate()), &profile("fra"), 1001).unwrap_err();
        assert!(ended.contains("ended on 1970-01-01T00:16:40Z"), "{ended}");
    }

    #[test]
    fn claims_beyond_the_certificate_are_void_and_without_one_all_are() {
        let claim = |prefix: &str| Claim::new(prefix.parse().unwrap(), 10);
        let good = Arc::new(vec![claim("203.0.113.128/25")]);
        let mixed = Arc::new(vec![claim("198.51.100.0/24"), claim("203.0.113.0/24")]);
        let (claims, void) = within(Some(&certificate()), vec![good.clone(), mixed.clone()]);
        assert!(Arc::ptr_eq(&claims[0], &good), "nothing to leave out, nothing copied");
        assert_eq!((claims[1].as_slice(), void.as_slice()), (&mixed[1..], &mixed[..1]));
        let (claims, void) = within(None, vec![good, mixed]);
        assert!(claims.iter().all(|page| page.is_empty()));
        assert_eq!(void.len(), 3);
        assert!(beyond(&"fra".parse().unwrap(), &void).contains("203.0.113.128/25 and 2 more"));
    }
}
