//! Whose node this is: the resolvers that it finds, proves and claims.

use super::named;
use crate::admin::report::{ClaimLine, EgressState, ResolverLine};
use crate::cli::doctor::finding::{Area, Finding};
use crate::cli::table::count;

/// The resolvers, as the node tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Those that it asks, with what was found of them.
    pub(crate) resolvers: Vec<ResolverLine>,
    /// Its own claims.
    pub(crate) claims: Vec<ClaimLine>,
    /// How many other nodes are alive: one of them is needed for a proof.
    pub(crate) others: usize,
    /// No probe of its is answered, and so it has withdrawn what it claims.
    pub(crate) isolated: bool,
    /// The node's name.
    pub(crate) me: String,
}

/// Judges what the node knows of its resolvers.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.resolvers.iter().flat_map(|resolver| of(resolver, facts)).collect();
    let (void, held): (Vec<&ClaimLine>, Vec<&ClaimLine>) = facts.claims.iter().partition(|claim| claim.void);
    if !void.is_empty() {
        let prefixes: Vec<String> = void.iter().map(|claim| claim.prefix.to_string()).collect();
        findings.push(Finding::bad(
            Area::Resolvers,
            format!("claims that the node's certificate does not allow, so they count nowhere: {}", named(&prefixes)),
            "have the operator admit it for them: nigh admit ID --name NODE --prefix PREFIX --key operator.key",
        ));
    }
    let proven = held.iter().filter(|claim| claim.proven).count();
    let best = held.iter().filter(|claim| claim.best).count();
    if held.is_empty() && facts.isolated {
        findings.push(Finding::look(
            Area::Resolvers,
            format!("{} has withdrawn its claims while no probe of its is answered", facts.me),
            "they come back by themselves, with the first answer of a server",
        ));
    } else if held.is_empty() && facts.resolvers.is_empty() {
        findings.push(Finding::look(
            Area::Resolvers,
            format!("{} claims no resolvers and looks for none: it only refers to others", facts.me),
            "name your ISP's resolvers in [resolvers], or what they are in [[claim]]",
        ));
    } else if held.is_empty() {
        findings.push(Finding::look(
            Area::Resolvers,
            format!("{} claims no resolvers yet", facts.me),
            "what stands above says why; a node that has just started needs a minute",
        ));
    } else {
        findings.push(Finding::ok(
            Area::Resolvers,
            format!(
                "{}, {proven} proven by another node, {best} the best for their prefix",
                count(held.len(), "claim")
            ),
        ));
    }
    findings
}

fn of(resolver: &ResolverLine, facts: &Facts) -> Vec<Finding> {
    let who = format!("resolver {}", resolver.address);
    if resolver.lost {
        return vec![Finding::bad(
            Area::Resolvers,
            format!("{who} does not answer any more, so nothing is claimed for it: {}", resolver.why),
            format!("try `dig @{} www.YOUR-ZONE`; correct [resolvers] if it has moved", resolver.address.ip()),
        )];
    }
    if resolver.egress.is_empty() {
        let why = if resolver.why.is_empty() { "nothing came yet" } else { resolver.why.as_str() };
        return vec![Finding::look(
            Area::Resolvers,
            format!("{who}: no address is known that its questions leave from: {why}"),
            "it must find the mesh zone: is the zone delegated (see delegation), and does this resolver resolve it?",
        )];
    }
    let mut findings = Vec::new();
    let of_state = |state| -> Vec<String> {
        let egress = resolver.egress.iter().filter(|egress| egress.state == state);
        egress.map(|egress| egress.address.to_string()).collect()
    };
    let (proven, seen) = (of_state(EgressState::Proven), of_state(EgressState::Seen));
    let (public, outside) = (of_state(EgressState::Public), of_state(EgressState::Outside));
    if !proven.is_empty() {
        findings.push(Finding::ok(Area::Resolvers, format!("{who}: leaves from {}, proven", named(&proven))));
    }
    if !seen.is_empty() {
        let todo = match facts.others {
            0 => "a second node proves it, once there is one",
            _ => {
                "another node proves it within some minutes: is it delegated to (see delegation), and do clocks agree?"
            }
        };
        let why = resolver.egress.iter().find(|egress| egress.state == EgressState::Seen && !egress.why.is_empty());
        let why = why.map(|egress| format!(": {}", egress.why)).unwrap_or_default();
        let what = format!("{who}: leaves from {}, which only this node has seen{why}", named(&seen));
        findings.push(Finding::look(Area::Resolvers, what, todo));
    }
    if !public.is_empty() {
        findings.push(Finding::ok(
            Area::Resolvers,
            format!("{who}: leaves from {}, a public resolver's, which nobody claims", named(&public)),
        ));
    }
    if !outside.is_empty() {
        findings.push(Finding::look(
            Area::Resolvers,
            format!("{who}: leaves from {}, which the node's certificate does not let it claim", named(&outside)),
            "if it is your ISP's, have the operator admit the node for it: nigh admit ID --name NODE --prefix PREFIX",
        ));
    }
    findings
}
