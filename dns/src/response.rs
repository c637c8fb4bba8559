//! A response on its way to becoming octets: header, question, records, OPT, in this order.
//!
//! hickory writes the records, because it compresses names. Header, question and OPT are written here: the question goes
//! back as it came, and an OPT record in hickory's types would be three allocations.
//!
//! **Invariant:** a response is never longer than the asker takes. Sizes are measured here, because hickory goes by the
//! size in *our* OPT record, which says what we take and not what the asker does.

use hickory_proto::ProtoError;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

use crate::Reply;
use crate::edns::{LARGEST_UDP, OptReply};
use crate::fast::Written;
use crate::fit::{fit, upper_bound};
use crate::query::{Asked, HEADER, Query, Tsig};

/// A response, but for the records.
pub(crate) struct Response<'q> {
    pub(crate) query: &'q Query<'q>,
    pub(crate) code: ResponseCode,
    pub(crate) authoritative: bool,
    pub(crate) truncated: bool,
    pub(crate) opt: Option<OptReply>,
}

/// Records of the three sections.
#[derive(Clone, Copy, Default)]
struct Sections<'r> {
    answers: &'r [Record],
    authorities: &'r [Record],
    additionals: &'r [Record],
}

impl<'r> Sections<'r> {
    fn of(reply: &'r Reply) -> Self {
        Self { answers: &reply.answers, authorities: &reply.authorities, additionals: &reply.additionals }
    }
}

impl<'q> Response<'q> {
    /// An empty one.
    pub(crate) fn to(query: &'q Query<'q>) -> Self {
        let opt = query.opt().map(OptReply::to);
        Self { query, code: ResponseCode::NoError, authoritative: false, truncated: false, opt }
    }

    /// Writes it with no records at all.
    pub(crate) fn write_empty(&mut self, out: &mut Vec<u8>) {
        if let Some(opt) = &mut self.opt {
            opt.set_code_high(self.code.high());
        }
        if self.write(Sections::default(), out).is_err() {
            // Nothing but octets of fixed size and a name that was read: this cannot fail, and would be silence.
            out.clear();
        }
    }

    /// Writes it with a reply's records, shortened to the limit. TC is set if something is missed.
    pub(crate) fn write_reply(&mut self, reply: &mut Reply, limit: usize, out: &mut Vec<u8>) -> Result<(), ProtoError> {
        (self.code, self.authoritative) = (reply.code, reply.authoritative);
        let question = self.query.question().map_or(0, |asked| asked.octets.len());
        let around = HEADER + question + self.opt.as_ref().map_or(0, |opt| opt.octets().len());
        let this = &*self;
        self.truncated = fit(reply, |reply| {
            // Encoding to measure costs as much as the answer itself, and nearly every answer is far from the limit.
            around + upper_bound(reply) <= limit || this.length_with(reply) <= limit
        });
        self.write(Sections::of(reply), out)
    }

    fn length_with(&self, reply: &Reply) -> usize {
        let mut octets = Vec::with_capacity(usize::from(LARGEST_UDP));
        self.write(Sections::of(reply), &mut octets).map_or(usize::MAX, |()| octets.len())
    }

    fn write(&self, sections: Sections<'_>, out: &mut Vec<u8>) -> Result<(), ProtoError> {
        out.clear();
        let tsig = self.query.tsig().filter(|_| self.code == ResponseCode::NotAuth);
        let mut encoder = BinEncoder::new(out);
        encoder.emit_vec(&self.header())?;
        // Of a message with a fault, the question is there only if it can be trusted.
        let question = self.query.question();
        if let Some(asked) = question {
            emit_question(&asked, &mut encoder)?;
        }
        let counts = [
            usize::from(question.is_some()),
            sections.answers.len(),
            sections.authorities.len(),
            sections.additionals.len() + usize::from(self.opt.is_some()) + usize::from(tsig.is_some()),
        ];
        for record in [sections.answers, sections.authorities, sections.additionals].into_iter().flatten() {
            record.emit(&mut encoder)?;
        }
        if let Some(opt) = &self.opt {
            encoder.emit_vec(opt.octets())?;
        }
        if let Some(tsig) = tsig {
            emit_unsigned(tsig, &mut encoder)?;
        }
        for (at, count) in counts.into_iter().enumerate() {
            let count = u16::try_from(count).map_err(|_| ProtoError::from("too many records"))?;
            if let Some(place) = out.get_mut(4 + 2 * at..6 + 2 * at) {
                place.copy_from_slice(&count.to_be_bytes());
            }
        }
        Ok(())
    }

