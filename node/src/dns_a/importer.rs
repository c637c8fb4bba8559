//! Asks DNS-A: the task behind [`super::polling`].
//!
//! At most `MOST_UNDER_WAY` questions are on their way at once, so a catalogue of thousands of origins leaves as a
//! trickle. A name that the server named for it refers elsewhere (an alias out of its zones) is asked of the resolver.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RecordType};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::chase::{Chase, Outcome, Step};
use super::exchange::{self, Failure};
use super::polling::{Family, Found, Polling};
use super::zones::Copies;
use crate::discovery::system::{RESOLV_CONF, System};
use crate::tables::pools::Source;

/// Questions on their way at once: enough for hundreds a second, and no flood at DNS-A.
const MOST_UNDER_WAY: usize = 32;

/// Who is asked for an origin that names no server.
#[derive(Clone, Debug, Default)]
pub struct Resolvers {
    /// Those of the configuration; none: those that the system uses.
    pub configured: Vec<SocketAddr>,
    /// The file with these; none: where it usually is.
    pub system: Option<PathBuf>,
}

impl Resolvers {
    /// Read at each question, so that a change needs no restart: one leaves every few seconds at most.
    fn list(&self) -> Vec<SocketAddr> {
        if !self.configured.is_empty() {
            return self.configured.clone();
        }
        let file = self.system.clone().unwrap_or_else(|| PathBuf::from(RESOLV_CONF));
        System::new(&file).look().and_then(Result::ok).unwrap_or_default()
    }
}

/// What is to be asked.
pub type Wanted = Arc<BTreeSet<Source>>;
/// What was found.
pub type Results = Arc<BTreeMap<Source, Found>>;

/// A handle on the task; it ends with the handle.
pub struct Importer {
    wanted: watch::Sender<Wanted>,
    found: watch::Receiver<Results>,
    _task: JoinSet<()>,
}

impl Importer {
    /// Starts it. Names in zones that are held here are looked up there.
    pub fn spawn(resolvers: Resolvers, copies: watch::Receiver<Copies>) -> Self {
        let (wanted, to_ask) = watch::channel(Wanted::default());
        let (results, found) = watch::channel(Results::default());
        let mut task = JoinSet::new();
        task.spawn(Asking::new(to_ask, results, copies, resolvers).run());
        Self { wanted, found, _task: task }
    }

    /// From now on these are asked.
    pub fn want(&self, sources: BTreeSet<Source>) {
        self.wanted.send_if_modified(|wanted| {
            let changed = **wanted != sources;
            if changed {
                *wanted = Arc::new(sources);
            }
            changed
        });
    }

    /// What was found so far.
    pub fn found(&self) -> watch::Receiver<Results> {
        self.found.clone()
    }
}

struct Asked {
    polling: Polling,
    /// Its place in the order of what is due.
    next: Option<Duration>,
}

struct Asking {
    resolvers: Arc<Resolvers>,
    wanted: watch::Receiver<Wanted>,
    results: watch::Sender<Results>,
    copies: watch::Receiver<Copies>,
    sources: BTreeMap<Arc<Source>, Asked>,
    due: BTreeSet<(Duration, Arc<Source>)>,
    under_way: JoinSet<(Arc<Source>, Family, Outcome)>,
    epoch: Instant,
}

impl Asking {
    fn new(
        wanted: watch::Receiver<Wanted>,
        results: watch::Sender<Results>,
        copies: watch::Receiver<Copies>,
        resolvers: Resolvers,
    ) -> Self {
        Self {
            resolvers: Arc::new(resolvers),
            wanted,
            results,
            copies,
            sources: BTreeMap::new(),
            due: BTreeSet::new(),
            under_way: JoinSet::new(),
            epoch: Instant::now(),
        }
    }

    async fn run(mut self) {
        loop {
            self.ask();
            let next =
                self.due.first().filter(|_| self.under_way.len() < MOST_UNDER_WAY).map(|(at, _)| self.epoch + *at);
            tokio::select! {
                changed = self.wanted.changed() => match changed {
                    Ok(()) => self.aim(),
                    Err(_) => return, // The node has ended.
                },
                Ok(()) = self.copies.changed() => self.hurry(),
                Some(done) = self.under_way.join_next() => match done {
                    Ok((source, family, outcome)) => self.take(&source, family, outcome),
                    Err(error) => tracing::error!(%error, "asking for an origin ended badly"),
                },
                () = sleep_until(next) => {}
            }
        }
    }

