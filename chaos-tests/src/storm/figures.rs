//! How long it takes after nodes were killed, and after a mesh was split: new backups, answers, equal replicas.
//!
//! Each kill and each split is a case of its own, from its blow to the next one. What a client may get is the oracle's
//! business; here is when it was over.

use super::fault::Fault;
use super::invariant::Findings;
use super::oracle::Judged;
use super::promise::{CNAME_TTL, EQUAL_AFTER_KILL, EQUAL_AFTER_SPLIT, LATE, LOOKS, NEW_BACKUP, VERDICT};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A cut has its own node and two backups.
const SERVERS: usize = 3;

/// One kill or split.
#[derive(Clone, Debug)]
struct Case {
    what: String,
    splits: bool,
    struck: Duration,
    healed: Option<Duration>,
    /// From the blow until every living node's cut had its servers again; nothing: not seen yet.
    backups: Option<Duration>,
    /// From the heal until all held the same.
    equal: Option<Duration>,
    /// Lookups that failed although a server of their cut could be heard.
    wrong: usize,
    /// Lookups that failed as they may, and from the blow until the last of them was asked.
    excused: usize,
    silent: Duration,
    /// When the next fault came: what had not come by then cannot be judged.
    over: Option<Duration>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    cases: Vec<Case>,
}

impl Figures {
    /// A fault begins.
    pub fn struck(&mut self, fault: &Fault, now: Duration) {
        if let Some(last) = self.cases.last_mut() {
            last.over.get_or_insert(now);
        }
        let splits = matches!(fault, Fault::Partition { .. });
        if splits || matches!(fault, Fault::Kill { .. }) {
            self.cases.push(Case {
                what: fault.to_string(),
                splits,
                struck: now,
                healed: None,
                backups: None,
                equal: None,
                wrong: 0,
                excused: 0,
                silent: Duration::ZERO,
                over: None,
            });
        }
    }

    /// Its heal begins.
    pub fn healed(&mut self, fault: &Fault, now: Duration) {
        let what = fault.to_string();
        if let Some(case) = self.cases.last_mut().filter(|case| case.what == what && case.over.is_none()) {
            case.healed.get_or_insert(now);
        }
    }

    fn open(&mut self) -> Option<&mut Case> {
        self.cases.last_mut().filter(|case| case.over.is_none())
    }

    /// Whether somebody must look whether all hold the same.
    pub fn awaits_equal(&self) -> bool {
        self.cases.last().is_some_and(|case| case.over.is_none() && case.healed.is_some() && case.equal.is_none())
    }

    /// All were seen to hold the same.
    pub fn equal(&mut self, now: Duration) {
        if let Some(case) = self.open()
            && let Some(healed) = case.healed
        {
            case.equal.get_or_insert(now.saturating_sub(healed));
        }
    }

    /// Who serves which cut, and who is there.
    pub fn servers(&mut self, servers: &BTreeMap<usize, BTreeSet<usize>>, here: &BTreeSet<usize>, now: Duration) {
        let Some(case) = self.open().filter(|case| !case.splits && case.healed.is_none()) else { return };
        let alive = |cut: &usize| servers.get(cut).map_or(0, |servers| servers.intersection(here).count());
        if here.iter().all(|cut| alive(cut) >= SERVERS.min(here.len())) {
            case.backups.get_or_insert(now.saturating_sub(case.struck));
        } else {
            case.backups = None;
        }
    }

    /// A lookup was judged.
    pub fn lookup(&mut self, begun: Duration, judged: &Judged, failed: bool) {
        let Some(case) = self.cases.iter_mut().rev().find(|case| case.struck <= begun) else { return };
        match judged {
            Judged::Wrong(_) if failed => case.wrong += 1,
            Judged::Excused(_) => {
                case.excused += 1;
                case.silent = case.silent.max(begun.saturating_sub(case.struck));
            }
            _ => {}
        }
    }

    /// What was promised beside what was seen.
    pub fn verdict(&self) -> Result<String> {
        let mut findings = Findings::default();
        let mut lines = Vec::new();
        for case in &self.cases {
            let (line, faults) = case.judge();
            for fault in faults {
                findings.add(format!("{}: {fault}", case.what));
            }
            lines.push(line);
        }
        findings.verdict(if lines.is_empty() {
            "nothing was killed or split".to_owned()
        } else {
            lines.join("\n          ")
        })
    }
}