    /// Finishes what the short way has written: header and OPT record.
    pub(crate) fn finish(&mut self, written: &Written, out: &mut Vec<u8>) {
        (self.authoritative, self.truncated) = (written.authoritative, false);
        let [answers, authorities, additionals] = written.counts;
        let mut header = self.header();
        for (at, count) in
            [1, answers, authorities, additionals + u16::from(self.opt.is_some())].into_iter().enumerate()
        {
            header[4 + 2 * at..6 + 2 * at].copy_from_slice(&count.to_be_bytes());
        }
        if let Some(room) = out.get_mut(..HEADER) {
            room.copy_from_slice(&header);
        }
        if let Some(opt) = &self.opt {
            out.extend_from_slice(opt.octets());
        }
    }

    /// Id, QR, the opcode, RD and CD of the query (RFC 1035 section 4.1.1, RFC 4035 section 3.1.6: CD "MUST" be copied),
    /// AA, TC, the code. RA, AD and Z are zero whatever came (RFC 8906 section 3.1.3): nobody recurses or validates here.
    fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let [first, second] = self.query.flags();
        header[..2].copy_from_slice(&self.query.id().to_be_bytes());
        header[2] = 0x80 | first & 0x79 | u8::from(self.authoritative) << 2 | u8::from(self.truncated) << 1;
        header[3] = second & 0x10 | self.code.low();
        header
    }
}

/// The question as it came. It is written as a name, so that the records can point at it.
fn emit_question(asked: &Asked<'_>, encoder: &mut BinEncoder<'_>) -> Result<(), ProtoError> {
    name(asked)?.emit(encoder)?;
    encoder.emit_u16(asked.qtype)?;
    encoder.emit_u16(asked.qclass)
}

/// The asked name in hickory's form.
pub(crate) fn name(asked: &Asked<'_>) -> Result<Name, ProtoError> {
    Ok(Name::read(&mut BinDecoder::new(asked.name.octets()))?)
}

/// RFC 8945 section 5.2.1: "If a non-forwarding server does not recognize the key or algorithm used by the client [...],
/// the server MUST generate an error response with RCODE 9 (NOTAUTH) and TSIG ERROR 17 (BADKEY)", with key, algorithm
/// and time as they came and no MAC (section 5.3.2).
fn emit_unsigned(tsig: &Tsig<'_>, encoder: &mut BinEncoder<'_>) -> Result<(), ProtoError> {
    const TYPE: u16 = 250;
    const ANY: u16 = 255;
    const BADKEY: u16 = 17;
    encoder.emit_vec(tsig.key)?;
    encoder.emit_u16(TYPE)?;
    encoder.emit_u16(ANY)?;
    encoder.emit_u32(0)?;
    // Time and fudge, no MAC, original id, error, nothing else. The algorithm's name has at most 255 octets.
    encoder.emit_u16((tsig.algorithm.len() + 16) as u16)?;
    encoder.emit_vec(tsig.algorithm)?;
    encoder.emit_vec(&tsig.time)?;
    encoder.emit_u16(0)?;
    encoder.emit_vec(&tsig.original_id)?;
    encoder.emit_u16(BADKEY)?;
    encoder.emit_u16(0)
}
