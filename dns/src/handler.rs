//! From a message to a message.
//!
//! ```text
//!   octets ─▶ Query::read ─▶ cookie ─▶ examine ─┬─ FORMERR, NOTIMP, BADVERS … ─┐
//!                │                              ├─ the short way ──────────────┼─▶ rate limit ─▶ fit ─▶ octets
//!             silence                           └─ answer ─────────────────────┘       └─▶ less, or nothing
//! ```
//!
//! hickory's `Catalog` and zones are not used, because they get referrals, negative TTLs and UDP sizes wrong for us.
//!
//! **Invariant:** no packet makes it panic, and what is said depends on the packet, where it came from, when, one
//! snapshot, and how much was said to that network of late.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use hickory_proto::op::ResponseCode;
use tracing::debug;

use crate::claims::host;
use crate::cookie::{Cookies, Shown};
use crate::demand::Demand;
use crate::dnstap::{TapCounts, Tapped, Tapper};
use crate::edns::{self, OptReply};
use crate::examine::{ExtendedError, Refusal, examine, only_for_a_cookie, question};
use crate::fast::{self, Written};
use crate::notify::{NotifySink, OPCODE_NOTIFY};
use crate::query::{self, Asked, Query};
use crate::rate_limit::{Class, RateLimit, Verdict};
use crate::response::Response;
use crate::{
    Basis, Client, Counters, Demanded, Exposition, Kind, Question, Reply, Snapshot, Transport, Witness, answer, demand,
    whoami,
};

/// Answers messages from whatever snapshot is current.
#[derive(Clone)]
pub struct Handler {
    snapshot: Arc<ArcSwap<Snapshot>>,
    counters: Arc<Counters>,
    demand: Arc<Demand>,
    cookies: Option<Cookies>,
    rate_limit: Option<Arc<RateLimit>>,
    witness: Option<Arc<dyn Witness>>,
    notify: Option<Arc<dyn NotifySink>>,
    tap: Option<Tapped>,
    /// Set by who compares the two ways.
    long_way_only: bool,
}

/// Where a packet came from, how, and when.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its source.
    pub source: SocketAddr,
    /// How it came.
    pub transport: Transport,
    /// The time since 1970, as the shell's clock has it.
    pub at: Duration,
}

impl Arrival {
    /// By UDP.
    pub fn udp(source: SocketAddr, at: Duration) -> Self {
        Self { source, transport: Transport::Udp, at }
    }

    /// By TCP, on a connection that may be idle for so long.
    pub fn tcp(source: SocketAddr, at: Duration, idle: Duration) -> Self {
        Self { source, transport: Transport::Tcp { idle }, at }
    }
}

/// What is said to a query.
enum Said {
    /// Written already, but for header and OPT record.
    Short(Written),
    Reply(Reply, Option<ExtendedError>),
    Refusal(Refusal),
    /// To who asked for nothing but a cookie.
    Cookie(ResponseCode),
}

