//! Who stands before whom: the order of a service's servers as this node sees them, with hysteresis.
//!
//! Every node that answers from this node's rows must come to the same order, a backup that joined a minute ago too.
//! So no answering node remembers anything: the hysteresis is here, where the rows are made, and what is told of each
//! server is an RTT by which all others sort. A challenger that has not won yet is told as a microsecond behind the
//! one before it.
//!
//! A challenger passes an incumbent
//! - quickly, when the slowest of its last 5 answers beats the fastest of the incumbent's last 5 by 20 %, and by as much
//!   as the two paths used to swing before those 5;
//! - slowly, when its usual RTT (the mean of the faster three quarters of 30) is lower by 2 % + 1 ms and a quarter of
//!   what the paths swing;
//! - with fewer than 5 answers of one of them, by 2 % + 1 ms alone: somebody must stand first at the start.
//!
//! Measured with `cargo run --release -p nigh --example quality -- series`, which has the figures of what was rejected:
//! values held still path by path (each holds its own, so the order flaps when they cross), medians of 30
//! and of 5 (many times the changes on very noisy paths).
//!
//! **Invariants:** what is told rises strictly along the line; a row that is told has been moved by its path or by the
//! order, never by noise inside the deadband; of one line and one set of paths follows one order.

use std::collections::BTreeMap;
use std::time::Duration;

use super::filter::{FAST, Path, SLOW_LEAST, SLOW_PART, SLOW_STEP};

/// Quick: the challenger must win by more than this part.
const QUICK_PART: u32 = 5;
/// Slow: this part of the swing comes on top.
const SWING_PART: u32 = 4;
/// An RTT is told again when it is off by more than this part of what was told ...
const TOLD_PART: u32 = 10;
/// ... and by more than this.
const TOLD_STEP: Duration = Duration::from_millis(1);
/// Between two that stand in line.
const STEP: Duration = Duration::from_micros(1);
/// Places that are defended. Behind them servers stand by their RTT: no answer reaches so far, and comparing each of a
/// thousand with all others would cost more than it is worth.
const DEFENDED: usize = 16;

/// A server that is up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entrant {
    /// Its RTT, held still.
    pub rtt: Duration,
    /// What its path is like.
    pub path: Path,
}

/// The servers of one service and family, best first. `K` names a server.
#[derive(Clone, Debug)]
pub struct Line<K> {
    order: Vec<K>,
    told: BTreeMap<K, Duration>,
}

