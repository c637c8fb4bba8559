//! What must hold whatever happens: a file each. They look while the run goes on, or at its end, and keep what they find
//! wrong, at most `FINDINGS` of it.

pub mod backups;
pub mod bounds;
pub mod claims;
pub mod exits;
pub mod hostile;
pub mod logs;
pub mod members;
pub mod versions;
pub mod wire;

use anyhow::{Result, bail};

/// Findings of one kind that are shown: the first tell the cause.
const FINDINGS: usize = 5;

/// What was found wrong.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    shown: Vec<String>,
    count: usize,
}

impl Findings {
    /// Keeps a finding.
    pub fn add(&mut self, finding: String) {
        self.count += 1;
        if self.shown.len() < FINDINGS {
            self.shown.push(finding);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// An error if there are any; otherwise what was looked at.
    pub fn verdict(&self, looked_at: String) -> Result<String> {
        match self.count {
            0 => Ok(looked_at),
            count => bail!("{count} of them:\n            {}", self.shown.join("\n            ")),
        }
    }
}
