//! From a message to a message: what is wrong with a question, what EDNS asks for, and how much may be said.
//!
//! ```text
//!   octets ─▶ Query::read ─▶ examine ─┬─ FORMERR, NOTIMP, BADVERS, NOTAUTH ─┐
//!                │                    └─ answer ─▶ fit ─────────────────────┴─▶ octets
//!             silence
//! ```
//!
//! hickory's `Catalog` and zones are not used, because they get referrals, negative TTLs and UDP sizes wrong for us.
//!
//! **Invariant:** no packet makes it panic, and what is said depends on the packet, where it came from, when, and one
//! snapshot.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};
use tracing::debug;

use crate::cookie::{Cookies, Shown};
use crate::edns::{self, OptReply};
use crate::query::{self, Asked, Fault, Opt, Query};
use crate::response::{self, Response};
use crate::{Client, Counters, Kind, Question, Snapshot, Transport, answer, fast};

/// QUERY: the only opcode that there is an answer for.
const OPCODE_QUERY: u8 = 0;

/// Answers messages from whatever snapshot is current.
#[derive(Clone)]
pub struct Handler {
    snapshot: Arc<ArcSwap<Snapshot>>,
    counters: Arc<Counters>,
    cookies: Option<Cookies>,
    /// Set by a test that compares the two ways.
    #[cfg(test)]
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

    /// By TCP.
    pub fn tcp(source: SocketAddr, at: Duration) -> Self {
        Self { source, transport: Transport::Tcp, at }
    }
}

impl Handler {
    /// A handler over the snapshot that somebody else keeps current.
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>, counters: Arc<Counters>) -> Self {
        Self {
            snapshot,
            counters,
            cookies: None,
            #[cfg(test)]
            long_way_only: false,
        }
    }

    #[cfg(test)]
    pub(crate) fn long_way_only(mut self) -> Self {
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
        let Some(query) = Query::read(packet) else {
            self.counters.dropped();
            return false;
        };
        // Released at the end of this function: a packet is answered from one snapshot from start to end.
        let snapshot = self.snapshot.load();
        let mut response = Response {
            query: &query,
            code: ResponseCode::NoError,
            authoritative: false,
            truncated: false,
            opt: query.opt().map(|asked| opt_for(asked, &snapshot)),
        };
        let shown = self.cookie(&query, arrival, &mut response);
        if let Some(shown) = shown.filter(|_| only_for_a_cookie(&query)) {
            // RFC 7873 section 5.4: "the response SHALL have the RCODE BADCOOKIE if the Server Cookie sent with the query
            // was invalid and the RCODE NOERROR if it was valid", or if there was none.
            let code = if shown == Shown::Invalid { ResponseCode::BADCOOKIE } else { ResponseCode::NoError };
            self.counters.cookie_given();
            response.refuse(code, out);
            return true;
        }
        let limit = match arrival.transport {
            Transport::Udp => edns::udp_limit(query.opt()),
            Transport::Tcp => usize::from(u16::MAX),
        };
        let asked = examine(&query, arrival);
        #[cfg(test)]
        let short = asked.as_ref().ok().filter(|_| !self.long_way_only);
        #[cfg(not(test))]
        let short = asked.as_ref().ok();
        if let Some(asked) = short
            && let Some(kind) = short_way(&snapshot, &query, asked, arrival, limit, &mut response, out)
        {
            self.counters.replied(kind, false);
            return true;
        }
        match asked.and_then(|asked| question(&query, &asked, arrival)) {
            Err(code) => {
                self.counters.erred();
                response.refuse(code, out);
            }
            Ok(question) => {
                let mut reply = answer(&snapshot, &question);
                if let (Some(ours), Some(subnet), Some(scope)) =
                    (&mut response.opt, query.opt().and_then(|opt| opt.subnet), reply.scope)
                {
                    echo_subnet(ours, &subnet, scope);
                }
                response.code = reply.code;
                response.authoritative = reply.authoritative;
                if let Err(error) = response.write_reply(&mut reply, limit, out) {
                    debug!(source = %arrival.source, %error, "a reply could not be encoded");
                    response.refuse(ResponseCode::ServFail, out);
                }
                self.counters.replied(reply.kind, response.truncated);
            }
        }
        !out.is_empty()
    }

    /// Looks at the cookie, and puts ours into the response.
    fn cookie(&self, query: &Query<'_>, arrival: Arrival, response: &mut Response<'_>) -> Option<Shown> {
        let cookie = query.opt()?.cookie?;
        let (shown, reply) = self.cookies.as_ref()?.meet(&cookie, arrival.source.ip(), arrival.at);
        response.opt.as_mut()?.add(query::COOKIE, &[&reply]);
        Some(shown)
    }
}

