//! What can go wrong, as data: what it is called, what it touches, how it is drawn.
//!
//! A fault lasts from its blow to its heal. What of it a client may feel is the business of [`super::oracle`]; how it is
//! done to real processes that of [`super::world`]. Nodes and origins are numbers in the [`super::geography::Geography`].

use crate::hostile::Malice;
use rand::seq::{IndexedRandom, IteratorRandom, SliceRandom};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Parts of a million in a percent.
const PERCENT: u32 = 10_000;

/// Changes of a delay that changes in steps.
const STEPS: usize = 4;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL; healed by a start with the state that was left.
    Kill {
        /// The nodes.
        nodes: Vec<usize>,
    },
    /// SIGSTOP; healed by SIGCONT.
    Stop {
        /// The nodes.
        nodes: Vec<usize>,
    },
    /// Killed and started again at once, one after the other, with a pause between.
    Restart {
        /// The nodes, in order.
        nodes: Vec<usize>,
    },
    /// These points of presence (nodes and ISPs) and all others do not reach each other's nodes.
    Partition {
        /// One side.
        nodes: Vec<usize>,
    },
    /// These nodes do not reach each other; everybody else reaches them.
    Apart {
        /// The nodes.
        nodes: Vec<usize>,
    },
    /// What these nodes send to other nodes and to other ISPs is lost; what they are sent arrives.
    OneWay {
        /// The nodes that are not heard.
        nodes: Vec<usize>,
    },
    /// Packets to and from these nodes are lost by chance.
    Loss {
        /// The nodes.
        nodes: Vec<usize>,
        /// Of a hundred packets.
        percent: u32,
    },
    /// Packets to and from these nodes take so much longer each way, and vary by a fifth of it.
    Delay {
        /// The nodes.
        nodes: Vec<usize>,
        /// Milliseconds.
        ms: u64,
    },
    /// The same, but how much longer changes while it lasts, each time at once, as when routes change.
    Steps {
        /// The nodes.
        nodes: Vec<usize>,
        /// Milliseconds, one after the other, each for as long.
        ms: Vec<u64>,
    },
    /// Of the packets to and from these nodes some are overtaken by those behind them.
    Reorder {
        /// The nodes.
        nodes: Vec<usize>,
        /// Of a hundred packets.
        percent: u32,
    },
    /// The origin's process is killed: connections are refused.
    OriginDown {
        /// The origins.
        origins: Vec<usize>,
    },
    /// The origin's process is stopped: connections are taken, nothing is answered.
    OriginHangs {
        /// The origins.
        origins: Vec<usize>,
    },
    /// Everything on the way to the origin and back takes so much longer.
    OriginSlow {
        /// The origins.
        origins: Vec<usize>,
        /// Milliseconds each way.
        ms: u64,
    },
    /// The origin answers, with an error (500).
    OriginErrs {
        /// The origins.
        origins: Vec<usize>,
    },
    /// The origin's process is stopped and resumed, again and again.
    OriginFlaps {
        /// The origins.
        origins: Vec<usize>,
    },
    /// The resolvers ask from another address, which nobody claims: their ISP renumbers.
    Renumber {
        /// The points of presence.
        nodes: Vec<usize>,
    },
    /// DNS-A is killed.
    DnsADown,
    /// The node runs for a fifth of the time: 20 ms, then it stands still for 80.
    Starve {
        /// The nodes.
        nodes: Vec<usize>,
    },
    /// Killed, its replica and its peers are lost (the keys are kept), started again at once.
    DiskWiped {
        /// The node.
        node: usize,
    },
    /// Killed, its replica is what it was when the run began, started again at once.
    DiskRolledBack {
        /// The node.
        node: usize,
    },
    /// Killed, the middle of its replica is noise, started again at once.
    DiskCorrupt {
        /// The node.
        node: usize,
    },
    /// The disk of the node's state is full; healed when there is room again.
    DiskFull {
        /// The node.
        node: usize,
    },
    /// The node's wall clock jumps.
    Clock {
        /// The node.
        node: usize,
        /// By so many minutes.
        minutes: i64,
    },
    /// The node reaches no origin, and all else.
    Blind {
        /// The nodes.
        nodes: Vec<usize>,
    },
    /// The operator revokes the node; healed by a new certificate and a start.
    Revoke {
        /// The node.
        node: usize,
    },
    /// Told to leave, waited for and started again, one after the other; as another version, if there is one.
    Roll {
        /// The nodes, in order.
        nodes: Vec<usize>,
    },
    /// Packets of nonsense at the node's DNS port and mesh port, from a host that nobody knows.
    Flood {
        /// The node.
        node: usize,
    },
    /// A process with a key that nobody admitted wants to join.
    Stranger,
    /// A member with a valid certificate misbehaves; healed by its revocation, after which it goes on knocking.
    Hostile {
        /// How.
        malice: Malice,
    },
}

