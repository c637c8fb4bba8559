//! What one operator's key signed, signed anew by another: how a key is replaced without anything changing but that.
//!
//! The old key itself is not needed, only what it signed, and that every node holds: so a key that was stolen or lost is
//! replaced as well.
//!
//! **Invariant:** a page signed anew says the same, one step above the page it takes the place of. An edit that somebody
//! makes meanwhile stays above it, and **whoever was admitted or revoked before is so after**: a certificate signed anew
//! never rises above the revocation that ended it, nor a revocation above the certificate that followed it.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use nigh_gossip::{NodeId, Owner, Page, Rights, Slot, Table};

use super::TABLE;
use super::hlc;

/// What becomes of the pages of a key.
#[derive(Debug, Default)]
pub struct Anew {
    /// Signed by the new key, one for each of the old.
    pub pages: Vec<Page>,
    /// Of the old key's, those that cannot be: their stamps are too far ahead of this clock for any node to take another
    /// above them, they would change who is a member, or `rights` does not give them.
    pub left: Vec<Page>,
}

/// Signs anew, with `to`, what `from` signed of the tables that `rights` give.
pub fn sign_anew(held: &[Page], from: NodeId, to: &SigningKey, rights: Rights, now_millis: u64) -> Anew {
    let mut members: BTreeMap<Slot, [Option<&Page>; 2]> = BTreeMap::new();
    let mut anew = Anew::default();
    for page in held.iter().filter(|page| page.key().owner == Owner::Operators) {
        match page.key().table {
            Table::ADMISSION => members.entry(page.key().slot).or_default()[0] = Some(page),
            Table::REVOCATION => members.entry(page.key().slot).or_default()[1] = Some(page),
            TABLE if page.signer() == from => match above(page, to, now_millis).filter(|_| rights.allow(TABLE)) {
                Some(new) => anew.pages.push(new),
                None => anew.left.push(page.clone()),
            },
            _ => {}
        }
    }
    for pair in members.into_values() {
        let signed = |page: Option<&Page>| page.filter(|page| page.signer() == from).cloned();
        let [admission, revocation] = pair.map(signed);
        let anew_of = |page: &Option<Page>| above(page.as_ref()?, to, now_millis).filter(|_| rights.admissions);
        let new = [anew_of(&admission), anew_of(&revocation)];
        // With both, with one, with none of them anew: the first that changes nothing about the node.
        let choices = [[true, true], [false, true], [true, false], [false, false]];
        let chosen = choices.into_iter().find(|chosen| {
            let then = |at: usize| if chosen[at] { new[at].as_ref().or(pair[at]) } else { pair[at] };
            admitted(pair) == admitted([then(0), then(1)])
        });
        let chosen = chosen.unwrap_or_default();
        for ((old, new), take) in [admission, revocation].into_iter().zip(new).zip(chosen) {
            match new.filter(|_| take) {
                Some(new) => anew.pages.push(new),
                None => anew.left.extend(old),
            }
        }
    }
    anew
}

/// As the replica has it: a certificate holds while its stamp is above that of the revocation.
fn admitted([admission, revocation]: [Option<&Page>; 2]) -> bool {
    match (admission.map(Page::stamp), revocation.map(Page::stamp)) {
        (Some(admitted), Some(revoked)) => revoked < admitted,
        (admitted, _) => admitted.is_some(),
    }
}

