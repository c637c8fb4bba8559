//! One member against messages that no honest one sends, and against its own past: the engine alone, event by event.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use ed25519_dalek::SigningKey;
use nigh_gossip::{
    Certificate, Key, Listed, MAX_BODY, Moment, NodeId, Owner, Page, Slot, Table, codec,
    engine::{Action, Engine, Setup, Shared, TICK},
    frame::Frame,
    member::{Member, round_trips},
    message::{Beat, Graft, Message},
    verdict::Verdict,
};

fn key(n: u64) -> SigningKey {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    SigningKey::from_bytes(&seed)
}

fn id(n: u64) -> NodeId {
    key(n).verifying_key().into()
}

fn operator() -> SigningKey {
    key(u64::MAX)
}

fn certificate(n: u64) -> Page {
    Certificate { node: id(n), name: format!("n{n}"), serial: n, prefixes: vec![], not_after: u64::MAX }.sign(
        &operator(),
        1,
        0,
    )
}

/// A member among the nodes 0 to 99.
fn engine(n: u64, epoch: u64) -> Engine {
    let setup = Setup {
        signing: key(n),
        roots: vec![operator().verifying_key().into()],
        certificate: None,
        appointment: None,
        epoch,
        addresses: vec![],
        bootstrap: vec![],
        pages: (0..100).map(certificate).collect(),
        seed: n,
        shared: Shared::default(),
    };
    Engine::new(Moment::ZERO, setup)
}

fn page(n: u64, table: Table, slot: u32, major: u64, body: Vec<u8>) -> Page {
    let at = Key { owner: Owner::Node(id(n)), table, slot: Slot::page(slot) };
    Page::sign(&key(n), at, major, 1, body)
}

fn member(incarnation: u64, left: bool) -> Vec<u8> {
    codec::encode(&Member { incarnation, addresses: vec![], left, boot: 7 })
}

fn news(pages: impl IntoIterator<Item = Page>) -> Message {
    Message::News(pages.into_iter().map(Frame::from).collect())
}

fn told(engine: &Engine, n: u64) -> Member {
    engine.members().find(|(member, ..)| *member == id(n)).unwrap().1.clone()
}

/// What `from` has to say to `to` now, and back, until both are silent.
fn exchange(now: Moment, a: &mut Engine, b: &mut Engine) {
    loop {
        let (to_b, to_a) = (a.poll_transmit(now, b.id()), b.poll_transmit(now, a.id()));
        if to_a.is_none() && to_b.is_none() {
            return;
        }
        let (a_id, b_id) = (a.id(), b.id());
        to_b.into_iter().for_each(|message| b.handle_message(now, a_id, message));
        to_a.into_iter().for_each(|message| a.handle_message(now, b_id, message));
    }
}

#[test]
fn a_bootstrap_peer_with_hundreds_of_links_publishes_the_nearest() {
    let mut engine = engine(0, 1);
    let mut now = Moment::ZERO;
    for n in 1..=400 {
        engine.submit(now, certificate(n)).unwrap();
        engine.handle_link_up(now, id(n));
    }
    for _ in 0..80 {
        now = now + TICK;
        for n in 1..=400 {
            // Peer n is n milliseconds away.
            if let Some(held) = now.0.checked_sub(n * 1000) {
                let beat = Beat { clock: 1, echo: Some((0, held)), probe: false };
                engine.handle_message(now, id(n), Message::Beat(beat));
            }
        }
        engine.handle_timeout(now);
    }
    let at = Key { owner: Owner::Node(id(0)), table: Table::RTT, slot: Slot::page(0) };
    let body = engine.replica().get(&at).unwrap().body();
    assert!(body.len() <= MAX_BODY);
    let rows = round_trips(body).unwrap();
    assert_eq!(rows.len(), 128);
    assert!(rows.iter().all(|(_, rtt)| *rtt <= Duration::from_millis(128)));
}

#[test]
fn a_goodbye_of_a_forgotten_life_does_not_outlive_the_jump_over_it() {
    let mut engine = engine(0, 5);
    let goodbye = page(0, Table::MEMBER, 0, 9, member(9 << 16, true));
    engine.handle_message(Moment::ZERO, id(1), news([goodbye]));
    let at = Key { owner: Owner::Node(id(0)), table: Table::MEMBER, slot: Slot::page(0) };
    let (_, published) = Member::read(engine.replica().get(&at).unwrap()).unwrap();
    assert_eq!(told(&engine, 0), published, "what is derived is what is held");
    assert!(!published.left && published.incarnation >= 10 << 16);
    assert_eq!(engine.verdict(id(0)), Verdict::Alive);
}

