//! Which rows are worth telling the mesh.
//!
//! A page of rows is signed, sent to every node and stored there. A page goes out
//! - at once when a row appears, disappears or changes its state: answers depend on it;
//! - when an RTT is another than the mesh was told, but not within one second of the page's last publication, whatever
//!   that was for;
//! - likewise when the losses are off by more than a tenth, or the load by anything: it holds still by itself
//!   ([`super::load`]), or when it begins or ends that no probe is answered ([`super::isolation`]).
//!
//! An RTT that wobbles by half a millisecond is not worth a page, and none is offered: what comes here has gone through
//! [`super::order`], which moves it by more than 10 % and 1 ms, or because the order of two servers has changed. That
//! must be told however small it is, or two nodes would give different answers from one node's rows.
//!
//! One [`Deadband`] per page. A publication carries all rows of the page, so it settles all of them at once.
//!
//! **Invariants:** two publications less than a second apart are a change of state or of the set of rows; and once a
//! second has passed since the last, the mesh was told what was offered.
//!
//! Rejected: comparing with the last *measured* value (a slow drift would never be told); publishing the one row
//! (the page is the unit of signing).

use std::collections::BTreeMap;
use std::time::Duration;

use super::filter::{Reading, State};

/// Least time between two publications of a page that only move RTTs.
pub const SPACING: Duration = Duration::from_secs(1);
/// Losses are told again when they are off by more than this, in thousandths: of a window of 30 samples three make that.
const LOSS_STEP: u16 = 100;

/// The part of a row that others act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Up or down.
    pub state: State,
    /// The steering RTT.
    pub rtt: Option<Duration>,
    /// Thousandths of the probes that were lost.
    pub loss_permille: u16,
    /// Thousandths of the server's capacity in use, if it tells.
    pub load_permille: Option<u16>,
    /// It is what was measured before no probe was answered any more.
    pub held: bool,
}

impl From<&Reading> for Told {
    fn from(reading: &Reading) -> Self {
        // In 0..=1000 whatever the float is: casts saturate, NaN becomes 0.
        let loss_permille = (reading.loss * 1000.0).round() as u16;
        Self { state: reading.state, rtt: reading.rtt, loss_permille, load_permille: None, held: reading.held }
    }
}

/// What to do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Publish it now; from here on it counts as told.
    Publish,
    /// Something moved, but it is too soon: offer the page again at this time.
    Wait(Duration),
    /// Nothing worth telling.
    Quiet,
}

/// What the mesh was told of one page. `K` names a row in its page.
#[derive(Clone, Debug)]
pub struct Deadband<K> {
    told: BTreeMap<K, Told>,
    last: Option<Duration>,
}

impl<K> Default for Deadband<K> {
    fn default() -> Self {
        Self { told: BTreeMap::new(), last: None }
    }
}

impl<K: Ord> Deadband<K> {
    /// Offers the page's present rows; [`Verdict::Publish`] obliges the caller to publish just these.
    pub fn offer(&mut self, now: Duration, rows: BTreeMap<K, Told>) -> Verdict {
        let same_rows = self.told.len() == rows.len() && self.told.keys().eq(rows.keys());
        let mut pairs = self.told.values().zip(rows.values());
        let urgent = !same_rows || pairs.clone().any(|(told, row)| told.state != row.state);
        let free_at = self.last.map_or(now, |last| last + SPACING);
        if urgent || (now >= free_at && pairs.clone().any(|(told, row)| off(told, row))) {
            self.told = rows;
            self.last = Some(now);
            Verdict::Publish
        } else if pairs.any(|(told, row)| off(told, row)) {
            Verdict::Wait(free_at)
        } else {
            Verdict::Quiet
        }
    }

    /// What the mesh was told last.
    pub fn told(&self) -> &BTreeMap<K, Told> {
        &self.told
    }
}

