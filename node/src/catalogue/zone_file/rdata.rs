//! The data of a record, from words to bytes, and read back by hickory-proto.
//!
//! Most types are a row of fields, so a table of fields is all there is to know about them. What has a grammar of its
//! own (SvcParams, CSYNC) is left to hickory's reader of text, which can do those.

use std::net::{Ipv4Addr, Ipv6Addr};

use data_encoding::{BASE64, HEXUPPER_PERMISSIVE};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::BinEncodable;

use super::super::wire;
use super::lexer::Word;

/// Octets of the longest string within record data: its length is one octet (RFC 1035 section 3.3).
const LONGEST_STRING: usize = 255;

/// A field of a record's data.
#[derive(Clone, Copy)]
enum Field {
    /// A whole number of so many octets.
    Number(usize),
    /// A domain name.
    Name,
    /// A string with its length.
    Text,
    /// One or more of them.
    Texts,
    /// A string up to the end, without its length.
    Rest,
    /// The remaining words as hexadecimal digits.
    Hex,
    /// The remaining words as base64.
    Base64,
    V4,
    V6,
}

/// The fields of a type; none: hickory reads it.
fn fields(rtype: RecordType) -> Option<&'static [Field]> {
    use Field::{Base64, Hex, Name, Number, Rest, Text, Texts, V4, V6};
    Some(match rtype {
        RecordType::A => &[V4],
        RecordType::AAAA => &[V6],
        RecordType::NS | RecordType::CNAME | RecordType::PTR => &[Name],
        RecordType::MX => &[Number(2), Name],
        RecordType::TXT => &[Texts],
        RecordType::HINFO => &[Text, Text],
        RecordType::SRV => &[Number(2), Number(2), Number(2), Name],
        RecordType::NAPTR => &[Number(2), Number(2), Text, Text, Text, Name],
        RecordType::CAA => &[Number(1), Text, Rest],
        RecordType::DS => &[Number(2), Number(1), Number(1), Hex],
        RecordType::TLSA | RecordType::SMIMEA => &[Number(1), Number(1), Number(1), Hex],
        RecordType::SSHFP => &[Number(1), Number(1), Hex],
        RecordType::OPENPGPKEY => &[Base64],
        RecordType::CERT => &[Number(2), Number(2), Number(1), Base64],
        other => match u16::from(other) {
            // RP, AFSDB, SPF, URI
            17 => &[Name, Name],
            18 => &[Number(2), Name],
            99 => &[Texts],
            256 => &[Number(2), Number(2), Rest],
            _ => return None,
        },
    })
}

/// Reads the data of a record.
pub(super) fn read(rtype: RecordType, words: &[Word], origin: &Name) -> Result<RData, String> {
    // RFC 3597 section 5: the data of any type as \# length and hexadecimal digits.
    if let [sign, length, digits @ ..] = words
        && !sign.quoted
        && sign.raw == "\\#"
    {
        let bytes = hex(digits)?;
        if length.raw.parse() != Ok(bytes.len()) {
            return Err(format!("\\# says {} octets, and {} follow", length.raw, bytes.len()));
        }
        return wire::rdata(rtype, &bytes);
    }
    match (fields(rtype), rtype) {
        (Some(fields), _) => wire::rdata(rtype, &octets(fields, words, origin)?),
        (None, RecordType::HTTPS | RecordType::SVCB) => binding(rtype, words, origin),
        (None, RecordType::Unknown(_)) => Err("of this type only the form \\# LENGTH HEX is known".into()),
        (None, _) => RData::try_from_str(rtype, &plain(words)?).map_err(|e| e.to_string()),
    }
}

fn octets(fields: &[Field], mut words: &[Word], origin: &Name) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for field in fields {
        match field {
            Field::Texts if words.is_empty() => return Err("a string is missing".into()),
            Field::Texts => {
                for word in std::mem::take(&mut words) {
                    string(&mut bytes, word)?;
                }
            }
            Field::Hex => bytes.extend(hex(std::mem::take(&mut words))?),
            Field::Base64 => {
                let joined: String = std::mem::take(&mut words).iter().map(|word| word.raw.as_str()).collect();
                bytes.extend(BASE64.decode(joined.as_bytes()).map_err(|_| "base64 is expected".to_owned())?);
            }
            field => {
                let Some((word, rest)) = words.split_first() else { return Err("the data is not complete".into()) };
                words = rest;
                single(&mut bytes, *field, word, origin)?;
            }
        }
    }
    match words.first() {
        Some(word) => Err(format!("{} is too much", word.raw)),
        None => Ok(bytes),
    }
}

