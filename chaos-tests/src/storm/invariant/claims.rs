//! A node whose probes all fail withdraws its claims: what it would answer is no longer known to be true.

use super::Findings;
use crate::storm::fault::Fault;
use crate::storm::history::History;
use crate::storm::world::World;
use std::collections::BTreeSet;
use std::time::Duration;

/// Probes that fail (`fall` x interval + timeout), the doubt whether it is the servers, and the news.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(10);

/// The invariant.
#[derive(Debug, Default)]
pub struct Claims {
    looks: usize,
    findings: Findings,
}

impl Claims {
    /// Looks at what is claimed, as every node that is there knows it, while some reach no origin.
    pub fn look(&mut self, world: &World, history: &History, now: Duration) {
        let blind: BTreeSet<&str> = history
            .on(now)
            .filter(|spell| matches!(spell.fault, Fault::Blind { .. }) && spell.from + WITHDRAWN_WITHIN <= now)
            .flat_map(|spell| spell.fault.nodes())
            .filter_map(|node| world.geography.pops.get(*node).map(|pop| pop.node.as_str()))
            .collect();
        if blind.is_empty() {
            return;
        }
        for (_, node) in world.present() {
            let Ok(claims) = node.claims() else { continue };
            self.looks += 1;
            for claim in claims.iter().filter(|claim| blind.contains(claim.node.as_str())) {
                let since = now.as_secs_f64();
                self.findings.add(format!(
                    "{} at {since:.0} s: {} still claims {}, and reaches no origin",
                    node.name(),
                    claim.node,
                    claim.prefix
                ));
            }
        }
    }

    /// What was seen.
    pub fn verdict(&self) -> anyhow::Result<String> {
        self.findings.verdict(format!("{} looks at the claims while a node reached no origin", self.looks))
    }
}
