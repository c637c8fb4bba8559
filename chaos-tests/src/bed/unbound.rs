//! unbound as a DNS-ISP.

use super::resolver::{Resolver, Task};
use super::{runnable, write};
use anyhow::Result;
use std::process::Command;

/// unbound at its defaults, without validation (the private root is not signed).
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
    let (directory, hints, address) = (task.directory.display(), task.root_hints.display(), task.address);
    format!(
        r#"server:
    directory: "{directory}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    interface: {address}
    outgoing-interface: {address}
    access-control: {address}/32 allow
    do-ip6: no
    root-hints: "{hints}"
    module-config: "iterator"
remote-control:
    control-enable: no
"#
    )
}
