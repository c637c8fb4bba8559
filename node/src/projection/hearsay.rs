//! Whether a server is up, where the row that decides does not say it any more.
//!
//! A row says two things of a server: how far it is, which holds for long, and whether it is up, which is as good as its
//! writer: one that lives tells what changes. These rows are hearsay, for nobody tells what changed:
//!
//! - of a dead node, by which its backups answer for its cut; of everybody else, at a node that was revoked;
//! - of one that came back less than [`SETTLING`] ago, which says what was when it was heard last until it finds out;
//! - those that their writer marks as held: no probe of its is answered, or it has started again and not measured yet;
//! - this node's own of a server that it has not measured.
//!
//! Who answers by such a row puts in the place of its state the first that there is of
//!
//! 1. what it measures itself;
//! 2. what others that live measure: up if one of them reaches the server, down if none does;
//! 3. what it measured last, before it was started again or cut off;
//! 4. what the row says.
//!
//! **Invariants:** distances are those of the row. A member that lies takes no server away that another one reaches.
//!
//! Rejected: to answer by this node's own distances at once. The others that stand in would each answer by theirs, and the
//! clients are at the writer's place until their CNAME ends.

use std::{cell::OnceCell, collections::BTreeMap, time::Duration};

use nigh_dns::{self as dns, Label, RowState};

use crate::{
    catalogue,
    facts::{Facts, NodeFacts},
    measure::{self, Measurements, State},
    tables::latency::{Health, Row, ServerKey},
};

/// How long one that comes back, or is heard for the first time, may take to tell what changed: to find a server down takes
/// three failures, two seconds apart and a second long each, unless set.
const SETTLING: Duration = Duration::from_secs(10);

/// Those who can say whether servers are up.
pub(super) struct Witnesses<'a> {
    facts: &'a Facts,
    own: Option<&'a Measurements>,
    /// What others say, else what this node did last. Gathered when the first question comes to them: mostly none does.
    others: OnceCell<BTreeMap<ServerKey, Word<'a>>>,
}

/// What somebody measures now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word<'a> {
    by: &'a Label,
    /// Why it is down; nothing: it is up.
    down: Option<&'a str>,
    as_of: Duration,
}

impl<'a> Witnesses<'a> {
    /// Without its own measurements this node is asked as any other is: by its rows.
    pub(super) fn new(facts: &'a Facts, own: Option<&'a Measurements>) -> Self {
        Self { facts, own, others: OnceCell::new() }
    }

    /// What a row of a node told; if that is hearsay, with what is known of the server now.
    pub(super) fn examine(&self, told: dns::Row, node: &NodeFacts, row: &Row) -> dns::Row {
        let stands = match told.node == self.facts.me {
            true => self.own.is_none(),
            false => node.heard_since.is_some_and(|since| since + SETTLING <= self.facts.at),
        };
        if stands && !row.held {
            return told;
        }
        match self.own(&told).or_else(|| self.others().get(&row.server).copied()) {
            Some(word) => word.put_into(told),
            None => told,
        }
    }

    fn own(&self, told: &dns::Row) -> Option<Word<'a>> {
        let row = self.own?.row(&catalogue::name::text(&told.service), &told.server)?;
        Word::of_own(row, &self.facts.me, self.facts.at)
    }

    fn others(&self) -> &BTreeMap<ServerKey, Word<'a>> {
        self.others.get_or_init(|| {
            let rows = |(label, node): (&'a Label, &'a NodeFacts)| {
                node.rows.iter().flat_map(|page| page.iter()).map(move |row| (label, node.confirmed, row))
            };
            let alive = |(label, node): &(&Label, &NodeFacts)| **label != self.facts.me && node.heard_since.is_some();
            let mut words = gather(self.facts.nodes.iter().filter(alive).flat_map(rows).filter(|(.., row)| !row.held));
            let mine = self.facts.nodes.get_key_value(&self.facts.me).into_iter().flat_map(rows);
            for (server, word) in gather(mine) {
                words.entry(server).or_insert(word);
            }
            words
        })
    }
}

impl<'a> Word<'a> {
    fn of_own(row: &'a measure::Row, me: &'a Label, now: Duration) -> Option<Self> {
        let seen = &row.reading;
        let down = match seen.state {
            _ if seen.held || !row.is_fresh(now) => return None,
            State::Unknown => return None,
            State::Up => None,
            State::Down => Some(seen.why.as_str()),
        };
        Some(Self { by: me, down, as_of: seen.sampled.unwrap_or(now) })
    }

