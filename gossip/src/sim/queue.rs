//! What happens next: events in the order (time, sequence).
//!
//! A timing wheel of one-millisecond slots holds the next eight seconds, a heap what lies beyond, and a small heap the
//! slot of the present. At ten thousand nodes a single heap has hundreds of thousands of entries, and each look at it
//! misses the cache; the heap of one slot stays within it.
//!
//! **Invariant:** events leave in the order of (time, sequence), so two events of one microsecond keep the order in
//! which they were scheduled.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::time::Moment;

/// Microseconds of a slot, as a shift: 1,024.
const SLOT_SHIFT: u32 = 10;
/// Slots of the wheel: a little over eight seconds, so that only idle timeouts go to the far heap.
const SLOTS: u64 = 8192;

/// What can happen. Hosts and connections are numbers, so that an event is 16 bytes; messages wait in their streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A node's timer.
    Tick { node: u32, life: u32 },
    /// The first packet of a handshake arrives.
    Dial { from: u32, to: u32 },
    /// A handshake is complete for this end.
    Up { node: u32, peer: u32, connection: u32 },
    /// This end learns that the connection is gone.
    Down { node: u32, peer: u32, connection: u32 },
    /// Look whether this end heard nothing for the idle timeout.
    Idle { node: u32, peer: u32, connection: u32 },
    /// Modelled heartbeats of a peer begin to arrive, or arrive no more.
    Beats { node: u32, peer: u32, connection: u32 },
    /// The head of a stream arrives.
    Deliver { from: u32, to: u32, connection: u32 },
    /// A paused node goes on.
    Resume { node: u32, pause: u32 },
    /// A node that stalls now and then stalls.
    Stall { node: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Moment,
    sequence: u64,
    event: Event,
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

pub(super) struct Queue {
    sequence: u64,
    slot: u64,
    current: BinaryHeap<Reverse<Entry>>,
    wheel: Vec<Vec<Entry>>,
    far: BinaryHeap<Reverse<Entry>>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            sequence: 0,
            slot: 0,
            current: BinaryHeap::new(),
            wheel: (0..SLOTS).map(|_| Vec::new()).collect(),
            far: BinaryHeap::new(),
        }
    }

    pub(super) fn push(&mut self, at: Moment, event: Event) {
        self.sequence += 1;
        let entry = Entry { at, sequence: self.sequence, event };
        match (at.0 >> SLOT_SHIFT).checked_sub(self.slot) {
            None | Some(0) => self.current.push(Reverse(entry)),
            Some(1..SLOTS) => self.wheel[place(at)].push(entry),
            Some(_) => self.far.push(Reverse(entry)),
        }
    }

    /// The next event that happens no later than `until`.
    pub(super) fn pop(&mut self, until: Moment) -> Option<(Moment, Event)> {
        loop {
            if let Some(Reverse(next)) = self.current.peek() {
                if next.at > until {
                    return None;
                }
                return self.current.pop().map(|Reverse(entry)| (entry.at, entry.event));
            }
            if (self.slot + 1) << SLOT_SHIFT > until.0 {
                return None;
            }
            self.slot += 1;
            while let Some(Reverse(next)) = self.far.peek()
                && next.at.0 >> SLOT_SHIFT < self.slot + SLOTS
                && let Some(Reverse(entry)) = self.far.pop()
            {
                self.wheel[place(entry.at)].push(entry);
            }
            let here = place(Moment(self.slot << SLOT_SHIFT));
            self.current.extend(self.wheel[here].drain(..).map(Reverse));
        }
    }
}

fn place(at: Moment) -> usize {
    usize::try_from((at.0 >> SLOT_SHIFT) % SLOTS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is scheduled, from whatever moment, comes in order; equal times in the order of scheduling.
        #[test]
        fn events_come_in_order(times in prop::collection::vec(0u64..40_000_000, 1..200), step in 1u64..5_000_000) {
            let mut queue = Queue::new();
            let mut expected = Vec::new();
            for (n, at) in (0u32..).zip(&times) {
                queue.push(Moment(*at), Event::Stall { node: n });
                expected.push((Moment(*at), n));
            }
            expected.sort_unstable();
            let (mut got, mut until) = (Vec::new(), 0);
            while until < 40_000_000 {
                until += step;
                while let Some((at, Event::Stall { node })) = queue.pop(Moment(until)) {
                    prop_assert!(at.0 <= until);
                    got.push((at, node));
                    if node == 0 {
                        queue.push(at, Event::Stall { node: u32::MAX }); // at once, after all of this moment
                        expected.push((at, u32::MAX));
                    }
                }
            }
            expected.sort_unstable();
            prop_assert_eq!(got, expected);
        }
    }
}
