//! Who writes for the operators: the root key, and the keys that it appoints.
//!
//! The mesh is named by its **root** key, so that one can never change; but it need not be at hand. It *appoints* keys for
//! the daily work, each for the catalogue, for admissions or for both, and can be put away until one of them must go.
//! That is how The Update Framework parts the root role from the targets role (Samuel et al., "Survivable Key Compromise
//! in Software Update Systems", CCS 2010; TUF specification, section 2.1): what is used often is what gets stolen, so
//! what is used often must be replaceable by something that is not.
//!
//! An [`Appointment`] is a page of [`Table::OPERATOR`] in the slot of the key that it is about, and a dismissal is a newer
//! one. **Only the root signs pages of that table**: whoever is appointed appoints nobody. What a key may sign follows from
//! the pages that are held *now*, not from when it signed: a stolen key can date its pages as it likes, so with its
//! dismissal all that it signed goes, and what should stay is signed anew by another key first (`nigh operator rotate`).
//!
//! **Invariant:** which keys count is a function of the pages held. Of more than [`MAX_APPOINTED`] those count that were
//! appointed first, by their stamps: one too many changes nothing for those at work.
//!
//! Rejected: a signed succession of the root itself (whoever has the old key can sign a rival one, and no replica can tell
//! which came first); thresholds (m of n signatures for an edit: no operator of a dozen nodes has n people on call;
//! the wire has room for it); dismissals that end what was signed after a time (it is the signer who writes the time).

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::{
    admission::{self, MAX_NAME},
    codec,
    id::NodeId,
    page::{Key, Page, Stamp, Table},
};

/// Appointed keys that count: people on call, and machines that deploy. What a key may sign is looked up for each new
/// page of the operators.
pub const MAX_APPOINTED: usize = 64;
/// The longest body of an appointment that is read: it goes beside a certificate in the first message of a link.
pub(crate) const MAX_BODY: usize = 1024;

/// What an appointed key may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// The catalogue: every table of the operators that this crate does not read.
    pub catalogue: bool,
    /// Admissions and revocations.
    pub admissions: bool,
}

impl Rights {
    /// Whatever a key can be appointed for.
    pub const ALL: Self = Self { catalogue: true, admissions: true };

    /// Whether pages of the operators of this table are among them.
    #[must_use]
    pub fn allow(self, table: Table) -> bool {
        match table {
            Table::ADMISSION | Table::REVOCATION => self.admissions,
            table => self.catalogue && table >= Table::FIRST_UNREAD,
        }
    }

    fn bits(self) -> u32 {
        u32::from(self.catalogue) | u32::from(self.admissions) << 1
    }

    /// Bits of a later version mean nothing to this one.
    fn from_bits(bits: u32) -> Self {
        Self { catalogue: bits & 1 != 0, admissions: bits & 2 != 0 }
    }
}

/// The root's word about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appointment {
    /// Which key.
    pub operator: NodeId,
    /// How people call it.
    pub name: String,
    /// Or dismissed.
    pub appointed: bool,
    /// What for.
    pub rights: Rights,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    operator: NodeId,
    name: String,
    appointed: bool,
    rights: u32,
}

impl Appointment {
    /// Signs it; (major, minor) is the operators' hybrid logical clock.
    ///
    /// # Panics
    /// If its name is longer than [`MAX_NAME`]: who makes one checks.
    #[must_use]
    pub fn sign(&self, root: &SigningKey, major: u64, minor: u64) -> Page {
        assert!(self.name.len() <= MAX_NAME, "a name that is too long");
        let Self { operator, name, appointed, rights } = self.clone();
        let wire = Wire { operator, name, appointed, rights: rights.bits() };
        Page::sign(root, key(operator), major, minor, codec::encode(&wire))
    }

    pub(crate) fn read(page: &Page) -> Option<Self> {
        if page.body().len() > MAX_BODY {
            return None;
        }
        let Wire { operator, name, appointed, rights } = codec::decode(page.body()).ok()?;
        let good = page.key() == key(operator) && name.len() <= MAX_NAME && operator.verifying_key().is_ok();
        good.then_some(Self { operator, name, appointed, rights: Rights::from_bits(rights) })
    }
}

/// Where the appointment of a key stands.
#[must_use]
pub fn key(operator: NodeId) -> Key {
    admission::key(Table::OPERATOR, operator)
}

/// What changed for keys whose appointments came or went.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// They may sign less than before.
    pub(crate) lost: BTreeSet<NodeId>,
    /// They may sign more.
    pub(crate) gained: BTreeSet<NodeId>,
}

/// Who may sign what, kept as appointments come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operators {
    roots: BTreeSet<NodeId>,
    /// Appointments that are held, the first first; bounded by the operators' quota.
    appointed: BTreeMap<(Stamp, NodeId), Rights>,
    /// Those of them that count.
    count: BTreeMap<NodeId, Rights>,
}

