//! No node ends unless it was told to.

use super::Findings;

/// The invariant.
#[derive(Debug, Default)]
pub struct Exits {
    findings: Findings,
}

impl Exits {
    /// Notes nodes that ended unasked.
    pub fn note(&mut self, ends: Vec<String>) {
        ends.into_iter().for_each(|end| self.findings.add(end));
    }

    /// What was seen.
    pub fn verdict(&self) -> anyhow::Result<String> {
        self.findings.verdict("every end of a node was ours".to_owned())
    }
}
