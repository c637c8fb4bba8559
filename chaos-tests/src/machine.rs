//! What this machine can do, found by trying it: a kernel without TUN or a container without rights shows here, not
//! halfway through a scenario.
//!
//! A test or scenario that cannot run says so and counts as passed, for a developer's laptop need not have all this.
//! With `CI=true` in the environment it counts as failed, for there nobody reads what was skipped.

use crate::bed::dns_a;
use crate::lab::{Run, netns, own_root, process};
use crate::{report, sys};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where Debian keeps daemons, which is not on everyone's PATH.
const DAEMON_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];
/// A program that cannot tell its version in this time will not serve a scenario.
const VERSION_PATIENCE: Duration = Duration::from_secs(10);

/// The Python of the system, which finds what Debian installs; the first on PATH may be another.
pub const PYTHON: &str = "/usr/bin/python3";

/// Something that a test or a scenario cannot do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// To be root.
    Root,
    /// To make network namespaces.
    Namespaces,
    /// To open TUN devices.
    Tun,
    /// BIND 9's `named`.
    Named,
    /// BIND 9's `dnssec-signzone`, and `dnssec-keygen` beside it.
    Signer,
    /// Knot DNS's `knotd`.
    Knotd,
    /// PowerDNS's `pdns_server`, with its SQLite backend.
    PdnsServer,
    /// `nsupdate` of BIND 9.
    Nsupdate,
    /// `unbound`.
    Unbound,
    /// PowerDNS Recursor.
    Pdns,
    /// Knot Resolver.
    Kresd,
    /// `nginx`.
    Nginx,
    /// `dig` of BIND 9.
    Dig,
    /// `delv` of BIND 9.
    Delv,
    /// `kdig` of Knot DNS.
    Kdig,
    /// `dnsviz`.
    Dnsviz,
    /// dnspython, for the Python of the system (see [`PYTHON`]).
    Dnspython,
    /// `zonemaster-cli`.
    Zonemaster,
    /// libfaketime, for wall clocks that jump.
    Faketime,
    /// Our own program at this path.
    Nigh(PathBuf),
}

impl Need {
    /// The name in tables.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Namespaces => "network namespaces",
            Self::Tun => "TUN devices",
            Self::Named => "bind9",
            Self::Signer => "bind9-utils",
            Self::Knotd => "knot",
            Self::PdnsServer => "pdns-server",
            Self::Nsupdate => "nsupdate",
            Self::Unbound => "unbound",
            Self::Pdns => "pdns-recursor",
            Self::Kresd => "knot-resolver",
            Self::Nginx => "nginx",
            Self::Dig => "dig",
            Self::Delv => "delv",
            Self::Kdig => "kdig",
            Self::Dnsviz => "dnsviz",
            Self::Dnspython => "dnspython",
            Self::Zonemaster => "zonemaster-cli",
            Self::Faketime => "faketime",
            Self::Nigh(_) => "nigh",
        }
    }

    /// Tries it: what was found, or what is missing and what to do about it.
    pub fn examine(&self) -> Result<String, String> {
        match self {
            Self::Root => match own_root::state() {
                Some(Ok(())) => Ok("in a user namespace of our own".to_owned()),
                Some(Err(why)) => Err(format!("not root, and {why}: run with sudo")),
                None if sys::is_root() => Ok("yes".to_owned()),
                None => Err("not root: run with sudo".to_owned()),
            },
            Self::Namespaces => in_a_namespace(|| Ok(())).map(|()| "can be made (ip netns)".to_owned()),
            Self::Tun => in_a_namespace(|| sys::open_tun("probe").map(drop))
                .map(|()| "can be opened".to_owned())
                .map_err(|error| format!("{error} (everybody may open /dev/net/tun where udev made it: mode 0666)")),
            Self::Named => packaged("named", "-v"),
            Self::Signer => packaged("dnssec-signzone", "-V"),
            Self::Knotd => packaged("knotd", "-V"),
            Self::PdnsServer if !Path::new(dns_a::SCHEMA).exists() => {
                Err("no pdns-backend-sqlite3: run chaos-tests/install-packages".to_owned())
            }
            Self::PdnsServer if program("pdns_server").is_none() => {
                Err("no pdns_server: run chaos-tests/install-packages".to_owned())
            }
            // The server itself tells its version as an error.
            Self::PdnsServer => packaged("pdnsutil", "--version"),
            Self::Nsupdate => packaged("nsupdate", "-V"),
            Self::Unbound => packaged("unbound", "-V"),
            Self::Pdns => packaged("pdns_recursor", "--version"),
            Self::Kresd => packaged("kresd", "-V"),
            Self::Nginx => packaged("nginx", "-v"),
            Self::Dig => packaged("dig", "-v"),
            Self::Delv => packaged("delv", "-v"),
            Self::Kdig => packaged("kdig", "-V"),
            // It is not asked for its version: it has no word for that.
            Self::Dnsviz => python("import dnsviz.commands.probe; print('dnsviz')"),
            Self::Dnspython => python("import dns.version; print('dnspython', dns.version.version)"),
            Self::Zonemaster => packaged("zonemaster-cli", "--version"),
            Self::Faketime => match faketime() {
                Some(library) => Ok(library.display().to_string()),
                None => Err("no libfaketime: run chaos-tests/install-packages".to_owned()),
            },
            Self::Nigh(path) => version(path, "--version").map_err(|error| {
                format!("{error}; build it with `cargo build --release -p nigh` or name it with --nigh PATH")
            }),
        }
    }
}

