//! The part of a ranking that is the same for every client: found once for each deciding node, kept as long as the
//! snapshot. Most answers then are a list that lies ready.
//!
//! **Invariant:** every server of the pool stands in an order once, with the reason for its place, and the order is total:
//! what is equally good stands by id.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::time::Duration;

use crate::{AllDown, Choice, Label, Milli, Pin, RowState, Server, Service};

use super::eligible::{Fitness, Serving, living};
use super::score::Score;
use super::share::FEW;
use super::{Family, Reason, View};

/// The most addresses when a service wants all of its servers in the answer: what fits a plain UDP message.
const MOST_OF_ALL: usize = 8;

/// See the module's header.
pub(super) struct Order {
    /// All servers by place in the pool, with reasons: those that share the clients first.
    pub(super) places: Vec<(usize, Reason)>,
    /// How many share the clients: none or at least two.
    pub(super) sharing: usize,
    pub(super) failed_open: bool,
    /// Seconds that an answer may be kept.
    pub(super) ttl: u32,
    /// The answer, each address once, if nobody shares. The first stands here, for it is nearly always the only one.
    pub(super) first: Option<IpAddr>,
    pub(super) others: Box<[IpAddr]>,
    /// Servers that are given to their share of the clients only, by place in the pool.
    pub(super) canaries: Box<[(usize, Milli)]>,
}

/// A server on its way to its place.
struct Entrant<'p> {
    at: usize,
    server: &'p Server,
    fitness: Fitness,
    score: Option<Duration>,
    /// Its place in the list of an override.
    pinned: Option<usize>,
    reason: Reason,
}

/// The view of a node, as orders are made from it.
#[derive(Clone, Copy)]
pub(super) struct Sight<'p> {
    pub(super) service: &'p Service,
    pub(super) view: &'p View,
    /// Nothing: of nobody in particular.
    pub(super) node: Option<&'p Label>,
    pub(super) family: Family,
}

impl<'p> Sight<'p> {
    /// How good each server is, by place in the pool.
    pub(super) fn score(&self, at: usize) -> Option<Score> {
        let server = self.service.servers.get(at)?;
        let seen = self.view.seen.get(at).and_then(Option::as_ref);
        let cost = server.terms.cost.from(self.node);
        Score::new(&self.service.policy.objective, seen, self.view.busiest, cost)
    }

    /// The order for whom no override holds.
    pub(super) fn usual(&self) -> Order {
        let entrants = self.entrants();
        let min_up = usize::from(self.service.policy.min_up.max(1));
        let serving = Serving::of(tiers(&entrants), min_up);
        let (mut live, mut rest): (Vec<_>, Vec<_>) =
            entrants.into_iter().partition(|entrant| serving.takes(entrant.fitness, entrant.server.terms.tier));
        if let Serving::Tier(serving) = serving {
            let is_live = |entrant: &Entrant<'_>| entrant.fitness == Fitness::Live;
            // Nearly always there is one tier, and nobody beside it.
            let thin: Vec<(Fitness, u8)> = if rest.iter().any(is_live) { tiers(&rest).collect() } else { Vec::new() };
            for entrant in rest.iter_mut().filter(|entrant| is_live(entrant)) {
                let tier = entrant.server.terms.tier;
                entrant.reason = if tier > serving {
                    Reason::LaterTier { tier, serving }
                } else {
                    Reason::TierTooThin { tier, up: living(thin.iter().copied(), tier), min_up }
                };
            }
        }
        let canaries = match serving {
            Serving::Reserve(Fitness::Canary) => Vec::new(),
            _ => canaries(&rest),
        };
        rest.sort_by(|a, b| self.by_rank(a, b));
        if serving == Serving::Nobody {
            return self.when_all_are_down(rest);
        }
        live.sort_by(|a, b| self.by_merit(a, b));
        let sharing = match self.service.policy.choice {
            Choice::Best => self.gather(&mut live),
            Choice::First => self.first_of(&mut live, Reason::Listed),
        };
        live.append(&mut rest);
        self.order(live, sharing, canaries)
    }

