//! The core of the resolver: one lookup as a machine that says whom to ask next.
//!
//! ```text
//! begin / on_packet / on_timeout  ->  Step::Send (ask this server, wait until ..) | Step::Done
//! ```
//!
//! Source: RFC 1034 section 5.3.3. Order of servers: the quickest first, one never asked being taken for [`STRANGER`]
//! away, then as the parent lists them; those lately silent last. Resolvers differ here: BIND, PowerDNS and Knot
//! Resolver try all now and then and come to rest at the nearest; unbound draws among all within 400 ms.
//! Invariant: every lookup ends. Each message sent is counted against [`MAX_SENT`], each alias against
//! [`MAX_ALIASES`], and a referral is only followed downwards.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::cache::{Cache, Negative};
use super::reply::{self, MAX_ALIASES, Reading};
use super::{Answer, Delegation, Ending, Got, Hop};

/// Wait for a server this long, then ask the next: longer than the longest way in the demo's world (334 ms).
pub const TIMEOUT: Duration = Duration::from_millis(400);
/// A server that was silent is asked last for this long. Resolvers take 10 s to 15 min; the demo is in a hurry.
pub const AVOID: Duration = Duration::from_secs(4);
/// How far a server is taken to be that was never asked. unbound's number: a known server is not left for a stranger
/// unless it is as slow as one on the other side of the world.
pub const STRANGER: Duration = Duration::from_millis(376);
/// Messages of one lookup: two for a cold one, and room for every server of two zones to be silent.
const MAX_SENT: usize = 24;
/// What our queries say they can take over UDP (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;

/// How a query travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The first try.
    Udp,
    /// After a reply with TC.
    Tcp,
}

/// A query to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub to: SocketAddr,
    /// How.
    pub transport: Transport,
    /// The message.
    pub packet: Vec<u8>,
    /// When to call [`Resolver::on_timeout`] if nothing usable came.
    pub give_up_at: Duration,
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this and wait.
    Send(Outgoing),
    /// The lookup is over.
    Done(Answer),
}

/// What a resolver knows about one server.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    rtt: Option<Duration>,
    avoid_until: Duration,
}

/// A resolver: its hint, its cache and its opinion of the servers it has met.
#[derive(Debug)]
pub struct Resolver {
    hint: Delegation,
    port: u16,
    cache: Cache,
    servers: BTreeMap<IpAddr, Standing>,
    ids: ChaCha8Rng,
}

/// One lookup on its way.
#[derive(Debug)]
pub struct Lookup {
    kind: RecordType,
    current: Name,
    began: Duration,
    aliases: usize,
    sent: usize,
    /// Servers that failed for `zone` in this lookup.
    failed: Vec<IpAddr>,
    zone: Name,
    /// The last delegation of this lookup: good for it even with TTL 0.
    fresh: Option<Delegation>,
    waiting: Option<Waiting>,
    hops: Vec<Hop>,
}

#[derive(Debug)]
struct Waiting {
    id: u16,
    to: IpAddr,
    transport: Transport,
    sent_at: Duration,
}

impl Resolver {
    /// A resolver with an empty cache. `hint` is the delegation of the mesh zone as DNS-A gives it; every server listens
    /// on `port`; `seed` makes the message ids.
    pub fn new(hint: Delegation, port: u16, seed: u64) -> Self {
        let ids = ChaCha8Rng::seed_from_u64(seed);
        Self { hint, port, cache: Cache::default(), servers: BTreeMap::new(), ids }
    }

    /// Until when the alias or the addresses held for `name` are true.
    pub fn held_until(&self, name: &Name, kind: RecordType) -> Option<Duration> {
        self.cache.set_until(name, kind)
    }

    /// Starts a lookup.
    pub fn begin(&mut self, now: Duration, name: Name, kind: RecordType) -> (Lookup, Step) {
        let mut lookup = Lookup {
            kind,
            current: name,
            began: now,
            aliases: 0,
            sent: 0,
            failed: Vec::new(),
            zone: Name::root(),
            fresh: None,
            waiting: None,
            hops: Vec::new(),
        };
        let step = self.advance(&mut lookup, now);
        (lookup, step)
    }

