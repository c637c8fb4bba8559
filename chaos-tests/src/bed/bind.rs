//! BIND 9 as a DNS-ISP. (As a name server it is in [`super::named`].)

use super::resolver::{Manner, Resolver, Task};
use super::{runnable, write};
use anyhow::Result;
use std::process::Command;

/// BIND 9. It minimises names by default (relaxed) and makes negative answers from NSEC records when it validates.
#[derive(Clone, Copy, Debug)]
pub struct Bind;

impl Resolver for Bind {
    fn name(&self) -> &'static str {
        "bind"
    }

    fn lacks(&self, manner: &Manner) -> Option<&'static str> {
        match manner {
            Manner { client_subnet: Some(_), .. } => Some("its free edition sends no client subnet"),
            manner if manner.is_a_farm() => Some("it has one source address of each family"),
            Manner { random_case: true, .. } => Some("it does not vary the case of letters"),
            _ => None,
        }
    }

    fn prepare(&self, task: &Task<'_>) -> Result<Command> {
        let configuration = task.directory.join("resolver.conf");
        write(&configuration, &text(task))?;
        let mut command = Command::new(runnable("named", task.directory)?);
        if task.manner.sources.is_empty() {
            command.arg(if task.address.is_ipv4() { "-4" } else { "-6" });
        }
        command.args(["-g", "-n", "1", "-c"]).arg(configuration);
        Ok(command)
    }
}

fn text(task: &Task<'_>) -> String {
    let Task { directory, address, root_hints, manner } = task;
    let Manner { routed, sources, tcp, udp_size, strict_minimisation, anchor, .. } = manner;
    let six = if address.is_ipv4() { "" } else { "-v6" };
    let validation = if anchor.is_some() { "yes" } else { "no" };
    let mut text = format!(
        r#"options {{
    directory "{directory}";
    listen-on{six} {{ {address}; }};
    pid-file none;
    lock-file none;
    session-keyfile "{directory}/session.key";
    recursion yes;
    allow-query {{ any; }};
    allow-recursion {{ any; }};
    dnssec-validation {validation};
    empty-zones-enable no;
"#,
        directory = directory.display(),
    );
    for source in sources {
        let six = if source.is_ipv4() { "" } else { "-v6" };
        text.push_str(&format!("    query-source{six} address {source};\n"));
    }
    if !routed && sources.is_empty() {
        text.push_str(&format!("    query-source{six} address {address};\n"));
    }
    if let Some(size) = udp_size {
        text.push_str(&format!("    edns-udp-size {size};\n"));
    }
    if *strict_minimisation {
        text.push_str("    qname-minimization strict;\n");
    }
    text.push_str(&format!("}};\ncontrols {{ }};\nzone \".\" {{ type hint; file \"{}\"; }};\n", root_hints.display()));
    if *tcp {
        let all = if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        text.push_str(&format!("server {all} {{ tcp-only yes; }};\n"));
    }
    if let Some(anchor) = anchor {
        let (tag, algorithm, kind) = (anchor.tag, anchor.algorithm, anchor.kind);
        let (zone, digest) = (&anchor.zone, &anchor.digest);
        text.push_str(&format!("trust-anchors {{ \"{zone}\" static-ds {tag} {algorithm} {kind} \"{digest}\"; }};\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::bed::resolver::assert_told;

    #[test]
    fn it_is_told_what_it_is_to_do() {
        let plain = ["query-source address 10.0.0.9;", "listen-on { 10.0.0.9; };", "dnssec-validation no;"];
        let everything = [
            "server ::/0 { tcp-only yes; };",
            "edns-udp-size 512;",
            "qname-minimization strict;",
            "listen-on-v6 { fd00::9; };",
            "dnssec-validation yes;",
            "trust-anchors { \"lab.\" static-ds 1 13 2 \"AB\"; };",
        ];
        assert_told(text, &plain, &everything, "query-source");
    }
}
