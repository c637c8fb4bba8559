//! `[service.probe]` and `[service.latency]`: how the servers of a service are measured.

use std::fmt::Display;
use std::time::Duration;

use hickory_proto::rr::Name;

use super::{number, time};
use crate::catalogue::name;
use crate::config::document::{Item, Section, all, optional};
use crate::measure::command::is_plain;
use crate::measure::dns::code_number;
use crate::measure::target::{
    DEFAULT_BUDGET, DnsSpec, GrpcSpec, HttpSpec, MAX_BUDGET, MAX_COUNT, MAX_INTERVAL, MAX_RETRIES, MAX_TIMEOUT,
    MIN_INTERVAL, MIN_TIMEOUT, ProbeKind, ProbeSpec, Probing, TlsSpec, WebSpec,
};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_RISE: u32 = 2;
const DEFAULT_FALL: u32 = 3;
const DEFAULT_EXPECT: (u16, u16) = (200, 399);
/// The longest path and host of a probe: they must fit a record beside everything else.
const MAX_HTTP_TEXT: usize = 1024;
/// The longest text that a body must hold.
const MAX_BODY: usize = 256;
/// The most words of a command, and the octets of all of them.
const MAX_WORDS: usize = 16;
const MAX_WORDS_BYTES: usize = 1024;

const KINDS: &str = r#""tcp", "http", "https", "grpc", "icmp", "dns" or "command" is expected"#;

/// Keys that every kind has, and those of some: with them, the kinds.
const COMMON: [&str; 6] = ["kind", "interval", "timeout", "retries", "rise", "fall"];
const OF_SOME: [(&str, &[&str]); 15] = [
    ("port", &["tcp", "http", "https", "grpc", "dns", "command"]),
    ("path", &["http", "https"]),
    ("host", &["http", "https", "grpc"]),
    ("expect", &["http", "https"]),
    ("version", &["http", "https"]),
    ("body", &["http", "https"]),
    ("reuse", &["http", "https", "grpc"]),
    ("tls", &["grpc"]),
    ("verify", &["https", "grpc"]),
    ("ca", &["https", "grpc"]),
    ("service", &["grpc"]),
    ("name", &["dns"]),
    ("type", &["dns"]),
    ("rcode", &["dns"]),
    ("command", &["command"]),
];

