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

    /// Whether packets to and from the node at `node` get lost by it.
    fn loses(&self, node: usize) -> bool {
        matches!(&self.fault, Fault::Loss { nodes, .. } if nodes.contains(&node))
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

/// How hard a node is to hear for a resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Not at all.
    Silent,
    /// Not at all, or packets between them get lost.
    Lossy,
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

    /// A time within these at which every server of the cut of `pop` was in such trouble with its resolver.
    pub fn cut_was(&self, trouble: Trouble, pop: usize, from: Duration, until: Duration) -> Option<Duration> {
        // Things change only at blows and when the servers do; in between nothing has to be looked at.
        let blows = self.spells.iter().map(|spell| spell.from);
        let changes = self.served.iter().map(|(at, _)| *at);
        let mut times: Vec<Duration> = blows.chain(changes).filter(|at| (from..=until).contains(at)).collect();
        times.push(from);
        times.sort_unstable();
        times.into_iter().find(|at| self.servers_at(pop, *at).iter().all(|node| self.is_in(trouble, *node, pop, *at)))
    }

    /// A time within these at which all of these nodes were in such trouble with the resolver at `pop`.
    pub fn were(
        &self,
        trouble: Trouble,
        nodes: &BTreeSet<usize>,
        pop: usize,
        from: Duration,
        until: Duration,
    ) -> Option<Duration> {
        let blows = self.spells.iter().map(|spell| spell.from).filter(|at| (from..=until).contains(at));
        let mut times = blows.chain([from]);
        times.find(|at| nodes.iter().all(|node| self.is_in(trouble, *node, pop, *at)))
    }

    fn is_in(&self, trouble: Trouble, node: usize, pop: usize, at: Duration) -> bool {
        self.spells
            .iter()
            .filter(|spell| spell.covers(at, at))
            .any(|spell| spell.silences(node, pop) || trouble == Trouble::Lossy && spell.loses(node))
    }

    /// Who served the cut of `pop`, as far as anybody knew; its own node, if nobody did.
    fn servers_at(&self, pop: usize, at: Duration) -> BTreeSet<usize> {
        let served = self.served.iter().rev().find(|(since, _)| *since <= at).and_then(|(_, all)| all.get(&pop));
        served.filter(|servers| !servers.is_empty()).cloned().unwrap_or_else(|| BTreeSet::from([pop]))
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
    use super::{Fault, History, Spell, Trouble};
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
        assert_eq!(history.cut_was(Trouble::Silent, 0, s(0), s(19)), None);
        assert_eq!(history.cut_was(Trouble::Silent, 0, s(0), s(21)), Some(s(20)));
        assert_eq!(history.cut_was(Trouble::Silent, 2, s(0), s(40)), None, "node 2 was there all the time");
        assert_eq!(history.cut_was(Trouble::Silent, 3, s(0), s(40)), None, "nothing happened to it");
    }

    #[test]
    fn a_cut_is_lossy_when_each_of_its_servers_is_lossy_or_silent() {
        let mut history = History::of(vec![
            spell(Fault::Kill { nodes: vec![0] }, 10, 30),
            spell(Fault::Loss { nodes: vec![1], percent: 10 }, 20, 25),
        ]);
        history.note_servers(s(0), BTreeMap::from([(0, BTreeSet::from([0, 1])), (2, BTreeSet::from([0, 1, 2]))]));
        let lossy = |pop, until| history.cut_was(Trouble::Lossy, pop, s(0), s(until));
        assert_eq!((lossy(0, 19), lossy(0, 21), lossy(2, 40)), (None, Some(s(20)), None));
        assert_eq!(history.cut_was(Trouble::Silent, 0, s(0), s(40)), None);
        assert_eq!(history.were(Trouble::Lossy, &BTreeSet::from([0, 1]), 5, s(22), s(40)), Some(s(22)));
        assert_eq!(history.were(Trouble::Silent, &BTreeSet::from([0, 1]), 5, s(22), s(40)), None);
    }

    #[test]
    fn a_partition_silences_the_other_side_only() {
        let mut history = History::of(vec![spell(Fault::Partition { nodes: vec![0, 1] }, 10, 20)]);
        history.note_servers(s(0), BTreeMap::from([(0, BTreeSet::from([0, 2])), (3, BTreeSet::from([0, 1]))]));
        assert_eq!(history.cut_was(Trouble::Silent, 0, s(0), s(30)), None);
        assert_eq!(
            history.cut_was(Trouble::Silent, 3, s(0), s(30)),
            Some(s(10)),
            "both its servers are on the other side"
        );
        let one_way = History::of(vec![spell(Fault::OneWay { nodes: vec![0] }, 10, 20)]);
        assert_eq!(one_way.cut_was(Trouble::Silent, 0, s(0), s(30)), None, "its own ISP hears it");
    }

    #[test]
    fn an_origin_is_away_throughout_or_at_some_time() {
        let history = History::of(vec![spell(Fault::OriginDown { origins: vec![1] }, 10, 20)]);
        assert!(history.away_throughout(1, s(12), s(18)) && !history.away_throughout(1, s(12), s(21)));
        assert!(!history.away_throughout(0, s(12), s(18)));
        assert!(history.away_at_some_time(1, s(5), s(10)) && !history.away_at_some_time(1, s(21), s(22)));
    }
}
