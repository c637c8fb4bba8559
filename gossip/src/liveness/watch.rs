//! Whom I hear, and whom I accuse: the observer's half of failure detection.
//!
//! Those that I watch send me a beat each [`BEAT_EVERY`]; anything that arrives counts as one. A beat missed is no
//! proof: at 20 % loss that happens every few seconds. So silence starts a burst of probes, and only a member that
//! answers none of them is accused. A closed connection is a hint, never a verdict: the dialler tries again at once,
//! and the same silence decides.
//!
//! ```text
//!   last beat                     suspicion                                       accusation
//!   ├── 450 ms + 10 % of the RTT ──┼─ p ─ p ─ p ─ p ─ p ─ p ─ p ─ p ─ (50 ms each) ─┼─ one RTT ─┤
//!   ├── not before 1,370 ms + 10 % of the RTT + what this link's beats are usually late ─────────┤
//! ```
//!
//! The second line is what a process may be stopped without being dead: a second, and the beat before it as most of its
//! watchers heard it. On a path that loses packets beats come late, each lost one by a retransmission; that is measured,
//! and allowed for.
//!
//! **Turns.** A member does not beat for all its watchers at once: they take turns, [`TURNS`] of them in a round. When it
//! dies, the quarter that heard it longest ago accuses it first, and then the next, which heard it 200 ms ago at least:
//! together they are half of its watchers, and convict, 1,170 ms after the death. Beats to all of them at once, twice as
//! often, would be no sooner.
//!
//! **Invariant:** a watcher that was itself stopped accuses nobody (Lifeguard, Dadgar et al. 2017). When a tick comes
//! late, the time that I slept is added to every member's account and every burst begins anew. A watcher that stalls
//! again and again trusts itself less: it waits up to [`MAX_STRIKES`] times as long before it suspects anybody.
//!
//! Rejected: accusation after four missed beats without probes (by arithmetic 512 false accusations a second in 10,000
//! nodes at 20 % loss; with the burst some two a second in 300 simulated ones of which 5 % stall as well); accusation
//! right after the burst (a machine that stalls for a second is convicted); phi accrual (needs a history of each member
//! that a fresh link does not have).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::verdict::{Hearing, MAX_ACCUSED, WATCH_PAGES, WatchRow};
use crate::{id::NodeId, time::Moment};

/// How often a member tells each of its watchers that it lives.
pub const BEAT_EVERY: Duration = Duration::from_millis(400);
/// The watchers take turns, so many in a round.
pub(crate) const TURNS: u64 = 4;
/// Watchers that are too few to take turns: half of them may be the last to have heard it. They get every beat twice as
/// often.
pub(crate) const FEW_WATCHERS: usize = TURNS as usize - 1;
/// Silence that starts the probes, for a link without delay: a beat missed and a little jitter.
pub(crate) const SUSPICION: Duration = Duration::from_millis(450);
/// Probes that must all go unanswered; at 20 % loss each way eight lose themselves once in 3,600 bursts.
pub(crate) const BURST: u8 = 8;
/// Silence that is never held against anybody: a stop of one second and the beat before it, which all but a quarter of
/// the watchers heard less than 300 ms ago, and a little jitter. Those of that quarter may accuse one that is stopped for a
/// second; they are too few to convict.
pub(crate) const FORBEARANCE: Duration = Duration::from_millis(1370);
/// So many times the mean lateness of beats is allowed for besides: at 20 % loss each fifth is late by a
/// retransmission, and two in a row by three.
const LATE_TIMES: u32 = 8;
/// At most this much.
const MAX_LATE: Duration = Duration::from_millis(500);
/// Between two probes.
pub(crate) const PROBE_EVERY: Duration = Duration::from_millis(50);
/// How long a member that I have never heard may take to be reached: dialling, a handshake, one retry.
const FIRST_CONTACT: Duration = Duration::from_secs(4);
/// What a member that somebody else just heard gets before I look again: long enough to dial it.
const REFUTED: Duration = Duration::from_secs(1);
/// A tick this much late means that I was not running.
const STALL: Duration = Duration::from_millis(100);
/// The longest round trip that I make allowance for; a peer that answers slowly on purpose gains no more.
const MAX_RTT: Duration = Duration::from_secs(2);
/// How much more patient than usual a watcher becomes that stalls again and again.
pub(crate) const MAX_STRIKES: u32 = 4;
/// After this long without a stall one strike is forgiven.
const FORGIVEN: Duration = Duration::from_secs(10);