fn keys(with: &[&'static str]) -> Vec<&'static str> {
    COMMON.iter().chain(OF_SOME.iter().map(|(key, _)| key)).chain(with).copied().collect()
}

pub(super) fn read(service: &Section<'_>, host: Option<&Name>) -> Option<Probing> {
    let section = service.section("probe", &keys(&["budget"]));
    let budget = optional(section.get("budget"), DEFAULT_BUDGET, |item| number(item, 1, MAX_BUDGET));
    let health = spec(&section, host);
    let latency = match service.get("latency") {
        Some(_) => Some(spec(&service.section("latency", &keys(&[])), host)?),
        None => None,
    };
    Some(Probing { health: health?, latency, budget: budget? })
}

fn spec(section: &Section<'_>, host: Option<&Name>) -> Option<ProbeSpec> {
    let word = section.require("kind", &format!("how servers are measured: {KINDS}")).and_then(|item| {
        item.text(|text| {
            let known = ["tcp", "http", "https", "grpc", "icmp", "dns", "command"];
            known.into_iter().find(|kind| *kind == text).ok_or_else(|| KINDS.to_owned())
        })
    });
    let interval = optional(section.get("interval"), DEFAULT_INTERVAL, |item| time(item, MIN_INTERVAL, MAX_INTERVAL));
    let timeout = optional(section.get("timeout"), DEFAULT_TIMEOUT, |item| time(item, MIN_TIMEOUT, MAX_TIMEOUT));
    let item = section.get("timeout").or(section.get("interval"));
    if let (Some(interval), Some(timeout), Some(item)) = (interval, timeout, item)
        && timeout > interval
    {
        let (timeout, interval) = (humantime::format_duration(timeout), humantime::format_duration(interval));
        item.fault(format!(
            "a probe must end before the next begins: the timeout is {timeout}, the interval {interval}"
        ));
    }
    let retries = optional(section.get("retries"), 0, |item| number(item, 0, MAX_RETRIES));
    let rise = optional(section.get("rise"), DEFAULT_RISE, |item| number(item, 1, MAX_COUNT));
    let fall = optional(section.get("fall"), DEFAULT_FALL, |item| number(item, 1, MAX_COUNT));
    let word = word?;
    for (key, kinds) in OF_SOME.iter().filter(|(_, kinds)| !kinds.contains(&word)) {
        if let Some(item) = section.get(key) {
            let kinds: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
            item.fault(format!("only a probe of kind {} has this", kinds.join(" or ")));
        }
    }
    let port = port(section, word);
    let kind = match word {
        "tcp" => Some(ProbeKind::Tcp),
        "icmp" => Some(ProbeKind::Icmp),
        "dns" => dns(section).map(ProbeKind::Dns),
        "command" => command(section).map(ProbeKind::Command),
        "grpc" => grpc(section, host).map(ProbeKind::Grpc),
        _ => http(section, host, word == "https").map(ProbeKind::Http),
    };
    Some(ProbeSpec {
        kind: kind?,
        port: port?,
        interval: interval?,
        timeout: timeout?,
        retries: retries?,
        rise: rise?,
        fall: fall?,
    })
}

fn port(section: &Section<'_>, kind: &str) -> Option<u16> {
    let read = |item: &Item<'_>| number(item, 1, u16::MAX);
    match kind {
        "icmp" => Some(0),
        "command" => optional(section.get("port"), 0, read),
        "https" => optional(section.get("port"), 443, read),
        "dns" => optional(section.get("port"), 53, read),
        _ => section.require("port", "the port to probe, such as port = 443").and_then(|item| read(&item)),
    }
}

fn web(section: &Section<'_>, host: Option<&Name>, tls: bool, http2: bool) -> Option<WebSpec> {
    let wild = host.is_some_and(Name::is_wildcard);
    let default_host = host.filter(|_| !wild).map(name::text).unwrap_or_default();
    if wild {
        section.require("host", "a wildcard is the name of no host; write which one to ask for");
    }
    let host = optional(section.get("host"), default_host, |item| item.text(http_host));
    let reuse = optional(section.get("reuse"), false, |item| item.boolean());
    let verify = optional(section.get("verify"), true, |item| item.boolean());
    let ca = optional(section.get("ca"), None, |item| item.text(plain_file).map(Some));
    if let (false, Some(item)) = (tls, section.get("verify").or(section.get("ca"))) {
        item.fault("without tls = true there is no certificate to check");
    }
    if let (Some(false), Some(item)) = (verify, section.get("ca")) {
        item.fault("with verify = false nobody looks at it");
    }
    let checks = TlsSpec { verify: verify?, ca: ca? };
    Some(WebSpec { host: host?, tls: tls.then_some(checks), http2, reuse: reuse? })
}

fn http(section: &Section<'_>, host: Option<&Name>, tls: bool) -> Option<HttpSpec> {
    let path = optional(section.get("path"), "/".to_owned(), |item| item.text(http_path));
    let expect = optional(section.get("expect"), DEFAULT_EXPECT, |item| {
        let list = item.is_list().then(|| item.list());
        let bounds = all(&list.unwrap_or_default(), |item| number(item, 0, u16::MAX))?;
        let range = match bounds.as_slice() {
            [first, last] => status_range(*first, *last),
            _ => Err("two numbers are expected, the first and the last good status: [200, 399]".to_owned()),
        };
        range.map_err(|problem| item.fault(problem)).ok()
    });
    let http2 = optional(section.get("version"), false, |item| {
        item.text(|text| match text {
            "1.1" => Ok(false),
            "2" => Ok(true),
            _ => Err("\"1.1\" or \"2\" is expected".to_owned()),
        })
    });
    let body = optional(section.get("body"), None, |item| item.text(body_text).map(Some));
    let web = web(section, host, tls, http2.unwrap_or_default());
    Some(HttpSpec { web: http2.and(web)?, path: path?, expect: expect?, body: body? })
}

fn grpc(section: &Section<'_>, host: Option<&Name>) -> Option<GrpcSpec> {
    let tls = optional(section.get("tls"), false, |item| item.boolean());
    let service = optional(section.get("service"), String::new(), |item| item.text(grpc_service));
    let web = web(section, host, tls.unwrap_or(true), true);
    Some(GrpcSpec { web: tls.and(web)?, service: service? })
}

fn dns(section: &Section<'_>) -> Option<DnsSpec> {
    let name = section.require("name", "the name to ask for, such as name = \"example.com\"");
    let name = name.and_then(|item| item.text(dns_name));
    let rtype = optional(section.get("type"), 1, |item| {
        item.text(|text| name::record_type(&text.to_ascii_uppercase()).map(u16::from))
    });
    let rcode = optional(section.get("rcode"), 0, |item| {
        item.text(|text| {
            code_number(text)
                .ok_or_else(|| "a response code is expected, such as \"NOERROR\" or \"REFUSED\"".to_owned())
        })
    });
    Some(DnsSpec { name: name?, rtype: rtype?, rcode: rcode? })
}

fn command(section: &Section<'_>) -> Option<Vec<String>> {
    const WHAT: &str =
        "a program in the nodes' measure.commands and its arguments, such as command = [\"check\", \"fast\"]";
    let item = section.require("command", WHAT)?;
    let words = all(&item.list(), |item| item.text(|text| Ok(text.to_owned())))?;
    words_of(words).map_err(|problem| item.fault(problem)).ok()
}

/// The words of a command.
pub(in crate::catalogue) fn words_of(words: Vec<String>) -> Result<Vec<String>, String> {
    let octets: usize = words.iter().map(String::len).sum();
    let Some(program) = words.first() else { return Err("a program is expected".to_owned()) };
    if !is_plain(program) {
        return Err(not_plain(program));
    }
    if words.len() > MAX_WORDS || octets > MAX_WORDS_BYTES || words.iter().any(|word| word.contains('\0')) {
        return Err(format!("at most {MAX_WORDS} words of together {MAX_WORDS_BYTES} octets are expected"));
    }
    Ok(words)
}

fn not_plain(text: &impl Display) -> String {
    format!("{text} is no plain file name: up to 64 letters, digits, dots, hyphens and underscores, no dot first")
}

/// A file in a directory that the node names.
pub(in crate::catalogue) fn plain_file(text: &str) -> Result<String, String> {
    if is_plain(text) { Ok(text.to_owned()) } else { Err(not_plain(&text)) }
}

/// What a body must hold.
pub(in crate::catalogue) fn body_text(text: &str) -> Result<String, String> {
    if !(1..=MAX_BODY).contains(&text.len()) {
        return Err(format!("1 to {MAX_BODY} octets are expected"));
    }
    Ok(text.to_owned())
}

/// The name of a gRPC service.
pub(in crate::catalogue) fn grpc_service(text: &str) -> Result<String, String> {
    if text.len() > 255 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("the name of a service is expected, such as \"shop.v1.Orders\"".into());
    }
    Ok(text.to_owned())
}

/// The name of a query.
pub(in crate::catalogue) fn dns_name(text: &str) -> Result<String, String> {
    match Name::from_ascii(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("a DNS name is expected, such as \"example.com\"".into()),
    }
}

/// A request target in origin form (RFC 9112, section 3.2.1).
pub(in crate::catalogue) fn http_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') || text.len() > MAX_HTTP_TEXT || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("a path is expected: / and up to {MAX_HTTP_TEXT} visible ASCII characters"));
    }
    Ok(text.to_owned())
}

/// A Host field's value.
pub(in crate::catalogue) fn http_host(text: &str) -> Result<String, String> {
    let right = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']');
    if text.is_empty() || text.len() > 255 || !text.bytes().all(right) {
        return Err("a host name is expected, with a port or without".into());
    }
    Ok(text.to_owned())
}

/// First and last status that count as up.
pub(in crate::catalogue) fn status_range(first: u16, last: u16) -> Result<(u16, u16), String> {
    if !(100..=599).contains(&first) || !(first..=599).contains(&last) {
        return Err("two statuses from 100 to 599 are expected, the lower first: [200, 399]".into());
    }
    Ok((first, last))
}
