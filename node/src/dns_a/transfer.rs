//! A zone as it comes from its primary: AXFR (RFC 5936) and IXFR (RFC 1995), message by message.
//!
//! ```text
//!   AXFR   SOA(n) records … SOA(n)                        all of it
//!   IXFR   SOA(n) SOA(o) deleted … SOA(p) added … SOA(n)  differences, one after the other, from what is held
//!          SOA(n) records … SOA(n)                        all of it after all
//!          SOA(n)                                         nothing new
//! ```
//!
//! Kept are SOA, A, AAAA and CNAME: what an origin can lead to. **Invariant:** [`Transfer`] gives out a zone only when its
//! last SOA has come, and the one before stands until then. A zone that is too large ([`MAX_RECORDS`], [`MAX_OCTETS`])
//! is refused while it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::serial::is_after;

/// Records of one zone that are read: a zone of origins has hundreds.
pub const MAX_RECORDS: usize = 1_000_000;
/// Records of one zone that are kept.
pub const MAX_KEPT: usize = 100_000;
/// Octets of one transfer.
pub const MAX_OCTETS: usize = 128 << 20;

/// One kept record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Data {
    Address(IpAddr),
    Alias(Name),
}

impl Data {
    fn of(record: &Record) -> Option<Self> {
        match &record.data {
            RData::A(a) => Some(Self::Address(IpAddr::V4(a.0))),
            RData::AAAA(aaaa) => Some(Self::Address(IpAddr::V6(aaaa.0))),
            RData::CNAME(to) => Some(Self::Alias(to.0.to_lowercase())),
            _ => None,
        }
    }

    fn to_rdata(&self) -> RData {
        match self {
            Self::Address(IpAddr::V4(v4)) => RData::A(A(*v4)),
            Self::Address(IpAddr::V6(v6)) => RData::AAAA(AAAA(*v6)),
            Self::Alias(to) => RData::CNAME(CNAME(to.clone())),
        }
    }

    fn rtype(&self) -> RecordType {
        match self {
            Self::Address(IpAddr::V4(_)) => RecordType::A,
            Self::Address(IpAddr::V6(_)) => RecordType::AAAA,
            Self::Alias(_) => RecordType::CNAME,
        }
    }
}

/// A zone, as of one serial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its head.
    pub soa: SOA,
    records: BTreeMap<Name, BTreeMap<Data, u32>>,
    kept: usize,
}

impl Zone {
    fn new(soa: SOA) -> Self {
        Self { soa, records: BTreeMap::new(), kept: 0 }
    }

    /// How many records are kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    fn add(&mut self, record: &Record) -> Result<(), Broken> {
        let Some(data) = Data::of(record) else { return Ok(()) };
        let set = self.records.entry(record.name.to_lowercase()).or_default();
        self.kept += usize::from(set.insert(data, record.ttl).is_none());
        if self.kept > MAX_KEPT { Err(Broken::TooLarge) } else { Ok(()) }
    }

    fn remove(&mut self, record: &Record) {
        let Some(data) = Data::of(record) else { return };
        let name = record.name.to_lowercase();
        if let Some(set) = self.records.get_mut(&name) {
            self.kept -= usize::from(set.remove(&data).is_some());
            if set.is_empty() {
                self.records.remove(&name);
            }
        }
    }

    /// What the zone itself says to a question, as a server would; nothing where it does not have the name: that may be
    /// below a delegation or fall under a wildcard, which only the server knows.
    pub fn reply(&self, name: &Name, rtype: RecordType) -> Option<Message> {
        let set = self.records.get(name)?;
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.metadata.authoritative = true;
        let fits = |data: &Data| data.rtype() == rtype || data.rtype() == RecordType::CNAME;
        let records = set.iter().filter(|(data, _)| fits(data));
        message.add_answers(records.map(|(data, ttl)| Record::from_rdata(name.clone(), *ttl, data.to_rdata())));
        Some(message)
    }
}

