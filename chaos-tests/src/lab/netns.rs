//! Network namespaces, made with `ip netns` so that people can look into a running bed with `ip netns exec`.

use super::runs::RunGuard;
use crate::sys;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Where iproute2 keeps named namespaces.
const NAMED: &str = "/run/netns";

/// A network namespace of a run, deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// Keeps the run's record until the last namespace is gone.
    _run: Arc<RunGuard>,
}

impl Namespace {
    pub(super) fn create(name: String, run: Arc<RunGuard>) -> Result<Self> {
        ip(&["netns", "add", &name], None)?;
        Ok(Self { name, _run: run })
    }

    /// The name, as in `ip netns exec NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nobody to tell; what stays is cleared by the next run.
        drop(delete(&self.name));
    }
}

/// Deletes a namespace by name.
pub fn delete(name: &str) -> Result<()> {
    ip(&["netns", "delete", name], None)
}

/// The names of all namespaces on this machine.
pub fn all() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(NAMED) else {
        return Vec::new(); // none has been made since the machine started
    };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// An open handle on a namespace.
pub fn open(name: &str) -> Result<File> {
    let path = Path::new(NAMED).join(name);
    File::open(&path).with_context(|| format!("no network namespace {name} ({} is missing)", path.display()))
}

/// Runs `work` in a thread inside the namespace. Sockets that it makes stay there.
pub fn inside<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let namespace = open(name)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || sys::enter_network_namespace(&namespace).map(|()| work()));
        match thread.join() {
            Ok(entered) => entered.with_context(|| format!("entering network namespace {name} (needs root)")),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Runs commands of `ip` inside a namespace, all in one process.
pub fn configure(name: &str, commands: &[String]) -> Result<()> {
    ip(&["-n", name, "-batch", "-"], Some(&commands.join("\n")))
}

fn ip(arguments: &[&str], input: Option<&str>) -> Result<()> {
    let what = || format!("ip {}", arguments.join(" "));
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} (is iproute2 installed?)", what()))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // A broken pipe means that ip has ended, and it says why on stderr.
        drop(stdin.write_all(input.as_bytes()));
    }
    let output = child.wait_with_output().with_context(what)?;
    if !output.status.success() {
        bail!("{}: {}", what(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
