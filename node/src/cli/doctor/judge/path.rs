//! What passes to the other nodes: questions at all, and datagrams of the size that replies may have.
//!
//! What is seen here is the way out. The way back is another's way out: run this there, too.

use std::net::SocketAddr;

use super::named;
use crate::cli::doctor::finding::{Area, Finding};

/// What came of asking a node.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The node.
    pub(crate) node: String,
    /// Where it answers.
    pub(crate) at: SocketAddr,
    /// The time that a plain question took; or why it came to nothing.
    pub(crate) plain: Result<f64, String>,
    /// What came of a question as large as the largest reply, not to be fragmented on the way.
    pub(crate) large: Result<(), String>,
    /// The largest packet that the host knows to pass.
    pub(crate) mtu: Option<u32>,
    /// The largest reply that it says it takes and sends.
    pub(crate) size: Option<u16>,
}

/// Judges the ways.
pub(crate) fn judge(asked: &[Asked]) -> Vec<Finding> {
    if asked.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let silent: Vec<String> = asked
        .iter()
        .filter_map(|at| Some(format!("{} at {} ({})", at.node, at.at, at.plain.as_ref().err()?)))
        .collect();
    if !silent.is_empty() {
        findings.push(Finding::look(
            Area::Path,
            format!("live nodes that do not answer DNS from here: {}", named(&silent)),
            "open UDP and TCP port 53 to them, from everywhere: any resolver may be sent to any node. A firewall between the \
             nodes alone does no harm",
        ));
    }
    let answering = asked.iter().filter(|at| at.plain.is_ok());
    let narrow: Vec<String> = answering
        .clone()
        .filter_map(|at| {
            let why = at.large.as_ref().err()?;
            let mtu = at.mtu.map(|mtu| format!(", path MTU {mtu}")).unwrap_or_default();
            Some(format!("{} at {} ({why}{mtu})", at.node, at.at))
        })
        .collect();
    if !narrow.is_empty() {
        findings.push(Finding::bad(
            Area::Path,
            format!(
                "datagrams of 1232 octets do not pass to {}: large replies are lost, and so are the mesh's (QUIC)",
                named(&narrow)
            ),
            "raise the MTU on the way (tunnels!) to 1280 at least, and let ICMP \"packet too big\" through",
        ));
    }
    let small: Vec<String> = answering
        .clone()
        .filter(|at| at.size.is_none_or(|size| size < 1232))
        .map(|at| format!("{} ({})", at.node, at.size.map_or("no EDNS".to_owned(), |size| size.to_string())))
        .collect();
    if !small.is_empty() {
        findings.push(Finding::look(
            Area::Path,
            format!("replies come with an EDNS size below 1232: {}", named(&small)),
            "something on the way changes DNS messages (a \"DNS inspection\" of a firewall): switch that off",
        ));
    }
    if findings.is_empty() {
        let slowest = asked.iter().filter_map(|at| at.plain.as_ref().ok()).fold(0.0_f64, |most, took| most.max(*took));
        let who = match asked.len() {
            1 => "the one address of another node answers".to_owned(),
            all => format!("{all} addresses of other nodes answer"),
        };
        let what = format!("{who}, with 1232 octets unfragmented; the slowest in {slowest:.0} ms");
        findings.push(Finding::ok(Area::Path, what));
    }
    findings
}
