//! Knot Resolver as a DNS-ISP.

use super::resolver::{Manner, Resolver, Task};
use super::{runnable, write};
use anyhow::Result;
use std::fs;
use std::process::Command;

/// What it says that it takes of its own clients by UDP, whatever it says to servers.
const FROM_CLIENTS: u16 = 4096;

/// Knot Resolver. It minimises names and varies the case of letters by default, and makes negative answers from NSEC
/// records when it validates.
#[derive(Clone, Copy, Debug)]
pub struct Kresd;

impl Resolver for Kresd {
    fn name(&self) -> &'static str {
        "kresd"
    }

    fn lacks(&self, manner: &Manner) -> Option<&'static str> {
        match manner {
            Manner { client_subnet: Some(_), .. } => Some("it sends no client subnet"),
            manner if manner.is_a_farm() => Some("it has one source address of each family"),
            _ => None,
        }
    }

    fn prepare(&self, task: &Task<'_>) -> Result<Command> {
        let configuration = task.directory.join("kresd.conf");
        write(&configuration, &text(task))?;
        // The cache is on disk and would survive a new start.
        let data = task.directory.join("data");
        drop(fs::remove_dir_all(&data));
        fs::create_dir_all(&data)?;
        let mut command = Command::new(runnable("kresd", task.directory)?);
        command.arg("-n").arg("-c").arg(configuration).arg(data);
        Ok(command)
    }
}

fn text(task: &Task<'_>) -> String {
    let Task { directory: _, address, root_hints, manner } = task;
    let Manner { routed, sources, tcp, udp_size, anchor, .. } = manner;
    let (other, own) = if address.is_ipv4() { ("ipv6", "v4") } else { ("ipv4", "v6") };
    let mut text = format!(
        r#"cache.size = 20 * MB
net.listen('{address}', 53, {{ kind = 'dns' }})
net.{other} = {both}
for _, name in ipairs({{ 'priming', 'detect_time_skew', 'ta_update', 'ta_signal_query' }}) do modules.unload(name) end
trust_anchors.remove('.')
modules = {{ hints = {{}} }}
hints.root_file('{hints}')
"#,
        hints = root_hints.display(),
        both = manner.sources_of(!address.is_ipv4()).next().is_some(),
    );
    for source in sources {
        let family = if source.is_ipv4() { "v4" } else { "v6" };
        text.push_str(&format!("net.outgoing_{family}('{source}')\n"));
    }
    if !routed && sources.is_empty() {
        text.push_str(&format!("net.outgoing_{own}('{address}')\n"));
    }
    if *tcp {
        text.push_str("policy.add(policy.all(policy.FLAGS('TCP')))\n");
    }
    if let Some(size) = udp_size {
        text.push_str(&format!("net.bufsize({FROM_CLIENTS}, {size})\n"));
    }
    if let Some(anchor) = anchor {
        text.push_str(&format!("trust_anchors.add('{anchor}')\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::bed::resolver::assert_told;

    #[test]
    fn it_is_told_what_it_is_to_do() {
        let plain = ["net.outgoing_v4('10.0.0.9')", "net.ipv6 = false", "net.listen('10.0.0.9', 53,"];
        let everything = [
            "net.ipv4 = false",
            "policy.FLAGS('TCP')",
            "net.bufsize(4096, 512)",
            "trust_anchors.add('lab. DS 1 13 2 AB')",
        ];
        assert_told(text, &plain, &everything, "net.outgoing_v6");
    }
}
