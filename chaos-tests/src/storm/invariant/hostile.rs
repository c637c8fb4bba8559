//! What SECURITY.md promises about a member that is hostile, while it is there and after.
//!
//! It has a valid certificate, for resolvers of which there are none in a storm. It may lie in its own pages, answer what
//! it likes to whoever asks it, and list itself for others' cuts: resolvers of those may then ask it (counted here, no
//! finding). What must hold all the same:
//!
//! | promise | looked at |
//! |---|---|
//! | claims outside its certificate are void at every node | `nigh claims` |
//! | so no resolver outside is referred to it, nor told of it as a server of the mesh zone, nor answered by it | the wire |
//! | it writes about nobody else: others' claims and measurements are what they wrote, no origin goes away | `nigh claims`, `nigh latency` |
//! | it convicts nobody by itself | `nigh peers` |
//! | two pages of one version: every node names the culprit, and nobody else | `nigh equivocations` |
//! | a flood costs others at most `MOST_CPU` of a core each | /proc |
//! | within `GONE_WITHIN` of its revocation nothing of it is left anywhere, though it goes on knocking | `nigh peers`, `nigh claims` |
//!
//! That replicas are equal at rest is `converged`, that what fills memory is bounded `bounds`, that clients got only
//! origins `answers`.

use super::Findings;
use crate::bed::nigh_json::{ClaimRow, Peer, Row};
use crate::bed::wire::Said;
use crate::hostile::{MALICES, Malice};
use crate::storm::fault::Fault;
use crate::storm::history::History;
use crate::storm::hostile::TRAP;
use crate::storm::parts;
use crate::storm::world::{World, ZONE};
use hickory_proto::rr::RData;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// A revocation reaches every node within this, and what followed from its pages is gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// A liar is caught within this of its start: it behaves for three seconds, then two pages must meet.
const CAUGHT_WITHIN: Duration = Duration::from_secs(12);
/// Between two looks: each asks every node four times.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Parts of a core that a flood may cost each of the others, more than what it takes at rest: a signature is checked for
/// each page that comes (43 µs).
const MOST_CPU: f64 = 0.25;

/// What a node says, of what a hostile member could have changed.
#[derive(Clone, Debug, Default)]
struct Word {
    by: String,
    claims: Vec<ClaimRow>,
    rows: Vec<Row>,
    peers: Vec<Peer>,
    caught: BTreeSet<String>,
}

/// What is true meanwhile.
#[derive(Clone, Debug, Default)]
struct Truth {
    at: Duration,
    /// Hostile members, by name, with the prefix of their certificate.
    hostile: BTreeMap<String, String>,
    /// Of those, the ones that were revoked long enough ago.
    gone: BTreeSet<String>,
    /// Those that must have been caught by now.
    two_faced: BTreeSet<String>,
    /// Who claims what in good faith.
    claims: BTreeSet<(String, String)>,
    /// Honest nodes that are there.
    here: BTreeSet<String>,
}

/// CPU time of a node, and in how much time.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    cpu: Duration,
    time: Duration,
}

impl Spent {
    fn add(&mut self, cpu: Duration, time: Duration) {
        self.cpu += cpu;
        self.time += time;
    }

    fn cores(self) -> f64 {
        if self.time.is_zero() { 0.0 } else { self.cpu.as_secs_f64() / self.time.as_secs_f64() }
    }
}

/// The invariant.
#[derive(Debug, Default)]
pub struct Hostile {
    looked: Duration,
    looks: usize,
    /// Claims of a hostile member that a node showed as void: it was heard.
    void: usize,
    /// Looks at which one was seen to list others' cuts: it was heard.
    listed: usize,
    /// Rows of one with a reason why a server should be down, that nodes showed: it was heard.
    lies: usize,
    /// Questions that came to one that lists itself for others' cuts.
    asked: usize,
    /// CPU by node: last seen, at rest, in a flood.
    seen: BTreeMap<usize, (Duration, Duration)>,
    calm: BTreeMap<usize, Spent>,
    flood: BTreeMap<usize, Spent>,
    findings: Findings,
}

fn spells(history: &History) -> impl Iterator<Item = (Malice, Duration, Duration)> + '_ {
    history.spells.iter().filter_map(|spell| match spell.fault {
        Fault::Hostile { malice } => Some((malice, spell.from, spell.until)),
        _ => None,
    })
}