    /// The order that an override makes; nothing: it leads to no server that is up.
    pub(super) fn overridden(&self, pin: &Pin) -> Option<Order> {
        let mut entrants = self.entrants();
        let in_list = |id: &str| match pin {
            Pin::Servers(ids) => ids.iter().position(|pinned| pinned == id),
            Pin::Tier(_) => None,
        };
        for entrant in &mut entrants {
            entrant.pinned = in_list(&entrant.server.id);
        }
        let takes = |entrant: &Entrant<'_>| match pin {
            Pin::Servers(_) => entrant.pinned.is_some() && entrant.fitness < Fitness::Draining,
            Pin::Tier(tier) => entrant.fitness == Fitness::Live && entrant.server.terms.tier == *tier,
        };
        let (mut live, mut rest): (Vec<_>, Vec<_>) = entrants.into_iter().partition(takes);
        let enough = match pin {
            Pin::Servers(_) => 1,
            Pin::Tier(_) => usize::from(self.service.policy.min_up.max(1)),
        };
        if live.len() < enough {
            return None;
        }
        for entrant in rest.iter_mut().filter(|entrant| entrant.fitness < Fitness::Draining) {
            entrant.reason = Reason::NotPinned;
        }
        rest.sort_by(|a, b| self.by_rank(a, b));
        live.sort_by(|a, b| a.pinned.cmp(&b.pinned).then_with(|| self.by_merit(a, b)));
        let sharing = match (pin, self.service.policy.choice) {
            (Pin::Servers(_), _) => self.first_of(&mut live, Reason::Pinned),
            (Pin::Tier(_), Choice::First) => self.first_of(&mut live, Reason::Listed),
            (Pin::Tier(_), Choice::Best) => self.gather(&mut live),
        };
        live.append(&mut rest);
        Some(self.order(live, sharing, Vec::new()))
    }

    fn entrants(&self) -> Vec<Entrant<'p>> {
        let entrant = |(at, server): (usize, &'p Server)| {
            let state = self.view.seen.get(at).and_then(Option::as_ref).map_or(RowState::Unknown, |seen| seen.state);
            let fitness = Fitness::of(server, self.family, state);
            let score = self.score(at).map(|score| score.total);
            Entrant { at, server, fitness, score, pinned: None, reason: fitness.reason(server) }
        };
        self.service.servers.iter().enumerate().map(entrant).collect()
    }

    /// The better first: by place in the list, or by score, those without one last; equal ones by id.
    fn by_merit(&self, a: &Entrant<'_>, b: &Entrant<'_>) -> Ordering {
        let merit = match self.service.policy.choice {
            Choice::First => a.server.terms.place.cmp(&b.server.terms.place),
            Choice::Best => a.score.unwrap_or(Duration::MAX).cmp(&b.score.unwrap_or(Duration::MAX)),
        };
        merit.then_with(|| a.server.id.cmp(&b.server.id))
    }

    /// Those that do not serve: the fitter first, and then those that would serve before others.
    fn by_rank(&self, a: &Entrant<'_>, b: &Entrant<'_>) -> Ordering {
        let rank = |entrant: &Entrant<'_>| (entrant.fitness, entrant.server.terms.duty, entrant.server.terms.tier);
        rank(a).cmp(&rank(b)).then_with(|| self.by_merit(a, b))
    }

    fn most_answers(&self) -> usize {
        most_answers(self.service)
    }

    /// Those that stand first are the answer, for this reason: nobody shares.
    fn first_of(&self, live: &mut [Entrant<'_>], reason: Reason) -> usize {
        let most = self.most_answers();
        for (place, entrant) in live.iter_mut().enumerate() {
            entrant.reason = if place < most { reason.clone() } else { Reason::LaterInList };
        }
        0
    }

    /// Finds those within the spread of the best: how many share the clients. The list is sorted and not empty.
    fn gather(&self, live: &mut [Entrant<'_>]) -> usize {
        let best = live.first().and_then(|entrant| entrant.score);
        let behind = |entrant: &Entrant<'_>| match (best, entrant.score) {
            (Some(best), Some(own)) => Some(own.saturating_sub(best)),
            (None, None) => Some(Duration::ZERO),
            _ => None,
        };
        let near = live
            .iter()
            .take_while(|entrant| behind(entrant).is_some_and(|slower| slower <= self.service.spread))
            .count();
        let (near, far) = live.split_at_mut(near);
        for entrant in far {
            entrant.reason = behind(entrant).map_or(Reason::NoRtt, |slower| Reason::Slower { slower });
        }
        if let [only] = near {
            only.reason = Reason::Nearest;
            return 0;
        }
        for entrant in near.iter_mut() {
            entrant.reason = Reason::OtherClients { slower: behind(entrant).unwrap_or_default() };
        }
        near.len()
    }

    /// Nothing is up.
    fn when_all_are_down(&self, mut servers: Vec<Entrant<'_>>) -> Order {
        let (most, only_the_least_bad) = match &self.service.policy.all_down {
            AllDown::LastGood => (self.most_answers(), true),
            AllDown::All => (MOST_OF_ALL, false),
            AllDown::None => (0, false),
            AllDown::Addresses(_) => (0, false),
        };
        // Of those that are not known to be down, else of all, the first few are given; drained ones
        // and later tiers last.
        let misery = |entrant: &Entrant<'_>| (entrant.fitness, entrant.server.terms.duty, entrant.server.terms.tier);
        let least = servers.first().map(misery);
        let candidates = servers.iter_mut().filter(|entrant| entrant.fitness.is_candidate());
        for (place, entrant) in candidates.enumerate() {
            let given = place < most && (!only_the_least_bad || Some(misery(entrant)) == least);
            entrant.reason = match most {
                0 => Reason::Instead,
                _ if given => Reason::FailOpen,
                _ => Reason::FailOpenSpare,
            };
        }
        let mut order = self.order(servers, 0, Vec::new());
        if let AllDown::Addresses(addresses) = &self.service.policy.all_down {
            let mut addresses = addresses.iter().filter(|address| self.family.has(**address)).copied();
            order.first = addresses.next();
            order.others = addresses.take(FEW - 1).collect();
        }
        order.failed_open = true;
        order
    }

    fn order(&self, entrants: Vec<Entrant<'_>>, sharing: usize, canaries: Vec<(usize, Milli)>) -> Order {
        let ttl = self.ttl(&entrants);
        let mut fixed: Vec<IpAddr> = Vec::new();
        for entrant in entrants.iter().take_while(|entrant| sharing == 0 && entrant.reason.is_chosen()) {
            if !fixed.contains(&entrant.server.address) {
                fixed.push(entrant.server.address);
            }
        }
        let others = fixed.split_off(fixed.len().min(1)).into();
        let first = fixed.first().copied();
        let places = entrants.into_iter().map(|entrant| (entrant.at, entrant.reason)).collect();
        Order { places, sharing, failed_open: false, ttl, first, others, canaries: canaries.into() }
    }

    /// How long an answer may be kept: no longer than what it is made from is sure to stay, if the service wants that.
    /// What is up can be down after the time that a fall takes, and the other way round; a pool of one server that is
    /// given in any case does not change.
    fn ttl(&self, entrants: &[Entrant<'_>]) -> u32 {
        let (most, policy) = (self.service.ttl, &self.service.policy);
        let Some(least) = policy.ttl_min else { return most };
        let candidates = || entrants.iter().filter(|entrant| entrant.fitness.is_candidate());
        let given_anyway = matches!(policy.all_down, AllDown::LastGood | AllDown::All);
        if given_anyway && candidates().nth(1).is_none() {
            return most;
        }
        let pace = |entrant: &Entrant<'_>| if entrant.fitness.is_up() { policy.pace.fall } else { policy.pace.rise };
        let soonest = candidates().map(pace).min().unwrap_or(Duration::MAX);
        let whole = soonest.as_secs().saturating_add(u64::from(soonest.subsec_nanos() > 0));
        u32::try_from(whole).unwrap_or(u32::MAX).max(least).max(1).min(most)
    }
}

/// At most so many addresses in an answer.
pub(super) fn most_answers(service: &Service) -> usize {
    usize::from(service.answers.max(1)).min(FEW)
}

fn tiers<'e>(entrants: &'e [Entrant<'_>]) -> impl Iterator<Item = (Fitness, u8)> + Clone + 'e {
    entrants.iter().map(|entrant| (entrant.fitness, entrant.server.terms.tier))
}

/// By id, for the first that a client falls to gets it.
fn canaries(entrants: &[Entrant<'_>]) -> Vec<(usize, Milli)> {
    let mut found: Vec<_> = entrants.iter().filter(|entrant| entrant.fitness == Fitness::Canary).collect();
    found.sort_by_key(|entrant| &entrant.server.id);
    found.into_iter().map(|entrant| (entrant.at, entrant.server.terms.canary)).collect()
}
