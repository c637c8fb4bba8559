//! The sockets that DNS is answered on: taken over from the last process of the unit, or bound.
//!
//! **Invariant:** an address that is listened on is served by every socket that is bound to it. The kernel shares packets
//! out among all of them, so one that was inherited and left lying would swallow its part: what the configuration does not
//! name any more is closed, here and where it is kept.

use std::net::{SocketAddr, UdpSocket};

use anyhow::Context;
use nigh_dns::{Handler, Tapper};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::config::Config;
use crate::service_manager::{Inherited, ServiceManager, borrowed, name};

/// Receive buffer of a UDP socket: the default of 208 KiB holds 2 ms of a burst at full speed.
const UDP_BUFFER: usize = 4 << 20;
/// Threads that answer on one address. More only wait for the same network card.
const MOST_ANSWERERS: usize = 16;
/// TCP connections waiting to be taken.
const TCP_BACKLOG: i32 = 512;

/// Opens all addresses, or takes them over, and has the service manager keep them for the next process.
///
/// # Errors
/// An address that cannot be bound, with what to do.
pub fn open(
    listen: &[SocketAddr],
    mut inherited: Inherited,
    manager: &ServiceManager,
) -> anyhow::Result<(Vec<UdpSocket>, Vec<TcpListener>)> {
    let mut sockets = (Vec::new(), Vec::new());
    for address in listen {
        let help = |error: std::io::Error| {
            let what = remedy(error.kind());
            anyhow::Error::new(error).context(format!("cannot listen on {address} for DNS; {what}"))
        };
        let here = |socket: &mut UdpSocket| socket.local_addr().is_ok_and(|at| at == *address);
        let mut udp_sockets: Vec<UdpSocket> = inherited.udp.extract_if(.., here).collect();
        let taken_over = udp_sockets.len();
        match taken_over {
            0 => udp_sockets = udp(*address).map_err(help)?,
            // The host may have more cores than it had. The old sockets serve without new ones, only less in parallel.
            some => udp_sockets.extend((some..answerers()).map_while(|_| one_udp(*address, true).ok())),
        }
        let bound = udp_sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(*address);
        manager.keep(&name("udp", bound), &borrowed(&udp_sockets[taken_over..]));
        sockets.0.extend(udp_sockets);

        let here = |listener: &mut std::net::TcpListener| listener.local_addr().is_ok_and(|at| at == *address);
        let listener = match inherited.tcp.extract_if(.., here).next() {
            Some(listener) => listener,
            None => {
                let listener = tcp(*address).map_err(help)?;
                let bound = listener.local_addr().unwrap_or(*address);
                manager.keep(&name("tcp", bound), &borrowed(std::slice::from_ref(&listener)));
                listener
            }
        };
        listener.set_nonblocking(true).map_err(help)?;
        sockets.1.push(TcpListener::from_std(listener).map_err(help)?);
        if taken_over > 0 {
            tracing::info!(%address, sockets = taken_over, "taken over from the process before, with the questions that wait");
        }
    }
    for left in inherited.udp.iter().filter_map(|socket| socket.local_addr().ok()) {
        manager.forget(&name("udp", left));
    }
    for left in inherited.tcp.iter().filter_map(|listener| listener.local_addr().ok()) {
        manager.forget(&name("tcp", left));
    }
    Ok(sockets)
}

/// Opens the addresses of the admin API, or takes them over; they are kept like those of the DNS.
///
/// # Errors
/// An address that cannot be bound, with what to do.
pub fn open_admin(
    listen: &[SocketAddr],
    inherited: &mut Inherited,
    manager: &ServiceManager,
) -> anyhow::Result<Vec<TcpListener>> {
    let mut open = |address: &SocketAddr| {
        let here = |listener: &mut std::net::TcpListener| listener.local_addr().is_ok_and(|at| at == *address);
        let listener = match inherited.tcp.extract_if(.., here).next() {
            Some(listener) => listener,
            None => {
                let listener = tcp(*address)?;
                manager.keep(&name("tcp", listener.local_addr()?), &borrowed(std::slice::from_ref(&listener)));
                listener
            }
        };
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    let mut listeners = Vec::new();
    for address in listen {
        listeners.push(open(address).map_err(|error| {
            let what = remedy(error.kind()).replace("dns.listen", "admin.listen");
            anyhow::Error::new(error).context(format!("cannot listen on {address} for the admin API; {what}"))
        })?);
    }
    Ok(listeners)
}

/// What to do when an address cannot be bound.
fn remedy(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    match kind {
        AddrInUse => {
            "another program answers there (`ss -lntup` names it; systemd-resolved keeps 127.0.0.53): stop it, or \
             name in dns.listen only the address that is this node's"
        }
        AddrNotAvailable => "the address is not this host's: correct dns.listen (`ip address` lists those that are)",
        PermissionDenied => {
            "a port below 1024 needs the capability CAP_NET_BIND_SERVICE: start nigh by its unit, or as root"
        }
        _ => "see what the system says",
    }
}

fn answerers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_ANSWERERS)
}

/// A socket for each core: the kernel shares the packets out among them.
fn udp(address: SocketAddr) -> std::io::Result<Vec<UdpSocket>> {
    // One that shares the port with nobody first: sockets that do would start beside another server's that does too, and
    // each would get a part of the questions.
    let alone = one_udp(address, false)?;
    let bound = alone.local_addr()?;
    drop(alone);
    (0..answerers()).map(|_| one_udp(bound, true)).collect()
}

fn one_udp(address: SocketAddr, shared: bool) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel gives what rmem_max allows; less is no reason not to answer.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER);
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn tcp(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of the last run that still linger must not keep this one from starting.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(TCP_BACKLOG)?;
    Ok(socket.into())
}

/// Has what is asked and answered shown to whoever `[dnstap]` names.
///
/// # Errors
/// Its file cannot be made.
pub fn tapped(handler: Handler, config: &Config) -> anyhow::Result<Handler> {
    let Some(dnstap) = &config.dnstap else { return Ok(handler) };
    let tapper = Tapper::start(dnstap.target.clone(), dnstap.sample, config.node.name.clone());
    Ok(handler
        .with_tap(tapper.with_context(|| format!("cannot write dnstap messages to {}", dnstap.path().display()))?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_was_kept_is_taken_over_and_what_is_left_is_closed() {
        let manager = ServiceManager::default();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (udp, tcp) = open(&[any], Inherited::default(), &manager).unwrap();
        assert_eq!(udp.len(), answerers());
        let at = udp[0].local_addr().unwrap();
        // As the service manager does: the same sockets, once more.
        let copy: Vec<UdpSocket> = udp.iter().map(|socket| socket.try_clone().unwrap()).collect();
        let other = UdpSocket::bind(any).unwrap();
        let elsewhere = other.local_addr().unwrap();
        drop((udp, tcp));
        UdpSocket::bind(any).unwrap().send_to(b"waits", at).unwrap();

        let mut inherited = Inherited { udp: copy, tcp: Vec::new() };
        inherited.udp.push(other);
        let (udp, tcp) = open(&[at], inherited, &manager).unwrap();
        assert_eq!((udp.len(), tcp.len()), (answerers(), 1));
        let waits = udp.iter().filter(|socket| {
            socket.set_nonblocking(true).unwrap();
            socket.recv(&mut [0; 8]).is_ok()
        });
        assert_eq!(waits.count(), 1, "the question between the two was lost");
        UdpSocket::bind(elsewhere).unwrap();
        let error = open(&[at], Inherited::default(), &manager).unwrap_err();
        assert!(format!("{error:#}").contains("Address already in use"), "{error:#}");
    }
}
