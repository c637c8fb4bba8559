//! Where a test's nodes run: a block 127.X.0.0/16 that no other test has, and a folder.
//!
//! A TCP socket listening on 127.X.0.1 is the lock of block X, as in `nigh demo`: the kernel gives it to one process and
//! takes it back however that process ends. Ports lie below the ephemeral range, so no outgoing socket sits on them.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use tempfile::TempDir;

/// Blocks to choose from; the demo and its tests have the ones below.
const BLOCKS: std::ops::RangeInclusive<u8> = 130..=229;
/// Port of the lock.
const LOCK: u16 = 29_077;
/// Where nodes answer DNS.
pub const DNS: u16 = 29_053;
/// Where nodes meet.
pub const MESH: u16 = 29_042;
/// Where origins answer.
pub const HTTP: u16 = 29_080;

/// A block, held until this is dropped.
pub struct Ground {
    x: u8,
    folder: TempDir,
    _lock: TcpListener,
}

impl Ground {
    /// Takes a free block.
    pub fn take() -> Self {
        for x in BLOCKS {
            match TcpListener::bind((Ipv4Addr::new(127, x, 0, 1), LOCK)) {
                // The paths of admin sockets are bounded to 107 bytes, so no long TMPDIR.
                Ok(lock) => return Self { x, folder: tempfile::tempdir_in("/tmp").unwrap(), _lock: lock },
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => panic!("127.{x}.0.1: {error}"),
            }
        }
        panic!("all blocks 127.{BLOCKS:?} are taken by other tests");
    }

    fn ip(&self, kind: u8, number: usize) -> IpAddr {
        Ipv4Addr::new(127, self.x, kind, 11 + u8::try_from(number).unwrap()).into()
    }

    /// Where a node answers DNS.
    pub fn dns(&self, node: usize) -> SocketAddr {
        (self.ip(0, node), DNS).into()
    }

    /// Where a node meets the others.
    pub fn mesh(&self, node: usize) -> SocketAddr {
        (self.ip(0, node), MESH).into()
    }

    /// An origin.
    pub fn origin(&self, origin: usize) -> SocketAddr {
        (self.ip(1, origin), HTTP).into()
    }

    /// The network of the resolvers near a node.
    pub fn network(&self, node: usize) -> String {
        format!("127.{}.{}.0/24", self.x, 100 + node)
    }

    /// A resolver near a node.
    pub fn resolver(&self, node: usize) -> IpAddr {
        self.ip(100 + u8::try_from(node).unwrap(), 42)
    }

    /// A file in the test's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Ground {
    #[allow(clippy::print_stderr, reason = "for whoever looks into a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("configurations, state and logs: {}", self.folder.path().display());
            self.folder.disable_cleanup(true);
        }
    }
}