impl Operators {
    pub(crate) fn new(roots: impl IntoIterator<Item = NodeId>) -> Self {
        Self { roots: roots.into_iter().collect(), appointed: BTreeMap::new(), count: BTreeMap::new() }
    }

    /// As it follows from pages.
    pub(crate) fn anew<'a>(&self, pages: impl Iterator<Item = &'a Page>) -> Self {
        let mut anew = Self::new(self.roots.iter().copied());
        pages.for_each(|page| _ = anew.replace(None, Some(page)));
        anew
    }

    pub(crate) fn is_root(&self, key: NodeId) -> bool {
        self.roots.contains(&key)
    }

    /// Whether this key may sign the operators' pages of this table.
    pub(crate) fn may_sign(&self, key: NodeId, table: Table) -> bool {
        self.is_root(key) || self.count.get(&key).is_some_and(|rights| rights.allow(table))
    }

    /// The appointed keys that count.
    pub(crate) fn appointed(&self) -> &BTreeMap<NodeId, Rights> {
        &self.count
    }

    /// A page of [`Table::OPERATOR`] came in the place of another, or went.
    pub(crate) fn replace(&mut self, before: Option<&Page>, after: Option<&Page>) -> Moved {
        let roots = &self.roots;
        let named = |page: &Page| {
            // A root that appoints itself gains nothing by it, and takes no other key's place.
            let appoints = |it: &&Appointment| it.appointed && !roots.contains(&it.operator);
            let appointment = page.appointment().filter(appoints)?;
            Some(((page.stamp(), appointment.operator), appointment.rights))
        };
        if let Some((at, _)) = before.and_then(named) {
            self.appointed.remove(&at);
        }
        self.appointed.extend(after.and_then(named));
        let first = self.appointed.iter().take(MAX_APPOINTED);
        let count = first.map(|((_, operator), rights)| (*operator, *rights)).collect();
        let before = std::mem::replace(&mut self.count, count);
        self.moved(&before)
    }

    fn moved(&self, before: &BTreeMap<NodeId, Rights>) -> Moved {
        let mut moved = Moved::default();
        for key in before.keys().chain(self.count.keys()) {
            let rights = |of: &BTreeMap<NodeId, Rights>| of.get(key).copied().unwrap_or_default();
            let (old, new) = (rights(before), rights(&self.count));
            if old.catalogue && !new.catalogue || old.admissions && !new.admissions {
                moved.lost.insert(*key);
            }
            if new.catalogue && !old.catalogue || new.admissions && !old.admissions {
                moved.gained.insert(*key);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::page::{Owner, Slot};

    fn signing(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn id(n: u8) -> NodeId {
        signing(n).verifying_key().into()
    }

    fn appointment(n: u8, appointed: bool, rights: Rights) -> Appointment {
        Appointment { operator: id(n), name: format!("k{n}"), appointed, rights }
    }

    fn page(n: u8, rights: Rights, at: u64) -> Page {
        appointment(n, true, rights).sign(&signing(200), at, 0)
    }

    #[test]
    fn an_appointment_survives_the_wire_and_bits_of_later_versions_mean_nothing() {
        for rights in [Rights::default(), Rights::ALL, Rights { catalogue: true, admissions: false }] {
            let sent = appointment(1, true, rights);
            let read = Page::from_bytes(&sent.sign(&signing(200), 1, 2).to_bytes()).unwrap();
            assert_eq!(read.appointment(), Some(&sent));
        }
        let wire = Wire { operator: id(1), name: "k1".into(), appointed: true, rights: !0b10 };
        let later = Page::sign(&signing(200), key(id(1)), 1, 2, codec::encode(&wire));
        assert_eq!(later.appointment().unwrap().rights, Rights { catalogue: true, admissions: false });
    }

    /// Else one page could speak for another key.
    #[test]
    fn an_appointment_in_the_wrong_slot_or_of_any_length_is_none() {
        let body = page(1, Rights::ALL, 1).body().to_vec();
        assert!(Page::sign(&signing(200), key(id(2)), 1, 1, body.clone()).appointment().is_none());
        let long = Wire { operator: id(1), name: "k".repeat(MAX_NAME + 1), appointed: true, rights: 3 };
        assert!(Page::sign(&signing(200), key(id(1)), 1, 1, codec::encode(&long)).appointment().is_none());
        let elsewhere = Key { table: Table::ADMISSION, ..key(id(1)) };
        assert!(Page::sign(&signing(200), elsewhere, 1, 1, body).appointment().is_none());
    }

    #[test]
    fn rights_part_the_tables_and_nobody_is_appointed_to_appoint() {
        let only = |catalogue, admissions| Rights { catalogue, admissions };
        for table in [Table::ADMISSION, Table::REVOCATION] {
            assert!(only(false, true).allow(table) && !only(true, false).allow(table));
        }
        assert!(only(true, false).allow(Table(32)) && !only(false, true).allow(Table(32)));
        for table in (0..16).map(Table).filter(|table| !matches!(*table, Table::ADMISSION | Table::REVOCATION)) {
            assert!(!Rights::ALL.allow(table), "{table:?} is the root's");
        }
        let mut operators = Operators::new([id(200)]);
        operators.replace(None, Some(&page(1, Rights::ALL, 1)));
        assert!(operators.may_sign(id(200), Table::OPERATOR) && !operators.may_sign(id(1), Table::OPERATOR));
    }

    #[test]
    fn what_came_and_went_is_told() {
        let mut operators = Operators::new([id(200)]);
        let set = |keys: &[u8]| keys.iter().map(|n| id(*n)).collect::<BTreeSet<_>>();
        let [all, less] = [page(1, Rights::ALL, 1), page(1, Rights { catalogue: true, admissions: false }, 2)];
        let gone = appointment(1, false, Rights::ALL).sign(&signing(200), 3, 0);
        assert_eq!(operators.replace(None, Some(&all)), Moved { gained: set(&[1]), lost: set(&[]) });
        assert_eq!(operators.replace(Some(&all), Some(&less)), Moved { gained: set(&[]), lost: set(&[1]) });
        assert!(operators.may_sign(id(1), Table(16)) && !operators.may_sign(id(1), Table::ADMISSION));
        assert_eq!(operators.replace(Some(&less), Some(&gone)), Moved { gained: set(&[]), lost: set(&[1]) });
        assert!(!operators.may_sign(id(1), Table(16)));
        // What cannot be read appoints nobody, and of the root nothing can be taken.
        let unreadable = Page::sign(&signing(200), key(id(1)), 4, 0, vec![0xff]);
        assert_eq!(operators.replace(Some(&gone), Some(&unreadable)), Moved::default());
        let root = appointment(200, false, Rights::default()).sign(&signing(200), 3, 0);
        assert_eq!(operators.replace(None, Some(&root)), Moved::default());
        assert!(operators.may_sign(id(200), Table::OPERATOR));
    }

    #[test]
    fn a_root_that_appoints_itself_takes_no_place_and_one_that_dismisses_itself_stays() {
        let most = u8::try_from(MAX_APPOINTED).unwrap();
        let itself = page(200, Rights::default(), 0);
        let pages: Vec<Page> =
            [itself.clone()].into_iter().chain((1..=most).map(|n| page(n, Rights::ALL, 1))).collect();
        let mut operators = Operators::new([id(200)]).anew(pages.iter());
        assert_eq!(operators.appointed().len(), MAX_APPOINTED);
        assert!(!operators.appointed().contains_key(&id(200)));
        let gone = appointment(200, false, Rights::default()).sign(&signing(200), 3, 0);
        assert_eq!(operators.replace(Some(&itself), Some(&gone)), Moved::default());
        for table in [Table::OPERATOR, Table::ADMISSION, Table(32)] {
            assert!(operators.may_sign(id(200), table));
        }
    }

    #[test]
    fn of_too_many_the_first_count_in_whatever_order_they_come() {
        let most = u8::try_from(MAX_APPOINTED).unwrap();
        let pages: Vec<Page> = (1..=most + 2).map(|n| page(n, Rights::ALL, u64::from(n))).collect();
        let operators = Operators::new([id(200)]).anew(pages.iter());
        assert_eq!(operators, Operators::new([id(200)]).anew(pages.iter().rev()));
        assert_eq!(operators.appointed().len(), MAX_APPOINTED);
        assert!(operators.may_sign(id(most), Table(16)) && !operators.may_sign(id(most + 1), Table(16)));
        // One leaves, and the next takes its place.
        let mut fewer = operators.clone();
        let moved = fewer.replace(Some(&pages[0]), None);
        assert_eq!(moved, Moved { lost: [id(1)].into(), gained: [id(most + 1)].into() });
        // One that was appointed earlier comes late.
        let mut late = operators.anew(pages[1..].iter());
        let moved = late.replace(None, Some(&pages[0]));
        assert_eq!(moved, Moved { lost: [id(most + 1)].into(), gained: [id(1)].into() });
        assert_eq!(late, operators);
    }

    #[test]
    fn the_slot_is_that_of_the_key() {
        assert_eq!(key(id(1)).owner, Owner::Operators);
        assert_eq!(key(id(1)).slot, Slot(id(1).as_bytes()[..16].try_into().unwrap()));
    }
}
