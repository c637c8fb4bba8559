//! What will happen when: drawn from a seed before anything is started, and printed whole.
//!
//! ```text
//!   steady ─┬─ fault ── heal ──┬─ fault ── heal ── … ─┬─ settle ─┬─ quiet ─┐
//!           0                  gap                                        judged
//! ```
//!
//! Faults of `mixed` and of a soak overlap; those of a scenario about one kind do not, so that what is seen has one cause.
//!
//! **Invariant:** a scenario, a seed and the counts give one plan, so a run can be repeated by its first line.

use super::fault::{Fault, every_other};
use super::history::Spell;
use anyhow::{Context, Result};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Faults of a mixed run that may be on at a time.
const AT_ONCE: usize = 2;

/// What a soak draws from: what may be done beside something else.
const SOAK: Profile = Profile::of(
    "soak",
    "anything, every ten seconds, to one mesh",
    &[
        "kill",
        "kill",
        "stop",
        "starve",
        "island",
        "one-way",
        "loss",
        "delay",
        "delay-steps",
        "reorder",
        "origin-down",
        "origin-hangs",
        "origin-errs",
        "origin-slow",
        "dns-a-down",
        "disk-wiped",
        "disk-rolled-back",
        "disk-corrupt",
        "blind",
        "renumber",
        "revoke",
        "flood",
        "stranger",
    ],
    (8, 25),
);

/// From a fault to the one beside it, and from the heal of the first to the end of that.
const BESIDE: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(14));
/// Between two blows of a soak.
const BLOW_EVERY: Duration = Duration::from_secs(10);
/// Faults drawn for one blow, until one of them touches nothing that is on.
const DRAWS: usize = 30;

/// The storm in which half of the nodes are of another version.
pub const VERSIONS: &str = "versions";

/// What a run is about.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// The kinds of faults (see [`super::fault::KINDS`]); each comes once, in a mixed run some by chance.
    kinds: &'static [&'static str],
    /// Faults of several kinds overlap, so many of them.
    mixed: Option<usize>,
    /// What else comes to each fault: it begins when all know of the first, and ends some time after that has healed.
    beside: Option<&'static str>,
    /// How long a fault lasts, in seconds.
    lasts: (u64, u64),
    /// Between the heal of one and the blow of the next, in seconds.
    gap: u64,
}

/// All scenarios.
pub const SCENARIOS: [Profile; 20] = [
    Profile {
        gap: 13,
        ..Profile::of(
            "kill",
            "nodes die: one, some, those that others join through, half of them",
            &["kill", "kill-some", "bootstrap", "kill-half"],
            (20, 30),
        )
    },
    Profile::of("half", "half of the nodes die, and stay away for longer than a CNAME lives", &["kill-half"], (85, 85)),
    Profile::of("stop", "a node is stopped and resumed; one gets too little time", &["stop", "starve"], (3, 20)),
    Profile::of("restart", "every node is restarted, one after the other", &["restart"], (30, 40)),
    Profile::of(
        "split",
        "the mesh is split, one is an island, one is heard by nobody",
        &["partition", "island", "one-way"],
        (20, 40),
    ),
    Profile::of(
        "weather",
        "paths lose packets, become longer, change in steps, let packets overtake each other",
        &["loss", "delay", "delay-steps", "reorder"],
        (20, 40),
    ),
    Profile::of(
        "origin",
        "an origin is down, hangs, errs, is slow, flaps",
        &["origin-down", "origin-hangs", "origin-errs", "origin-slow", "origin-flaps"],
        (20, 30),
    ),
    Profile::of(
        "renumber",
        "resolvers ask from addresses that nobody claims, for longer than a CNAME lives",
        &["renumber"],
        (70, 75),
    ),
    Profile::of("dns-a", "DNS-A is down while nodes die", &["dns-a-down"], (20, 30)),
    Profile::of(
        "disk",
        "a node's disk is lost, rolled back, corrupted, full",
        &["disk-wiped", "disk-rolled-back", "disk-corrupt", "disk-full"],
        (5, 15),
    ),
    Profile::of("clock", "a node's wall clock jumps by an hour, and another's", &["clock", "clock"], (15, 20)),
    Profile::of("blind", "a node reaches no origin", &["blind"], (25, 30)),
    Profile::of("revoke", "a node is revoked, and admitted again", &["revoke"], (15, 20)),
    Profile {
        beside: Some("origins-but-one"),
        gap: 24,
        ..Profile::of(
            "stand-in",
            "a node dies, is stopped, is revoked, then origins fail that it held to be up, and then it comes back",
            &["kill", "revoke", "stop", "kill", "revoke"],
            (30, 35),
        )
    },
    Profile::of("roll", "every node is upgraded in good order, and put back", &["roll", "roll"], (40, 45)),
    Profile::of(
        VERSIONS,
        "half of the nodes are of another version (--other), and hear each other only through the rest",
        &["apart", "kill", "disk-wiped", "restart"],
        (20, 25),
    ),
    Profile::of("flood", "nonsense at a node's ports", &["flood"], (20, 20)),
    Profile::of("stranger", "one that nobody admitted wants to join", &["stranger"], (15, 15)),
    Profile::of(
        "hostile",
        "members with good certificates claim too much, lie, equivocate, flood, and are revoked",
        &["hostile-claims", "hostile-lies", "hostile-equivocates", "hostile-floods"],
        (15, 20),
    ),
    Profile {
        mixed: Some(6),
        ..Profile::of(
            "mixed",
            "anything, two at a time",
            &[
                "kill",
                "stop",
                "restart",
                "partition",
                "one-way",
                "loss",
                "delay",
                "origin-down",
                "disk-wiped",
                "disk-corrupt",
            ],
            (8, 25),
        )
    },
];

