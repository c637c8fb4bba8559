//! What is asked of which resolver, when, and what follows from the answers: the core, without a clock or a socket.
//!
//! ```text
//!   a round, each minute and at once after a change of the configuration:
//!     IPv4  nonce nonce nonce …   until the last few found nothing new, and no known address is in doubt  ─┐
//!     IPv6  nonce nonce nonce …                                                                            ├▶ RTT, 4 times
//!                                                                                                         ─┘
//!   nobody heard in a whole round: again soon; three such rounds: lost, and its claims are withdrawn
//! ```
//!
//! Each question goes, by way of the resolver, to the lookout of another node (`4.nyc.whoami.<zone>`): that decides by
//! which family the resolver leaves, and that somebody else is the witness. The nearest few take turns, so that one that
//! does not answer costs a question and no more.
//!
//! The round trip is that of a name that the resolver has in its cache (the zone's own NS records), the least of several:
//! the mesh's distance is not the resolver's.
//!
//! **Invariants:** nothing is believed without a statement whose signature holds and whose witness is a live member; a
//! resolver that answers but cannot reach the mesh keeps its claims, for its clients fare no better elsewhere. At most
//! [`PARALLEL`] questions are out for each resolver and family, at most [`MOST_ASKS`] are asked in a round.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use nigh_dns::{Family, Label};
use nigh_gossip::NodeId;
use rand::{Rng, RngExt};
use tracing::field::Empty;
use tracing::{Span, info_span};

use super::egress::{Egress, GRACE};
use super::findings::{EgressFinding, Findings, Origin, ResolverFinding};
use super::public::Public;
use super::statement::{DRAWN, Nonce, Statement};
use super::{MAX_RESOLVERS, Proof};
use crate::telemetry::{self, TARGET};

/// Questions out at one time, for each resolver and family. A resolver does not notice three.
pub const PARALLEL: u32 = 3;
/// Questions in one round, for each family: a farm with more addresses is learned over several rounds.
pub const MOST_ASKS: u32 = 24;
/// Answers without anything new that end a round in which there was something new.
const QUIET: u32 = 6;
/// Answers that a round wants if nothing is new.
const STEADY: u32 = 3;
/// Questions for the round trip. The first one brings the answer into the cache.
const RTT_ASKS: u32 = 4;
/// Rounds whose least round trip counts.
const RTT_ROUNDS: usize = 3;
/// Rounds in a row in which a resolver says nothing at all until it is lost.
pub const LOST_AFTER: u32 = 3;
/// The next round after one in which a resolver said nothing.
const RETRY: Duration = Duration::from_secs(5);
/// The nearest witnesses, which take turns.
const WITNESSES: usize = 3;
/// A round's time varies by so large a part, so that a mesh that was started at once does not ask at once for ever.
const JITTER: f64 = 0.1;

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's key.
    pub mesh: NodeId,
    /// This node, the claimant.
    pub me: NodeId,
    /// From one round to the next.
    pub interval: Duration,
    /// Whose addresses are nobody's.
    pub public: Public,
}

/// What of the mesh can be asked through a resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// A zone of the mesh.
    pub zone: Option<Name>,
    /// The other live members that answer DNS, nearest first.
    pub witnesses: Vec<Candidate>,
}

/// A node that may see a resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its key.
    pub id: NodeId,
    /// Its name.
    pub label: Label,
    /// The families that it is reached by.
    pub families: Vec<Family>,
}

/// A question to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// To be given back with the outcome.
    pub id: u64,
    /// The resolver.
    pub to: SocketAddr,
    /// The name.
    pub name: Name,
    /// The type.
    pub rtype: RecordType,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer: the strings of its TXT record, if it was one, and how long it took.
    Answer {
        /// The strings.
        strings: Vec<Vec<u8>>,
        /// From question to answer.
        took: Duration,
    },
    /// The resolver answered, but not what was asked for.
    Useless(String),
    /// Nobody answered.
    Silent(String),
}