/// The kinds, by which scenarios ask for them.
pub const KINDS: [&str; 36] = [
    "kill",
    "kill-some",
    "kill-half",
    "bootstrap",
    "stop",
    "restart",
    "partition",
    "island",
    "one-way",
    "loss",
    "delay",
    "delay-steps",
    "reorder",
    "origin-down",
    "origins-but-one",
    "origin-hangs",
    "origin-slow",
    "origin-errs",
    "origin-flaps",
    "dns-a-down",
    "disk-wiped",
    "disk-rolled-back",
    "disk-corrupt",
    "flood",
    "starve",
    "disk-full",
    "clock",
    "blind",
    "revoke",
    "roll",
    "hostile-claims",
    "hostile-lies",
    "hostile-equivocates",
    "hostile-floods",
    "apart",
    "renumber",
];

/// The nodes that are of the other version where there are two.
pub fn every_other(nodes: usize) -> Vec<usize> {
    (0..nodes).filter(|node| node % 2 == 1).collect()
}

impl Fault {
    /// Draws a fault of a kind in a world of so many nodes and origins. Nothing: there is no such kind.
    pub fn draw(kind: &str, nodes: usize, origins: usize, random: &mut impl Rng) -> Option<Self> {
        let some = |most: usize, random: &mut dyn rand::Rng| {
            let mut all: Vec<usize> = (0..nodes).collect();
            all.shuffle(random);
            all.truncate(most.max(1));
            all.sort_unstable();
            all
        };
        let one = |random: &mut dyn rand::Rng| (0..nodes).choose(random).unwrap_or_default();
        // At least one origin is left, or nothing could be answered rightly.
        let origin = |random: &mut dyn rand::Rng| vec![(0..origins).choose(random).unwrap_or_default()];
        Some(match kind {
            "kill" => Self::Kill { nodes: some(1, random) },
            "kill-some" => Self::Kill { nodes: some(nodes / 3, random) },
            "kill-half" => Self::Kill { nodes: some(nodes / 2, random) },
            // Nodes join through the first two.
            "bootstrap" => Self::Kill { nodes: (0..nodes.min(2)).collect() },
            "starve" => Self::Starve { nodes: some(1, random) },
            "stop" => Self::Stop { nodes: some(1, random) },
            "restart" => {
                let mut order = some(nodes, random);
                order.shuffle(random);
                Self::Restart { nodes: order }
            }
            "partition" => Self::Partition { nodes: some(nodes / 2, random) },
            "island" => Self::Partition { nodes: some(1, random) },
            "apart" => Self::Apart { nodes: every_other(nodes) },
            "renumber" => Self::Renumber { nodes: some(nodes / 2, random) },
            "one-way" => Self::OneWay { nodes: some(1, random) },
            "loss" => Self::Loss { nodes: some(nodes / 2, random), percent: random.random_range(5..=20) },
            "delay" => Self::Delay { nodes: some(nodes / 2, random), ms: random.random_range(20..=150) },
            "delay-steps" => {
                let steps = (0..STEPS).map(|_| random.random_range(0..=200)).collect();
                Self::Steps { nodes: some(nodes / 2, random), ms: steps }
            }
            "reorder" => Self::Reorder { nodes: some(nodes / 2, random), percent: random.random_range(5..=30) },
            "origin-down" => Self::OriginDown { origins: origin(random) },
            "origins-but-one" => {
                let mut all: Vec<usize> = (0..origins).collect();
                all.shuffle(random);
                all.truncate(origins.saturating_sub(1));
                all.sort_unstable();
                Self::OriginDown { origins: all }
            }
            "origin-hangs" => Self::OriginHangs { origins: origin(random) },
            "origin-slow" => Self::OriginSlow { origins: origin(random), ms: random.random_range(100..=300) },
            "origin-errs" => Self::OriginErrs { origins: origin(random) },
            "origin-flaps" => Self::OriginFlaps { origins: origin(random) },
            "dns-a-down" => Self::DnsADown,
            "disk-wiped" => Self::DiskWiped { node: one(random) },
            "disk-rolled-back" => Self::DiskRolledBack { node: one(random) },
            "disk-corrupt" => Self::DiskCorrupt { node: one(random) },
            "flood" => Self::Flood { node: one(random) },
            "disk-full" => Self::DiskFull { node: one(random) },
            "clock" => Self::Clock { node: one(random), minutes: *[-60, 60].choose(random).unwrap_or(&60) },
            "blind" => Self::Blind { nodes: some(1, random) },
            "revoke" => Self::Revoke { node: one(random) },
            "roll" => Self::Roll { nodes: (0..nodes).collect() },
            "stranger" => Self::Stranger,
            "hostile-claims" => Self::Hostile { malice: Malice::Claims },
            "hostile-lies" => Self::Hostile { malice: Malice::Lies },
            "hostile-equivocates" => Self::Hostile { malice: Malice::Equivocates },
            "hostile-floods" => Self::Hostile { malice: Malice::Floods },
            _ => return None,
        })
    }