impl Profile {
    const fn of(name: &'static str, about: &'static str, kinds: &'static [&'static str], lasts: (u64, u64)) -> Self {
        Self { name, about, kinds, mixed: None, beside: None, lasts, gap: 8 }
    }

    /// The scenario of a name.
    pub fn named(name: &str) -> Result<Self> {
        SCENARIOS.iter().find(|profile| profile.name == name).copied().with_context(|| {
            let known: Vec<&str> = SCENARIOS.iter().map(|profile| profile.name).collect();
            format!("no scenario {name}; there are {}", known.join(", "))
        })
    }
}

/// One fault and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// From the end of the steady phase to the blow.
    #[serde(with = "super::seconds")]
    pub at: Duration,
    /// From the blow to the heal.
    #[serde(with = "super::seconds")]
    pub lasts: Duration,
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The scenario.
    pub scenario: String,
    /// Decides all that chance does.
    pub seed: u64,
    /// Points of presence.
    pub pops: usize,
    /// Origins.
    pub origins: usize,
    /// The faults, by the time of their blow.
    pub faults: Vec<Planned>,
    /// The program that nodes become when they are rolled, if it is another.
    #[serde(default)]
    pub other: Option<PathBuf>,
}

impl Plan {
    /// Draws a plan.
    pub fn draw(profile: &Profile, seed: u64, pops: usize, origins: usize) -> Result<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x706c_616e);
        let (least, most) = profile.lasts;
        let gap = Duration::from_secs(profile.gap);
        let mut kinds = profile.kinds.to_vec();
        if let Some(count) = profile.mixed {
            kinds = (0..count).filter_map(|_| profile.kinds.choose(&mut random).copied()).collect();
        }
        let lanes = if profile.mixed.is_some() { AT_ONCE } else { 1 };
        let mut free = vec![Duration::ZERO; lanes];
        let mut faults: Vec<Planned> = Vec::new();
        for (number, kind) in kinds.iter().enumerate() {
            let Some(at) = free.get_mut(number % lanes) else { continue };
            let lasts = Duration::from_secs(random.random_range(least..=most));
            let fault = Fault::draw(kind, pops, origins, &mut random).with_context(|| format!("no fault {kind}"))?;
            let together = |other: &&Planned| *at < other.at + other.lasts + gap && other.at < *at + lasts + gap;
            // Two faults at one node at a time: the second would be done to a process that is not there.
            if faults.iter().filter(together).any(|other| touch(&other.fault, &fault)) {
                *at += lasts + gap;
                if faults
                    .iter()
                    .filter(|other| *at < other.at + other.lasts + gap)
                    .any(|other| touch(&other.fault, &fault))
                {
                    continue;
                }
            }
            faults.push(Planned { at: *at, lasts, fault });
            if let Some(kind) = profile.beside {
                let fault =
                    Fault::draw(kind, pops, origins, &mut random).with_context(|| format!("no fault {kind}"))?;
                let (after, beyond) = BESIDE;
                faults.push(Planned { at: *at + after, lasts: (lasts + beyond).saturating_sub(after), fault });
            }
            *at += lasts + gap;
        }
        faults.sort_by_key(|planned| planned.at);
        Ok(Self { scenario: profile.name.to_owned(), seed, pops, origins, faults, other: None })
    }

    /// Draws a plan of such a length with a fault every ten seconds.
    pub fn soak(seed: u64, pops: usize, origins: usize, length: Duration) -> Result<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x736f_616b);
        let (least, most) = SOAK.lasts;
        let gap = Duration::from_secs(SOAK.gap);
        let mut faults: Vec<Planned> = Vec::new();
        let mut at = Duration::ZERO;
        while at < length {
            for _ in 0..DRAWS {
                let kind = SOAK.kinds.choose(&mut random).copied().unwrap_or_default();
                let lasts = Duration::from_secs(random.random_range(least..=most));
                let fault =
                    Fault::draw(kind, pops, origins, &mut random).with_context(|| format!("no fault {kind}"))?;
                let mut on = faults.iter().filter(|other| at < other.at + other.lasts + gap);
                if !on.any(|other| touch(&other.fault, &fault)) {
                    faults.push(Planned { at, lasts, fault });
                    break;
                }
            }
            at += BLOW_EVERY;
        }
        Ok(Self { scenario: SOAK.name.to_owned(), seed, pops, origins, faults, other: None })
    }

    /// When the last fault has healed.
    pub fn ends(&self) -> Duration {
        self.faults.iter().map(|planned| planned.at + planned.lasts).max().unwrap_or_default()
    }

    /// The nodes that are of the other version from the start.
    pub fn of_the_other_version(&self) -> Vec<usize> {
        let two = self.scenario == VERSIONS && self.other.is_some();
        if two { every_other(self.pops) } else { Vec::new() }
    }

    /// The plan for people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "scenario {}, seed {}: {} points of presence, {} origins\n",
            self.scenario, self.seed, self.pops, self.origins
        );
        for planned in &self.faults {
            let (at, lasts) = (planned.at.as_secs(), planned.lasts.as_secs());
            text.push_str(&format!("  after {at:3} s, for {lasts:2} s   {}\n", planned.fault));
        }
        text
    }

    /// The plan as spells, as if everything were done on time; the world corrects it by what was.
    pub fn spells(&self) -> Vec<Spell> {
        self.faults
            .iter()
            .map(|planned| Spell { fault: planned.fault.clone(), from: planned.at, until: planned.at + planned.lasts })
            .collect()
    }
}

