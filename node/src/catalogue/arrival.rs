//! Whether a node that began without a catalogue has learnt it by now.
//!
//! The catalogue comes page by page: a zone without its services is NXDOMAIN for all of them, and a service without its
//! servers has no address. Resolvers keep both, so until it is whole nothing is said at all; while a node is silent they
//! ask a backup. There is no mark for "whole" in a mesh that changes all the time, but what a newcomer lacks comes in a
//! stream: when the number of pages has stopped growing, that has ended.
//!
//! A node that restarts with its replica waits for nothing, also where there is no zone yet: what it held is what there was.
//! Only of itself it says nothing before it has heard what the others hold of it: its disk may be an older copy.
//!
//! **Invariant:** it ends, at the latest after `STREAM`, and it ends once.

use std::time::Duration;

/// A node waits so long for the first zone: a new mesh has none yet.
const ZONE: Duration = Duration::from_secs(5);
/// So long there must have been no further page.
const PAUSE: Duration = Duration::from_millis(1000);
/// What the others hold of a node that has its replica is waited for so long at most: it is one page, from any of them.
const OWN: Duration = Duration::from_secs(2);
/// Nobody is waited for longer than this: an empty node joins a mesh with a million claims in a third of it.
const STREAM: Duration = Duration::from_secs(30);

/// What has come so far.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    has_replica: bool,
    over: bool,
    pages: usize,
    grown: Duration,
}

impl Arrival {
    /// Of a node that starts, with what it held before or without.
    pub fn new(has_replica: bool) -> Self {
        Self { has_replica, over: has_replica, pages: 0, grown: Duration::ZERO }
    }

    /// When what the mesh holds of this node itself has come, if anything: it is at the head of the stream, so no zone is
    /// waited for.
    pub fn own_pages_by(&self) -> Duration {
        if self.has_replica { OWN } else { (self.grown + PAUSE).min(STREAM) }
    }

    /// Whether it is still going on, given what is held now; and if so, when to look again.
    pub fn handle(&mut self, now: Duration, knows_zones: bool, pages: usize) -> Option<Duration> {
        if self.over {
            return None;
        }
        if pages > self.pages {
            (self.pages, self.grown) = (pages, now);
        }
        let end = if knows_zones { (self.grown + PAUSE).min(STREAM) } else { ZONE };
        self.over = now >= end;
        (!self.over).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn who_has_what_it_held_before_waits_for_nothing() {
        assert_eq!(Arrival::new(true).handle(ms(0), true, 40), None);
        assert_eq!(Arrival::new(true).own_pages_by(), ms(2000), "but to speak of itself");
    }

    #[test]
    fn a_catalogue_that_comes_in_pieces_is_waited_for_until_no_more_comes() {
        let mut arrival = Arrival::new(false);
        assert_eq!(arrival.handle(ms(0), false, 1), Some(ms(5000)));
        assert_eq!(arrival.handle(ms(300), true, 9), Some(ms(1300)), "a zone, and who knows what of it");
        assert_eq!(arrival.handle(ms(700), true, 30), Some(ms(1700)));
        assert_eq!(arrival.handle(ms(1300), true, 30), Some(ms(1700)), "rows that change are no growth");
        assert_eq!(arrival.handle(ms(1700), true, 30), None);
        assert_eq!(arrival.handle(ms(1800), true, 31), None, "once over, it is over");
    }

    #[test]
    fn what_the_mesh_holds_of_the_node_itself_is_waited_for_without_a_zone() {
        let mut arrival = Arrival::new(false);
        assert_eq!(arrival.handle(ms(400), false, 2), Some(ms(5000)));
        assert_eq!(arrival.own_pages_by(), ms(1400));
    }

    #[test]
    fn a_new_mesh_and_one_that_never_stops_growing_are_waited_for_no_longer_than_said() {
        let mut arrival = Arrival::new(false);
        assert!(arrival.handle(ms(4999), false, 1).is_some());
        assert_eq!(arrival.handle(ms(5000), false, 1), None);
        let mut arrival = Arrival::new(false);
        assert!((1..300).all(|tenth| arrival.handle(ms(100 * tenth), true, tenth as usize).is_some()));
        assert_eq!(arrival.handle(ms(30_000), true, 301), None);
    }
}
