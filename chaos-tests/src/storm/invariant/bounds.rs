//! Memory and descriptors of every node stay within bounds, whatever is done to it.

use super::Findings;
use crate::storm::world::World;
use std::fs;

/// Resident memory of a node of a mesh this small, in KiB. At rest it has some 20 MB; a flood or a join may not more than
/// triple that.
const RESIDENT_MAX: u64 = 64 << 10;
/// Open files: sockets per core and address, connections to all others, the store.
const DESCRIPTORS_MAX: usize = 512;

/// The invariant.
#[derive(Debug, Default)]
pub struct Bounds {
    most_resident: u64,
    most_descriptors: usize,
    findings: Findings,
}

impl Bounds {
    /// Looks at all processes that are there.
    pub fn look(&mut self, world: &World) {
        for (_, node) in world.present() {
            let Some(pid) = node.pid() else { continue };
            let resident = node.resident_kib().unwrap_or_default();
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
            if resident > RESIDENT_MAX.max(self.most_resident) {
                self.findings.add(format!("{}: {resident} KiB resident", node.name()));
            }
            if descriptors > DESCRIPTORS_MAX.max(self.most_descriptors) {
                self.findings.add(format!("{}: {descriptors} open files", node.name()));
            }
            self.most_resident = self.most_resident.max(resident);
            self.most_descriptors = self.most_descriptors.max(descriptors);
        }
    }

    /// What was seen.
    pub fn verdict(&self) -> anyhow::Result<String> {
        let (resident, descriptors) = (self.most_resident >> 10, self.most_descriptors);
        self.findings.verdict(format!("at most {resident} MB and {descriptors} open files in one node"))
    }
}
