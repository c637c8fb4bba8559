//! When one source is asked again, and what is believed of it: A and AAAA, each by its TTL.
//!
//! ```text
//!   addresses ─▶ believed, again after the TTL
//!   nothing ───▶ not believed at once: a zone half reloaded says so too. After [`EMPTY_IN_A_ROW`] times one family may
//!                go, but never the last address: then the last known set stands, with a warning (RFC 8767's spirit)
//!   failure ───▶ the last known set, and again with growing pauses; after [`FAILURES_IN_A_ROW`] it is said, so that
//!                another node may try
//! ```

use std::net::IpAddr;
use std::time::Duration;

use super::chase::Outcome;

/// The shortest pause, whatever the TTL: DNS-A is asked by a few nodes of a mesh, not by a crowd.
pub const SHORTEST: Duration = Duration::from_secs(5);
/// The longest: a change is wanted sooner than a day's TTL allows.
pub const LONGEST: Duration = Duration::from_secs(300);
/// A first failure is asked about again after this, then after twice as much and so on.
pub const RETRY: Duration = Duration::from_secs(1);
/// The longest pause between attempts that fail.
pub const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// How often nothing must be answered until it is believed.
pub const EMPTY_IN_A_ROW: u32 = 3;
/// Failures in a row until the source is in trouble.
pub const FAILURES_IN_A_ROW: u32 = 3;

/// A or AAAA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// A.
    V4,
    /// AAAA.
    V6,
}

/// Both.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What is known of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its addresses in order; none if nothing has come yet.
    pub addresses: Option<Vec<IpAddr>>,
    /// Why that is not what DNS-A says now; empty if it is.
    pub trouble: String,
}

/// One source's timers and beliefs.
#[derive(Clone, Debug, Default)]
pub struct Polling {
    families: [Half; 2],
}

#[derive(Clone, Debug, Default)]
struct Half {
    known: Option<Vec<IpAddr>>,
    next: Duration,
    under_way: bool,
    empty: u32,
    failures: u32,
    why: String,
}

impl Polling {
    /// The families to ask for now. They count as under way until [`Polling::handle`] has their outcome.
    pub fn due(&mut self, now: Duration) -> Vec<Family> {
        let due = |family: &Family| {
            let half = &self.families[*family as usize];
            !half.under_way && half.next <= now
        };
        let families: Vec<Family> = FAMILIES.into_iter().filter(due).collect();
        for family in &families {
            self.families[*family as usize].under_way = true;
        }
        families
    }

    /// When something is due next; none while all is under way.
    pub fn next(&self) -> Option<Duration> {
        self.families.iter().filter(|half| !half.under_way).map(|half| half.next).min()
    }

    /// Asks for everything again: something has changed at DNS-A.
    pub fn hurry(&mut self, now: Duration) {
        for half in &mut self.families {
            half.next = half.next.min(now);
        }
    }

    /// Takes what came. `jitter` in 0 to 1 spreads retries.
    pub fn handle(&mut self, now: Duration, family: Family, outcome: Outcome, jitter: f64) {
        let other_has = self.families[1 - family as usize].has_any();
        let half = &mut self.families[family as usize];
        half.under_way = false;
        match outcome {
            Outcome::Addresses(addresses, ttl) => {
                let pause = Duration::from_secs(ttl.into()).clamp(SHORTEST, LONGEST);
                *half = Half { known: Some(addresses), next: now + pause, ..Half::default() };
            }
            Outcome::Empty => {
                half.failures = 0;
                half.empty = half.empty.saturating_add(1);
                let sure = half.empty >= EMPTY_IN_A_ROW;
                half.why.clear();
                if !half.has_any() || (sure && other_has) {
                    half.known = Some(Vec::new());
                } else if sure {
                    half.why = "DNS-A says that there is no address any more".into();
                }
                // A name that has no IPv6 is asked as seldom as one that has.
                let settled = half.known.as_ref().is_some_and(Vec::is_empty) && other_has;
                half.next = now + if settled { LONGEST.min(SHORTEST * 12) } else { SHORTEST };
            }
            Outcome::Failed(why) => {
                half.empty = 0;
                half.failures = half.failures.saturating_add(1);
                if half.failures >= FAILURES_IN_A_ROW {
                    half.why = why;
                }
                let pause = RETRY.saturating_mul(1 << (half.failures - 1).min(10)).min(LONGEST_RETRY);
                half.next = now + pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
            }
        }
    }

    /// What is known.
    pub fn found(&self) -> Found {
        let any = self.families.iter().any(|half| half.known.is_some());
        let addresses: Vec<IpAddr> =
            self.families.iter().filter_map(|half| half.known.as_ref()).flatten().copied().collect();
        let trouble =
            self.families.iter().map(|half| half.why.as_str()).find(|why| !why.is_empty()).unwrap_or_default();
        // While the other family is still under way for the first time, half of a pool is not told as the whole.
        let complete = self.families.iter().all(|half| half.known.is_some() || half.failures >= FAILURES_IN_A_ROW);
        if any && complete && addresses.is_empty() && trouble.is_empty() {
            return Found { addresses: None, trouble: "DNS-A says that there is no address".into() };
        }
        let addresses = (complete && !addresses.is_empty()).then_some(addresses);
        Found { addresses, trouble: trouble.to_owned() }
    }
}

