//! What the host shows of a process and its limits: /proc, and the file system.

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::cli::doctor::judge::host::{Process, State};
use crate::config::{Config, TlsFiles};

/// What of a file of /proc is read; a table of all UDP sockets may be long.
const MAX_PROC: u64 = 4 << 20;

fn read(path: &str) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(MAX_PROC).read_to_string(&mut text).ok()?;
    Some(text)
}

/// A process.
pub(crate) fn process(pid: i32) -> Option<Process> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let limits = read(&format!("/proc/{pid}/limits")).unwrap_or_default();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok().map(|files| files.count() as u64);
    Some(Process { files: open_files(&limits), open, capabilities: capabilities(&status), groups: groups(&status) })
}

/// The soft limit of `Max open files`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The effective group, and the others.
fn groups(status: &str) -> Vec<u64> {
    let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
    let effective = of("Gid:").split_whitespace().nth(1).map(str::to_owned);
    effective
        .into_iter()
        .chain(of("Groups:").split_whitespace().map(str::to_owned))
        .filter_map(|id| id.parse().ok())
        .collect()
}

/// The groups that may open ICMP sockets.
pub(crate) fn ping_groups() -> Option<(u64, u64)> {
    let text = read("/proc/sys/net/ipv4/ping_group_range")?;
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// net.core.rmem_max. It is not shown inside a network namespace.
pub(crate) fn buffer() -> Option<u64> {
    read("/proc/sys/net/core/rmem_max")?.trim().parse().ok()
}

/// Datagrams dropped at sockets of these ports.
pub(crate) fn dropped(listen: &[SocketAddr]) -> u64 {
    let tables = ["/proc/net/udp", "/proc/net/udp6"];
    tables.iter().filter_map(|path| read(path)).map(|table| dropped_in(&table, listen)).sum()
}

/// A line has the local address in its second column, as ADDRESS:PORT in hexadecimal, and its drops in the last.
fn dropped_in(table: &str, listen: &[SocketAddr]) -> u64 {
    let ports: Vec<u16> = listen.iter().map(SocketAddr::port).collect();
    let of_line = |line: &str| {
        let mut columns = line.split_whitespace();
        let local = columns.nth(1)?;
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        // Loopback has one port for many: the address counts there.
        let of_v4 = |at: &SocketAddr| match at.ip() {
            std::net::IpAddr::V4(v4) => {
                local.len() != 13 || v4.is_unspecified() || {
                    let octets = v4.octets();
                    local.starts_with(&format!("{:08X}", u32::from_le_bytes(octets)))
                }
            }
            std::net::IpAddr::V6(_) => local.len() != 13,
        };
        (ports.contains(&port) && listen.iter().any(of_v4)).then_some(())?;
        columns.last()?.parse::<u64>().ok()
    };
    table.lines().skip(1).filter_map(of_line).sum()
}

/// The state directory's file system.
pub(crate) fn state(path: &Path) -> State {
    State { path: path.to_owned(), free: free(path) }
}

fn free(path: &Path) -> Result<(u64, f64), String> {
    let found = nix::sys::statvfs::statvfs(path).map_err(|error| error.to_string())?;
    let free = found.blocks_available().saturating_mul(found.fragment_size());
    // Some file systems have no inodes of their own, and count none.
    let inodes = match found.files() {
        0 => 1.0,
        all => found.files_available() as f64 / all as f64,
    };
    Ok((free, inodes))
}

/// Secrets that others may read, and files that are named and cannot be read.
pub(crate) fn files(config: &Config) -> (Vec<PathBuf>, Vec<(PathBuf, String)>) {
    let key = config.node.state_dir.join("node.key");
    let api = config.admin.tls.iter().map(|tls| tls.key.clone()).chain(config.admin.tokens.clone());
    let secrets = config.dns_a.keys.iter().map(|key| key.secret.clone()).chain(api).chain([key]);
    let (mut loose, mut missing) = (Vec::new(), Vec::new());
    for path in secrets {
        match fs::metadata(&path) {
            Ok(found) if found.permissions().mode() & 0o077 != 0 => loose.push(path),
            Ok(_) => {}
            Err(error) => missing.push((path, error.kind().to_string())),
        }
    }
    for path in config.networks.iter().chain(&config.mesh.certificate) {
        if let Err(error) = fs::File::open(path) {
            missing.push((path.clone(), error.kind().to_string()));
        }
    }
    (loose, missing)
}

/// When the certificate of the API ends, in seconds since 1970; or why that is not known.
pub(crate) fn certificate(tls: &TlsFiles) -> (PathBuf, Result<i64, String>) {
    let read = || {
        let mut pem = Vec::new();
        let file = fs::File::open(&tls.certificate).map_err(|error| error.to_string())?;
        file.take(MAX_PROC).read_to_end(&mut pem).map_err(|error| error.to_string())?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).map_err(|_| "it is no PEM".to_owned())?;
        let (_, certificate) =
            x509_parser::parse_x509_certificate(&pem.contents).map_err(|_| "it is no certificate".to_owned())?;
        Ok(certificate.validity().not_after.timestamp())
    };
    (tls.certificate.clone(), read())
}

/// The process behind a Unix socket.
pub(crate) async fn behind(socket: &Path) -> Option<i32> {
    let stream = tokio::net::UnixStream::connect(socket).await.ok()?;
    stream.peer_cred().ok()?.pid().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_its_files() {
        let limits =
            "Limit  Soft  Hard  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(open_files(limits), Some(1024));
        let status = "Name:\tnigh\nGid:\t1\t2\t2\t2\nGroups:\t4 27\nCapEff:\t0000000000002400\n";
        assert_eq!(capabilities(status), Some((1 << 13) | (1 << 10)));
        assert_eq!(groups(status), [2, 4, 27]);
        assert_eq!(open_files("nonsense"), None);
    }

    #[test]
    fn drops_are_counted_for_our_sockets_alone() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            1: 0100007F:0035 00000000:0000 07 0:0 00:0 0 0 0 12 2 0 7\n\
            2: 0200007F:0035 00000000:0000 07 0:0 00:0 0 0 0 12 2 0 100\n\
            3: 0100007F:0036 00000000:0000 07 0:0 00:0 0 0 0 12 2 0 100\n";
        let at = |text: &str| -> Vec<SocketAddr> { text.parse().into_iter().collect() };
        assert_eq!(dropped_in(table, &at("127.0.0.1:53")), 7);
        assert_eq!(dropped_in(table, &at("0.0.0.0:53")), 107);
        assert_eq!(dropped_in(table, &[]), 0);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let me = process(std::process::id().try_into().unwrap_or_default());
        assert!(me.is_some_and(|me| me.files.is_some() && me.capabilities.is_some()));
    }
}