/// Whether a row is another than what was told, as far as that matters.
fn off(told: &Told, now: &Told) -> bool {
    told.rtt != now.rtt
        || told.loss_permille.abs_diff(now.loss_permille) > LOSS_STEP
        || told.load_permille != now.load_permille
        || told.held != now.held
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn told(state: State, rtt: Option<Duration>) -> Told {
        Told { state, rtt, loss_permille: 0, load_permille: None, held: false }
    }

    fn page<const N: usize>(rows: [(State, u64); N]) -> BTreeMap<usize, Told> {
        rows.into_iter().map(|(state, rtt)| told(state, (rtt > 0).then(|| ms(rtt)))).enumerate().collect()
    }

    #[test]
    fn a_scene_in_one_page() {
        use State::{Down, Unknown, Up};
        let mut deadband = Deadband::default();
        for (at, rows, wanted) in [
            (0, page([]), Verdict::Quiet),
            (10, page([(Unknown, 0)]), Verdict::Publish),
            (20, page([(Up, 20)]), Verdict::Publish),
            (30, page([(Up, 20)]), Verdict::Quiet),
            (40, page([(Up, 23)]), Verdict::Wait(ms(1020))),
            (1019, page([(Up, 23)]), Verdict::Wait(ms(1020))),
            (1020, page([(Up, 23)]), Verdict::Publish),
            (1030, page([(Down, 23)]), Verdict::Publish),
            (1040, page([(Up, 23)]), Verdict::Publish),
            (1050, page([(Up, 23), (Up, 5)]), Verdict::Publish),
            (1060, page([(Up, 23)]), Verdict::Publish),
            (9000, page([(Up, 23)]), Verdict::Quiet),
            (9000, page([(Up, 0)]), Verdict::Publish),
            (9100, page([]), Verdict::Publish),
        ] {
            assert_eq!(deadband.offer(ms(at), rows.clone()), wanted, "at {at}: {rows:?}");
        }
    }

    #[test]
    fn another_row_in_the_same_place_is_a_change() {
        let mut deadband = Deadband::default();
        let told = told(State::Up, Some(ms(20)));
        assert_eq!(deadband.offer(ms(0), BTreeMap::from([("a", told)])), Verdict::Publish);
        assert_eq!(deadband.offer(ms(1), BTreeMap::from([("b", told)])), Verdict::Publish);
    }

    #[test]
    fn load_and_losses_are_told_as_round_trips_are() {
        let mut deadband = Deadband::default();
        let row = |loss_permille, load_permille| {
            BTreeMap::from([("a", Told { loss_permille, load_permille, ..told(State::Up, Some(ms(20))) })])
        };
        assert_eq!(deadband.offer(ms(0), row(0, None)), Verdict::Publish);
        for (at, rows, wanted) in [
            (1500, row(100, None), Verdict::Quiet),
            (1600, row(101, None), Verdict::Publish),
            (1700, row(101, Some(400)), Verdict::Wait(ms(2600))),
            (2600, row(101, Some(400)), Verdict::Publish),
            (9000, row(101, Some(400)), Verdict::Quiet),
            (9000, row(101, None), Verdict::Publish),
        ] {
            assert_eq!(deadband.offer(ms(at), rows.clone()), wanted, "at {at}: {rows:?}");
        }
    }

    fn any_page() -> impl Strategy<Value = BTreeMap<usize, Told>> {
        let state = prop::sample::select(vec![State::Up, State::Up, State::Up, State::Up, State::Down, State::Unknown]);
        let row = (state, 1u64..40).prop_map(|(state, rtt)| told(state, Some(ms(rtt))));
        prop::collection::btree_map(0usize..3, row, 2..4)
    }

    proptest! {
        #[test]
        fn both_invariants_hold(offers in prop::collection::vec((0u64..900, any_page()), 1..60)) {
            let mut deadband = Deadband::default();
            let mut now = Duration::ZERO;
            let mut last: Option<(Duration, BTreeMap<usize, Told>)> = None;
            for (wait, rows) in offers {
                now += ms(wait);
                let verdict = deadband.offer(now, rows.clone());
                if verdict == Verdict::Publish {
                    if let Some((before, told)) = &last {
                        let states = |rows: &BTreeMap<usize, Told>| rows.iter().map(|(k, row)| (*k, row.state)).collect::<Vec<_>>();
                        prop_assert!(now - *before >= SPACING || states(told) != states(&rows), "too soon");
                    }
                    last = Some((now, rows.clone()));
                }
                let (at, told) = last.clone().unwrap_or_default();
                let off = rows.iter().any(|(key, row)| match told.get(key) {
                    Some(told) => told.state != row.state || told.rtt != row.rtt,
                    None => true,
                });
                prop_assert_eq!(off, matches!(verdict, Verdict::Wait(_)), "left untold without a word");
                if off {
                    prop_assert!(now < at + SPACING && verdict == Verdict::Wait(at + SPACING), "{verdict:?}");
                }
                prop_assert_eq!(deadband.told(), &told);
            }
        }
    }
}
