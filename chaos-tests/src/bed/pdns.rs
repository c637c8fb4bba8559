//! PowerDNS Recursor as a DNS-ISP.

use super::resolver::{Manner, Resolver, Task};
use super::{runnable, write};
use anyhow::Result;
use std::process::Command;

/// PowerDNS Recursor. It minimises names by default and makes negative answers from NSEC records when it validates.
#[derive(Clone, Copy, Debug)]
pub struct Pdns;

impl Resolver for Pdns {
    fn name(&self) -> &'static str {
        "pdns"
    }

    fn lacks(&self, manner: &Manner) -> Option<&'static str> {
        match manner {
            Manner { tcp: true, .. } => Some("it asks by TCP only after a truncated answer"),
            Manner { random_case: true, .. } => Some("it does not vary the case of letters"),
            _ => None,
        }
    }

    fn prepare(&self, task: &Task<'_>) -> Result<Command> {
        write(&task.directory.join("recursor.conf"), &text(task))?;
        if let Some(anchor) = &task.manner.anchor {
            let (tag, algorithm, kind) = (anchor.tag, anchor.algorithm, anchor.kind);
            let (zone, digest) = (&anchor.zone, &anchor.digest);
            let lua = format!("clearTA()\naddTA('{zone}', '{tag} {algorithm} {kind} {digest}')\n");
            write(&task.directory.join("recursor.lua"), &lua)?;
        }
        let mut command = Command::new(runnable("pdns_recursor", task.directory)?);
        command.arg(format!("--config-dir={}", task.directory.display()));
        Ok(command)
    }
}

fn text(task: &Task<'_>) -> String {
    let Task { directory, address, root_hints, manner } = task;
    let Manner { routed, sources, udp_size, client_subnet, anchor, .. } = manner;
    let listed: Vec<String> = sources.iter().map(ToString::to_string).collect();
    let source = match (routed, address.is_ipv4()) {
        _ if !listed.is_empty() => listed.join(", "),
        (false, _) => address.to_string(),
        (true, true) => "0.0.0.0".to_owned(),
        (true, false) => "::".to_owned(),
    };
    let dnssec = if anchor.is_some() { "validate" } else { "off" };
    let mut text = format!(
        r#"daemon=no
write-pid=no
disable-syslog=yes
socket-dir={directory}
threads=1
pdns-distributes-queries=no
hint-file={hints}
local-address={address}
query-local-address={source}
allow-from=10.0.0.0/8, fd00::/8
dont-query=
security-poll-suffix=
dnssec={dnssec}
"#,
        directory = directory.display(),
        hints = root_hints.display(),
    );
    if let Some(size) = udp_size {
        text.push_str(&format!("edns-outgoing-bufsize={size}\n"));
    }
    if let Some(zone) = client_subnet {
        // Its default spares private addresses, and all of the bed's are.
        text.push_str(&format!("edns-subnet-allow-list={zone}\necs-add-for=0.0.0.0/0, ::/0\necs-ipv4-bits=24\n"));
    }
    if anchor.is_some() {
        text.push_str(&format!("lua-config-file={}/recursor.lua\n", directory.display()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::bed::resolver::assert_told;

    #[test]
    fn it_is_told_what_it_is_to_do() {
        let plain = ["query-local-address=10.0.0.9\n", "dnssec=off\n", "local-address=10.0.0.9\n"];
        let everything = [
            "query-local-address=::\n",
            "edns-outgoing-bufsize=512\n",
            "edns-subnet-allow-list=lb.lab\n",
            "dnssec=validate\n",
            "lua-config-file=",
        ];
        assert_told(text, &plain, &everything, "query-local-address=fd00");
    }
}