/// Accounts of those that I watch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    accounts: BTreeMap<NodeId, Account>,
    /// Links over which beats are known to arrive without being delivered one by one (the simulator's). Kept apart
    /// from the accounts: a link may stand before its far end is watched. At most as many as there are links.
    steady: BTreeSet<NodeId>,
    /// When the next tick should come; `None` before the first.
    tick_due: Option<Moment>,
    /// Stalls not yet forgiven. The first is an accident, so patience grows from the second.
    strikes: u32,
    last_strike: Moment,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    /// Last sign of life; in the future for one that is still owed a first contact.
    heard: Moment,
    /// It was heard at least once.
    met: bool,
    incarnation: u64,
    rtt: Duration,
    /// How late its beats are, smoothed (gain 1/8 for each beat that was due, whatever else came: the answers to a burst
    /// come one upon the other, and tell nothing of beats).
    late: Duration,
    /// The longest since `counted`.
    latest: Duration,
    counted: Moment,
    /// Probes sent since it was last heard, and when the next one is due (after the last: when the answer is overdue).
    sent: u8,
    next: Moment,
    accused: bool,
}

impl Account {
    fn hear(&mut self, at: Moment) {
        if self.met {
            self.latest = self.latest.max(at.since(self.heard).saturating_sub(BEAT_EVERY).min(MAX_LATE));
            if at.since(self.counted) >= BEAT_EVERY {
                self.late = (self.late * 7 + std::mem::take(&mut self.latest)) / 8;
                self.counted = at;
            }
        }
        *self = Self { heard: self.heard.max(at), met: true, sent: 0, accused: false, ..*self };
    }

    /// When something must be done about this member if it stays silent: a probe, or the accusation.
    fn due(&self, patience: u32) -> Moment {
        match self.sent {
            0 => self.heard + patience * (SUSPICION + self.rtt / 10),
            BURST => {
                let late = (self.late * LATE_TIMES).min(MAX_LATE);
                self.next.max(self.heard + FORBEARANCE + self.rtt / 10 + late)
            }
            _ => self.next,
        }
    }
}

impl Watch {
    /// A sign of life.
    pub(crate) fn handle_heard(&mut self, now: Moment, from: NodeId) {
        let steady = self.steady.contains(&from);
        if let Some(account) = self.accounts.get_mut(&from) {
            // What it was owed before its first word is no credit once it has spoken. Beats that are not delivered one
            // by one are not late.
            account.heard = if steady { now } else { account.heard.min(now) };
            account.hear(now);
        }
    }

    /// A member that I begin to watch was heard at `at`, before: it is owed no first contact.
    pub(crate) fn handle_known(&mut self, from: NodeId, at: Moment) {
        if let Some(account) = self.accounts.get_mut(&from).filter(|account| !account.met) {
            account.heard = at;
            account.hear(at);
        }
    }

    /// Beats from this member arrive from now on without further notice, until [`Watch::handle_quiet`].
    pub(crate) fn handle_steady(&mut self, from: NodeId) {
        self.steady.insert(from);
        if let Some(account) = self.accounts.get_mut(&from) {
            account.hear(Moment::ZERO);
        }
    }

    /// Beats from a steady member stopped; the last one came at `since`.
    pub(crate) fn handle_quiet(&mut self, now: Moment, from: NodeId, since: Moment) {
        if self.steady.remove(&from)
            && let Some(account) = self.accounts.get_mut(&from)
        {
            account.heard = since.min(now); // The beats before were not late: they were not looked at.
            account.hear(account.heard);
        }
    }

    /// A higher incarnation of a member was learnt: somebody heard it just now, so it gets a fresh account.
    pub(crate) fn handle_refuted(&mut self, now: Moment, member: NodeId) {
        if let Some(account) = self.accounts.get_mut(&member) {
            account.refute(now);
        }
    }