    fn aim(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        self.sources.retain(|source, _| wanted.contains(&**source));
        self.due.retain(|(_, source)| wanted.contains(&**source));
        for source in wanted.iter() {
            if !self.sources.contains_key(source) {
                let source = Arc::new(source.clone());
                self.sources.insert(source.clone(), Asked { polling: Polling::default(), next: None });
                self.place(&source);
            }
        }
        self.results.send_if_modified(|results| {
            let gone = results.keys().any(|source| !wanted.contains(source));
            if gone {
                Arc::make_mut(results).retain(|source, _| wanted.contains(source));
            }
            gone
        });
    }

    /// A zone that is held here changed: what lies in it is looked up at once.
    fn hurry(&mut self) {
        let copies = self.copies.borrow_and_update().clone();
        let now = self.epoch.elapsed();
        let within: Vec<Arc<Source>> =
            self.sources.keys().filter(|source| copies.holds(&source.name)).cloned().collect();
        for source in within {
            if let Some(asked) = self.sources.get_mut(&source) {
                asked.polling.hurry(now);
            }
            self.place(&source);
        }
    }

    /// Puts a source where it belongs in the order of what is due.
    fn place(&mut self, source: &Arc<Source>) {
        let Some(asked) = self.sources.get_mut(source) else { return };
        if let Some(at) = asked.next.take() {
            self.due.remove(&(at, source.clone()));
        }
        asked.next = asked.polling.next();
        self.due.extend(asked.next.map(|at| (at, source.clone())));
    }

    fn ask(&mut self) {
        let now = self.epoch.elapsed();
        while self.under_way.len() < MOST_UNDER_WAY {
            let Some((_, source)) = self.due.first().filter(|(at, _)| *at <= now).cloned() else { return };
            let families = self.sources.get_mut(&source).map(|asked| asked.polling.due(now)).unwrap_or_default();
            for family in families {
                let (source, copies, resolvers) =
                    (source.clone(), self.copies.borrow().clone(), self.resolvers.clone());
                self.under_way.spawn(async move {
                    let outcome = look_up(&source, family, &copies, &resolvers).await;
                    (source, family, outcome)
                });
            }
            self.place(&source);
        }
    }

    fn take(&mut self, source: &Arc<Source>, family: Family, outcome: Outcome) {
        let now = self.epoch.elapsed();
        let Some(asked) = self.sources.get_mut(source) else { return };
        asked.polling.handle(now, family, outcome, rand::random());
        let found = asked.polling.found();
        self.place(source);
        self.results.send_if_modified(|results| {
            let changed = results.get(&**source) != Some(&found) && found != Found::default();
            if changed {
                Arc::make_mut(results).insert(Source::clone(source), found);
            }
            changed
        });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn look_up(source: &Source, family: Family, copies: &Copies, resolvers: &Resolvers) -> Outcome {
    let rtype = match family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    };
    let mut chase = Chase::new(source.name.clone(), rtype);
    let mut step = Step::Ask(source.name.clone());
    loop {
        step = match step {
            Step::Done(outcome) => return outcome,
            Step::Ask(name) => match reply(source, &name, rtype, copies, resolvers).await {
                Ok(reply) => chase.handle(&reply),
                Err(failure) => Step::Done(Outcome::Failed(failure.to_string())),
            },
        };
    }
}

async fn reply(
    source: &Source,
    name: &Name,
    rtype: RecordType,
    copies: &Copies,
    resolvers: &Resolvers,
) -> Result<Message, Failure> {
    if let Some(reply) = copies.reply(name, rtype) {
        return Ok(reply);
    }
    if source.from.is_empty() {
        return exchange::ask(&resolvers.list(), name, rtype, true).await;
    }
    let asked = exchange::ask(&source.from, name, rtype, false).await;
    // The origin itself is DNS-A's own; where an alias leads may be in anybody's zone.
    if *name != source.name && !asked.as_ref().is_ok_and(is_answer) {
        return exchange::ask(&resolvers.list(), name, rtype, true).await;
    }
    asked
}

fn is_answer(reply: &Message) -> bool {
    reply.metadata.authoritative || !reply.answers.is_empty()
}
