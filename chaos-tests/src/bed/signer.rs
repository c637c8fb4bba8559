//! DNSSEC for a zone of the bed, with BIND's tools: an island of trust below the unsigned private root.

use super::named::ZoneFile;
use super::write;
use crate::lab::process;
use crate::machine;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A zone of some records is signed in well under a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A DS record: what a validating resolver is told to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The zone.
    pub zone: String,
    /// The key's tag.
    pub tag: u16,
    /// Its algorithm.
    pub algorithm: u8,
    /// The kind of digest.
    pub kind: u8,
    /// The digest in hexadecimal.
    pub digest: String,
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} DS {} {} {} {}", self.zone, self.tag, self.algorithm, self.kind, self.digest)
    }
}

/// Signs a zone (one key, NSEC) with files in a directory of its own; the signed zone and its anchor.
pub fn sign(zone: &ZoneFile, directory: &Path) -> Result<(ZoneFile, Anchor)> {
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    write(&directory.join("plain"), &zone.text)?;
    run("dnssec-keygen", directory, &["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", &zone.apex])?;
    run("dnssec-signzone", directory, &["-q", "-S", "-z", "-o", &zone.apex, "-f", "signed", "plain"])?;
    let text = fs::read_to_string(directory.join("signed")).context("reading the signed zone")?;
    let set = directory.join(format!("dsset-{}", zone.apex));
    let set = fs::read_to_string(&set).with_context(|| format!("reading {}", set.display()))?;
    Ok((ZoneFile { apex: zone.apex.clone(), text }, anchor(&set)?))
}

fn run(tool: &str, directory: &Path, arguments: &[&str]) -> Result<()> {
    let program = machine::program(tool).with_context(|| format!("no {tool}: run chaos-tests/install-packages"))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory);
    let said = process::run(command, PATIENCE)?;
    if !said.status.success() {
        bail!("{tool} failed ({}): {}", said.status, said.errors.trim());
    }
    Ok(())
}

/// Reads a DS record in presentation form; its digest may stand in several words.
fn anchor(set: &str) -> Result<Anchor> {
    let words: Vec<&str> = set.lines().next().unwrap_or_default().split_whitespace().collect();
    let at = words.iter().position(|word| *word == "DS").with_context(|| format!("no DS in {set:?}"))?;
    let (Some(zone), [tag, algorithm, kind, digest @ ..]) = (words.first(), words.get(at + 1..).unwrap_or_default())
    else {
        bail!("no whole DS record in {set:?}");
    };
    Ok(Anchor {
        zone: (*zone).to_owned(),
        tag: tag.parse()?,
        algorithm: algorithm.parse()?,
        kind: kind.parse()?,
        digest: digest.concat(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::anchor;

    #[test]
    fn an_anchor_is_read_from_what_the_signer_leaves() {
        let read = anchor("lab.\t\tIN DS 4242 13 2 AB01 CD\n").unwrap();
        assert_eq!(read.to_string(), "lab. DS 4242 13 2 AB01CD");
        for odd in ["", "lab. IN DS", "lab. IN DS x 13 2 AB"] {
            assert!(anchor(odd).is_err(), "{odd}");
        }
    }
}