    /// Takes a packet. `None`: it is not the awaited reply, go on waiting.
    pub fn on_packet(&mut self, lookup: &mut Lookup, now: Duration, from: IpAddr, packet: &[u8]) -> Option<Step> {
        let waiting = lookup.waiting.as_ref()?;
        let message = Message::from_vec(packet).ok()?;
        let ours = message.metadata.id == waiting.id
            && from == waiting.to
            && message.metadata.message_type == MessageType::Response
            && message.queries.len() == 1
            && message
                .queries
                .first()
                .is_some_and(|query| query.name == lookup.current && query.query_type == lookup.kind);
        if !ours {
            return None;
        }
        let waiting = lookup.waiting.take()?;
        let took = now.saturating_sub(waiting.sent_at);
        self.servers.insert(waiting.to, Standing { rtt: Some(took), avoid_until: Duration::ZERO });
        if message.metadata.truncation && waiting.transport == Transport::Udp {
            lookup.record(waiting.to, Got::Truncated, took);
            return Some(self.send(lookup, waiting.to, Transport::Tcp, now));
        }
        match reply::read(&message, &lookup.zone, &lookup.current, lookup.kind) {
            Ok(reading) => {
                lookup.record(waiting.to, got(&reading), took);
                Some(self.take(lookup, reading, now))
            }
            Err(why) => {
                lookup.record(waiting.to, Got::Unusable(why), took);
                lookup.failed.push(waiting.to);
                Some(self.advance(lookup, now))
            }
        }
    }

    /// The awaited reply did not come.
    pub fn on_timeout(&mut self, lookup: &mut Lookup, now: Duration) -> Step {
        if let Some(waiting) = lookup.waiting.take() {
            let standing = self.servers.entry(waiting.to).or_default();
            standing.avoid_until = now + AVOID;
            lookup.record(waiting.to, Got::Silence, now.saturating_sub(waiting.sent_at));
            lookup.failed.push(waiting.to);
        }
        self.advance(lookup, now)
    }

    /// Remembers what was read, and ends or goes on.
    fn take(&mut self, lookup: &mut Lookup, reading: Reading, now: Duration) -> Step {
        for alias in reading.aliases {
            self.cache.put_set(alias.name.clone(), RecordType::CNAME, vec![alias], now);
            lookup.aliases += 1;
        }
        if let Some((cut, ttl)) = reading.cut {
            self.cache.put_cut(cut.clone(), ttl, now);
            lookup.fresh = Some(cut);
        }
        lookup.current = reading.end;
        if let Some(records) = reading.records {
            let addresses = records.iter().filter_map(reply::address).collect();
            self.cache.put_set(lookup.current.clone(), lookup.kind, records, now);
            return lookup.done(Ending::Addresses(addresses), now);
        }
        if let Some((what, ttl)) = reading.negative {
            self.cache.put_negative(lookup.current.clone(), lookup.kind, what, ttl, now);
            return lookup.done(what.into(), now);
        }
        self.advance(lookup, now)
    }

