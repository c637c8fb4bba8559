//! The core against a made-up network: resolvers that leave from where the test says, witnesses that sign.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hickory_proto::rr::{Name, RecordType};
use nigh_dns::Family;
use nigh_gossip::NodeId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::egress::GRACE;
use super::findings::{Findings, Origin};
use super::public::Public;
use super::rounds::{Ask, Candidate, Discovery, LOST_AFTER, MOST_ASKS, Outcome, PARALLEL, Settings, Sight};
use super::statement::Statement;

const UNIX: u64 = 1_800_000_000;
const MINUTE: Duration = Duration::from_secs(60);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn id(seed: u8) -> NodeId {
    key(seed).verifying_key().into()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

type Forge = fn(&mut Vec<Vec<u8>>);

/// How a made-up resolver answers.
#[derive(Clone, Default)]
struct Behaviour {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    silent: bool,
    /// Dies after so many questions.
    left: Option<usize>,
    /// What it does to an honest answer.
    forge: Option<Forge>,
}

struct Bed {
    core: Discovery<ChaCha8Rng>,
    now: Duration,
    resolvers: BTreeMap<SocketAddr, Behaviour>,
    /// Names asked so far: nobody may ask for one twice.
    names: BTreeSet<Name>,
    asks: usize,
    turn: usize,
    timed: usize,
    most_out: usize,
    findings: Findings,
}

impl Bed {
    /// The claimant is node 1; 2 and 3 are other nodes, and 9 the operator.
    fn new(resolvers: &[(&str, Behaviour)]) -> Self {
        let settings = Settings {
            mesh: id(9),
            me: id(1),
            interval: MINUTE,
            public: Public::new(&["198.51.100.0/24".parse().unwrap()]),
        };
        let mut bed = Self {
            core: Discovery::new(settings, ChaCha8Rng::seed_from_u64(1)),
            now: Duration::ZERO,
            resolvers: resolvers.iter().map(|(address, how)| (address.parse().unwrap(), how.clone())).collect(),
            names: BTreeSet::new(),
            asks: 0,
            turn: 0,
            timed: 0,
            most_out: 0,
            findings: Findings::default(),
        };
        let wanted: Vec<_> = bed.resolvers.keys().map(|address| (*address, Origin::Configured)).collect();
        bed.core.handle_resolvers(Duration::ZERO, &wanted);
        bed
    }

    fn sight(&mut self, others: &[(u8, &[Family])]) {
        let witnesses = others.iter().map(|(seed, families)| Candidate {
            id: id(*seed),
            label: format!("n{seed}").parse().unwrap(),
            families: families.to_vec(),
        });
        let zone = Some(Name::from_ascii("lb.example.com.").unwrap());
        self.core.handle_sight(self.now, Sight { zone, witnesses: witnesses.collect() });
    }

    /// Runs the machine until that time.
    fn until(&mut self, end: Duration) {
        loop {
            self.core.handle_timeout(self.now);
            let mut out = Vec::new();
            while let Some(ask) = self.core.poll_ask() {
                out.push(ask);
            }
            self.most_out = self.most_out.max(out.len());
            self.findings = self.core.poll_findings().unwrap_or_else(|| self.findings.clone());
            if out.is_empty() {
                match self.core.poll_timeout(self.now).filter(|at| *at <= end) {
                    Some(at) => self.now = self.now.max(at),
                    None => break,
                }
                continue;
            }
            for ask in out {
                self.asks += 1;
                let outcome = self.answer(&ask);
                self.now += Duration::from_millis(1);
                self.core.handle_outcome(self.now, UNIX + self.now.as_secs(), ask.id, outcome);
            }
        }
        self.now = end;
    }

    fn answer(&mut self, ask: &Ask) -> Outcome {
        let how = self.resolvers.get_mut(&ask.to).unwrap();
        how.left = how.left.map(|left| left.saturating_sub(1));
        how.silent |= how.left == Some(0);
        let how = how.clone();
        if how.silent {
            return Outcome::Silent("nobody".into());
        }
        let took = Duration::from_millis(2);
        if ask.rtype == RecordType::NS {
            // The first one is not in the cache, and this once quicker than it will ever be from there.
            self.timed += 1;
            let took = Duration::from_millis([1, 4, 3, 5][(self.timed - 1) % 4]);
            return Outcome::Answer { strings: Vec::new(), took };
        }
        assert!(self.names.insert(ask.name.clone()), "{} was asked for twice", ask.name);
        let labels: Vec<String> = ask.name.iter().map(|label| String::from_utf8_lossy(label).into_owned()).collect();
        let (pool, witness) = match labels[1].as_str() {
            "4" => (&how.v4, labels[2][1..].parse().unwrap()),
            "6" => (&how.v6, labels[2][1..].parse().unwrap()),
            _ => (&how.v4, 1),
        };
        if pool.is_empty() {
            return Outcome::Useless("the resolver says Server Failure".into());
        }
        self.turn += 1;
        let source = pool[self.turn % pool.len()];
        let time = UNIX as u32 + self.now.as_secs() as u32;
        let said = Statement::sign(&key(witness), id(9), labels[0].as_bytes(), source, time);
        let mut strings = vec![format!("source={source}").into_bytes(), said.to_text().into_bytes()];
        if let Some(forge) = how.forge {
            forge(&mut strings);
        }
        Outcome::Answer { strings, took }
    }

    fn found(&self) -> Vec<(String, bool)> {
        let egress = self.findings.resolvers.iter().flat_map(|resolver| &resolver.egress);
        egress.map(|egress| (egress.address.to_string(), egress.proof.is_some())).collect()
    }
}

const BOTH: &[Family] = &[Family::V4, Family::V6];

fn one(v4: &[&str], v6: &[&str]) -> Behaviour {
    let all = |list: &[&str]| list.iter().map(|text| ip(text)).collect();
    Behaviour { v4: all(v4), v6: all(v6), ..Behaviour::default() }
}

#[test]
fn both_families_are_found_and_proven_by_others_in_one_round() {
    let mut bed = Bed::new(&[("10.0.0.1:53", one(&["203.0.113.53"], &["2001:db8::53"]))]);
    bed.until(Duration::from_secs(1));
    assert_eq!(bed.asks, 0, "nothing to ask before a zone is known");
    bed.sight(&[(2, BOTH), (3, BOTH)]);
    bed.until(Duration::from_secs(2));
    assert_eq!(bed.found(), [("203.0.113.53".into(), true), ("2001:db8::53".into(), true)]);
    let resolver = &bed.findings.resolvers[0];
    let witnesses: BTreeSet<NodeId> =
        resolver.egress.iter().map(|egress| egress.proof.unwrap().statement.witness).collect();
    assert!(witnesses.is_subset(&[id(2), id(3)].into()), "never the claimant itself");
    assert_eq!(resolver.rtt, Some(Duration::from_millis(3)), "the least of those from the cache");
    let first = bed.asks;
    // From then on a few questions a minute.
    bed.until(Duration::from_secs(602));
    let rounds = (bed.asks - first) / (2 * 3 + 4);
    assert!((8..=11).contains(&rounds), "{} questions in ten minutes", bed.asks - first);
    assert!(bed.most_out <= 2 * PARALLEL as usize, "{}", bed.most_out);
}

#[test]
fn a_farm_is_found_whole_and_one_of_sixty_is_bounded() {
    let addresses: Vec<String> = (1..=6).map(|n| format!("203.0.113.{n}")).collect();
    let listed: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut bed = Bed::new(&[("10.0.0.1:53", one(&listed, &[]))]);
    bed.sight(&[(2, BOTH)]);
    bed.until(Duration::from_secs(2));
    assert_eq!(bed.found().len(), 6);
    bed.until(60 * MINUTE);
    assert_eq!(bed.found().len(), 6, "none is forgotten while it takes its turn");

    let addresses: Vec<String> = (1..=60).map(|n| format!("203.0.113.{n}")).collect();
    let listed: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut bed = Bed::new(&[("10.0.0.1:53", one(&listed, &[]))]);
    bed.sight(&[(2, &[Family::V4])]);
    bed.until(Duration::from_secs(2));
    assert!(bed.asks <= MOST_ASKS as usize + 4, "{}", bed.asks);
    bed.until(10 * MINUTE);
    assert_eq!(bed.found().len(), 60);
}

#[test]
fn a_changed_address_is_told_at_once_and_the_old_one_kept_for_a_while() {
    let mut bed = Bed::new(&[("10.0.0.1:53", one(&["203.0.113.1"], &[]))]);
    bed.sight(&[(2, BOTH)]);
    bed.until(10 * MINUTE);
    let changed = bed.now;
    bed.resolvers.values_mut().for_each(|how| how.v4 = vec![ip("203.0.113.2")]);
    bed.until(changed + Duration::from_secs(67));
    let found = bed.found();
    assert!(found.contains(&("203.0.113.2".into(), true)), "{found:?}");
    let seen = bed.findings.resolvers[0].egress[0].last;
    // Kept for the TTL after it was last seen, and gone at the next round after that.
    bed.until(seen + GRACE - Duration::from_secs(1));
    bed.until((seen + GRACE).max(changed) + 2 * MINUTE);
    assert_eq!(bed.found(), [("203.0.113.2".into(), true)]);
}

#[test]
fn a_resolver_that_is_silent_is_lost_after_three_rounds_and_one_that_returns_is_found_again() {
    let mut bed = Bed::new(&[("10.0.0.1:53", one(&["203.0.113.1"], &[])), ("10.0.0.2:53", one(&["203.0.113.2"], &[]))]);
    bed.sight(&[(2, BOTH)]);
    bed.until(MINUTE / 2);
    let first: SocketAddr = "10.0.0.1:53".parse().unwrap();
    bed.resolvers.get_mut(&first).unwrap().silent = true;
    bed.until(bed.now + MINUTE + Duration::from_secs(20));
    assert!(bed.findings.resolvers[0].lost && bed.findings.resolvers[0].silent_rounds >= LOST_AFTER);
    assert_eq!(bed.found(), [("203.0.113.2".into(), true)]);
    bed.resolvers.get_mut(&first).unwrap().silent = false;
    bed.until(bed.now + 2 * MINUTE);
    assert!(!bed.findings.resolvers[0].lost);
    assert_eq!(bed.found().len(), 2);
}

#[test]
fn a_resolver_that_dies_within_a_round_ends_it() {
    for left in 1..8 {
        let how = Behaviour { left: Some(left), ..one(&["203.0.113.1", "203.0.113.2"], &[]) };
        let mut bed = Bed::new(&[("10.0.0.1:53", how)]);
        bed.sight(&[(2, &[Family::V4])]);
        bed.until(Duration::from_secs(1));
        assert!(bed.asks <= left + 2 * PARALLEL as usize, "{} questions, {left} of them answered", bed.asks);
    }
}

#[test]
fn a_resolver_that_cannot_reach_the_mesh_keeps_its_claims() {
    let mut bed = Bed::new(&[("10.0.0.1:53", one(&["203.0.113.1"], &[]))]);
    bed.sight(&[(2, BOTH)]);
    bed.until(MINUTE / 2);
    bed.resolvers.values_mut().for_each(|how| how.v4.clear());
    bed.until(30 * MINUTE);
    assert_eq!(bed.found(), [("203.0.113.1".into(), true)]);
    assert!(bed.findings.resolvers[0].fault.contains("Server Failure"), "{}", bed.findings.resolvers[0].fault);
}

#[test]
fn forged_answers_are_not_believed() {
    let forgeries: [(&str, Forge); 5] = [
        ("another address", |strings| strings[0] = b"source=203.0.113.66".to_vec()),
        ("no statement", |strings| strings.truncate(1)),
        ("no source", |strings| drop(strings.remove(0))),
        ("not text", |strings| strings[0] = b"source=\xff\xff".to_vec()),
        ("a broken statement", |strings| strings[1].truncate(100)),
    ];
    for (what, forge) in forgeries {
        let how = Behaviour { forge: Some(forge), ..one(&["203.0.113.1"], &[]) };
        let mut bed = Bed::new(&[("10.0.0.1:53", how)]);
        bed.sight(&[(2, BOTH)]);
        bed.until(5 * MINUTE);
        assert_eq!(bed.found(), [], "{what}");
        assert!(!bed.findings.resolvers[0].fault.is_empty(), "{what}");
    }
}

#[test]
fn a_witness_must_be_a_live_member_and_a_node_alone_only_sees() {
    // The mesh of one: it asks for the plain name, and its own statement proves nothing to others.
    let mut bed = Bed::new(&[("10.0.0.1:53", one(&["203.0.113.1"], &[]))]);
    bed.sight(&[]);
    bed.until(Duration::from_secs(2));
    assert_eq!(bed.found(), [("203.0.113.1".into(), false)]);
    // The second node joins: proven at once, not at the next round.
    bed.sight(&[(2, BOTH)]);
    bed.until(Duration::from_secs(3));
    assert_eq!(bed.found(), [("203.0.113.1".into(), true)]);
}

#[test]
fn public_resolvers_are_marked_and_those_taken_out_leave_after_the_ttl() {
    let mut bed =
        Bed::new(&[("10.0.0.1:53", one(&["198.51.100.9"], &[])), ("10.0.0.2:53", one(&["203.0.113.2"], &[]))]);
    bed.sight(&[(2, BOTH)]);
    bed.until(Duration::from_secs(2));
    assert_eq!(bed.findings.resolvers[0].egress[0].public.as_deref(), Some("resolvers.public"));
    bed.core.handle_resolvers(bed.now, &[("10.0.0.1:53".parse().unwrap(), Origin::System)]);
    bed.until(bed.now + GRACE - Duration::from_secs(1));
    assert_eq!(bed.found().len(), 2, "somebody may still hold a CNAME to us");
    bed.until(bed.now + Duration::from_secs(2));
    assert_eq!(bed.found().len(), 1);
}