#[test]
fn two_processes_with_one_key_do_not_chase_each_other() {
    let mut engine = engine(0, 5);
    let mut epochs = 0;
    for n in 0..1000 {
        // The other one is always above, within ten seconds.
        let now = Moment(n * 10_000);
        let other = page(0, Table(16), 0, 10_000 + n, vec![1]);
        engine.handle_message(now, id(1), news([other]));
        engine.handle_timeout(now);
        epochs += std::iter::from_fn(|| engine.poll_action())
            .filter(|action| matches!(action, Action::RememberEpoch(_)))
            .count();
    }
    assert!((2..=6).contains(&epochs), "{epochs} jumps");
    engine.handle_timeout(Moment(20_000_000));
    let epoch = std::iter::from_fn(|| engine.poll_action()).find_map(|action| match action {
        Action::RememberEpoch(epoch) => Some(epoch),
        _ => None,
    });
    assert_eq!(epoch, Some(11_000), "the last word is mine");
}

#[test]
fn there_is_one_member_page_whatever_the_order() {
    let first = page(7, Table::MEMBER, 0, 1, member(1, false));
    let second = page(7, Table::MEMBER, 1, 1, member(2, true));
    let told = |pages: [&Page; 2]| {
        let mut engine = engine(0, 1);
        engine.handle_message(Moment::ZERO, id(1), news(pages.map(Clone::clone)));
        (engine.replica().pages().iter().cloned().collect::<Vec<_>>(), self::told(&engine, 7))
    };
    assert_eq!(told([&first, &second]), told([&second, &first]));
}

#[test]
fn a_flood_of_digests_is_answered_a_few_times_a_second() {
    let mut engine = engine(0, 1);
    engine.handle_link_up(Moment::ZERO, id(1));
    let mut answers = 0;
    for n in 0..1000 {
        let now = Moment(n * 1000);
        engine.handle_message(now, id(1), Message::Root { salt: n % 2, root: [0; 16] });
        while let Some(message) = engine.poll_transmit(now, id(1)) {
            answers += usize::from(matches!(message, Message::Buckets { .. }));
        }
    }
    assert!((10..=20).contains(&answers), "{answers}");
}

/// Writers that write twice what they may, of whom two nodes got different halves.
#[test]
fn of_a_writer_beyond_its_limit_all_keep_the_same_pages() {
    let [mut a, mut b] = [engine(0, 1), engine(1, 1)];
    for liar in 10..14 {
        for (engine, slots) in [(&mut a, 0..1024), (&mut b, 1024..2048)] {
            let pages = slots.map(|slot| page(liar, Table(16), slot, 1, vec![]));
            engine.handle_message(Moment::ZERO, id(99), news(pages));
        }
    }
    // Honest pages in every part of the digest; nobody is linked yet, so only repair can bring them over.
    for slot in 0..200 {
        a.publish(Moment::ZERO, Table(16), Slot::page(slot), vec![1]);
    }
    let mut now = Moment::ZERO;
    a.handle_link_up(now, id(1));
    b.handle_link_up(now, id(0));
    let missing = |b: &Engine| {
        200 - b.replica().pages().of(Owner::Node(id(0))).filter(|page| page.key().table == Table(16)).count()
    };
    for _ in 0..200 {
        now = now + TICK;
        a.handle_timeout(now);
        b.handle_timeout(now);
        exchange(now, &mut a, &mut b);
        if missing(&b) == 0 && a.state_hash() == b.state_hash() {
            assert_eq!((a.inconsistency(), b.inconsistency()), (None, None));
            assert_eq!(b.replica().pages().of(Owner::Node(id(10))).next().unwrap().key().slot, Slot::page(0));
            return;
        }
    }
    panic!("{} pages never came in 20 s, or the two hold different ones", missing(&b));
}

/// A salted root costs a hash of every page, so a peer that sends one after the other is answered once.
#[test]
fn salts_are_not_hashed_at_a_peers_pleasure() {
    let mut engine = engine(0, 1);
    engine.handle_link_up(Moment::ZERO, id(1));
    let mut answers = 0;
    for n in 0..200 {
        let now = Moment(n * 100_000);
        engine.handle_timeout(now);
        engine.handle_message(now, id(1), Message::Root { salt: n + 1, root: [0; 16] });
        while let Some(message) = engine.poll_transmit(now, id(1)) {
            answers += usize::from(matches!(message, Message::Buckets { salt, .. } if salt != 0));
        }
    }
    assert_eq!(answers, 2, "in twenty seconds");
}