/// Why a transfer is no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The server says no.
    #[error("the server says {0}: may this node transfer the zone (allow-transfer, acl), and with this key?")]
    Refused(ResponseCode),
    /// It is no transfer.
    #[error("what comes is no transfer: {0}")]
    Malformed(&'static str),
    /// The differences are of another version than the one that is held.
    #[error("the differences do not begin at what is held")]
    Gap,
    /// More than is taken.
    #[error("the zone is larger than {MAX_RECORDS} records, {MAX_KEPT} addresses or {MAX_OCTETS} octets")]
    TooLarge,
}

/// How far a transfer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    More,
    /// What is held is the newest.
    Current,
    /// The whole new zone.
    Done(Box<Zone>),
}

/// One transfer coming in.
#[derive(Clone, Debug)]
pub struct Transfer {
    apex: Name,
    held: Option<Zone>,
    state: State,
    records: usize,
    octets: usize,
}

#[derive(Clone, Debug)]
enum State {
    /// Nothing has come.
    Start,
    /// The first SOA has come; of an IXFR only the next record tells what it is.
    Head(SOA),
    /// All of it.
    Whole(Zone),
    /// Differences: to this serial, applied so far, and what the records are.
    Differences(SOA, Zone, Part),
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Deleted,
    Added,
}

impl Transfer {
    /// Of a zone; with what is held it is an IXFR.
    pub fn new(apex: Name, held: Option<Zone>) -> Self {
        Self { apex, held, state: State::Start, records: 0, octets: 0 }
    }

    /// The request, its question and for an IXFR what is held (RFC 1995 section 3).
    pub fn request(&self, id: u16) -> Message {
        let rtype = if self.held.is_some() { RecordType::IXFR } else { RecordType::AXFR };
        let mut message = super::message::Question::query(id, self.apex.clone(), rtype).message(false);
        message.edns = None; // Some servers refuse it here, and nothing is gained by TCP.
        if let Some(held) = &self.held {
            message.add_authority(Record::from_rdata(self.apex.clone(), 0, RData::SOA(held.soa.clone())));
        }
        message
    }

    /// Takes a message of `octets` octets.
    ///
    /// # Errors
    /// The transfer is over and nothing of it counts.
    pub fn handle(&mut self, message: &Message, octets: usize) -> Result<Progress, Broken> {
        self.octets = self.octets.saturating_add(octets);
        self.records = self.records.saturating_add(message.answers.len());
        if self.octets > MAX_OCTETS || self.records > MAX_RECORDS {
            return Err(Broken::TooLarge);
        }
        let code = message.metadata.response_code;
        if code != ResponseCode::NoError {
            return Err(Broken::Refused(code));
        }
        let any = !message.answers.is_empty();
        if !any {
            // RFC 5936 section 2.2: every message has records. One without would be a way to keep us for ever.
            return Err(Broken::Malformed("a message without records"));
        }
        let mut progress = Progress::More;
        for record in &message.answers {
            if progress != Progress::More {
                return Err(Broken::Malformed("records after the end"));
            }
            progress = self.record(record)?;
        }
        // RFC 1995 section 4: a single SOA that is not newer: nothing to do. Newer: the answer did not fit by UDP, which we
        // do not use.
        if let (State::Head(soa), Some(held), Progress::More) = (&self.state, &self.held, &progress)
            && !is_after(soa.serial, held.soa.serial)
        {
            return Ok(Progress::Current);
        }
        Ok(progress)
    }

