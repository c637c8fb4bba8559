//! Dead or alive: a pure function of replicated rows, never stored.
//!
//! Each node writes down whom it finds silent ([`WatchRow`]). A member is **dead** when enough of those whose opinion
//! counts (its watchers) accuse its current incarnation. The set of the dead is the least fixed point: start with all
//! alive; a dead watcher no longer counts and the next rank takes its place. Replicas with equal rows agree.
//!
//! The quorum is max(2, half of the live watchers), 1 where there is only one watcher: no single observer and no
//! minority can kill a node (Rapid, Suresh et al. 2018).
//!
//! One thing is not in the design: the **minority**. In a small part of a split mesh, or after a disaster, most of a
//! member's watchers are out of reach and their rows with them, so the common quorum would never be met, and the part
//! would go on referring its users to nodes that nobody there can hear. So when more than half of all members stand
//! accused by somebody, and I myself miss a quarter of those that I watch, one accusation is enough for me. The second
//! condition is local on purpose: no liar can make me stop hearing others.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{id::NodeId, member::Member, overlay::Overlay};

/// Accusations one watch page may hold; a node watches 8 successors and the dead between, everyone in a small mesh.
pub const MAX_ACCUSED: usize = 128;

/// One accusation: `accused` was silent in this incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WatchRow {
    /// The silent member.
    pub accused: NodeId,
    /// The incarnation it was silent in; a higher one refutes.
    pub incarnation: u64,
}

/// What is held of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No quorum says otherwise.
    Alive,
    /// A quorum of its watchers heard nothing from it.
    Dead,
    /// It said goodbye.
    Left,
}

/// Everything a verdict depends on.
pub(crate) struct Evidence<'a> {
    pub(crate) members: &'a BTreeMap<NodeId, Member>,
    pub(crate) overlay: &'a Overlay,
    /// Watcher -> its accusations.
    pub(crate) watch: &'a BTreeMap<NodeId, Vec<WatchRow>>,
    /// I miss at least a quarter of those that I watch.
    pub(crate) hears_little: bool,
}

/// What follows from the evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdicts: BTreeMap<NodeId, Verdict>,
    /// This member is in a minority, or the survivor of a disaster: one accusation was enough.
    pub(crate) cut_off: bool,
}

pub(crate) fn judge(evidence: &Evidence<'_>) -> Judgement {
    let mut verdicts: BTreeMap<NodeId, Verdict> = evidence
        .members
        .iter()
        .map(|(id, member)| (*id, if member.left { Verdict::Left } else { Verdict::Alive }))
        .collect();
    let accusers = accusers(evidence);
    let members = verdicts.values().filter(|verdict| **verdict == Verdict::Alive).count();
    let cut_off = evidence.hears_little && accusers.len() * 2 > members.saturating_sub(1);
    loop {
        let newly: Vec<NodeId> = accusers
            .iter()
            .filter(|(id, by)| {
                verdicts.get(id) == Some(&Verdict::Alive) && convicted(evidence, &verdicts, cut_off, **id, by)
            })
            .map(|(id, _)| *id)
            .collect();
        if newly.is_empty() {
            return Judgement { verdicts, cut_off };
        }
        for id in newly {
            verdicts.insert(id, Verdict::Dead);
        }
    }
}

/// Accused -> those that accuse its current incarnation; members that left are nobody's concern.
fn accusers(evidence: &Evidence<'_>) -> BTreeMap<NodeId, BTreeSet<NodeId>> {
    let mut accusers: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    for (watcher, rows) in evidence.watch {
        for row in rows {
            if evidence
                .members
                .get(&row.accused)
                .is_some_and(|member| member.incarnation == row.incarnation && !member.left)
            {
                accusers.entry(row.accused).or_default().insert(*watcher);
            }
        }
    }
    accusers
}

fn convicted(
    evidence: &Evidence<'_>,
    verdicts: &BTreeMap<NodeId, Verdict>,
    cut_off: bool,
    id: NodeId,
    by: &BTreeSet<NodeId>,
) -> bool {
    let watchers = evidence.overlay.watchers(id, |other| verdicts.get(&other) == Some(&Verdict::Alive));
    let against = watchers.intersection(by).count();
    against >= quorum(watchers.len(), cut_off)
}

