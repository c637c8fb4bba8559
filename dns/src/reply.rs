//! A question as far as the answer depends on it, and a reply before it becomes a message.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use ipnet::IpNet;

use crate::decide::{Basis, Direct};
use crate::snapshot::CutRole;

/// A question, as far as the answer depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, in the case in which it was asked.
    pub name: Name,
    /// The type.
    pub qtype: RecordType,
    /// The class.
    pub qclass: DNSClass,
    /// Who asks.
    pub source: IpAddr,
    /// From which port.
    pub port: u16,
    /// The message's ID: with the port, what tells one query from the next.
    pub id: u16,
    /// By which transport.
    pub transport: Transport,
    /// The client's subnet, if the resolver sent one (RFC 7871).
    pub subnet: Option<IpNet>,
}

impl Question {
    /// A question of class IN by UDP, from no port in particular and without a client subnet.
    pub fn new(name: Name, qtype: RecordType, source: IpAddr) -> Self {
        Self { name, qtype, qclass: DNSClass::IN, source, port: 0, id: 0, transport: Transport::Udp, subnet: None }
    }

    /// A number that is another one for each query, as far as the asker draws ports and IDs at random (RFC 5452).
    pub(crate) fn draw(port: u16, id: u16) -> u32 {
        u32::from(port) << 16 | u32::from(id)
    }
}

/// What carried a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A datagram: replies are short, and whoever sent it may not be where it says.
    Udp,
    /// A connection.
    Tcp {
        /// How long it may be idle, for those who ask (RFC 7828).
        idle: Duration,
    },
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Udp => "udp",
            Self::Tcp { .. } => "tcp",
        })
    }
}

/// What is said to a question, before it becomes a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The response code.
    pub code: ResponseCode,
    /// AA: said by an authority for the name.
    pub authoritative: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authorities: Vec<Record>,
    /// The additional section, without OPT.
    pub additionals: Vec<Record>,
    /// The scope to send back with the client's subnet; nothing: the subnet is not sent back.
    pub scope: Option<u8>,
    /// Addresses are given although no server is known to be up.
    pub failed_open: bool,
    /// As DNS-B, by what the client's place is known.
    pub basis: Option<Basis>,
    /// What kind of reply it is, for the counters and for leaving things out when space is short.
    pub kind: Kind,
}

/// Kinds of replies, as operators count them. A reply that begins with aliases is of the kind that they lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// As DNS-B, a CNAME into another node's cut.
    Referral,
    /// As DNS-B, a CNAME into a cut that this node serves, and what stands there.
    ReferralWithAddresses,
    /// As DNS-LB, addresses in the own cut.
    Cut,
    /// As backup, addresses in another node's cut.
    Backup,
    /// As anybody, addresses in a cut that nobody serves any more.
    Orphan,
    /// As DNS-B, addresses at once: the service or the client wants it so.
    Direct,
    /// As DNS-B, addresses at once because nobody claims the client.
    Unclaimed,
    /// As DNS-B, addresses at once from the node that claims the client's neighbours, because nobody claims the client.
    Estimated,
    /// As parent, the name servers of a cut, or of a zone that is not the mesh's.
    Delegation,
    /// SOA, NS, addresses of name servers, and what a question for ANY gets.
    Zone,
    /// Records that the operators wrote.
    Static,
    /// What a resolver asks about itself.
    Whoami,
    /// NXDOMAIN or NODATA.
    Negative,
    /// Not ours, or not given.
    Refused,
}

impl Kind {
    pub(crate) fn of_direct(direct: Direct) -> Self {
        match direct {
            Direct::Unclaimed => Self::Unclaimed,
            Direct::Estimated => Self::Estimated,
            Direct::Mode | Direct::Subnet | Direct::Apex | Direct::Beside | Direct::NoCut => Self::Direct,
        }
    }

    pub(crate) fn of_role(role: CutRole) -> Self {
        match role {
            CutRole::Own => Self::Cut,
            CutRole::Backup => Self::Backup,
            CutRole::Orphan => Self::Orphan,
        }
    }
}

impl Reply {
    pub(crate) fn positive(answers: Vec<Record>, kind: Kind) -> Self {
        Self {
            code: ResponseCode::NoError,
            authoritative: true,
            answers,
            authorities: Vec::new(),
            additionals: Vec::new(),
            // What does not depend on the client holds for all of them.
            scope: Some(0),
            failed_open: false,
            basis: None,
            kind,
        }
    }

    /// The name is there, the type is not (RFC 2308 section 2.2).
    pub(crate) fn nodata(soa: &Record) -> Self {
        Self { authorities: vec![soa.clone()], ..Self::positive(Vec::new(), Kind::Negative) }
    }

    pub(crate) fn nxdomain(soa: &Record) -> Self {
        Self { code: ResponseCode::NXDomain, ..Self::nodata(soa) }
    }

    /// "Ask them": not authoritative, and silent about the client's subnet (RFC 7871 section 7.2.1).
    pub(crate) fn delegation(nameservers: &[Record], glue: &[Record]) -> Self {
        Self {
            authoritative: false,
            authorities: nameservers.to_vec(),
            additionals: glue.to_vec(),
            scope: None,
            ..Self::positive(Vec::new(), Kind::Delegation)
        }
    }

    pub(crate) fn refused() -> Self {
        Self {
            code: ResponseCode::Refused,
            authoritative: false,
            scope: None,
            ..Self::positive(Vec::new(), Kind::Refused)
        }
    }
}
