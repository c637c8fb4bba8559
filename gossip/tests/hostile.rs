//! One member against messages that no honest one sends, and against its own past: the engine alone, event by event.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use ed25519_dalek::SigningKey;
use nigh_gossip::{
    Certificate, Key, MAX_BODY, Moment, NodeId, Owner, Page, Slot, Table, codec,
    engine::{Action, Engine, Setup, Shared, TICK},
    frame::Frame,
    member::{Member, round_trips},
    message::{Beat, Message},
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
        operators: vec![operator().verifying_key().into()],
        certificate: None,
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
    assert_eq!(answers, 20);
}

/// Writers at their limit, of whom two nodes hold different pages for ever: 4,096 stamps that never agree.
#[test]
fn buckets_that_can_never_agree_do_not_starve_the_others() {
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
        if missing(&b) == 0 {
            return;
        }
    }
    panic!("{} pages never came in 20 s", missing(&b));
}
