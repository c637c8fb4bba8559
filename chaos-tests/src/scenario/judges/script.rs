//! The checks with dnspython: `checks.py`, run by the Python of the system.
//!
//! It prints `FINDING code TAB place TAB detail` for each complaint and `DONE count` at its end; one that stops halfway
//! has no such line and is an error.

use super::super::resolvers::places::{DNS_A, POPS, ZONE, both};
use super::Court;
use super::findings::Finding;
use crate::machine::PYTHON;
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;
use std::time::Duration;

const SCRIPT: &str = include_str!("checks.py");
/// It asks several hundred questions on paths of up to a quarter of a second.
const PATIENCE: Duration = Duration::from_secs(240);

/// Runs the script: how many checks it made, and what it found.
pub fn judge(court: &Court) -> Result<(usize, Vec<Finding>)> {
    let script = court.world.bed.run().directory().join("checks.py");
    fs::write(&script, SCRIPT).with_context(|| format!("writing {}", script.display()))?;
    let mut command = Command::new(PYTHON);
    command.arg(&script).arg(ZONE);
    command.arg(both(DNS_A).map(|address| address.to_string()).join(","));
    for pop in &POPS {
        command.arg(format!("{}={}", pop.node, both(pop.address).map(|address| address.to_string()).join(",")));
    }
    if court.fast {
        command.arg("--fast");
    }
    let said = court.run(command, PATIENCE)?;
    if !said.status.success() {
        bail!("checks.py failed ({}): {}", said.status, said.errors.trim());
    }
    read(&said.output)
}

fn read(output: &str) -> Result<(usize, Vec<Finding>)> {
    let mut found = Vec::new();
    let mut done = None;
    for line in output.lines() {
        if let Some(rest) = line.strip_prefix("FINDING ") {
            let [code, place, detail] = rest.splitn(3, '\t').collect::<Vec<_>>()[..] else {
                bail!("checks.py said {line}");
            };
            found.push(Finding { code: code.to_owned(), place: place.to_owned(), detail: detail.to_owned() });
        } else if let Some(count) = line.strip_prefix("DONE ") {
            done = Some(count.parse().with_context(|| format!("checks.py said {line}"))?);
        }
    }
    Ok((done.context("checks.py did not come to its end")?, found))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::read;

    #[test]
    fn findings_are_read_and_an_early_end_is_an_error() {
        let (done, found) = read("FINDING nsid\tfra udp\tno NSID\nDONE 3\n").unwrap();
        assert_eq!((done, found[0].to_string().as_str()), (3, "nsid at fra udp: no NSID"));
        for odd in ["", "FINDING nsid\tfra\tx\n", "FINDING nsid\nDONE 3\n", "DONE x\n"] {
            assert!(read(odd).is_err(), "{odd}");
        }
    }
}