    /// Looks at the clock. `watched` are the members I answer for with their incarnation and the RTT of the path; the next
    /// tick is expected after `period` at the latest.
    pub(crate) fn handle_tick(&mut self, now: Moment, period: Duration, watched: &BTreeMap<NodeId, (u64, Duration)>) {
        self.notice_stall(now);
        self.tick_due = Some(now + period);
        self.accounts.retain(|id, _| watched.contains_key(id));
        let patience = self.patience();
        for (id, (incarnation, rtt)) in watched {
            let steady = self.steady.contains(id);
            let account = self.accounts.entry(*id).or_insert_with(|| Account::open(now, *incarnation, steady));
            account.rtt = (*rtt).min(MAX_RTT);
            if account.incarnation != *incarnation {
                account.incarnation = *incarnation;
                account.refute(now);
            }
            account.accused |= !steady && account.sent == BURST && account.due(patience) <= now;
        }
    }

    /// To whom a probe is due now. Each call counts as having sent them.
    pub(crate) fn probes(&mut self, now: Moment) -> Vec<NodeId> {
        let patience = self.patience();
        let mut probes = Vec::new();
        for (id, account) in &mut self.accounts {
            if account.sent == BURST || account.accused || self.steady.contains(id) {
                continue;
            }
            let due = account.due(patience);
            if due > now {
                continue;
            }
            // On schedule if the timer was a little late, but never a heap of probes at once: one loss would take all.
            let scheduled = if account.sent == 0 { now } else { due } + PROBE_EVERY;
            account.next = scheduled.max(now + PROBE_EVERY / 2);
            account.sent += 1;
            if account.sent == BURST {
                account.next = account.next + account.rtt;
            }
            probes.push(*id);
        }
        probes
    }

    /// When the next probe or accusation is due.
    pub(crate) fn poll_timeout(&self) -> Option<Moment> {
        let patience = self.patience();
        let waiting = self.accounts.iter().filter(|(id, account)| !account.accused && !self.steady.contains(*id));
        waiting.map(|(_, account)| account.due(patience)).min()
    }

    /// My accusations, as rows for my watch pages.
    pub(crate) fn rows(&self) -> Vec<WatchRow> {
        let accused = self.accounts.iter().filter(|(_, account)| account.accused);
        accused
            .take(MAX_ACCUSED * WATCH_PAGES as usize)
            .map(|(id, account)| WatchRow { accused: *id, incarnation: account.incarnation })
            .collect()
    }

    /// How many of those that I watch I hear.
    pub(crate) fn hearing(&self) -> Hearing {
        let missed = self.accounts.values().filter(|account| account.accused).count();
        Hearing::of(missed, self.accounts.len())
    }

    fn notice_stall(&mut self, now: Moment) {
        let slept = self.tick_due.map_or(Duration::ZERO, |due| now.since(due));
        if slept > STALL {
            for account in self.accounts.values_mut() {
                let later = account.heard + slept;
                account.heard = if account.met { later.min(now).max(account.heard) } else { later };
                if !account.accused {
                    account.sent = 0;
                }
            }
            self.strikes = (self.strikes + 1).min(MAX_STRIKES);
            self.last_strike = now;
        } else if self.strikes > 0 && now.since(self.last_strike) >= FORGIVEN {
            self.strikes -= 1;
            self.last_strike = now;
        }
    }

    fn patience(&self) -> u32 {
        self.strikes.max(1)
    }
}

impl Account {
    fn open(now: Moment, incarnation: u64, met: bool) -> Self {
        let heard = if met { now } else { now + FIRST_CONTACT };
        Self {
            heard,
            met,
            incarnation,
            rtt: Duration::ZERO,
            late: Duration::ZERO,
            latest: Duration::ZERO,
            counted: now,
            sent: 0,
            next: Moment::ZERO,
            accused: false,
        }
    }

    fn refute(&mut self, now: Moment) {
        *self = Self { heard: self.heard.max(now + REFUTED), sent: 0, accused: false, ..*self };
    }
}

#[cfg(test)]
mod tests;
