//! What each server of a chain is, once the whole chain is known: root, DNS-A, DNS-B or DNS-LB.
//!
//! A node's API tells which zones are the mesh's. Without it the mesh shows itself: a DNS-B's alias is the asked name with
//! a node's name put into it (`www.lb…` becomes `www.fra.lb…`), and a node says by NSID (RFC 5001) who it is, which is
//! the second half of the name that its parent gives it (`ns-fra.lb…`).

use hickory_proto::rr::Name;

use super::reading::{is_below, plain};
use super::report::{Came, Role, Step};

/// Gives each step its role.
pub(super) fn give(steps: &mut [Step], zones: &[Name], from_root: bool) {
    let mesh = mesh_zone(steps, zones);
    // The zone whose servers named those of the mesh zone.
    let first_inside = mesh.as_ref().and_then(|mesh| {
        steps
            .iter()
            .position(|step| step.side_way.is_none() && name(&step.zone).is_some_and(|zone| mesh.zone_of(&zone)))
    });
    let parent = first_inside.and_then(|at| steps[..at].iter().rev().find(|step| step.side_way.is_none()));
    let parent = parent.map(|step| step.zone.clone());
    for step in steps {
        let zone = name(&step.zone);
        // A denial without a node's name may as well be that of a DNS-A which delegates nothing.
        let in_mesh = |step: &Step| {
            let denies = matches!(step.came, Came::NoData | Came::NxDomain);
            !from_root && step.zone == "." && (answers(step.came) || denies && step.node.is_some())
        };
        step.role = match (&mesh, zone) {
            _ if step.side_way.is_some() => Role::Zone,
            (Some(mesh), Some(zone)) if zone == *mesh => Role::DnsB,
            (Some(mesh), Some(zone)) if is_below(&zone, mesh) => Role::DnsLb,
            (Some(mesh), _) if in_mesh(step) => match name(&step.asked) {
                Some(asked) if is_below(&asked, mesh) => Role::DnsB,
                _ => Role::Zone,
            },
            _ if parent.as_ref() == Some(&step.zone) => Role::DnsA,
            _ if step.zone == "." && from_root => Role::Root,
            _ => Role::Zone,
        };
    }
}

fn answers(came: Came) -> bool {
    matches!(came, Came::Answer | Came::Alias)
}

pub(super) fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn mesh_zone(steps: &[Step], zones: &[Name]) -> Option<Name> {
    let asked: Vec<Name> =
        steps.iter().filter(|step| step.side_way.is_none()).filter_map(|step| name(&step.asked)).collect();
    let told = zones.iter().filter(|zone| asked.iter().any(|asked| zone.zone_of(asked)));
    told.max_by_key(|zone| zone.iter().count())
        .cloned()
        .or_else(|| steps.iter().filter(|step| step.came != Came::Referral).find_map(by_alias))
        .or_else(|| steps.iter().find_map(by_identity))
}

/// The zone into whose names an alias puts a node's name.
fn by_alias(step: &Step) -> Option<Name> {
    let line = step.records.iter().find(|line| line.contains(" CNAME "))?;
    let mut words = line.split_whitespace();
    let (from, to) = (name(words.next()?)?, name(words.last()?)?);
    node_put_into(&from, &to)
}

/// `lb.lab` for `www.lb.lab` and `www.fra.lb.lab`.
fn node_put_into(from: &Name, to: &Name) -> Option<Name> {
    let (from_labels, to_labels): (Vec<_>, Vec<_>) = (from.iter().collect(), to.iter().collect());
    if to_labels.len() != from_labels.len() + 1 {
        return None;
    }
    let same = from_labels.iter().zip(&to_labels).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    let rest = from_labels.len() - same;
    let zone = from.trim_to(rest);
    (same > 0 && rest > 0 && zone.zone_of(to)).then_some(zone)
}

/// The zone whose server has, in its name, the name that it gives itself.
fn by_identity(step: &Step) -> Option<Name> {
    let own = format!("ns-{}.{}", step.node.as_ref()?, step.zone);
    (step.server_name.as_ref() == Some(&own)).then(|| name(&step.zone)).flatten()
}

/// The zone of a step, where the mesh's is not known.
pub(super) fn shown(step: &Step) -> String {
    name(&step.zone).map_or_else(|| step.zone.clone(), |zone| plain(&zone))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_node_put_into_a_name_shows_the_zone() {
        let zone =
            |from: &str, to: &str| node_put_into(&name(from).unwrap(), &name(to).unwrap()).map(|zone| plain(&zone));
        assert_eq!(zone("www.lb.lab", "www.fra.lb.lab").as_deref(), Some("lb.lab"));
        assert_eq!(zone("a.b.lb.lab", "a.b.fra.LB.lab").as_deref(), Some("lb.lab"));
        assert_eq!(zone("www.example.com", "www.example.net"), None);
        assert_eq!(zone("www.example.com", "edge.www.example.com"), None);
        assert_eq!(zone("www.example.com", "www.cdn.example.net"), None);
    }
}
