//! A question as octets, and whether some octets are its reply.
//!
//! Whoever does not see our questions must guess the port (drawn by the system for each question) and the id, 32 bits
//! together (RFC 5452 section 9.2); so a packet that does not match is passed over and the wait goes on. Mixed case
//! (0x20) is not used: where an answer matters, `origin_within`, TCP or a TSIG key say more.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

/// What we take by UDP: what passes everywhere unfragmented (the value of DNS Flag Day 2020).
pub const UDP_SIZE: u16 = 1232;
/// Octets of a header (RFC 1035 section 4.1.1).
pub const HEADER: usize = 12;

/// A question that a reply must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Drawn at random.
    pub id: u16,
    /// QUERY, or NOTIFY, or UPDATE, whose question is a zone.
    pub opcode: OpCode,
    /// QNAME.
    pub name: Name,
    /// QTYPE.
    pub rtype: RecordType,
}

/// Why octets are not the reply to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Not even a header.
    #[error("shorter than a header")]
    Short,
    /// The id is another.
    #[error("another id")]
    Id,
    /// It is no response, or one of another kind.
    #[error("no response of this kind")]
    Kind,
    /// It answers something else.
    #[error("another question")]
    Question,
    /// It cannot be read.
    #[error("malformed")]
    Malformed,
}

impl Question {
    /// A query.
    pub fn query(id: u16, name: Name, rtype: RecordType) -> Self {
        Self { id, opcode: OpCode::Query, name, rtype }
    }

    /// The message that asks. With `recurse` it is for a resolver.
    pub fn message(&self, recurse: bool) -> Message {
        let mut message = Message::new(self.id, MessageType::Query, self.opcode);
        message.metadata.recursion_desired = recurse;
        message.add_query(Query::query(self.name.clone(), self.rtype));
        if self.opcode == OpCode::Query {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_SIZE);
            message.set_edns(edns);
        }
        message
    }

    /// Whether the header of these octets is one of a reply to this: cheap, and before anything is decoded.
    ///
    /// # Errors
    /// Why not.
    pub fn fits_header(&self, octets: &[u8]) -> Result<(), Mismatch> {
        let header: &[u8; HEADER] = octets.first_chunk().ok_or(Mismatch::Short)?;
        if u16::from_be_bytes([header[0], header[1]]) != self.id {
            return Err(Mismatch::Id);
        }
        if header[2] & 0x80 == 0 || header[2] >> 3 & 0x0f != u8::from(self.opcode) {
            return Err(Mismatch::Kind);
        }
        Ok(())
    }

    /// The reply in these octets.
    ///
    /// # Errors
    /// They are none to this question.
    pub fn reply(&self, octets: &[u8]) -> Result<Message, Mismatch> {
        self.fits_header(octets)?;
        let message = Message::from_vec(octets).map_err(|_| Mismatch::Malformed)?;
        self.fits_question(&message)?;
        Ok(message)
    }

    /// Names are compared without case: some servers answer in their own. A server that does not know the opcode, or
    /// could not read us, may leave the question out.
    fn fits_question(&self, message: &Message) -> Result<(), Mismatch> {
        match message.queries.as_slice() {
            [] if message.metadata.response_code != hickory_proto::op::ResponseCode::NoError => Ok(()),
            [asked]
                if asked.name() == &self.name
                    && asked.query_type() == self.rtype
                    && asked.query_class() == hickory_proto::rr::DNSClass::IN =>
            {
                Ok(())
            }
            _ => Err(Mismatch::Question),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{RData, Record};
    use proptest::prelude::*;

    use super::*;

    fn question() -> Question {
        Question::query(7, Name::from_ascii("www.origin.example.com.").unwrap(), RecordType::A)
    }

    fn reply() -> Message {
        let mut message = question().message(true).into_response();
        message.add_answer(Record::from_rdata(question().name, 60, RData::A(A::new(192, 0, 2, 1))));
        message
    }

    #[test]
    fn a_reply_is_known_by_id_kind_and_question() {
        let asked = question();
        assert_eq!(asked.reply(&reply().to_vec().unwrap()).unwrap().answers, reply().answers);
        let mut other = reply();
        other.metadata.id = 8;
        assert_eq!(asked.reply(&other.to_vec().unwrap()), Err(Mismatch::Id));
        assert_eq!(asked.reply(&asked.message(true).to_vec().unwrap()), Err(Mismatch::Kind));
        let mut other = reply();
        other.queries[0].set_query_type(RecordType::AAAA);
        assert_eq!(asked.reply(&other.to_vec().unwrap()), Err(Mismatch::Question));
        let mut other = reply();
        other.queries[0].set_name(Name::from_ascii("mail.origin.example.com.").unwrap());
        assert_eq!(asked.reply(&other.to_vec().unwrap()), Err(Mismatch::Question));
        let mut other = reply();
        other.queries[0].set_name(Name::from_ascii("WWW.oRIGIN.example.com.").unwrap());
        assert!(asked.reply(&other.to_vec().unwrap()).is_ok());
    }

    #[test]
    fn only_an_error_may_leave_the_question_out() {
        let mut bare = reply();
        bare.queries.clear();
        assert_eq!(question().reply(&bare.to_vec().unwrap()), Err(Mismatch::Question));
        bare.metadata.response_code = ResponseCode::NotImp;
        assert!(question().reply(&bare.to_vec().unwrap()).is_ok());
    }

    proptest! {
        #[test]
        fn hostile_octets_never_panic(octets: Vec<u8>) {
            let _ = question().reply(&octets);
        }

        #[test]
        fn a_reply_cut_short_or_changed_is_refused_or_read_but_never_panics(at: usize, with: u8, cut: usize) {
            let mut octets = reply().to_vec().unwrap();
            let length = octets.len();
            octets[at % length] = with;
            octets.truncate(cut % (length + 1));
            if let Ok(read) = question().reply(&octets) {
                prop_assert_eq!(read.metadata.id, 7);
            }
        }
    }
}
