//! Where the node answers, and where others are told that it does.

use std::io::ErrorKind;
use std::net::SocketAddr;

use crate::cli::doctor::finding::{Area, Finding};

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The node listens there for DNS.
    Dns,
    /// It is in glue.
    Glue,
    /// The mesh's.
    Mesh,
}

/// How a port is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

impl Transport {
    fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// What came of trying a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// A reply, by the node of this name if it told.
    Reply(Option<String>),
    /// A connection was taken.
    Connected,
    /// Nothing, and why.
    Nothing(String),
    /// The node does not run: the port is free for it.
    Free,
    /// The node does not run, and could not have the port.
    NotFree(ErrorKind),
}

/// A port, and what came of trying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Where.
    pub(crate) at: SocketAddr,
    /// How.
    pub(crate) transport: Transport,
    /// What for.
    pub(crate) purpose: Purpose,
    /// What came.
    pub(crate) tried: Tried,
}

/// Judges ports. `me` is the node's name.
pub(crate) fn judge(ports: &[Port], me: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = ports.iter().filter_map(|port| fault(port, me)).collect();
    let listens: Vec<SocketAddr> =
        ports.iter().filter(|port| port.purpose == Purpose::Dns).map(|port| port.at).collect();
    if !listens.is_empty() && listens.iter().all(|at| at.port() != 53) {
        let port = listens.first().map_or(0, SocketAddr::port);
        findings.push(Finding::look(
            Area::Ports,
            format!("DNS is answered on port {port}, and resolvers ask port 53"),
            "listen on port 53, or have it forwarded",
        ));
    }
    if findings.is_empty() && !ports.is_empty() {
        let free = ports.iter().all(|port| port.tried == Tried::Free);
        let what = if free { "are free for the node" } else { "answer" };
        findings.push(Finding::ok(Area::Ports, format!("all {} of DNS and the mesh {what}", ports.len())));
    }
    findings
}

fn fault(port: &Port, me: &str) -> Option<Finding> {
    let Port { at, transport, purpose, tried } = port;
    let place = format!("{} port {} of {}", transport.as_str(), at.port(), at.ip());
    Some(match tried {
        Tried::Free | Tried::Connected => return None,
        Tried::Reply(Some(node)) if !me.is_empty() && node != me => Finding::bad(
            Area::Ports,
            format!("{place} is answered by {node}, not by {me}"),
            "give each node an address of its own, and correct dns.listen or dns.advertise",
        ),
        Tried::Reply(Some(_)) => return None,
        Tried::Reply(None) => Finding::bad(
            Area::Ports,
            format!("{place} is answered by a DNS server that is no node"),
            "find it (`ss -lntup`), and stop it or give the node another address",
        ),
        Tried::NotFree(kind) => Finding::bad(
            Area::Ports,
            format!("{place} cannot be the node's: {kind}"),
            match kind {
                ErrorKind::AddrInUse => {
                    "another program has it (`ss -lntup` names it; systemd-resolved keeps 127.0.0.53): stop it, or name other addresses in dns.listen"
                }
                ErrorKind::AddrNotAvailable => {
                    "the address is not this host's (`ip address` lists those that are): correct dns.listen or mesh.listen"
                }
                ErrorKind::PermissionDenied => {
                    "below 1024 the capability CAP_NET_BIND_SERVICE is needed: start nigh by its unit, and run this as root to tell"
                }
                _ => "see what the system says",
            },
        ),
        Tried::Nothing(why) => match purpose {
            Purpose::Dns | Purpose::Mesh => Finding::bad(
                Area::Ports,
                format!("{place} does not answer, though the node runs: {why}"),
                "look at the node's log, and at this host's packet filter (nft list ruleset)",
            ),
            Purpose::Glue => Finding::look(
                Area::Ports,
                format!("{place}, which resolvers are told of, does not answer from this host: {why}"),
                "try it from outside (dig @ADDRESS, with and without +tcp): open the port, or correct dns.advertise; some NATs do \
                 not let a host reach itself",
            ),
        },
    })
}