    fn put_into(self, told: dns::Row) -> dns::Row {
        let (state, why) = match self.down {
            None => (RowState::Up, String::new()),
            Some(why) if *self.by == told.node => (RowState::Down, why.to_owned()),
            Some(why) => (RowState::Down, format!("{why}, as {} sees it", self.by)),
        };
        dns::Row { state, why, as_of: self.as_of, ..told }
    }
}

/// What these rows say together: by whom, confirmed when.
fn gather<'a>(rows: impl Iterator<Item = (&'a Label, Duration, &'a Row)>) -> BTreeMap<ServerKey, Word<'a>> {
    let mut words: BTreeMap<ServerKey, Word<'a>> = BTreeMap::new();
    for (by, as_of, row) in rows {
        let down = match row.state {
            Health::Unknown => continue,
            Health::Up => None,
            Health::Down => Some(row.why.as_str()),
        };
        let known = words.entry(row.server).or_insert(Word { by, down, as_of });
        if known.down.is_some() && down.is_none() {
            *known = Word { by, down, as_of };
        }
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::measure::{ProbeKind, ProbeSpec, Reading, Target};

    const NOW: Duration = Duration::from_secs(9);

    fn told(state: RowState) -> dns::Row {
        dns::Row {
            node: "fra".parse().unwrap(),
            service: "www.lb.example.com.".parse().unwrap(),
            server: "a".into(),
            state,
            rtt: Some(Duration::from_millis(7)),
            loss: 0.0,
            load: None,
            as_of: Duration::from_secs(1),
            why: String::new(),
        }
    }

    fn seen(state: State, held: bool) -> measure::Row {
        let probe = ProbeSpec {
            kind: ProbeKind::Tcp,
            port: 443,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            retries: 0,
            rise: 2,
            fall: 3,
        };
        let address = [192, 0, 2, 1].into();
        let target = Target { service: "www.lb.example.com".into(), server: "a".into(), address, probe: probe.into() };
        let mut row = measure::Row::unknown(target);
        let why = if state == State::Down { "connect: refused".into() } else { String::new() };
        row.reading = Reading { state, sampled: Some(Duration::from_secs(8)), why, held, ..row.reading };
        row
    }

    fn row(state: Health, held: bool) -> Row {
        let why = if state == Health::Down { "timeout".into() } else { String::new() };
        Row { server: ServerKey(7), state, rtt_us: None, loss_permille: 0, why, load_permille: None, held }
    }

    #[test]
    fn what_the_silent_said_of_distances_holds_and_who_is_up_this_node_sees_itself() {
        let me = "nyc".parse().unwrap();
        let put = |state, told| Word::of_own(&seen(state, false), &me, NOW).unwrap().put_into(told);
        let down = put(State::Down, told(RowState::Up));
        assert_eq!((down.state, down.why.as_str()), (RowState::Down, "connect: refused, as nyc sees it"));
        assert_eq!((down.rtt, down.as_of), (Some(Duration::from_millis(7)), Duration::from_secs(8)));
        assert_eq!(put(State::Up, told(RowState::Down)).state, RowState::Up);
        for blind in [seen(State::Unknown, false), seen(State::Down, true)] {
            assert_eq!(Word::of_own(&blind, &me, NOW), None, "it sees no better");
        }
        let later = NOW + Duration::from_secs(9);
        assert_eq!(Word::of_own(&seen(State::Up, false), &me, later), None, "it was stopped meanwhile");
    }

    #[test]
    fn a_server_is_up_if_one_that_lives_reaches_it_and_down_if_none_does() {
        let [ams, bru]: [Label; 2] = ["ams", "bru"].map(|name| name.parse().unwrap());
        let word = |a: Row, b: Row| {
            gather([(&ams, NOW, &a), (&bru, NOW, &b)].into_iter())
                .remove(&ServerKey(7))
                .map(|word| word.put_into(told(RowState::Up)))
        };
        let (up, down) = (|| row(Health::Up, false), || row(Health::Down, false));
        for one_reaches_it in [word(up(), down()), word(down(), up()), word(up(), up())] {
            assert_eq!(one_reaches_it.unwrap().state, RowState::Up);
        }
        let none = word(down(), down()).unwrap();
        assert_eq!((none.state, none.why.as_str(), none.as_of), (RowState::Down, "timeout, as ams sees it", NOW));
        let unknown = || row(Health::Unknown, false);
        assert_eq!(word(unknown(), down()).unwrap().state, RowState::Down);
        assert_eq!(word(unknown(), unknown()), None);
    }
}
