//! Copies of the zones that origins lie in: refreshed by their timers and on NOTIFY, one task for each.
//!
//! ```text
//!   wanted ─▶ SOA question ─ newer? ─▶ IXFR, or AXFR ─▶ copy ─▶ importer looks its names up again
//!     ▲            ▲ refresh, retry, NOTIFY heard by any node that has the zone
//! ```
//!
//! A zone is held only while this node imports something in it. A copy that has expired is let go: its names are then
//! asked for one by one, and if that fails too, the last known set stands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::exchange::{self, Failure};
use super::message::Question;
use super::serial::is_after;
use super::transfer::{Broken, Progress, Timers, Transfer, Zone};
use super::tsig::{self, Distrust, Key};
use crate::catalogue::name::text;
use crate::run::unix;

/// Until a transfer is given up, and until the next of its messages.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(60);
const MESSAGE_PATIENCE: Duration = Duration::from_secs(10);

/// A zone to be held, and where it comes from.
#[derive(Clone, Debug)]
pub struct OriginZone {
    /// Its name.
    pub name: Name,
    /// Its primaries, in the order in which they are asked.
    pub from: Vec<SocketAddr>,
    /// The key that they ask for.
    pub key: Option<Key>,
}

/// The zones that are held now.
#[derive(Clone, Debug, Default)]
pub struct Copies(Arc<BTreeMap<Name, Arc<Zone>>>);

impl Copies {
    /// Whether a name lies in one of them.
    pub fn holds(&self, name: &Name) -> bool {
        self.0.keys().any(|zone| zone.zone_of(name))
    }

    /// What the closest zone says to a question; nothing: ask a server.
    pub fn reply(&self, name: &Name, rtype: RecordType) -> Option<Message> {
        let within = self.0.iter().filter(|(zone, _)| zone.zone_of(name));
        within.max_by_key(|(zone, _)| zone.num_labels())?.1.reply(name, rtype)
    }

    /// Serial and number of addresses of each.
    pub fn serials(&self) -> impl Iterator<Item = (&Name, u32, usize)> {
        self.0.iter().map(|(name, zone)| (name, zone.soa.serial, zone.kept()))
    }
}

/// Which zones are to be held, and how many NOTIFYs the mesh has heard for each.
pub type Wanted = BTreeMap<Name, u32>;

/// A handle on the tasks; they end with it.
pub struct Keeper {
    wanted: watch::Sender<Wanted>,
    copies: watch::Receiver<Copies>,
    _tasks: JoinSet<()>,
}

impl Keeper {
    /// Starts them.
    pub fn spawn(zones: &[OriginZone]) -> Self {
        let (wanted, to_hold) = watch::channel(Wanted::new());
        let (held, copies) = watch::channel(Copies::default());
        let mut tasks = JoinSet::new();
        for zone in zones {
            let keeping = Keeping {
                zone: zone.clone(),
                wanted: to_hold.clone(),
                held: held.clone(),
                heard: None,
                copy: None,
                timers: Timers::default(),
                epoch: Instant::now(),
                trouble: None,
            };
            tasks.spawn(keeping.run());
        }
        // Without a zone nobody may seem to have hung up.
        tasks.spawn(async move {
            held.closed().await;
        });
        Self { wanted, copies, _tasks: tasks }
    }

    /// The copies.
    pub fn copies(&self) -> watch::Receiver<Copies> {
        self.copies.clone()
    }

    /// From now on these are held.
    pub fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|held| {
            let changed = *held != wanted;
            *held = wanted;
            changed
        });
    }
}

struct Keeping {
    zone: OriginZone,
    wanted: watch::Receiver<Wanted>,
    held: watch::Sender<Copies>,
    heard: Option<u32>,
    copy: Option<Arc<Zone>>,
    timers: Timers,
    epoch: Instant,
    trouble: Option<String>,
}

impl Keeping {
    async fn run(mut self) {
        loop {
            let heard = self.wanted.borrow_and_update().get(&self.zone.name).copied();
            if heard != self.heard {
                self.heard = heard;
                self.timers.notified(self.epoch.elapsed());
            }
            if heard.is_none() {
                self.timers = Timers::default();
                self.hold(None);
                if self.wanted.changed().await.is_err() {
                    return;
                }
                continue;
            }
            if self.timers.is_expired(self.epoch.elapsed()) {
                self.hold(None);
            }
            if self.timers.next() <= self.epoch.elapsed() {
                self.refresh().await;
            }
            let next = self.epoch + self.timers.next();
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn refresh(&mut self) {
        let held = self.copy.as_ref().map(|zone| zone.soa.clone());
        let mut trouble = "no primary".to_owned();
        for server in self.zone.from.clone() {
            match self.refresh_from(server).await {
                Ok(soa) => {
                    self.timers.refreshed(self.epoch.elapsed(), &soa);
                    if let Some(trouble) = self.trouble.take() {
                        tracing::info!(zone = %text(&self.zone.name), %server, before = %trouble, "the zone can be had again");
                    }
                    return;
                }
                Err(why) => trouble = why.to_string(),
            }
        }
        self.timers.failed(self.epoch.elapsed(), held.as_ref());
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::warn!(zone = %text(&self.zone.name), why = %trouble, "the zone cannot be had from its primary");
            self.trouble = Some(trouble);
        }
    }

    async fn refresh_from(&mut self, server: SocketAddr) -> Result<SOA, Trouble> {
        let soa = soa(server, &self.zone).await?;
        if let Some(copy) = &self.copy
            && !is_after(soa.serial, copy.soa.serial)
        {
            return Ok(copy.soa.clone());
        }
        let held = self.copy.as_deref().cloned();
        let again = held.is_some();
        let fetched = match transfer(server, &self.zone, held).await {
            // Differences that do not fit, or a server that does not know the type: then all of it.
            Err(Trouble::Broken(_)) if again => transfer(server, &self.zone, None).await?,
            fetched => fetched?,
        };
        let Some(zone) = fetched else { return Ok(soa) };
        let soa = zone.soa.clone();
        tracing::info!(zone = %text(&self.zone.name), %server, serial = soa.serial, kept = zone.kept(), "zone transferred");
        self.hold(Some(Arc::new(zone)));
        Ok(soa)
    }

    fn hold(&mut self, copy: Option<Arc<Zone>>) {
        if self.copy.is_none() && copy.is_none() {
            return;
        }
        self.copy.clone_from(&copy);
        self.held.send_modify(|copies| {
            let zones = Arc::make_mut(&mut copies.0);
            match copy {
                Some(zone) => zones.insert(self.zone.name.clone(), zone),
                None => zones.remove(&self.zone.name),
            };
        });
    }
}

/// Why a zone could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// There is no reply.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The reply is not believed.
    #[error("{0}: {1}")]
    Distrust(SocketAddr, Distrust),
    /// The transfer is none.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// There is no SOA record.
    #[error("{0} has no such zone: it answers {1}")]
    NoZone(SocketAddr, ResponseCode),
}

