//! Whose keys write for the operators of this mesh: the root's, which is its id, and those that the root appointed.
//!
//! The replica decides which pages are held; this says the same where an edit is brought, with words, and lists the keys.

use std::collections::BTreeMap;

use nigh_gossip::{NodeId, Owner, Page, Rights, Table};

use super::TABLE;
use crate::admin::report::{OperatorLine, OperatorState};

/// Who may sign what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operators {
    /// The mesh's root key.
    pub root: NodeId,
    /// Appointed keys that count.
    pub appointed: BTreeMap<NodeId, Rights>,
}

impl Operators {
    /// Those of a mesh that has appointed nobody.
    pub fn only(root: NodeId) -> Self {
        Self { root, appointed: BTreeMap::new() }
    }

    /// Whether pages of this table by this key are taken.
    pub fn may_sign(&self, key: NodeId, table: Table) -> bool {
        self.root == key || self.appointed.get(&key).is_some_and(|rights| rights.allow(table))
    }

    /// The root, and every key that it ever spoke of, with what each signed of `pages`.
    pub fn lines<'a>(&self, pages: impl Iterator<Item = &'a Page>) -> Vec<OperatorLine> {
        let (mut signed, mut spoken): (BTreeMap<NodeId, [usize; 2]>, _) = (BTreeMap::new(), Vec::new());
        for page in pages.filter(|page| page.key().owner == Owner::Operators) {
            match page.key().table {
                TABLE => signed.entry(page.signer()).or_default()[0] += 1,
                Table::ADMISSION | Table::REVOCATION => signed.entry(page.signer()).or_default()[1] += 1,
                Table::OPERATOR => spoken.extend(page.appointment().map(|appointment| (page, appointment))),
                _ => {}
            }
        }
        let line = |key: NodeId, name: &str, state: OperatorState, rights: Rights, since_ms: Option<u64>| {
            let [catalogue, admissions] = signed.get(&key).copied().unwrap_or_default();
            let (id, name, rights) = (key.to_string(), name.to_owned(), names(rights));
            OperatorLine { name, id, state, rights, since_ms, catalogue, admissions }
        };
        let mut lines: Vec<OperatorLine> = spoken
            .into_iter()
            .filter(|(_, appointment)| appointment.operator != self.root)
            .map(|(page, appointment)| {
                let state = match appointment.appointed {
                    false => OperatorState::Dismissed,
                    true if self.appointed.contains_key(&appointment.operator) => OperatorState::Appointed,
                    true => OperatorState::TooMany,
                };
                let since = Some(page.stamp().major);
                line(appointment.operator, &appointment.name, state, appointment.rights, since)
            })
            .collect();
        lines.sort_by_key(|line| (line.state == OperatorState::Dismissed, line.name.clone(), line.id.clone()));
        lines.insert(0, line(self.root, "root", OperatorState::Root, Rights::ALL, None));
        lines
    }
}

/// Rights by the names that the command line has for them.
pub fn names(rights: Rights) -> Vec<String> {
    let all = [(rights.catalogue, "catalogue"), (rights.admissions, "admissions")];
    all.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned()).collect()
}

/// Rights as they are told on the command line and in reports; what a later version adds means nothing here.
pub fn rights<'a>(names: impl IntoIterator<Item = &'a str>) -> Rights {
    names.into_iter().fold(Rights::default(), |rights, name| Rights {
        catalogue: rights.catalogue || name == "catalogue",
        admissions: rights.admissions || name == "admissions",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;
    use nigh_gossip::{Appointment, Key, Slot, admission};

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn id(seed: u8) -> NodeId {
        key(seed).verifying_key().into()
    }

    #[test]
    fn keys_are_listed_with_what_they_signed_the_dismissed_last() {
        let catalogue = Rights { catalogue: true, admissions: false };
        let appointed = BTreeMap::from([(id(1), Rights::ALL), (id(2), catalogue)]);
        let operators = Operators { root: id(9), appointed };
        let spoken = |n: u8, name: &str, appointed, rights, at| {
            Appointment { operator: id(n), name: name.into(), appointed, rights }.sign(&key(9), at, 0)
        };
        let record = |by: u8, slot| {
            let at = Key { owner: Owner::Operators, table: TABLE, slot: Slot::page(slot) };
            Page::sign(&key(by), at, 1, 0, vec![])
        };
        let pages = [
            spoken(3, "anna", false, Rights::ALL, 7),
            spoken(1, "berta", true, Rights::ALL, 8),
            spoken(2, "carl", true, catalogue, 9),
            spoken(4, "dora", true, Rights::ALL, 10),
            record(1, 0),
            record(1, 1),
            record(9, 2),
            admission::revoke(&key(1), id(50), 1, 0),
        ];
        let lines = operators.lines(pages.iter());
        let shown: Vec<_> = lines
            .iter()
            .map(|line| (line.name.as_str(), line.state.as_str(), line.since_ms, line.catalogue, line.admissions))
            .collect();
        let expected = [
            ("root", "root", None, 1, 0),
            ("berta", "appointed", Some(8), 2, 1),
            ("carl", "appointed", Some(9), 0, 0),
            ("dora", "one too many", Some(10), 0, 0),
            ("anna", "dismissed", Some(7), 0, 0),
        ];
        assert_eq!(shown, expected);
        assert_eq!(
            (lines[1].rights.join(","), lines[2].rights.join(",")),
            ("catalogue,admissions".into(), "catalogue".into())
        );
        assert!(operators.may_sign(id(2), TABLE) && !operators.may_sign(id(2), Table::ADMISSION));
        assert!(operators.may_sign(id(9), Table::OPERATOR) && !operators.may_sign(id(1), Table::OPERATOR));
        assert!(!Operators::only(id(9)).may_sign(id(1), TABLE));
    }

    #[test]
    fn rights_have_names() {
        for all in [Rights::default(), Rights::ALL, Rights { catalogue: false, admissions: true }] {
            assert_eq!(rights(names(all).iter().map(String::as_str)), all);
        }
        assert_eq!(rights(["catalogue", "a right of tomorrow"]), Rights { catalogue: true, admissions: false });
    }
}