/// The machine.
pub struct Discovery<R> {
    settings: Settings,
    rng: R,
    sight: Sight,
    resolvers: BTreeMap<SocketAddr, Resolver>,
    out: BTreeMap<u64, Out>,
    asks: VecDeque<Ask>,
    last_id: u64,
    changed: bool,
}

struct Resolver {
    origin: Origin,
    tracks: [Track; 2],
    begun: Option<Duration>,
    /// Something was heard in this round.
    heard: bool,
    /// Questions for the round trip that were sent in this round; the least answer.
    timed: u32,
    least: Option<Duration>,
    rtts: VecDeque<Duration>,
    next: Duration,
    silent: u32,
    fault: String,
    /// No longer configured; kept until then.
    leaves: Option<Duration>,
    /// From the first question of a round to what came of it.
    round: Option<Span>,
}

/// One family's part of a round.
#[derive(Default)]
struct Track {
    egress: Egress,
    asked: u32,
    answered: u32,
    /// Since the last answer.
    failed: u32,
    out: u32,
    quiet: u32,
    news: bool,
}

enum Out {
    Nonce { of: SocketAddr, family: usize, nonce: Nonce },
    Timing { of: SocketAddr },
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl<R: Rng> Discovery<R> {
    /// Knows no resolver yet.
    pub fn new(settings: Settings, rng: R) -> Self {
        Self {
            settings,
            rng,
            sight: Sight::default(),
            resolvers: BTreeMap::new(),
            out: BTreeMap::new(),
            asks: VecDeque::new(),
            last_id: 0,
            changed: true,
        }
    }

    /// These are the resolvers from now on. What was found through one that is gone is claimed for a while longer.
    pub fn handle_resolvers(&mut self, now: Duration, wanted: &[(SocketAddr, Origin)]) {
        let wanted: BTreeMap<SocketAddr, Origin> = wanted.iter().take(MAX_RESOLVERS).copied().collect();
        for (address, resolver) in &mut self.resolvers {
            match wanted.get(address) {
                Some(origin) => (resolver.origin, resolver.leaves) = (*origin, None),
                None if resolver.leaves.is_none() => resolver.leaves = Some(now + GRACE),
                None => {}
            }
        }
        for (address, origin) in wanted {
            self.resolvers.entry(address).or_insert_with(|| Resolver::new(origin, now));
        }
        self.changed = true;
    }

    /// The mesh looks like this from now on.
    pub fn handle_sight(&mut self, now: Duration, sight: Sight) {
        let could = self.can_ask();
        let alone = self.sight.witnesses.is_empty();
        self.sight = sight;
        if self.can_ask() && (!could || alone && !self.sight.witnesses.is_empty()) {
            self.resolvers.values_mut().for_each(|resolver| resolver.next = now);
        }
    }

    fn can_ask(&self) -> bool {
        self.sight.zone.is_some()
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Duration) {
        let before = self.resolvers.len();
        self.resolvers.retain(|_, resolver| resolver.leaves.is_none_or(|at| now < at));
        self.changed |= self.resolvers.len() < before;
        for resolver in self.resolvers.values_mut() {
            for track in &mut resolver.tracks {
                self.changed |= track.egress.forget(now);
            }
        }
        if !self.can_ask() {
            return;
        }
        let due = |resolver: &Resolver| resolver.begun.is_none() && resolver.next <= now && resolver.leaves.is_none();
        let due: Vec<SocketAddr> =
            self.resolvers.iter().filter(|(_, resolver)| due(resolver)).map(|(address, _)| *address).collect();
        for address in due {
            if let Some(resolver) = self.resolvers.get_mut(&address) {
                resolver.begin(now, address);
            }
            self.go_on(now, address);
        }
    }

    /// Takes in what became of a question, at this Unix time.
    pub fn handle_outcome(&mut self, now: Duration, unix: u64, id: u64, outcome: Outcome) {
        match self.out.remove(&id) {
            Some(Out::Nonce { of, family, nonce }) => {
                let read = self.read(unix, family, nonce, &outcome);
                if let Some(resolver) = self.resolvers.get_mut(&of) {
                    resolver.heard |= !matches!(outcome, Outcome::Silent(_));
                    self.changed |= resolver.take(now, family, read);
                }
                self.go_on(now, of);
            }
            Some(Out::Timing { of }) => {
                if let Some(resolver) = self.resolvers.get_mut(&of) {
                    resolver.heard |= !matches!(outcome, Outcome::Silent(_));
                    match outcome {
                        Outcome::Answer { took, .. } if resolver.timed > 1 => {
                            resolver.least = Some(resolver.least.map_or(took, |least| least.min(took)));
                        }
                        _ => {}
                    }
                }
                self.go_on(now, of);
            }
            None => {}
        }
    }

    /// What an answer under a nonce says, if it can be believed.
    fn read(&self, unix: u64, family: usize, nonce: Nonce, outcome: &Outcome) -> Result<(IpAddr, Claimable), String> {
        let strings = match outcome {
            Outcome::Answer { strings, .. } => strings,
            Outcome::Useless(why) | Outcome::Silent(why) => return Err(why.clone()),
        };
        let source: Option<IpAddr> =
            strings.iter().find_map(|string| std::str::from_utf8(string.strip_prefix(b"source=")?).ok()?.parse().ok());
        let source = source.ok_or("the answer names no source address")?.to_canonical();
        let statement = strings.iter().find_map(|string| Statement::from_text(string));
        let statement =
            statement.ok_or("the answer had no statement: the witness is older, or signs no more just now")?;
        statement.verify(self.settings.mesh, nonce.label().as_bytes(), source).map_err(|error| error.to_string())?;
        if !statement.is_of(unix, super::statement::CLOCK_SKEW) {
            return Err(super::statement::Worthless::Time.to_string());
        }
        // Where nobody else is reached by a family, the family is the resolver's choice.
        let directed = self.sight.witnesses.iter().any(|node| node.families.contains(&FAMILIES[family]));
        if directed && !FAMILIES[family].has(source) {
            return Err("the address is of another family than was asked for".into());
        }
        if statement.witness == self.settings.me {
            return Ok((source, Err("only this node itself has seen it")));
        }
        if !self.sight.witnesses.iter().any(|node| node.id == statement.witness) {
            return Err("the statement is by a node that is no live member".into());
        }
        Ok((source, Ok(Proof { drawn: nonce.drawn(), statement })))
    }

    /// Asks what a round still wants to know, or ends it.
    fn go_on(&mut self, now: Duration, address: SocketAddr) {
        for family in 0..FAMILIES.len() {
            while self.wants(address, family) {
                let Some((name, nonce)) = self.name(address, family) else { break };
                let out = Out::Nonce { of: address, family, nonce };
                if let Some(resolver) = self.resolvers.get_mut(&address) {
                    resolver.tracks[family].asked += 1;
                    resolver.tracks[family].out += 1;
                }
                self.ask(address, name, RecordType::TXT, out);
            }
        }
        let Some(resolver) = self.resolvers.get_mut(&address) else { return };
        if resolver.begun.is_none() || resolver.tracks.iter().any(|track| track.out > 0) {
            return;
        }
        let timing = self.out.values().any(|out| matches!(out, Out::Timing { of } if *of == address));
        if timing {
            return;
        }
        // A resolver that said nothing so far will say nothing now.
        let alone = resolver.tracks.iter().all(|track| track.asked == 0);
        if resolver.timed < RTT_ASKS && (resolver.heard || alone && resolver.timed == 0) {
            resolver.timed += 1;
            if let Some(zone) = self.sight.zone.clone() {
                self.ask(address, zone, RecordType::NS, Out::Timing { of: address });
                return;
            }
        }
        self.changed = true;
        let wait = resolver.end(self.settings.interval);
        let jitter = 1.0 + JITTER * (2.0 * self.rng.random::<f64>() - 1.0);
        resolver.next = now + wait.mul_f64(jitter);
    }

    fn ask(&mut self, to: SocketAddr, name: Name, rtype: RecordType, out: Out) {
        self.last_id += 1;
        self.out.insert(self.last_id, out);
        self.asks.push_back(Ask { id: self.last_id, to, name, rtype });
    }

    fn wants(&self, address: SocketAddr, family: usize) -> bool {
        let Some(resolver) = self.resolvers.get(&address) else { return false };
        let Some(begun) = resolver.begun.filter(|_| resolver.timed == 0) else { return false };
        let reachable = |of: Family| self.sight.witnesses.iter().any(|node| node.families.contains(&of));
        // Where no other node is, the first family's part asks whoever answers.
        if !reachable(FAMILIES[family]) && (family > 0 || FAMILIES.into_iter().any(reachable)) {
            return false;
        }
        resolver.tracks[family].wants(begun)
    }

    /// A name that nobody asked for before, at the lookout of one of the nearest other nodes.
    fn name(&mut self, address: SocketAddr, family: usize) -> Option<(Name, Nonce)> {
        let zone = self.sight.zone.clone()?;
        let asked = self.resolvers.get(&address)?.tracks[family].asked as usize;
        let mut drawn = [0; DRAWN];
        self.rng.fill_bytes(&mut drawn);
        let nonce = Nonce::new(self.settings.mesh, self.settings.me, drawn);
        let wanted = FAMILIES[family];
        let witnesses: Vec<&Candidate> =
            self.sight.witnesses.iter().filter(|node| node.families.contains(&wanted)).take(WITNESSES).collect();
        let below = match witnesses.get(asked % witnesses.len().max(1)) {
            Some(node) => {
                let digit = if wanted == Family::V4 { "4" } else { "6" };
                format!("{}.{digit}.{}.whoami", nonce.label(), node.label)
            }
            None => format!("{}.whoami", nonce.label()),
        };
        Some((Name::from_ascii(&below).ok()?.append_domain(&zone).ok()?, nonce))
    }

    /// The next question to send.
    pub fn poll_ask(&mut self) -> Option<Ask> {
        self.asks.pop_front()
    }

    /// When to call [`Discovery::handle_timeout`] at the latest, if nothing happens before.
    pub fn poll_timeout(&self, now: Duration) -> Option<Duration> {
        let can_ask = self.can_ask();
        self.resolvers
            .values()
            .flat_map(|resolver| {
                let round = (can_ask && resolver.begun.is_none() && resolver.leaves.is_none()).then_some(resolver.next);
                let grace = resolver.tracks.iter().filter_map(|track| track.egress.grace_ends(now));
                round.into_iter().chain(resolver.leaves).chain(grace)
            })
            .min()
    }

    /// What was found, if that is news.
    pub fn poll_findings(&mut self) -> Option<Findings> {
        std::mem::take(&mut self.changed).then(|| Findings {
            resolvers: self.resolvers.iter().map(|(address, resolver)| self.finding(*address, resolver)).collect(),
        })
    }

    fn finding(&self, address: SocketAddr, resolver: &Resolver) -> ResolverFinding {
        let mut seen = BTreeSet::new();
        let egress = resolver.tracks.iter().flat_map(|track| track.egress.all()).filter(|(at, _)| seen.insert(*at));
        ResolverFinding {
            address,
            origin: resolver.origin,
            rtt: resolver.rtts.iter().min().copied(),
            lost: resolver.silent >= LOST_AFTER,
            silent_rounds: resolver.silent,
            fault: resolver.fault.clone(),
            leaving: resolver.leaves.is_some(),
            beyond: resolver.tracks.iter().map(|track| track.egress.beyond).sum(),
            egress: egress
                .map(|(at, seen)| EgressFinding {
                    address: at,
                    last: seen.last,
                    proof: seen.proof,
                    why: seen.why,
                    public: self.settings.public.operator(at),
                })
                .collect(),
        }
    }
}

/// A proof, or why an address is seen but not proven.
type Claimable = Result<Proof, &'static str>;

impl Resolver {
    fn new(origin: Origin, now: Duration) -> Self {
        Self {
            origin,
            tracks: [Track::default(), Track::default()],
            begun: None,
            heard: false,
            timed: 0,
            least: None,
            rtts: VecDeque::new(),
            next: now,
            silent: 0,
            fault: String::new(),
            leaves: None,
            round: None,
        }
    }