fn single(bytes: &mut Vec<u8>, field: Field, word: &Word, origin: &Name) -> Result<(), String> {
    match field {
        Field::Number(octets) => {
            let most = if octets == 1 { u32::from(u8::MAX) } else { u32::from(u16::MAX) };
            let read = word.raw.parse().ok().filter(|number| *number <= most);
            let number: u32 = read.ok_or_else(|| format!("{}: a number from 0 to {most} is expected", word.raw))?;
            bytes.extend(&number.to_be_bytes()[4 - octets..]);
        }
        Field::Name => {
            for label in name(&word.raw, origin)?.iter() {
                // A label has at most 63 octets.
                bytes.push(label.len() as u8);
                bytes.extend(label);
            }
            bytes.push(0);
        }
        Field::Text => string(bytes, word)?,
        Field::Rest => bytes.extend(decoded(&word.raw)?),
        Field::V4 => {
            let address: Ipv4Addr = word.raw.parse().map_err(|_| format!("{} is no IPv4 address", word.raw))?;
            bytes.extend(address.octets());
        }
        Field::V6 => {
            let address: Ipv6Addr = word.raw.parse().map_err(|_| format!("{} is no IPv6 address", word.raw))?;
            bytes.extend(address.octets());
        }
        Field::Texts | Field::Hex | Field::Base64 => {}
    }
    Ok(())
}

/// HTTPS and SVCB (RFC 9460 section 2.1): the target is a name like others, the parameters are sorted.
fn binding(rtype: RecordType, words: &[Word], origin: &Name) -> Result<RData, String> {
    let [priority, target, params @ ..] = words else { return Err("priority and target are expected".into()) };
    let text = format!("{} . {}", plain(std::slice::from_ref(priority))?, plain(params)?);
    let mut data = RData::try_from_str(rtype, &text).map_err(|e| e.to_string())?;
    let svcb = match &mut data {
        RData::HTTPS(https) => &mut https.0,
        RData::SVCB(svcb) => svcb,
        _ => return Err("another type was read".into()),
    };
    svcb.target_name = name(&target.raw, origin)?;
    svcb.svc_params.sort_by_key(|(key, _)| *key);
    let bytes = data.to_bytes().map_err(|_| "a parameter stands there twice".to_owned())?;
    wire::rdata(rtype, &bytes)
}

/// Words for hickory's reader of text, which has other ideas of escapes and quotes.
fn plain(words: &[Word]) -> Result<String, String> {
    let odd = |c: char| matches!(c, ' ' | '\\' | '"' | ';' | '(' | ')' | '@' | '$');
    match words.iter().find(|word| word.raw.contains(odd)) {
        Some(word) => Err(format!("{}: of this type such data can be written as \\# LENGTH HEX alone", word.raw)),
        None => Ok(words.iter().map(|word| word.raw.as_str()).collect::<Vec<_>>().join(" ")),
    }
}

fn hex(words: &[Word]) -> Result<Vec<u8>, String> {
    let joined: String = words.iter().map(|word| word.raw.as_str()).collect();
    HEXUPPER_PERMISSIVE.decode(joined.as_bytes()).map_err(|_| format!("{joined}: hexadecimal digits are expected"))
}

fn string(bytes: &mut Vec<u8>, word: &Word) -> Result<(), String> {
    let text = decoded(&word.raw)?;
    let length = u8::try_from(text.len())
        .map_err(|_| format!("a string of {} octets, where {LONGEST_STRING} are allowed: cut it in two", text.len()))?;
    bytes.push(length);
    bytes.extend(text);
    Ok(())
}

/// The octets of a string: `\X` is X, `\DDD` the octet of that decimal number (RFC 1035 section 5.1).
fn decoded(raw: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let byte = if *first == b'\\' { escaped(&mut rest)? } else { *first };
        bytes.push(byte);
    }
    Ok(bytes)
}

/// What stands behind a backslash.
fn escaped(rest: &mut &[u8]) -> Result<u8, String> {
    const WRONG: &str = "three digits up to 255, or one other character, are expected behind a backslash";
    let (first, after) = rest.split_first().ok_or(WRONG)?;
    if !first.is_ascii_digit() {
        *rest = after;
        return Ok(*first);
    }
    let digits = rest.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
    let octet = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())).and_then(|d| d.parse().ok());
    *rest = &rest[rest.len().min(3)..];
    octet.ok_or_else(|| WRONG.to_owned())
}

/// A name: `@` is the origin, one without a final dot is relative to it.
pub(super) fn name(raw: &str, origin: &Name) -> Result<Name, String> {
    let wrong = |problem: &str| format!("{raw}: {problem}");
    match raw {
        "@" => return Ok(origin.clone()),
        "." => return Ok(Name::root()),
        _ => {}
    }
    let mut labels: Vec<Vec<u8>> = vec![Vec::new()];
    let mut rest = raw.as_bytes();
    let mut dot_last = false;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        dot_last = *first == b'.';
        match (*first, labels.last_mut()) {
            (b'.', _) => labels.push(Vec::new()),
            (b'\\', Some(label)) => label.push(escaped(&mut rest).map_err(|e| wrong(&e))?),
            (byte, Some(label)) => label.push(byte),
            (_, None) => {}
        }
    }
    if dot_last {
        labels.pop();
    }
    if labels.iter().any(|label| label.is_empty() || label.len() > 63) {
        return Err(wrong("labels of 1 to 63 octets are expected, with dots between"));
    }
    let relative = Name::from_labels(labels).map_err(|_| wrong("a name has at most 255 octets"))?;
    let whole = if dot_last { Ok(relative) } else { relative.append_domain(origin) };
    let mut name = whole.map_err(|_| wrong("with the origin the name is longer than 255 octets"))?;
    name.set_fqdn(true);
    Ok(name)
}
