//! Two versions of the wire in one mesh: what only the later one knows passes through nodes of the earlier one unread.
//!
//! Half of the nodes publish a table that the others do not know (`chaos-tests/versions/next.patch`), and say of whom they
//! have read it. While they do not reach each other, all of it comes through nodes that cannot read it.

use super::Findings;
use crate::storm::fault::Fault;
use crate::storm::history::History;
use crate::storm::plan::Plan;
use crate::storm::world::World;
use std::collections::BTreeSet;
use std::time::Duration;

/// A node that was started, even with an empty disk, has read all that there is within this.
const READ_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// The invariant.
#[derive(Debug, Default)]
pub struct Versions {
    looked: Duration,
    /// Looks at nodes of the later version, and those of them while they did not reach each other.
    looks: usize,
    apart: usize,
    findings: Findings,
}

impl Versions {
    /// Looks at all nodes that have been there for a while, if there are two versions.
    pub fn look(&mut self, world: &World, plan: &Plan, history: &History, now: Duration) {
        let later = plan.of_the_other_version();
        if later.is_empty() || now < self.looked + LOOK_EVERY {
            return;
        }
        self.looked = now;
        let since = now.saturating_sub(READ_WITHIN);
        let apart = history.on(now).any(|spell| matches!(spell.fault, Fault::Apart { .. }));
        let troubled = |node: usize| {
            history.spells.iter().any(|spell| {
                !matches!(spell.fault, Fault::Apart { .. })
                    && spell.fault.nodes().contains(&node)
                    && spell.from <= now
                    && since <= spell.until
            })
        };
        let name = |node: &usize| world.nodes().get(*node).map(|node| node.name().to_owned());
        let all: BTreeSet<String> = later.iter().filter_map(name).collect();
        for (number, node) in world.present().filter(|(number, _)| !troubled(*number)) {
            let Ok(status) = node.status() else { continue };
            let read: BTreeSet<String> = status.mesh.later.into_iter().collect();
            self.note(node.name(), later.contains(&number), &read, &all, apart);
        }
    }

    fn note(&mut self, node: &str, later: bool, read: &BTreeSet<String>, all: &BTreeSet<String>, apart: bool) {
        if !later {
            if !read.is_empty() {
                self.findings.add(format!("{node} is of the earlier version, and reads what only the later one knows"));
            }
            return;
        }
        self.looks += 1;
        self.apart += usize::from(apart);
        if read != all {
            self.findings.add(format!("{node} has read the new table of {read:?}, where {all:?} publish it"));
        }
    }

    /// What was seen.
    pub fn verdict(&self, plan: &Plan) -> anyhow::Result<String> {
        let mut findings = self.findings.clone();
        let later = plan.of_the_other_version().len();
        if later > 0 && self.apart == 0 {
            findings.add("no node of the later version was asked while they did not reach each other".to_owned());
        }
        findings.verdict(match later {
            0 => "all nodes were of one version".to_owned(),
            _ => format!(
                "{later} nodes of a later version read each other's new table {} times, {} of them through others alone",
                self.looks, self.apart
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Versions;
    use crate::storm::plan::{Plan, Profile};
    use std::collections::BTreeSet;

    fn names(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    fn plan(other: bool) -> Plan {
        let plan = Plan::draw(&Profile::named("versions").unwrap(), 1, 4, 3).unwrap();
        Plan { other: other.then(|| "nigh".into()), ..plan }
    }

    #[test]
    fn a_later_node_that_lacks_anothers_table_is_found() {
        let all = names(&["n02", "n04"]);
        let mut versions = Versions::default();
        assert!(versions.verdict(&plan(true)).is_err(), "nobody was asked");
        assert!(versions.verdict(&plan(false)).is_ok());
        versions.note("n02", true, &all, &all, true);
        versions.note("n01", false, &names(&[]), &all, true);
        assert!(versions.verdict(&plan(true)).unwrap().contains("1 times, 1 of them through others alone"));
        versions.note("n04", true, &names(&["n04"]), &all, false);
        assert!(versions.verdict(&plan(true)).is_err());
        let mut versions = Versions::default();
        versions.note("n02", true, &all, &all, true);
        versions.note("n01", false, &all, &all, true);
        assert!(versions.verdict(&plan(true)).is_err(), "an old node cannot read it");
    }
}
