//! unbound as a DNS-ISP.

use super::resolver::{Manner, Resolver, Task};
use super::{runnable, write};
use anyhow::Result;
use std::process::Command;

/// unbound. It minimises names by default, and has all that a [`Manner`] can ask for.
#[derive(Clone, Copy, Debug)]
pub struct Unbound;

impl Resolver for Unbound {
    fn name(&self) -> &'static str {
        "unbound"
    }

    fn prepare(&self, task: &Task<'_>) -> Result<Command> {
        let configuration = task.directory.join("unbound.conf");
        write(&configuration, &text(task))?;
        let mut command = Command::new(runnable("unbound", task.directory)?);
        command.arg("-d").arg("-c").arg(configuration);
        Ok(command)
    }
}

fn text(task: &Task<'_>) -> String {
    let Task { directory, address, root_hints, manner } = task;
    let Manner { routed, sources, tcp, udp_size, strict_minimisation, random_case, client_subnet, anchor } = manner;
    let speaks =
        |ipv4| if address.is_ipv4() == ipv4 || manner.sources_of(ipv4).next().is_some() { "yes" } else { "no" };
    let (v4, v6) = (speaks(true), speaks(false));
    let validator = if anchor.is_some() { "validator " } else { "" };
    let subnets = if client_subnet.is_some() { "subnetcache " } else { "" };
    let mut text = format!(
        r#"server:
    directory: "{directory}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    interface: {address}
    access-control: 10.0.0.0/8 allow
    access-control: fd00::/8 allow
    do-ip4: {v4}
    do-ip6: {v6}
    root-hints: "{hints}"
    module-config: "{subnets}{validator}iterator"
"#,
        directory = directory.display(),
        hints = root_hints.display(),
    );
    let mut say = |line: String| text.push_str(&format!("    {line}\n"));
    for source in sources {
        say(format!("outgoing-interface: {source}"));
    }
    if !routed && sources.is_empty() {
        say(format!("outgoing-interface: {address}"));
    }
    if *tcp {
        say("tcp-upstream: yes".to_owned());
    }
    if let Some(size) = udp_size {
        say(format!("edns-buffer-size: {size}"));
    }
    if *strict_minimisation {
        say("qname-minimisation-strict: yes".to_owned());
    }
    if *random_case {
        say("use-caps-for-id: yes".to_owned());
    }
    if let Some(zone) = client_subnet {
        say(format!("client-subnet-zone: \"{zone}\""));
        say("max-client-subnet-ipv4: 24".to_owned());
    }
    if let Some(anchor) = anchor {
        say(format!("trust-anchor: \"{anchor}\""));
        say("aggressive-nsec: yes".to_owned());
    }
    text.push_str("remote-control:\n    control-enable: no\n");
    text
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::bed::resolver::assert_told;

    #[test]
    fn it_is_told_what_it_is_to_do() {
        let plain = ["outgoing-interface: 10.0.0.9", "do-ip6: no", "module-config: \"iterator\""];
        let everything = [
            "tcp-upstream: yes",
            "edns-buffer-size: 512",
            "qname-minimisation-strict: yes",
            "use-caps-for-id: yes",
            "client-subnet-zone: \"lb.lab\"",
            "module-config: \"subnetcache validator iterator\"",
            "trust-anchor: \"lab. DS 1 13 2 AB\"",
            "do-ip4: no",
        ];
        assert_told(text, &plain, &everything, "outgoing-interface");
    }
}
