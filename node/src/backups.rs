//! For which cuts this node should stand in: each node decides for itself alone.
//!
//! A cut should have two backups besides its own node, the nearest by round trip as the cut's node measured it. All
//! nodes see the same replicated rows, so those two find themselves chosen and volunteer; views that differ for a moment
//! give a backup too many, never one that does not know. Volunteering is for good in this version: leaving a cut needs
//! the grace of [`crate::cuts`], and one server more does no harm.
//!
//! A node whose distance the cut's node has not told yet is nobody's nearest: a newcomer waits a second for its
//! measurements, or the first nodes by name would collect every cut of a growing mesh for good. And a node with
//! [`MAX_CUTS`] leaves the rest to others, for nobody reads on beyond.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nigh_dns::Label;

use crate::tables::profile::MAX_CUTS;

/// Backups of a cut, besides the node itself.
pub const BACKUPS: usize = 2;

/// What the decision rests on, for each node that is alive and reachable by DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Cuts it lists.
    pub serves: BTreeSet<Label>,
    /// Round trips it measured to others.
    pub rtt: BTreeMap<Label, Duration>,
}

/// The cuts that `me` should volunteer for now.
pub fn missing(me: &Label, nodes: &BTreeMap<Label, Candidate>) -> Vec<Label> {
    let Some(mine) = nodes.get(me) else { return Vec::new() };
    nodes
        .iter()
        .filter(|(cut, _)| *cut != me && !mine.serves.contains(*cut))
        .filter(|(cut, owner)| {
            let backups = nodes.iter().filter(|(node, other)| node != cut && other.serves.contains(*cut)).count();
            let wanted = BACKUPS.saturating_sub(backups);
            let mut nearest: Vec<(Duration, &Label)> = nodes
                .iter()
                .filter(|(node, other)| node != cut && !other.serves.contains(*cut) && other.serves.len() < MAX_CUTS)
                .filter_map(|(node, _)| Some((*owner.rtt.get(node)?, node)))
                .collect();
            nearest.sort();
            nearest.iter().take(wanted).any(|(_, node)| *node == me)
        })
        .map(|(cut, _)| cut.clone())
        .take(MAX_CUTS.saturating_sub(mine.serves.len()))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn label(text: &str) -> Label {
        text.parse().unwrap()
    }

    /// Nodes on a line; a round trip is the distance.
    fn line(places: &[(&str, u64)]) -> BTreeMap<Label, Candidate> {
        places
            .iter()
            .map(|(name, at)| {
                let rtt = places
                    .iter()
                    .map(|(other, there)| (label(other), Duration::from_millis(at.abs_diff(*there))))
                    .collect();
                (label(name), Candidate { serves: BTreeSet::from([label(name)]), rtt })
            })
            .collect()
    }

    /// Everyone decides in turn until nobody moves.
    fn settle(nodes: &mut BTreeMap<Label, Candidate>) {
        let names: Vec<Label> = nodes.keys().cloned().collect();
        while names.iter().fold(false, |moved, me| {
            let missing = missing(me, nodes);
            nodes.entry(me.clone()).or_default().serves.extend(missing.iter().cloned());
            moved || !missing.is_empty()
        }) {}
    }

    fn servers(nodes: &BTreeMap<Label, Candidate>, cut: &str) -> Vec<String> {
        nodes.iter().filter(|(_, node)| node.serves.contains(&label(cut))).map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn the_two_nearest_stand_in() {
        let mut nodes = line(&[("ams", 0), ("fra", 7), ("nyc", 80), ("par", 10), ("tyo", 220)]);
        settle(&mut nodes);
        assert_eq!(servers(&nodes, "fra"), ["ams", "fra", "par"]);
        assert_eq!(servers(&nodes, "tyo"), ["nyc", "par", "tyo"]);
    }

    #[test]
    fn small_meshes_take_who_is_there() {
        let mut one = line(&[("fra", 0)]);
        settle(&mut one);
        assert_eq!(servers(&one, "fra"), ["fra"]);
        let mut two = line(&[("fra", 0), ("nyc", 80)]);
        settle(&mut two);
        assert_eq!(servers(&two, "fra"), ["fra", "nyc"]);
    }

    #[test]
    fn a_dead_backup_is_replaced_by_the_next() {
        let mut nodes = line(&[("ams", 0), ("fra", 7), ("nyc", 80), ("par", 10)]);
        settle(&mut nodes);
        nodes.remove(&label("ams"));
        settle(&mut nodes);
        assert_eq!(servers(&nodes, "fra"), ["fra", "nyc", "par"]);
    }

    #[test]
    fn a_newcomer_that_measured_nobody_yet_does_not_go_to_the_first_by_name() {
        let mut nodes = line(&[("ams", 0), ("fra", 7), ("nyc", 80), ("par", 10), ("tyo", 220)]);
        settle(&mut nodes);
        nodes.insert(label("new"), Candidate { serves: BTreeSet::from([label("new")]), rtt: BTreeMap::new() });
        settle(&mut nodes);
        assert_eq!(servers(&nodes, "new"), ["new"]);
    }

    #[test]
    fn a_full_volunteer_leaves_the_rest_to_the_next() {
        let names: Vec<String> = (0..100).map(|n| format!("far-{n:02}")).collect();
        let mut places: Vec<(&str, u64)> =
            names.iter().zip(0u64..).map(|(n, at)| (n.as_str(), 1000 + 100 * at)).collect();
        places.extend([("hub", 0), ("hut", 1), ("tub", 2)]);
        let mut nodes = line(&places);
        // Everyone far sees the three first, as hosts do that meet at one exchange.
        for (name, node) in nodes.iter_mut().filter(|(name, _)| name.as_str().starts_with("far")) {
            node.rtt.retain(|other, _| !other.as_str().starts_with("far") || other == name);
        }
        settle(&mut nodes);
        for name in &names {
            let backups = servers(&nodes, name).len() - 1;
            assert!((1..=BACKUPS).contains(&backups), "{name}: {backups}");
        }
        assert!(nodes.values().all(|node| node.serves.len() <= MAX_CUTS));
    }

    #[test]
    fn nobody_volunteers_for_a_node_that_is_gone() {
        let mut nodes = line(&[("ams", 0), ("fra", 7), ("nyc", 80)]);
        nodes.remove(&label("fra"));
        settle(&mut nodes);
        assert_eq!(servers(&nodes, "fra"), Vec::<String>::new());
    }
}
