//! For which cuts this node should stand in: each node decides for itself alone.
//!
//! A cut should have two backups besides its own node: the nearest by round trip, as the cut's node measured it, but
//! nobody at the same site (the same `node.pop`) while there is another choice, for what takes a site away takes both. All
//! nodes see the same replicated rows, so those two find themselves chosen and volunteer; views that differ for a moment
//! give a backup too many, never one that does not know.
//!
//! ```text
//!   fewer than two ─────────────────────────────▶ the best of the others join at once, or after 10 seconds
//!                                                 if the cut's node has not told its distance to everyone
//!   two, and I am clearly better than the worse ─▶ after 5 minutes of that I join            (three)
//!   both of the best serve, and I am neither ────▶ after 10 minutes of that I leave          (two)
//! ```
//!
//! Leaving is slow because resolvers hold a cut's NS set for an hour: whoever left goes on answering ([`crate::cuts`]), and
//! a set that changes often would make them learn it anew. Nobody leaves while the cut's own node is dead: then its
//! distances are old, and its backups are all there is.
//!
//! A node whose distance the cut's node has not told yet is nobody's nearest: a newcomer waits a second for its
//! measurements, or the first nodes by name would collect every cut of a growing mesh. While nodes start together, the
//! first distance that is told may be the longest, hence the ten seconds: who joins too early stays for ten minutes. (In a
//! mesh of more nodes than a node has links, some distances are never told, and a backup that died is replaced so much
//! later; the other one is there.) And a node with [`MAX_CUTS`] leaves the rest to others, for nobody reads on beyond.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nigh_dns::{Label, MOST_CUT_NAMESERVERS};

use crate::tables::profile::MAX_CUTS;

/// Backups of a cut, besides the node itself.
pub const BACKUPS: usize = 2;
/// For so long nobody joins a cut whose node has not told all distances: longer than nodes take to find and measure each
/// other, busy machines included.
const UNTOLD: Duration = Duration::from_secs(10);
/// For so long a node must be clearly better than a backup until it joins beside it.
const JOIN_AFTER: Duration = Duration::from_secs(5 * 60);
/// For so long both of the best must serve until another one leaves.
const LEAVE_AFTER: Duration = Duration::from_secs(10 * 60);
/// Clearly better is nearer by a quarter, and by so much: round trips differ by that from hour to hour.
const CLEARLY: Duration = Duration::from_millis(2);

/// What the decision rests on, for each node that is alive and reachable by DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Its site; empty if it does not say, and then it is like no other.
    pub site: String,
    /// Cuts it lists.
    pub serves: BTreeSet<Label>,
    /// Round trips it measured to others.
    pub rtt: BTreeMap<Label, Duration>,
}

/// What to do about a cut.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Move {
    /// Stand in for it.
    Join(Label),
    /// Stand in for it no longer.
    Leave(Label),
}

/// Remembers since when a move would be right.
#[derive(Clone, Debug, Default)]
pub struct Standby {
    since: BTreeMap<Move, Duration>,
}

impl Standby {
    /// What `me` should do now, given all nodes that are alive.
    pub fn handle(&mut self, now: Duration, me: &Label, nodes: &BTreeMap<Label, Candidate>) -> Vec<Move> {
        let Some(mine) = nodes.get(me) else { return Vec::new() };
        let mut serving: BTreeMap<&Label, Vec<&Label>> = BTreeMap::new();
        for (node, candidate) in nodes {
            candidate
                .serves
                .iter()
                .filter(|cut| *cut != node)
                .for_each(|cut| serving.entry(cut).or_default().push(node));
        }
        let mut room = MAX_CUTS.saturating_sub(mine.serves.len());
        let mut moves = Vec::new();
        let mut wished = BTreeSet::new();
        for (cut, owner) in nodes.iter().filter(|(cut, _)| *cut != me) {
            let present = serving.get(cut).map_or(&[][..], Vec::as_slice);
            let Some((step, patience)) = Choice { me, cut, owner, nodes, present }.wish() else { continue };
            let since = *self.since.entry(step.clone()).or_insert(now);
            wished.insert(step.clone());
            let joins = matches!(step, Move::Join(_));
            if now.saturating_sub(since) < patience || joins && room == 0 {
                continue;
            }
            room -= usize::from(joins);
            moves.push(step);
        }
        self.since.retain(|step, _| wished.contains(step));
        moves
    }
}

/// One cut, and who could stand in for it.
struct Choice<'a> {
    me: &'a Label,
    cut: &'a Label,
    owner: &'a Candidate,
    nodes: &'a BTreeMap<Label, Candidate>,
    /// Its backups now.
    present: &'a [&'a Label],
}

