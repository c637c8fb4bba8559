//! The resolvers that this host uses, from `resolv.conf(5)`, and when they change.
//!
//! systemd-resolved writes its own stub (127.0.0.53) there and keeps the real list in a file beside it; then that one
//! counts. A local forwarder of another kind (dnsmasq at 127.0.0.1) is asked like any resolver: what it forwards to is
//! what its questions leave from.
//!
//! Changes are found by looking at the files' times, four times a second: two system calls each. Rejected: inotify, which watches
//! a file and not a name, and this one is replaced by renaming and behind symbolic links, each of which would need a
//! watch of its own.

use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::MAX_RESOLVERS;

/// Where the list is.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved keeps the servers that it asks itself.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// The addresses of its stub.
const STUBS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54))];
/// How often the files are looked at.
pub const LOOK: Duration = Duration::from_millis(250);
/// Bytes of a file that are read: the C library reads three servers, and comments may be long.
const LONGEST: u64 = 64 << 10;

/// Watches the list.
#[derive(Debug)]
pub struct System {
    file: PathBuf,
    behind: PathBuf,
    seen: Option<[Option<Mark>; 2]>,
}

/// What changes when a file does.
type Mark = (SystemTime, u64, u64);

impl System {
    /// Of this file.
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), behind: RESOLVED.into(), seen: None }
    }

    /// The resolvers, if a file changed since the last look; an error if the list cannot be read.
    pub fn look(&mut self) -> Option<Result<Vec<SocketAddr>, String>> {
        let marks = [mark(&self.file), mark(&self.behind)];
        if self.seen == Some(marks) {
            return None;
        }
        self.seen = Some(marks);
        let listed = match read(&self.file) {
            Ok(text) => servers(&text),
            Err(error) => return Some(Err(format!("cannot read {}: {error}", self.file.display()))),
        };
        if listed.iter().any(|address| STUBS.contains(address))
            && let Ok(text) = read(&self.behind)
        {
            let real: Vec<IpAddr> = servers(&text).into_iter().filter(|address| !STUBS.contains(address)).collect();
            if !real.is_empty() {
                return Some(Ok(at_port(real)));
            }
        }
        Some(Ok(at_port(listed)))
    }
}

fn at_port(addresses: Vec<IpAddr>) -> Vec<SocketAddr> {
    addresses.into_iter().take(MAX_RESOLVERS).map(|address| SocketAddr::new(address, 53)).collect()
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn mark(path: &Path) -> Option<Mark> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len(), meta.ino()))
}

/// The `nameserver` lines, each address once. Link-local addresses with a zone (`fe80::1%eth0`) are left out: they name a
/// home router, whose forwarding we would see all the same if it mattered.
fn servers(text: &str) -> Vec<IpAddr> {
    let mut servers: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok()).map(|address| address.to_canonical());
        servers.extend(address.filter(|address| !address.is_unspecified() && !servers.contains(address)));
    }
    servers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn look(system: &mut System) -> Option<Vec<String>> {
        Some(system.look()?.unwrap().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_list_is_read_and_read_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        fs::write(&file, "# by hand\nnameserver 10.0.0.1\nsearch example.com\n nameserver\t2001:db8::53 # 2\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver x\n").unwrap();
        let mut system = System::new(&file);
        system.behind = dir.path().join("none");
        assert_eq!(look(&mut system).unwrap(), ["10.0.0.1:53", "[2001:db8::53]:53"]);
        assert_eq!(look(&mut system), None, "nothing has changed");
        let new = dir.path().join("new");
        fs::write(&new, "nameserver 10.0.0.2\n").unwrap();
        fs::rename(&new, &file).unwrap();
        assert_eq!(look(&mut system).unwrap(), ["10.0.0.2:53"]);
        fs::remove_file(&file).unwrap();
        assert!(system.look().unwrap().unwrap_err().contains("cannot read"));
    }

    #[test]
    fn behind_the_stub_of_systemd_resolved_is_the_real_list() {
        let dir = tempfile::tempdir().unwrap();
        let (file, behind) = (dir.path().join("resolv.conf"), dir.path().join("behind"));
        fs::write(&file, "nameserver 127.0.0.53\noptions edns0\n").unwrap();
        let mut system = System::new(&file);
        system.behind = behind.clone();
        assert_eq!(look(&mut system).unwrap(), ["127.0.0.53:53"], "the stub forwards too, if there is nothing else");
        fs::write(&behind, "nameserver 192.0.2.53\nnameserver 192.0.2.54\n").unwrap();
        assert_eq!(look(&mut system).unwrap(), ["192.0.2.53:53", "192.0.2.54:53"]);
        // Another forwarder on this host is a resolver like any.
        fs::write(&file, "nameserver 127.0.0.1\n").unwrap();
        assert_eq!(look(&mut system).unwrap(), ["127.0.0.1:53"]);
    }

    proptest! {
        #[test]
        fn no_file_is_too_odd(text: String, lines in prop::collection::vec("nameserver [0-9a-f.:%]{0,20}", 0..100)) {
            let _ = servers(&text);
            let servers = servers(&lines.join("\n"));
            prop_assert!(at_port(servers).len() <= MAX_RESOLVERS);
        }
    }
}
