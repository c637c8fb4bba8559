//! Replies in words.

use std::net::IpAddr;

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{RData, Record};

use super::reading::{Found, NameServer, Reading, plain};
use super::report::{By, Came, Step, View};

/// Name servers and addresses that are listed before "and so many more".
const MOST_LISTED: usize = 6;

/// What a reply's OPT record says.
pub(super) struct Said {
    /// The server took the client subnet.
    pub(super) took_subnet: bool,
}

/// Reads the options of a reply into a step.
pub(super) fn options(message: &Message, step: &mut Step) -> Said {
    let mut said = Said { took_subnet: false };
    let Some(edns) = &message.edns else { return said };
    if let Some(EdnsOption::NSID(id)) = edns.option(EdnsCode::NSID) {
        let text: String = String::from_utf8_lossy(id.as_ref()).chars().filter(|c| !c.is_control()).take(64).collect();
        step.node = Some(text).filter(|text| !text.is_empty());
    }
    if let Some(EdnsOption::Subnet(subnet)) = edns.option(EdnsCode::Subnet) {
        let scope = subnet.scope_prefix();
        said.took_subnet = scope > 0;
        step.notes.push(match scope {
            0 => "the client subnet was read, and makes no difference here".to_owned(),
            _ => format!("the client subnet was taken: this holds for {}/{scope}", subnet.addr()),
        });
    }
    for option in edns.options().get_all(EdnsCode::Unknown(15)) {
        if let EdnsOption::Unknown(15, data) = option {
            step.notes.push(extended_error(data));
        }
    }
    said
}

/// RFC 8914.
fn extended_error(data: &[u8]) -> String {
    let code = data.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
    let text: String =
        String::from_utf8_lossy(data.get(2..).unwrap_or_default()).chars().filter(|c| !c.is_control()).collect();
    format!("the server adds: extended error {code} {text}").trim_end().to_owned()
}

/// Writes what a reply says into a step.
pub(super) fn tell(reading: &Reading, step: &mut Step) {
    let mut records: Vec<String> = reading.aliases.iter().map(ToString::to_string).collect();
    let alias = reading.aliases.last().map(alias);
    let (came, means) = match &reading.found {
        Found::Records(found) => {
            records.extend(found.iter().map(ToString::to_string));
            let answer = answer(found);
            (Came::Answer, alias.map_or(answer.clone(), |alias| format!("{alias}; and in the same reply: {answer}")))
        }
        Found::Elsewhere(delegation) => {
            let servers = format!("the servers of {} (for {} s)", plain(&delegation.zone), delegation.ttl);
            step.servers = delegation.servers.iter().map(server).collect();
            match alias {
                Some(alias) => (Came::Alias, format!("{alias}; with it come {servers}:")),
                None => (Came::Referral, format!("refers to {servers}:")),
            }
        }
        Found::NoData => (Came::NoData, format!("{} has no {} records", plain(&reading.end), step.rtype)),
        Found::NxDomain => (Came::NxDomain, format!("there is no {}", plain(&reading.end))),
        Found::Nothing => (Came::Alias, alias.unwrap_or_else(|| "says nothing of it".to_owned())),
    };
    step.came = came;
    step.means = means;
    step.records = records;
    step.faults.extend(reading.faults.iter().cloned());
}

fn alias(record: &Record) -> String {
    match &record.data {
        RData::CNAME(target) => format!("an alias of {} (for {} s)", plain(&target.0), record.ttl),
        _ => String::new(),
    }
}

fn answer(records: &[Record]) -> String {
    let data: Vec<String> = records.iter().map(|record| record.data.to_string()).collect();
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    format!("{} (for {ttl} s)", listed(&data))
}

fn server(server: &NameServer) -> String {
    let name = server.name.as_ref().map(plain).unwrap_or_default();
    let addresses: Vec<String> = server.addresses.iter().map(ToString::to_string).collect();
    format!("{name} {}", addresses.join(" ")).trim().to_owned()
}

fn listed(items: &[String]) -> String {
    let shown = items.iter().take(MOST_LISTED).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(MOST_LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// How the resolver's view was had.
pub(super) fn view(view: View, resolver: IpAddr, steps: &[Step]) -> String {
    match view {
        View::Explained => {
            let node = steps.iter().find(|step| step.by == By::Explain).and_then(|step| step.node.clone());
            let node = node.unwrap_or_else(|| "a node".to_owned());
            format!(
                "the view is that of {resolver}: {node} explained what it answers that resolver, and the walk went on from there"
            )
        }
        View::Subnet => format!(
            "the view is that of {resolver}, by the client subnet that went along: with one a node answers at once, while a \
             resolver that sends none gets an alias into the cut of the node that claims it (a node's API, --socket, shows \
             that way)"
        ),
        View::Own => format!(
            "the view is this host's own, not that of {resolver}: no server took the client subnet, and no node of the mesh \
             could be asked through its API (--socket)"
        ),
    }
}
