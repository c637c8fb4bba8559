//! The findings as operators see them: which resolver, from where, proven by whom, or why not.

use std::time::Duration;

use nigh_gossip::{Certificate, NodeId};

use super::findings::{EgressFinding, Findings, ResolverFinding};
use crate::admin::report::{EgressLine, EgressState, ResolverLine};
use crate::facts::Facts;

/// The lines of `nigh status`, `now` on this process's clock.
pub fn lines(
    findings: &Findings,
    facts: &Facts,
    certificate: Option<&Certificate>,
    now: Duration,
) -> Vec<ResolverLine> {
    findings.resolvers.iter().map(|resolver| line(resolver, facts, certificate, now)).collect()
}

fn line(resolver: &ResolverFinding, facts: &Facts, certificate: Option<&Certificate>, now: Duration) -> ResolverLine {
    let why = match resolver {
        ResolverFinding { leaving: true, .. } => "no longer configured: claimed until its CNAMEs have ended".into(),
        ResolverFinding { beyond: beyond @ 1.., fault, .. } if fault.is_empty() => {
            format!("{beyond} questions left from still more addresses: claim its prefix")
        }
        ResolverFinding { fault, .. } => fault.clone(),
    };
    ResolverLine {
        address: resolver.address,
        origin: resolver.origin.as_str().into(),
        lost: resolver.lost,
        rtt_ms: resolver.rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
        egress: resolver.egress.iter().map(|egress| egress_line(egress, facts, certificate, now)).collect(),
        why,
    }
}

fn egress_line(egress: &EgressFinding, facts: &Facts, certificate: Option<&Certificate>, now: Duration) -> EgressLine {
    let allowed = certificate.is_some_and(|certificate| certificate.allows(&egress.address.into()));
    let (state, why) = match (&egress.public, allowed, egress.proof) {
        (Some(operator), ..) => (EgressState::Public, format!("a public resolver's ({operator}): not claimed")),
        (None, false, _) => (
            EgressState::Outside,
            format!("outside of this node's certificate: not claimed. Admit it anew with --prefix {}", {
                ipnet::IpNet::from(egress.address)
            }),
        ),
        (None, true, Some(_)) => (EgressState::Proven, String::new()),
        (None, true, None) => (EgressState::Seen, egress.why.to_owned()),
    };
    EgressLine {
        address: egress.address,
        state,
        witness: egress.proof.map(|proof| name_of(facts, proof.statement.witness)),
        age_s: now.saturating_sub(egress.last).as_secs(),
        why,
    }
}

/// A node's name, or its key if it has none.
pub fn name_of(facts: &Facts, id: NodeId) -> String {
    let named = facts.nodes.iter().find(|(_, node)| node.id == id);
    named.map_or_else(|| id.to_string(), |(label, _)| label.to_string())
}
