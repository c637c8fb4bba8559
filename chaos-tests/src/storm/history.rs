//! What was true when: which faults were on, and who served which cut.
//!
//! Times are from the start of the run. The world writes it down as it happens; the oracle and the invariants read it.

use super::fault::Fault;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A fault that was on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spell {
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
    /// From the blow
    #[serde(with = "super::seconds")]
    pub from: Duration,
    /// to the end of the heal: of a process, when it answered again.
    #[serde(with = "super::seconds")]
    pub until: Duration,
}

impl Spell {
    fn covers(&self, from: Duration, until: Duration) -> bool {
        self.from <= from && until <= self.until
    }

    fn meets(&self, from: Duration, until: Duration) -> bool {
        self.from <= until && from <= self.until
    }

    /// Whether it keeps the resolver at `pop` from getting answers of the node at `node`.
    fn silences(&self, node: usize, pop: usize) -> bool {
        match &self.fault {
            // A restart of all, one by one, is written down as a short death of each.
            Fault::Kill { nodes } | Fault::Stop { nodes } => nodes.contains(&node),
            Fault::Partition { nodes } => nodes.contains(&node) != nodes.contains(&pop),
            Fault::OneWay { nodes } => nodes.contains(&node) && node != pop,
            Fault::DiskWiped { node: hit } | Fault::DiskRolledBack { node: hit } | Fault::DiskCorrupt { node: hit } => {
                *hit == node
            }
            _ => false,
        }
    }
}

/// Everything that was.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The faults, by blow.
    pub spells: Vec<Spell>,
    /// Who served each cut, as far as somebody alive knew, from then on.
    served: Vec<(Duration, BTreeMap<usize, BTreeSet<usize>>)>,
}

impl History {
    /// With these faults.
    pub fn of(spells: Vec<Spell>) -> Self {
        Self { spells, served: Vec::new() }
    }

    /// Writes down who serves which cut.
    pub fn note_servers(&mut self, at: Duration, servers: BTreeMap<usize, BTreeSet<usize>>) {
        if self.served.last().is_none_or(|(_, last)| *last != servers) {
            self.served.push((at, servers));
        }
    }

    /// Whether an origin was away all that time.
    pub fn away_throughout(&self, origin: usize, from: Duration, until: Duration) -> bool {
        self.spells.iter().any(|spell| spell.fault.takes_away().contains(&origin) && spell.covers(from, until))
    }

    /// Whether an origin was away at some time of it.
    pub fn away_at_some_time(&self, origin: usize, from: Duration, until: Duration) -> bool {
        self.spells.iter().any(|spell| spell.fault.takes_away().contains(&origin) && spell.meets(from, until))
    }

    /// A time within these at which no server of the cut of `pop` could be heard from its resolver.
    pub fn cut_was_silent(&self, pop: usize, from: Duration, until: Duration) -> Option<Duration> {
        // Things change only at blows and when the servers do; in between nothing has to be looked at.
        let blows = self.spells.iter().map(|spell| spell.from);
        let changes = self.served.iter().map(|(at, _)| *at);
        let mut times: Vec<Duration> = blows.chain(changes).filter(|at| (from..=until).contains(at)).collect();
        times.push(from);
        times.sort_unstable();
        times.into_iter().find(|at| self.is_silent(pop, *at))
    }

    /// A time within these at which none of these nodes could be heard from the resolver at `pop`.
    pub fn were_silent(
        &self,
        nodes: &BTreeSet<usize>,
        pop: usize,
        from: Duration,
        until: Duration,
    ) -> Option<Duration> {
        let blows = self.spells.iter().map(|spell| spell.from).filter(|at| (from..=until).contains(at));
        let mut times = blows.chain([from]);
        times.find(|at| nodes.iter().all(|node| self.is_silenced(*node, pop, *at)))
    }

    fn is_silenced(&self, node: usize, pop: usize, at: Duration) -> bool {
        self.spells.iter().any(|spell| spell.covers(at, at) && spell.silences(node, pop))
    }

    fn is_silent(&self, pop: usize, at: Duration) -> bool {
        let silenced = |node: usize| self.is_silenced(node, pop, at);
        let served = self.served.iter().rev().find(|(since, _)| *since <= at).and_then(|(_, all)| all.get(&pop));
        match served {
            Some(servers) if !servers.is_empty() => servers.iter().all(|node| silenced(*node)),
            _ => silenced(pop),
        }
    }

    /// The faults that are on at this time, with their beginnings.
    pub fn on(&self, at: Duration) -> impl Iterator<Item = &Spell> {
        self.spells.iter().filter(move |spell| spell.covers(at, at))
    }

    /// The origins that have flapped.
    pub fn flapped(&self) -> BTreeSet<usize> {
        let flapping = self.spells.iter().filter(|spell| matches!(spell.fault, Fault::OriginFlaps { .. }));
        flapping.flat_map(|spell| spell.fault.origins().iter().copied()).collect()
    }

    /// Whether a fault that touches this node was on at some time of it.
    pub fn troubled(&self, node: usize, from: Duration, until: Duration) -> bool {
        self.spells.iter().any(|spell| spell.fault.nodes().contains(&node) && spell.meets(from, until))
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, History, Spell};
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn spell(fault: Fault, from: u64, until: u64) -> Spell {
        Spell { fault, from: s(from), until: s(until) }
    }

    #[test]
    fn a_cut_is_silent_only_when_all_its_servers_are() {
        let mut history = History::of(vec![
            spell(Fault::Kill { nodes: vec![0] }, 10, 30),
            spell(Fault::Stop { nodes: vec![1] }, 20, 25),
        ]);
        history.note_servers(s(0), BTreeMap::from([(0, BTreeSet::from([0, 1])), (2, BTreeSet::from([0, 2]))]));
        assert_eq!(history.cut_was_silent(0, s(0), s(19)), None);
        assert_eq!(history.cut_was_silent(0, s(0), s(21)), Some(s(20)));
        assert_eq!(history.cut_was_silent(2, s(0), s(40)), None, "node 2 was there all the time");
        assert_eq!(history.cut_was_silent(3, s(0), s(40)), None, "nothing happened to it");
    }

    #[test]
    fn a_partition_silences_the_other_side_only() {
        let mut history = History::of(vec![spell(Fault::Partition { nodes: vec![0, 1] }, 10, 20)]);
        history.note_servers(s(0), BTreeMap::from([(0, BTreeSet::from([0, 2])), (3, BTreeSet::from([0, 1]))]));
        assert_eq!(history.cut_was_silent(0, s(0), s(30)), None);
        assert_eq!(history.cut_was_silent(3, s(0), s(30)), Some(s(10)), "both its servers are on the other side");
        let one_way = History::of(vec![spell(Fault::OneWay { nodes: vec![0] }, 10, 20)]);
        assert_eq!(one_way.cut_was_silent(0, s(0), s(30)), None, "its own ISP hears it");
    }

    #[test]
    fn an_origin_is_away_throughout_or_at_some_time() {
        let history = History::of(vec![spell(Fault::OriginDown { origins: vec![1] }, 10, 20)]);
        assert!(history.away_throughout(1, s(12), s(18)) && !history.away_throughout(1, s(12), s(21)));
        assert!(!history.away_throughout(0, s(12), s(18)));
        assert!(history.away_at_some_time(1, s(5), s(10)) && !history.away_at_some_time(1, s(21), s(22)));
    }
}