fn quorum(watchers: usize, cut_off: bool) -> usize {
    match watchers {
        0 => usize::MAX,
        1 => 1,
        _ if cut_off => 1,
        n => n.div_ceil(2).max(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Mesh {
        ids: Vec<NodeId>,
        members: BTreeMap<NodeId, Member>,
        overlay: Overlay,
        watch: BTreeMap<NodeId, Vec<WatchRow>>,
    }

    impl Mesh {
        fn new(n: u8) -> Self {
            let ids: Vec<NodeId> =
                (1..=n).map(|i| ed25519_dalek::SigningKey::from_bytes(&[i; 32]).verifying_key().into()).collect();
            let member = Member { incarnation: 1, addresses: vec![], left: false };
            let members = ids.iter().map(|id| (*id, member.clone())).collect();
            let overlay = Overlay::new(&ids.iter().copied().collect());
            Self { ids, members, overlay, watch: BTreeMap::new() }
        }

        fn accuse(&mut self, by: usize, accused: usize, incarnation: u64) {
            let row = WatchRow { accused: self.ids[accused], incarnation };
            self.watch.entry(self.ids[by]).or_default().push(row);
        }

        fn dead(&self, hears_little: bool) -> Vec<usize> {
            let evidence =
                Evidence { members: &self.members, overlay: &self.overlay, watch: &self.watch, hears_little };
            let verdicts = judge(&evidence).verdicts;
            (0..self.ids.len()).filter(|i| verdicts[&self.ids[*i]] == Verdict::Dead).collect()
        }
    }

    #[test]
    fn half_of_the_watchers_convict_and_fewer_do_not() {
        let mut mesh = Mesh::new(9);
        for by in 1..4 {
            mesh.accuse(by, 0, 1);
            assert_eq!(mesh.dead(false), [], "{by} of 8");
        }
        mesh.accuse(4, 0, 1);
        assert_eq!(mesh.dead(false), [0]);
    }

    #[test]
    fn one_observer_kills_nobody_unless_it_is_the_only_one() {
        let mut three = Mesh::new(3);
        three.accuse(1, 0, 1);
        assert_eq!(three.dead(false), []);
        let mut two = Mesh::new(2);
        two.accuse(1, 0, 1);
        assert_eq!(two.dead(false), [0]);
    }

    #[test]
    fn a_higher_incarnation_refutes() {
        let mut mesh = Mesh::new(3);
        mesh.accuse(1, 0, 1);
        mesh.accuse(2, 0, 1);
        assert_eq!(mesh.dead(false), [0]);
        let id = mesh.ids[0];
        mesh.members.entry(id).and_modify(|member| member.incarnation = 2);
        assert_eq!(mesh.dead(false), []);
    }

    #[test]
    fn the_dead_have_no_vote_and_their_fall_can_decide() {
        let mut mesh = Mesh::new(7);
        mesh.accuse(5, 1, 1);
        mesh.accuse(6, 1, 1);
        assert_eq!(mesh.dead(false), [], "two of six watchers");
        for accused in [0, 2] {
            for by in [3, 4, 5] {
                mesh.accuse(by, accused, 1);
            }
        }
        assert_eq!(mesh.dead(false), [0, 1, 2], "two of the four that are left");
    }

    #[test]
    fn the_survivor_of_a_disaster_believes_its_own_eyes() {
        let mut mesh = Mesh::new(5);
        for accused in 1..5 {
            mesh.accuse(0, accused, 1);
        }
        assert_eq!(mesh.dead(false), [], "one that hears the others does not believe a single accuser");
        assert_eq!(mesh.dead(true), [1, 2, 3, 4], "seen from the survivor");
    }

    #[test]
    fn few_accusations_are_not_a_disaster() {
        let mut mesh = Mesh::new(5);
        mesh.accuse(0, 1, 1);
        mesh.accuse(0, 2, 1);
        assert_eq!(mesh.dead(true), [], "two of four others: not more than half");
        mesh.accuse(0, 3, 1);
        assert_eq!(mesh.dead(true), [1, 2, 3]);
    }
}