    /// The nodes that a resolver may find silent, or hear badly, because of it.
    pub fn nodes(&self) -> &[usize] {
        match self {
            Self::Kill { nodes }
            | Self::Stop { nodes }
            | Self::Restart { nodes }
            | Self::Roll { nodes }
            | Self::Blind { nodes }
            | Self::Partition { nodes }
            | Self::Apart { nodes }
            | Self::OneWay { nodes }
            | Self::Starve { nodes }
            | Self::Renumber { nodes }
            | Self::Loss { nodes, .. }
            | Self::Steps { nodes, .. }
            | Self::Reorder { nodes, .. }
            | Self::Delay { nodes, .. } => nodes,
            Self::DiskWiped { node }
            | Self::DiskRolledBack { node }
            | Self::DiskCorrupt { node }
            | Self::DiskFull { node }
            | Self::Clock { node, .. }
            | Self::Revoke { node }
            | Self::Flood { node } => std::slice::from_ref(node),
            Self::OriginDown { .. }
            | Self::OriginHangs { .. }
            | Self::OriginSlow { .. }
            | Self::OriginErrs { .. }
            | Self::OriginFlaps { .. }
            | Self::DnsADown
            | Self::Hostile { .. }
            | Self::Stranger => &[],
        }
    }

    /// The origins that it is about.
    pub fn origins(&self) -> &[usize] {
        match self {
            Self::OriginDown { origins }
            | Self::OriginHangs { origins }
            | Self::OriginSlow { origins, .. }
            | Self::OriginErrs { origins }
            | Self::OriginFlaps { origins } => origins,
            _ => &[],
        }
    }

    /// The origins that it takes away, so that nobody may be sent there.
    pub fn takes_away(&self) -> &[usize] {
        match self {
            Self::OriginDown { origins } | Self::OriginHangs { origins } | Self::OriginErrs { origins } => origins,
            _ => &[],
        }
    }

    /// Whether it is over with its blow, and only its consequences have to heal.
    pub fn is_a_moment(&self) -> bool {
        matches!(self, Self::DiskWiped { .. } | Self::DiskRolledBack { .. } | Self::DiskCorrupt { .. })
    }

    /// Whether all nodes hear each other through it, but for those that are not there.
    pub fn leaves_paths(&self) -> bool {
        !matches!(
            self,
            Self::Partition { .. }
                | Self::Apart { .. }
                | Self::OneWay { .. }
                | Self::Loss { .. }
                | Self::Delay { .. }
                | Self::Steps { .. }
                | Self::Stop { .. }
                | Self::Starve { .. }
                | Self::Revoke { .. }
        )
    }

    /// Loss in parts of a million.
    pub fn loss_ppm(&self) -> u32 {
        if let Self::Loss { percent, .. } = self { percent * PERCENT } else { 0 }
    }

    /// Packets that are overtaken, in parts of a million.
    pub fn reorder_ppm(&self) -> u32 {
        if let Self::Reorder { percent, .. } = self { percent * PERCENT } else { 0 }
    }

    /// What a step of it adds to a way; nothing before the first and after the last.
    pub fn step(&self, number: Option<usize>) -> Duration {
        match (self, number) {
            (Self::Steps { ms, .. }, Some(number)) => {
                Duration::from_millis(ms.get(number).copied().unwrap_or_default())
            }
            _ => Duration::ZERO,
        }
    }

