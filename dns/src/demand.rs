//! Who asks and is claimed by nobody: the networks that ask most, for operators who look for what to cover next.
//!
//! One answer in [`SAMPLE`] to such a client is noted, in a sketch of the thread's own: Space-Saving (Metwally, Agrawal and
//! El Abbadi, ICDT 2005) keeps [`PLACES`] networks, and a new one takes the place of the least and inherits its count as
//! its possible error. A network that asks more than one in [`PLACES`] times is never missed. Every [`HALF_LIFE`] all
//! counts are halved, so that the list is of today.
//!
//! **Invariant:** a sketch has the size it was made with; the packet path takes no lock that it would have to wait for (a
//! reader at the same moment costs a sample), and allocates nothing.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use ipnet::IpNet;

use crate::counters::{Counters, SHARDS};

/// One in so many is noted.
pub const SAMPLE: u32 = 16;
/// Networks in each sketch.
const PLACES: usize = 256;
/// After so long half of a count is forgotten.
const HALF_LIFE: Duration = Duration::from_secs(600);

thread_local! {
    static TURN: Cell<u32> = const { Cell::new(0) };
}

/// The sketches of all threads.
pub(crate) struct Demand {
    shards: [Mutex<Sketch>; SHARDS],
}

/// A network that asks, and how often of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demanded {
    /// A /24, or a /48 of IPv6.
    pub network: IpNet,
    /// Questions, in about the last quarter of an hour: an estimate from samples.
    pub questions: u64,
    /// By how much that may be too high.
    pub error: u64,
}

#[derive(Default)]
struct Sketch {
    places: Vec<Place>,
    halved: Duration,
}

#[derive(Clone, Copy)]
struct Place {
    network: IpNet,
    count: u64,
    error: u64,
}

/// Is this thread's next packet one of those that are looked at?
pub(crate) fn is_sampled() -> bool {
    TURN.with(|turn| {
        let now = turn.get().wrapping_add(1);
        turn.set(now);
        now.is_multiple_of(SAMPLE)
    })
}

impl Demand {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(Sketch::new())) }
    }

    /// Notes a client that nobody claims; `at` is a time since 1970.
    pub(crate) fn note(&self, client: IpAddr, at: Duration) {
        if let Some(shard) = self.shards.get(Counters::shard())
            && let Ok(mut sketch) = shard.try_lock()
        {
            sketch.note(network(client), at);
        }
    }

    /// The networks that ask most, the busiest first.
    pub(crate) fn read(&self, most: usize) -> Vec<Demanded> {
        let mut all: std::collections::BTreeMap<IpNet, (u64, u64)> = std::collections::BTreeMap::new();
        for shard in &self.shards {
            let places = shard.lock().map(|sketch| sketch.places.clone()).unwrap_or_default();
            for place in places {
                let sum = all.entry(place.network).or_default();
                *sum = (sum.0 + place.count, sum.1 + place.error);
            }
        }
        let sampled = u64::from(SAMPLE);
        let mut list: Vec<Demanded> = all
            .into_iter()
            .map(|(network, (count, error))| Demanded { network, questions: count * sampled, error: error * sampled })
            .collect();
        list.sort_by_key(|demanded| (std::cmp::Reverse(demanded.questions), demanded.network));
        list.truncate(most);
        list
    }
}

impl Sketch {
    fn new() -> Self {
        Self { places: Vec::with_capacity(PLACES), halved: Duration::ZERO }
    }

    fn note(&mut self, network: IpNet, at: Duration) {
        if at.saturating_sub(self.halved) >= HALF_LIFE {
            // However long ago the last one was: nobody asked in between, or a clock was set.
            self.halved = at;
            self.places.iter_mut().for_each(|place| (place.count, place.error) = (place.count / 2, place.error / 2));
            self.places.retain(|place| place.count > 0);
        }
        if let Some(place) = self.places.iter_mut().find(|place| place.network == network) {
            place.count += 1;
        } else if self.places.len() < PLACES {
            self.places.push(Place { network, count: 1, error: 0 });
        } else if let Some(least) = self.places.iter_mut().min_by_key(|place| place.count) {
            *least = Place { network, count: least.count + 1, error: least.count };
        }
    }
}

/// What an operator would claim: networks are routed from these lengths on.
fn network(client: IpAddr) -> IpNet {
    let client = client.to_canonical();
    let length = if client.is_ipv4() { 24 } else { 48 };
    IpNet::new(client, length).map_or(IpNet::from(client), |net| net.trunc())
}

impl std::fmt::Debug for Demand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demand").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Demand, HALF_LIFE, PLACES, SAMPLE, Sketch, network};
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    fn host(n: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + (n << 8) + n % 200).into()
    }

    #[test]
    fn those_who_ask_most_are_listed_whatever_else_asks() {
        let demand = Demand::new();
        // Three busy networks among 20,000 that ask once each.
        for n in 0..20_000u32 {
            demand.note(host(1000 + n), Duration::from_secs(1));
            for busy in 0..3 {
                if n % (busy + 5) == 0 {
                    demand.note(host(busy), Duration::from_secs(1));
                }
            }
        }
        let list = demand.read(3);
        let names: Vec<_> = list.iter().map(|demanded| demanded.network).collect();
        assert_eq!(names, [0, 1, 2].map(|busy| network(host(busy))));
        for (busy, demanded) in list.iter().enumerate() {
            let asked = (20_000u64.div_ceil(busy as u64 + 5)) * u64::from(SAMPLE);
            assert!(
                demanded.questions >= asked && demanded.questions - demanded.error <= asked,
                "{demanded:?} {asked}"
            );
        }
    }

    #[test]
    fn what_was_long_ago_is_forgotten_and_the_sketch_never_grows() {
        let mut sketch = Sketch::new();
        for n in 0..10_000 {
            sketch.note(network(host(n)), Duration::from_secs(1));
        }
        assert_eq!((sketch.places.len(), sketch.places.capacity()), (PLACES, PLACES));
        for half in 1..20 {
            sketch.note(network(host(7)), HALF_LIFE * half + Duration::from_secs(1));
        }
        assert_eq!(sketch.places.len(), 1);
        assert_eq!(network("2001:db8:1:2::3".parse().unwrap()).to_string(), "2001:db8:1::/48");
        assert_eq!(network("::ffff:192.0.2.7".parse().unwrap()).to_string(), "192.0.2.0/24");
    }
}