    fn begin(&mut self, now: Duration, address: SocketAddr) {
        self.begun = Some(now);
        self.round = Some(info_span!(
            target: TARGET,
            "discovery round",
            resolver = %address,
            asked = Empty,
            answered = Empty,
            otel.status_description = Empty,
        ));
        (self.heard, self.timed, self.least) = (false, 0, None);
        for track in &mut self.tracks {
            (track.asked, track.answered, track.failed, track.quiet) = (0, 0, 0, 0);
            track.news = track.egress.is_empty();
        }
    }

    /// Takes in what one question found. True: something new.
    fn take(&mut self, now: Duration, family: usize, read: Result<(IpAddr, Claimable), String>) -> bool {
        let track = &mut self.tracks[family];
        track.out = track.out.saturating_sub(1);
        match read {
            Ok((address, proof)) => {
                track.answered += 1;
                track.failed = 0;
                let proven = proof.is_ok();
                let first_proof = proven && track.egress.all().any(|(at, seen)| at == address && seen.proof.is_none());
                let new = track.egress.saw(now, address, proof);
                track.news |= new;
                track.quiet = if new { 0 } else { track.quiet + 1 };
                self.fault.clear();
                new || first_proof
            }
            Err(why) => {
                track.failed += 1;
                if self.fault.is_empty() || track.answered == 0 {
                    self.fault = why;
                }
                false
            }
        }
    }

