//! What the node and its service manager say to each other: systemd's notification protocol (sd_notify(3)).
//!
//! Told: that the node answers, that it stops, that its main loop still turns (the watchdog), and the DNS sockets, which
//! systemd keeps and hands to the next process of the unit. A question that comes between two processes then waits in a
//! socket, where it would be refused without one.
//!
//! **Invariant:** nothing here keeps a node from running. Without a service manager every call does nothing; one that
//! does not take a message costs that message.
//!
//! Rejected: a `.socket` unit (the addresses would stand in two files, and one socket of an address would have to do for
//! all threads), and `SO_REUSEPORT` by two processes at a time (questions in the old one's buffers are lost).

use std::env;
use std::io::{self, IoSlice};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Descriptors in one message: the kernel takes 253.
const MOST_AT_ONCE: usize = 128;
/// A beat comes at least this many times within the time that systemd waits for one.
const BEATS: u32 = 3;

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that the main loop turns.
    pub beat: Option<Duration>,
}

/// Sockets that the last process of this unit left.
#[derive(Debug, Default)]
pub struct Inherited {
    /// UDP.
    pub udp: Vec<UdpSocket>,
    /// TCP, listening.
    pub tcp: Vec<TcpListener>,
}

impl ServiceManager {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub fn from_env() -> Self {
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|path| match connect(path.as_bytes()) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, ?path, "the service manager cannot be told anything");
                None
            }
        });
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let beat = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0);
        Self { socket, beat: beat.map(|usec| Duration::from_micros(usec) / BEATS) }
    }

    /// The node answers, or waits for the operator and can do no more by itself.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"), &[]);
    }

    /// The node stops.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining", &[]);
    }

    /// The main loop turns.
    pub fn turning(&self) {
        if self.beat.is_some() {
            self.tell("WATCHDOG=1", &[]);
        }
    }

    /// Keeps sockets for the next process. Without `FDPOLL=0` an error that is pending on a socket would end the keeping.
    pub fn keep(&self, name: &str, sockets: &[BorrowedFd<'_>]) {
        for some in sockets.chunks(MOST_AT_ONCE) {
            self.tell(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}"), some);
        }
    }

    /// Keeps them no longer.
    pub fn forget(&self, name: &str) {
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[]);
    }

    fn tell(&self, message: &str, sockets: &[BorrowedFd<'_>]) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, message, sockets) {
            tracing::warn!(%error, message, "the service manager did not take a message");
        }
    }
}

fn connect(path: &[u8]) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match path.strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(std::ffi::OsStr::from_bytes(path))?,
    }
    // A manager that is stuck must not hold the main loop up.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn send(socket: &UnixDatagram, message: &str, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let rights = SendAncillaryMessage::ScmRights(sockets);
    let mut space = vec![std::mem::MaybeUninit::uninit(); rights.size()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(rights) {
        return Err(io::Error::other("too many sockets for one message"));
    }
    sendmsg(socket, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

impl Inherited {
    /// As the environment says (`LISTEN_FDS`, `LISTEN_PID`). What is none of ours is closed.
    pub fn from_env() -> Self {
        let mut handed = listenfd::ListenFd::from_env();
        let mut inherited = Self::default();
        for at in 0..handed.len() {
            if let Ok(Some(socket)) = handed.take_udp_socket(at) {
                inherited.udp.push(socket);
            } else if let Ok(Some(listener)) = handed.take_tcp_listener(at) {
                inherited.tcp.push(listener);
            } else {
                tracing::warn!(number = at, "the service manager handed over what is no socket of UDP or TCP");
            }
        }
        inherited
    }
}

/// What systemd keeps sockets under; it allows no colon in a name.
pub fn name(transport: &str, address: std::net::SocketAddr) -> String {
    format!("{transport}-{address}").replace(':', "_")
}

/// The descriptor of a socket, as [`ServiceManager::keep`] takes it.
pub fn borrowed<S: std::os::fd::AsFd>(sockets: &[S]) -> Vec<BorrowedFd<'_>> {
    sockets.iter().map(S::as_fd).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    /// A manager's ear, and what speaks into it.
    fn manager() -> (UnixDatagram, ServiceManager, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        ear.set_nonblocking(true).unwrap();
        let beat = Some(Duration::from_secs(1));
        (ear, ServiceManager { socket: Some(connect(path.as_os_str().as_bytes()).unwrap()), beat }, folder)
    }

    fn heard(ear: &UnixDatagram) -> (String, Vec<OwnedFd>) {
        let mut bytes = [0; 512];
        let mut space = [std::mem::MaybeUninit::uninit(); 1024];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got =
            recvmsg(ear.as_fd(), &mut [io::IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty()).unwrap();
        let sockets = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(sockets) => Some(sockets.collect::<Vec<_>>()),
                _ => None,
            })
            .flatten()
            .collect();
        (String::from_utf8(bytes[..got.bytes].to_vec()).unwrap(), sockets)
    }

    #[test]
    fn a_kept_socket_is_the_same_socket() {
        let (ear, manager, _folder) = manager();
        let mine = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = mine.local_addr().unwrap();
        manager.keep(&name("udp", at), &borrowed(std::slice::from_ref(&mine)));
        let (said, mut kept) = heard(&ear);
        assert_eq!(said, format!("FDSTORE=1\nFDPOLL=0\nFDNAME=udp-127.0.0.1_{}", at.port()));
        drop(mine);
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"waits", at).unwrap();
        let next = UdpSocket::from(kept.pop().unwrap());
        let mut bytes = [0; 16];
        assert_eq!(next.recv(&mut bytes).unwrap(), 5, "what came between two owners is there");
    }

    #[test]
    fn the_manager_hears_of_start_turns_and_end() {
        let (ear, manager, _folder) = manager();
        manager.ready("answering");
        manager.turning();
        manager.stopping();
        manager.forget("udp-x");
        let said: Vec<String> = (0..4).map(|_| heard(&ear).0).collect();
        let expected =
            ["READY=1\nSTATUS=answering", "WATCHDOG=1", "STOPPING=1\nSTATUS=draining", "FDSTOREREMOVE=1\nFDNAME=udp-x"];
        assert_eq!(said, expected);
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let manager = ServiceManager::default();
        manager.ready("");
        manager.keep("x", &[std::io::stdin().as_fd()]);
    }

    #[test]
    fn names_have_no_colon() {
        assert_eq!(name("tcp", "[2001:db8::1]:53".parse().unwrap()), "tcp-[2001_db8__1]_53");
    }
}
