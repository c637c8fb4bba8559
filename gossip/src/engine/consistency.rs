//! What must hold between any two events, whatever came in: the bounds, and that what is kept beside the pages (sums,
//! roster, standings, accusations) is what a fresh look at the pages gives.
//!
//! Looks at everything, so it is for tests and fuzzing; nothing in the engine calls it.

use super::{Engine, hello::MAX_STRANGERS};
use crate::{liveness::verdict::Standing, page::Page, roster::Seat};

impl Engine {
    /// What does not hold, in words; `None` if all does.
    #[doc(hidden)]
    #[must_use]
    pub fn inconsistency(&self) -> Option<String> {
        self.replica
            .inconsistency()
            .or_else(|| self.stale_roster())
            .or_else(|| self.links.iter().find_map(|(peer, link)| Some(format!("{peer}: {}", link.inconsistency()?))))
            .or_else(|| self.spread.inconsistency())
            .or_else(|| self.missing.inconsistency())
            .or_else(|| self.unbounded())
    }

    /// Everything by seat; while a new roster is due, the old one's seats mean nothing.
    fn stale_roster(&self) -> Option<String> {
        if self.roster_due {
            return None;
        }
        let mut admitted: Vec<_> = self.replica.certificates().map(|certificate| certificate.node).collect();
        admitted.sort_unstable();
        if !self.roster.seats().map(|seat| self.roster.id(seat)).eq(admitted) {
            return Some("the roster is not that of the certificates".into());
        }
        let lengths = [self.verdicts.len(), self.standing.len(), self.incarnations.len()];
        if lengths != [self.roster.len(); 3] {
            return Some("a vector by seat is not as long as the roster".into());
        }
        self.roster.seats().find_map(|seat| {
            let id = self.roster.id(seat);
            let standing = match self.member(id) {
                None => Standing::Absent,
                Some(member) if member.left => Standing::Left,
                Some(_) => Standing::Present,
            };
            if self.standing[seat.index()] != standing {
                return Some(format!("{id} stands as {:?}, its page says {standing:?}", self.standing[seat.index()]));
            }
            let incarnation = self.member(id).map(|member| member.incarnation);
            if self.incarnations[seat.index()] != incarnation {
                return Some(format!(
                    "{id}: kept {:?}, its page says {incarnation:?}",
                    self.incarnations[seat.index()]
                ));
            }
            let rows: Vec<(Seat, u64)> = self
                .watch_pages(id)
                .flat_map(Page::watch_rows)
                .filter_map(|row| Some((self.roster.seat(&row.accused)?, row.incarnation)))
                .collect();
            let kept = self.accusations.get(&seat).map(Vec::as_slice).unwrap_or_default();
            (kept != rows).then(|| format!("{id} accuses {kept:?}, its page says {rows:?}"))
        })
    }

    fn unbounded(&self) -> Option<String> {
        let strangers = self.links.values().filter(|link| !link.greeted).count();
        let bounds = [
            ("more strangers at the door than may be", strangers <= MAX_STRANGERS),
            ("something is ready for a link that is not", self.ready.iter().all(|peer| self.links.contains_key(peer))),
            ("more to dial than there are members", self.dialler.len() <= 2 * self.roster.len() + self.dialler.known()),
            ("more refused writers remembered than may be", self.repair.unknown() <= super::exchange::MAX_UNKNOWN),
            ("more jumps remembered than fit the window", self.own.jumps_remembered() <= 64),
        ];
        bounds.iter().find(|(_, holds)| !holds).map(|(words, _)| (*words).to_string())
    }
}
