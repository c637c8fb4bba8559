//! Who may be here: the certificates and revocations that the mesh holds, and what follows from this node's own.
//!
//! The replica decides who is admitted, without a clock. What a clock adds is decided here: a certificate that has ended
//! counts for nothing until it is renewed, though what its node wrote is still held.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, UNIX_EPOCH},
};

use ipnet::IpNet;
use nigh_dns::Label;
use nigh_gossip::{Certificate, FOREIGN, MeshView, NodeId, Owner, Page, Table, admission};

/// This long before a certificate ends its node begins to say so.
pub const WARN_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// The last second that RFC 3339 can write; an operator may well mean "never".
const LAST: u64 = 253_402_300_799;

/// Whether a node may be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is a member.
    Admitted,
    /// Its certificate has ended.
    Ended,
    /// It was one until it was revoked.
    Revoked,
    /// No operator has admitted it yet.
    Waiting,
}

impl State {
    /// Of a certificate that no revocation ends, at this Unix time.
    pub fn of(certificate: &Certificate, unix: u64) -> Self {
        if certificate.not_after < unix { Self::Ended } else { Self::Admitted }
    }
}

/// One node that an operator spoke of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// The node.
    pub id: NodeId,
    /// Its newest certificate, revoked or not.
    pub certificate: Option<Certificate>,
    /// What holds.
    pub state: State,
}

/// All nodes that an operator spoke of, by name; those without one last.
pub fn all(view: &MeshView, unix: u64) -> Vec<Spoken> {
    let mut spoken: BTreeMap<NodeId, Spoken> = BTreeMap::new();
    for page in view.pages.of_operators(Table::REVOCATION) {
        if let Some(id) = admission::read_revocation(page) {
            spoken.insert(id, Spoken { id, certificate: None, state: State::Revoked });
        }
    }
    for certificate in view.pages.of_operators(Table::ADMISSION).filter_map(Page::certificate) {
        let id = certificate.node;
        let holds = view.certificates.get(&id) == Some(certificate);
        let state = if holds { State::of(certificate, unix) } else { State::Revoked };
        spoken.insert(id, Spoken { id, certificate: Some(certificate.clone()), state });
    }
    let mut spoken: Vec<Spoken> = spoken.into_values().collect();
    let name = |one: &Spoken| one.certificate.as_ref().map(|certificate| certificate.name.clone());
    spoken.sort_by_key(|one| (one.certificate.is_none(), name(one), one.id));
    spoken
}

/// Names that nobody bears any more since their nodes were revoked.
pub fn revoked_names(view: &MeshView) -> BTreeSet<String> {
    let held: BTreeSet<&str> = view.certificates.values().map(|certificate| certificate.name.as_str()).collect();
    let all = view.pages.of_operators(Table::ADMISSION).filter_map(Page::certificate);
    all.map(|certificate| &certificate.name).filter(|name| !held.contains(name.as_str())).cloned().collect()
}

/// Whether this node may be here.
pub fn own(view: &MeshView, unix: u64) -> State {
    match view.certificates.get(&view.me) {
        Some(certificate) => State::of(certificate, unix),
        None if view.pages.get(&admission::key(Table::REVOCATION, view.me)).is_some() => State::Revoked,
        None => State::Waiting,
    }
}

/// How the warning of [`lonely`] begins.
pub const LONELY: &str = "NO OTHER NODE";

/// Why this node meets nobody, if it should: none of its first contacts is reached.
pub fn lonely(view: &MeshView) -> Option<String> {
    let linked = view.members.iter().any(|(id, member)| *id != view.me && member.linked);
    if linked || view.obstacles.is_empty() {
        return None;
    }
    let contacts: Vec<String> = view.obstacles.iter().map(|(contact, why)| format!("{contact} ({why})")).collect();
    let todo = if is_foreign(view) {
        "is mesh.id the one that `nigh init` printed for that mesh?"
    } else {
        "are they up, and is their mesh port open (UDP, and TCP beside)?"
    };
    Some(format!("{LONELY} is reached through mesh.bootstrap: {}; {todo}", contacts.join(", ")))
}

fn is_foreign(view: &MeshView) -> bool {
    view.obstacles.values().any(|why| why == FOREIGN)
}