impl Case {
    /// A line of figures, and what of them is not as promised.
    fn judge(&self) -> (String, Vec<String>) {
        let mut faults = Vec::new();
        let mut judge = |name: &str, seen: Option<Duration>, most: Duration, judged_from: Duration| match seen {
            Some(seen) => {
                if seen > most {
                    faults.push(format!(
                        "{name} after {:.1} s, {:.0} s promised",
                        seen.as_secs_f64(),
                        most.as_secs_f64()
                    ));
                }
                format!("{name} after {:.1} s (of {:.0})", seen.as_secs_f64(), most.as_secs_f64())
            }
            None if self.over.is_some_and(|over| over.saturating_sub(judged_from) < most) => {
                format!("{name}: the next fault came first")
            }
            None => {
                faults.push(format!("{name}: never seen, {:.0} s promised", most.as_secs_f64()));
                format!("{name}: never seen")
            }
        };
        let mut parts = Vec::new();
        if !self.splits {
            let most = VERDICT + NEW_BACKUP + LOOKS;
            // A heal before the bound brings back the old servers.
            let early = self.healed.is_some_and(|healed| healed.saturating_sub(self.struck) < most);
            if self.backups.is_some() || !early {
                parts.push(judge("all cuts have backups", self.backups, most, self.struck));
            }
        }
        let most = if self.splits { EQUAL_AFTER_SPLIT } else { EQUAL_AFTER_KILL } + LOOKS;
        if let Some(healed) = self.healed {
            parts.push(judge("replicas equal", self.equal, most, healed));
        }
        let most = VERDICT + CNAME_TTL + LATE;
        if self.excused > 0 && self.silent > most {
            faults.push(format!(
                "a lookup failed {:.1} s after the blow, {:.0} s promised",
                self.silent.as_secs_f64(),
                most.as_secs_f64()
            ));
        }
        parts.push(match self.excused {
            0 => "no lookup failed".to_owned(),
            count => format!(
                "{count} lookups failed where the whole cut was dead, the last asked {:.1} s after the blow (of {:.0})",
                self.silent.as_secs_f64(),
                most.as_secs_f64()
            ),
        });
        if self.wrong > 0 {
            let text = format!("{} lookups failed whose cut kept a server", self.wrong);
            faults.push(text.clone());
            parts.push(text);
        }
        (format!("{}: {}", self.what, parts.join("; ")), faults)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Figures;
    use crate::storm::fault::Fault;
    use crate::storm::oracle::Judged;
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn kill() -> Fault {
        Fault::Kill { nodes: vec![0, 1] }
    }

    /// Nodes 2 to 5 are there; cut 2 has these servers, all others three.
    fn servers(figures: &mut Figures, of_second: &[usize], at: u64) {
        let here = BTreeSet::from([2, 3, 4, 5]);
        let mut all: BTreeMap<usize, BTreeSet<usize>> =
            here.iter().map(|cut| (*cut, BTreeSet::from([3, 4, 5]))).collect();
        all.insert(2, of_second.iter().copied().collect());
        figures.servers(&all, &here, s(at));
    }

    /// A kill at 10 s, healed at 40 s, with new backups and equal replicas so much later.
    fn killed(backups_after: u64, equal_after: u64) -> Figures {
        let mut figures = Figures::default();
        figures.struck(&kill(), s(10));
        servers(&mut figures, &[0, 1, 2], 11);
        servers(&mut figures, &[2, 3, 4], 10 + backups_after);
        assert!(!figures.awaits_equal());
        figures.healed(&kill(), s(40));
        assert!(figures.awaits_equal());
        figures.equal(s(40 + equal_after));
        assert!(!figures.awaits_equal());
        figures
    }

    #[test]
    fn a_kill_has_its_times_and_each_is_held_to_its_bound() {
        let seen = killed(6, 9).verdict().unwrap();
        assert!(seen.contains("backups after 6.0 s (of 8)") && seen.contains("equal after 9.0 s (of 11)"), "{seen}");
        assert!(killed(9, 9).verdict().unwrap_err().to_string().contains("backups after 9.0 s, 8 s promised"));
        assert!(killed(6, 12).verdict().is_err());
    }

    #[test]
    fn backups_that_go_again_are_none() {
        let mut figures = killed(6, 1);
        figures.cases[0].healed = None;
        servers(&mut figures, &[2, 3], 20);
        assert!(figures.verdict().unwrap_err().to_string().contains("never seen"));
    }

    #[test]
    fn what_the_next_fault_comes_before_is_not_judged_and_what_had_its_time_is() {
        let mut figures = Figures::default();
        let split = Fault::Partition { nodes: vec![0] };
        figures.struck(&split, s(10));
        figures.healed(&split, s(20));
        let mut early = figures.clone();
        early.struck(&Fault::DnsADown, s(24));
        assert!(early.verdict().unwrap().contains("the next fault came first"));
        early.equal(s(25));
        assert!(early.verdict().unwrap().contains("the next fault came first"), "that is of the next one");
        figures.struck(&Fault::DnsADown, s(30));
        assert!(figures.verdict().is_err(), "ten seconds and not equal");
    }

    #[test]
    fn a_cut_that_is_dead_is_answered_again_in_time_and_one_that_is_not_never_fails() {
        let mut figures = killed(6, 1);
        let excused = Judged::Excused("no answer".to_owned());
        figures.lookup(s(5), &excused, true);
        figures.lookup(s(30), &excused, true);
        assert!(
            figures.verdict().unwrap().contains("1 lookups failed where the whole cut was dead, the last asked 20.0 s")
        );
        figures.lookup(s(83), &excused, true);
        assert!(figures.verdict().is_err(), "73 s after the blow");
        let mut figures = killed(6, 1);
        figures.lookup(s(30), &Judged::Wrong("no answer".to_owned()), true);
        assert!(figures.verdict().unwrap_err().to_string().contains("whose cut kept a server"));
        assert!(Figures::default().verdict().is_ok());
    }
}
