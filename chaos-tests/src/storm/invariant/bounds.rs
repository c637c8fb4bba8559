//! Memory and descriptors of every node stay within bounds, whatever is done to it, and memory does not grow with time.

use super::Findings;
use crate::storm::world::World;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Resident memory of a node of a mesh this small, in KiB. At rest it has some 20 MB; a flood or a join may not more than
/// triple that.
const RESIDENT_MAX: u64 = 64 << 10;
/// Open files: sockets per core and address, connections to all others, the store.
const DESCRIPTORS_MAX: usize = 512;

/// A process this old has all that it needs: its links, its tables, its first backups.
const SETTLED: Duration = Duration::from_secs(180);
/// From this age on it may hold no more than it did then, ...
const OLD: Duration = Duration::from_secs(600);
/// ... but for this part, ...
const GROWTH: f64 = 0.25;
/// ... and so many KiB: pages that a storm brings, and what an allocator keeps.
const SLACK: u64 = 4 << 10;

/// The memory of one process, from its beginning.
#[derive(Debug)]
struct Aged {
    pid: u32,
    since: Duration,
    settled: Option<u64>,
    now: u64,
    age: Duration,
}

impl Aged {
    fn of(pid: u32, at: Duration) -> Self {
        Self { pid, since: at, settled: None, now: 0, age: Duration::ZERO }
    }

    fn look(&mut self, at: Duration, resident: u64) {
        (self.now, self.age) = (resident, at.saturating_sub(self.since));
        if self.age >= SETTLED {
            self.settled.get_or_insert(resident);
        }
    }

    /// By what part it has grown, if it is old enough to say.
    fn growth(&self) -> Option<f64> {
        let settled = self.settled.filter(|_| self.age >= OLD)?;
        Some(self.now as f64 / settled.max(1) as f64 - 1.0)
    }

    fn grows(&self) -> bool {
        self.growth().is_some_and(|part| part > GROWTH) && self.now > self.settled.unwrap_or_default() + SLACK
    }
}

/// The invariant.
#[derive(Debug, Default)]
pub struct Bounds {
    /// The present processes, by node.
    aged: BTreeMap<usize, Aged>,
    /// Processes that grew old, and the most that one of them has grown.
    old: usize,
    most_growth: f64,
    most_resident: u64,
    most_descriptors: usize,
    findings: Findings,
}

impl Bounds {
    /// Looks at all processes that are there.
    pub fn look(&mut self, world: &World, at: Duration) {
        for (number, node) in world.present() {
            let Some(pid) = node.pid() else { continue };
            let resident = node.resident_kib().unwrap_or_default();
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
            if resident > RESIDENT_MAX.max(self.most_resident) {
                self.findings.add(format!("{}: {resident} KiB resident", node.name()));
            }
            if descriptors > DESCRIPTORS_MAX.max(self.most_descriptors) {
                self.findings.add(format!("{}: {descriptors} open files", node.name()));
            }
            if let Some(gone) = self.note(number, pid, at, resident) {
                self.bury(node.name(), &gone);
            }
            self.most_resident = self.most_resident.max(resident);
            self.most_descriptors = self.most_descriptors.max(descriptors);
        }
    }

    /// Takes down what a process holds; gives the node's process before it, if this is another.
    fn note(&mut self, number: usize, pid: u32, at: Duration, resident: u64) -> Option<Aged> {
        let aged = self.aged.entry(number).or_insert_with(|| Aged::of(pid, at));
        let gone = (aged.pid != pid).then(|| std::mem::replace(aged, Aged::of(pid, at)));
        aged.look(at, resident);
        gone
    }

    /// A process has ended, or the run has.
    fn bury(&mut self, node: &str, aged: &Aged) {
        let Some(growth) = aged.growth() else { return };
        self.old += 1;
        self.most_growth = self.most_growth.max(growth);
        if aged.grows() {
            let (settled, now, minutes) = (aged.settled.unwrap_or_default(), aged.now, aged.age.as_secs() / 60);
            self.findings.add(format!("{node}: grew from {settled} to {now} KiB in {minutes} minutes"));
        }
    }

    /// What was seen.
    pub fn verdict(&mut self) -> anyhow::Result<String> {
        for (number, aged) in std::mem::take(&mut self.aged) {
            self.bury(&format!("n{:02}", number + 1), &aged);
        }
        let (resident, descriptors) = (self.most_resident >> 10, self.most_descriptors);
        let growth = match self.old {
            0 => String::new(),
            old => format!(
                "; {old} processes grew older than {} minutes, and by {:.0} % at most",
                OLD.as_secs() / 60,
                self.most_growth * 100.0
            ),
        };
        self.findings.verdict(format!("at most {resident} MB and {descriptors} open files in one node{growth}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Bounds;
    use std::time::Duration;

    /// Process 1 lives for half an hour, then process 2 for a minute.
    fn lived(resident: impl Fn(u64) -> u64) -> anyhow::Result<String> {
        let mut bounds = Bounds::default();
        for second in 0..1860 {
            let pid = if second < 1800 { 1 } else { 2 };
            if let Some(gone) = bounds.note(0, pid, Duration::from_secs(second), resident(second)) {
                bounds.bury("n01", &gone);
            }
        }
        bounds.verdict()
    }

    #[test]
    fn memory_may_grow_while_a_process_settles_and_then_no_more() {
        let flat = lived(|second| 20_000 + second.min(100) * 100).unwrap();
        assert!(flat.ends_with("1 processes grew older than 10 minutes, and by 0 % at most"), "{flat}");
        let leak = lived(|second| 20_000 + second * 10).unwrap_err().to_string();
        assert!(leak.contains("n01: grew from 21800 to 37990 KiB in 29 minutes"), "{leak}");
    }
}
