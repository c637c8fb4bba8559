//! The ground a demo stands on: one block 127.X.0.0/16 and four ports that nobody else uses, and a private folder.
//!
//! Two demos at the same time must not meet. A TCP socket listening on 127.X.0.1 is the lock of block X: the kernel
//! gives it to one process, for all users, and takes it back however that process ends. Rejected: a lock file, which
//! outlives its owner, is blind to other users' folders, and says nothing about ports.
//! Having the lock, every address and port of the plan is bound once: somebody else's server on 0.0.0.0 shows here, with
//! its port in the message, and not as a node that dies.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::world::{City, Origin, Plan};

/// Blocks to choose from: as many demos may run at the same time.
const BLOCKS: std::ops::RangeInclusive<u8> = 77..=120;
/// Ports to choose from (DNS, mesh, HTTP, dashboards): below the ephemeral range, so that no outgoing socket sits on them.
const PORTS: [Ports; 4] = [
    (5300, 4242, 8080, 8053),
    (15_300, 14_242, 18_080, 18_053),
    (25_300, 24_242, 28_080, 28_053),
    (6353, 6242, 6080, 6053),
];
type Ports = (u16, u16, u16, u16);
/// Port of the lock.
const LOCK_PORT: u16 = 7677;
/// Longest path of a Unix socket on Linux, its closing zero not counted.
const MAX_SOCKET_PATH: usize = 107;

/// The block, held until this is dropped.
#[derive(Debug)]
pub struct Ground {
    /// Addresses and ports.
    pub plan: Plan,
    /// Blocks that other demos hold.
    pub passed: Vec<u8>,
    _lock: TcpListener,
}

impl Ground {
    /// Takes the first free block.
    pub fn take() -> anyhow::Result<Self> {
        Self::take_among(BLOCKS, &PORTS)
    }

    fn take_among(blocks: std::ops::RangeInclusive<u8>, ports: &[Ports]) -> anyhow::Result<Self> {
        let mut passed = Vec::new();
        let mut last = None;
        for x in blocks {
            let lock = match TcpListener::bind((Ipv4Addr::new(127, x, 0, 1), LOCK_PORT)) {
                Ok(lock) => lock,
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                    return Err(error).with_context(|| {
                        format!("cannot bind 127.{x}.0.1: the demo needs all of 127.0.0.0/8 on the loopback interface, as Linux has it")
                    });
                }
                Err(_) => {
                    passed.push(x);
                    continue;
                }
            };
            for &(dns_port, mesh_port, http_port, admin_port) in ports {
                let plan = Plan { x, dns_port, mesh_port, http_port, admin_port };
                match probe(&plan) {
                    Ok(()) => return Ok(Self { plan, passed, _lock: lock }),
                    Err(clash) => last = Some(clash),
                }
            }
        }
        match last {
            Some(clash) => {
                bail!("no free ports for the demo: {clash}; stop what listens there (see `ss -lntup`) and try again")
            }
            None => bail!("all {} blocks are taken by other demos: end one of them and try again", passed.len()),
        }
    }
}

/// Binds everything once and lets it go.
fn probe(plan: &Plan) -> Result<(), String> {
    for city in City::all() {
        let node = plan.node(city);
        udp(node, plan.dns_port)?;
        tcp(node, plan.dns_port)?;
        udp(node, plan.mesh_port)?;
        tcp(node, plan.mesh_port)?;
        tcp(node, plan.admin_port)?;
        udp(plan.resolver(city), 0)?;
    }
    Origin::all().try_for_each(|origin| tcp(plan.origin(origin), plan.http_port))
}

fn udp(address: IpAddr, port: u16) -> Result<(), String> {
    let socket = SocketAddr::new(address, port);
    UdpSocket::bind(socket).map(drop).map_err(|error| format!("UDP {socket}: {error}"))
}

fn tcp(address: IpAddr, port: u16) -> Result<(), String> {
    let socket = SocketAddr::new(address, port);
    TcpListener::bind(socket).map(drop).map_err(|error| format!("TCP {socket}: {error}"))
}

/// A private folder for keys, state, configurations, sockets and logs; removed at the end unless kept.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// Makes it, mode 0700, in the system's folder for temporary files.
    pub fn make() -> anyhow::Result<Self> {
        let name = format!(
            "nigh-demo-{}-{:08x}",
            std::process::id(),
            getrandom::u32().context("no randomness from the system")?
        );
        let mut path = std::env::temp_dir().join(&name);
        // A long TMPDIR would make every admin socket's path too long; /tmp is there on every Linux.
        if path.join("xxx.sock").as_os_str().len() > MAX_SOCKET_PATH {
            path = Path::new("/tmp").join(&name);
        }
        fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| {
            format!("cannot make {} (set TMPDIR to a folder that you may write to)", path.display())
        })?;
        Ok(Self { path, keep: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it in place at the end.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            fs::remove_dir_all(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    // Blocks and ports of their own: a demo may be running beside the tests.
    const TEST_PORTS: [Ports; 2] = [(31_053, 31_042, 31_080, 31_085), (31_153, 31_142, 31_180, 31_185)];

    #[test]
    fn a_second_demo_takes_the_next_block_and_a_third_is_told() {
        let first = Ground::take_among(121..=122, &TEST_PORTS).unwrap();
        let second = Ground::take_among(121..=122, &TEST_PORTS).unwrap();
        assert_eq!((first.plan.x, second.plan.x, second.passed.clone()), (121, 122, vec![121]));
        let error = Ground::take_among(121..=122, &TEST_PORTS).unwrap_err().to_string();
        assert!(error.contains("all 2 blocks are taken"), "{error}");
        drop(first);
        assert_eq!(Ground::take_among(121..=122, &TEST_PORTS).unwrap().plan.x, 121);
    }

    #[test]
    fn somebody_elses_port_is_passed_over_or_named() {
        let squatter = UdpSocket::bind(("127.123.4.1", TEST_PORTS[0].0)).unwrap();
        let ground = Ground::take_among(123..=123, &TEST_PORTS).unwrap();
        assert_eq!(ground.plan.dns_port, TEST_PORTS[1].0);
        drop(ground);
        let error = Ground::take_among(123..=123, &TEST_PORTS[..1]).unwrap_err().to_string();
        assert!(error.contains(&squatter.local_addr().unwrap().to_string()), "{error}");
    }

    #[test]
    fn the_folder_is_private_and_goes_away_unless_kept() {
        let folder = Folder::make().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        drop(folder);
        assert!(!path.exists());
        let mut folder = Folder::make().unwrap();
        folder.keep();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(path.exists());
        fs::remove_dir(&path).unwrap();
    }
}
