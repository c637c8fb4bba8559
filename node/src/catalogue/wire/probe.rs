//! How servers are measured, as bytes.
//!
//! The first nine fields are those of the first version, which knew TCP and HTTP. What came later stands in `more`. A node
//! that does not know `more` measures by what it knows, a TCP connection to the same port, instead of losing the service;
//! only what has no port of TCP is left to newer nodes. A kind in `more` that *this* version does not know is treated in
//! the same way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::micros;
use crate::catalogue::file;
use crate::measure::target::{
    DEFAULT_BUDGET, DnsSpec, GrpcSpec, HttpSpec, MAX_BUDGET, ProbeKind, ProbeSpec, Probing, TlsSpec, WebSpec,
};

#[derive(Serialize, Deserialize)]
pub(super) struct ProbeBytes {
    /// What the first version is to do: 0 TCP, 1 HTTP, [`NOTHING`].
    kind: u8,
    port: u16,
    interval_us: u64,
    timeout_us: u64,
    rise: u32,
    fall: u32,
    /// HTTP only, as are the next two.
    path: String,
    host: String,
    expect: (u16, u16),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    more: Option<MoreBytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latency: Option<Box<ProbeBytes>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budget: Option<u32>,
}

/// A kind that the first version does not know, and leaves the service out for.
const NOTHING: u8 = 255;

#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
struct MoreBytes {
    /// See [`kinds`].
    kind: u8,
    #[serde(default)]
    retries: u32,
    /// 0 none, 1 checked, 2 not checked.
    #[serde(default)]
    tls: u8,
    #[serde(default)]
    http2: bool,
    #[serde(default)]
    reuse: bool,
    /// A file of authorities; empty: the system's.
    #[serde(default)]
    ca: String,
    /// HTTP: what the body must hold; empty: anything. gRPC: the service. DNS: the name.
    #[serde(default)]
    text: String,
    #[serde(default)]
    rtype: u16,
    #[serde(default)]
    rcode: u16,
    #[serde(default)]
    words: Vec<String>,
}

/// The numbers of kinds in [`MoreBytes`].
mod kinds {
    pub(super) const TCP: u8 = 0;
    pub(super) const HTTP: u8 = 1;
    pub(super) const GRPC: u8 = 2;
    pub(super) const ICMP: u8 = 3;
    pub(super) const DNS: u8 = 4;
    pub(super) const COMMAND: u8 = 5;
}

pub(super) fn encode(probing: &Probing) -> ProbeBytes {
    let latency = probing.latency.as_ref().map(|latency| Box::new(encode_spec(latency)));
    let budget = (probing.budget != DEFAULT_BUDGET).then_some(probing.budget);
    ProbeBytes { latency, budget, ..encode_spec(&probing.health) }
}

fn encode_spec(spec: &ProbeSpec) -> ProbeBytes {
    let mut more = MoreBytes { retries: spec.retries, ..MoreBytes::default() };
    let (mut path, mut host, mut expect) = (String::new(), String::new(), (0, 0));
    let mut web = |more: &mut MoreBytes, web: &WebSpec| {
        host.clone_from(&web.host);
        (more.http2, more.reuse) = (web.http2, web.reuse);
        more.tls = web.tls.as_ref().map_or(0, |tls| if tls.verify { 1 } else { 2 });
        more.ca = web.tls.as_ref().and_then(|tls| tls.ca.clone()).unwrap_or_default();
    };
    let first = match &spec.kind {
        ProbeKind::Tcp => 0,
        ProbeKind::Http(http) => {
            more.kind = kinds::HTTP;
            web(&mut more, &http.web);
            (path, expect) = (http.path.clone(), http.expect);
            more.text = http.body.clone().unwrap_or_default();
            u8::from(http.web.tls.is_none() && !http.web.http2)
        }
        ProbeKind::Grpc(grpc) => {
            more.kind = kinds::GRPC;
            web(&mut more, &grpc.web);
            more.text.clone_from(&grpc.service);
            0
        }
        ProbeKind::Icmp => {
            more.kind = kinds::ICMP;
            NOTHING
        }
        ProbeKind::Dns(dns) => {
            more.kind = kinds::DNS;
            more.text.clone_from(&dns.name);
            (more.rtype, more.rcode) = (dns.rtype, dns.rcode);
            0
        }
        ProbeKind::Command(words) => {
            more.kind = kinds::COMMAND;
            more.words.clone_from(words);
            NOTHING
        }
    };
    // What the first version can say in full is said as it did.
    let plain = MoreBytes { kind: first, ..MoreBytes::default() };
    ProbeBytes {
        kind: first,
        port: spec.port,
        interval_us: micros(spec.interval),
        timeout_us: micros(spec.timeout),
        rise: spec.rise,
        fall: spec.fall,
        path,
        host,
        expect,
        more: (more != plain).then_some(more),
        latency: None,
        budget: None,
    }
}

pub(super) fn decode(mut read: ProbeBytes) -> Result<Probing, String> {
    let budget = read.budget.take().unwrap_or(DEFAULT_BUDGET);
    if !(1..=MAX_BUDGET).contains(&budget) {
        return Err(format!("a budget of {budget} probes"));
    }
    let latency = read.latency.take().map(|latency| decode_spec(*latency)).transpose()?;
    Ok(Probing { health: decode_spec(read)?, latency, budget })
}

fn decode_spec(read: ProbeBytes) -> Result<ProbeSpec, String> {
    let more = read.more.unwrap_or(MoreBytes { kind: read.kind, ..MoreBytes::default() });
    let (tls, ca) = (more.tls, more.ca);
    let web = |host: &str, http2| {
        let ca = if ca.is_empty() { None } else { Some(file::plain_file(&ca)?) };
        let tls = match tls {
            0 => None,
            1 => Some(TlsSpec { verify: true, ca }),
            2 => Some(TlsSpec { verify: false, ca: None }),
            other => return Err(format!("TLS of kind {other}")),
        };
        Ok(WebSpec { host: file::http_host(host)?, tls, http2, reuse: more.reuse })
    };
    let kind = match more.kind {
        kinds::TCP => ProbeKind::Tcp,
        kinds::HTTP => ProbeKind::Http(HttpSpec {
            web: web(&read.host, more.http2)?,
            path: file::http_path(&read.path)?,
            expect: file::status_range(read.expect.0, read.expect.1)?,
            body: if more.text.is_empty() { None } else { Some(file::body_text(&more.text)?) },
        }),
        kinds::GRPC => {
            ProbeKind::Grpc(GrpcSpec { web: web(&read.host, true)?, service: file::grpc_service(&more.text)? })
        }
        kinds::ICMP => ProbeKind::Icmp,
        kinds::DNS => {
            ProbeKind::Dns(DnsSpec { name: file::dns_name(&more.text)?, rtype: more.rtype, rcode: more.rcode })
        }
        kinds::COMMAND => ProbeKind::Command(file::words_of(more.words)?),
        // A later version's: as the first version would, if it says so.
        _ if read.kind == 0 => ProbeKind::Tcp,
        other => return Err(format!("probe kind {other}")),
    };
    let portless = matches!(kind, ProbeKind::Icmp | ProbeKind::Command(_));
    let spec = ProbeSpec {
        kind,
        port: read.port,
        interval: Duration::from_micros(read.interval_us),
        timeout: Duration::from_micros(read.timeout_us),
        retries: more.retries,
        rise: read.rise,
        fall: read.fall,
    };
    if (spec.port == 0 && !portless) || spec != spec.clamped() {
        return Err("a probe beyond bounds".into());
    }
    Ok(spec)
}
