//! What `nigh apply --dry-run` says of the clients: who would get other servers.

use std::collections::BTreeMap;

use super::table::count;
use crate::admin::preview::{Given, NodePreview, Preview, ServicePreview};

/// Nodes that are named on a line; more are counted.
const MOST_NODES: usize = 6;

pub(super) fn text(preview: &Preview) -> String {
    let mut lines: Vec<String> = preview.services.iter().flat_map(service).collect();
    if preview.services_left_out > 0 {
        lines
            .push(format!("and {} more, at which this node did not look", count(preview.services_left_out, "service")));
    }
    lines.join("\n")
}

fn service(service: &ServicePreview) -> Vec<String> {
    let name = &service.service;
    let mut lines = vec![if service.nodes_changed == 0 {
        format!("answers for {name}: the same servers for everybody")
    } else {
        format!(
            "answers for {name}: other servers at {} of {}, for resolvers in {}",
            service.nodes_changed,
            count(service.nodes, "node"),
            match service.claims_changed {
                1 => "1 claimed prefix".to_owned(),
                many => format!("{many} claimed prefixes"),
            }
        )
    }];
    // Nodes at which the same changes stand on one line.
    let mut alike: BTreeMap<String, Vec<&NodePreview>> = BTreeMap::new();
    for change in &service.changes {
        let clients = change.clients.map_or_else(String::new, |net| format!(" clients in {net}"));
        let what = format!("{}{clients}: {} -> {}", change.family, given(&change.before), given(&change.after));
        alike.entry(what).or_default().push(change);
    }
    for (what, changes) in alike {
        let mut nodes: Vec<String> = changes
            .iter()
            .take(MOST_NODES)
            .map(|change| match (change.claims, change.examples.first()) {
                (0, _) | (_, None) => change.node.clone(),
                (1, Some(only)) => format!("{} ({only})", change.node),
                (more, Some(first)) => format!("{} ({first} and {} more)", change.node, more - 1),
            })
            .collect();
        if changes.len() > MOST_NODES {
            nodes.push(format!("and {} more", changes.len() - MOST_NODES));
        }
        lines.push(format!("  {what}, at {}", nodes.join(", ")));
    }
    if service.left_out > 0 {
        lines.push(format!("  and {} more changes", service.left_out));
    }
    if !service.unmeasured.is_empty() {
        lines.push(format!(
            "  not measured yet as it would be, so nobody gets it before that: {}",
            service.unmeasured.join(", ")
        ));
    }
    lines
}

fn given(given: &Given) -> String {
    let instead = given.instead.iter().map(|address| format!("{address} in place of any"));
    let servers: Vec<String> = match given.servers.as_slice() {
        [only] => vec![only.server.clone()],
        several => several.iter().map(|share| format!("{} {}", share.server, percent(share.part))).collect(),
    };
    let all: Vec<String> = servers.into_iter().chain(instead).collect();
    let none_up = if given.failed_open && !given.servers.is_empty() { " (none is up)" } else { "" };
    if all.is_empty() { "nobody".to_owned() } else { all.join(" + ") + none_up }
}

fn percent(part: f64) -> String {
    let tenths = (part * 1000.0).round() / 10.0;
    format!("{tenths} %")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::admin::preview::ServerShare;

    fn share(parts: &[(&str, f64)]) -> Given {
        let servers = parts.iter().map(|(id, part)| ServerShare { server: (*id).into(), part: *part }).collect();
        Given { servers, ..Given::default() }
    }

    #[test]
    fn nodes_at_which_the_same_changes_stand_together() {
        let at = |node: &str, claims: &[&str]| NodePreview {
            node: node.into(),
            family: "v4".into(),
            clients: None,
            claims: claims.len(),
            examples: claims.iter().map(|claim| claim.parse().unwrap()).collect(),
            before: share(&[("a", 1.0)]),
            after: share(&[("a", 0.75), ("b", 0.25)]),
        };
        let down = NodePreview {
            clients: Some("10.0.0.0/8".parse().unwrap()),
            before: Given { instead: vec!["192.0.2.9".parse().unwrap()], failed_open: true, ..Given::default() },
            after: Given { failed_open: true, ..share(&[("b", 1.0)]) },
            ..at("syd", &[])
        };
        let preview = Preview {
            services: vec![ServicePreview {
                service: "www.lb.example.com".into(),
                unmeasured: vec!["c".into()],
                changes: vec![at("fra", &["203.0.113.0/24", "198.51.100.0/24"]), at("nyc", &["192.0.2.0/24"]), down],
                nodes_changed: 3,
                nodes: 5,
                claims_changed: 3,
                left_out: 0,
            }],
            services_left_out: 1,
        };
        let expected = "\
answers for www.lb.example.com: other servers at 3 of 5 nodes, for resolvers in 3 claimed prefixes
  v4 clients in 10.0.0.0/8: 192.0.2.9 in place of any -> b (none is up), at syd
  v4: a -> a 75 % + b 25 %, at fra (203.0.113.0/24 and 1 more), nyc (192.0.2.0/24)
  not measured yet as it would be, so nobody gets it before that: c
and 1 service more, at which this node did not look";
        assert_eq!(text(&preview), expected);
    }
}
