//! This node's side of everything at DNS-A: the tasks, what they are told of the mesh, and what they tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use nigh_gossip::{NodeId, Slot};
use tokio::sync::watch;
use tokio::time::Instant;

use super::delegation::Candidate;
use super::importer::{Importer, Resolvers, Results};
use super::notify::Ear;
use super::pool::Pools;
use super::upkeep::{Scene, State, Upkeep};
use super::zones::{Keeper, OriginZone, needed};
use super::{importing, key_file, rank};
use crate::admin::dns_a_report::{DelegationLine, Imports, PoolLine, PoolState, ZoneLine};
use crate::catalogue::name::text;
use crate::config::DnsAConfig;
use crate::config::dns_a::DelegationConfig;
use crate::facts::{Facts, NodeFacts};
use crate::tables::duties::Duties;
use crate::tables::pools::Source;

/// The page of duties is written at most this often: a stream of NOTIFYs is one word to the mesh.
const DUTIES_PAUSE: Duration = Duration::from_secs(1);
/// Which zone is looked at, in the hash that orders the nodes for it.
const DELEGATION_DOMAIN: &str = "nigh 2026 delegation duty 1";

/// What is to be published.
#[derive(Debug, Default)]
pub struct Pages {
    /// Of [`crate::tables::POOLS`]; an empty body withdraws.
    pub pools: Vec<(Slot, Vec<u8>)>,
    /// The page of [`crate::tables::DUTIES`], if it must be written.
    pub duties: Option<Vec<u8>>,
    /// When to come back for what had to wait.
    pub again: Option<Instant>,
}

/// What this node does at DNS-A, for reports.
#[derive(Clone, Debug, Default)]
pub struct Doing {
    /// Delegations that it is configured for.
    pub delegations: Vec<(DelegationConfig, State)>,
    /// Zones that it holds: serial and number of records.
    pub zones: Vec<(Name, u32, usize)>,
}

/// Handles on all tasks; they end with it.
pub struct Side {
    importer: Importer,
    found: watch::Receiver<Results>,
    keeper: Keeper,
    ear: Arc<Ear>,
    upkeeps: Vec<Upkeep>,
    /// Rises with every state of an upkeep.
    moved: watch::Receiver<u64>,
    duties_at: Option<Instant>,
    /// What the last turn looked at, and which sources were this node's then: most turns are about something else.
    looked: Option<(Arc<Pools>, Results)>,
    mine: BTreeSet<Source>,
    _followers: tokio::task::JoinSet<()>,
}

impl Side {
    /// Reads the keys and starts the tasks.
    ///
    /// # Errors
    /// A key that cannot be used.
    pub fn start(config: &DnsAConfig, resolvers: Resolvers) -> anyhow::Result<Self> {
        let mut keys = BTreeMap::new();
        for key in &config.keys {
            keys.insert(key.name.clone(), key_file::read(key)?);
        }
        let key = |name: &Name| keys.get(name).cloned();
        let zones: Vec<OriginZone> = config
            .zones
            .iter()
            .map(|zone| OriginZone {
                name: zone.name.clone(),
                from: zone.from.clone(),
                key: zone.key.as_ref().and_then(key),
            })
            .collect();
        let keeper = Keeper::spawn(&zones);
        let importer = Importer::spawn(resolvers, keeper.copies());
        let delegations = config.delegations.iter();
        let upkeeps: Vec<Upkeep> =
            delegations.filter_map(|one| Some(Upkeep::spawn(one.clone(), key(&one.key)?))).collect();
        let (move_on, moved) = watch::channel(0);
        let mut followers = tokio::task::JoinSet::new();
        for upkeep in &upkeeps {
            let (mut state, move_on) = (upkeep.state(), move_on.clone());
            followers.spawn(async move {
                while state.changed().await.is_ok() {
                    move_on.send_modify(|count| *count += 1);
                }
            });
        }
        // Without an upkeep nobody may seem to have hung up.
        followers.spawn(async move { move_on.closed().await });
        let found = importer.found();
        let ear = Arc::new(Ear::new(&zones));
        Ok(Self {
            importer,
            found,
            keeper,
            ear,
            upkeeps,
            moved,
            duties_at: None,
            looked: None,
            mine: BTreeSet::new(),
            _followers: followers,
        })
    }