impl<'a> Choice<'a> {
    /// What would be right for me, and for how long it must have been so.
    fn wish(&self) -> Option<(Move, Duration)> {
        let serves = self.present.contains(&self.me);
        if self.present.len() < BACKUPS {
            let chosen = self.chosen(self.present, BACKUPS - self.present.len(), |node| !self.present.contains(&node));
            let told = self.nodes.keys().all(|node| node == self.cut || self.owner.rtt.contains_key(node));
            let patience = if told { Duration::ZERO } else { UNTOLD };
            return chosen.contains(&self.me).then(|| (Move::Join(self.cut.clone()), patience));
        }
        let best = self.chosen(&[], BACKUPS, |_| true);
        if best.contains(&self.me) {
            let full = self.present.len() + 1 >= MOST_CUT_NAMESERVERS;
            let better = !serves && !full && self.is_clearly_better(&best);
            return better.then(|| (Move::Join(self.cut.clone()), JOIN_AFTER));
        }
        let replaced = best.len() == BACKUPS && best.iter().all(|node| self.present.contains(node));
        (serves && replaced).then(|| (Move::Leave(self.cut.clone()), LEAVE_AFTER))
    }

    /// The best `count` of those that may be asked, one by one: another site than the owner's and those of the ones before,
    /// then nearness, then the name.
    fn chosen(&self, beside: &[&'a Label], count: usize, may: impl Fn(&Label) -> bool) -> Vec<&'a Label> {
        let has_room = |node: &Label, candidate: &Candidate| {
            candidate.serves.contains(self.cut) || candidate.serves.len() < MAX_CUTS && may(node)
        };
        let mut pool: Vec<(&'a Label, Duration)> = self
            .owner
            .rtt
            .iter()
            .filter_map(|(node, rtt)| {
                let (node, candidate) = self.nodes.get_key_value(node)?;
                (node != self.cut && may(node) && has_room(node, candidate)).then_some((node, *rtt))
            })
            .collect();
        let mut taken: Vec<&'a Label> = beside.to_vec();
        let mut chosen = Vec::new();
        while chosen.len() < count {
            let rank = |(node, rtt): &(&'a Label, Duration)| (self.crowding(node, &taken), *rtt, *node);
            let Some(at) = (0..pool.len()).min_by_key(|at| rank(&pool[*at])) else { break };
            let (node, _) = pool.swap_remove(at);
            taken.push(node);
            chosen.push(node);
        }
        chosen
    }

    /// At the owner's site, at that of another backup, or at one of its own: the least is the best.
    fn crowding(&self, node: &Label, others: &[&Label]) -> u8 {
        let site = |node: &Label| self.nodes.get(node).map(|candidate| candidate.site.as_str()).unwrap_or_default();
        let own = site(node);
        match () {
            () if own.is_empty() => 0,
            () if own == self.owner.site => 2,
            () if others.iter().any(|other| *other != node && site(other) == own) => 1,
            () => 0,
        }
    }

    /// Am I better than the worst of those that I would replace, by more than round trips vary?
    fn is_clearly_better(&self, best: &[&Label]) -> bool {
        let rtt = |node: &Label| self.owner.rtt.get(node).copied().unwrap_or(Duration::MAX);
        let mine = rtt(self.me);
        let others: Vec<&Label> = best.iter().filter(|node| **node != self.me).copied().collect();
        let my_crowding = self.crowding(self.me, &others);
        self.present.iter().filter(|node| !best.contains(node)).any(|node| {
            let theirs = self.crowding(node, &others);
            my_crowding < theirs || my_crowding == theirs && mine.saturating_add(CLEARLY.max(mine / 4)) < rtt(node)
        })
    }
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
                (label(name), Candidate { site: String::new(), serves: BTreeSet::from([label(name)]), rtt })
            })
            .collect()
    }

    /// A mesh in which everyone decides every minute.
    struct Mesh {
        nodes: BTreeMap<Label, Candidate>,
        standbys: BTreeMap<Label, Standby>,
        now: Duration,
        moves: usize,
    }

    impl Mesh {
        fn new(nodes: BTreeMap<Label, Candidate>) -> Self {
            Self { nodes, standbys: BTreeMap::new(), now: Duration::ZERO, moves: 0 }
        }

        fn minutes(&mut self, count: u64) {
            for _ in 0..count {
                for me in self.nodes.keys().cloned().collect::<Vec<_>>() {
                    let moves = self.standbys.entry(me.clone()).or_default().handle(self.now, &me, &self.nodes);
                    self.moves += moves.len();
                    let serves = &mut self.nodes.get_mut(&me).unwrap().serves;
                    for step in moves {
                        match step {
                            Move::Join(cut) => assert!(serves.insert(cut)),
                            Move::Leave(cut) => assert!(serves.remove(&cut)),
                        }
                    }
                }
                self.now += Duration::from_secs(60);
            }
        }
    }

    /// As it is after the first moments.
    fn settle(nodes: &mut BTreeMap<Label, Candidate>) {
        let mut mesh = Mesh::new(std::mem::take(nodes));
        mesh.minutes(5);
        *nodes = mesh.nodes;
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
        nodes.insert(label("new"), Candidate { serves: BTreeSet::from([label("new")]), ..Candidate::default() });
        settle(&mut nodes);
        assert_eq!(servers(&nodes, "new"), ["new"]);
    }

    #[test]
    fn who_is_measured_first_does_not_win_while_the_others_are_not_measured() {
        let all = line(&[("ams", 0), ("fra", 7), ("par", 10), ("tyo", 220)]);
        let mut early = all.clone();
        early.get_mut(&label("fra")).unwrap().rtt.retain(|node, _| node.as_str() == "tyo");
        let join = vec![Move::Join(label("fra"))];
        let joins = |standby: &mut Standby, now: u64, me: &str, nodes| {
            let mut moves = standby.handle(Duration::from_secs(now), &label(me), nodes);
            moves.retain(|step| join.contains(step));
            moves
        };
        let (mut tyo, mut ams) = (Standby::default(), Standby::default());
        assert_eq!(joins(&mut tyo, 0, "tyo", &early), []);
        assert_eq!(joins(&mut tyo, 9, "tyo", &early), [], "the others may yet be told");
        assert_eq!(joins(&mut tyo.clone(), 10, "tyo", &early), join, "better far than none");
        assert_eq!(joins(&mut tyo, 10, "tyo", &all), []);
        assert_eq!(joins(&mut ams, 10, "ams", &all), join, "at once: all is told");
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

    #[test]
    fn a_nearer_newcomer_takes_over_in_good_order_and_there_it_ends() {
        let mut mesh = Mesh::new(line(&[("fra", 0), ("nyc", 80), ("sin", 160), ("tyo", 220)]));
        mesh.minutes(3);
        assert_eq!(servers(&mesh.nodes, "fra"), ["fra", "nyc", "sin"]);
        let after = line(&[("ams", 7), ("fra", 0), ("nyc", 80), ("sin", 160), ("tyo", 220)]);
        for (name, candidate) in after {
            let serves = mesh.nodes.get(&name).map_or(BTreeSet::from([name.clone()]), |held| held.serves.clone());
            mesh.nodes.insert(name, Candidate { serves, ..candidate });
        }
        mesh.minutes(4);
        assert_eq!(servers(&mesh.nodes, "fra"), ["fra", "nyc", "sin"], "not at once");
        mesh.minutes(3);
        assert_eq!(
            servers(&mesh.nodes, "fra"),
            ["ams", "fra", "nyc", "sin"],
            "the new one joins before the old one leaves"
        );
        mesh.minutes(20);
        assert_eq!(servers(&mesh.nodes, "fra"), ["ams", "fra", "nyc"]);
        let moves = mesh.moves;
        mesh.minutes(600);
        assert_eq!(mesh.moves, moves, "nobody moves any more");
    }

    #[test]
    fn round_trips_that_vary_move_nobody() {
        let mut mesh = Mesh::new(line(&[("ams", 6), ("fra", 0), ("lon", 14), ("par", 10), ("zrh", 11)]));
        mesh.minutes(3);
        let moves = mesh.moves;
        let truth = mesh.nodes.clone();
        for minute in 0..600u64 {
            for (n, (name, candidate)) in mesh.nodes.iter_mut().enumerate() {
                for (m, (other, rtt)) in candidate.rtt.iter_mut().enumerate() {
                    let wobble = 90 + (minute * 7 + n as u64 * 5 + m as u64 * 3) % 21;
                    *rtt = truth[name].rtt[other].mul_f64(wobble as f64 / 100.0);
                }
            }
            mesh.minutes(1);
        }
        assert_eq!(mesh.moves, moves);
    }

    #[test]
    fn nobody_stands_in_at_the_same_site_while_there_is_another_choice() {
        let mut nodes = line(&[("fra-1", 0), ("fra-2", 1), ("lon-1", 14), ("lon-2", 15), ("nyc", 80)]);
        for (name, candidate) in &mut nodes {
            candidate.site = name.as_str().split('-').next().unwrap().to_owned();
        }
        let mut mesh = Mesh::new(nodes);
        mesh.minutes(3);
        assert_eq!(servers(&mesh.nodes, "fra-1"), ["fra-1", "lon-1", "nyc"], "and the two at different ones");
        // With nothing else left, the same site is better than nobody; when the others return, it is left again.
        let away: Vec<_> = ["lon-1", "lon-2", "nyc"].map(|name| mesh.nodes.remove_entry(&label(name)).unwrap()).into();
        mesh.minutes(3);
        assert_eq!(servers(&mesh.nodes, "fra-1"), ["fra-1", "fra-2"]);
        mesh.nodes.extend(away);
        mesh.minutes(40);
        assert_eq!(servers(&mesh.nodes, "fra-1"), ["fra-1", "lon-1", "nyc"]);
    }

    #[test]
    fn nobody_leaves_a_cut_whose_node_is_dead() {
        let mut mesh = Mesh::new(line(&[("ams", 7), ("fra", 0), ("lon", 14), ("nyc", 80)]));
        mesh.minutes(3);
        mesh.nodes.get_mut(&label("nyc")).unwrap().serves.insert(label("fra"));
        mesh.nodes.remove(&label("fra"));
        mesh.minutes(60);
        assert_eq!(servers(&mesh.nodes, "fra"), ["ams", "lon", "nyc"]);
    }
}
