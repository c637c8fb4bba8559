//! DNS-A as zone owners run it: BIND 9, Knot DNS or PowerDNS as the primary of a zone that is delegated in and of a zone of
//! origins, with a TSIG key for transfers and updates.

use super::stub::Stub;
use super::{Bed, START_PATIENCE, runnable, write};
use crate::lab::wait::{Look, until};
use crate::lab::{Daemon, process};
use crate::machine::PYTHON;
use anyhow::{Context, Result, bail};
use hickory_proto::rr::RecordType;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The key's name on all servers.
pub const KEY: &str = "mesh-key";
/// A tool that takes longer than this hangs.
const TOOL_PATIENCE: Duration = Duration::from_secs(30);
/// Where Debian puts the tables of PowerDNS's SQLite backend.
pub const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// BIND 9.
    Bind,
    /// Knot DNS.
    Knot,
    /// PowerDNS with SQLite.
    PowerDns,
}

/// A primary.
#[derive(Clone, Debug)]
pub struct Primary {
    /// The program; its word is its host in the bed.
    pub program: Program,
    /// That host.
    pub host: &'static str,
    /// Its address.
    pub address: Ipv4Addr,
    /// The zone that delegates, with the dot at the end.
    pub parent: &'static str,
    /// What it holds beside SOA and NS.
    pub delegated: String,
    /// Of both zones.
    pub serial: u32,
    /// The zone of origins.
    pub origin: &'static str,
    /// What it holds beside SOA and NS.
    pub origins: String,
}

impl Primary {
    /// Starts it with its zones, to tell these nodes of changes, and waits until it answers for both.
    pub fn start(&self, bed: &Bed, secret: &str, tell: &[Ipv4Addr]) -> Result<Daemon> {
        let directory = bed.run().host_directory(self.host)?;
        for (apex, records) in [(self.parent, &self.delegated), (self.origin, &self.origins)] {
            let timers = format!("{} 3600 600 86400 30", self.serial);
            let text = format!(
                "$TTL 3600\n{apex} SOA ns.{apex} hostmaster.{apex} {timers}\n{apex} NS ns.{apex}\nns.{apex} A {}\n{records}",
                self.address
            );
            write(&directory.join(format!("{apex}zone")), &text)?;
        }
        let command = match self.program {
            Program::Bind => self.bind(&directory, secret, tell)?,
            Program::Knot => self.knot(&directory, secret, tell)?,
            Program::PowerDns => self.powerdns(&directory, secret, tell)?,
        };
        let mut daemon = bed.daemon(self.host, "primary", command)?;
        let client = Stub::inside(bed.space(self.host)?, self.address)?;
        for zone in [self.parent, self.origin] {
            until(&format!("{} serves {zone}", self.host), START_PATIENCE, || {
                daemon.alive()?;
                Ok(match client.ask_once(zone, RecordType::SOA, Duration::from_millis(200)) {
                    Ok(reply) if reply.is_good() => Look::Done(()),
                    Ok(reply) => Look::NotYet(reply.code.to_string()),
                    Err(failure) => Look::NotYet(failure.to_string()),
                })
            })?;
        }
        Ok(daemon)
    }

