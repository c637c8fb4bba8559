//! Looks at the running node every second, and tells those who watch. The thin shell around [`History`].
//!
//! Whoever watches reads from a bounded channel; one that is too slow loses its place and asks again for the whole, which
//! costs less than a queue for each. When the node stops, the channel closes, and with it every open stream.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nigh_dns::{Family, RowState, Snapshot, shares};
use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{History, Observation, STEP_S, Shared, Totals};
use crate::admin::picture::{Happening, HistoryReport, Sample, Span};
use crate::admin::report::{ServerState, Verdict};
use crate::catalogue::name::text;
use crate::facts::Facts;
use crate::run::unix;
use crate::running::{Latest, Running, standing};

/// What a watcher may be behind by: half a minute.
const BACKLOG: usize = 32;
/// Streams open at a time: each holds one of the connections of the admin server, and commands need some as well.
pub const MOST_WATCHERS: usize = 24;
/// Services whose answers are compared: each is ranked anew after a change, which is some microseconds.
const MOST_FOLLOWED: usize = 1000;

/// What is told to those who watch, one thing at a time.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A second went by.
    Sample(Sample),
    /// Something happened.
    Happening(Happening),
}

/// As many watch as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// The history, and the way to those who watch it.
#[derive(Debug)]
pub struct Feed {
    history: Mutex<History>,
    /// None once the node stops.
    tell: Mutex<Option<broadcast::Sender<News>>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { history: Mutex::default(), tell: Mutex::new(Some(broadcast::channel(BACKLOG).0)) }
    }
}

impl Feed {
    /// What is remembered.
    pub fn report(&self, span: Span) -> HistoryReport {
        lock(&self.history).report(span)
    }

    /// What happens from now on; at the node's stop there is nothing any more.
    ///
    /// # Errors
    /// [`TooMany`] watch.
    pub fn watch(&self) -> Result<Option<broadcast::Receiver<News>>, TooMany> {
        match &*lock(&self.tell) {
            Some(tell) if tell.receiver_count() >= MOST_WATCHERS => Err(TooMany),
            Some(tell) => Ok(Some(tell.subscribe())),
            None => Ok(None),
        }
    }

    /// Takes an observation in, and tells of it.
    pub fn take(&self, time_s: u64, seen: Observation) {
        let (sample, happenings) = lock(&self.history).handle(time_s, seen);
        if let Some(tell) = &*lock(&self.tell) {
            // That nobody watches is no fault.
            for happening in happenings {
                let _ = tell.send(News::Happening(happening));
            }
            if let Some(sample) = sample {
                let _ = tell.send(News::Sample(sample));
            }
        }
    }

    fn close(&self) {
        *lock(&self.tell) = None;
    }
}

/// A panic elsewhere leaves a history that is whole: every change to it is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks every second until told to stop.
pub async fn record(running: Arc<Running>, stop: CancellationToken) {
    let mut tick = interval(Duration::from_secs(STEP_S.into()));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut looks = Looks::default();
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        running.feed.take(unix().as_secs(), looks.look(&running));
    }
    running.feed.close();
}

/// The last look: what was not changed since is not read again.
#[derive(Default)]
struct Looks {
    latest: Option<Arc<Latest>>,
    seen: Observation,
}

impl Looks {
    fn look(&mut self, running: &Running) -> Observation {
        let latest = running.latest.load_full();
        if self.latest.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &latest)) {
            self.read(&latest, &running.snapshot.load(), running.measured.borrow().isolated);
            self.latest = Some(latest);
        }
        self.seen.totals = Totals::from(&running.counters.read());
        self.seen.draining = running.draining.load(Ordering::Relaxed);
        self.seen.clone()
    }

    fn read(&mut self, latest: &Latest, snapshot: &Snapshot, isolated: bool) {
        let facts = &latest.facts;
        keep(&mut self.seen.members, members(facts));
        let servers = servers(facts);
        let (answers, rtts) = answers(facts, snapshot, &servers);
        keep(&mut self.seen.answers, answers);
        keep(&mut self.seen.servers, servers.into_iter().map(|(key, (state, _))| (key, state)).collect());
        self.seen.rtts_ms = Arc::new(rtts);
        self.seen.serial = latest.serial;
        self.seen.catalogue = facts.listed.serial;
        self.seen.warnings = latest.warnings.iter().cloned().collect();
        self.seen.isolated = isolated;
    }
}

/// Replaces what is different, so that what is not stays the same in memory and is compared at once.
fn keep<K: Ord, V: PartialEq>(held: &mut Shared<K, V>, now: BTreeMap<K, V>) {
    if *held.0 != now {
        held.0 = Arc::new(now);
    }
}

/// Those with a name: one without will have one in a moment, and that would be told as a coming and a going.
fn members(facts: &Facts) -> BTreeMap<String, Verdict> {
    facts.nodes.iter().map(|(label, node)| (label.to_string(), standing(node.standing))).collect()
}

type Own = BTreeMap<(String, String), (ServerState, Option<Duration>)>;

/// What this node told of each server.
fn servers(facts: &Facts) -> Own {
    let rows = facts.nodes.get(&facts.me).into_iter().flat_map(|node| node.rows.iter().flat_map(|page| page.iter()));
    rows.filter_map(|row| {
        let (service, id) = facts.listed.servers.get(&row.server)?;
        let state = match row.state.into() {
            RowState::Up => ServerState::Up,
            RowState::Down => ServerState::Down,
            RowState::Unknown => ServerState::Unknown,
        };
        Some(((text(service), id.clone()), (state, row.rtt())))
    })
    .collect()
}

/// What this node's clients get of each service, and how far that is in the mean of the clients.
fn answers(facts: &Facts, snapshot: &Snapshot, servers: &Own) -> (BTreeMap<String, Vec<String>>, Vec<f32>) {
    let mut answers = BTreeMap::new();
    let mut rtts = Vec::new();
    for name in facts.listed.catalogue.services.keys().take(MOST_FOLLOWED) {
        let service = text(name);
        let mut given = Vec::new();
        for family in [Family::V4, Family::V6] {
            let Some(found) = shares(snapshot, &facts.me, name, family, None) else { continue };
            let taken = found.servers.into_iter().filter(|share| share.part > 0.0);
            let (mut sum, mut parts) = (0.0, 0.0);
            for share in taken {
                let key = (service.clone(), share.server);
                if let Some((ServerState::Up, Some(rtt))) = servers.get(&key) {
                    sum += share.part * rtt.as_secs_f64() * 1000.0;
                    parts += share.part;
                }
                given.push(key.1);
            }
            if parts > 0.0 {
                rtts.push((sum / parts) as f32);
            }
            given.extend(found.instead.iter().map(ToString::to_string));
        }
        // In the order of names: who gets a little more than another is no change of the answer.
        given.sort();
        answers.insert(service, given);
    }
    (answers, rtts)
}
