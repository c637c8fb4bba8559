//! Who a node is to the mesh: name, place, where it answers DNS, which cuts it serves.
//!
//! **Invariant:** a node stands in the NS set of a cut only through its own profile. A backup volunteers here; nobody
//! can appoint it, so no resolver is ever sent to a server that does not know its job.

use std::net::IpAddr;

use nigh_dns::Label;
use nigh_gossip::codec;
use serde::{Deserialize, Serialize};

use crate::location::Location;

/// Addresses of one node that a reader looks at; as many as a configuration may list.
const MAX_ADDRESSES: usize = crate::config::MAX_ADDRESSES;
/// Cuts of one node that a reader looks at, and so the most that a node volunteers for.
pub const MAX_CUTS: usize = 64;
/// Longest place name and version that a reader takes, in bytes.
const MAX_TEXT: usize = 128;

/// The one page of [`super::PROFILE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The node's name, which is its cut's.
    pub name: Label,
    /// The point of presence, for people.
    pub pop: String,
    /// Where resolvers reach it.
    pub dns: Vec<IpAddr>,
    /// The cuts that it answers for, its own included.
    pub serves: Vec<Label>,
    /// On its way out: send it no new resolvers.
    pub draining: bool,
    /// The version of nigh it runs.
    pub version: String,
    /// How many quarters of its claims it leaves to others for now ([`crate::pressure`]).
    #[serde(default)]
    pub pressure: u8,
    /// Where it stands, for maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

impl Profile {
    /// Reads a body.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let mut profile: Self = codec::decode(body).ok()?;
        profile.dns.truncate(MAX_ADDRESSES);
        profile.serves.truncate(MAX_CUTS);
        if profile.pop.len() > MAX_TEXT || profile.version.len() > MAX_TEXT {
            return None;
        }
        // These texts reach terminals and logs.
        profile.pop.retain(|c| !c.is_control());
        profile.version.retain(|c| !c.is_control());
        profile.location = profile.location.filter(|location| location.is_on_earth());
        Some(profile)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn profile() -> Profile {
        Profile {
            name: "fra".parse().unwrap(),
            pop: "Frankfurt".into(),
            dns: vec![[192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap()],
            serves: vec!["fra".parse().unwrap(), "nyc".parse().unwrap()],
            draining: false,
            version: "0.1.0".into(),
            pressure: 0,
            location: Some("50.11, 8.68".parse().unwrap()),
        }
    }

    /// A profile as it was before there were locations.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Earlier {
        name: Label,
        pop: String,
        dns: Vec<IpAddr>,
        serves: Vec<Label>,
        draining: bool,
        version: String,
        pressure: u8,
    }

    #[test]
    fn profiles_are_read_by_versions_that_know_nothing_of_locations_and_the_other_way_round() {
        let located = profile();
        let Profile { name, pop, dns, serves, draining, version, pressure, .. } = located.clone();
        let earlier = Earlier { name, pop, dns, serves, draining, version, pressure };
        let without = Profile { location: None, ..located.clone() };
        assert_eq!(codec::encode(&without), codec::encode(&earlier));
        assert_eq!(Profile::decode(&codec::encode(&earlier)), Some(without));
        let read: Earlier = codec::decode(&codec::encode(&located)).unwrap();
        assert_eq!(read, earlier);
    }

    #[test]
    fn a_profile_survives_the_wire() {
        assert_eq!(Profile::decode(&codec::encode(&profile())), Some(profile()));
    }

    #[test]
    fn a_hostile_profile_is_cut_down_or_left_out() {
        let mut long = profile();
        long.dns = vec![[192, 0, 2, 1].into(); 500];
        long.pop = "\u{1b}[31mred".into();
        let read = Profile::decode(&codec::encode(&long)).unwrap();
        assert_eq!((read.dns.len(), read.pop.as_str()), (MAX_ADDRESSES, "[31mred"));
        long.pop = "x".repeat(MAX_TEXT + 1);
        assert_eq!(Profile::decode(&codec::encode(&long)), None);
        // A name that is no label never gets in.
        let odd: &[u8] = b"\xa1\x00\x67a.b.c.d";
        assert_eq!(Profile::decode(odd), None);
    }
}
