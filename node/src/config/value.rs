//! The values that stand in nigh's files: what each may be, said to the person who wrote something else.
//!
//! Every function takes the text of one value and returns it typed, or one sentence with what is allowed. Nothing is
//! resolved here and nothing is opened: reading a file has no effects.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::Label;

/// `sun_path` holds 108 bytes with the final NUL; a longer path cannot be bound.
const SOCKET_PATH_BYTES: usize = 107;

/// A peer to contact first: an address, or a host name that is looked up anew at each attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A host name, or an IP address without brackets.
    pub host: String,
    /// The UDP and TCP port.
    pub port: u16,
}

impl HostPort {
    /// The socket address, if the host is an IP address and needs no lookup.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => address.fmt(f),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ALLOWED: &str =
            r#"HOST:PORT is expected, such as "198.51.100.9:4242", "[2001:db8::9]:4242" or "nyc.example.net:4242""#;
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match address {
                _ if address.port() == 0 => {
                    Err("port 0 cannot be contacted; a port from 1 to 65535 is expected".into())
                }
                _ if address.ip().is_unspecified() => {
                    Err("this address stands for all of a host's own; the peer's is expected".into())
                }
                _ => Ok(Self { host: address.ip().to_string(), port: address.port() }),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or(ALLOWED)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(ALLOWED)?;
        if !is_host_name(host) {
            return Err(ALLOWED.into());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// A host's name, without a port.
pub(crate) fn host(text: &str) -> Result<String, String> {
    if !is_host_name(text) {
        return Err("a host name without a port is expected, such as \"nigh.example.com\"".into());
    }
    Ok(text.to_ascii_lowercase())
}

/// Where a collector of traces takes OTLP over HTTP, without the slash at its end and what it appends.
pub(crate) fn collector(text: &str) -> Result<String, String> {
    const ALLOWED: &str =
        "the URL of a collector that takes OTLP over HTTP is expected, such as \"http://127.0.0.1:4318\"";
    let uri: axum::http::Uri = text.parse().map_err(|_| ALLOWED)?;
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(ALLOWED.into());
    };
    if authority.as_str().contains('@') {
        return Err("a password would stand in every log; headers go into OTEL_EXPORTER_OTLP_HEADERS".into());
    }
    if uri.query().is_some() || authority.host().is_empty() || authority.port_u16() == Some(0) {
        return Err(ALLOWED.into());
    }
    let text = text.trim_end_matches('/');
    if text.ends_with("/v1/traces") {
        return Err("the URL without /v1/traces is expected: that is appended".into());
    }
    Ok(text.to_owned())
}

/// Letters, digits and hyphens (RFC 1123, section 2.1), underscores tolerated; not all digits in the last label, so
/// that a mistyped IPv4 address is not looked up as a name.
fn is_host_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let label_is_right = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label_is_right) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// The name of a node, in lower case: [`Label`] would lower it, but then the file and the tables would differ.
pub(crate) fn node_name(text: &str) -> Result<Label, String> {
    let label: Label = text.parse().map_err(|e: nigh_dns::LabelError| e.to_string())?;
    match label.as_str() {
        name if name != text => Err(format!("a node name is in lower case; write \"{name}\"")),
        "whoami" => Err("\"whoami\" is kept for finding resolvers; choose another name".into()),
        _ => Ok(label),
    }
}

/// Free text on one line, short enough for a table.
pub(crate) fn short_text(text: &str) -> Result<String, String> {
    if text.chars().count() > 64 || text.chars().any(char::is_control) {
        return Err("at most 64 characters on one line are expected".into());
    }
    Ok(text.to_owned())
}

/// A path from the root: the service manager's working directory is not the operator's.
pub(crate) fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if !path.is_absolute() || text.contains('\0') {
        return Err("an absolute path is expected, one that begins with /".into());
    }
    Ok(path.to_owned())
}

