//! What one client gets: the order that holds for it, a canary if it is of one's share, and its own draw among those who
//! share.

use std::net::IpAddr;

use super::order::{Order, Sight, most_answers};
use super::share::{FEW, Whose, drawn};
use super::{Pool, Ranked, Ranking, Reason};

/// What one client gets. The answer takes the addresses from it, the explanation the ranking.
pub(crate) struct Pick<'p> {
    pool: &'p Pool,
    sight: Sight<'p>,
    order: &'p Order,
    /// The server of whose canary share the client is, by place in the pool.
    canary: Option<usize>,
    whose: Whose,
}

/// What part of the clients a server gets first.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The server's id.
    pub server: String,
    /// The part, 0 to 1.
    pub part: f64,
}

/// Who gets the clients of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// By part, the largest first, then by id.
    pub servers: Vec<Share>,
    /// Addresses that are given in place of servers.
    pub instead: Vec<IpAddr>,
    /// Is nothing up?
    pub failed_open: bool,
}

impl<'p> Pick<'p> {
    pub(super) fn new(pool: &'p Pool, sight: Sight<'p>, order: &'p Order, whose: Whose) -> Self {
        Self { pool, sight, order, canary: None, whose }
    }

    pub(super) fn of_canary(self, canary: Option<usize>) -> Self {
        Self { canary, ..self }
    }

    /// Seconds that an answer may be kept.
    pub(crate) fn ttl(&self) -> u32 {
        self.order.ttl
    }

    /// Is no server known to be up?
    pub(crate) fn failed_open(&self) -> bool {
        self.order.failed_open
    }

    /// Are there servers, of which none is given because none is up?
    pub(crate) fn withholds(&self) -> bool {
        self.order.places.iter().any(|(_, reason)| *reason == Reason::Instead)
    }

    /// Gives the addresses, best first, each once: what [`Pick::rank`] chooses.
    pub(crate) fn give(&self, mut give: impl FnMut(IpAddr)) {
        let order = self.order;
        if let Some(canary) = self.canary {
            give(self.pool.service.servers[canary].address);
        } else if order.sharing == 0 {
            order.first.iter().chain(&order.others).for_each(|address| give(*address));
        } else {
            let most = most_answers(&self.pool.service);
            let address_of = |place: usize| self.pool.service.servers[order.places[place].0].address;
            if most == 1 {
                return self.draw(most, |place| give(address_of(place)));
            }
            let mut given: [Option<IpAddr>; FEW] = [None; FEW];
            let mut count = 0;
            self.draw(most, |place| {
                let address = address_of(place);
                if !given[..count].contains(&Some(address)) {
                    given[count] = Some(address);
                    count += 1;
                    give(address);
                }
            });
        }
    }

    /// Ranks the servers.
    pub(crate) fn rank(&self) -> Ranking<'p> {
        let order = self.order;
        let mut places = Vec::with_capacity(order.places.len());
        let most = most_answers(&self.pool.service);
        self.draw(order.sharing, |place| {
            let (server, reason) = order.places[place].clone();
            places.push((
                server,
                match reason {
                    Reason::OtherClients { slower } if places.len() < most => Reason::Shared { slower },
                    reason => reason,
                },
            ));
        });
        places.extend(order.places.iter().skip(order.sharing).cloned());
        if let Some(canary) = self.canary {
            put_first(&mut places, canary);
        }
        let ranked = |(at, reason): (usize, Reason)| Ranked {
            server: &self.sight.service.servers[at],
            seen: self.sight.view.seen.get(at).and_then(Option::as_ref),
            score: self.sight.score(at),
            reason,
        };
        let servers = places.into_iter().map(ranked).collect();
        Ranking { servers, failed_open: order.failed_open, ttl: order.ttl }
    }

    /// What part of all clients each server gets first, if all are as this one but for its draws.
    pub(crate) fn shares(&self) -> Shares {
        let (order, servers) = (self.order, &self.pool.service.servers);
        let mut left = 1.0;
        let mut parts: Vec<(usize, f64)> = Vec::new();
        for (at, share) in &order.canaries {
            let part = left * f64::from(share.0.min(100_000)) / 100_000.0;
            parts.push((*at, part));
            left -= part;
        }
        let sharing = &order.places[..order.sharing];
        let weight = |at: usize| f64::from(servers[at].weight.max(1));
        let sum: f64 = sharing.iter().map(|(at, _)| weight(*at)).sum();
        parts.extend(sharing.iter().map(|(at, _)| (*at, left * weight(*at) / sum)));
        let alone = order.places.first().filter(|(_, reason)| order.sharing == 0 && reason.is_chosen());
        parts.extend(alone.map(|(at, _)| (*at, left)));
        parts.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| servers[a.0].id.cmp(&servers[b.0].id)));
        let share = |(at, part): (usize, f64)| Share { server: servers[at].id.clone(), part };
        let instead = order.first.iter().chain(&order.others).copied();
        Shares {
            instead: instead.filter(|_| order.failed_open && parts.is_empty()).collect(),
            servers: parts.into_iter().map(share).collect(),
            failed_open: order.failed_open,
        }
    }

    /// Gives the places of those who share, the client's own first.
    fn draw(&self, most: usize, give: impl FnMut(usize)) {
        let order = self.order;
        if order.sharing == 0 {
            return;
        }
        let of = |place: usize| {
            let server = order.places[place].0;
            (self.pool.keys[server], self.pool.service.servers[server].weight)
        };
        drawn(order.sharing, of, self.whose.lot(self.pool.service.policy.sticky), most, give);
    }
}

/// A canary's client gets the canary alone: else half of what it does would go elsewhere.
fn put_first(places: &mut Vec<(usize, Reason)>, canary: usize) {
    for (_, reason) in places.iter_mut() {
        if reason.is_chosen() || matches!(reason, Reason::OtherClients { .. }) {
            *reason = Reason::Canaried;
        }
    }
    let Some(at) = places.iter().position(|(server, _)| *server == canary) else { return };
    let (server, reason) = places.remove(at);
    let reason = match reason {
        Reason::CanaryOthers { share } => Reason::Canary { share },
        reason => reason,
    };
    places.insert(0, (server, reason));
}
