//! Nobody is a member whom the operator did not admit, or no longer admits, and nothing of theirs is kept.

use super::Findings;
use crate::storm::fault::Fault;
use crate::storm::history::History;
use crate::storm::world::World;
use std::collections::BTreeSet;
use std::time::Duration;

/// A revocation reaches every node within this, and so does a new certificate.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks: each asks every node twice.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// The invariant.
#[derive(Debug, Default)]
pub struct Members {
    looked: Duration,
    looks: usize,
    findings: Findings,
}

impl Members {
    /// Looks at all nodes that are there and in touch with the others, if it is time to.
    pub fn look(&mut self, world: &World, history: &History, now: Duration) {
        if now < self.looked + LOOK_EVERY {
            return;
        }
        self.looked = now;
        let since = now.saturating_sub(KNOWN_WITHIN);
        // A hostile member is one, from its start to its revocation.
        let hostile = || history.spells.iter().filter(|spell| matches!(spell.fault, Fault::Hostile { .. }));
        if hostile().any(|spell| [spell.from, spell.until].iter().any(|at| (since..=now).contains(at))) {
            return;
        }
        let more = hostile().filter(|spell| spell.from <= now && now <= spell.until).count();
        let revocations = history.spells.iter().filter(|spell| matches!(spell.fault, Fault::Revoke { .. }));
        // Between the revocation and its being known everywhere nothing can be said, nor after a new certificate.
        if revocations.clone().any(|spell| [spell.from, spell.until].iter().any(|at| (since..=now).contains(at))) {
            return;
        }
        let gone: BTreeSet<&str> = revocations
            .filter(|spell| spell.from <= now && now <= spell.until)
            .flat_map(|spell| spell.fault.nodes())
            .filter_map(|node| world.geography.pops.get(*node).map(|pop| pop.node.as_str()))
            .collect();
        let wanted = (world.nodes().len() + more).saturating_sub(gone.len()) as u64;
        for (number, node) in world.present().filter(|(number, _)| !history.troubled(*number, since, now)) {
            // One that does not answer its socket in time says nothing about members.
            let (Ok(status), Ok(claims)) = (node.status(), node.claims()) else { continue };
            self.looks += 1;
            let kept: Vec<&str> =
                claims.iter().map(|claim| claim.node.as_str()).filter(|name| gone.contains(name)).collect();
            if status.mesh.members != wanted || !kept.is_empty() {
                self.findings.add(format!(
                    "n{:02} at {:.0} s: {} members, not {wanted}; claims of the revoked: {kept:?}",
                    number + 1,
                    now.as_secs_f64(),
                    status.mesh.members
                ));
            }
        }
    }

    /// What was seen.
    pub fn verdict(&self) -> anyhow::Result<String> {
        self.findings.verdict(format!("nodes were asked {} times for their members", self.looks))
    }
}
