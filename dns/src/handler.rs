//! From a message to a message: what is wrong with a question, what EDNS asks for, and how much may be said.
//!
//! hickory parses and encodes; its `Catalog` and zones are not used, because they get referrals, negative TTLs and UDP
//! sizes wrong for us. [`Handler`] is a [`RequestHandler`], so any of hickory's servers can carry it. Our own fronts call
//! [`Handler::respond`], which is the same without a future per packet.
//!
//! **Invariant:** no packet makes it panic, and a reply is never longer than the asker takes: sizes are measured here,
//! because hickory goes by the size in *our* OPT record, which says what we take and not what the asker does.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_proto::op::{Edns, Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, BinEncoder};
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponseBuilder, Queries};
use tracing::debug;

use crate::edns;
use crate::fit::{fit, upper_bound};
use crate::{Counters, Question, Reply, Snapshot, answer};

/// Octets of a message's header (RFC 1035 section 4.1.1).
const HEADER: usize = 12;

/// Octets of type and class after the name of a question.
const QUESTION_TAIL: usize = 4;

/// No OPT record of ours is longer: 11 octets of its own, a client subnet of 24, a node name of 64.
const LARGEST_OPT: usize = 128;

/// Answers messages from whatever snapshot is current.
#[derive(Clone)]
pub struct Handler {
    snapshot: Arc<ArcSwap<Snapshot>>,
    counters: Arc<Counters>,
}

/// A reply on its way to becoming a message.
struct Message {
    metadata: Metadata,
    edns: Option<Edns>,
    /// Is the question written back? Not if it cannot be trusted to parse again.
    question: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

impl Handler {
    /// A handler over the snapshot that somebody else keeps current.
    pub fn new(snapshot: Arc<ArcSwap<Snapshot>>, counters: Arc<Counters>) -> Self {
        Self { snapshot, counters }
    }

    /// What it has said so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The reply to a packet, or nothing if it deserves none.
    pub fn respond(&self, packet: &[u8], source: SocketAddr, protocol: Protocol) -> Option<Vec<u8>> {
        let header = packet.get(..HEADER);
        // A response must never be answered, however it is formed: two servers would talk for ever.
        let Some(header) = header.filter(|header| header[2] & 0x80 == 0) else {
            self.counters.dropped();
            return None;
        };
        // RFC 9619. Before hickory sees it, because it sets memory aside for as many questions as the header says.
        let several = u16::from_be_bytes([header[4], header[5]]) > 1;
        let parse = || Request::from_bytes(packet.to_vec(), source, protocol).ok();
        let Some(request) = (!several).then(parse).flatten() else {
            self.counters.erred();
            return Some(error_of(header, ResponseCode::FormErr));
        };
        let message = self.message(&request)?;
        let mut bytes = Vec::with_capacity(usize::from(edns::SMALLEST_UDP));
        match message.encode(&request.queries, &mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) => {
                debug!(%source, %error, "a reply could not be encoded");
                Some(error_of(header, ResponseCode::ServFail))
            }
        }
    }

    /// The reply to a message; nothing: it is a response itself.
    fn message(&self, request: &Request) -> Option<Message> {
        if request.metadata.message_type == MessageType::Response {
            self.counters.dropped();
            return None;
        }
        // Released at the end of this function: a packet is answered from one snapshot from start to end.
        let snapshot = self.snapshot.load();
        let mut message = Message::to(request);
        if let Some(asked) = &request.edns {
            message.edns = Some(edns::reply_to(asked, snapshot.me()));
        }
        match examine(request) {
            Err(code) => {
                self.counters.erred();
                message.metadata.response_code = code;
            }
            Ok(question) => {
                let mut reply = answer(&snapshot, &question);
                if let (Some(ours), Some(asked), Some(scope)) = (&mut message.edns, asked_subnet(request), reply.scope)
                {
                    edns::echo_subnet(ours, &asked, scope);
                }
                message.metadata.response_code = reply.code;
                message.metadata.authoritative = reply.authoritative;
                let truncated = message.fill(&mut reply, request);
                self.counters.replied(reply.kind, truncated);
            }
        }
        Some(message)
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let Some(message) = self.message(request) else {
            return info(&request.metadata);
        };
        let metadata = message.metadata;
        let none = no_queries();
        let queries = if message.question { Some(&request.queries) } else { none.as_ref() };
        let response = MessageResponseBuilder::new(queries.unwrap_or(&request.queries), message.edns.as_ref()).build(
            message.metadata,
            &message.answers,
            &message.authorities,
            [],
            &message.additionals,
        );
        match response_handle.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                debug!(source = %request.src(), %error, "a reply could not be sent");
                info(&metadata)
            }
        }
    }
}