/// What someone should do about this node's own place in the mesh; nothing when all is well. `command` admits it.
pub fn own_warning(view: &MeshView, unix: u64, command: &str) -> Option<String> {
    if view.silenced {
        return Some(
            "SILENT: another process runs with this node's key (a copied disk or virtual machine?), and this one takes \
             no further part in the mesh. Stop one of the two; give a new machine an empty state directory and a \
             certificate of its own"
                .into(),
        );
    }
    let ends = view.certificates.get(&view.me).map(|certificate| certificate.not_after);
    match own(view, unix) {
        // To be admitted into this mesh would not help.
        State::Waiting if is_foreign(view) => None,
        State::Waiting => Some(format!(
            "NOT ADMITTED: no other node talks to this one{}. Where an operator's key is, through any node of the mesh: \
             {command}",
            if someone_was_dismissed(view) {
                ", or not any more since the key that admitted it was dismissed"
            } else {
                " yet"
            }
        )),
        State::Revoked => Some(format!(
            "REVOKED: no other node talks to this one any more. If that was not meant, through any other node of the \
             mesh: {command}"
        )),
        State::Ended => Some(format!(
            "CERTIFICATE ENDED on {}: no other node talks to this one any more. Renew it: {command}",
            moment(ends.unwrap_or_default())
        )),
        State::Admitted => {
            let ends = ends?;
            let left = Duration::from_secs(ends.saturating_sub(unix));
            (left < WARN_BEFORE).then(|| {
                format!(
                    "this node's certificate ends on {}, in {}. Renew it: {command}",
                    moment(ends),
                    days(left.as_secs())
                )
            })
        }
    }
}

fn someone_was_dismissed(view: &MeshView) -> bool {
    let mut spoken = view.pages.of_operators(Table::OPERATOR).filter_map(Page::appointment);
    spoken.any(|appointment| !appointment.appointed)
}

/// The command by which an operator admits this node, with what it wants to claim if that is not much.
pub fn command(id: NodeId, name: &str, claims: &[IpNet]) -> String {
    const FEW: usize = 4;
    let prefixes: String = match claims.len() {
        0 => String::new(),
        1..=FEW => claims.iter().map(|prefix| format!(" --prefix {prefix}")).collect(),
        _ => " --prefix ...".into(),
    };
    format!("nigh admit {id} --name {name}{prefixes} --key operator.key")
}

/// A Unix time as people write it.
pub fn moment(unix: u64) -> String {
    if unix > LAST {
        return "no day that has a name".into();
    }
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix)).to_string()
}

/// "3 days", or hours on the last one.
pub fn days(seconds: u64) -> String {
    let (number, unit) = if seconds < 2 * 86_400 { (seconds / 3600, "hour") } else { (seconds / 86_400, "day") };
    if number == 1 { format!("1 {unit}") } else { format!("{number} {unit}s") }
}

/// Whose name the proofs of equivocation bear, and the pages that prove it.
pub fn two_faced(view: &MeshView) -> impl Iterator<Item = (NodeId, &Page, &Page)> {
    view.equivocations.iter().map(|proof| (proof.kept.signer(), &proof.kept, &proof.lost))
}

/// Says what a proof means. `name` is the signer's, if it has one.
pub fn accusation(signer: NodeId, name: Option<&str>, page: &Page) -> String {
    let about = match page.key().owner {
        Owner::Operators => {
            return format!(
                "an operator's key signed two edits as one version ({signer}): it is in use twice, by clocks that agree. \
             `nigh equivocations` has both"
            );
        }
        Owner::Node(_) => name.map_or_else(|| signer.to_string(), |name| format!("{name} ({signer})")),
    };
    format!(
        "node {about} signed two pages of one version: its key is in use twice, or it lies. `nigh equivocations` has \
         the proof; nigh revoke {signer} --key operator.key ends it"
    )
}

/// The cuts of nodes that were revoked. Resolvers may hold a CNAME into one and ask any node for what stands there, as
/// those do that never learned of the cut: NXDOMAIN would undo the service for them, so every node answers.
pub(crate) fn cuts_of_the_revoked(view: &MeshView) -> impl Iterator<Item = Label> {
    // Nearly always there are none, and certificates need not be read.
    let any = view.pages.of_operators(Table::REVOCATION).next().is_some();
    let names = any.then(|| revoked_names(view));
    names.into_iter().flatten().filter_map(|name| name.parse().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments_that_no_calendar_has_are_no_panic() {
        assert_eq!(moment(2_000_000_000), "2033-05-18T03:33:20Z");
        assert_eq!(moment(u64::MAX), "no day that has a name");
        assert_eq!((days(3599), days(3600), days(86_400 * 30)), ("0 hours".into(), "1 hour".into(), "30 days".into()));
    }

    #[test]
    fn the_command_asks_for_no_more_than_the_node_claims() {
        let id = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key().into();
        let claims: Vec<IpNet> = ["203.0.113.0/24", "2001:db8::/32"].iter().map(|text| text.parse().unwrap()).collect();
        let text = command(id, "fra", &claims);
        let expected = "--name fra --prefix 203.0.113.0/24 --prefix 2001:db8::/32 --key operator.key";
        assert!(text.ends_with(expected), "{text}");
    }
}