    /// Ends the span of a round.
    fn tell_round(&mut self) {
        let Some(round) = self.round.take() else { return };
        let sum = |of: fn(&Track) -> u32| telemetry::count(self.tracks.iter().map(of).sum::<u32>());
        round.record("asked", sum(|track| track.asked));
        round.record("answered", sum(|track| track.answered));
        if !self.heard {
            telemetry::failed(&round, &self.fault);
        }
    }

    /// Ends the round and says how long to wait for the next one.
    fn end(&mut self, interval: Duration) -> Duration {
        self.begun = None;
        self.tell_round();
        if let Some(least) = self.least {
            self.rtts.push_back(least);
            while self.rtts.len() > RTT_ROUNDS {
                self.rtts.pop_front();
            }
        }
        if self.heard {
            self.silent = 0;
            // One family that does not work is no fault of a resolver of the other.
            if self.tracks.iter().any(|track| track.answered > 0) {
                self.fault.clear();
            }
            return interval;
        }
        self.silent = self.silent.saturating_add(1);
        if self.silent == LOST_AFTER {
            self.tracks.iter_mut().for_each(|track| track.egress = Egress::default());
            self.rtts.clear();
        }
        if self.silent < LOST_AFTER { interval.min(RETRY) } else { interval }
    }
}

impl Track {
    fn wants(&self, begun: Duration) -> bool {
        let attempts = if self.egress.is_empty() { 1 } else { PARALLEL };
        // A resolver that dies within a round is not asked on until the round is full; and after a failure those that are
        // out tell first how it stands.
        let hopeless = self.failed >= attempts || self.failed > 0 && self.out > 0;
        // One scout first where nothing is known to work, so that a family that does not costs one question.
        let parallel = if self.answered == 0 && self.egress.is_empty() { 2 } else { PARALLEL };
        if hopeless || self.asked >= MOST_ASKS || self.out >= parallel {
            return false;
        }
        let enough = if self.news { QUIET } else { STEADY };
        self.quiet + self.out < enough || self.egress.is_undecided(begun)
    }
}
