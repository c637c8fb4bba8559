//! What the claims of other nodes are worth: evidence joined to them, each signature checked once, and what a node under
//! pressure leaves to others.
//!
//! A view of the mesh comes fifty times a second and hardly any evidence in it is new. So what was found for a node stands
//! until one of its pages or its pressure changes, a witness's certificate comes or goes, or a statement's time runs out; and then only
//! rows that were not there before cost a signature. A node with
//! neither evidence nor pressure costs nothing.
//!
//! **Invariant:** a claim counts as proven only if the statement is signed by another node with a certificate, for this
//! claimant, this one address and this mesh, and is not of another time. Everything else counts as configured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use nigh_gossip::{Certificate, NodeId};

use super::statement::{CLOCK_SKEW, PROOF_LIFE};
use crate::pressure::raised;
use crate::tables::claims::Claim;
use crate::tables::evidence::{Evidence, MAX_PAGES};

/// Remembers what was judged.
pub struct Judge {
    mesh: NodeId,
    held: BTreeMap<NodeId, Judged>,
}

/// What was found for one node, and from what.
struct Judged {
    evidence: Vec<Arc<Vec<Evidence>>>,
    claims: Vec<Arc<Vec<Claim>>>,
    pressure: u8,
    /// Each witness, and whether it had a certificate.
    witnesses: BTreeMap<NodeId, bool>,
    /// From when until when it stands, in Unix seconds.
    from: u64,
    until: u64,
    /// The rows with their signatures checked.
    checked: Vec<(Evidence, bool)>,
    result: Vec<Arc<Vec<Claim>>>,
}

impl Judge {
    /// For a mesh.
    pub fn new(mesh: NodeId) -> Self {
        Self { mesh, held: BTreeMap::new() }
    }

    /// Forgets a node that is no member any more.
    pub fn forget(&mut self, node: NodeId) {
        self.held.remove(&node);
    }

    /// The claims of a node with what its evidence makes of them.
    pub fn apply(
        &mut self,
        node: NodeId,
        claims: Vec<Arc<Vec<Claim>>>,
        mut evidence: Vec<Arc<Vec<Evidence>>>,
        pressure: u8,
        certificates: &BTreeMap<NodeId, Certificate>,
        unix: u64,
    ) -> Vec<Arc<Vec<Claim>>> {
        evidence.truncate(MAX_PAGES);
        if evidence.is_empty() && pressure == 0 {
            self.held.remove(&node);
            return claims;
        }
        let before = self.held.remove(&node);
        if let Some(held) = before
            .as_ref()
            .filter(|held| held.pressure == pressure && held.stands(&claims, &evidence, certificates, unix))
        {
            let result = held.result.clone();
            self.held.extend(before.map(|held| (node, held)));
            return result;
        }
        let known = before.map(|held| held.checked).unwrap_or_default();
        let mut judged = self.judge(node, claims, evidence, certificates, unix, &known);
        if pressure > 0 {
            judged.pressure = pressure;
            judged
                .result
                .iter_mut()
                .for_each(|page| *page = Arc::new(page.iter().map(|claim| pressed(claim, pressure)).collect()));
        }
        let result = judged.result.clone();
        self.held.insert(node, judged);
        result
    }

    fn judge(
        &self,
        node: NodeId,
        claims: Vec<Arc<Vec<Claim>>>,
        evidence: Vec<Arc<Vec<Evidence>>>,
        certificates: &BTreeMap<NodeId, Certificate>,
        unix: u64,
        known: &[(Evidence, bool)],
    ) -> Judged {
        let mut witnesses = BTreeMap::new();
        let (mut from, mut until) = (0, u64::MAX);
        let mut rows: BTreeMap<IpNet, (bool, Option<Duration>)> = BTreeMap::new();
        let mut checked = Vec::new();
        for row in evidence.iter().flat_map(|page| page.iter()) {
            let mut proven = false;
            if let Some(proof) = row.proof.filter(|_| row.prefix.prefix_len() == row.prefix.max_prefix_len()) {
                let before = known.iter().find(|(held, _)| held == row).map(|(_, signed)| *signed);
                let signed = before.unwrap_or_else(|| proof.verify(self.mesh, node, row.prefix.addr()).is_ok());
                checked.push((*row, signed));
                let statement = proof.statement;
                let member = certificates.contains_key(&statement.witness);
                if signed && statement.witness != node {
                    witnesses.insert(statement.witness, member);
                    let time = u64::from(statement.time);
                    let current = statement.is_of(unix, PROOF_LIFE);
                    let (begins, ends) = (time.saturating_sub(CLOCK_SKEW.as_secs()), time + PROOF_LIFE.as_secs());
                    // Within which its worth is what it is now; the clock may be set back, too.
                    let (since, to) = match current {
                        true => (begins, ends),
                        false if unix < begins => (0, begins - 1),
                        false => (ends + 1, u64::MAX),
                    };
                    (from, until) = (from.max(since), until.min(to));
                    proven = member && current;
                }
            }
            rows.insert(row.prefix, (proven, row.rtt));
        }
        let result = claims
            .iter()
            .map(|page| match page.iter().any(|claim| rows.contains_key(&claim.prefix)) {
                false => page.clone(),
                true => Arc::new(page.iter().map(|claim| joined(claim, &rows)).collect()),
            })
            .collect();
        Judged { evidence, claims, pressure: 0, witnesses, from, until, checked, result }
    }
}

fn joined(claim: &Claim, rows: &BTreeMap<IpNet, (bool, Option<Duration>)>) -> Claim {
    match rows.get(&claim.prefix) {
        Some((proven, rtt)) => Claim { proven: *proven, rtt: *rtt, ..*claim },
        None => *claim,
    }
}