    /// Who hears NOTIFYs.
    pub fn ear(&self) -> Arc<Ear> {
        self.ear.clone()
    }

    /// Waits until something here changed.
    ///
    /// # Errors
    /// A task has ended.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        let ear = self.ear.clone();
        tokio::select! {
            changed = self.found.changed() => changed,
            changed = self.moved.changed() => changed,
            () = ear.next() => Ok(()),
        }
    }

    /// Tells the tasks what is, and says what the mesh should know.
    pub fn turn(&mut self, facts: &Facts, me: NodeId, obstacle: Option<&str>) -> Pages {
        let found = self.found.borrow_and_update().clone();
        self.moved.borrow_and_update();
        let Some(own) = facts.nodes.get(&facts.me).filter(|own| own.id == me) else { return Pages::default() };
        for upkeep in &self.upkeeps {
            upkeep.set(scene(facts, me, &upkeep.config.zone, obstacle));
        }
        let mut pages = Pages::default();
        let is_same =
            |(pools, results): &(Arc<Pools>, Results)| Arc::ptr_eq(pools, &facts.pools) && Arc::ptr_eq(results, &found);
        if !self.looked.as_ref().is_some_and(is_same) {
            self.mine = facts.pools.of(me);
            self.importer.want(self.mine.clone());
            // A node that joins has yet to learn which services there are: its pages of the last run stay until then.
            if !facts.listed.catalogue.zones.is_empty() {
                pages.pools = importing::pages(&facts.pools, me, &own.pools, &found);
                self.looked = Some((facts.pools.clone(), found));
            }
        }
        self.keeper.want(self.zones(facts));
        self.tell_duties(own, &mut pages);
        pages
    }

    /// The zones to hold, with the number of NOTIFYs that all nodes have heard.
    fn zones(&self, facts: &Facts) -> BTreeMap<Name, u32> {
        let counts = self.ear.counts();
        if counts.is_empty() {
            return BTreeMap::new();
        }
        let names: BTreeSet<&Name> = self.mine.iter().map(|source| &source.name).collect();
        let heard = |zone: &Name| {
            let counts = facts.nodes.values().filter_map(|node| node.duties.as_ref()?.zones.get(zone));
            counts.fold(0, |sum: u32, count| sum.wrapping_add(*count))
        };
        needed(counts.keys(), &names).into_iter().map(|zone| (zone.clone(), heard(zone))).collect()
    }

    fn tell_duties(&mut self, own: &NodeFacts, pages: &mut Pages) {
        let mut duties = Duties { zones: self.ear.counts(), ..Duties::default() };
        for upkeep in &self.upkeeps {
            let state = upkeep.state().borrow().clone();
            let zone = upkeep.config.zone.clone();
            if state.is_acting {
                duties.acting.insert(zone.clone());
            }
            duties.delegations.insert(zone, if state.fails { state.trouble } else { String::new() });
        }
        let held = own.duties.as_deref();
        if held.map_or(duties == Duties::default(), |held| *held == duties) {
            return;
        }
        match self.duties_at.map(|at| at + DUTIES_PAUSE).filter(|until| *until > Instant::now()) {
            Some(until) => pages.again = Some(until),
            None => {
                self.duties_at = Some(Instant::now());
                pages.duties = Some(if duties == Duties::default() { Vec::new() } else { duties.encode() });
            }
        }
    }

    /// What this node does, for reports.
    pub fn doing(&self) -> Doing {
        let states = self.upkeeps.iter().map(|upkeep| (upkeep.config.clone(), upkeep.state().borrow().clone()));
        let copies = self.keeper.copies().borrow().clone();
        Doing {
            delegations: states.collect(),
            zones: copies.serials().map(|(name, serial, kept)| (name.clone(), serial, kept)).collect(),
        }
    }

    /// What someone should look at.
    pub fn warnings(&self) -> Vec<String> {
        let states = self.upkeeps.iter().map(|upkeep| (&upkeep.config.zone, upkeep.state().borrow().trouble.clone()));
        let troubled = states.filter(|(_, trouble)| !trouble.is_empty());
        troubled.map(|(zone, trouble)| format!("delegation of {}: {trouble}", text(zone))).collect()
    }
}