impl Hostile {
    /// Looks at all nodes that are there, if a hostile member was ever started.
    pub fn look(&mut self, world: &World, history: &History, now: Duration) {
        self.weigh(world, history, now);
        if now < self.looked + LOOK_EVERY || spells(history).next().is_none() {
            return;
        }
        self.looked = now;
        let truth = truth(world, history, now);
        for (_, node) in world.present() {
            // One that does not answer its socket in time says nothing.
            let (Ok(claims), Ok(rows), Ok(peers), Ok(caught)) =
                (node.claims(), node.latency(), node.peers(), node.equivocations())
            else {
                continue;
            };
            let caught = caught.into_iter().map(|proof| proof.name).collect();
            self.note(&Word { by: node.name().to_owned(), claims, rows, peers, caught }, &truth);
        }
    }

    /// Reads what resolvers were told, and by whom.
    pub fn read(&mut self, said: &[Said], resolvers: &[IpAddr]) {
        for message in said {
            let malice = |at: IpAddr| MALICES.into_iter().find(|malice| IpAddr::from(malice.address()) == at);
            if message.is_question() {
                match malice(message.to.ip()).filter(|_| resolvers.contains(&message.from.ip())) {
                    Some(Malice::Lies) => self.asked += 1,
                    Some(malice) => self.findings.add(format!("{} was asked: {}", malice.node(), message.line())),
                    None => {}
                }
            } else if resolvers.contains(&message.to.ip()) {
                if let Some(malice) = malice(message.from.ip()) {
                    self.findings.add(format!("{} answered: {}", malice.node(), message.line()));
                } else if let Some(wrong) = leads_astray(message) {
                    self.findings.add(format!("{wrong}: {}", message.line()));
                }
            }
        }
    }

    fn note(&mut self, word: &Word, truth: &Truth) {
        self.looks += 1;
        let (by, at) = (&word.by, truth.at.as_secs_f64());
        let mut honest = BTreeSet::new();
        for claim in &word.claims {
            match truth.hostile.get(&claim.node) {
                _ if truth.gone.contains(&claim.node) => {
                    self.findings
                        .add(format!("{by} at {at:.0} s: {} is revoked, and claims {}", claim.node, claim.prefix));
                }
                Some(_) if claim.void => self.void += 1,
                Some(allowed) if *allowed == claim.prefix => {}
                Some(_) => self
                    .findings
                    .add(format!("{by} at {at:.0} s: {} claims {}, and it counts", claim.node, claim.prefix)),
                None => {
                    honest.insert((claim.node.clone(), claim.prefix.clone()));
                }
            }
        }
        for (node, prefix) in honest.symmetric_difference(&truth.claims) {
            self.findings.add(format!("{by} at {at:.0} s: whether {node} claims {prefix} is not as {node} has it"));
        }
        for row in &word.rows {
            // Of one that has just come the reason is its own, and the state what others see.
            if truth.hostile.contains_key(&row.node) {
                self.lies += usize::from(!row.why.is_empty());
                continue;
            }
            if !row.state.eq_ignore_ascii_case("down") {
                continue;
            }
            self.findings.add(format!("{by} at {at:.0} s: {} is down for {}: {}", row.server, row.node, row.why));
        }
        for peer in &word.peers {
            self.listed += usize::from(truth.hostile.contains_key(&peer.name) && peer.cuts.len() > 1);
            if truth.gone.contains(&peer.name) {
                self.findings.add(format!("{by} at {at:.0} s: {} is revoked, and {}", peer.name, peer.verdict));
            }
            if truth.here.contains(&peer.name) && peer.verdict == "dead" {
                self.findings.add(format!("{by} at {at:.0} s: {} was convicted, and lives", peer.name));
            }
        }
        for name in truth.two_faced.difference(&word.caught) {
            self.findings.add(format!("{by} at {at:.0} s: {name} equivocates, and is not named"));
        }
        // Of one that was revoked the proof stays, and the name that its certificate gave it does not.
        let honest = |name: &&String| !name.is_empty() && !truth.hostile.contains_key(*name);
        for name in word.caught.iter().filter(honest) {
            self.findings.add(format!("{by} at {at:.0} s: {name} is named for an equivocation that was another's"));
        }
    }

