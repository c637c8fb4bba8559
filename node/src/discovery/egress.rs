//! The addresses from which one resolver asks, of one family.
//!
//! A resolver may be a farm: each question leaves from one of several addresses, by chance or by turns. So a round of
//! questions goes on until the last few found nothing new, and an address that was not seen for a while is either gone or
//! was not its turn. Of `k` addresses drawn evenly, one is missed by `8 k` questions in a row with a chance of `e^-8`, one
//! in 3,000; so many unanswered turns, and a CNAME's TTL during which resolvers may still be on their way here, and it is
//! forgotten.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use nigh_dns::REFERRAL_TTL;

use super::Proof;

/// Addresses that are kept of one resolver and family: as many as the largest farms of an ISP have behind one name. What
/// comes beyond is counted, not kept: then the operator claims the prefix.
pub const MAX_EGRESS: usize = 64;
/// Turns that an address may miss for each address that is held.
const MISSED_TURNS: u64 = 8;
/// An address that is not seen any more is claimed for so long: resolvers hold a CNAME into our cut.
pub const GRACE: Duration = Duration::from_secs(REFERRAL_TTL as u64);

/// One address.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// When it was last seen, on this process's clock.
    pub last: Duration,
    /// The newest statement about it; none where only this node itself saw it.
    pub proof: Option<Proof>,
    /// Why there is none, for people.
    pub why: &'static str,
    turn: u64,
}

/// The addresses, and how many questions were answered so far.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    held: BTreeMap<IpAddr, Seen>,
    turn: u64,
    /// Addresses that found no room.
    pub beyond: u64,
}

impl Egress {
    /// A question left from this address. True: it is a new one.
    pub fn saw(&mut self, now: Duration, address: IpAddr, proof: Result<Proof, &'static str>) -> bool {
        self.turn += 1;
        let room = self.held.len() < MAX_EGRESS;
        if !room && !self.held.contains_key(&address) {
            self.beyond += 1;
            return false;
        }
        let turn = self.turn;
        let mut new = false;
        let seen = self.held.entry(address).or_insert_with(|| {
            new = true;
            Seen { last: now, proof: None, why: "", turn }
        });
        (seen.last, seen.turn) = (now, turn);
        match proof {
            // Statements of one round may come in another order than they were made.
            Ok(proof) if seen.proof.is_none_or(|held| held.statement.time <= proof.statement.time) => {
                seen.proof = Some(proof);
            }
            Ok(_) => {}
            Err(why) => seen.why = why,
        }
        new
    }

    /// Is there an address, not seen since, of which more turns would show whether it is still there?
    pub fn is_undecided(&self, since: Duration) -> bool {
        let most = MISSED_TURNS * self.held.len() as u64;
        self.held.values().any(|seen| seen.last < since && self.turn - seen.turn < most)
    }

    /// Forgets the addresses that missed too many turns. True: there were some.
    pub fn forget(&mut self, now: Duration) -> bool {
        let before = self.held.len();
        let most = MISSED_TURNS * before as u64;
        let turn = self.turn;
        self.held.retain(|_, seen| turn - seen.turn < most || now.saturating_sub(seen.last) < GRACE);
        self.held.len() < before
    }

    /// When the next one may be forgotten at the earliest.
    pub fn grace_ends(&self, now: Duration) -> Option<Duration> {
        let most = MISSED_TURNS * self.held.len() as u64;
        let due = self.held.values().filter(|seen| self.turn - seen.turn >= most).map(|seen| seen.last + GRACE);
        due.filter(|due| *due > now).min()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (IpAddr, &Seen)> {
        self.held.iter().map(|(address, seen)| (*address, seen))
    }

    /// None was ever seen, or all are forgotten.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn held(egress: &Egress) -> Vec<IpAddr> {
        egress.all().map(|(address, _)| address).collect()
    }

    #[test]
    fn an_address_that_changed_is_kept_for_the_ttl_and_then_forgotten() {
        let mut egress = Egress::default();
        let at = Duration::from_secs;
        assert!(egress.saw(at(0), address(1), Err("")));
        assert!(egress.saw(at(60), address(2), Err("")), "new");
        assert!(egress.is_undecided(at(60)));
        for _ in 0..15 {
            assert!(!egress.saw(at(60), address(2), Err("")));
        }
        assert!(!egress.is_undecided(at(60)));
        assert!(egress.forget(at(60)));
        assert_eq!(held(&egress), [address(2)], "16 turns and 60 s without it");
        // The same within the TTL: it stays until that is over.
        let mut egress = Egress::default();
        egress.saw(at(0), address(1), Err(""));
        for _ in 0..40 {
            egress.saw(at(10), address(2), Err(""));
        }
        assert!(!egress.forget(at(59)));
        assert_eq!(egress.grace_ends(at(10)), Some(at(60)));
        assert!(egress.forget(at(60)));
    }

    #[test]
    fn a_farm_that_takes_turns_keeps_all_its_addresses() {
        let mut egress = Egress::default();
        for turn in 0..1000u64 {
            egress.saw(Duration::from_secs(20 * turn), address((turn % 7) as u8), Err(""));
            egress.forget(Duration::from_secs(20 * turn));
        }
        assert_eq!(egress.all().count(), 7);
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let mut egress = Egress::default();
        for n in 0..200 {
            egress.saw(Duration::ZERO, address(n), Err(""));
        }
        assert_eq!((egress.all().count(), egress.beyond), (MAX_EGRESS, 200 - MAX_EGRESS as u64));
    }
}
