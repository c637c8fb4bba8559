//! What is wrong with a message, before anybody looks for an answer: the response code, and for those who can read it,
//! why (RFC 8914).

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};

use crate::handler::Arrival;
use crate::query::{Asked, Fault, Query};
use crate::{Question, Reply, response};

/// QUERY: the only opcode that there is an answer for.
const OPCODE_QUERY: u8 = 0;

/// An error that is said to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ResponseCode,
    pub(crate) why: Option<ExtendedError>,
}

/// An extended error (RFC 8914 section 4): a code, and words where the code says too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExtendedError {
    pub(crate) info: u16,
    pub(crate) text: &'static str,
}

impl ExtendedError {
    /// "The authoritative server [...] received a query from an 'unauthorized' client" (section 4.19).
    const PROHIBITED: Self = Self { info: 18, text: "" };
    /// "received a query [...] for a domain for which it is not authoritative" (section 4.21).
    const NOT_AUTHORITATIVE: Self = Self { info: 20, text: "" };
    /// "The requested operation or query is not supported" (section 4.22).
    const NOT_SUPPORTED: Self = Self { info: 21, text: "" };

    /// "Other" (section 4.1): the text says it.
    const fn other(text: &'static str) -> Self {
        Self { info: 0, text }
    }

    /// Why a reply is what it is.
    pub(crate) fn of(question: &Question, reply: &Reply) -> Option<Self> {
        match (reply.code, question.qtype) {
            (ResponseCode::Refused, RecordType::AXFR | RecordType::IXFR) => Some(Self::PROHIBITED),
            (ResponseCode::Refused, _) => Some(Self::NOT_AUTHORITATIVE),
            // Not "stale" (3), for the addresses are those of now.
            _ => reply.failed_open.then_some(Self::other("no server is known to be up")),
        }
    }
}

/// FORMERR, in words.
fn formerr(text: &'static str) -> Refusal {
    Refusal::new(ResponseCode::FormErr, ExtendedError::other(text))
}

impl Refusal {
    fn new(code: ResponseCode, why: ExtendedError) -> Self {
        Self { code, why: Some(why) }
    }

    /// Without more words.
    pub(crate) fn plain(code: ResponseCode) -> Self {
        Self { code, why: None }
    }
}

/// No question, and nothing wrong but that (RFC 7873 section 5.4).
pub(crate) fn only_for_a_cookie(query: &Query<'_>) -> bool {
    query.opcode() == OPCODE_QUERY && query.fault() == Some(Fault::Questions(0)) && query.tsig().is_none()
}

/// What is asked for, or what is wrong with the message.
pub(crate) fn examine<'p>(query: &Query<'p>) -> Result<Asked<'p>, Refusal> {
    // RFC 6891 section 6.1.3: "If a responder does not implement the VERSION level of the request, then it MUST respond
    // with RCODE=BADVERS." First of all: another version may give anything else another meaning.
    if query.opt().is_some_and(|opt| opt.version > 0) {
        return Err(Refusal::plain(ResponseCode::BADVERS));
    }
    // RFC 8906 section 3.1.4: unknown opcodes get NOTIMP. How such messages look nobody knows, so this comes before any
    // fault.
    if query.opcode() != OPCODE_QUERY {
        return Err(Refusal::new(ResponseCode::NotImp, ExtendedError::NOT_SUPPORTED));
    }
    if let Some(fault) = query.fault() {
        return Err(formerr(fault.text()));
    }
    // No key is known here.
    if query.tsig().is_some() {
        return Err(Refusal::plain(ResponseCode::NotAuth));
    }
    let asked = query.question().ok_or(formerr("no question"))?;
    match asked.qtype {
        41 | 249 | 250 => return Err(formerr("OPT, TKEY and TSIG are no types to ask for")),
        // MAILB and MAILA are obsolete (RFC 6895 section 3.1 keeps them as questions).
        253 | 254 => return Err(Refusal::new(ResponseCode::NotImp, ExtendedError::NOT_SUPPORTED)),
        _ => {}
    }
    Ok(asked)
}

/// The question in the form that is answered.
pub(crate) fn question(query: &Query<'_>, asked: &Asked<'_>, arrival: Arrival) -> Result<Question, Refusal> {
    Ok(Question {
        name: response::name(asked).map_err(|_| formerr("a name that cannot be read"))?,
        qtype: RecordType::from(asked.qtype),
        qclass: DNSClass::from(asked.qclass),
        source: arrival.source.ip(),
        port: arrival.source.port(),
        id: query.id(),
        transport: arrival.transport,
        subnet: query.opt().and_then(|opt| opt.subnet).and_then(|subnet| subnet.net),
    })
}
