//! dig, kdig and delv, whose command lines and what must stand in their output are text: `dig.txt`, `kdig.txt`,
//! `delv.txt`.
//!
//! ```text
//! # A comment
//! nsid +norec +nsid @fra www.lb.lab A
//! + NSID:                     must stand in the output (several blanks count as one)
//! - status: SERVFAIL          must not
//! ```
//!
//! `@fra` is the address of a node, `@fra6` its IPv6 address, `@isp` that of a validating resolver, `%ANCHOR%` a file with
//! the anchor of `lab.` in BIND's form. What a tool warns of is a finding without being named, unless it is waited for.

use super::super::resolvers::places::{POPS, sixth};
use super::findings::Finding;
use super::{Court, SEAT};
use crate::machine;
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// A tool gives up by itself after some tries of some seconds.
const PATIENCE: Duration = Duration::from_secs(40);
/// Words of the three tools for something that is not as it should be.
const WARNINGS: [&str; 12] = [
    "warning",
    "mismatch",
    "malformed",
    "timed out",
    "connection refused",
    "no servers could be reached",
    "couldn't get address",
    "end of file",
    "invalid option",
    "unexpected",
    "got bad packet",
    "failed",
];

/// One command and what its output is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// A word for it.
    pub key: String,
    /// The arguments.
    pub arguments: Vec<String>,
    /// What must stand in the output.
    pub wanted: Vec<String>,
    /// What must not.
    pub unwanted: Vec<String>,
}

impl Probe {
    /// Everything in an output that is not as it should be.
    pub fn faults(&self, output: &str) -> Vec<String> {
        let output = squeezed(output);
        let mut faults = Vec::new();
        for wanted in self.wanted.iter().filter(|wanted| !output.contains(wanted.as_str())) {
            faults.push(format!("no `{wanted}`"));
        }
        for unwanted in self.unwanted.iter().filter(|unwanted| output.contains(unwanted.as_str())) {
            faults.push(format!("`{unwanted}`"));
        }
        for line in output.lines() {
            let lower = line.to_lowercase();
            let waited_for = self.wanted.iter().any(|wanted| line.contains(wanted.as_str()));
            if !waited_for && WARNINGS.iter().any(|warning| lower.contains(warning)) {
                faults.push(format!("`{line}`"));
            }
        }
        faults
    }
}

/// Reads a file of probes.
pub fn read(text: &str) -> Result<Vec<Probe>> {
    let mut probes: Vec<Probe> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((sign, rest)) = line.split_once(' ').filter(|(sign, _)| matches!(*sign, "+" | "-")) {
            let probe = probes.last_mut().with_context(|| format!("before the first command: {line}"))?;
            if sign == "+" { &mut probe.wanted } else { &mut probe.unwanted }.push(squeezed(rest));
            continue;
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let key = words.next().unwrap_or_default();
        if probes.iter().any(|probe| probe.key == key) {
            bail!("two commands are called {key}");
        }
        probes.push(Probe { key, arguments: words.collect(), ..Probe::default() });
    }
    match probes.iter().find(|probe| probe.wanted.is_empty()) {
        Some(probe) => bail!("nothing is wanted of {}", probe.key),
        None => Ok(probes),
    }
}

/// Runs of blanks within lines as one blank.
fn squeezed(text: &str) -> String {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

/// Runs all probes of a tool: how many, and what is not as it should be.
pub fn judge(court: &Court, tool: &str, text: &str) -> Result<(usize, Vec<Finding>)> {
    let program = machine::program(tool).with_context(|| format!("no {tool}: run chaos-tests/install-packages"))?;
    let anchor = court.world.bed.run().directory().join("judges.anchor");
    let key = &court.world.anchor;
    let said = format!(
        "trust-anchors {{ \"{}\" static-ds {} {} {} \"{}\"; }};\n",
        key.zone, key.tag, key.algorithm, key.kind, key.digest
    );
    fs::write(&anchor, said).with_context(|| format!("writing {}", anchor.display()))?;
    let mut found = Vec::new();
    let probes = read(text)?;
    for probe in &probes {
        let mut command = Command::new(&program);
        for argument in &probe.arguments {
            command.arg(at(argument)?.replace("%ANCHOR%", &anchor.display().to_string()));
        }
        let said = court.run(command, PATIENCE)?;
        let output = format!("{}\n{}", said.output, said.errors);
        let faults = probe.faults(&output);
        if !faults.is_empty() {
            found.push(Finding {
                code: probe.key.clone(),
                place: probe.arguments.join(" "),
                detail: format!("{}, in\n{}", faults.join("; "), output.trim()),
            });
        }
    }
    Ok((probes.len(), found))
}

/// An argument with the address of a host for its name.
fn at(argument: &str) -> Result<String> {
    let Some(host) = argument.strip_prefix('@') else { return Ok(argument.to_owned()) };
    if host == "isp" {
        return Ok(format!("@{}", SEAT.address()));
    }
    let (name, six) = host.strip_suffix('6').map_or((host, false), |name| (name, true));
    let pop = POPS.iter().find(|pop| pop.node == name).with_context(|| format!("no node {host}"))?;
    Ok(if six { format!("@{}", sixth(pop.address)) } else { format!("@{}", pop.address) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{at, read};

    const TEXT: &str = "# comment\nplain +norec @fra a.lab A\n+ status: NOERROR\n- flags: qr  ra\n";

    #[test]
    fn an_output_is_held_to_what_is_wanted_and_what_is_not() {
        let probe = &read(TEXT).unwrap()[0];
        assert_eq!((probe.key.as_str(), probe.arguments.len()), ("plain", 4));
        assert!(probe.faults(";; status:   NOERROR\n;; flags: qr aa").is_empty());
        for odd in ["", "status: NXDOMAIN", "status: NOERROR\n;; flags: qr ra"] {
            assert_eq!(probe.faults(odd).len(), 1, "{odd}");
        }
    }

    #[test]
    fn a_warning_is_a_fault_unless_it_is_waited_for() {
        let probes = read("a @fra\n+ NOERROR\nb @fra\n+ Warning: short\n").unwrap();
        assert_eq!(probes[0].faults("NOERROR\n;; Warning: short").len(), 1);
        assert!(probes[1].faults(";; Warning: short").is_empty());
        assert_eq!(probes[1].faults(";; Warning: short\n;; WARNING: long").len(), 1);
    }

    #[test]
    fn files_that_prove_nothing_are_refused() {
        for odd in ["+ x\n", "a @fra\n", "a @fra\n+ x\na @fra\n+ x\n"] {
            assert!(read(odd).is_err(), "{odd}");
        }
        assert_eq!(at("@fra6").unwrap(), "@fd00::10:49:0:2");
        assert_eq!(at("@nyc").unwrap(), "@10.1.0.2");
        assert!(at("@nobody").is_err());
    }
}
