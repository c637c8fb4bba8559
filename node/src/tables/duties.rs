//! What a node is able to do for the mesh at DNS-A, and how that goes: the page of [`super::DUTIES`].
//!
//! Everything that only some nodes are configured for (a key, a way to a server) is written here by those, so that all
//! nodes compute alike who does it now. The page says nothing secret: names of zones, never of keys.

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::rr::Name;
use nigh_gossip::codec;
use serde::{Deserialize, Serialize};

use super::latency::reason;
use crate::catalogue::name;

/// Zones of one kind that a reader looks at, and so the most that a configuration may list.
pub const MAX_DUTIES: usize = 32;

/// The one page of [`super::DUTIES`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Duties {
    /// Zones of origins that it can transfer, and how many a NOTIFY has told it of: another number is news.
    pub zones: BTreeMap<Name, u32>,
    /// Mesh zones whose delegation it can keep, and why that fails; empty: it does not.
    pub delegations: BTreeMap<Name, String>,
    /// Of those, the ones that it keeps now or has kept: whoever reads this knows that it is not the only one.
    pub acting: BTreeSet<Name>,
}

#[derive(Default, Serialize, Deserialize)]
struct Wire {
    zones: Vec<(String, u32)>,
    delegations: Vec<(String, String, bool)>,
}

impl Duties {
    /// The body of the page.
    pub fn encode(&self) -> Vec<u8> {
        let delegation =
            |(zone, trouble): (&Name, &String)| (name::text(zone), reason(trouble), self.acting.contains(zone));
        codec::encode(&Wire {
            zones: self.zones.iter().map(|(zone, heard)| (name::text(zone), *heard)).collect(),
            delegations: self.delegations.iter().map(delegation).collect(),
        })
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let wire: Wire = codec::decode(body).ok()?;
        let mut duties = Self::default();
        for (zone, heard) in wire.zones.iter().take(MAX_DUTIES) {
            duties.zones.insert(name::host(zone).ok()?, *heard);
        }
        for (zone, trouble, acting) in wire.delegations.iter().take(MAX_DUTIES) {
            let zone = name::host(zone).ok()?;
            if *acting {
                duties.acting.insert(zone.clone());
            }
            duties.delegations.insert(zone, reason(trouble));
        }
        Some(duties)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn duties_survive_the_wire() {
        let zone = |text| name::host(text).unwrap();
        let duties = Duties {
            zones: [(zone("origin.example.com"), 7)].into(),
            delegations: [(zone("lb.example.com"), "refused".to_owned()), (zone("lb.example.net"), String::new())]
                .into(),
            acting: [zone("lb.example.net")].into(),
        };
        assert_eq!(Duties::decode(&duties.encode()), Some(duties));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Duties::decode(&bytes);
        }
    }
}
