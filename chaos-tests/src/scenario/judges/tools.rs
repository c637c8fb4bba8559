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
//!
//! Who stands in for whom is the mesh's own choice, and on a busy machine there may be one more than the two nearest for a
//! while. So `@not-of-nyc` is a node that does not serve the cut `nyc`, and `%SERVERS(nyc)%` the number of those that do.

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
    let mut probes = read(text)?;
    for probe in &mut probes {
        for wanted in &mut probe.wanted {
            *wanted = counted(wanted, |cut| Ok(court.world.servers(cut)?.len()))?;
        }
        let mut command = Command::new(&program);
        for argument in &probe.arguments {
            command
                .arg(at(argument, |cut| court.world.servers(cut))?.replace("%ANCHOR%", &anchor.display().to_string()));
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

/// What is wanted, with the number of a cut's servers for `%SERVERS(cut)%`.
fn counted(wanted: &str, count: impl Fn(&str) -> Result<usize>) -> Result<String> {
    let Some((before, (cut, after))) =
        wanted.split_once("%SERVERS(").and_then(|(before, rest)| Some((before, rest.split_once(")%")?)))
    else {
        return Ok(wanted.to_owned());
    };
    Ok(format!("{before}{}{after}", count(cut)?))
}

/// An argument with the address of a host for its name; `servers` are those of a cut.
fn at(argument: &str, servers: impl Fn(&str) -> Result<Vec<&'static str>>) -> Result<String> {
    let Some(host) = argument.strip_prefix('@') else { return Ok(argument.to_owned()) };
    if host == "isp" {
        return Ok(format!("@{}", SEAT.address()));
    }
    if let Some(cut) = host.strip_prefix("not-of-") {
        let serving = servers(cut)?;
        let other = POPS.iter().find(|pop| !serving.contains(&pop.node));
        let other = other.with_context(|| format!("every node serves the cut {cut}"))?;
        return Ok(format!("@{}", other.address));
    }
    let (name, six) = host.strip_suffix('6').map_or((host, false), |name| (name, true));
    let pop = POPS.iter().find(|pop| pop.node == name).with_context(|| format!("no node {host}"))?;
    Ok(if six { format!("@{}", sixth(pop.address)) } else { format!("@{}", pop.address) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{at, counted, read};
    use anyhow::{Result, bail};

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
    }

    #[test]
    fn hosts_have_addresses_and_cuts_have_servers() {
        let servers = |cut: &str| -> Result<Vec<&'static str>> {
            match cut {
                "nyc" => Ok(vec!["fra", "nyc", "ohi"]),
                "all" => Ok(vec!["fra", "lon", "nyc", "ohi", "tyo"]),
                _ => bail!("no cut {cut}"),
            }
        };
        assert_eq!(at("@fra6", servers).unwrap(), "@fd00::10:49:0:2");
        assert_eq!(at("@nyc", servers).unwrap(), "@10.1.0.2");
        assert_eq!(at("@not-of-nyc", servers).unwrap(), "@10.44.0.2");
        for odd in ["@nobody", "@not-of-all", "@not-of-nobody"] {
            assert!(at(odd, servers).is_err(), "{odd}");
        }
        let count = |cut: &str| Ok(servers(cut)?.len());
        assert_eq!(counted("AUTHORITY: %SERVERS(nyc)%, x", count).unwrap(), "AUTHORITY: 3, x");
        assert_eq!(counted("AUTHORITY: 3", count).unwrap(), "AUTHORITY: 3");
        assert!(counted("%SERVERS(nobody)%", count).is_err());
    }
}
