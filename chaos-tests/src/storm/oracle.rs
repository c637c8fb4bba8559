//! What a client may get: the truth beside every lookup, from the history alone.
//!
//! | got | judged |
//! |---|---|
//! | addresses, each of an origin that was up at some time since [`STALE`] before the question | good |
//! | an address of an origin that was away all that time, or of none | wrong |
//! | no address, though a server of the resolver's cut could be heard | wrong |
//! | no address within [`AFTERMATH`] of a time at which no server of the cut could be heard | excused, and counted |
//! | no address within [`AVOIDED`] of a time at which none of the nodes could be heard that DNS-A lists | excused, and counted: a CNAME that ends then cannot be renewed |
//! | no address within [`KEPT`] of a time at which each server of the cut was silent or lost packets | excused, and counted: PowerDNS asks each once, and keeps the failure as long as the CNAME in it |
//! | no address within [`AVOIDED`] of a time at which each node that DNS-A lists was silent or lost packets | excused, and counted: PowerDNS keeps such a failure for 20 s, and passes over a server for 10 s |
//!
//! While nothing is wrong the answer must also be the nearest: that is asked of the quiet phase, where nothing is left to
//! excuse ([`nearest`]).

use super::geography::Geography;
use super::history::{History, Trouble};
use super::promise::{AVOIDED, CNAME_TTL, LATE, STALE, VERDICT};
use super::world::DELEGATED;
use crate::bed::pulse::Beat;
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long a resolver may be without answers after all servers of its cut fell silent at once: the verdict, the TTL of the
/// CNAME that sends it there, and the time for which resolvers avoid servers that they found silent.
pub const AFTERMATH: Duration = Duration::from_secs(VERDICT.as_secs() + CNAME_TTL.as_secs() + AVOIDED.as_secs());
/// How long a resolver may keep a failure that came of lost packets. PowerDNS Recursor 4.8 was measured to keep one with a
/// CNAME in it until the CNAME ends, two times of four, where one without is gone after its 20 s.
pub const KEPT: Duration = Duration::from_secs(CNAME_TTL.as_secs() + LATE.as_secs());
/// Two origins are equally near if their distances differ by less: the filter's noise on a machine that does all this.
const TIE: Duration = Duration::from_millis(4);
/// Or by this part of the nearer one.
const TIE_PART: f64 = 0.1;

/// A lookup of a client, to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// At which point of presence.
    pub pop: usize,
    /// When it was begun, from the start of the run.
    pub begun: Duration,
    /// When it ended.
    pub ended: Duration,
    /// The addresses, or why there was none.
    pub got: Result<Vec<IpAddr>, String>,
}

impl Asked {
    /// A client's lookup in a run that began at `start`.
    pub fn of(pop: usize, beat: &Beat, start: Instant) -> Self {
        let got = match &beat.outcome {
            Ok(reply) if reply.is_good() => Ok(reply.addresses.iter().map(|(address, _)| *address).collect()),
            Ok(reply) => Err(format!("{} without an address", reply.code)),
            Err(why) => Err(why.clone()),
        };
        Self {
            pop,
            begun: beat.begun.saturating_duration_since(start),
            ended: beat.ended().saturating_duration_since(start),
            got,
        }
    }
}

/// What is thought of a lookup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "why", rename_all = "lowercase")]
pub enum Judged {
    /// As it should be.
    Good,
    /// It failed, as it may.
    Excused(String),
    /// It may not be so.
    Wrong(String),
}

/// Judges a lookup.
pub fn judge(asked: &Asked, history: &History, world: &Geography) -> Judged {
    let addresses = match &asked.got {
        Ok(addresses) => addresses,
        Err(why) => {
            return match excuse(asked, history, world) {
                Some(excuse) => Judged::Excused(format!("{why}; {excuse}")),
                None => Judged::Wrong(format!("{why}, though a server of its cut could be heard")),
            };
        }
    };
    for address in addresses {
        let Some(origin) = world.origins.iter().position(|origin| IpAddr::from(origin.address) == *address) else {
            return Judged::Wrong(format!("{address} is no origin"));
        };
        let since = asked.begun.saturating_sub(STALE);
        if history.away_throughout(origin, since, asked.ended) {
            return Judged::Wrong(format!(
                "{} was away since {:.0} s before the question",
                world.origins.get(origin).map_or("it", |origin| origin.id.as_str()),
                (asked.begun.saturating_sub(since)).as_secs_f64()
            ));
        }
    }
    Judged::Good
}

