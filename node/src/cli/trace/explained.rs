//! What a node explained, as the message that it stands for.
//!
//! An explanation has its records as text. Those that a walk goes on from are read back; any other is kept as a record of
//! its type without data, for what it is stands in the text anyway.

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, NULL, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde::Deserialize;

use super::walk::Explained;
use crate::catalogue::name::record_type;

/// The part of an explanation that is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Explanation {
    code: String,
    authoritative: bool,
    answer: Vec<String>,
    authority: Vec<String>,
    additional: Vec<String>,
    why: String,
}

impl Explanation {
    /// The message.
    pub(super) fn read(self) -> Explained {
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.metadata.authoritative = self.authoritative;
        message.metadata.response_code = match self.code.as_str() {
            "NOERROR" => ResponseCode::NoError,
            "NXDOMAIN" => ResponseCode::NXDomain,
            "REFUSED" => ResponseCode::Refused,
            _ => ResponseCode::ServFail,
        };
        let read = |lines: &[String]| lines.iter().filter_map(|line| record(line)).collect::<Vec<_>>();
        message.answers = read(&self.answer);
        message.authorities = read(&self.authority);
        message.additionals = read(&self.additional);
        Explained { message, records: self.answer, why: self.why }
    }
}

fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// `www.lb.lab. 60 IN CNAME www.fra.lb.lab.`
fn record(line: &str) -> Option<Record> {
    let mut words = line.split_whitespace();
    let owner = name(words.next()?)?;
    let ttl = words.next()?.parse().ok()?;
    let rtype = record_type(words.nth(1)?).ok()?;
    let data: Vec<&str> = words.collect();
    Some(Record::from_rdata(
        owner,
        ttl,
        read(rtype, &data).unwrap_or(RData::Unknown { code: rtype, rdata: NULL::new() }),
    ))
}

fn read(rtype: RecordType, data: &[&str]) -> Option<RData> {
    let first = data.first()?;
    Some(match rtype {
        RecordType::A => RData::A(A(first.parse().ok()?)),
        RecordType::AAAA => RData::AAAA(AAAA(first.parse().ok()?)),
        RecordType::CNAME => RData::CNAME(CNAME(name(first)?)),
        RecordType::NS => RData::NS(NS(name(first)?)),
        RecordType::SOA => {
            let numbers: Vec<u32> = data.get(2..)?.iter().filter_map(|word| word.parse().ok()).collect();
            let [serial, refresh, retry, expire, minimum] = numbers.as_slice() else { return None };
            let timer = |seconds: u32| i32::try_from(seconds).unwrap_or(i32::MAX);
            let (refresh, retry, expire) = (timer(*refresh), timer(*retry), timer(*expire));
            RData::SOA(SOA::new(name(first)?, name(data.get(1)?)?, *serial, refresh, retry, expire, *minimum))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn records_are_read_back_from_their_own_text() {
        for line in [
            "www.lb.lab. 60 IN CNAME www.fra.lb.lab.",
            "fra.lb.lab. 3600 IN NS ns-fra.fra.lb.lab.",
            "ns-fra.fra.lb.lab. 3600 IN A 10.49.0.2",
            "ns-fra.fra.lb.lab. 3600 IN AAAA fd00::1",
            "lb.lab. 30 IN SOA ns-fra.lb.lab. hostmaster.lb.lab. 7 3600 600 86400 30",
        ] {
            assert_eq!(record(line).unwrap().to_string(), line);
        }
        assert_eq!(record("www.lb.lab. 60 IN TXT \"a b\"").unwrap().record_type(), RecordType::TXT);
        assert_eq!(record("nonsense"), None);
    }
}