/// Who may stand in a delegation, and whether it is this node that keeps it.
fn scene(facts: &Facts, me: NodeId, zone: &Name, obstacle: Option<&str>) -> Scene {
    let wanted = facts.listed.catalogue.zones.get(zone).map(|zone| zone.nameservers.as_slice()).unwrap_or_default();
    let candidates = facts
        .nodes
        .iter()
        .map(|(label, node)| Candidate {
            label: label.clone(),
            site: node.profile.pop.clone(),
            addresses: node.profile.dns.iter().copied().collect(),
            is_alive: node.standing.takes_referrals(),
            is_wanted: wanted.is_empty() || wanted.contains(label),
        })
        .collect();
    let obstacle = obstacle.map(str::to_owned);
    Scene { candidates, is_my_turn: keepers(facts, zone).contains(&me), obstacle }
}

/// Who keeps a delegation now: the first of those that can, and those after it while it fails.
pub fn keepers(facts: &Facts, zone: &Name) -> Vec<NodeId> {
    let duty = |node: &NodeFacts| node.duties.as_ref().and_then(|duties| duties.delegations.get(zone).cloned());
    let nodes = || facts.nodes.values().filter(|node| node.standing.takes_referrals());
    let able = nodes().filter(|node| duty(node).is_some()).map(|node| (0, node.id));
    let mut slot = [0; 16];
    slot.copy_from_slice(&blake3::derive_key(DELEGATION_DOMAIN, text(zone).as_bytes())[..16]);
    let order = rank::first(&Slot(slot), able);
    let fails = |id: NodeId| nodes().any(|node| node.id == id && duty(node).is_some_and(|trouble| !trouble.is_empty()));
    rank::doing(&order, 1, fails)
}

fn label_of(facts: &Facts, id: NodeId) -> String {
    let label = facts.nodes.iter().find(|(_, node)| node.id == id).map(|(label, _)| label.to_string());
    label.unwrap_or_else(|| id.short())
}

/// `nigh pools`.
pub fn imports(facts: &Facts, doing: &Doing) -> Imports {
    let pools = facts.pools.sources.iter().map(|(source, held)| {
        let pool = held.pool();
        let troubles = held.importers.iter().filter_map(|id| held.pages.get(id)).map(|pool| pool.trouble.clone());
        PoolLine {
            origin: text(&source.name),
            from: source.from.clone(),
            services: held.services.iter().map(text).collect(),
            state: match (pool, held.is_last_known) {
                (None, _) => PoolState::None,
                (Some(_), true) => PoolState::Kept,
                (Some(_), false) => PoolState::Fresh,
            },
            held_by: held.holder.map(|id| label_of(facts, id)),
            importers: held.importers.iter().map(|id| label_of(facts, *id)).collect(),
            addresses: pool.map(|pool| pool.addresses.clone()).unwrap_or_default(),
            trouble: troubles.filter(|_| held.is_last_known).find(|why| !why.is_empty()).unwrap_or_default(),
        }
    });
    let zone = |(name, serial, records): &(Name, u32, usize)| ZoneLine {
        zone: text(name),
        serial: *serial,
        records: *records,
    };
    Imports { pools: pools.collect(), zones: doing.zones.iter().map(zone).collect() }
}

/// `nigh delegations`.
pub fn delegations(facts: &Facts, doing: &Doing) -> Vec<DelegationLine> {
    let duties = || facts.nodes.values().filter_map(|node| node.duties.as_ref());
    let zones: BTreeSet<&Name> = duties().flat_map(|duties| duties.delegations.keys()).collect();
    let line = |zone: &Name| {
        let keepers = keepers(facts, zone).into_iter().map(|id| label_of(facts, id)).collect();
        let mut troubles = duties().filter_map(|duties| duties.delegations.get(zone));
        let line = DelegationLine {
            zone: text(zone),
            keepers,
            trouble: troubles.find(|why| !why.is_empty()).cloned().unwrap_or_default(),
            ..DelegationLine::default()
        };
        let Some((config, state)) = doing.delegations.iter().find(|(config, _)| config.zone == *zone) else {
            return line;
        };
        let line = DelegationLine { dry_run: Some(config.dry_run), ..line };
        if !state.is_acting {
            return line;
        }
        DelegationLine {
            acting: true,
            listed: state.listed.clone(),
            wanted: state.chosen.iter().map(ToString::to_string).collect(),
            planned: state.planned.clone(),
            done: state.done.clone(),
            trouble: state.trouble.clone(),
            ..line
        }
    };
    zones.into_iter().map(line).collect()
}