/// Whether two faults are about the same things.
fn touch(a: &Fault, b: &Fault) -> bool {
    let common = |a: &[usize], b: &[usize]| a.iter().any(|one| b.contains(one));
    let same_kind = std::mem::discriminant(a) == std::mem::discriminant(b);
    common(a.nodes(), b.nodes()) || common(a.origins(), b.origins()) || same_kind
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Plan, Profile, SCENARIOS, touch};
    use std::time::Duration;

    #[test]
    fn a_seed_is_a_plan() {
        let mixed = Profile::named("mixed").unwrap();
        let plan = |seed| Plan::draw(&mixed, seed, 6, 4).unwrap();
        assert_eq!(plan(5), plan(5));
        assert_ne!(plan(5), plan(6));
        assert!(Profile::named("plague").is_err());
    }

    #[test]
    fn a_soak_has_a_fault_for_nearly_every_ten_seconds_and_none_to_what_is_hit_already() {
        for seed in 0..20 {
            let plan = Plan::soak(seed, 30, 4, Duration::from_secs(3600)).unwrap();
            assert!((330..=360).contains(&plan.faults.len()), "seed {seed}: {}", plan.faults.len());
            for (number, a) in plan.faults.iter().enumerate() {
                let later = plan.faults.iter().skip(number + 1);
                let mut on = later.take_while(|b| b.at < a.at + a.lasts);
                assert!(on.all(|b| !touch(&a.fault, &b.fault)), "seed {seed}: {a:?}");
            }
        }
        assert_eq!(
            Plan::soak(1, 30, 4, Duration::from_secs(600)).unwrap(),
            Plan::soak(1, 30, 4, Duration::from_secs(600)).unwrap()
        );
    }

    #[test]
    fn no_two_faults_are_done_to_one_process_at_a_time() {
        for seed in 0..200 {
            for profile in &SCENARIOS {
                let plan = Plan::draw(profile, seed, 6, 4).unwrap();
                assert!(!plan.faults.is_empty(), "{}", profile.name);
                assert!(plan.text().lines().count() == plan.faults.len() + 1);
                for (number, a) in plan.faults.iter().enumerate() {
                    for b in plan.faults.iter().skip(number + 1) {
                        let overlap = a.at < b.at + b.lasts && b.at < a.at + a.lasts;
                        assert!(!(overlap && touch(&a.fault, &b.fault)), "seed {seed}: {}", plan.text());
                    }
                }
            }
        }
    }
}
