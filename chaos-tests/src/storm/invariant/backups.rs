//! Every cut whose node lives has its servers: where backups die, others volunteer.
//!
//! Asked only while all nodes that are there hear each other: who is cut off cannot see whom it should stand in for.

use super::Findings;
use crate::storm::history::History;
use crate::storm::promise::{LOOKS, NEW_BACKUP, VERDICT};
use crate::storm::world::World;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The verdict, and until a new backup is there. A second for the looks.
const REPLACED_WITHIN: Duration = Duration::from_secs(VERDICT.as_secs() + NEW_BACKUP.as_secs() + LOOKS.as_secs());
/// The node itself and its two backups.
const SERVERS: usize = 3;

/// The invariant.
#[derive(Debug, Default)]
pub struct Backups {
    /// Cuts that lack servers, since when.
    short: BTreeMap<usize, Duration>,
    slowest: Duration,
    findings: Findings,
}

impl Backups {
    /// Looks at the servers of each cut.
    pub fn look(
        &mut self,
        world: &World,
        history: &History,
        servers: &BTreeMap<usize, BTreeSet<usize>>,
        now: Duration,
    ) {
        let here: BTreeSet<usize> = world.present().map(|(number, _)| number).collect();
        let since = now.saturating_sub(REPLACED_WITHIN);
        let calm =
            history.spells.iter().all(|spell| spell.fault.leaves_paths() || spell.until < since || spell.from > now);
        self.note(&here, servers, calm, now);
    }

    fn note(&mut self, here: &BTreeSet<usize>, servers: &BTreeMap<usize, BTreeSet<usize>>, calm: bool, now: Duration) {
        if !calm {
            self.short.clear();
            return;
        }
        self.short.retain(|cut, _| here.contains(cut));
        for cut in here {
            let alive = servers.get(cut).map_or(0, |servers| servers.intersection(here).count());
            if alive >= SERVERS.min(here.len()) {
                self.short.remove(cut);
                continue;
            }
            let lacking = now.saturating_sub(*self.short.entry(*cut).or_insert(now));
            self.slowest = self.slowest.max(lacking);
            if lacking > REPLACED_WITHIN {
                self.findings.add(format!(
                    "n{:02} has {alive} live servers for {:.1} s, at {:.0} s",
                    cut + 1,
                    lacking.as_secs_f64(),
                    now.as_secs_f64()
                ));
            }
        }
    }

    /// What was seen.
    pub fn verdict(&self) -> anyhow::Result<String> {
        self.findings.verdict(format!("no cut lacked a backup for more than {:.1} s", self.slowest.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::Backups;
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    #[test]
    fn a_cut_may_lack_a_backup_for_a_while_and_no_longer() {
        let here = BTreeSet::from([0, 1, 2, 3]);
        let all = |of_first: &[usize]| -> BTreeMap<usize, BTreeSet<usize>> {
            let full = |cut: usize| (cut, BTreeSet::from([0, 1, 2]));
            let first = (0, of_first.iter().copied().collect());
            [full(1), full(2), full(3), first].into()
        };
        let mut backups = Backups::default();
        let mut look = |servers: &[usize], calm, at| {
            backups.note(&here, &all(servers), calm, Duration::from_secs(at));
            backups.verdict().is_ok()
        };
        assert!(look(&[0, 1, 2], true, 0));
        assert!(look(&[0, 1, 4], true, 1), "the fourth is not there any more");
        assert!(look(&[0, 1, 4], true, 8));
        assert!(look(&[0, 1, 3], true, 9));
        assert!(look(&[0, 1, 4], true, 20) && look(&[0, 1, 4], false, 28) && look(&[0, 1, 4], true, 30));
        assert!(!look(&[0, 1, 4], true, 39));
    }
}