    fn weigh(&mut self, world: &World, history: &History, now: Duration) {
        let on = spells(history).find(|(_, from, until)| *from <= now && now <= *until).map(|(malice, ..)| malice);
        for (number, node) in world.present() {
            let Some(cpu) = node.cpu() else { continue };
            let Some((before, then)) = self.seen.insert(number, (cpu, now)) else { continue };
            let bin = match on {
                Some(Malice::Floods) => &mut self.flood,
                None => &mut self.calm,
                Some(_) => continue,
            };
            bin.entry(number).or_default().add(cpu.saturating_sub(before), now.saturating_sub(then));
        }
    }

    /// What was seen.
    pub fn verdict(&self, history: &History) -> anyhow::Result<String> {
        let there: BTreeSet<Malice> = spells(history).map(|(malice, ..)| malice).collect();
        let mut findings = self.findings.clone();
        if there.contains(&Malice::Claims) && self.void == 0 {
            findings.add("nobody heard of a claim outside a certificate: this proves nothing".to_owned());
        }
        if there.contains(&Malice::Lies) && self.listed == 0 {
            findings.add("nobody heard of one that lists others' cuts: this proves nothing".to_owned());
        }
        if there.contains(&Malice::Lies) && self.lies == 0 {
            findings.add("nobody heard of measurements that are lies: this proves nothing".to_owned());
        }
        let most = self
            .flood
            .iter()
            .map(|(node, spent)| (spent.cores(), self.calm.get(node).copied().unwrap_or_default().cores(), *node));
        let most = most.max_by(|a, b| (a.0 - a.1).total_cmp(&(b.0 - b.1)));
        let mut cpu = String::new();
        if let Some((flood, calm, node)) = most {
            cpu = format!(
                "; in the flood at most {:.0} % of a core (n{:02}), {:.0} % at rest",
                flood * 100.0,
                node + 1,
                calm * 100.0
            );
            if flood - calm > MOST_CPU {
                findings.add(format!("too much work in a flood{cpu}"));
            }
        }
        findings.verdict(match there.len() {
            0 => "no hostile member was there".to_owned(),
            count => format!(
                "{count} hostile members, {} words of nodes; {} claims void, {} false measurements; {} questions to one that \
                 lists others' cuts{cpu}",
                self.looks, self.void, self.lies, self.asked
            ),
        })
    }
}

fn truth(world: &World, history: &History, now: Duration) -> Truth {
    let named = |malice: Malice| malice.node();
    let pops = &world.geography.pops;
    let of = |pop| parts::settings(&world.geography, pop).claims;
    Truth {
        at: now,
        hostile: spells(history).map(|(malice, ..)| (named(malice), malice.allowed())).collect(),
        gone: spells(history)
            .filter(|(.., until)| until.saturating_add(GONE_WITHIN) <= now)
            .map(|(malice, ..)| named(malice))
            .collect(),
        two_faced: spells(history)
            .filter(|(malice, from, until)| {
                *malice == Malice::Equivocates && *from + CAUGHT_WITHIN <= now && now <= *until
            })
            .map(|(malice, ..)| named(malice))
            .collect(),
        claims: pops.iter().flat_map(|pop| of(pop).into_iter().map(|claim| (pop.node.clone(), claim.prefix))).collect(),
        here: world.present().map(|(_, node)| node.name().to_owned()).collect(),
    }
}

/// Why a reply of an honest server leads to a hostile member, if it does.
fn leads_astray(reply: &Said) -> Option<&'static str> {
    let hostile = |name: &str| {
        let labels = name.to_ascii_lowercase();
        MALICES.iter().any(|malice| labels.split('.').any(|label| label == malice.node()))
    };
    let message = &reply.message;
    for record in message.answers.iter().chain(&message.authorities) {
        match &record.data {
            RData::CNAME(target) if hostile(&target.0.to_string()) => return Some("referred to a hostile member"),
            RData::A(address) if address.0 == TRAP => return Some("its word from another's mouth"),
            RData::NS(target) if is_apex(&record.name.to_string()) && told(&target.0.to_string()) => {
                return Some("a hostile member as a server of the mesh zone");
            }
            _ => {}
        }
    }
    None
}

fn is_apex(name: &str) -> bool {
    name.trim_end_matches('.').eq_ignore_ascii_case(ZONE)
}

/// Whether the name of a name server is a hostile member's.
fn told(server: &str) -> bool {
    let first = server.split('.').next().unwrap_or_default().to_ascii_lowercase();
    MALICES.iter().any(|malice| first.strip_prefix("ns-") == Some(malice.node().as_str()))
}

#[cfg(test)]
mod tests;
