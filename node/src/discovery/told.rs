//! What of the findings is claimed, and when the mesh is told of it.
//!
//! A resolver is asked each minute; its claim changes a few times a year. So the mesh is told when an address comes or
//! goes or is proven for the first time, when the preference changes, and otherwise only when the statement grows old
//! ([`RENEW`]) or the round trip has moved for good: some 150 octets an hour for each address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use nigh_gossip::Certificate;

use super::findings::Findings;
use super::{MAX_EGRESS_OF_NODE, Proof};
use crate::config::ClaimConfig;

/// A statement of this age is replaced by a new one. With [`super::statement::PROOF_LIFE`] two renewals may fail.
pub const RENEW: Duration = Duration::from_secs(3600);
/// A round trip is told anew this often at most.
const RTT_EVERY: Duration = Duration::from_secs(600);
/// And only if it moved by a quarter, and by so much.
const RTT_LEAST: Duration = Duration::from_millis(2);

/// What is claimed of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Lower wins.
    pub preference: u16,
    /// The round trip to the resolver.
    pub rtt: Option<Duration>,
    /// Another node's word for it.
    pub proof: Option<Proof>,
}

/// What is to be claimed: addresses of resolvers that are there, not public, and within the certificate.
pub fn claimed(
    findings: &Findings,
    certificate: Option<&Certificate>,
    configured: &[ClaimConfig],
    preference: u16,
) -> BTreeMap<IpAddr, Found> {
    let mut claimed: BTreeMap<IpAddr, Found> = BTreeMap::new();
    for resolver in findings.resolvers.iter().filter(|resolver| !resolver.lost) {
        for egress in resolver.egress.iter().filter(|egress| egress.public.is_none()) {
            let prefix = IpNet::from(egress.address);
            if !certificate.is_some_and(|certificate| certificate.allows(&prefix)) {
                continue;
            }
            let covering = configured.iter().filter(|claim| claim.prefix.contains(&prefix));
            let preference =
                covering.max_by_key(|claim| claim.prefix.prefix_len()).map_or(preference, |claim| claim.preference);
            let told = Found { preference, rtt: resolver.rtt, proof: egress.proof };
            if claimed.len() >= MAX_EGRESS_OF_NODE && !claimed.contains_key(&egress.address) {
                continue;
            }
            // One address behind two resolvers: the nearer one's time, the newer statement.
            let held = claimed.entry(egress.address).or_insert(told);
            held.rtt = [held.rtt, told.rtt].into_iter().flatten().min();
            held.proof = [held.proof, told.proof].into_iter().flatten().max_by_key(|proof| proof.statement.time);
        }
    }
    claimed
}

/// What the mesh was told last.
#[derive(Debug, Default)]
pub struct Teller {
    told: Option<(Duration, BTreeMap<IpAddr, Found>)>,
}

impl Teller {
    /// Whether to tell this now; then it counts as told.
    pub fn offer(&mut self, now: Duration, rows: &BTreeMap<IpAddr, Found>, known: impl Fn(&Proof) -> bool) -> bool {
        let worth = match &self.told {
            None => true,
            Some((at, told)) => {
                let may_move = now.saturating_sub(*at) >= RTT_EVERY;
                !told.keys().eq(rows.keys())
                    || told.values().zip(rows.values()).any(|(old, new)| worth(old, new, may_move, &known))
            }
        };
        if worth {
            self.told = Some((now, rows.clone()));
        }
        worth
    }
}

