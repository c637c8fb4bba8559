//! The records that the mesh makes up itself, and their TTLs.
//!
//! Each TTL says how long a resolver may act on old knowledge, so they are as long as what they say is stable: who
//! serves a cut hardly ever changes (an hour), which cut a resolver is sent to changes when a node dies (a minute),
//! and where a name points changes with a server (the service's own TTL). The measurements behind them: real resolvers
//! lose seconds on each name whose NS set is new to them, but forgive a dead server in a set they know.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, HINFO, NS, SOA};
use hickory_proto::rr::{Name, RData, Record};

/// TTL of NS records and of the addresses of name servers, in seconds. Both the same: resolvers go back to the parent
/// when the glue ends before the NS record.
pub const NAMESERVER_TTL: u32 = 3600;

/// TTL of the CNAME into a cut, in seconds: how long a resolver keeps asking a node that has died.
pub const REFERRAL_TTL: u32 = 60;

/// TTL of the SOA record and its MINIMUM, in seconds: negative answers live for the lesser of the two (RFC 2308
/// section 5).
pub const NEGATIVE_TTL: u32 = 30;

/// Most NS records of a mesh zone. Resolvers look at 13 to 20 of a referral; eight with two addresses each still fit
/// into an answer of 1,232 octets.
pub const MOST_NAMESERVERS: usize = 8;

/// Most NS records of a cut: with A and AAAA they fit beside a CNAME even in 512 octets, unless names are long.
pub const MOST_CUT_NAMESERVERS: usize = 4;

/// Most addresses of one node: it writes them itself, and every delegation to it carries all of them.
pub const MOST_ADDRESSES: usize = 8;

/// SOA REFRESH, RETRY and EXPIRE. There are no secondaries to use them: conventional values, so that no checker warns.
const SOA_TIMERS: (i32, i32, i32) = (7200, 900, 1_209_600);

/// The address record that fits the address.
pub(crate) fn address(owner: &Name, ttl: u32, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    };
    Record::from_rdata(owner.clone(), ttl, data)
}

/// The referral: the name is another name in a node's cut.
pub(crate) fn cname(owner: &Name, target: Name) -> Record {
    Record::from_rdata(owner.clone(), REFERRAL_TTL, RData::CNAME(CNAME(target)))
}

/// One of a zone's name servers.
pub(crate) fn nameserver(zone: &Name, server: Name) -> Record {
    Record::from_rdata(zone.clone(), NAMESERVER_TTL, RData::NS(NS(server)))
}

/// The head of a zone, whose keeper gets mail at the domain `mail`: the mesh zone, for cuts hold no records that could
/// lead mail anywhere.
pub(crate) fn soa(zone: &Name, mail: &Name, primary: Name, serial: u32) -> Record {
    // The mailbox is a convention (RFC 2142 section 7); a domain name too long to carry it has its own name here.
    let mailbox = mail.prepend_label("hostmaster").unwrap_or_else(|_| mail.clone());
    let (refresh, retry, expire) = SOA_TIMERS;
    let data = SOA::new(primary, mailbox, serial, refresh, retry, expire, NEGATIVE_TTL);
    Record::from_rdata(zone.clone(), NEGATIVE_TTL, RData::SOA(data))
}

/// What a question for ANY gets where there are addresses (RFC 8482 section 4.2). As short-lived as a referral, since
/// a CNAME may stand at the name in a minute.
pub(crate) fn any_is_minimal(owner: &Name) -> Record {
    let data = HINFO::new("RFC8482".to_owned(), String::new());
    Record::from_rdata(owner.clone(), REFERRAL_TTL, RData::HINFO(data))
}
