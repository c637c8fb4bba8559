//! One engine between its neighbours, event by event: what it passes on, asks for and answers.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::{admission::Certificate, codec, frame::Frame, message::Graft, verdict::WatchRow};

const ROWS: Table = Table(16);

fn key(n: u64) -> SigningKey {
    let mut seed = [0x3c; 32];
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
    let certificate =
        Certificate { node: id(n), name: format!("n{n}"), serial: n, prefixes: vec![], not_after: u64::MAX };
    certificate.sign(&operator(), 1, 0)
}

/// Node `n` of those below `of`, linked to these.
fn engine(n: u64, of: u64, peers: &[u64]) -> Engine {
    let setup = Setup {
        signing: key(n),
        operators: vec![operator().verifying_key().into()],
        certificate: None,
        epoch: 1,
        addresses: vec![],
        bootstrap: vec![],
        pages: (0..of).map(certificate).collect(),
        seed: n,
        shared: Shared::default(),
    };
    let mut engine = Engine::new(Moment::ZERO, setup);
    for peer in peers {
        engine.handle_link_up(Moment::ZERO, id(*peer));
        while engine.poll_transmit(Moment::ZERO, id(*peer)).is_some() {}
    }
    engine
}

fn page(n: u64, table: Table, slot: u32, minor: u64, body: Vec<u8>) -> Page {
    let at = Key { owner: Owner::Node(id(n)), table, slot: Slot::page(slot) };
    Page::sign(&key(n), at, 1, minor, body)
}

fn member(n: u64, minor: u64, incarnation: u64) -> Page {
    let member = Member { incarnation, addresses: vec![], left: false, boot: 7 };
    page(n, Table::MEMBER, 0, minor, codec::encode(&member))
}

fn news(page: Page) -> Message {
    Message::News(vec![Frame::whole(page)])
}

fn given(page: Page) -> Message {
    Message::Given(vec![Frame::whole(page)])
}

/// All that the engine sends to a peer now, as it comes out of a wire.
fn sent(engine: &mut Engine, now: Moment, peer: u64) -> Vec<Message> {
    let messages = std::iter::from_fn(|| engine.poll_transmit(now, id(peer)));
    messages.map(|message| Message::decode(&message.encode()).unwrap()).collect()
}

/// Lets time pass in steps of 50 ms, the neighbours staying silent; all that was sent to `peer`.
fn pass(engine: &mut Engine, from: Moment, for_: Duration, peers: &[u64]) -> Vec<(u64, Message)> {
    let mut all = Vec::new();
    let mut now = from;
    while now < from + for_ {
        now = now + Duration::from_millis(50);
        engine.handle_timeout(now);
        for peer in peers {
            all.extend(sent(engine, now, *peer).into_iter().map(|message| (*peer, message)));
        }
    }
    all
}

/// A relay holds verified headers and patches; two versions of a page in the queue of a slow link become one.
#[test]
fn versions_that_meet_in_a_relays_queue_stay_readable() {
    let [mut writer, mut relay, mut reader] = [engine(1, 100, &[0]), engine(0, 100, &[1, 2]), engine(2, 100, &[0])];
    let body = |version: u8| -> Vec<u8> {
        (0..64u8).flat_map(|row| [row, row ^ 0x5a, 7, if row % 8 == 0 { version } else { 0 }]).collect()
    };
    for version in 0..4 {
        writer.publish(Moment::ZERO, ROWS, Slot::page(0), body(version));
        for message in sent(&mut writer, Moment::ZERO, 0) {
            relay.handle_message(Moment::ZERO, id(1), message);
        }
        if version == 0 {
            for message in sent(&mut relay, Moment::ZERO, 2) {
                reader.handle_message(Moment::ZERO, id(0), message);
            }
        }
    }
    for message in sent(&mut relay, Moment::ZERO, 2) {
        reader.handle_message(Moment::ZERO, id(0), message);
    }
    let at = Key { owner: Owner::Node(id(1)), table: ROWS, slot: Slot::page(0) };
    assert_eq!(reader.replica().get(&at).unwrap().body(), body(3));
}

/// Half a megabyte of names of the same bucket, each asking for all its pages.
#[test]
fn a_bucket_that_is_named_often_is_looked_at_once() {
    let mut engine = engine(0, 100, &[1]);
    for slot in 0..64 {
        engine.handle_message(Moment::ZERO, id(1), news(page(5, ROWS, slot, 3, vec![3])));
    }
    let bucket = page(5, ROWS, 0, 3, vec![3]).bucket() as u8;
    let digest = page(5, ROWS, 0, 3, vec![3]).digest();
    let named = |digests: Vec<u64>| vec![crate::repair::Listed { bucket, digests }; 1000];
    let lists = named(vec![]);
    let difference = crate::repair::compare(engine.replica(), &lists, &BTreeSet::new(), &[]);
    let pages = engine.replica().pages().bucket(bucket).count();
    assert_eq!(difference.give.len(), pages);
    assert_eq!(crate::repair::find(engine.replica(), &named(vec![digest])).len(), 1);
}

#[test]
fn what_was_announced_late_is_asked_for_once_and_no_more_when_it_came() {
    let mut engine = engine(0, 100, &[1, 2]);
    let late = page(5, ROWS, 0, 2, vec![2]);
    engine.handle_message(Moment::ZERO, id(1), news(late.clone()));
    // It is forgotten as news, or a newer version came first: then somebody tells of it.
    let later = Moment(30_000_000);
    pass(&mut engine, Moment::ZERO, later - Moment::ZERO, &[1, 2]);
    let passed_by = page(6, ROWS, 0, 2, vec![2]);
    engine.handle_message(later, id(1), news(page(6, ROWS, 0, 3, vec![3])));
    engine.handle_message(later, id(2), Message::Have(vec![late.digest(), passed_by.digest()]));
    let mut asked = 0;
    let mut now = later;
    for _ in 0..100 {
        for (_, message) in pass(&mut engine, now, Duration::from_millis(50), &[2]) {
            if let Message::Graft(Graft { digests, .. }) = message {
                asked += digests.len();
                engine.handle_message(now, id(2), Message::Given(vec![late.clone().into(), passed_by.clone().into()]));
            }
        }
        now = now + Duration::from_millis(50);
    }
    assert_eq!(asked, 2);
}
