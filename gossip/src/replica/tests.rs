#![allow(clippy::unwrap_used)]
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::{page::Slot, quota::MAX_PAGES_PER_NODE};

fn writer(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn id(n: u8) -> NodeId {
    writer(n).verifying_key().into()
}

fn certificate(w: u8, at: u64) -> Page {
    let serial = u64::from(w);
    Certificate { node: id(w), name: format!("n{w}"), serial, prefixes: vec![], not_after: 0 }.sign(&writer(10), at, 0)
}

/// A page of writer `w` (0..3) or of the operators (w = 3, signed by either of two).
fn page(w: u8, signer: u8, slot: u32, major: u64, minor: u64, body: u8) -> Page {
    let (owner, by) = if w < 3 { (Owner::Node(id(w)), w) } else { (Owner::Operators, 10 + signer % 2) };
    let key = Key { owner, table: Table(16), slot: Slot::page(slot) };
    Page::sign(&writer(by), key, major, minor, vec![body; usize::from(body)])
}

/// A replica that knows its three members.
fn empty() -> Replica {
    let mut replica = Replica::new(id(99), [id(10), id(11)]);
    (0..3).for_each(|w| assert_eq!(replica.accept(certificate(w, 5)), Ok(Accepted::New)));
    replica
}

/// Few keys, versions and contents, so that stale, equal and equivocating pages are common. Now and then a member
/// is revoked, before or after its certificate's stamp.
fn pages() -> impl Strategy<Value = Vec<Page>> {
    let one = (0u8..4, 0u8..2, 0u32..3, 0u64..2, 0u64..3, 0u8..3, 0u8..12).prop_map(
        |(w, signer, slot, major, minor, body, revoke)| match revoke {
            0 => admission::revoke(&writer(10), id(w % 3), 5 + minor, 1),
            1 => admission::revoke(&writer(10), id(w % 3), minor, 1),
            _ => page(w, signer, slot, major, minor, body),
        },
    );
    prop::collection::vec(one, 0..12)
}

fn replica(pages: &[Page]) -> Replica {
    let mut replica = empty();
    for page in pages {
        replica.apply(page.clone());
    }
    replica
}

fn merged(mut a: Replica, b: Replica) -> Replica {
    a.merge(b);
    a
}

/// The sums that are kept, counted anew.
fn sums(replica: &Replica) -> Vec<u64> {
    let mut sums = vec![0u64; BUCKETS];
    for page in replica.pages().iter() {
        sums[page.bucket()] = sums[page.bucket()].wrapping_add(page.digest());
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merge_is_associative(a in pages(), b in pages(), c in pages()) {
        let [a, b, c] = [replica(&a), replica(&b), replica(&c)];
        prop_assert_eq!(
            merged(merged(a.clone(), b.clone()), c.clone()),
            merged(a, merged(b, c))
        );
    }

    #[test]
    fn merge_is_commutative(a in pages(), b in pages()) {
        let [a, b] = [replica(&a), replica(&b)];
        prop_assert_eq!(merged(a.clone(), b.clone()), merged(b, a));
    }

    #[test]
    fn merge_is_idempotent(a in pages()) {
        let a = replica(&a);
        prop_assert_eq!(merged(a.clone(), a.clone()), a);
    }

    #[test]
    fn pages_in_any_order_and_number_give_the_merged_state(a in pages(), b in pages(), again in any::<prop::sample::Index>()) {
        let state = merged(replica(&a), replica(&b));
        let mut ops: Vec<Page> = a.into_iter().chain(b).rev().collect();
        if !ops.is_empty() {
            ops.push(ops[again.index(ops.len())].clone());
        }
        prop_assert_eq!(sums(&state), state.sums());
        prop_assert_eq!(replica(&ops), state);
    }

    #[test]
    fn a_stamp_never_goes_down_while_its_writer_is_a_member(ops in pages()) {
        let mut replica = empty();
        for page in ops {
            let before = replica.stamp(&page.key());
            replica.apply(page.clone());
            let member = match page.key().owner { Owner::Node(id) => replica.is_admitted(id), Owner::Operators => true };
            prop_assert!(!member || replica.stamp(&page.key()) >= before);
        }
    }
}

#[test]
fn nobody_writes_about_another() {
    let key = Key { owner: Owner::Node(id(1)), table: Table(16), slot: Slot::page(0) };
    let forged = Page::sign(&writer(2), key, 1, 1, vec![]);
    let mut replica = empty();
    assert_eq!(replica.accept(forged), Err(Refused::NotTheOwner { signer: id(2), key }));
    let key = Key { owner: Owner::Operators, ..key };
    let forged = Page::sign(&writer(1), key, 1, 1, vec![]);
    assert_eq!(replica.accept(forged), Err(Refused::NotAppointed { signer: id(1), key }));
    assert_eq!(replica, empty());
}

#[test]
fn strangers_store_nothing_and_the_revoked_nothing_more() {
    let mut replica = empty();
    let key = Key { owner: Owner::Node(id(50)), table: Table(16), slot: Slot::page(0) };
    let page_of_a_stranger = Page::sign(&writer(50), key, 1, 1, vec![1]);
    assert_eq!(replica.accept(page_of_a_stranger), Err(Refused::NotAdmitted(id(50))));
    replica.apply(page(1, 0, 0, 1, 1, 1));
    replica.apply(admission::revoke(&writer(10), id(1), 6, 0));
    assert_eq!(replica.admission(id(1)), Admission::Revoked);
    assert_eq!(replica.pages().of(Owner::Node(id(1))).count(), 0);
    assert_eq!(replica.accept(page(1, 0, 0, 1, 2, 1)), Err(Refused::NotAdmitted(id(1))));
    assert_eq!(sums(&replica), replica.sums());
    // An old certificate that somebody kept does not help; a new one does.
    assert_eq!(replica.accept(certificate(1, 4)), Ok(Accepted::Stale));
    assert_eq!(replica.accept(certificate(1, 7)), Ok(Accepted::New));
    assert_eq!(replica.accept(page(1, 0, 0, 1, 2, 1)), Ok(Accepted::New));
}

#[test]
fn a_node_holds_its_own_pages_before_anyone_admits_it() {
    let mut replica = Replica::new(id(1), [id(10)]);
    assert_eq!(replica.accept(page(1, 0, 0, 1, 1, 1)), Ok(Accepted::New));
    assert_eq!(replica.admission(id(1)), Admission::Unknown);
}

#[test]
fn equivocation_converges_and_leaves_its_proof() {
    let (one, two) = (page(0, 0, 0, 1, 1, 1), page(0, 0, 0, 1, 1, 2));
    let (ab, ba) = (replica(&[one.clone(), two.clone()]), replica(&[two, one]));
    assert_eq!(ab, ba);
    for replica in [ab, ba] {
        let proof: Vec<_> = replica.equivocations().collect();
        assert_eq!(proof.len(), 1);
        assert!(proof[0].kept.stamp() > proof[0].lost.stamp());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Writers over their limits, sizes that grow and shrink: two replicas that tell each other all they hold, a few
    /// times, hold the same.
    #[test]
    fn beyond_the_limits_replicas_agree_as_well(
        a in prop::collection::vec((0u32..12, 0u64..6, 0u8..200), 0..30),
        b in prop::collection::vec((0u32..12, 0u64..6, 0u8..200), 0..30),
    ) {
        let quota = Quota { pages: 6, bytes: 2500, operator_pages: 5 };
        let filled = |pages: &[(u32, u64, u8)]| {
            let mut replica = Replica { quota, ..empty() };
            for (slot, minor, body) in pages {
                replica.apply(page(0, 0, *slot, 1, *minor, *body));
                replica.apply(page(3, 0, *slot, 1, *minor, 1));
            }
            replica
        };
        let (mut a, mut b) = (filled(&a), filled(&b));
        for _ in 0..13 {
            (a, b) = (merged(a.clone(), b.clone()), merged(b, a));
        }
        prop_assert_eq!(&a, &b);
        prop_assert_eq!(a.inconsistency(), None);
        prop_assert_eq!(a.certificates().count(), 3, "what else operators write does not end a membership");
    }
}

#[test]
fn a_flooding_member_meets_its_limits_and_harms_nobody_else() {
    let mut replica = empty();
    let over = u32::try_from(MAX_PAGES_PER_NODE).unwrap();
    for slot in 0..over {
        replica.accept(page(0, 0, slot, 1, 1, 1)).unwrap();
    }
    assert!(matches!(replica.accept(page(0, 0, over, 1, 1, 1)), Err(Refused::TooManyPages { .. })));
    // Newer content of a page it holds, and another writer's pages, still pass.
    assert_eq!(replica.accept(page(0, 0, 3, 1, 2, 1)), Ok(Accepted::New));
    let large = |slot| {
        let key = Key { owner: Owner::Node(id(1)), table: Table(16), slot: Slot::page(slot) };
        Page::sign(&writer(1), key, 1, 1, vec![1; crate::page::MAX_BODY])
    };
    let stored = (0..over).take_while(|slot| replica.accept(large(*slot)).is_ok()).count();
    assert!((200..256).contains(&stored), "{stored} pages of 8 KB");
    assert!(matches!(replica.accept(large(over)), Err(Refused::TooManyBytes(_))));
}

/// What root 10 says of key `n`; of the rights bit 0 is the catalogue, bit 1 admissions.
fn appointment(n: u8, appointed: bool, rights: u8, at: u64) -> Page {
    let rights = Rights { catalogue: rights & 1 != 0, admissions: rights & 2 != 0 };
    let appointment = operator::Appointment { operator: id(n), name: format!("k{n}"), appointed, rights };
    appointment.sign(&writer(10), at, 0)
}

fn edit(by: u8, slot: u32, at: u64) -> Page {
    let key = Key { owner: Owner::Operators, table: Table(32), slot: Slot::page(slot) };
    Page::sign(&writer(by), key, at, 0, vec![by])
}

fn admit(w: u8, by: u8, at: u64) -> Page {
    let serial = u64::from(w);
    Certificate { node: id(w), name: format!("n{w}"), serial, prefixes: vec![], not_after: 0 }.sign(&writer(by), at, 0)
}

#[test]
fn an_appointed_key_writes_what_it_was_appointed_for_and_appoints_nobody() {
    let mut replica = empty();
    let refused = |page: &Page| Err(Refused::NotAppointed { signer: page.signer(), key: page.key() });
    let (edit, certificate) = (edit(20, 0, 1), admit(50, 20, 1));
    assert_eq!(replica.accept(edit.clone()), refused(&edit), "its appointment has not come");
    assert_eq!(replica.accept(appointment(20, true, 1, 1)), Ok(Accepted::New));
    assert_eq!(replica.take_gained(), [id(20)].into());
    assert_eq!(replica.accept(edit.clone()), Ok(Accepted::New));
    assert_eq!(replica.accept(certificate.clone()), refused(&certificate), "only for the catalogue");
    assert_eq!(replica.accept(appointment(20, true, 3, 2)), Ok(Accepted::New));
    assert_eq!(replica.accept(certificate), Ok(Accepted::New));
    assert!(replica.is_admitted(id(50)));
    for by in [20, 21, 1] {
        let forged =
            operator::Appointment { operator: id(21), name: "k21".into(), appointed: true, rights: Rights::ALL };
        let forged = forged.sign(&writer(by), 9, 0);
        let key = forged.key();
        assert_eq!(replica.accept(forged), Err(Refused::NotTheOwner { signer: id(by), key }));
    }
    assert_eq!(replica.inconsistency(), None);
    assert_eq!(replica.appointment(id(20)).unwrap().stamp().major, 2);
    assert_eq!(replica.appointment(id(10)), None);
}

#[test]
fn with_a_right_goes_what_was_signed_by_it_and_what_followed_from_that() {
    let mut replica = empty();
    let row = |w: u8| {
        let key = Key { owner: Owner::Node(id(w)), table: Table(16), slot: Slot::page(0) };
        Page::sign(&writer(w), key, 1, 1, vec![1])
    };
    let all = [appointment(20, true, 3, 1), edit(20, 0, 1), edit(10, 1, 1), admit(50, 20, 1), row(50), row(1)];
    all.iter().for_each(|page| replica.apply(page.clone()));
    // Node 1, whom root 10 admitted, is revoked by the appointed key.
    replica.apply(admission::revoke(&writer(20), id(1), 6, 0));
    assert_eq!((replica.admission(id(1)), replica.pages().of(Owner::Node(id(1))).count()), (Admission::Revoked, 0));
    replica.apply(appointment(20, true, 1, 2));
    assert!(replica.is_admitted(id(1)) && !replica.is_admitted(id(50)));
    assert_eq!(replica.pages().of(Owner::Node(id(50))).count(), 0);
    assert!(replica.page(&edit(20, 0, 1).key()).is_some(), "it keeps the catalogue");
    replica.apply(appointment(20, false, 3, 3));
    assert_eq!(replica.page(&edit(20, 0, 1).key()), None);
    assert!(replica.page(&edit(10, 1, 1).key()).is_some());
    assert!(matches!(replica.accept(edit(20, 0, 9)), Err(Refused::NotAppointed { .. })));
    assert_eq!(replica.accept(appointment(20, true, 3, 2)), Ok(Accepted::Stale), "kept by somebody, it does not help");
    assert_eq!(replica.inconsistency(), None);
}

/// A stolen key may date its pages as it likes.
#[test]
fn what_a_dismissed_key_dated_far_ahead_is_in_nobodys_way() {
    let mut replica = empty();
    for page in [appointment(20, true, 3, 1), edit(20, 0, u64::MAX), admission::revoke(&writer(20), id(1), u64::MAX, 0)]
    {
        assert_eq!(replica.accept(page), Ok(Accepted::New));
    }
    assert_eq!(replica.accept(edit(10, 0, 9)), Ok(Accepted::Stale));
    replica.apply(appointment(20, false, 3, 2));
    assert_eq!(replica.accept(edit(10, 0, 9)), Ok(Accepted::New));
    assert!(replica.is_admitted(id(1)));
}

#[test]
fn appointments_are_the_last_to_go_for_want_of_room() {
    let quota = Quota { operator_pages: 6, ..Quota::default() };
    let mut replica = Replica { quota, ..empty() };
    for slot in 0..3 {
        replica.apply(edit(10, slot, 1));
    }
    for n in 20..23 {
        assert_eq!(replica.accept(appointment(n, true, 3, 1)), Ok(Accepted::New));
    }
    assert_eq!(replica.pages().of_operators(Table(32)).count(), 0);
    assert_eq!(replica.certificates().count(), 3);
    assert!(matches!(replica.accept(edit(20, 0, 1)), Err(Refused::TooManyPages { .. })));
    for n in 23..30 {
        let _ = replica.accept(appointment(n, true, 3, 1));
    }
    assert_eq!((replica.pages().of_operators(Table::OPERATOR).count(), replica.appointed().len()), (6, 6));
    assert_eq!(replica.inconsistency(), None);
}

/// Appointments, dismissals, and what appointed keys sign, at stamps that meet.
fn kept_by_operators() -> impl Strategy<Value = Vec<Page>> {
    let one = (0u8..6, 0u8..2, 0u8..3, 0u8..4, 0u64..8).prop_map(|(kind, key, w, rights, at)| {
        let by = [10, 20, 21][usize::from(w)];
        match kind {
            0 => appointment(20 + key, true, rights, at),
            1 => appointment(20 + key, false, 3, at),
            2 => edit(by, u32::from(rights), at),
            3 => admit(key, by, at + 3),
            4 => admission::revoke(&writer(by), id(key), at + 3, 1),
            _ => page(w, 0, u32::from(rights), 1, at, 1),
        }
    });
    prop::collection::vec(one, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Keys come and go, and what they signed is here, there, or gone: replicas that tell each other all they hold, a
    /// few times, hold the same, and nothing by a key that may not.
    #[test]
    fn whoever_is_appointed_and_dismissed_replicas_come_to_agree(
        a in kept_by_operators(),
        b in kept_by_operators(),
        c in kept_by_operators(),
    ) {
        // All know the keys at first, so that what they sign is held by some.
        let begun = |pages: &[Page]| {
            let mut replica = empty();
            replica.apply(appointment(20, true, 3, 0));
            replica.apply(appointment(21, true, 3, 0));
            for page in pages {
                replica.apply(page.clone());
                assert_eq!(replica.inconsistency(), None);
            }
            replica
        };
        let [mut a, mut b, mut c] = [begun(&a), begun(&b), begun(&c)];
        for _ in 0..3 {
            (a, b) = (merged(a.clone(), b.clone()), merged(b, a));
            (b, c) = (merged(b.clone(), c.clone()), merged(c, b));
            (c, a) = (merged(c.clone(), a.clone()), merged(a, c));
        }
        prop_assert_eq!(&a, &b);
        prop_assert_eq!(&b, &c);
        prop_assert_eq!(a.appointed(), c.appointed());
        prop_assert_eq!(a.inconsistency(), None);
    }
}
