//! What stands in the OPT record of a question, and what goes back in ours (RFC 6891).

use std::net::IpAddr;

use hickory_proto::op::Edns;
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption, NSIDPayload};
use ipnet::IpNet;

use crate::Label;

/// The largest UDP message sent, and said to be taken: what crosses the Internet unfragmented (DNS flag day 2020).
pub const LARGEST_UDP: u16 = 1232;

/// What every UDP client takes (RFC 1035 section 4.2.1).
pub(crate) const SMALLEST_UDP: u16 = 512;

/// How much a UDP client takes, as far as we go along.
pub(crate) fn udp_limit(asked: Option<&Edns>) -> u16 {
    asked.map_or(SMALLEST_UDP, |edns| edns.max_payload().clamp(SMALLEST_UDP, LARGEST_UDP))
}

/// The client subnet of a question. An error: it is malformed (RFC 7871 section 6), the question is to be refused.
pub(crate) fn subnet(asked: &Edns) -> Result<Option<ClientSubnet>, Malformed> {
    let Some(EdnsOption::Subnet(subnet)) = asked.option(EdnsCode::Subnet) else {
        return Ok(None);
    };
    match net(subnet) {
        // Bits beyond the prefix must be zero.
        Some(net) if net.trunc() == net => Ok(Some(*subnet)),
        _ => Err(Malformed),
    }
}

/// A client subnet as a prefix.
pub(crate) fn net(subnet: &ClientSubnet) -> Option<IpNet> {
    IpNet::new(subnet.addr(), subnet.source_prefix()).ok()
}

/// An option that its RFC asks to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Our OPT record for a question that had one: size, DO as it came (RFC 3225 section 3), and which node this is for
/// those who ask (RFC 5001).
pub(crate) fn reply_to(asked: &Edns, me: &Label) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(LARGEST_UDP);
    edns.set_version(0);
    edns.set_dnssec_ok(asked.flags().dnssec_ok);
    if asked.option(EdnsCode::NSID).is_some()
        && let Ok(id) = NSIDPayload::new(me.as_str().as_bytes())
    {
        edns.options_mut().insert(EdnsOption::NSID(id));
    }
    edns
}

/// Sends the client subnet back with the scope of the answer.
pub(crate) fn echo_subnet(edns: &mut Edns, asked: &ClientSubnet, scope: u8) {
    let longest = match asked.addr() {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    let echo = ClientSubnet::new(asked.addr(), asked.source_prefix(), scope.min(longest));
    edns.options_mut().insert(EdnsOption::Subnet(echo));
}
