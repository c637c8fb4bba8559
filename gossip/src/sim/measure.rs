//! What the simulator measures while it runs: how news spreads, when deaths are known, who is wrongly held for dead.
//!
//! Nothing is polled: a spread looks at a node when a message arrives there, verdicts are looked at when a page that
//! they rest on came or went. So the times are exact to the microsecond and cost little.

use std::{collections::BTreeSet, time::Duration};

use super::{Index, Sim, number, traffic};
use crate::{
    engine::Engine,
    message::Message,
    page::{Key, Stamp},
    time::Moment,
    verdict::Verdict,
};

/// False verdicts that are kept in detail.
const MAX_EXAMPLES: usize = 16;

/// Durations in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(Vec<Duration>);

impl Times {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time within which `per_mille` of them lie (nearest rank); zero if there is none.
    #[must_use]
    pub fn quantile(&self, per_mille: usize) -> Duration {
        let rank = (self.0.len() * per_mille).div_ceil(1000).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.quantile(1000)
    }

    /// Adds others.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(&others.0);
        self.0.sort_unstable();
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<T: IntoIterator<Item = Duration>>(times: T) -> Self {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }
}

/// One change on its way to every node.
#[derive(Clone, Debug)]
pub struct Spread {
    key: Key,
    stamp: Stamp,
    since: Moment,
    arrived: Vec<Option<Moment>>,
    copies: u64,
}

impl Spread {
    pub(super) fn carried(&mut self, message: &Message) {
        self.copies += traffic::copies(message, &self.key);
    }

    pub(super) fn look(&mut self, now: Moment, node: u32, engine: &Engine) {
        if let Some(arrived @ None) = self.arrived.get_mut(node as usize)
            && engine.replica().stamp(&self.key) >= Some(self.stamp)
        {
            *arrived = Some(now);
        }
    }

    /// Copies of it that arrived anywhere; the first copy at each node is one of them.
    #[must_use]
    pub fn copies(&self) -> u64 {
        self.copies
    }

    /// How long it took to each of these nodes that has it.
    #[must_use]
    pub fn times(&self, nodes: impl IntoIterator<Item = Index>) -> Times {
        nodes.into_iter().filter_map(|node| Some((*self.arrived.get(node)?)?.since(self.since))).collect()
    }

    /// Whether it is at this node.
    #[must_use]
    pub fn reached(&self, node: Index) -> bool {
        self.arrived.get(node).is_some_and(Option::is_some)
    }
}

/// One death on its way to every node.
#[derive(Clone, Debug)]
pub struct Death {
    victim: u32,
    since: Moment,
    known: Vec<Option<Moment>>,
}

impl Death {
    /// Who died.
    #[must_use]
    pub fn victim(&self) -> Index {
        self.victim as usize
    }

    /// How long it took until each of these nodes knew, of those that know.
    #[must_use]
    pub fn times(&self, nodes: impl IntoIterator<Item = Index>) -> Times {
        nodes.into_iter().filter_map(|node| Some((*self.known.get(node)?)?.since(self.since))).collect()
    }

    /// Whether this node holds the victim for dead.
    #[must_use]
    pub fn known_at(&self, node: Index) -> bool {
        self.known.get(node).is_some_and(Option::is_some)
    }
}

/// Running nodes that others held for dead.
#[derive(Clone, Debug, Default)]
pub struct FalseVerdicts {
    /// How often a node came to hold a running one for dead.
    pub verdicts: u64,
    /// Who was held for dead.
    pub victims: BTreeSet<Index>,
    /// When, by whom, of whom: the first few.
    pub examples: Vec<(Duration, Index, Index)>,
}

impl Sim {
    /// Follows a change from now on; returns its number.
    pub fn follow(&mut self, (key, stamp): (Key, Stamp)) -> usize {
        let mut spread = Spread { key, stamp, since: self.now, arrived: vec![None; self.len()], copies: 0 };
        for (node, host) in self.hosts.iter().enumerate() {
            if let Some(engine) = &host.engine {
                spread.look(self.now, number(node), engine);
            }
        }
        self.spreads.push(spread);
        self.spreads.len() - 1
    }

    /// Follows what a node just published in one page.
    pub fn follow_page(&mut self, key: Key, writer: Index) -> Option<usize> {
        let stamp = self.engine(writer)?.replica().stamp(&key)?;
        Some(self.follow((key, stamp)))
    }

    /// A change that is followed.
    #[must_use]
    pub fn spread(&self, number: usize) -> &Spread {
        &self.spreads[number]
    }

    /// Follows no change any more.
    pub fn forget_spreads(&mut self) {
        self.spreads.clear();
    }

    /// Follows how a death that happens now becomes known.
    pub fn follow_death(&mut self, victim: Index) -> usize {
        self.deaths.push(Death { victim: number(victim), since: self.now, known: vec![None; self.len()] });
        self.deaths.len() - 1
    }

    /// A death that is followed.
    #[must_use]
    pub fn death(&self, number: usize) -> &Death {
        &self.deaths[number]
    }

    /// Running nodes that were held for dead since the count was taken up.
    #[must_use]
    pub fn false_verdicts(&self) -> &FalseVerdicts {
        &self.false_verdicts
    }

    /// Counts false verdicts from now on.
    pub fn forget_false_verdicts(&mut self) {
        self.false_verdicts = FalseVerdicts::default();
    }

    /// Verdicts of a node may have changed: what is new?
    pub(super) fn judge(&mut self, node: u32) {
        let host = &self.hosts[node as usize];
        let (Some(engine), None) = (&host.engine, &host.liar) else { return };
        let dead = |verdict: &Verdict| *verdict == Verdict::Dead;
        let all = engine.verdicts();
        let mut convicted: Vec<u32> = if !all.iter().any(dead) {
            Vec::new()
        } else if all.len() == self.by_seat.len() {
            // Everybody is admitted: the engine's order of ids is that of the simulation.
            all.iter().zip(&self.by_seat).filter(|(verdict, _)| dead(verdict)).map(|(_, (_, node))| *node).collect()
        } else {
            let mut hosts = (0..).zip(&self.hosts);
            hosts.by_ref().filter(|(_, host)| dead(&engine.verdict(host.id))).map(|(node, _)| node).collect()
        };
        convicted.sort_unstable();
        if convicted == host.convicted {
            return;
        }
        for victim in &convicted {
            if host.convicted.binary_search(victim).is_ok() {
                continue;
            }
            for death in self.deaths.iter_mut().filter(|death| death.victim == *victim) {
                if let Some(known @ None) = death.known.get_mut(node as usize) {
                    *known = Some(self.now);
                }
            }
            if self.hosts[*victim as usize].engine.is_some() {
                let found = &mut self.false_verdicts;
                found.verdicts += 1;
                found.victims.insert(*victim as usize);
                if found.examples.len() < MAX_EXAMPLES {
                    found.examples.push((self.now.since(Moment::ZERO), node as usize, *victim as usize));
                }
            }
        }
        self.hosts[node as usize].convicted = convicted;
    }
}
