//! The parameters of a service's HTTPS and SVCB records (RFC 9460): which an operator may write, and their bytes.
//!
//! Address hints are not among them: the mesh steers those. The bytes are those of an SVCB record in ServiceMode at the
//! name itself, so hickory-proto reads and writes them.

use hickory_proto::rr::rdata::svcb::{Mandatory, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::BinEncodable;

use super::{MAX_SVC_BYTES, SvcParams, wire};

/// Reads parameters as zone files have them: `alpn=h2,h3`, `port=8443`, `key65400=abc`.
pub(super) fn read(words: &[String]) -> Result<SvcParams, String> {
    let odd = |c: char| c.is_whitespace() || matches!(c, '\\' | '"' | ';' | '(' | ')' | '@' | '$');
    if let Some(word) = words.iter().find(|word| word.is_empty() || word.contains(odd)) {
        return Err(format!("{word:?}: a key, or key=value without blanks and quotes, is expected"));
    }
    let text = format!("1 . {}", words.join(" "));
    let read = RData::try_from_str(RecordType::SVCB, &text).map_err(|e| e.to_string())?;
    let RData::SVCB(mut svcb) = read else { return Err("no parameters were read".into()) };
    svcb.svc_params.sort_by_key(|(key, _)| *key);
    // Through their bytes, as they will travel: hickory takes a `key7` that it read for another one than that of a record.
    let bytes = svcb.to_bytes().map_err(|_| "a parameter stands there twice".to_owned())?;
    decode(&bytes)
}

/// Parameters that a client can make sense of.
fn checked(params: SvcParams) -> Result<SvcParams, String> {
    let has = |wanted: SvcParamKey| params.iter().any(|(key, _)| *key == wanted);
    for (key, value) in &params {
        match (key, value) {
            (SvcParamKey::Ipv4Hint | SvcParamKey::Ipv6Hint, _) => {
                return Err(format!("{key}: the mesh gives the addresses of the servers itself"));
            }
            // RFC 9460 section 7.1.1: "When "no-default-alpn" is specified in an RR, "alpn" must also be specified".
            (SvcParamKey::NoDefaultAlpn, _) if !has(SvcParamKey::Alpn) => {
                return Err("no-default-alpn without alpn leaves no protocol to speak".into());
            }
            // RFC 9460 section 8: a key that is not there cannot be mandatory, and "mandatory" itself is never listed.
            (_, SvcParamValue::Mandatory(Mandatory(keys))) => {
                if let Some(key) = keys.iter().find(|key| **key == SvcParamKey::Mandatory || !has(**key)) {
                    return Err(format!("mandatory: {key} is not among the parameters"));
                }
            }
            _ => {}
        }
    }
    let bytes = encode(&params).len();
    if bytes > MAX_SVC_BYTES {
        return Err(format!("{bytes} octets, where at most {MAX_SVC_BYTES} are allowed"));
    }
    Ok(params)
}

/// The bytes of parameters that were read.
pub(super) fn encode(params: &SvcParams) -> Vec<u8> {
    // They are in order, which is all that can be wrong with them.
    SVCB::new(1, Name::root(), params.clone()).to_bytes().unwrap_or_default()
}

/// Reads them from their bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<SvcParams, String> {
    match wire::rdata(RecordType::SVCB, bytes)? {
        RData::SVCB(svcb) if svcb.svc_priority == 1 && svcb.target_name.is_root() => checked(svcb.svc_params),
        _ => Err("no parameters of a service".into()),
    }
}

/// As people write them.
pub(super) fn text(params: &SvcParams) -> String {
    let words: Vec<String> = params
        .iter()
        .map(|(key, value)| match value {
            SvcParamValue::NoDefaultAlpn => key.to_string(),
            value => format!("{key}={}", value.to_string().trim_end_matches(',')),
        })
        .collect();
    if words.is_empty() { "addresses only".to_owned() } else { words.join(" ") }
}