    fn record(&mut self, record: &Record) -> Result<Progress, Broken> {
        let soa = match &record.data {
            RData::SOA(soa) if record.name == self.apex => Some(soa),
            RData::SOA(_) => return Err(Broken::Malformed("the SOA record of another zone")),
            _ => None,
        };
        if !self.apex.zone_of(&record.name) {
            // Some servers send glue of other zones along. It says nothing about this one.
            return Ok(Progress::More);
        }
        let (state, progress) = match (std::mem::replace(&mut self.state, State::Over), soa) {
            (State::Start, Some(soa)) => (State::Head(soa.clone()), Progress::More),
            (State::Start, None) => return Err(Broken::Malformed("it does not begin with an SOA record")),
            (State::Head(head), Some(soa)) if soa.serial == head.serial => {
                (State::Over, Progress::Done(Box::new(Zone::new(head)))) // A zone with nothing in it.
            }
            (State::Head(head), Some(soa)) => {
                let held = self.held.clone().ok_or(Broken::Malformed("differences that were not asked for"))?;
                if held.soa.serial != soa.serial {
                    return Err(Broken::Gap);
                }
                (State::Differences(head, held, Part::Deleted), Progress::More)
            }
            (State::Head(head), None) => {
                let mut zone = Zone::new(head);
                zone.add(record)?;
                (State::Whole(zone), Progress::More)
            }
            (State::Whole(zone), Some(soa)) if soa.serial == zone.soa.serial => {
                (State::Over, Progress::Done(Box::new(zone)))
            }
            (State::Whole(_), Some(_)) => return Err(Broken::Malformed("two serials in one zone")),
            (State::Whole(mut zone), None) => {
                zone.add(record)?;
                (State::Whole(zone), Progress::More)
            }
            (State::Differences(head, mut zone, Part::Deleted), Some(soa)) => {
                zone.soa = soa.clone();
                (State::Differences(head, zone, Part::Added), Progress::More)
            }
            (State::Differences(head, zone, Part::Added), Some(soa)) => {
                if soa.serial != zone.soa.serial {
                    return Err(Broken::Gap);
                }
                if soa.serial == head.serial {
                    (State::Over, Progress::Done(Box::new(zone)))
                } else {
                    (State::Differences(head, zone, Part::Deleted), Progress::More)
                }
            }
            (State::Differences(head, mut zone, part), None) => {
                match part {
                    Part::Deleted => zone.remove(record),
                    Part::Added => zone.add(record)?,
                }
                (State::Differences(head, zone, part), Progress::More)
            }
            (State::Over, _) => return Err(Broken::Malformed("records after the end")),
        };
        self.state = state;
        Ok(progress)
    }
}

/// The shortest and longest of the timers in an SOA record that are obeyed: a slip there must neither storm a primary
/// nor keep a change away for a week.
const REFRESH: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(86_400));
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));
const EXPIRE: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(28 * 86_400));
/// A zone of which nothing has come is asked for again after this.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// NOTIFYs are heeded this often: a stream of them is one.
pub const NOTIFY_PAUSE: Duration = Duration::from_secs(2);

/// When a zone is refreshed, and until when it may be used (RFC 1035 section 3.3.13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    next: Duration,
    last: Option<Duration>,
    good_until: Option<Duration>,
}

impl Timers {
    /// When to look next.
    pub fn next(&self) -> Duration {
        self.next
    }

    /// The zone is what the primary has, now.
    pub fn refreshed(&mut self, now: Duration, soa: &SOA) {
        self.last = Some(now);
        self.next = now + seconds(soa.refresh, REFRESH);
        self.good_until = Some(now + seconds(soa.expire, EXPIRE));
    }

    /// It could not be had.
    pub fn failed(&mut self, now: Duration, soa: Option<&SOA>) {
        self.last = Some(now);
        self.next = now + soa.map_or(FIRST_RETRY, |soa| seconds(soa.retry, RETRY));
    }

    /// The primary says that there is something new (RFC 1996 section 4.3): as if refresh had run out.
    pub fn notified(&mut self, now: Duration) {
        let earliest = self.last.map_or(now, |last| (last + NOTIFY_PAUSE).max(now));
        self.next = self.next.min(earliest);
    }

    /// Whether the zone is too old to be used.
    pub fn is_expired(&self, now: Duration) -> bool {
        self.good_until.is_some_and(|until| now > until)
    }
}

fn seconds(number: i32, (least, most): (Duration, Duration)) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0)).clamp(least, most)
}

/// All names of a zone that are kept: for tests and reports.
impl Zone {
    /// The names.
    pub fn names(&self) -> BTreeSet<&Name> {
        self.records.keys().collect()
    }
}

#[cfg(test)]
mod tests;