/// The same, one step above; nothing if no node would take it.
fn above(page: &Page, to: &SigningKey, now_millis: u64) -> Option<Page> {
    let stamp = page.stamp();
    let (major, minor) = match stamp.minor.checked_add(1) {
        Some(minor) => (stamp.major, minor),
        None => (stamp.major.checked_add(1)?, 0),
    };
    let new = Page::sign(to, page.key(), major, minor, page.body().to_vec());
    hlc::bound(new.stamp().into(), now_millis).is_ok().then_some(new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use nigh_gossip::{Appointment, Certificate, Key, Replica, admission};
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn id(seed: u8) -> NodeId {
        key(seed).verifying_key().into()
    }

    fn admit(node: u8, by: u8, at: (u64, u64)) -> Page {
        let (node, name) = (id(node), format!("n{node}"));
        Certificate { node, name, serial: 1, prefixes: vec![], not_after: u64::MAX }.sign(&key(by), at.0, at.1)
    }

    fn record(by: u8, slot: u32, at: (u64, u64)) -> Page {
        let at_key = Key { owner: Owner::Operators, table: TABLE, slot: Slot::page(slot) };
        Page::sign(&key(by), at_key, at.0, at.1, vec![by, 7])
    }

    /// Root 9; 7 is the old key, 8 the new one.
    fn replica(pages: &[Page]) -> Replica {
        let mut replica = Replica::new(id(99), [id(9)]);
        for (operator, name) in [(id(7), "old"), (id(8), "new")] {
            let appointment = Appointment { operator, name: name.into(), appointed: true, rights: Rights::ALL };
            replica.accept(appointment.sign(&key(9), 1, 0)).unwrap();
        }
        for page in pages {
            replica.accept(page.clone()).unwrap();
        }
        replica
    }

    fn of(replica: &Replica) -> Vec<Page> {
        replica.pages().iter().filter(|page| page.key().table != Table::OPERATOR).cloned().collect()
    }

    #[test]
    fn each_page_says_the_same_one_step_above() {
        let held = [record(7, 0, (5, 0)), record(9, 1, (5, 0)), record(7, 2, (5, u64::MAX)), admit(1, 7, (5, 3))];
        let anew = sign_anew(&held, id(7), &key(8), Rights::ALL, NOW);
        let stamps: Vec<_> = anew.pages.iter().map(|page| (page.stamp().major, page.stamp().minor)).collect();
        assert_eq!(stamps, [(5, 1), (6, 0), (5, 4)]);
        assert!(anew.left.is_empty() && anew.pages.iter().all(|page| page.signer() == id(8)));
        assert_eq!(anew.pages[0].body(), held[0].body());
        let catalogue = sign_anew(&held, id(7), &key(8), Rights { catalogue: true, admissions: false }, NOW);
        assert_eq!((catalogue.pages.len(), catalogue.left.len()), (2, 1), "what it may not sign is left");
    }

    #[test]
    fn what_is_dated_too_far_ahead_is_left() {
        let ahead = NOW + 700_000;
        let held = [record(7, 0, (ahead, 0)), record(7, 1, (u64::MAX, u64::MAX)), record(7, 2, (NOW + 1000, 0))];
        let anew = sign_anew(&held, id(7), &key(8), Rights::ALL, NOW);
        assert_eq!((anew.pages.len(), anew.left), (1, held[..2].to_vec()));
    }

    /// The root revoked node 1 in the moment after the old key had admitted it.
    #[test]
    fn a_certificate_never_rises_above_the_revocation_that_ended_it() {
        let held = [admit(1, 7, (5, 0)), admission::revoke(&key(9), id(1), 5, 1)];
        let anew = sign_anew(&held, id(7), &key(8), Rights::ALL, NOW);
        let mut replica = replica(&held);
        anew.pages.iter().for_each(|page| _ = replica.accept(page.clone()));
        assert!(!replica.is_admitted(id(1)));
    }

    proptest! {
        /// Whoever signed what, at stamps that meet: with the old key gone, the same nodes are members and nothing of the
        /// old key is left but what was told.
        #[test]
        fn nobody_is_admitted_or_revoked_by_it(
            spoken in prop::collection::vec((0u8..3, any::<bool>(), 0usize..3, 0u64..3, 0u64..3), 0..12),
        ) {
            let pages: Vec<Page> = spoken
                .into_iter()
                .map(|(node, admits, by, major, minor)| match ([7, 8, 9][by], id(node)) {
                    (by, _) if admits => admit(node, by, (major, minor)),
                    (by, node) => admission::revoke(&key(by), node, major, minor),
                })
                .collect();
            let mut replica = replica(&pages);
            let members = |replica: &Replica| (0..3).map(|node| replica.is_admitted(id(node))).collect::<Vec<_>>();
            let before = members(&replica);
            let held = of(&replica);
            let anew = sign_anew(&held, id(7), &key(8), Rights::ALL, NOW);
            for page in &anew.pages {
                replica.accept(page.clone()).unwrap();
            }
            prop_assert_eq!(&members(&replica), &before);
            let old: Vec<Page> = of(&replica).into_iter().filter(|page| page.signer() == id(7)).collect();
            prop_assert_eq!(old.len(), anew.left.len());
        }
    }
}