/// The zone's head, by TCP: it is signed for where there is a key, and never truncated.
async fn soa(server: SocketAddr, zone: &OriginZone) -> Result<SOA, Trouble> {
    let question = Question::query(rand::random(), zone.name.clone(), RecordType::SOA);
    let octets = exchange::octets(&question.message(false), server)?;
    let reply = signed_exchange(server, &question, octets, zone.key.as_ref()).await?;
    let soa = reply.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) if record.name == zone.name => Some(soa.clone()),
        _ => None,
    });
    soa.ok_or(Trouble::NoZone(server, reply.metadata.response_code))
}

/// One question by TCP and its reply, signed both ways if there is a key.
///
/// # Errors
/// [`Trouble`].
pub async fn signed_exchange(
    server: SocketAddr,
    question: &Question,
    octets: Vec<u8>,
    key: Option<&Key>,
) -> Result<Message, Trouble> {
    let Some(key) = key else {
        return Ok(exchange::tcp(server, &octets, |octets| question.reply(octets).ok()).await?);
    };
    let (signed, mut verifier) = tsig::sign(octets, key, unix());
    let reply =
        exchange::tcp(server, &signed, |octets| question.fits_header(octets).ok().map(|()| octets.to_vec())).await?;
    let reply = verifier.check(&reply, unix()).map_err(|distrust| Trouble::Distrust(server, distrust))?;
    question.reply(&reply).map_err(|_| Failure::Strays(server).into())
}

/// Nothing: what is held is the newest.
async fn transfer(server: SocketAddr, zone: &OriginZone, held: Option<Zone>) -> Result<Option<Zone>, Trouble> {
    let until = Instant::now() + TRANSFER_PATIENCE;
    let rtype = if held.is_some() { RecordType::IXFR } else { RecordType::AXFR };
    let question = Question::query(rand::random(), zone.name.clone(), rtype);
    let mut transfer = Transfer::new(zone.name.clone(), held);
    let octets = exchange::octets(&transfer.request(question.id), server)?;
    let (octets, mut verifier) = match &zone.key {
        Some(key) => {
            let (signed, verifier) = tsig::sign(octets, key, unix());
            (signed, Some(verifier))
        }
        None => (octets, None),
    };
    let mut stream = exchange::connect(server, until).await?;
    exchange::send(&mut stream, server, &octets, until).await?;
    let mut done: Option<Zone> = None;
    loop {
        let octets = exchange::receive(&mut stream, server, until.min(Instant::now() + MESSAGE_PATIENCE)).await?;
        question.fits_header(&octets).map_err(|_| Failure::Strays(server))?;
        let octets = match &mut verifier {
            Some(verifier) => {
                verifier.check(&octets, unix()).map_err(|distrust| Trouble::Distrust(server, distrust))?
            }
            None => octets,
        };
        let message = Message::from_vec(&octets).map_err(|_| Broken::Malformed("a message that cannot be read"))?;
        // RFC 5936 section 2.2.1: only the first message need have the question.
        if message.queries.first().is_some_and(|asked| *asked.name() != zone.name) {
            return Err(Broken::Malformed("another zone").into());
        }
        match transfer.handle(&message, octets.len())? {
            Progress::More => continue,
            Progress::Current => {}
            Progress::Done(zone) => done = Some(*zone),
        }
        // RFC 8945 section 5.3.1: the last message is signed. Otherwise the end is not believed.
        if verifier.is_some_and(|verifier| !verifier.is_settled()) {
            return Err(Trouble::Distrust(server, Distrust::Unsigned));
        }
        return Ok(done);
    }
}

/// Of these zones, those that some of the names lie in: each name counts for the closest.
pub fn needed<'z>(zones: impl IntoIterator<Item = &'z Name>, names: &BTreeSet<&Name>) -> BTreeSet<&'z Name> {
    let zones: Vec<&Name> = zones.into_iter().collect();
    let closest =
        |name: &&Name| zones.iter().filter(|zone| zone.zone_of(name)).max_by_key(|zone| zone.num_labels()).copied();
    names.iter().filter_map(closest).collect()
}