/// Finds a daemon of a Debian package.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(DAEMON_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// The library that gives a program a wall clock of its own.
pub fn faketime() -> Option<PathBuf> {
    let here = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    here.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.is_file())
}

/// What of `needs` is missing, each with what to do about it.
pub fn missing(needs: &[Need]) -> Vec<String> {
    needs.iter().filter_map(|need| need.examine().err().map(|reason| format!("{}: {reason}", need.label()))).collect()
}

/// Whether skipping is a failure here.
pub fn skipping_fails() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// For tests: whether `what` can run here; if not, says so (and panics with `CI=true`).
///
/// # Panics
/// If a need is missing and `CI=true`.
pub fn allows(what: &str, needs: &[Need]) -> bool {
    let missing = missing(needs);
    if missing.is_empty() {
        return true;
    }
    report::aside(&format!("SKIPPED, not tested: {what} ({})", missing.join("; ")));
    assert!(!skipping_fails(), "{what} was skipped, which CI=true forbids: {}", missing.join("; "));
    false
}

fn in_a_namespace(work: impl FnOnce() -> std::io::Result<()> + Send) -> Result<(), String> {
    let attempt = || -> anyhow::Result<()> {
        let run = Run::begin(false)?;
        let namespace = run.namespace("probe")?;
        Ok(netns::inside(namespace.name(), work)??)
    };
    attempt().map_err(|error| format!("{error:#}"))
}

fn packaged(name: &str, ask: &str) -> Result<String, String> {
    program(name)
        .ok_or_else(|| format!("no {name}: run chaos-tests/install-packages"))
        .and_then(|path| version(&path, ask))
}

fn python(ask: &str) -> Result<String, String> {
    saying(Path::new(PYTHON), &["-c", ask]).map_err(|error| format!("{error}; run chaos-tests/install-packages"))
}

fn version(path: &Path, ask: &str) -> Result<String, String> {
    saying(path, &[ask])
}

fn saying(path: &Path, arguments: &[&str]) -> Result<String, String> {
    let ask = arguments.join(" ");
    let mut command = Command::new(path);
    command.args(arguments);
    let said = process::run(command, VERSION_PATIENCE).map_err(|error| format!("{error:#}"))?;
    let text = if said.output.trim().is_empty() { said.errors } else { said.output };
    if !said.status.success() {
        return Err(format!("{} {ask} failed: {}", path.display(), text.trim()));
    }
    match text.lines().next().map(str::trim) {
        Some(first) if !first.is_empty() => Ok(first.to_owned()),
        _ => Err(format!("{} {ask} says nothing", path.display())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Need, missing, program};
    use std::path::PathBuf;

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let missing = missing(&[Need::Nigh(PathBuf::from("/nowhere/nigh"))]);
        assert_eq!(missing.len(), 1);
        assert!(missing[0].starts_with("nigh: starting /nowhere/nigh"), "{missing:?}");
        assert!(missing[0].contains("cargo build --release -p nigh"), "{missing:?}");
    }

    #[test]
    fn a_program_is_found_or_not() {
        assert!(program("sh").unwrap().is_file());
        assert_eq!(program("no-such-program-anywhere"), None);
    }
}
