//! Tries the node's ports: asks where it answers, or binds where it will.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dns::{self, Manner};
use crate::cli::doctor::judge::ports::{Port, Purpose, Transport, Tried};
use crate::config::Config;

/// Until a connection to oneself counts as refused.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks a running node where it should answer. `zone` is one that it has.
pub(crate) async fn of_running(listen: &[SocketAddr], config: Option<&Config>, zone: &Name) -> Vec<Port> {
    let glue: Vec<SocketAddr> =
        config.iter().flat_map(|config| &config.dns.advertise).map(|address| SocketAddr::new(*address, 53)).collect();
    // A wildcard is asked at the addresses that others are told of.
    let stated = listen.iter().flat_map(|at| match at.ip().is_unspecified() {
        false => vec![*at],
        true => {
            let told = glue.iter().filter(|glue| glue.is_ipv4() == at.is_ipv4());
            let told: Vec<SocketAddr> = told.map(|glue| SocketAddr::new(glue.ip(), at.port())).collect();
            let own =
                if at.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]) };
            if told.is_empty() { vec![SocketAddr::new(own, at.port())] } else { told }
        }
    });
    let stated: Vec<SocketAddr> = stated.collect();
    let mut wanted: Vec<(SocketAddr, Purpose)> = stated.iter().map(|at| (*at, Purpose::Dns)).collect();
    // A node that listens on another port than 53 has it forwarded, or is a test.
    let forwarded = stated.iter().any(|at| at.port() == 53);
    wanted.extend(glue.iter().filter(|at| forwarded && !stated.contains(at)).map(|at| (*at, Purpose::Glue)));
    let mut ports = Vec::new();
    for (at, purpose) in wanted {
        for (transport, tcp) in [(Transport::Udp, false), (Transport::Tcp, true)] {
            let tried = match dns::ask(at, zone, RecordType::SOA, Manner { tcp, large: false }).await {
                Ok(told) => Tried::Reply(told.node),
                Err(why) => Tried::Nothing(why),
            };
            ports.push(Port { at, transport, purpose, tried });
        }
    }
    for at in config.iter().flat_map(|config| &config.mesh.listen).filter(|at| !at.ip().is_unspecified()) {
        let tried = match connect(*at).await {
            Ok(()) => Tried::Connected,
            Err(why) => Tried::Nothing(why),
        };
        ports.push(Port { at: *at, transport: Transport::Tcp, purpose: Purpose::Mesh, tried });
    }
    ports
}

/// Whether a TCP port takes connections.
pub(crate) async fn connect(at: SocketAddr) -> Result<(), String> {
    match timeout(PATIENCE, TcpStream::connect(at)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.kind().to_string()),
        Err(_) => Err("no reply".to_owned()),
    }
}

/// Binds, for a moment, what a node that does not run will bind.
pub(crate) fn of_stopped(config: &Config) -> Vec<Port> {
    let dns = config.dns.listen.iter().map(|at| (*at, Purpose::Dns));
    let mesh = config.mesh.listen.iter().map(|at| (*at, Purpose::Mesh));
    let mut ports = Vec::new();
    for (at, purpose) in dns.chain(mesh) {
        let tries =
            [(Transport::Udp, UdpSocket::bind(at).map(drop)), (Transport::Tcp, TcpListener::bind(at).map(drop))];
        for (transport, tried) in tries {
            let tried = tried.map_or_else(|error| Tried::NotFree(error.kind()), |()| Tried::Free);
            ports.push(Port { at, transport, purpose, tried });
        }
    }
    ports
}