/// Each step of repair costs more than the one before, so each is an answer or nothing.
#[test]
fn repair_that_was_not_asked_for_is_not_answered() {
    let mut engine = engine(0, 1);
    engine.handle_link_up(Moment::ZERO, id(1));
    engine.handle_message(Moment::ZERO, id(2), news((0..50).map(|slot| page(7, Table(16), slot, 1, vec![slot as u8]))));
    let now = Moment(20_000_000);
    engine.handle_timeout(now);
    while engine.poll_transmit(now, id(1)).is_some() {}
    let all = || (0..=255).map(|bucket| Listed { bucket, digests: vec![] }).collect::<Vec<_>>();
    for salt in [1, 77] {
        engine.handle_message(now, id(1), Message::Buckets { salt, sums: vec![1; 256] });
    }
    engine.handle_message(now, id(1), Message::Digests(all()));
    engine.handle_message(now, id(1), Message::Want(all()));
    let said: Vec<Message> = std::iter::from_fn(|| engine.poll_transmit(now, id(1))).collect();
    assert!(said.iter().all(|message| matches!(message, Message::Beat(_))), "{said:?}");
    // Sums that were asked for are worth one listing, not two.
    engine.handle_message(now, id(1), Message::Root { salt: 0, root: [1; 16] });
    engine.handle_message(now, id(1), Message::Digests(all()));
    engine.handle_message(now, id(1), Message::Digests(vec![Listed { bucket: 1, digests: vec![5] }]));
    let said: Vec<Message> = std::iter::from_fn(|| engine.poll_transmit(now, id(1))).collect();
    assert!(said.iter().any(|message| matches!(message, Message::Given(_))), "{said:?}");
    assert!(!said.iter().any(|message| matches!(message, Message::Want(_))), "{said:?}");
}

/// One member announces what does not exist, as much as it can; what another tells of is asked for as ever.
#[test]
fn a_member_that_makes_up_news_takes_no_others_place() {
    let mut engine = engine(0, 1);
    (1..=2).for_each(|n| engine.handle_link_up(Moment::ZERO, id(n)));
    for round in 0..100u64 {
        let made_up = (0..1000).map(|n| round << 32 | n).collect();
        engine.handle_message(Moment::ZERO, id(1), Message::Have(made_up));
    }
    engine.handle_message(Moment::ZERO, id(2), Message::Have(vec![u64::MAX]));
    assert_eq!(engine.inconsistency(), None);
    let later = Moment(200_000);
    engine.handle_timeout(later);
    let asked = std::iter::from_fn(|| engine.poll_transmit(later, id(2)))
        .any(|message| matches!(message, Message::Graft(graft) if graft.digests == [u64::MAX]));
    assert!(asked);
}

/// ... and one that writes as much as it can does not push what the others wrote out of what counts as news.
#[test]
fn a_member_that_writes_much_takes_no_others_place_among_the_news() {
    let mut engine = engine(0, 1);
    (1..=2).for_each(|n| engine.handle_link_up(Moment::ZERO, id(n)));
    let honest = page(7, Table(16), 0, 1, vec![1; 100]);
    engine.handle_message(Moment::ZERO, id(2), news([honest.clone()]));
    for version in 0..5000 {
        engine.handle_message(Moment::ZERO, id(1), news([page(1, Table(16), 0, version, vec![])]));
    }
    while engine.poll_transmit(Moment::ZERO, id(2)).is_some() {}
    let digests = vec![nigh_gossip::fuzzing::digest(&honest)];
    engine.handle_message(Moment::ZERO, id(2), Message::Graft(Graft { digests, ..Graft::default() }));
    let given = std::iter::from_fn(|| engine.poll_transmit(Moment::ZERO, id(2)))
        .any(|message| message == Message::Given(vec![Frame::from(honest.clone())]));
    assert!(given, "a peer that was told of it may still ask for it");
}

