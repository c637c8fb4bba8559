//! HTTPS and SVCB records of a service (RFC 9460): what clients may speak to it, with the very addresses that they would
//! get by A and AAAA.
//!
//! ServiceMode, priority 1, target `.`: the name itself. In `refer` mode that is the name in the cut, as for any type.
//!
//! **Invariant:** the hints are the servers that A and AAAA give the same client. RFC 9460 section 7.3: "Failure to use A
//! and/or AAAA response addresses could negatively impact load balancing", so they must not differ.

use std::net::IpAddr;

use hickory_proto::rr::rdata::svcb::{IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, HTTPS};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::{Service, SvcParams};

/// The only record of its kind at the name.
const PRIORITY: u16 = 1;

/// The parameters that the operators gave for a type; nothing: the service has no such record.
pub(crate) fn params(service: &Service, rtype: RecordType) -> Option<&SvcParams> {
    match rtype {
        RecordType::HTTPS => service.https.as_ref(),
        RecordType::SVCB => service.svcb.as_ref(),
        _ => None,
    }
}

/// Parameters as a record holds them, without the hints, which are never the operators' word. RFC 9460 section 2.2:
/// "SvcParamKeys SHALL appear in increasing numeric order", each once.
pub(crate) fn ordered(mut params: SvcParams) -> SvcParams {
    params.retain(|(key, _)| !matches!(key, SvcParamKey::Ipv4Hint | SvcParamKey::Ipv6Hint));
    params.sort_by_key(|(key, _)| *key);
    params.dedup_by_key(|(key, _)| *key);
    params
}

/// The record, with the addresses as hints. `params` are in order.
pub(crate) fn record(owner: &Name, ttl: u32, rtype: RecordType, params: &SvcParams, addresses: &[IpAddr]) -> Record {
    let v4 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(v4) => Some(A(*v4)),
        IpAddr::V6(_) => None,
    });
    let v6 = addresses.iter().filter_map(|address| match address {
        IpAddr::V6(v6) => Some(AAAA(*v6)),
        IpAddr::V4(_) => None,
    });
    let (v4, v6): (Vec<A>, Vec<AAAA>) = (v4.collect(), v6.collect());
    let mut all = params.clone();
    let mut add = |key: SvcParamKey, value: SvcParamValue| {
        let at = all.partition_point(|(held, _)| *held < key);
        all.insert(at, (key, value));
    };
    if !v4.is_empty() {
        add(SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(v4)));
    }
    if !v6.is_empty() {
        add(SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(v6)));
    }
    let svcb = SVCB::new(PRIORITY, Name::root(), all);
    let data = if rtype == RecordType::HTTPS { RData::HTTPS(HTTPS(svcb)) } else { RData::SVCB(svcb) };
    Record::from_rdata(owner.clone(), ttl, data)
}
