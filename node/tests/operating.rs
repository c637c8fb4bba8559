//! What operators read and load is true: the reference is what the code says, the metrics are what Prometheus takes, the
//! alert rules and the dashboard ask for what there is, and the commands in the pages do what the pages say.
//!
//! A page of the reference that no longer fits is written anew with `NIGH_BLESS=1 cargo test -p nigh --test operating`;
//! then read the difference.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "operating/api.rs"]
mod api;
#[allow(dead_code)]
#[path = "processes/dns.rs"]
mod dns;
#[path = "operating/dnstap.rs"]
mod dnstap;
// Nodes as processes, which the tests of processes make too; not all that those need is needed here.
#[allow(dead_code)]
#[path = "processes/fleet.rs"]
mod fleet;
#[allow(dead_code)]
#[path = "processes/ground.rs"]
mod ground;
#[path = "operating/monitoring.rs"]
mod monitoring;
#[allow(dead_code)]
#[path = "processes/origins.rs"]
mod origins;
#[path = "operating/pages.rs"]
mod pages;
#[path = "operating/reference.rs"]
mod reference;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Where a program of the machine is; none: the test says so and passes, but in the gate.
#[allow(clippy::print_stderr, reason = "for whoever wonders what was tested")]
fn program(name: &str, package: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        let why = format!("{name} is not here (apt-get install {package}): what needs it is not tested");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
        eprintln!("skipped: {why}");
    }
    found
}