impl Handler {
    /// A handler over the snapshot that somebody else keeps current.
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>, counters: Arc<Counters>) -> Self {
        Self {
            snapshot,
            counters,
            demand: Arc::new(Demand::new()),
            cookies: None,
            rate_limit: None,
            witness: None,
            notify: None,
            tap: None,
            long_way_only: false,
        }
    }

    /// The same without the short way (`fast.rs`): what holds its replies to those of the long one asks both.
    #[must_use]
    pub fn long_way_only(mut self) -> Self {
        self.long_way_only = true;
        self
    }

    #[cfg(test)]
    pub(crate) fn takes_the_short_way(&self, packet: &[u8], arrival: Arrival) -> bool {
        let (query, snapshot) = (Query::read(packet), self.snapshot.load());
        query.and_then(|query| query.question()).is_some_and(|asked| {
            let client = Client::new(arrival.source.ip(), None);
            fast::write(&snapshot, &asked, client, None, 1232, &mut Vec::new()).is_some()
        })
    }

    /// The same, giving and taking cookies (RFC 7873). The seed is a secret of this process, drawn at random.
    #[must_use]
    pub fn with_cookies(mut self, seed: [u8; 16]) -> Self {
        self.cookies = Some(Cookies::new(seed));
        self
    }

    /// The same, sending at most so many replies of a kind per second to one network (a /24 or a /56) by UDP. The seed
    /// is a secret of this process, drawn at random.
    #[must_use]
    pub fn with_rate_limit(mut self, per_second: NonZeroU32, seed: [u8; 16]) -> Self {
        self.rate_limit = Some(Arc::new(RateLimit::new(per_second, seed)));
        self
    }

    /// The same, with somebody to put its name to what resolvers are told about themselves.
    #[must_use]
    pub fn with_witness(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// The same, with somebody who hears NOTIFY messages.
    #[must_use]
    pub fn with_notify(mut self, sink: Arc<dyn NotifySink>) -> Self {
        self.notify = Some(sink);
        self
    }

    /// The same, with somebody who is shown what is asked and said. It ends with the front that this handler answers for.
    #[must_use]
    pub fn with_tap(mut self, tapper: Tapper) -> Self {
        self.tap = Some(Tapped::new(tapper));
        self
    }

    /// The same for one socket, whose address it then tells the tap.
    pub(crate) fn on(&self, at: Option<SocketAddr>) -> Self {
        Self { tap: self.tap.as_ref().map(|tap| tap.on(at)), ..self.clone() }
    }

    /// Who is to be told that nothing more is said.
    pub(crate) fn tapper(&self) -> Option<Arc<Tapper>> {
        self.tap.as_ref().map(|tap| tap.tapper().clone())
    }

    /// Writes all that is counted, as it is at one moment.
    pub fn expose(&self, text: &mut Exposition) {
        self.counters.expose(text);
        TapCounts::expose(self.tap.as_ref().map(Tapped::counts), text);
    }

    /// The networks that ask most and are claimed by nobody, the busiest first.
    pub fn unclaimed(&self, most: usize) -> Vec<Demanded> {
        self.demand.read(most)
    }

    /// What it has said so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The reply to a packet, or nothing if it deserves none.
    pub fn respond(&self, packet: &[u8], arrival: Arrival) -> Option<Vec<u8>> {
        let mut reply = Vec::with_capacity(usize::from(edns::SMALLEST_UDP));
        self.respond_into(packet, arrival, &mut reply).then_some(reply)
    }

    /// Writes the reply to a packet, over what `out` holds. False: it deserves none.
    pub fn respond_into(&self, packet: &[u8], arrival: Arrival, out: &mut Vec<u8>) -> bool {
        self.respond_from(&self.snapshot(), packet, arrival, out)
    }

    /// What is answered from now: taken once for packets that came together.
    pub(crate) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The same over one snapshot, from start to end.
    pub(crate) fn respond_from(&self, snapshot: &Snapshot, packet: &[u8], arrival: Arrival, out: &mut Vec<u8>) -> bool {
        let replied = self.reply_from(snapshot, packet, arrival, out);
        if let Some(tap) = &self.tap {
            tap.saw(packet, replied.then_some(out.as_slice()), arrival);
        }
        replied
    }

    fn reply_from(&self, snapshot: &Snapshot, packet: &[u8], arrival: Arrival, out: &mut Vec<u8>) -> bool {
        out.clear();
        let Some(query) = Query::read(packet) else {
            self.counters.dropped();
            return false;
        };
        if query.opcode() == OPCODE_NOTIFY
            && let Some(reply) = self.notify.as_ref().and_then(|sink| sink.notified(arrival.source, packet, arrival.at))
        {
            out.extend(reply);
            return true;
        }
        let mut response = Response::to(&query);
        let shown = self.cookie(&query, arrival, &mut response);
        let shortest = response.opt.as_ref().map(OptReply::mark);
        if let (Some(asked), Some(opt)) = (query.opt(), &mut response.opt) {
            add_what_is_asked_for(opt, asked, snapshot, arrival);
        }
        let limit = match arrival.transport {
            Transport::Udp => edns::udp_limit(query.opt()),
            Transport::Tcp { .. } => usize::from(u16::MAX),
        };
        let said = match shown.filter(|_| only_for_a_cookie(&query)) {
            // RFC 7873 section 5.4: "the response SHALL have the RCODE BADCOOKIE if the Server Cookie sent with the query
            // was invalid and the RCODE NOERROR if it was valid", or if there was none.
            Some(Shown::Invalid) => Said::Cookie(ResponseCode::BADCOOKIE),
            Some(_) => Said::Cookie(ResponseCode::NoError),
            None => self.say(snapshot, &query, arrival, response.opt.as_ref(), limit, out).unwrap_or_else(|refusal| {
                debug!(source = %arrival.source, ?refusal, "a query that there is no answer to");
                Said::Refusal(refusal)
            }),
        };
        match self.weigh(snapshot, &said, arrival, shown) {
            Verdict::Pass => {}
            Verdict::Slip => {
                self.counters.limited(true);
                if let (Some(opt), Some(mark)) = (&mut response.opt, shortest) {
                    opt.rewind(mark);
                }
                response.slip(&said, shown.is_some(), out);
                return true;
            }
            Verdict::Drop => {
                self.counters.limited(false);
                return false;
            }
        }
        if let (Some(asked), Some(opt)) = (query.opt(), &mut response.opt) {
            add_what_explains(opt, asked, &said);
        }
        match said {
            Said::Short(written) => {
                response.finish(&written, out);
                self.counters.replied(written.kind, false);
                self.look_at(snapshot, written.kind, written.basis, arrival);
            }
            Said::Cookie(code) => {
                self.counters.cookie_given();
                response.refuse(code, out);
            }
            Said::Refusal(refusal) => {
                self.counters.erred();
                response.refuse(refusal.code, out);
            }
            Said::Reply(mut reply, _) => {
                if let (Kind::Whoami, Some(witness)) = (reply.kind, &self.witness) {
                    whoami::attest(witness.as_ref(), &mut reply, arrival.source.ip(), arrival.at);
                }
                if let Err(error) = response.write_reply(&mut reply, limit, out) {
                    debug!(source = %arrival.source, %error, "a reply could not be encoded");
                    response.refuse(ResponseCode::ServFail, out);
                }
                self.counters.replied(reply.kind, response.truncated);
                self.look_at(snapshot, reply.kind, reply.basis, arrival);
            }
        }
        true
    }

    /// Counts by what a client's place was known, and looks closer at one in a few: who is claimed by nobody, and whether
    /// those who ask in our own cut are those whom the mesh sends here.
    fn look_at(&self, snapshot: &Snapshot, kind: Kind, basis: Option<Basis>, arrival: Arrival) {
        if let Some(basis) = basis {
            self.counters.known_by(basis);
        }
        let client = arrival.source.ip();
        match kind {
            Kind::Unclaimed | Kind::Estimated if demand::is_sampled() => self.demand.note(client, arrival.at),
            Kind::Cut if demand::is_sampled() => {
                let claim = snapshot.best_claim(host(client)).and_then(|best| snapshot.claimant(best.node));
                self.counters.sampled(claim.is_some_and(|node| node.label == *snapshot.me()));
            }
            _ => {}
        }
    }

    /// What there is to say to a question: the short way where that goes.
    fn say(
        &self,
        snapshot: &Snapshot,
        query: &Query<'_>,
        arrival: Arrival,
        opt: Option<&OptReply>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<Said, Refusal> {
        let asked = examine(query)?;
        if let Some(written) = self.say_shortly(snapshot, query, &asked, arrival, opt, limit, out) {
            return Ok(Said::Short(written));
        }
        let question = question(query, &asked, arrival)?;
        let reply = answer(snapshot, &question);
        let why = ExtendedError::of(&question, &reply);
        Ok(Said::Reply(reply, why))
    }

    #[allow(clippy::too_many_arguments, reason = "all of it is what one packet is about")]
    fn say_shortly(
        &self,
        snapshot: &Snapshot,
        query: &Query<'_>,
        asked: &Asked<'_>,
        arrival: Arrival,
        opt: Option<&OptReply>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Option<Written> {
        if self.long_way_only {
            return None;
        }
        let subnet = query.opt().and_then(|opt| opt.subnet).and_then(|subnet| subnet.net);
        let draw = Question::draw(arrival.source.port(), query.id());
        let client = Client::new(arrival.source.ip(), subnet).drawing(draw);
        fast::write(snapshot, asked, client, opt, limit, out)
    }

    /// Looks at the cookie, and puts ours into the response.
    fn cookie(&self, query: &Query<'_>, arrival: Arrival, response: &mut Response<'_>) -> Option<Shown> {
        let cookie = query.opt()?.cookie?;
        let (shown, reply) = self.cookies.as_ref()?.meet(&cookie, arrival.source.ip(), arrival.at);
        response.opt.as_mut()?.add(query::COOKIE, &[&reply]);
        Some(shown)
    }

    /// May it be said? By TCP and with a valid cookie always, for then the asker is where it says.
    fn weigh(&self, snapshot: &Snapshot, said: &Said, arrival: Arrival, shown: Option<Shown>) -> Verdict {
        let proven = shown == Some(Shown::Valid) || arrival.transport != Transport::Udp;
        let Some(limit) = self.rate_limit.as_ref().filter(|_| !proven) else { return Verdict::Pass };
        let client = arrival.source.ip();
        limit.meet(client, said.class(), || snapshot.is_claimed(client), arrival.at)
    }
}

impl Said {
    fn class(&self) -> Class {
        match self {
            Self::Refusal(_) | Self::Cookie(_) => Class::Error,
            Self::Reply(reply, _) => class_of(reply.kind),
            Self::Short(written) => class_of(written.kind),
        }
    }
}

fn class_of(kind: Kind) -> Class {
    match kind {
        Kind::Refused => Class::Error,
        Kind::Negative => Class::Negative,
        _ => Class::Answer,
    }
}

impl Response<'_> {
    /// An error and no records. RFC 8906 section 3 wants it with whatever of question and OPT can be sent.
    fn refuse(&mut self, code: ResponseCode, out: &mut Vec<u8>) {
        self.code = code;
        self.authoritative = false;
        self.write_empty(out);
    }

    /// Something as short as the query, that tells a real asker how to come back: with its cookie, or by TCP. An error is
    /// as short itself, and would be the same by TCP.
    fn slip(&mut self, said: &Said, has_cookie: bool, out: &mut Vec<u8>) {
        match said {
            Said::Cookie(code) | Said::Refusal(Refusal { code, .. }) => self.refuse(*code, out),
            Said::Reply(reply, _) if reply.kind == Kind::Refused => self.refuse(reply.code, out),
            // RFC 7873 section 5.2.3: "respond with BADCOOKIE" is one of the choices.
            Said::Reply(..) | Said::Short(_) if has_cookie => self.refuse(ResponseCode::BADCOOKIE, out),
            Said::Reply(..) | Said::Short(_) => {
                self.truncated = true;
                self.refuse(ResponseCode::NoError, out);
            }
        }
    }
}

/// Puts into our OPT record what was asked for.
fn add_what_is_asked_for(opt: &mut OptReply, asked: &query::Opt<'_>, snapshot: &Snapshot, arrival: Arrival) {
    if asked.nsid {
        // RFC 5001 section 2.2: an identifier of our choice, to those who ask.
        opt.add(query::NSID, &[snapshot.me().as_str().as_bytes()]);
    }
    // RFC 7828 section 3.3.2, to those who ask; by UDP the option "MUST" be ignored (section 3.2.2).
    if let (true, Transport::Tcp { idle }) = (asked.keepalive, arrival.transport) {
        let tenths = u16::try_from(idle.as_millis() / 100).unwrap_or(u16::MAX);
        opt.add(query::KEEPALIVE, &[&tenths.to_be_bytes()]);
    }
}

/// Puts into our OPT record for whom the reply is, and why it is what it is.
fn add_what_explains(opt: &mut OptReply, asked: &query::Opt<'_>, said: &Said) {
    let (scope, why) = match said {
        Said::Short(written) => (written.scope, None),
        Said::Reply(reply, why) => (reply.scope, *why),
        Said::Refusal(refusal) => (None, refusal.why),
        Said::Cookie(_) => (None, None),
    };
    if let (Some(subnet), Some(scope)) = (&asked.subnet, scope) {
        echo_subnet(opt, subnet, scope);
    }
    if let Some(ExtendedError { info, text }) = why {
        opt.add(query::EXTENDED_ERROR, &[&info.to_be_bytes(), text.as_bytes()]);
    }
}

/// Sends the client subnet back with the scope of the answer. RFC 7871 section 7.2.1: "FAMILY, SOURCE PREFIX-LENGTH, and
/// ADDRESS in the response MUST match those in the query", and a scope of 0 where the source length is 0.
fn echo_subnet(opt: &mut OptReply, asked: &query::Subnet<'_>, scope: u8) {
    let Some((head, address)) = asked.octets().split_first_chunk::<4>() else { return };
    let longest = asked.net.map_or(0, |net| net.max_prefix_len());
    opt.add(query::SUBNET, &[&head[..3], &[scope.min(longest)], address]);
}
