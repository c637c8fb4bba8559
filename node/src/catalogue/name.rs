//! Names of zones, services and servers: which are allowed, and how they are written.
//!
//! Inside the mesh a name is a fully qualified [`Name`] in lower case; in files, tables and record identities it is text
//! without the final dot.

use hickory_proto::rr::{Name, RecordType};

/// A zone's name leaves room for `ns-<node>.<node>.` with two names of 60 characters before it.
const LONGEST_ZONE: usize = 128;
/// A service's name leaves room for one node's name of 60 characters and a dot inside it.
const LONGEST_SERVICE: usize = 192;
/// The longest host name: 255 octets (RFC 1035 section 2.3.4) as text without the final dot.
const LONGEST_HOST: usize = 253;
/// The longest id of a server: it stands in tables and in one label-like column.
const LONGEST_ID: usize = 63;

/// The text of a name, without the final dot.
pub fn text(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// An RRset, as people write it: `lb.example.com MX`.
pub fn set(name: &Name, rtype: u16) -> String {
    format!("{} {}", text(name), mnemonic(rtype))
}

/// A type by its mnemonic, or as `TYPE65280` (RFC 3597 section 5).
pub(crate) fn record_type(text: &str) -> Result<RecordType, String> {
    let number = text.strip_prefix("TYPE").and_then(|number| number.parse::<u16>().ok());
    let read = match (number, text) {
        (Some(number), _) => Some(RecordType::from(number)),
        (None, "RP") => Some(RecordType::from(17)),
        (None, "AFSDB") => Some(RecordType::from(18)),
        (None, "URI") => Some(RecordType::from(256)),
        // hickory's own, not the Internet's.
        (None, "ANAME" | "ZERO") => None,
        (None, mnemonic) => mnemonic.parse().ok(),
    };
    read.ok_or_else(|| format!("{text} is no record type known here; any other can be written as TYPE and its number"))
}

/// A record type as people write it; one without a word for it as `TYPE65280` (RFC 3597 section 5).
pub(crate) fn mnemonic(rtype: u16) -> String {
    match RecordType::from(rtype) {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        known => known.to_string(),
    }
}

/// The label directly below `zone` in `name`: `fra` for `www.fra.lb.example.com` below `lb.example.com`.
/// `None` if the name is the zone's apex or not in the zone.
pub fn below(name: &Name, zone: &Name) -> Option<String> {
    // Counted by hand: `num_labels` leaves a wildcard out.
    let (labels, own) = (name.iter().count(), zone.iter().count());
    if !zone.zone_of(name) || labels == own {
        return None;
    }
    let at = labels - own - 1;
    name.iter().nth(at).map(|label| String::from_utf8_lossy(label).into_owned())
}

/// A zone's name.
pub(super) fn zone(text: &str) -> Result<Name, String> {
    let name = host_name(text, LONGEST_ZONE)?;
    if name.num_labels() < 2 {
        return Err("a zone below a registered name is expected, such as \"lb.example.com\"".into());
    }
    Ok(name)
}

/// A service's name: a host name, whose first label may be `*` (RFC 4592): then it is that of every name that falls under it.
pub(super) fn service(text: &str) -> Result<Name, String> {
    let (wild, host) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
    let name = host_name(host, LONGEST_SERVICE)?;
    if wild { name.prepend_label("*").map_err(|e| e.to_string()) } else { Ok(name) }
}

/// The name of static records: any that its own text spells, `*` and underscores included.
pub(super) fn owner(text: &str) -> Result<Name, String> {
    let wrong = || format!("{text}: this name is not supported");
    let mut name = Name::from_ascii(text).map_err(|_| wrong())?.to_lowercase();
    name.set_fqdn(true);
    if self::text(&name) == text && !name.is_root() { Ok(name) } else { Err(wrong()) }
}

/// A server's id within its service.
pub(super) fn server_id(text: &str) -> Result<String, String> {
    let right = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > LONGEST_ID || !text.bytes().all(right) {
        return Err(format!("1 to {LONGEST_ID} letters, digits, hyphens, underscores and dots are expected"));
    }
    Ok(text.to_owned())
}

/// The name of a host somewhere in the DNS: that of an origin, which is asked for and never answered.
pub(crate) fn host(text: &str) -> Result<Name, String> {
    host_name(text, LONGEST_HOST)
}

/// A host name (RFC 1123, section 2.1) in any case, with or without the final dot.
fn host_name(text: &str, longest: usize) -> Result<Name, String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    if bare.len() > longest {
        return Err(format!(
            "at most {longest} characters, so that node names fit into it; this name has {}",
            bare.len()
        ));
    }
    let label_is_right = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !bare.split('.').all(label_is_right) {
        return Err("a host name is expected: labels of letters, digits and inner hyphens, with dots between".into());
    }
    let mut name = Name::from_ascii(bare).map_err(|e| format!("no host name: {e}"))?.to_lowercase();
    name.set_fqdn(true);
    Ok(name)
}