/// What may have kept a resolver from an answer.
fn excuse(asked: &Asked, history: &History, world: &Geography) -> Option<String> {
    let cut = |trouble, before| history.cut_was(trouble, asked.pop, asked.begun.saturating_sub(before), asked.ended);
    let listed: BTreeSet<usize> = (0..world.pops.len().min(DELEGATED)).collect();
    let roots =
        |trouble, before| history.were(trouble, &listed, asked.pop, asked.begun.saturating_sub(before), asked.ended);
    let said = |at: Duration, what: &str| format!("{what} at {:.0} s", at.as_secs_f64());
    None.or_else(|| cut(Trouble::Silent, AFTERMATH).map(|at| said(at, "its cut was silent")))
        .or_else(|| roots(Trouble::Silent, AVOIDED).map(|at| said(at, "no node that DNS-A lists was heard")))
        .or_else(|| cut(Trouble::Lossy, KEPT).map(|at| said(at, "each server of its cut lost packets or was silent")))
        .or_else(|| {
            roots(Trouble::Lossy, AVOIDED).map(|at| said(at, "each node that DNS-A lists lost packets or was silent"))
        })
}

/// Whether the first address is of the origin that is nearest to the point of presence, or as near. Otherwise why not.
/// Origins that `flapped` are held down for minutes: they may be left out.
pub fn nearest(asked: &Asked, world: &Geography, flapped: &BTreeSet<usize>) -> Result<(), String> {
    let pop = world.pops.get(asked.pop).ok_or("no such point of presence")?;
    let address = asked.got.as_ref()?.first().ok_or("no address")?;
    let order = world.by_distance(pop);
    let has_flapped =
        |id: &str| flapped.iter().any(|number| world.origins.get(*number).is_some_and(|one| one.id == id));
    let steady = order.iter().find(|(_, origin)| !has_flapped(&origin.id));
    let best = steady.or(order.first()).map(|(distance, _)| *distance).unwrap_or_default();
    let Some((distance, origin)) = order.into_iter().find(|(_, origin)| IpAddr::from(origin.address) == *address)
    else {
        return Err(format!("{address} is no origin"));
    };
    if distance.saturating_sub(best) <= TIE.max(best.mul_f64(TIE_PART)) {
        return Ok(());
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Err(format!("{} got {} at {:.1} ms, where the nearest is at {:.1} ms", pop.isp, origin.id, ms(distance), ms(best)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{AFTERMATH, AVOIDED, Asked, Judged, KEPT, STALE, judge, nearest};
    use crate::storm::fault::Fault;
    use crate::storm::geography::{Distances, Geography};
    use crate::storm::history::{History, Spell};
    use std::collections::BTreeSet;
    use std::net::IpAddr;
    use std::time::Duration;

    fn world() -> Geography {
        // Five sites on a line, 20 ms apart.
        let row = |a: i32| (0..5).map(|b| ((a - b).abs() * 20).to_string()).collect::<Vec<_>>().join(",");
        let matrix = (0..5).map(row).collect::<Vec<_>>().join("\n");
        Geography::draw(Distances::of_matrix(&matrix).unwrap(), 2, 3, 1).unwrap()
    }

    fn asked(at: u64, got: Result<Vec<IpAddr>, String>) -> Asked {
        Asked { pop: 0, begun: Duration::from_secs(at), ended: Duration::from_secs(at), got }
    }

    fn history(fault: Fault) -> History {
        History::of(vec![Spell { fault, from: Duration::from_secs(100), until: Duration::from_secs(200) }])
    }

    #[test]
    fn an_origin_that_has_been_away_may_not_be_answered() {
        let world = world();
        let history = history(Fault::OriginDown { origins: vec![1] });
        let address = IpAddr::from(world.origins[1].address);
        let just = 100 + STALE.as_secs();
        assert_eq!(judge(&asked(just - 1, Ok(vec![address])), &history, &world), Judged::Good);
        assert!(matches!(judge(&asked(just, Ok(vec![address])), &history, &world), Judged::Wrong(_)));
        assert_eq!(judge(&asked(201, Ok(vec![address])), &history, &world), Judged::Good);
        let stranger = "192.0.2.1".parse().unwrap();
        assert!(matches!(judge(&asked(1, Ok(vec![stranger])), &history, &world), Judged::Wrong(_)));
    }

    #[test]
    fn a_failure_is_excused_only_after_the_whole_cut_was_silent() {
        let world = world();
        let fail = |at| asked(at, Err("no answer".to_owned()));
        let dead = history(Fault::Kill { nodes: vec![0] });
        assert!(matches!(judge(&fail(99), &dead, &world), Judged::Wrong(_)));
        assert!(matches!(judge(&fail(101), &dead, &world), Judged::Excused(_)));
        assert!(matches!(judge(&fail(201 + AFTERMATH.as_secs()), &dead, &world), Judged::Wrong(_)));
        let other = history(Fault::Kill { nodes: vec![1] });
        assert!(matches!(judge(&fail(101), &other, &world), Judged::Wrong(_)));
    }

    #[test]
    fn a_failure_is_excused_while_packets_of_the_whole_cut_get_lost() {
        let places: Vec<String> = (0..20).map(|n| format!("p{n},{n},{n}")).collect();
        let world = Geography::draw(Distances::of_list(&places.join("\n")).unwrap(), 8, 3, 1).unwrap();
        let fail = |at| Asked { pop: 7, ..asked(at, Err("SERVFAIL".to_owned())) };
        let of = |nodes| history(Fault::Loss { nodes, percent: 9 });
        assert!(matches!(judge(&fail(150), &of(vec![7]), &world), Judged::Excused(_)), "it alone serves its cut");
        assert!(matches!(judge(&fail(99), &of(vec![7]), &world), Judged::Wrong(_)));
        assert!(matches!(judge(&fail(199 + KEPT.as_secs()), &of(vec![7]), &world), Judged::Excused(_)));
        assert!(matches!(judge(&fail(201 + KEPT.as_secs()), &of(vec![7]), &world), Judged::Wrong(_)));
        assert!(matches!(judge(&fail(150), &of(vec![0, 1, 2, 3]), &world), Judged::Wrong(_)), "n05 is heard well");
        assert!(matches!(judge(&fail(150), &of(vec![0, 1, 2, 3, 4]), &world), Judged::Excused(_)));
    }

    #[test]
    fn a_failure_is_excused_while_nobody_is_heard_whom_dns_a_lists() {
        let places: Vec<String> = (0..20).map(|n| format!("p{n},{n},{n}")).collect();
        let world = Geography::draw(Distances::of_list(&places.join("\n")).unwrap(), 8, 3, 1).unwrap();
        let fail = |pop, at| Asked { pop, ..asked(at, Err("no answer".to_owned())) };
        // The island hears its own node, which is none of the first five.
        let island = history(Fault::Partition { nodes: vec![7] });
        assert!(matches!(judge(&fail(7, 150), &island, &world), Judged::Excused(_)));
        assert!(matches!(judge(&fail(7, 99), &island, &world), Judged::Wrong(_)));
        assert!(matches!(judge(&fail(7, 201 + AVOIDED.as_secs()), &island, &world), Judged::Wrong(_)));
        assert!(matches!(
            judge(&fail(3, 150), &history(Fault::Partition { nodes: vec![3] }), &world),
            Judged::Wrong(_)
        ));
    }

    #[test]
    fn the_nearest_is_the_nearest_or_as_near() {
        let world = world();
        let order = world.by_distance(&world.pops[0]);
        let at = |place: usize| asked(1, Ok(vec![order[place].1.address.into()]));
        assert_eq!(nearest(&at(0), &world, &BTreeSet::new()), Ok(()));
        assert!(nearest(&at(2), &world, &BTreeSet::new()).is_err());
        let flapped = |place: usize| world.origins.iter().position(|origin| origin.id == order[place].1.id).unwrap();
        assert_eq!(nearest(&at(2), &world, &BTreeSet::from([flapped(0), flapped(1)])), Ok(()));
        assert_eq!(nearest(&at(0), &world, &BTreeSet::from([flapped(0)])), Ok(()), "it is used again");
    }
}
