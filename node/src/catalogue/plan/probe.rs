//! How servers are measured, in the words of a change.

use super::Fields;
use crate::catalogue::name;
use crate::measure::dns::code_word;
use crate::measure::target::{DEFAULT_BUDGET, ProbeKind, ProbeSpec, Probing, WebSpec};

pub(super) fn fields(probing: &Probing) -> Fields {
    let mut fields = of(&probing.health);
    if probing.budget != DEFAULT_BUDGET {
        fields.insert("budget", probing.budget.to_string());
    }
    if let Some(latency) = &probing.latency {
        let words: Vec<String> = of(latency).into_iter().map(|(field, value)| format!("{field} {value}")).collect();
        fields.insert("latency", words.join(" "));
    }
    fields
}

fn of(spec: &ProbeSpec) -> Fields {
    let time = |duration| humantime::format_duration(duration).to_string();
    let mut fields = Fields::from([
        ("interval", time(spec.interval)),
        ("timeout", time(spec.timeout)),
        ("rise", spec.rise.to_string()),
        ("fall", spec.fall.to_string()),
    ]);
    if spec.retries > 0 {
        fields.insert("retries", spec.retries.to_string());
    }
    let mut probe = spec.kind.as_str().to_owned();
    if spec.port > 0 {
        probe.push_str(&format!(" port {}", spec.port));
    }
    fields.insert("probe", probe);
    match &spec.kind {
        ProbeKind::Tcp | ProbeKind::Icmp => {}
        ProbeKind::Http(http) => {
            web(&mut fields, &http.web);
            let (first, last) = http.expect;
            fields.insert("path", http.path.clone());
            fields.insert("expect", format!("{first}-{last}"));
            fields.extend(http.web.http2.then(|| ("version", "2".to_owned())));
            fields.extend(http.body.as_ref().map(|body| ("body", format!("{body:?}"))));
        }
        ProbeKind::Grpc(grpc) => {
            web(&mut fields, &grpc.web);
            fields.extend(grpc.web.tls.is_some().then(|| ("tls", "yes".to_owned())));
            fields.extend((!grpc.service.is_empty()).then(|| ("service", grpc.service.clone())));
        }
        ProbeKind::Dns(dns) => {
            fields.insert("name", format!("{} {}", dns.name, name::mnemonic(dns.rtype)));
            fields.insert("rcode", code_word(dns.rcode));
        }
        ProbeKind::Command(words) => {
            fields.insert("command", words.join(" "));
        }
    }
    fields
}

fn web(fields: &mut Fields, web: &WebSpec) {
    fields.insert("host", web.host.clone());
    fields.extend(web.reuse.then(|| ("reuse", "yes".to_owned())));
    if let Some(tls) = &web.tls {
        fields.extend((!tls.verify).then(|| ("verify", "no".to_owned())));
        fields.extend(tls.ca.clone().map(|ca| ("ca", ca)));
    }
}
