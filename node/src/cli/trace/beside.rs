//! The servers beside the way: any of them may be the one that the next resolver asks.
//!
//! A walk asks one server of each zone, as a resolver does at a time. When it has ended, all others of the mesh's part of the
//! way (DNS-A, DNS-B, DNS-LB) are asked what their neighbour was asked: a wrong NS record, or a secondary with an old
//! copy, fails one resolver in three, and a walk that was lucky shows nothing of it.
//!
//! Invariant: pure; at most [`MOST_BESIDE`] questions, and none to the root or to what lies between it and DNS-A.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use hickory_proto::rr::Name;

use super::reading::Delegation;
use super::report::{By, Came, Role, Step};
use super::roles;
use super::walk::{Ask, Plan};

/// Servers asked beside the way.
pub(super) const MOST_BESIDE: usize = 12;

/// Whom to ask what, as a server of which zone.
pub(super) fn questions(steps: &[Step], known: &BTreeMap<Name, Delegation>, plan: &Plan) -> VecDeque<(Name, Ask)> {
    let mut asked: BTreeSet<(String, SocketAddr)> = steps.iter().map(|step| (step.zone.clone(), step.server)).collect();
    let mut questions = VecDeque::new();
    for step in steps.iter().filter(|step| is_on_the_way(step)) {
        let Some((zone, name)) = roles::name(&step.zone).zip(roles::name(&step.asked)) else { continue };
        let servers = known.get(&zone).map(|known| known.servers.as_slice()).unwrap_or_default();
        for address in servers.iter().flat_map(|server| &server.addresses) {
            let server = SocketAddr::new(*address, plan.port);
            if questions.len() < MOST_BESIDE && asked.insert((step.zone.clone(), server)) {
                let (name, rtype, subnet) = (name.clone(), plan.rtype, plan.resolver);
                questions.push_back((zone.clone(), Ask { server, name, rtype, tcp: false, edns: true, subnet }));
            }
        }
    }
    questions
}

/// What is wrong if a server beside the way says this, and its neighbour on it did not.
pub(super) fn contradiction(steps: &[Step], beside: &Step) -> Option<String> {
    let neighbour = steps.iter().find(|step| is_on_the_way(step) && step.zone == beside.zone)?;
    let denies = |step: &Step| matches!(step.came, Came::NoData | Came::NxDomain);
    let at = neighbour.server.ip();
    match (denies(neighbour), denies(beside)) {
        (false, true) => Some(format!("denies what {at} has: an old copy of {}, or another zone?", beside.zone)),
        (true, false) => Some(format!("has what {at} denies: one of the two has an old copy of {}", beside.zone)),
        _ => None,
    }
}

fn is_on_the_way(step: &Step) -> bool {
    let used = !matches!(step.came, Came::Silence | Came::Lame | Came::Truncated);
    let of_mesh = matches!(step.role, Role::DnsA | Role::DnsB | Role::DnsLb);
    used && of_mesh && !step.beside && step.side_way.is_none() && step.by != By::Explain
}