    /// Throws away what its program remembers of earlier changes (journals, databases): the next start is from the text.
    pub fn forget(&self, bed: &Bed) -> Result<()> {
        let directory = bed.run().host_directory(self.host)?;
        let remembered =
            [format!("{}zone.jnl", self.parent), format!("{}zone.jnl", self.origin), "db".into(), "db.sqlite".into()];
        for path in remembered.iter().map(|name| directory.join(name)).filter(|path| path.exists()) {
            let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            gone.with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(())
    }

    /// Changes records of one of its zones as an operator would, with nsupdate.
    pub fn change(&self, bed: &Bed, secret: &str, zone: &str, lines: &[String]) -> Result<()> {
        let mut script = format!("server {}\nzone {zone}\n", self.address);
        for line in lines {
            let _ = writeln!(script, "update {line}");
        }
        script.push_str("send\n");
        let file = bed.run().host_directory(self.host)?.join("nsupdate.txt");
        write(&file, &script)?;
        let mut command = Command::new("nsupdate");
        command.args(["-t", "20", "-u", "5", "-y", &format!("hmac-sha256:{KEY}:{secret}")]).arg(&file);
        let said = process::run_inside(Some(bed.space(self.host)?), command, TOOL_PATIENCE)?;
        if !said.status.success() {
            bail!("nsupdate at {}: {} {}", self.host, said.output.trim(), said.errors.trim());
        }
        Ok(())
    }

    fn bind(&self, directory: &Path, secret: &str, tell: &[Ipv4Addr]) -> Result<Command> {
        let nodes: String = tell.iter().map(|node| format!("{node}; ")).collect();
        let (parent, origin, at) = (self.parent, self.origin, directory.display());
        let text = format!(
            r#"key "{KEY}" {{ algorithm hmac-sha256; secret "{secret}"; }};
options {{
    directory "{at}";
    listen-on {{ any; }};
    pid-file none;
    lock-file none;
    session-keyfile "{at}/session.key";
    recursion no;
    dnssec-validation no;
    notify explicit;
    notify-delay 0;
    allow-transfer {{ key {KEY}; }};
}};
controls {{ }};
zone "{parent}" {{ type primary; file "{parent}zone";
    update-policy {{ grant {KEY} name lb.{parent} NS; grant {KEY} subdomain lb.{parent} A AAAA; }}; }};
zone "{origin}" {{ type primary; file "{origin}zone"; also-notify {{ {nodes}}}; allow-update {{ key {KEY}; }}; }};
"#
        );
        write(&directory.join("named.conf"), &text)?;
        let mut command = Command::new(runnable("named", directory)?);
        command.args(["-g", "-n", "1", "-c"]).arg(directory.join("named.conf"));
        Ok(command)
    }

    fn knot(&self, directory: &Path, secret: &str, tell: &[Ipv4Addr]) -> Result<Command> {
        let (parent, origin, at) = (self.parent, self.origin, directory.display());
        let remote = |node: &Ipv4Addr| format!("  - id: n{node}\n    address: {node}\n    key: {KEY}\n");
        let remotes: String = tell.iter().map(remote).collect();
        let names: Vec<String> = tell.iter().map(|node| format!("n{node}")).collect();
        let text = format!(
            "server:\n    rundir: {at}\n    listen: {address}@53\nlog:\n  - target: stderr\n    any: info\n\
             database:\n    storage: {at}/db\n\
             key:\n  - id: {KEY}\n    algorithm: hmac-sha256\n    secret: {secret}\n\
             remote:\n{remotes}\
             acl:\n  - id: mesh\n    key: {KEY}\n    action: update\n    update-type: [NS, A, AAAA]\n    \
             update-owner: name\n    update-owner-match: sub-or-equal\n    update-owner-name: lb.{parent}\n\
             \x20 - id: transfers\n    key: {KEY}\n    action: [transfer, update]\n\
             zone:\n  - domain: {parent}\n    storage: {at}\n    file: {parent}zone\n    acl: mesh\n\
             \x20 - domain: {origin}\n    storage: {at}\n    file: {origin}zone\n    acl: transfers\n    \
             notify: [{names}]\n",
            address = self.address,
            names = names.join(", "),
        );
        // Knot makes its databases in a folder, and not the folder.
        fs::create_dir_all(directory.join("db")).context("making a folder for Knot's databases")?;
        write(&directory.join("knot.conf"), &text)?;
        let mut command = Command::new(runnable("knotd", directory)?);
        command.arg("-c").arg(directory.join("knot.conf"));
        Ok(command)
    }

    fn powerdns(&self, directory: &Path, secret: &str, tell: &[Ipv4Addr]) -> Result<Command> {
        let (parent, origin, at) = (self.parent, self.origin, directory.display());
        let text = format!(
            "launch=gsqlite3\ngsqlite3-database={at}/db.sqlite\ngsqlite3-pragma-synchronous=0\nlocal-address={}\nsocket-dir={at}\ndaemon=no\nguardian=no\n\
             dnsupdate=yes\nallow-dnsupdate-from=10.0.0.0/8\nprimary=yes\nsecurity-poll-suffix=\nslave-cycle-interval=1\n\
             # The names of a zone's own servers would be looked up through a resolver that this bed does not have, and\n\
             # updates wait for that.\nonly-notify=\n",
            self.address
        );
        write(&directory.join("pdns.conf"), &text)?;
        let script = format!(
            "import sqlite3; c = sqlite3.connect('{at}/db.sqlite'); c.executescript(open('{SCHEMA}').read()); c.commit()"
        );
        let mut tables = Command::new(PYTHON);
        tables.args(["-c", &script]);
        tool(tables)?;
        let util = |arguments: &[&str]| {
            let mut command = Command::new("pdnsutil");
            command.arg(format!("--config-dir={at}")).args(arguments);
            tool(command)
        };
        util(&["import-tsig-key", KEY, "hmac-sha256", secret])?;
        for zone in [parent, origin] {
            util(&["load-zone", zone, &format!("{at}/{zone}zone")])?;
            util(&["set-kind", zone, "primary"])?;
            util(&["set-meta", zone, "TSIG-ALLOW-DNSUPDATE", KEY])?;
        }
        util(&["set-meta", origin, "TSIG-ALLOW-AXFR", KEY])?;
        util(&["set-meta", origin, "NOTIFY-DNSUPDATE", "1"])?;
        let nodes: Vec<String> = tell.iter().map(ToString::to_string).collect();
        let mut also = vec!["set-meta", origin, "ALSO-NOTIFY"];
        also.extend(nodes.iter().map(String::as_str));
        util(&also)?;
        let mut command = Command::new(runnable("pdns_server", directory)?);
        command.arg(format!("--config-dir={at}"));
        Ok(command)
    }
}

fn tool(command: Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let said = process::run(command, TOOL_PATIENCE)?;
    if !said.status.success() {
        bail!("{name}: {} {}", said.output.trim(), said.errors.trim());
    }
    Ok(())
}
