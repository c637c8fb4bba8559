//! `whoami.<zone>`: a resolver asks who it is, and hears the address that it was seen with.
//!
//! A node learns through its resolvers' answers from which addresses they leave for the Internet, and people learn it
//! with `dig`. Any name below it does too, because a resolver answers a second question for one name from its cache:
//! whoever wants to know asks for a name that nobody asked for before. For the same reason the TTL is 0.
//!
//! ```text
//!   a1b2.whoami.lb.example.com A    203.0.113.53
//!                              TXT  "source=203.0.113.53" "port=4711" "transport=udp" "node=fra" "ecs=192.0.2.0/24"
//! ```

use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::records;
use crate::steer::Family;
use crate::{Kind, Label, Question, Reply};

/// RFC 1035 section 3.2.1: "Zero values are interpreted to mean that the RR can only be used for the transaction in
/// progress, and should not be cached."
const TTL: u32 = 0;

/// What `who` says to a question at or below `whoami`.
pub(crate) fn reply(who: &Label, question: &Question, name: &Name, soa: &Record) -> Reply {
    let source = question.source.to_canonical();
    match question.qtype {
        RecordType::TXT => {
            let mut words = vec![
                format!("source={source}"),
                format!("port={}", question.port),
                format!("transport={}", question.transport),
                format!("node={who}"),
            ];
            words.extend(question.subnet.map(|subnet| format!("ecs={subnet}")));
            let record = Record::from_rdata(name.clone(), TTL, RData::TXT(TXT::new(words)));
            // RFC 7871 section 7.2.1: the scope is how much of the subnet the answer depends on, and that is all of it.
            let scope = question.subnet.map_or(0, |subnet| subnet.prefix_len());
            Reply { scope: Some(scope), ..Reply::positive(vec![record], Kind::Whoami) }
        }
        RecordType::ANY => Reply::positive(vec![records::any_is_minimal(name)], Kind::Zone),
        qtype if Family::of_type(qtype).is_some_and(|family| family.has(source)) => {
            Reply::positive(vec![records::address(name, TTL, source)], Kind::Whoami)
        }
        _ => Reply::nodata(soa),
    }
}