    /// From the cache as far as it leads, then to the best server of the deepest known cut.
    fn advance(&mut self, lookup: &mut Lookup, now: Duration) -> Step {
        loop {
            if lookup.aliases > MAX_ALIASES {
                return lookup.done(Ending::Failed("too many aliases".to_owned()), now);
            }
            if let Some(records) = self.cache.set(&lookup.current, lookup.kind, now) {
                let addresses = records.iter().filter_map(reply::address).collect();
                return lookup.done(Ending::Addresses(addresses), now);
            }
            if let Some(what) = self.cache.negative(&lookup.current, lookup.kind, now) {
                return lookup.done(what.into(), now);
            }
            let alias = self.cache.set(&lookup.current, RecordType::CNAME, now).and_then(|set| set.first());
            match alias.map(|record| &record.data) {
                Some(RData::CNAME(target)) => {
                    lookup.current = target.0.clone();
                    lookup.aliases += 1;
                }
                _ => break,
            }
        }
        let cached = self.cache.deepest_cut(&lookup.current, now);
        let fresh = lookup.fresh.take().filter(|cut| cut.zone.zone_of(&lookup.current));
        let cut = [cached, fresh.as_ref(), Some(&self.hint)]
            .into_iter()
            .flatten()
            .reduce(|best, cut| if cut.zone.num_labels() > best.zone.num_labels() { cut } else { best })
            .unwrap_or(&self.hint);
        if !cut.zone.zone_of(&lookup.current) {
            let why = format!("{} is outside {}, and this resolver knows nothing else", lookup.current, cut.zone);
            return lookup.done(Ending::Failed(why), now);
        }
        lookup.enter(cut.zone.clone());
        let best = cut
            .servers
            .iter()
            .flat_map(|server| &server.addresses)
            .filter(|address| !lookup.failed.contains(address))
            .enumerate()
            .min_by_key(|(place, address)| {
                let standing = self.servers.get(*address).copied().unwrap_or_default();
                (now < standing.avoid_until, standing.rtt.unwrap_or(STRANGER), *place)
            })
            .map(|(_, address)| *address);
        lookup.fresh = fresh;
        match best {
            Some(to) => self.send(lookup, to, Transport::Udp, now),
            None => {
                let why = format!("no server of {} gave an answer", lookup.zone);
                lookup.done(Ending::Failed(why), now)
            }
        }
    }

    fn send(&mut self, lookup: &mut Lookup, to: IpAddr, transport: Transport, now: Duration) -> Step {
        if lookup.sent >= MAX_SENT {
            return lookup.done(Ending::Failed(format!("gave up after {MAX_SENT} queries")), now);
        }
        lookup.sent += 1;
        let bytes = self.ids.next_u32().to_le_bytes();
        let id = u16::from_le_bytes([bytes[0], bytes[1]]);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(lookup.current.clone(), lookup.kind));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD);
        message.set_edns(edns);
        let packet = match message.to_vec() {
            Ok(packet) => packet,
            Err(error) => return lookup.done(Ending::Failed(format!("cannot write the query: {error}")), now),
        };
        lookup.waiting = Some(Waiting { id, to, transport, sent_at: now });
        Step::Send(Outgoing { to: SocketAddr::new(to, self.port), transport, packet, give_up_at: now + TIMEOUT })
    }
}

impl Lookup {
    /// Servers that failed for one zone are fresh for the next.
    fn enter(&mut self, zone: Name) {
        if self.zone != zone {
            self.zone = zone;
            self.failed.clear();
        }
    }

    fn record(&mut self, server: IpAddr, got: Got, took: Duration) {
        self.hops.push(Hop { zone: self.zone.clone(), server, asked: self.current.clone(), got, took });
    }

    fn done(&mut self, ending: Ending, now: Duration) -> Step {
        Step::Done(Answer {
            ending,
            canonical: self.current.clone(),
            hops: std::mem::take(&mut self.hops),
            took: now.saturating_sub(self.began),
        })
    }
}

fn got(reading: &Reading) -> Got {
    let cut = reading.cut.as_ref().map(|(cut, _)| cut.zone.clone());
    if reading.records.is_some() {
        return Got::Addresses;
    }
    match (reading.negative, reading.aliases.is_empty(), cut) {
        (Some((Negative::NoData, _)), ..) => Got::NoData,
        (Some((Negative::NxDomain, _)), ..) => Got::NxDomain,
        (None, false, cut) => Got::Alias { target: reading.end.clone(), cut },
        (None, true, Some(cut)) => Got::Referral(cut),
        (None, true, None) => Got::Unusable("says nothing".to_owned()),
    }
}

impl From<Negative> for Ending {
    fn from(what: Negative) -> Self {
        match what {
            Negative::NoData => Self::NoData,
            Negative::NxDomain => Self::NxDomain,
        }
    }
}