impl Half {
    fn has_any(&self) -> bool {
        self.known.as_ref().is_some_and(|known| !known.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn some(last: &[u8], ttl: u32) -> Outcome {
        Outcome::Addresses(last.iter().map(|last| [192, 0, 2, *last].into()).collect(), ttl)
    }

    fn failed() -> Outcome {
        Outcome::Failed("no reply".into())
    }

    fn last(found: &Found) -> Vec<u8> {
        let addresses = found.addresses.iter().flatten();
        addresses.map(|address| if let IpAddr::V4(v4) = address { v4.octets()[3] } else { 0 }).collect()
    }

    fn known() -> Polling {
        let mut polling = Polling::default();
        assert_eq!(polling.due(at(0)), FAMILIES);
        assert!(polling.due(at(0)).is_empty(), "under way");
        polling.handle(at(0), Family::V4, some(&[1, 2], 20), 0.0);
        assert_eq!(polling.found().addresses, None, "half of it");
        polling.handle(at(0), Family::V6, Outcome::Empty, 0.0);
        assert_eq!((last(&polling.found()), polling.found().trouble.as_str()), (vec![1, 2], ""));
        polling
    }

    #[test]
    fn each_family_is_asked_by_its_ttl_within_bounds() {
        let mut polling = known();
        assert_eq!(polling.next(), Some(at(20)));
        assert!(polling.due(at(19)).is_empty());
        assert_eq!(polling.due(at(20)), [Family::V4]);
        polling.handle(at(20), Family::V4, some(&[1], 0), 0.0);
        assert_eq!(polling.next(), Some(at(20) + SHORTEST));
        polling.due(at(25));
        polling.handle(at(25), Family::V4, some(&[1], u32::MAX), 0.0);
        assert_eq!(polling.families[0].next, at(25) + LONGEST);
    }

    #[test]
    fn nothing_answered_never_empties_a_pool_but_may_take_a_family_away() {
        let mut polling = known();
        for n in 1..=10 {
            polling.handle(at(20 + n), Family::V4, Outcome::Empty, 0.0);
            assert_eq!(last(&polling.found()), [1, 2]);
            assert_eq!(polling.found().trouble.is_empty(), n < u64::from(EMPTY_IN_A_ROW));
        }
        polling.handle(at(40), Family::V4, some(&[3], 20), 0.0);
        assert_eq!((last(&polling.found()), polling.found().trouble.as_str()), (vec![3], ""));
        polling.handle(at(41), Family::V6, Outcome::Addresses(vec!["2001:db8::1".parse().unwrap()], 9), 0.0);
        for n in 0..EMPTY_IN_A_ROW {
            assert_eq!(polling.found().addresses.unwrap().len(), 2, "{n}");
            polling.handle(at(50), Family::V6, Outcome::Empty, 0.0);
        }
        assert_eq!((last(&polling.found()), polling.found().trouble.as_str()), (vec![3], ""));
    }

    #[test]
    fn failures_keep_what_is_known_and_come_ever_more_seldom() {
        let mut polling = known();
        let mut pauses = Vec::new();
        for n in 1..12 {
            polling.handle(at(100), Family::V4, failed(), 1.0);
            assert_eq!(last(&polling.found()), [1, 2]);
            assert_eq!(polling.found().trouble.is_empty(), n < FAILURES_IN_A_ROW);
            pauses.push((polling.families[0].next - at(100)).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
    }

    #[test]
    fn a_source_that_never_answered_is_in_trouble_and_has_no_set() {
        let mut polling = Polling::default();
        for family in FAMILIES {
            (0..FAILURES_IN_A_ROW).for_each(|_| polling.handle(at(1), family, failed(), 0.5));
        }
        assert_eq!(polling.found(), Found { addresses: None, trouble: "no reply".into() });
        let mut polling = Polling::default();
        FAMILIES.into_iter().for_each(|family| polling.handle(at(1), family, Outcome::Empty, 0.5));
        assert_eq!(polling.found().addresses, None);
        assert!(polling.found().trouble.contains("no address"));
    }

    #[test]
    fn news_from_dns_a_make_it_due_at_once() {
        let mut polling = known();
        polling.hurry(at(3));
        assert_eq!(polling.due(at(3)), FAMILIES);
    }

    proptest! {
        #[test]
        fn once_known_a_pool_is_never_empty_and_never_asked_in_a_storm(
            steps in prop::collection::vec((0..3u8, any::<bool>(), 0..4u32, any::<f64>()), 1..200)
        ) {
            let mut polling = known();
            let mut now = at(20);
            for (kind, six, ttl, jitter) in steps {
                let family = if six { Family::V6 } else { Family::V4 };
                let outcome = match kind {
                    0 => some(&[ttl as u8 + 1], ttl),
                    1 => Outcome::Empty,
                    _ => failed(),
                };
                polling.handle(now, family, outcome, jitter);
                prop_assert!(polling.found().addresses.is_some_and(|addresses| !addresses.is_empty()));
                let pause = polling.families[family as usize].next - now;
                prop_assert!((RETRY / 2..=LONGEST).contains(&pause), "{:?}", pause);
                now += at(1);
            }
        }
    }
}
