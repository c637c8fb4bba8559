//! `[service.probe]`: how the servers of a service are measured.

use std::time::Duration;

use hickory_proto::rr::Name;

use super::{number, time};
use crate::catalogue::name;
use crate::config::document::{Section, all, optional};
use crate::measure::target::{MAX_COUNT, MAX_INTERVAL, MAX_TIMEOUT, MIN_INTERVAL, MIN_TIMEOUT, ProbeKind, ProbeSpec};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_RISE: u32 = 2;
const DEFAULT_FALL: u32 = 3;
const DEFAULT_EXPECT: (u16, u16) = (200, 399);
/// The longest path and host of a probe: they must fit a record beside everything else.
const MAX_HTTP_TEXT: usize = 1024;

pub(super) fn read(service: &Section<'_>, host: Option<&Name>) -> Option<ProbeSpec> {
    let keys = ["kind", "port", "path", "host", "expect", "interval", "timeout", "rise", "fall"];
    let section = service.section("probe", &keys);
    let kind = section.require("kind", "how servers are measured: kind = \"tcp\" or \"http\"").and_then(|item| {
        item.text(|text| match text {
            "tcp" | "http" => Ok(text == "http"),
            _ => Err("\"tcp\" or \"http\" is expected".to_owned()),
        })
    });
    let port =
        section.require("port", "the port to probe, such as port = 443").and_then(|item| number(&item, 1, u16::MAX));
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
    let rise = optional(section.get("rise"), DEFAULT_RISE, |item| number(item, 1, MAX_COUNT));
    let fall = optional(section.get("fall"), DEFAULT_FALL, |item| number(item, 1, MAX_COUNT));
    let kind = if kind? { http(&section, host) } else { tcp(&section) };
    Some(ProbeSpec { kind: kind?, port: port?, interval: interval?, timeout: timeout?, rise: rise?, fall: fall? })
}

fn tcp(section: &Section<'_>) -> Option<ProbeKind> {
    for key in ["path", "host", "expect"] {
        if let Some(item) = section.get(key) {
            item.fault("only a probe of kind \"http\" has this");
        }
    }
    Some(ProbeKind::Tcp)
}

fn http(section: &Section<'_>, host: Option<&Name>) -> Option<ProbeKind> {
    let path = optional(section.get("path"), "/".to_owned(), |item| item.text(http_path));
    let wild = host.is_some_and(Name::is_wildcard);
    let default_host = host.filter(|_| !wild).map(name::text).unwrap_or_default();
    if wild {
        section.require("host", "a wildcard is the name of no host; write which one to ask for");
    }
    let host = optional(section.get("host"), default_host, |item| item.text(http_host));
    let expect = optional(section.get("expect"), DEFAULT_EXPECT, |item| {
        let list = item.is_list().then(|| item.list());
        let bounds = all(&list.unwrap_or_default(), |item| number(item, 0, u16::MAX))?;
        let range = match bounds.as_slice() {
            [first, last] => status_range(*first, *last),
            _ => Err("two numbers are expected, the first and the last good status: [200, 399]".to_owned()),
        };
        range.map_err(|problem| item.fault(problem)).ok()
    });
    Some(ProbeKind::Http { path: path?, host: host?, expect: expect? })
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
