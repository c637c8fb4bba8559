//! What is left out when a reply does not fit.
//!
//! Whole RRsets go or stay: a part of one would be cached as all of it (RFC 2181 section 5). Records that only save the
//! resolver a question (the name servers beside a CNAME) go first and silently. What the reply cannot do without goes
//! with TC set, so that the resolver asks again by TCP: the answer itself, and the glue of a delegation (RFC 9471).

use hickory_proto::rr::{RData, Record};
use hickory_proto::serialize::binary::BinEncodable;

use crate::{Kind, Reply};

/// Octets of a record beside its name and data: type, class, TTL, length (RFC 1035 section 4.1.3).
const RECORD_HEAD: usize = 10;

/// Octets of the numbers in a SOA record (RFC 1035 section 3.3.13).
const SOA_NUMBERS: usize = 20;

/// Shortens a reply until `fits` says so. Returns whether TC is to be set.
pub(crate) fn fit(reply: &mut Reply, fits: impl Fn(&Reply) -> bool) -> bool {
    if fits(reply) {
        return false;
    }
    // Name servers that were asked for, or delegated to, are of no use without their addresses.
    let needs_glue = matches!(reply.kind, Kind::Delegation | Kind::Zone) && !reply.additionals.is_empty();
    reply.additionals.clear();
    if needs_glue {
        if !fits(reply) {
            reply.answers.clear();
            reply.authorities.clear();
        }
        return true;
    }
    if !reply.answers.is_empty() {
        // Name servers and glue go together: in-zone name servers without glue make every resolver give up.
        reply.authorities.clear();
        if fits(reply) {
            return false;
        }
    }
    reply.answers.clear();
    reply.authorities.clear();
    true
}

/// No encoding of these sections is longer, whatever the compression does.
pub(crate) fn upper_bound(reply: &Reply) -> usize {
    let sections = [&reply.answers, &reply.authorities, &reply.additionals];
    sections.into_iter().flatten().map(record_bound).sum()
}

fn record_bound(record: &Record) -> usize {
    let data = match &record.data {
        RData::A(_) => 4,
        RData::AAAA(_) => 16,
        RData::NS(name) => name.0.len() + 1,
        RData::CNAME(name) => name.0.len() + 1,
        RData::SOA(soa) => soa.mname.len() + soa.rname.len() + 2 + SOA_NUMBERS,
        // Rare and of any size: what the operators wrote.
        data => data.to_bytes().map_or(usize::from(u16::MAX), |bytes| bytes.len()),
    };
    record.name.len() + 1 + RECORD_HEAD + data
}