fn worth(old: &Found, new: &Found, may_move: bool, known: &impl Fn(&Proof) -> bool) -> bool {
    let proof = match (old.proof, new.proof) {
        (None, proof) => proof.is_some(),
        (Some(_), None) => false,
        (Some(old), Some(new)) => {
            let age = u64::from(new.statement.time).saturating_sub(old.statement.time.into());
            // A witness whose certificate is gone vouches for nothing.
            age >= RENEW.as_secs() || !known(&old) && known(&new)
        }
    };
    let moved = match (old.rtt, new.rtt) {
        (Some(old), Some(new)) => may_move && old.abs_diff(new) >= RTT_LEAST.max(old / 4),
        (old, new) => old.is_none() && new.is_some(),
    };
    old.preference != new.preference || proof || moved
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;

    use super::super::findings::{EgressFinding, Origin, ResolverFinding};
    use super::super::statement::Statement;
    use super::*;

    fn proof(time: u32) -> Proof {
        let witness = SigningKey::from_bytes(&[2; 32]).verifying_key().into();
        Proof { drawn: [0; 10], statement: Statement { witness, time, signature: [0; 64] } }
    }

    fn resolver(rtt: u64, egress: &[(&str, Option<u32>)]) -> ResolverFinding {
        ResolverFinding {
            address: "10.0.0.1:53".parse().unwrap(),
            origin: Origin::System,
            rtt: Some(Duration::from_millis(rtt)),
            lost: false,
            silent_rounds: 0,
            fault: String::new(),
            leaving: false,
            beyond: 0,
            egress: egress
                .iter()
                .map(|(address, time)| EgressFinding {
                    address: address.parse().unwrap(),
                    last: Duration::ZERO,
                    proof: time.map(proof),
                    why: "",
                    public: None,
                })
                .collect(),
        }
    }

    fn certificate() -> Certificate {
        Certificate {
            node: SigningKey::from_bytes(&[1; 32]).verifying_key().into(),
            name: "fra".into(),
            serial: 1,
            prefixes: vec!["203.0.113.0/24".parse().unwrap()],
            not_after: u64::MAX,
        }
    }

    fn all(resolvers: Vec<ResolverFinding>) -> BTreeMap<IpAddr, Found> {
        let configured = [ClaimConfig { prefix: "203.0.113.0/25".parse().unwrap(), preference: 3 }];
        claimed(&Findings { resolvers }, Some(&certificate()), &configured, 10)
    }

    #[test]
    fn what_is_lost_public_or_outside_the_certificate_is_not_claimed() {
        let mut lost = resolver(1, &[("203.0.113.1", None)]);
        lost.lost = true;
        let mut public = resolver(1, &[("203.0.113.2", None)]);
        public.egress[0].public = Some("Google".into());
        let outside = resolver(1, &[("198.51.100.1", Some(5))]);
        assert!(all(vec![lost, public, outside]).is_empty());
        assert!(
            claimed(&Findings { resolvers: vec![resolver(1, &[("203.0.113.1", None)])] }, None, &[], 10).is_empty()
        );
    }

    #[test]
    fn one_address_behind_two_resolvers_has_the_best_of_both() {
        let rows = all(vec![
            resolver(9, &[("203.0.113.1", Some(7)), ("203.0.113.200", None)]),
            resolver(2, &[("203.0.113.1", Some(5))]),
        ]);
        let told = rows[&"203.0.113.1".parse::<IpAddr>().unwrap()];
        assert_eq!((told.preference, told.rtt, told.proof), (3, Some(Duration::from_millis(2)), Some(proof(7))));
        assert_eq!(rows[&"203.0.113.200".parse::<IpAddr>().unwrap()].preference, 10, "no configured claim covers it");
    }

    #[test]
    fn the_mesh_is_told_of_what_matters_and_of_the_rest_once_an_hour() {
        let at = Duration::from_secs;
        let mut teller = Teller::default();
        let mut told = |now, rtt, time| {
            teller.offer(at(now), &all(vec![resolver(rtt, &[("203.0.113.1", time)])]), |proof| {
                proof.statement.time != 9000
            })
        };
        assert!(told(0, 10, None), "the first time");
        assert!(!told(60, 10, None));
        assert!(told(120, 10, Some(1000)), "proven");
        let quiet = (3..60).all(|minute| !told(60 * minute, 10 + minute % 3, Some(1000 + 60 * minute as u32)));
        assert!(quiet, "the same, minute by minute");
        assert!(told(3700, 10, Some(4600)), "the statement is an hour old");
        assert!(!told(3760, 40, Some(4660)), "the round trip moved, too soon after the last");
        assert!(told(4400, 40, Some(5300)));
        assert!(told(8000, 40, Some(9000)) && told(8060, 40, Some(9060)), "the witness is no member any more");
        assert!(!told(8120, 40, None), "a round without a statement takes none away");
        let mut teller = Teller::default();
        assert!(teller.offer(at(0), &BTreeMap::new(), |_| true), "nothing is also something to tell, once");
        assert!(!teller.offer(at(0), &BTreeMap::new(), |_| true));
    }
}