    /// What it adds to a way.
    pub fn delay(&self) -> Duration {
        match self {
            Self::Delay { ms, .. } | Self::OriginSlow { ms, .. } => Duration::from_millis(*ms),
            _ => Duration::ZERO,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes =
            |nodes: &[usize]| nodes.iter().map(|node| format!("n{:02}", node + 1)).collect::<Vec<_>>().join(" ");
        let origins = |origins: &[usize]| {
            origins.iter().map(|origin| format!("o{:02}", origin + 1)).collect::<Vec<_>>().join(" ")
        };
        match self {
            Self::Kill { nodes: all } => write!(f, "kill -9 {}", nodes(all)),
            Self::Stop { nodes: all } => write!(f, "SIGSTOP {}", nodes(all)),
            Self::Restart { nodes: all } => write!(f, "restart, one by one, {}", nodes(all)),
            Self::Partition { nodes: all } => write!(f, "cut off from the others: {}", nodes(all)),
            Self::Apart { nodes: all } => write!(f, "out of each other's reach: {}", nodes(all)),
            Self::Renumber { nodes: all } => write!(f, "their resolvers get another address: {}", nodes(all)),
            Self::OneWay { nodes: all } => write!(f, "heard by nobody: {}", nodes(all)),
            Self::Loss { nodes: all, percent } => write!(f, "{percent} % loss at {}", nodes(all)),
            Self::Delay { nodes: all, ms } => write!(f, "{ms} ms more each way at {}", nodes(all)),
            Self::Steps { nodes: all, ms } => {
                let steps: Vec<String> = ms.iter().map(u64::to_string).collect();
                write!(f, "{} ms more each way, in steps, at {}", steps.join(", "), nodes(all))
            }
            Self::Reorder { nodes: all, percent } => write!(f, "{percent} % of packets overtaken at {}", nodes(all)),
            Self::OriginDown { origins: all } => write!(f, "origin down: {}", origins(all)),
            Self::OriginHangs { origins: all } => write!(f, "origin hangs: {}", origins(all)),
            Self::OriginSlow { origins: all, ms } => write!(f, "{ms} ms more each way to origin {}", origins(all)),
            Self::OriginErrs { origins: all } => write!(f, "origin answers 500: {}", origins(all)),
            Self::OriginFlaps { origins: all } => write!(f, "origin flaps: {}", origins(all)),
            Self::Starve { nodes: all } => write!(f, "a fifth of the time for {}", nodes(all)),
            Self::DnsADown => f.write_str("DNS-A down"),
            Self::DiskFull { node } => write!(f, "disk full at {}", nodes(&[*node])),
            Self::Clock { node, minutes } => write!(f, "clock {minutes:+} minutes at {}", nodes(&[*node])),
            Self::Blind { nodes: all } => write!(f, "no way to any origin from {}", nodes(all)),
            Self::Revoke { node } => write!(f, "revoked: {}", nodes(&[*node])),
            Self::Roll { nodes: all } => write!(f, "rolling upgrade, {}", nodes(all)),
            Self::DiskWiped { node } => write!(f, "disk lost at {}", nodes(&[*node])),
            Self::DiskRolledBack { node } => write!(f, "disk rolled back at {}", nodes(&[*node])),
            Self::DiskCorrupt { node } => write!(f, "disk corrupted at {}", nodes(&[*node])),
            Self::Flood { node } => write!(f, "flood at {}", nodes(&[*node])),
            Self::Stranger => f.write_str("a stranger knocks"),
            Self::Hostile { malice } => write!(f, "member {} {malice}", malice.node()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Fault, KINDS};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn every_kind_can_be_drawn_and_leaves_a_majority_something_to_do() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for kind in KINDS.iter().chain(&["stranger"]) {
            for _ in 0..50 {
                let fault = Fault::draw(kind, 7, 3, &mut random).unwrap();
                assert!(fault.nodes().iter().all(|node| *node < 7), "{fault}");
                assert!(fault.origins().iter().all(|origin| *origin < 3) && fault.origins().len() < 3, "{fault}");
                assert!(
                    matches!(fault, Fault::Restart { .. } | Fault::Roll { .. }) || fault.nodes().len() <= 3,
                    "{fault}"
                );
                assert!(!fault.to_string().is_empty());
            }
        }
        assert_eq!(Fault::draw("plague", 7, 3, &mut random), None);
    }
}