impl<K> Default for Line<K> {
    fn default() -> Self {
        Self { order: Vec::new(), told: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Line<K> {
    /// Who comes first.
    pub fn first(&self) -> Option<K> {
        self.order.first().copied()
    }

    /// Takes in how things are now, and says what to tell of each. A server that was not here before comes last and has
    /// to win its place; those that are here first stand by their RTT.
    pub fn settle(&mut self, entrants: &BTreeMap<K, Entrant>) -> &BTreeMap<K, Duration> {
        self.order.retain(|key| entrants.contains_key(key));
        let mut new: Vec<K> = entrants.keys().filter(|key| !self.order.contains(key)).copied().collect();
        new.sort_by_key(|key| entrants.get(key).map(|entrant| entrant.path.usual));
        self.order.append(&mut new);
        let mut line: Vec<(K, Entrant)> =
            self.order.iter().filter_map(|key| Some((*key, *entrants.get(key)?))).collect();
        let defended = DEFENDED.min(line.len());
        for place in 0..defended {
            let incumbent = line[place].1.path;
            let challengers = line.iter().enumerate().skip(place + 1);
            let winners = challengers.filter(|(_, (_, challenger))| wins(&challenger.path, &incumbent));
            if let Some((from, _)) = winners.min_by_key(|(_, (_, winner))| winner.path.usual.min(winner.path.slowest)) {
                line[place..=from].rotate_right(1);
            }
        }
        line[defended..].sort_by_key(|(_, entrant)| entrant.rtt);
        self.order = line.iter().map(|(key, _)| *key).collect();
        let mut least = Duration::ZERO;
        let told = line.into_iter().map(|(key, entrant)| {
            let kept = self.told.get(&key).copied().filter(|told| !has_moved(*told, entrant.rtt));
            let tell = kept.unwrap_or(entrant.rtt).max(least);
            least = tell + STEP;
            (key, tell)
        });
        self.told = told.collect();
        &self.told
    }
}

/// Whether `now` lies outside the deadband around `told`.
fn has_moved(told: Duration, now: Duration) -> bool {
    let off = told.abs_diff(now);
    off > told / TOLD_PART && off > TOLD_STEP
}

fn wins(challenger: &Path, incumbent: &Path) -> bool {
    let answers = challenger.answers.min(incumbent.answers);
    let lead = incumbent.usual.saturating_sub(challenger.usual);
    let slow = incumbent.usual / SLOW_PART + SLOW_STEP;
    if answers < FAST {
        return lead > slow;
    }
    let quick = (incumbent.fastest / QUICK_PART).max(challenger.swung).max(incumbent.swung);
    if incumbent.fastest.saturating_sub(challenger.slowest) > quick {
        return true;
    }
    answers >= SLOW_LEAST && lead > slow + challenger.swing.max(incumbent.swing) / SWING_PART
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn calm(rtt: u64) -> Entrant {
        Entrant { rtt: ms(rtt), path: Path { answers: 30, ..Path::remembered(ms(rtt)) } }
    }

    fn young(rtt: u64) -> Entrant {
        Entrant { rtt: ms(rtt), path: Path { answers: 1, ..Path::remembered(ms(rtt)) } }
    }

    /// Names in the order of what is told.
    fn order(told: &BTreeMap<char, Duration>) -> String {
        let mut sorted: Vec<_> = told.iter().map(|(key, rtt)| (*rtt, *key)).collect();
        sorted.sort_unstable();
        sorted.into_iter().map(|(_, key)| key).collect()
    }

    fn settle<const N: usize>(line: &mut Line<char>, entrants: [(char, Entrant); N]) -> String {
        order(line.settle(&entrants.into()))
    }

    #[test]
    fn the_first_order_is_by_rtt_and_a_small_lead_does_not_change_it() {
        let mut line = Line::default();
        assert_eq!(settle(&mut line, [('a', calm(20)), ('b', calm(30)), ('c', calm(10))]), "cab");
        // 2 % + 1 ms of 20 ms are 1.4 ms.
        assert_eq!(settle(&mut line, [('a', calm(20)), ('b', calm(19)), ('c', calm(10))]), "cab");
        assert_eq!(settle(&mut line, [('a', calm(20)), ('b', calm(18)), ('c', calm(10))]), "cba");
    }

    #[test]
    fn who_has_not_won_is_told_a_step_behind() {
        let mut line = Line::default();
        settle(&mut line, [('a', calm(20)), ('b', calm(30))]);
        let now = BTreeMap::from([('a', calm(20)), ('b', calm(19))]);
        assert_eq!(line.settle(&now)[&'b'], ms(20) + STEP);
        assert_eq!(line.settle(&now)[&'a'], ms(20));
    }

    #[test]
    fn a_rival_that_is_a_little_better_than_the_first_does_not_shield_it_from_a_much_better_one() {
        let mut line = Line::default();
        settle(&mut line, [('a', calm(100)), ('b', calm(101)), ('c', calm(120))]);
        // Neither b beats a nor c beats b by enough, but c beats a.
        assert_eq!(settle(&mut line, [('a', calm(100)), ('b', calm(98)), ('c', calm(96))]), "cab");
    }

    #[test]
    fn a_path_that_steps_up_is_left_after_five_answers_and_noise_is_not() {
        let stepped =
            Path { usual: ms(22), swing: ms(40), swung: ms(2), fastest: ms(60), slowest: ms(63), answers: 30 };
        let mut line = Line::default();
        settle(&mut line, [('a', calm(20)), ('b', calm(30))]);
        assert_eq!(settle(&mut line, [('a', Entrant { rtt: ms(60), path: stepped }), ('b', calm(30))]), "ba");
        let noisy = Path { swung: ms(40), ..stepped };
        let mut line = Line::default();
        settle(&mut line, [('a', calm(20)), ('b', calm(30))]);
        assert_eq!(settle(&mut line, [('a', Entrant { rtt: ms(60), path: noisy }), ('b', calm(30))]), "ab");
    }

    #[test]
    fn a_newcomer_needs_a_lead_but_no_record() {
        let mut line = Line::default();
        settle(&mut line, [('a', calm(20))]);
        assert_eq!(settle(&mut line, [('a', calm(20)), ('b', young(19))]), "ab");
        assert_eq!(settle(&mut line, [('a', calm(20)), ('b', young(15))]), "ba");
    }

    #[test]
    fn who_was_away_has_to_win_its_place_again() {
        let mut line = Line::default();
        settle(&mut line, [('a', calm(20)), ('b', calm(21))]);
        assert_eq!(settle(&mut line, [('b', calm(21))]), "b");
        assert_eq!(settle(&mut line, [('a', calm(20)), ('b', calm(21))]), "ba");
    }

    #[test]
    fn what_is_told_stays_within_the_deadband() {
        let mut line = Line::default();
        settle(&mut line, [('a', calm(20)), ('b', calm(80))]);
        assert_eq!(
            line.settle(&BTreeMap::from([('a', calm(22)), ('b', calm(73))])),
            &BTreeMap::from([('a', ms(20)), ('b', ms(80))])
        );
        assert_eq!(
            line.settle(&BTreeMap::from([('a', calm(23)), ('b', calm(71))])),
            &BTreeMap::from([('a', ms(23)), ('b', ms(71))])
        );
    }

    fn any_entrant() -> impl Strategy<Value = Entrant> {
        (1_u64..200, 0_u64..60, 0_u64..60, 1_u64..200, 0_u64..60, 0_usize..=30).prop_map(
            |(usual, swing, swung, fastest, more, answers)| Entrant {
                rtt: ms(usual),
                path: Path {
                    usual: ms(usual),
                    swing: ms(swing),
                    swung: ms(swung),
                    fastest: ms(fastest),
                    slowest: ms(fastest + more),
                    answers,
                },
            },
        )
    }

    proptest! {
        #[test]
        fn all_are_told_strictly_in_line(rounds in prop::collection::vec(prop::collection::btree_map(0_u8..40, any_entrant(), 0..40), 1..8)) {
            let mut line = Line::default();
            for entrants in rounds {
                let told = line.settle(&entrants).clone();
                prop_assert!(told.keys().eq(entrants.keys()));
                let in_line: Vec<Duration> = line.order.iter().map(|key| told[key]).collect();
                prop_assert!(in_line.windows(2).all(|pair| pair[0] < pair[1]), "{in_line:?}");
                // Nothing is told as better than it is, but for the deadband.
                for (key, entrant) in &entrants {
                    prop_assert!(told[key] >= entrant.rtt || !has_moved(told[key], entrant.rtt));
                }
            }
        }
    }
}