/// A path that a Unix socket can be bound to.
pub(crate) fn socket_path(text: &str) -> Result<PathBuf, String> {
    if text.len() > SOCKET_PATH_BYTES {
        return Err(format!(
            "at most {SOCKET_PATH_BYTES} bytes fit into the address of a Unix socket; this path has {}",
            text.len()
        ));
    }
    absolute_path(text)
}

/// An address and port to listen on; a wildcard address is allowed, port 0 is not.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| r#"ADDRESS:PORT is expected, such as "0.0.0.0:4242" or "[2001:db8::7]:4242""#.to_owned())?;
    if address.port() == 0 {
        return Err("port 0 would be another one at each start; a port from 1 to 65535 is expected".into());
    }
    if address.ip().is_multicast() {
        return Err("a multicast address; an address of this host, or a wildcard, is expected".into());
    }
    Ok(address)
}

/// An address and port at which others reach this node.
pub(crate) fn advertised_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| match text.parse::<IpAddr>() {
        Ok(ip) => format!("the port is missing: \"{}\"", SocketAddr::new(ip, 4242)),
        Err(_) => r#"ADDRESS:PORT is expected, such as "198.51.100.7:4242" or "[2001:db8::7]:4242""#.to_owned(),
    })?;
    if address.port() == 0 {
        return Err("port 0 cannot be contacted; a port from 1 to 65535 is expected".into());
    }
    contactable(address.ip())?;
    Ok(address)
}

/// An address at which others reach this node, without a port.
pub(crate) fn advertised_ip(text: &str) -> Result<IpAddr, String> {
    let ip = ip(text)?;
    contactable(ip)?;
    Ok(ip)
}

/// An IP address.
pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| match text.parse::<SocketAddr>() {
        Ok(address) => format!("without the port: \"{}\"", address.ip()),
        Err(_) => r#"an IP address is expected, such as "198.51.100.7" or "2001:db8::7""#.to_owned(),
    })
}

/// Where a resolver is asked: an address, with a port if it is not 53.
pub(crate) fn resolver(text: &str) -> Result<SocketAddr, String> {
    let address = match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
        (Ok(address), _) => address,
        (_, Ok(ip)) => SocketAddr::new(ip, 53),
        _ => {
            return Err(
                r#"an IP address is expected, such as "10.0.0.53", or with a port "[2001:db8::53]:5353""#.into()
            );
        }
    };
    if address.port() == 0 {
        return Err("port 0 cannot be contacted; a port from 1 to 65535 is expected".into());
    }
    contactable(address.ip())?;
    Ok(address)
}

/// Refuses the addresses that no packet from elsewhere can be sent to.
pub(crate) fn contactable(ip: IpAddr) -> Result<(), String> {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Err("nobody can be contacted at this address; the address of one host is expected".into());
    }
    Ok(())
}

/// A prefix in CIDR form, without bits beyond its length: `203.0.113.7/24` is a slip of one of the two numbers.
pub(crate) fn prefix(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text.parse().map_err(|_| match text.parse::<IpAddr>() {
        Ok(ip) => format!("the length is missing; for this one address write \"{}\"", IpNet::from(ip)),
        Err(_) => r#"a prefix is expected, such as "203.0.113.0/24" or "2001:db8::/32""#.to_owned(),
    })?;
    if net.trunc() != net {
        return Err(format!(
            "has bits set beyond its length; write \"{}\" or \"{}\"",
            net.trunc(),
            IpNet::from(net.addr())
        ));
    }
    Ok(net)
}

/// A length of time with its unit, within `least` and `most`.
pub(crate) fn duration(least: Duration, most: Duration) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let read = humantime::parse_duration(text).ok().filter(|read| (least..=most).contains(read));
        read.ok_or_else(|| {
            format!(
                "a time with its unit from {} to {} is expected, such as \"500ms\", \"2s\" or \"1m 30s\"",
                humantime::format_duration(least),
                humantime::format_duration(most)
            )
        })
    }
}
