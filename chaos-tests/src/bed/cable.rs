//! A pair of veth devices between two hosts: a way beside the WAN for what one thread could not carry.
//!
//! Each end has a route to the other's own address, which is narrower than the WAN's and so goes before it.

use super::{Bed, Host};
use crate::lab::netns;
use crate::lab::process;
use anyhow::{Result, bail};
use std::process::Command;
use std::time::Duration;

/// Making a device takes no time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects two hosts. `beyond`: networks that `a` reaches through `b`. The device has the name `device` at both ends.
pub fn connect(bed: &Bed, device: &str, a: &Host, b: &Host, beyond: &[&str]) -> Result<()> {
    let (at_a, at_b) = (bed.space(&a.name)?.name(), bed.space(&b.name)?.name());
    let mut command = Command::new("ip");
    command.args(["link", "add", device, "netns", at_a, "type", "veth", "peer", "name", device, "netns", at_b]);
    let said = process::run(command, PATIENCE)?;
    if !said.status.success() {
        bail!("a cable from {} to {}: {}", a.name, b.name, said.errors.trim());
    }
    let end = |own: &Host, other: &Host| {
        [format!("link set {device} up"), format!("route add {}/32 dev {device} src {}", other.address, own.address)]
    };
    let mut commands = end(a, b).to_vec();
    commands.extend(beyond.iter().map(|network| format!("route add {network} via {} dev {device} onlink", b.address)));
    netns::configure(at_a, &commands)?;
    netns::configure(at_b, &end(b, a))
}
