//! What came out of a run, for machines (`--json FILE`) and for the report.

use super::history::Spell;
use super::oracle::Judged;
use super::plan::Plan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A lookup that takes longer than this is felt by people.
const SLOW: Duration = Duration::from_secs(1);

/// Lookups of one second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// As they should be.
    pub good: u32,
    /// Of these, slower than a second.
    pub slow: u32,
    /// Failed, as they may.
    pub excused: u32,
    /// As they may not be.
    pub wrong: u32,
}

/// A death, and when it was known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Death {
    /// The node's number.
    pub node: usize,
    /// Seconds from the run's start.
    pub at: f64,
    /// Seconds until every node that could hear of it held it for dead, within half a second.
    pub known_after: Option<f64>,
}

/// One node at the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Use {
    /// Its name.
    pub node: String,
    /// CPU seconds of its present process.
    pub cpu_s: f64,
    /// Resident memory.
    pub resident_kib: u64,
}

/// The outcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// What was planned.
    pub plan: Plan,
    /// What was done, when.
    pub spells: Vec<Spell>,
    /// Lookups by second of the run.
    pub seconds: BTreeMap<u64, Second>,
    /// Deaths.
    pub deaths: Vec<Death>,
    /// Seconds from the last heal until all nodes agreed and knew all servers.
    pub recovered_after: Option<f64>,
    /// By ISP in the quiet phase: the round trip to the origin that was answered, and to the nearest, in milliseconds.
    pub rtt_got_and_possible: BTreeMap<String, (f64, f64)>,
    /// The nodes at the end.
    pub nodes: Vec<Use>,
    /// Checks: key, passed, what was seen.
    pub checks: Vec<(String, bool, String)>,
}

impl Outcome {
    /// Of a run that begins.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            spells: Vec::new(),
            seconds: BTreeMap::new(),
            deaths: Vec::new(),
            recovered_after: None,
            rtt_got_and_possible: BTreeMap::new(),
            nodes: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// Counts a lookup.
    pub fn count(&mut self, ended: Duration, took: Duration, judged: &Judged) {
        let second = self.seconds.entry(ended.as_secs()).or_default();
        match judged {
            Judged::Good => {
                second.good += 1;
                second.slow += u32::from(took > SLOW);
            }
            Judged::Excused(_) => second.excused += 1,
            Judged::Wrong(_) => second.wrong += 1,
        }
    }

    /// All lookups.
    pub fn total(&self) -> Second {
        self.seconds.values().fold(Second::default(), |sum, second| Second {
            good: sum.good + second.good,
            slow: sum.slow + second.slow,
            excused: sum.excused + second.excused,
            wrong: sum.wrong + second.wrong,
        })
    }

    /// The longest time until a death was known.
    pub fn slowest_death(&self) -> Option<f64> {
        self.deaths.iter().filter_map(|death| death.known_after).max_by(f64::total_cmp)
    }
}