impl Message {
    /// An empty reply.
    fn to(request: &Request) -> Self {
        Self {
            metadata: Metadata::response_from_request(&request.metadata),
            edns: None,
            question: is_plain(&request.queries),
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }

    /// Takes over the sections of a reply, shortened to what the asker takes. Returns whether TC was set.
    fn fill(&mut self, reply: &mut Reply, request: &Request) -> bool {
        let limit = match request.protocol() {
            Protocol::Udp => usize::from(edns::udp_limit(request.edns.as_ref())),
            _ => usize::from(u16::MAX),
        };
        let around = HEADER + request.queries.as_bytes().len() + self.edns.as_ref().map_or(0, |_| LARGEST_OPT);
        let truncated = fit(reply, |reply| {
            // Encoding to measure costs as much as the answer itself, and nearly every answer is far from the limit.
            around + upper_bound(reply) <= limit || self.length_with(reply, request) <= limit
        });
        self.metadata.truncation = truncated;
        self.answers = std::mem::take(&mut reply.answers);
        self.authorities = std::mem::take(&mut reply.authorities);
        self.additionals = std::mem::take(&mut reply.additionals);
        truncated
    }

    /// How long the message with these sections would be.
    fn length_with(&self, reply: &Reply, request: &Request) -> usize {
        let mut bytes = Vec::with_capacity(usize::from(edns::LARGEST_UDP));
        let written = MessageResponseBuilder::new(&request.queries, self.edns.as_ref())
            .build(self.metadata, &reply.answers, &reply.authorities, [], &reply.additionals)
            .destructive_emit(&mut BinEncoder::new(&mut bytes));
        written.map_or(usize::MAX, |_| bytes.len())
    }

    fn encode(&self, queries: &Queries, bytes: &mut Vec<u8>) -> Result<(), hickory_proto::ProtoError> {
        let none = no_queries();
        let queries = if self.question { queries } else { none.as_ref().unwrap_or(queries) };
        MessageResponseBuilder::new(queries, self.edns.as_ref())
            .build(self.metadata, &self.answers, &self.authorities, [], &self.additionals)
            .destructive_emit(&mut BinEncoder::new(bytes))
            .map(drop)
    }
}

/// The question of a message, or the code that says what is wrong with it.
fn examine(request: &Request) -> Result<Question, ResponseCode> {
    // RFC 6891 section 6.1.3: with the highest version that we know, which is 0, in our OPT record.
    if request.version() > 0 {
        return Err(ResponseCode::BADVERS);
    }
    if request.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    // RFC 9619: exactly one question. One that is compressed points at something else in the message, so it would
    // mean something else in ours.
    let [query] = request.queries.queries() else {
        return Err(ResponseCode::FormErr);
    };
    if !is_plain(&request.queries) {
        return Err(ResponseCode::FormErr);
    }
    let subnet = match &request.edns {
        Some(asked) => edns::subnet(asked).map_err(|_| ResponseCode::FormErr)?,
        None => None,
    };
    match u16::from(query.query_type()) {
        // OPT, TKEY and TSIG are not types that can be asked for.
        41 | 249 | 250 => return Err(ResponseCode::FormErr),
        // MAILB and MAILA are obsolete (RFC 6895 section 3.1 keeps them as questions).
        253 | 254 => return Err(ResponseCode::NotImp),
        _ => {}
    }
    let original = query.original();
    Ok(Question {
        name: original.name().clone(),
        qtype: RecordType::from(u16::from(query.query_type())),
        qclass: query.query_class(),
        source: request.src().ip(),
        subnet: subnet.as_ref().and_then(edns::net),
    })
}

fn asked_subnet(request: &Request) -> Option<hickory_proto::rr::rdata::opt::ClientSubnet> {
    request.edns.as_ref().and_then(|asked| edns::subnet(asked).ok().flatten())
}

/// Is there exactly one question, written out without compression?
fn is_plain(queries: &Queries) -> bool {
    match queries.queries() {
        [query] => {
            let labels = query.original().name().iter().map(|label| label.len() + 1).sum::<usize>();
            queries.as_bytes().len() == labels + 1 + QUESTION_TAIL
        }
        _ => false,
    }
}

/// An empty question section. It is always there: reading none of nothing cannot fail.
fn no_queries() -> Option<Queries> {
    Queries::read(&mut BinDecoder::new(&[]), 0).ok()
}

/// A reply that is nothing but a header: id, opcode and RD of the question, and the code.
fn error_of(header: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    if let (Some(id), Some(flags)) = (header.get(..2), header.get(2)) {
        bytes[..2].copy_from_slice(id);
        bytes[2] = 0x80 | (flags & 0x79);
    }
    bytes[3] = code.low();
    bytes
}

fn info(metadata: &Metadata) -> ResponseInfo {
    Header { metadata: *metadata, counts: HeaderCounts::default() }.into()
}
