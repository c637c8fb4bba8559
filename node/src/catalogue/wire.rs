//! The values of records as bytes. Fields are numbered by their order (packed CBOR): add at the end with
//! `#[serde(default)]`, never move or remove.

mod probe;
mod steering;

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, BinEncodable, Restrict};
use nigh_gossip::codec;
use serde::{Deserialize, Serialize};

use self::steering::{SteeringBytes, TermsBytes};
use super::record::{Identity, Value};
use super::{
    MAX_ANSWERS, MAX_NAMESERVERS, MAX_RRSET_BYTES, MAX_RRSET_RECORDS, MAX_SPREAD, MAX_STATIC_TTL, MAX_TTL, Mode,
    Origin, Policy, RrSet, Server, Zone, origin, svc_params,
};
use crate::config::value::contactable;
use probe::ProbeBytes;

#[derive(Serialize, Deserialize)]
struct ZoneBytes {
    nameservers: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct PolicyBytes {
    /// 0 refer, 1 answer.
    mode: u8,
    ttl: u32,
    answers: u8,
    spread_us: u64,
    probe: ProbeBytes,
    /// As an SVCB record in ServiceMode at the name itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    https: Option<serde_bytes::ByteBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    svcb: Option<serde_bytes::ByteBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    steering: Option<SteeringBytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<origin::Wire>,
}

#[derive(Serialize, Deserialize)]
struct ServerBytes {
    /// 4 or 16 bytes.
    address: serde_bytes::ByteBuf,
    weight: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    terms: Option<TermsBytes>,
}

#[derive(Serialize, Deserialize)]
struct RrSetBytes {
    ttl: u32,
    /// Each as RFC 1035 section 3.3 has it, names uncompressed.
    data: Vec<serde_bytes::ByteBuf>,
}

pub(super) fn encode(value: &Value) -> Vec<u8> {
    match value {
        Value::Zone(zone) => {
            codec::encode(&ZoneBytes { nameservers: zone.nameservers.iter().map(ToString::to_string).collect() })
        }
        Value::Service(policy) => codec::encode(&PolicyBytes {
            mode: match policy.mode {
                Mode::Refer => 0,
                Mode::Answer => 1,
            },
            ttl: policy.ttl,
            answers: policy.answers,
            spread_us: micros(policy.spread),
            probe: probe::encode(&policy.probe),
            https: policy.https.as_ref().map(|params| svc_params::encode(params).into()),
            svcb: policy.svcb.as_ref().map(|params| svc_params::encode(params).into()),
            steering: steering::encode(&policy.steering),
            origin: policy.origin.as_deref().map(Origin::to_wire),
        }),
        Value::Server(server) => {
            let (address, weight) = (address_bytes(server.address), server.weight);
            codec::encode(&ServerBytes { address, weight, terms: steering::encode_terms(server) })
        }
        Value::Records(set) => {
            // What was read from bytes is written as bytes again.
            let bytes = |data: &RData| serde_bytes::ByteBuf::from(data.to_bytes().unwrap_or_default());
            codec::encode(&RrSetBytes { ttl: set.ttl, data: set.data.iter().map(bytes).collect() })
        }
    }
}

/// Reads a value of the kind that the identity names, and checks its bounds: an operator's key may be used by another
/// version, or another program.
pub(super) fn decode(identity: &Identity, bytes: &[u8]) -> Result<Value, String> {
    match identity {
        Identity::Zone(_) => {
            let read: ZoneBytes = codec::decode(bytes).map_err(|e| e.to_string())?;
            if read.nameservers.len() > MAX_NAMESERVERS {
                return Err(format!("{} name servers", read.nameservers.len()));
            }
            let labels: Result<_, _> = read.nameservers.iter().map(|label| label.parse()).collect();
            Ok(Value::Zone(Zone { nameservers: labels.map_err(|_| "a name server that is no node name".to_owned())? }))
        }
        Identity::Service(_) => policy(codec::decode(bytes).map_err(|e| e.to_string())?).map(Value::Service),
        Identity::Server(..) => {
            let read: ServerBytes = codec::decode(bytes).map_err(|e| e.to_string())?;
            let address = address(&read.address)?;
            contactable(address)?;
            steering::decode_terms(Server::new(address, read.weight), read.terms).map(Value::Server)
        }
        Identity::Records(_, rtype) => {
            let read: RrSetBytes = codec::decode(bytes).map_err(|e| e.to_string())?;
            let octets: usize = read.data.iter().map(|data| data.len()).sum();
            let records = read.data.len();
            if !(1..=MAX_RRSET_RECORDS).contains(&records) || octets > MAX_RRSET_BYTES || read.ttl > MAX_STATIC_TTL {
                return Err(format!("{records} records, {octets} octets or ttl {} beyond bounds", read.ttl));
            }
            let data: Result<_, _> = read.data.iter().map(|data| rdata(RecordType::from(*rtype), data)).collect();
            Ok(Value::Records(RrSet::new(read.ttl, data?)))
        }
    }
}

fn address_bytes(address: IpAddr) -> serde_bytes::ByteBuf {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec().into(),
        IpAddr::V6(v6) => v6.octets().to_vec().into(),
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, String> {
    match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(v4), _) => Ok(IpAddr::from(v4)),
        (_, Ok(v6)) => Ok(IpAddr::from(v6)),
        _ => Err(format!("an address of {} bytes", bytes.len())),
    }
}

/// The data of a record of that type.
pub(super) fn rdata(rtype: RecordType, bytes: &[u8]) -> Result<RData, String> {
    let wrong = || format!("data that is none of type {rtype}");
    let length = u16::try_from(bytes.len()).map_err(|_| wrong())?;
    let read = RData::read(&mut BinDecoder::new(bytes), rtype, Restrict::new(length)).map_err(|_| wrong())?;
    // Types that hickory reads and does not write, or not as they were, could not be sent.
    match read.to_bytes() {
        Ok(written) if written == bytes && read.record_type() == rtype => Ok(read),
        _ => Err(wrong()),
    }
}

fn policy(read: PolicyBytes) -> Result<Policy, String> {
    let mode = match read.mode {
        0 => Mode::Refer,
        1 => Mode::Answer,
        other => return Err(format!("mode {other}")),
    };
    let spread = Duration::from_micros(read.spread_us);
    if !(1..=MAX_TTL).contains(&read.ttl) || !(1..=MAX_ANSWERS).contains(&read.answers) || spread > MAX_SPREAD {
        return Err(format!("ttl {}, {} answers or spread {spread:?} beyond bounds", read.ttl, read.answers));
    }
    let params = |bytes: Option<serde_bytes::ByteBuf>| bytes.map(|bytes| svc_params::decode(&bytes)).transpose();
    let origin = read.origin.as_ref().map(Origin::from_wire).transpose()?.map(Box::new);
    let (https, svcb) = (params(read.https)?, params(read.svcb)?);
    let steering = Box::new(steering::decode(read.steering)?);
    if steering.ttl_min.is_some_and(|least| !(1..=read.ttl).contains(&least)) {
        return Err(format!("a least ttl of {:?}, where the most is {}", steering.ttl_min, read.ttl));
    }
    Ok(Policy {
        mode,
        ttl: read.ttl,
        answers: read.answers,
        spread,
        probe: Box::new(probe::decode(read.probe)?),
        https,
        svcb,
        steering,
        origin,
    })
}

/// The file is read in whole microseconds, so nothing is lost here.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