fn pressed(claim: &Claim, pressure: u8) -> Claim {
    Claim { preference: raised(&claim.prefix, claim.preference, pressure), ..*claim }
}

impl Judged {
    fn stands(
        &self,
        claims: &[Arc<Vec<Claim>>],
        evidence: &[Arc<Vec<Evidence>>],
        certificates: &BTreeMap<NodeId, Certificate>,
        unix: u64,
    ) -> bool {
        same(&self.claims, claims)
            && same(&self.evidence, evidence)
            && (self.from..=self.until).contains(&unix)
            && self.witnesses.iter().all(|(witness, member)| certificates.contains_key(witness) == *member)
    }
}

fn same<T>(one: &[Arc<T>], other: &[Arc<T>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;

    use super::super::{DRAWN, Nonce, Proof, Statement};
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn id(seed: u8) -> NodeId {
        key(seed).verifying_key().into()
    }

    fn certificates(of: &[u8]) -> BTreeMap<NodeId, Certificate> {
        of.iter()
            .map(|seed| {
                let certificate = Certificate {
                    node: id(*seed),
                    name: format!("n{seed}"),
                    serial: 1,
                    prefixes: Vec::new(),
                    not_after: u64::MAX,
                };
                (id(*seed), certificate)
            })
            .collect()
    }

    /// The claimant is node 1, the mesh is 9's.
    fn evidence(prefix: &str, witness: u8, claimant: u8, time: u64) -> Arc<Vec<Evidence>> {
        let prefix: IpNet = prefix.parse().unwrap();
        let nonce = Nonce::new(id(9), id(claimant), [7; DRAWN]);
        let statement = Statement::sign(&key(witness), id(9), nonce.label().as_bytes(), prefix.addr(), time as u32);
        let proof = Some(Proof { drawn: nonce.drawn(), statement });
        Arc::new(vec![Evidence { prefix, rtt: Some(Duration::from_millis(3)), proof }])
    }

    fn page(prefix: &str) -> Arc<Vec<Claim>> {
        Arc::new(vec![Claim::new(prefix.parse().unwrap(), 10)])
    }

    fn proven(prefix: &str, evidence: Arc<Vec<Evidence>>, members: &[u8], unix: u64) -> bool {
        let mut judge = Judge::new(id(9));
        let claims = judge.apply(id(1), vec![page(prefix)], vec![evidence], 0, &certificates(members), unix);
        assert_eq!(claims[0][0].rtt, Some(Duration::from_millis(3)), "the round trip needs no proof");
        claims[0][0].proven
    }

    #[test]
    fn only_the_word_of_another_member_for_this_claimant_and_address_proves_a_claim() {
        let host = "192.0.2.1/32";
        assert!(proven(host, evidence(host, 2, 1, NOW), &[1, 2], NOW));
        assert!(!proven(host, evidence(host, 1, 1, NOW), &[1, 2], NOW), "its own word");
        assert!(!proven(host, evidence(host, 2, 3, NOW), &[1, 2, 3], NOW), "got by another claimant and copied");
        assert!(!proven(host, evidence(host, 2, 1, NOW), &[1], NOW), "a witness that is no member");
        assert!(
            !proven("192.0.2.0/24", evidence("192.0.2.0/24", 2, 1, NOW), &[1, 2], NOW),
            "one address is no network"
        );
        let moved = Evidence { prefix: "192.0.2.9/32".parse().unwrap(), ..evidence(host, 2, 1, NOW)[0] };
        assert!(!proven("192.0.2.9/32", Arc::new(vec![moved]), &[1, 2], NOW), "another address");
        assert!(!proven(host, evidence(host, 2, 1, NOW), &[1, 2], NOW + PROOF_LIFE.as_secs() + 1), "too old");
        assert!(!proven(host, evidence(host, 2, 1, NOW), &[1, 2], NOW - CLOCK_SKEW.as_secs() - 1), "ahead of time");
    }

    #[test]
    fn what_was_judged_stands_until_something_changes() {
        let host = "192.0.2.1/32";
        let (claims, rows) = (vec![page(host), page("10.0.0.0/8")], vec![evidence(host, 2, 1, NOW)]);
        let mut judge = Judge::new(id(9));
        let mut at =
            |members: &[u8], unix| judge.apply(id(1), claims.clone(), rows.clone(), 0, &certificates(members), unix);
        let first = at(&[1, 2], NOW);
        assert!(first[0][0].proven && Arc::ptr_eq(&first[1], &claims[1]), "untouched pages are not copied");
        assert!(Arc::ptr_eq(&first[0], &at(&[1, 2, 3], NOW + 60)[0]));
        assert!(!at(&[1], NOW + 61)[0][0].proven, "the witness was revoked");
        assert!(at(&[1, 2], NOW + 62)[0][0].proven, "and admitted again");
        assert!(!at(&[1, 2], NOW + PROOF_LIFE.as_secs() + 1)[0][0].proven);
        assert!(at(&[1, 2], NOW + 63)[0][0].proven, "the clock was set back");
        // Without evidence nothing is held.
        let bare = judge.apply(id(1), claims.clone(), Vec::new(), 0, &certificates(&[1, 2]), NOW);
        assert!(Arc::ptr_eq(&bare[0], &claims[0]) && judge.held.is_empty());
        // A node under full pressure yields with all of them, and only while it is.
        let mut under = |pressure| judge.apply(id(1), claims.clone(), Vec::new(), pressure, &certificates(&[]), NOW);
        let pressed = under(crate::pressure::STEPS);
        assert!(pressed.iter().flat_map(|page| page.iter()).all(|claim| claim.preference > 1000));
        assert!(Arc::ptr_eq(&pressed[0], &under(crate::pressure::STEPS)[0]), "copied once");
        assert_eq!(under(0)[0][0].preference, 10);
    }
}
