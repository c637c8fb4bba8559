//! Between the main loop and the finder: what of the mesh can be asked, and what of the findings is told.

use std::sync::Arc;
use std::time::Duration;

use nigh_dns::Family;
use nigh_gossip::{MeshView, NodeId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::findings::ResolverFinding;
use super::public::Public;
use super::told::{self, Found, Teller};
use super::{Candidate, Finder, Findings, Settings, Sight, Sources, spawn};
use crate::config::Config;
use crate::facts::Facts;

/// How often the finder is told who is there, once it knows a zone.
const SIGHT: Duration = Duration::from_secs(1);

/// The finder, if there are resolvers to ask, and what goes to and fro.
pub struct Finding {
    sight: watch::Sender<Arc<Sight>>,
    finder: Option<Finder>,
    findings: watch::Receiver<Arc<Findings>>,
    teller: Teller,
    next: Instant,
}

impl Finding {
    /// Starts to look for the resolvers of the configuration as this node.
    pub fn start(config: &Config, me: NodeId, epoch: Instant) -> Self {
        let (sight, seen) = watch::channel(Arc::default());
        let resolvers = &config.resolvers;
        let sources = Sources { configured: resolvers.addresses.clone(), system: resolvers.system.clone() };
        let settings =
            Settings { mesh: config.mesh.id, me, interval: resolvers.interval, public: Public::new(&resolvers.public) };
        let finder = (!sources.is_empty()).then(|| spawn(settings, sources, epoch, seen));
        let findings = finder.as_ref().map_or_else(|| watch::channel(Arc::default()).1, Finder::findings);
        Self { sight, finder, findings, teller: Teller::default(), next: epoch }
    }

    /// Whether there are resolvers to ask. Without any, nothing will ever be found.
    pub fn looks(&self) -> bool {
        self.finder.is_some()
    }

    /// What was found, always the newest.
    pub fn findings(&self) -> watch::Receiver<Arc<Findings>> {
        self.findings.clone()
    }

    /// Waits for something new.
    ///
    /// # Errors
    /// The finder has ended, which it does not by itself.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        if self.finder.is_none() {
            std::future::pending::<()>().await;
        }
        self.findings.changed().await
    }

    /// Tells the finder what can be asked.
    pub fn look_out(&mut self, facts: &Facts) {
        if self.finder.is_none() || Instant::now() < self.next && self.sight.borrow().zone.is_some() {
            return;
        }
        self.next = Instant::now() + SIGHT;
        let new = sight(facts);
        self.sight.send_if_modified(|sight| {
            let changed = **sight != new;
            if changed {
                *sight = Arc::new(new);
            }
            changed
        });
    }

    /// What is to be claimed, if the mesh should be told.
    pub fn tell(
        &mut self,
        now: Duration,
        view: &MeshView,
        config: &Config,
    ) -> Option<std::collections::BTreeMap<std::net::IpAddr, Found>> {
        let findings = self.findings.borrow_and_update().clone();
        // Until a resolver was heard, or was silent for a round, what the last run found stands.
        let ready = |resolver: &ResolverFinding| {
            !resolver.egress.is_empty() || resolver.silent_rounds > 0 || !resolver.fault.is_empty()
        };
        if !findings.resolvers.iter().any(ready) {
            return None;
        }
        let certificate = view.certificates.get(&view.me);
        let rows = told::claimed(&findings, certificate, &config.claims, config.resolvers.preference);
        let known = |proof: &super::Proof| view.certificates.contains_key(&proof.statement.witness);
        self.teller.offer(now, &rows, known).then_some(rows)
    }
}

/// What can be asked through resolvers: the first zone, and the other live nodes, nearest first.
fn sight(facts: &Facts) -> Sight {
    let own = facts.nodes.get(&facts.me).map(|node| node.rtt.clone()).unwrap_or_default();
    let mut witnesses: Vec<(Duration, Candidate)> = facts
        .nodes
        .iter()
        .filter(|(label, node)| **label != facts.me && node.standing.takes_referrals())
        .map(|(label, node)| {
            let families = [Family::V4, Family::V6].into_iter();
            let reached = |family: &Family| node.profile.dns.iter().any(|address| family.has(*address));
            let candidate =
                Candidate { id: node.id, label: label.clone(), families: families.filter(reached).collect() };
            (own.get(&node.id).copied().unwrap_or(Duration::MAX), candidate)
        })
        .collect();
    witnesses.sort_by(|a, b| (a.0, &a.1.label).cmp(&(b.0, &b.1.label)));
    let zone = facts.listed.catalogue.zones.keys().next().cloned().map(|mut zone| {
        zone.set_fqdn(true);
        zone
    });
    Sight { zone, witnesses: witnesses.into_iter().map(|(_, candidate)| candidate).collect() }
}