/// The operator admits hundreds at once. Nobody has heard of them, so nothing is lacking, and nobody need be asked.
#[test]
fn admissions_in_bulk_start_no_storm_of_repair() {
    let mut engine = engine(0, 1);
    (1..=8).for_each(|n| engine.handle_link_up(Moment::ZERO, id(n)));
    let refused = page(500, Table(16), 0, 1, vec![1]);
    engine.handle_message(Moment::ZERO, id(1), news([refused]));
    let mut rounds = |from: u64, admitted: std::ops::Range<u64>| {
        let mut roots = 0;
        for (tick, n) in (0..20).zip(admitted.chain(std::iter::repeat(100))) {
            let now = Moment(from + 100_000 * tick);
            let _ = engine.submit(now, certificate(n));
            engine.handle_timeout(now);
            for peer in 1..=8 {
                let sent = std::iter::from_fn(|| engine.poll_transmit(now, id(peer)));
                roots += sent.filter(|message| matches!(message, Message::Root { .. })).count();
            }
        }
        roots
    };
    rounds(1_000_000, 101..101);
    let (quiet, bulk) = (rounds(10_000_000, 101..101), rounds(20_000_000, 101..121));
    assert_eq!(bulk, quiet);
    assert!(rounds(30_000_000, 500..501) > quiet, "of one that was refused a moment ago something is lacking");
}

/// A certificate that ended ends its links, and nobody dials it every few seconds to end them again.
#[test]
fn a_neighbour_whose_certificate_has_ended_is_not_dialled() {
    let dials = |not_after: u64| {
        let certificate = |n: u64| {
            let certificate =
                Certificate { node: id(n), name: format!("n{n}"), serial: n, prefixes: vec![], not_after };
            certificate.sign(&operator(), 1, 0)
        };
        let setup = Setup {
            signing: key(0),
            roots: vec![operator().verifying_key().into()],
            certificate: None,
            appointment: None,
            epoch: 1,
            addresses: vec![],
            bootstrap: vec![],
            pages: (0..3).map(certificate).collect(),
            seed: 0,
            shared: Shared::default(),
        };
        let mut engine = Engine::new(Moment::ZERO, setup);
        engine.handle_wall_clock(1000);
        let body = codec::encode(&Member { incarnation: 1, addresses: vec!["a:1".into()], left: false, boot: 7 });
        for n in 1..3 {
            let _ = engine.submit(Moment::ZERO, page(n, Table::MEMBER, 0, 1, body.clone()));
        }
        for tick in 1..100 {
            engine.handle_timeout(Moment(tick * 100_000));
        }
        std::iter::from_fn(|| engine.poll_action()).filter(|action| matches!(action, Action::Dial { .. })).count()
    };
    assert!(dials(2000) > 0);
    assert_eq!(dials(999), 0);
}

/// Two versions of one page, which only one node ever saw together: everyone shall know who lied.
#[test]
fn a_proof_is_shown_to_everyone_once() {
    let [one, two] = [vec![1; 40], vec![2; 40]].map(|body| page(5, Table(20), 0, 1, body));
    let mut first = engine(0, 1);
    (1..=3).for_each(|n| first.handle_link_up(Moment::ZERO, id(n)));
    first.handle_message(Moment::ZERO, id(1), news([one.clone()]));
    let said = |engine: &mut Engine| -> Vec<Message> {
        std::iter::from_fn(|| engine.poll_transmit(Moment::ZERO, id(3))).collect()
    };
    said(&mut first);
    first.handle_message(Moment::ZERO, id(2), news([two.clone()]));
    let pair = |message: &&Message| matches!(message, Message::News(frames) if frames.len() == 2);
    let shown = said(&mut first);
    let proof = shown.iter().find(pair).expect("the proof is shown");
    let proof = Message::decode(&proof.encode()).unwrap();
    // One that holds a newer version of that page learns of it as well, and passes it on.
    let mut second = engine(4, 1);
    (0..=3).for_each(|n| second.handle_link_up(Moment::ZERO, id(n)));
    second.handle_message(Moment::ZERO, id(1), news([page(5, Table(20), 0, 9, vec![3; 40])]));
    said(&mut second);
    second.handle_message(Moment::ZERO, id(0), proof.clone());
    assert_eq!(second.replica().equivocations().count(), 1);
    let passed_on = said(&mut second);
    assert_eq!(passed_on.iter().filter(pair).count(), 1);
    assert!(!passed_on.iter().any(|message| matches!(message, Message::Prune(_))), "its tree is as it was");
    second.handle_message(Moment::ZERO, id(1), proof);
    assert_eq!(said(&mut second).iter().filter(pair).count(), 0, "once");
}
