//! Two versions of the wire in one mesh: what only the later one knows passes through nodes of the earlier one unread.
//!
//! Half of the nodes publish a table that the others do not know (`chaos-tests/versions/next.patch`), and say of whom they
//! have read it. That alone does not show which way it came. So while they do not reach each other one of them is
//! started anew, which gives all its pages, that table's too, a new version: when all nodes then hold the same, what the
//! others of the later version hold of it came through nodes that cannot read it.

use super::Findings;
use crate::storm::fault::Fault;
use crate::storm::history::History;
use crate::storm::plan::Plan;
use crate::storm::world::World;
use std::collections::BTreeSet;
use std::time::Duration;

/// A node that was started, even with an empty disk, has read all that there is within this.
const READ_WITHIN: Duration = Duration::from_secs(15);
/// A node that is started anew while the later ones are apart is there again, and heard, within this of the blow.
const ANEW_WITHIN: Duration = Duration::from_secs(8);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// The invariant.
#[derive(Debug, Default)]
pub struct Versions {
    looked: Duration,
    /// Looks at nodes of the later version.
    looks: usize,
    /// Looks at which all nodes held the same, after one was started anew while the later ones were apart.
    through: usize,
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
        let apart =
            history.on(now).any(|spell| matches!(spell.fault, Fault::Apart { .. }) && spell.from + ANEW_WITHIN <= now);
        if apart && world.hashes().is_ok_and(|hashes| hashes.len() == 1) {
            self.through += 1;
        }
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
            self.note(node.name(), later.contains(&number), &read, &all);
        }
    }

    fn note(&mut self, node: &str, later: bool, read: &BTreeSet<String>, all: &BTreeSet<String>) {
        if !later {
            if !read.is_empty() {
                self.findings.add(format!("{node} is of the earlier version, and reads what only the later one knows"));
            }
            return;
        }
        self.looks += 1;
        if read != all {
            self.findings.add(format!("{node} has read the new table of {read:?}, where {all:?} publish it"));
        }
    }

    /// What was seen.
    pub fn verdict(&self, plan: &Plan) -> anyhow::Result<String> {
        let mut findings = self.findings.clone();
        let later = plan.of_the_other_version().len();
        if later > 0 && self.looks == 0 {
            findings.add("no node of the later version was asked".to_owned());
        }
        if later > 0 && self.through == 0 {
            findings.add("new pages of a later node never came to all while the later ones were apart".to_owned());
        }
        findings.verdict(match later {
            0 => "all nodes were of one version".to_owned(),
            _ => format!(
                "{later} nodes of a later version read each other's new table {} times; {} times all held the same after \
                 one was started anew behind the others",
                self.looks, self.through
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
        versions.note("n02", true, &all, &all);
        versions.note("n01", false, &names(&[]), &all);
        assert!(versions.verdict(&plan(true)).is_err(), "it may have come straight");
        versions.through = 1;
        assert!(versions.verdict(&plan(true)).unwrap().contains("1 times; 1 times all held the same"));
        versions.note("n04", true, &names(&["n04"]), &all);
        assert!(versions.verdict(&plan(true)).is_err());
        let mut versions = Versions { through: 1, ..Versions::default() };
        versions.note("n02", true, &all, &all);
        versions.note("n01", false, &all, &all);
        assert!(versions.verdict(&plan(true)).is_err(), "an old node cannot read it");
    }
}
