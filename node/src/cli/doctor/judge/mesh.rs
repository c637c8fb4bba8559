//! The other nodes: whether they are met, how many there are, and which versions they run.

use std::collections::BTreeMap;

use super::named;
use crate::admin::report::{Admission, MemberLine, Peer, Verdict};
use crate::cli::doctor::finding::{Area, Finding};
use crate::cli::table::count;

/// The other nodes, as this one tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Those that have spoken.
    pub(crate) peers: Vec<Peer>,
    /// Those that were admitted.
    pub(crate) members: Vec<MemberLine>,
    /// First contacts of the configuration, and why one cannot be reached.
    pub(crate) bootstrap: Vec<(String, Result<(), String>)>,
    /// The mesh's port here.
    pub(crate) port: Option<u16>,
}

/// Judges the mesh.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![links(facts)];
    let unreachable = facts.bootstrap.iter().filter_map(|(at, tried)| Some((at, tried.as_ref().err()?)));
    for (at, why) in unreachable {
        findings.push(Finding::look(
            Area::Mesh,
            format!("first contact {at} cannot be reached: {why}"),
            "start it, open its port (UDP for QUIC, TCP beside), or name others in mesh.bootstrap",
        ));
    }
    findings.extend(absent(facts));
    findings.extend(two_faced(facts));
    findings.extend(versions(&facts.peers));
    findings
}

fn links(facts: &Facts) -> Finding {
    let others: Vec<&Peer> = facts.peers.iter().filter(|peer| !peer.is_self).collect();
    let alive = others.iter().filter(|peer| matches!(peer.verdict, Verdict::Alive | Verdict::Draining)).count();
    // A link to a dead node is one that has not broken yet.
    let linked = others.iter().filter(|peer| peer.linked && peer.verdict != Verdict::Dead).count();
    let dead: Vec<&str> =
        others.iter().filter(|peer| peer.verdict == Verdict::Dead).map(|peer| peer.name.as_str()).collect();
    let port = facts.port.map_or("the mesh's port".to_owned(), |port| format!("port {port}"));
    if others.is_empty() && !facts.bootstrap.is_empty() {
        return Finding::bad(
            Area::Mesh,
            format!("it has met none of {}", count(facts.bootstrap.len(), "first contact")),
            "`nigh status` says what became of each",
        );
    }
    if others.is_empty() {
        return Finding::look(
            Area::Mesh,
            "this node knows no other one: if it ends, nobody answers",
            "add a second node, or name one that is there in mesh.bootstrap",
        );
    }
    if linked == 0 {
        return Finding::bad(
            Area::Mesh,
            format!("no link to any of {}", count(others.len(), "other node")),
            format!(
                "open {port} for UDP (QUIC) and TCP in both directions, and see that mesh.advertise is what others reach"
            ),
        );
    }
    let what = format!("{}, {alive} alive, {linked} linked", count(others.len(), "other node"));
    match dead.as_slice() {
        [] => Finding::ok(Area::Mesh, what),
        dead if dead.len() > alive => Finding::bad(
            Area::Mesh,
            format!("{what}; dead: {}", named(dead)),
            format!(
                "more than half are gone: is it this node's network? Look at {port} (UDP and TCP) and the route to them"
            ),
        ),
        dead => Finding::look(
            Area::Mesh,
            format!("{what}; dead: {}", named(dead)),
            "start them, or `nigh revoke` those that will not come back",
        ),
    }
}

fn absent(facts: &Facts) -> Option<Finding> {
    let absent = |member: &&MemberLine| member.admission == Admission::Admitted && member.verdict == Verdict::Absent;
    let names: Vec<&str> = facts.members.iter().filter(absent).map(|member| member.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        Finding::look(
            Area::Mesh,
            format!("admitted, and never heard of: {}", named(&names)),
            "start them; should one run, it has another mesh.id, or no first contact that it reaches",
        )
    })
}

fn two_faced(facts: &Facts) -> Option<Finding> {
    let names: Vec<&str> = facts.peers.iter().filter(|peer| peer.equivocated).map(|peer| peer.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        Finding::bad(
            Area::Mesh,
            format!("signed two pages of one version: {}", named(&names)),
            "a key is in use twice (a cloned machine), or its owner lies: `nigh equivocations`, then `nigh revoke`",
        )
    })
}

fn versions(peers: &[Peer]) -> Option<Finding> {
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let alive = peers.iter().filter(|peer| matches!(peer.verdict, Verdict::Alive | Verdict::Draining));
    for peer in alive.filter(|peer| !peer.version.is_empty()) {
        by_version.entry(&peer.version).or_default().push(&peer.name);
    }
    match by_version.len() {
        0 => None,
        1 => by_version.keys().next().map(|version| Finding::ok(Area::Mesh, format!("all nodes run nigh {version}"))),
        _ => {
            let groups: Vec<String> =
                by_version.iter().map(|(version, nodes)| format!("{version} on {}", named(nodes))).collect();
            Some(Finding::look(
                Area::Mesh,
                format!("nodes run different versions: {}", groups.join("; ")),
                "fine during an upgrade; bring the others to the newest one after it",
            ))
        }
    }
}
