//! Who may hold TCP connections: so many in all, and so many from one network (RFC 7766 section 6.2.2, RFC 9210
//! section 4.3).
//!
//! **Invariant:** a place is given back when its guest is dropped, however the connection ended.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::network::Network;

/// All places, shared by all listeners.
#[derive(Debug)]
pub(crate) struct House {
    places: Arc<Semaphore>,
    most: usize,
    most_of_one: usize,
    guests: Mutex<BTreeMap<Network, usize>>,
}

/// A place taken.
#[derive(Debug)]
pub(crate) struct Guest {
    house: Arc<House>,
    network: Network,
    _place: OwnedSemaphorePermit,
}

impl House {
    /// Places in all, and how many of them one network may have.
    pub(crate) fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(most));
        Arc::new(Self { places, most, most_of_one, guests: Mutex::default() })
    }

    /// A free place, once there is one. Whoever comes meanwhile waits in the listener's backlog.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.places.clone().acquire_owned().await.ok()
    }

    /// Lets a client in, unless its network has its share already.
    pub(crate) fn enter(self: &Arc<Self>, client: IpAddr, place: OwnedSemaphorePermit) -> Option<Guest> {
        let network = Network::of(client);
        let mut guests = self.guests();
        let held = guests.entry(network).or_default();
        if *held >= self.most_of_one {
            return None;
        }
        *held += 1;
        Some(Guest { house: self.clone(), network, _place: place })
    }

    fn is_crowded(&self) -> bool {
        self.places.available_permits() < self.most / 2
    }

    fn guests(&self) -> MutexGuard<'_, BTreeMap<Network, usize>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Are more than half of the places taken?
    pub(crate) fn is_crowded(&self) -> bool {
        self.house.is_crowded()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.house.guests();
        if let Some(held) = guests.get_mut(&self.network) {
            *held -= 1;
            // At most as many entries as guests.
            if *held == 0 {
                guests.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::House;

    #[tokio::test]
    async fn a_network_has_its_share_and_gives_it_back() {
        let house = House::new(8, 2);
        let enter = async |client: &str| house.enter(client.parse().unwrap(), house.place().await.unwrap());
        let first = enter("192.0.2.1").await;
        let second = enter("192.0.2.2").await;
        assert!(first.is_some() && second.is_some());
        assert!(enter("192.0.2.3").await.is_none());
        assert!(!house.is_crowded());
        let others = [enter("192.0.3.3").await, enter("2001:db8::1").await, enter("2001:db8:0:100::1").await];
        assert!(others.iter().all(Option::is_some) && house.is_crowded());
        drop(first);
        assert!(enter("192.0.2.3").await.is_some());
        drop((second, others));
        assert!(house.guests().is_empty());
        assert_eq!(house.places.available_permits(), 8);
    }
}