/// No question, nothing wrong but that: the asker wants to know its cookie.
fn only_for_a_cookie(query: &Query<'_>) -> bool {
    query.opcode() == OPCODE_QUERY && query.fault() == Some(Fault::Questions(0)) && query.tsig().is_none()
}

impl Response<'_> {
    /// An error and no records. RFC 8906 section 3 wants it with whatever of question and OPT can be sent.
    fn refuse(&mut self, code: ResponseCode, out: &mut Vec<u8>) {
        self.code = code;
        (self.authoritative, self.truncated) = (false, false);
        if let Some(opt) = &mut self.opt {
            opt.set_code_high(code.high());
        }
        self.write_empty(out);
    }
}

/// Our OPT record: which node this is, for those who ask (RFC 5001 section 2.2).
fn opt_for(asked: &Opt<'_>, snapshot: &Snapshot) -> OptReply {
    let mut opt = OptReply::to(asked);
    if asked.nsid {
        opt.add(query::NSID, &[snapshot.me().as_str().as_bytes()]);
    }
    opt
}

/// Sends the client subnet back with the scope of the answer. RFC 7871 section 7.2.1: "FAMILY, SOURCE PREFIX-LENGTH, and
/// ADDRESS in the response MUST match those in the query", and a scope of 0 where the source length is 0.
fn echo_subnet(opt: &mut OptReply, asked: &query::Subnet<'_>, scope: u8) {
    let Some((head, address)) = asked.octets().split_first_chunk::<4>() else { return };
    let longest = asked.net.map_or(0, |net| net.max_prefix_len());
    opt.add(query::SUBNET, &[&head[..3], &[scope.min(longest)], address]);
}

/// The question of a message, or the code that says what is wrong with it.
fn examine<'p>(query: &Query<'p>, arrival: Arrival) -> Result<Asked<'p>, ResponseCode> {
    // RFC 6891 section 6.1.3: "If a responder does not implement the VERSION level of the request, then it MUST respond
    // with RCODE=BADVERS." First of all: another version may give anything else another meaning.
    if query.opt().is_some_and(|opt| opt.version > 0) {
        return Err(ResponseCode::BADVERS);
    }
    // RFC 8906 section 3.1.4: "Unknown opcodes SHOULD be answered with NOTIMP"; how such messages look nobody knows, so
    // this comes before any fault.
    if query.opcode() != OPCODE_QUERY {
        return Err(ResponseCode::NotImp);
    }
    if let Some(fault) = query.fault() {
        debug!(source = %arrival.source, %fault, "a malformed query");
        return Err(ResponseCode::FormErr);
    }
    // No key is known here.
    if query.tsig().is_some() {
        return Err(ResponseCode::NotAuth);
    }
    let asked = query.question().ok_or(ResponseCode::FormErr)?;
    match asked.qtype {
        // OPT, TKEY and TSIG are not types that can be asked for.
        41 | 249 | 250 => return Err(ResponseCode::FormErr),
        // MAILB and MAILA are obsolete (RFC 6895 section 3.1 keeps them as questions).
        253 | 254 => return Err(ResponseCode::NotImp),
        _ => {}
    }
    Ok(asked)
}

/// The reply by the short way, if that can give it.
fn short_way(
    snapshot: &Snapshot,
    query: &Query<'_>,
    asked: &Asked<'_>,
    arrival: Arrival,
    limit: usize,
    response: &mut Response<'_>,
    out: &mut Vec<u8>,
) -> Option<Kind> {
    let subnet = query.opt().and_then(|opt| opt.subnet);
    let client = Client::new(arrival.source.ip(), subnet.and_then(|subnet| subnet.net));
    let written = fast::write(snapshot, asked, client, response.opt.as_ref(), limit, out)?;
    if let (Some(ours), Some(subnet), Some(scope)) = (&mut response.opt, subnet, written.scope) {
        echo_subnet(ours, &subnet, scope);
    }
    response.finish(&written, out);
    Some(written.kind)
}

/// The question as the long way takes it.
fn question(query: &Query<'_>, asked: &Asked<'_>, arrival: Arrival) -> Result<Question, ResponseCode> {
    Ok(Question {
        name: response::name(asked).map_err(|_| ResponseCode::FormErr)?,
        qtype: RecordType::from(asked.qtype),
        qclass: DNSClass::from(asked.qclass),
        source: arrival.source.ip(),
        port: arrival.source.port(),
        transport: arrival.transport,
        subnet: query.opt().and_then(|opt| opt.subnet).and_then(|subnet| subnet.net),
    })
}
