//! Which servers may serve at all, and which of them do: address family, the operator's word, health, tier.
//!
//! ```text
//!   live in the first tier that has `min_up` of them ─▶ all that are live ─▶ weight 0 ─▶ canaries ─▶ drained ─▶ nobody
//! ```
//!
//! A server that is known to be down is not given while another is up: the last tier serves with less than `min_up`,
//! and if no tier has enough, all that is up serves together, for then every server counts. Rejected: to pass over
//! health below a threshold (Envoy's panic mode, gdnsd's `up_thresh`). Their clients come by connection and try again at
//! once; ours would keep a dead address for a TTL.

use crate::{Duty, Milli, RowState, Server};

use super::{Family, Reason};

/// What a server is good for, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fitness {
    /// It is up, and may serve anybody.
    Live,
    /// It is up, but has no weight.
    NoWeight,
    /// It is up, for a few.
    Canary,
    /// It is up, and to be left alone.
    Draining,
    /// Not measured yet.
    Unknown,
    /// It does not answer.
    Down,
    /// The operator switched it off.
    Off,
    /// The question is about the other family.
    OtherFamily,
}

impl Fitness {
    pub(super) fn of(server: &Server, family: Family, state: RowState) -> Self {
        match (state, server.terms.duty) {
            _ if !family.has(server.address) => Self::OtherFamily,
            (_, Duty::Off) => Self::Off,
            (RowState::Unknown, _) => Self::Unknown,
            (RowState::Down, _) => Self::Down,
            (RowState::Up, Duty::Drain) => Self::Draining,
            (RowState::Up, Duty::Up) if server.terms.canary > Milli(0) => Self::Canary,
            (RowState::Up, Duty::Up) if server.weight == 0 => Self::NoWeight,
            (RowState::Up, Duty::Up) => Self::Live,
        }
    }

    pub(super) fn is_up(self) -> bool {
        self <= Self::Draining
    }

    /// Could it be given, if the worst came to the worst?
    pub(super) fn is_candidate(self) -> bool {
        self <= Self::Down
    }

    /// Why such a server stands back, but for what tiers and overrides have to say about the living.
    pub(super) fn reason(self, server: &Server) -> Reason {
        match self {
            Self::Live => Reason::Nearest,
            Self::NoWeight => Reason::NoWeight,
            Self::Canary => Reason::CanaryOthers { share: server.terms.canary },
            Self::Draining => Reason::Draining,
            Self::Unknown => Reason::Unknown,
            Self::Down => Reason::Down,
            Self::Off => Reason::Off,
            Self::OtherFamily => Reason::OtherFamily,
        }
    }
}

/// Which servers serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    /// The living of a tier.
    Tier(u8),
    /// All the living: no tier has enough.
    Living,
    /// There are no living; those of this fitness.
    Reserve(Fitness),
    /// Nobody is up.
    Nobody,
}

impl Serving {
    /// Who serves of a pool, given the fitness and the tier of each server.
    pub(super) fn of(pool: impl Iterator<Item = (Fitness, u8)> + Clone, min_up: usize) -> Self {
        let best = pool.clone().map(|(fitness, _)| fitness).filter(|fitness| fitness.is_up()).min();
        match best {
            None => Self::Nobody,
            Some(Fitness::Live) => {
                let tiers = pool.clone().filter(|(fitness, _)| *fitness == Fitness::Live).map(|(_, tier)| tier);
                let enough = |tier: &u8| living(pool.clone(), *tier) >= min_up;
                tiers.filter(enough).min().map_or(Self::Living, Self::Tier)
            }
            Some(reserve) => Self::Reserve(reserve),
        }
    }

    pub(super) fn takes(self, fitness: Fitness, tier: u8) -> bool {
        match self {
            Self::Tier(serving) => fitness == Fitness::Live && tier == serving,
            Self::Living => fitness == Fitness::Live,
            Self::Reserve(reserve) => fitness == reserve,
            Self::Nobody => false,
        }
    }
}

/// How many of a tier are live.
pub(super) fn living(pool: impl Iterator<Item = (Fitness, u8)>, tier: u8) -> usize {
    pool.filter(|(fitness, own)| *fitness == Fitness::Live && *own == tier).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving(pool: &[(Fitness, u8)], min_up: usize) -> Serving {
        Serving::of(pool.iter().copied(), min_up)
    }

    #[test]
    fn the_first_tier_with_enough_serves_then_all_that_live_then_the_reserves() {
        use Fitness::{Canary, Down, Draining, Live, NoWeight, Off, Unknown};
        for (pool, min_up, expected) in [
            (&[(Live, 1), (Live, 0)][..], 1, Serving::Tier(0)),
            (&[(Live, 0), (Down, 0), (Live, 5), (Live, 5)], 2, Serving::Tier(5)),
            (&[(Live, 0), (Down, 0), (Live, 5), (Unknown, 5)], 2, Serving::Living),
            (&[(Live, 0)], 7, Serving::Living),
            (&[(Draining, 0), (Canary, 0), (NoWeight, 3), (Down, 0)], 1, Serving::Reserve(NoWeight)),
            (&[(Draining, 0), (Canary, 0)], 1, Serving::Reserve(Canary)),
            (&[(Draining, 0), (Off, 0)], 1, Serving::Reserve(Draining)),
            (&[(Down, 0), (Unknown, 0), (Off, 0)], 1, Serving::Nobody),
            (&[], 1, Serving::Nobody),
        ] {
            assert_eq!(serving(pool, min_up), expected, "{pool:?} with min_up {min_up}");
        }
    }
}
