//! One engine between its neighbours, event by event: what it passes on, asks for and answers.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    admission::Certificate,
    codec,
    frame::Frame,
    message::Graft,
    operator::{Appointment, Rights},
    verdict::WatchRow,
};

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
        roots: vec![operator().verifying_key().into()],
        certificate: None,
        appointment: None,
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

/// Mending a tree shows no lack: only what repair itself brings does. In a busy mesh of thousands one such round
/// lists every page that is held.
#[test]
fn a_page_that_was_grafted_starts_no_repair_of_everything() {
    let mut engine = engine(0, 100, &[1, 2, 3, 4, 5, 6]);
    let roots = |engine: &mut Engine, page: Page, asked: bool, at: u64| {
        let now = Moment(at * 1_000_000);
        if asked {
            engine.handle_message(now, id(1), Message::Have(vec![page.digest()]));
            pass(engine, now, Duration::from_millis(300), &[1]);
        }
        let now = now + Duration::from_millis(300);
        engine.handle_message(now, id(1), given(page));
        let all = pass(engine, now, Duration::from_secs(1), &[1, 2, 3, 4, 5, 6]);
        all.iter().filter(|(_, message)| matches!(message, Message::Root { .. })).count()
    };
    pass(&mut engine, Moment::ZERO, Duration::from_secs(2), &[1, 2, 3, 4, 5, 6]);
    assert_eq!(roots(&mut engine, page(5, ROWS, 0, 3, vec![3]), true, 10), 1);
    assert!(roots(&mut engine, page(6, ROWS, 0, 3, vec![3]), false, 20) > 1);
}

#[test]
fn a_delta_without_its_base_is_asked_of_one_and_then_of_another() {
    let mut engine = engine(0, 100, &[1, 2, 3]);
    let body = |version: u8| -> Vec<u8> {
        (0..64u8).flat_map(|row| [row, row ^ 0x5a, 7, if row % 8 == 0 { version } else { 0 }]).collect()
    };
    let (old, new) = (page(5, ROWS, 0, 2, body(2)), page(5, ROWS, 0, 3, body(3)));
    let delta = crate::frame::Delta::between(&old, &new);
    assert!(delta.is_some());
    for peer in [1, 2, 3] {
        let frame = Frame { of: crate::frame::Of::Page(new.clone()), delta: delta.clone() };
        engine.handle_message(Moment::ZERO, id(peer), Message::News(vec![frame]));
    }
    let grafts = |messages: &[(u64, Message)]| -> Vec<u64> {
        messages.iter().filter(|(_, message)| matches!(message, Message::Graft(_))).map(|(peer, _)| *peer).collect()
    };
    let at_once: Vec<(u64, Message)> = [1, 2, 3]
        .iter()
        .flat_map(|peer| sent(&mut engine, Moment::ZERO, *peer).into_iter().map(|m| (*peer, m)))
        .collect();
    assert_eq!(grafts(&at_once), vec![1]);
    let later = pass(&mut engine, Moment::ZERO, Duration::from_millis(250), &[1, 2, 3]);
    assert_eq!(grafts(&later), vec![2], "the first did not answer");
    engine.handle_message(Moment(300_000), id(2), given(new.clone()));
    let later = pass(&mut engine, Moment(300_000), Duration::from_secs(3), &[1, 2, 3]);
    assert_eq!(grafts(&later), Vec::<u64>::new());
    assert_eq!(engine.replica().page(&new.key()), Some(&new));
}

/// A writer beyond its rate is left to repair, so repair must not take what was withheld for news on its way: of a
/// page that is written every second there would never be a version to give.
#[test]
fn what_is_withheld_is_given_by_repair_at_once() {
    let mut engine = engine(0, 100, &[1, 2]);
    let now = Moment(60_000_000);
    pass(&mut engine, Moment::ZERO, now - Moment::ZERO, &[1, 2]);
    for slot in 0..600 {
        engine.handle_message(now, id(1), news(page(5, ROWS, slot, 3, vec![3])));
        sent(&mut engine, now, 2);
    }
    let withheld = engine.counts().withheld;
    assert!((80..100).contains(&withheld), "{withheld}");
    let bucket = u8::try_from(page(5, ROWS, 0, 3, vec![3]).bucket()).unwrap();
    engine.handle_message(now, id(2), Message::Root { salt: 0, root: [1; 16] });
    engine.handle_message(now, id(2), Message::Digests(vec![crate::repair::Listed { bucket, digests: vec![] }]));
    let given: usize = sent(&mut engine, now, 2)
        .iter()
        .map(|message| if let Message::Given(frames) = message { frames.len() } else { 0 })
        .sum();
    assert_eq!(given as u64, withheld);
}

/// Three of four accuse again and again; then the mesh is quiet, and no other row makes me look at mine.
#[test]
fn a_refutation_that_was_braked_comes_when_its_time_has_come() {
    let mut engine = engine(0, 5, &[]);
    for n in 1..5 {
        engine.handle_message(Moment::ZERO, id(n), news(member(n, 1, 1)));
    }
    let mut now = Moment::ZERO;
    let mut pass = |engine: &mut Engine, ticks: u32| {
        for _ in 0..ticks {
            now = now + TICK;
            (1..5).for_each(|n| engine.watch.handle_heard(now, id(n)));
            engine.handle_timeout(now);
        }
        now
    };
    for round in 0..10 {
        let (now, incarnation) = (pass(&mut engine, 10), engine.me().unwrap().incarnation);
        for n in 1..4 {
            let rows = vec![WatchRow { accused: id(0), incarnation }];
            engine.handle_message(now, id(n), news(page(n, Table::WATCH, 0, 10 + round, codec::encode(&rows))));
        }
        pass(&mut engine, 2);
        if engine.verdict(id(0)) == Verdict::Dead {
            break;
        }
    }
    let braked = engine.counts().refutations;
    assert_eq!(engine.verdict(id(0)), Verdict::Dead);
    pass(&mut engine, 150);
    assert_eq!((engine.counts().refutations, engine.verdict(id(0))), (braked + 1, Verdict::Alive));
}

/// Verdicts follow from the rows that are held, not from those that came before.
#[test]
fn a_member_page_that_cannot_be_read_means_the_same_to_who_read_the_last_one() {
    let unread = page(7, Table::MEMBER, 0, 2, vec![0xff]);
    let [mut old, mut new] = [engine(0, 100, &[1]), engine(0, 100, &[1])];
    old.handle_message(Moment::ZERO, id(1), news(member(7, 1, 1)));
    old.handle_message(Moment::ZERO, id(1), news(unread.clone()));
    new.handle_message(Moment::ZERO, id(1), news(unread));
    for engine in [&mut old, &mut new] {
        engine.handle_timeout(Moment(100_000));
    }
    assert_eq!(old.replica(), new.replica());
    assert_eq!(old.verdict(id(7)), new.verdict(id(7)));
}

/// Said in the other order the peer would leave out the very origin that it is asked for.
#[test]
fn what_is_asked_for_outlives_what_was_declined_before() {
    let mut engine = engine(0, 100, &[1, 2]);
    let first = page(5, ROWS, 0, 3, vec![3]);
    engine.handle_message(Moment::ZERO, id(2), news(first.clone()));
    engine.handle_message(Moment::ZERO, id(1), news(first));
    engine.handle_link_down(Moment::ZERO, id(2));
    let order: Vec<Message> = sent(&mut engine, Moment::ZERO, 1);
    let at = |wanted: fn(&Message) -> bool| order.iter().position(wanted).unwrap();
    assert!(at(|m| matches!(m, Message::Prune(_))) < at(|m| matches!(m, Message::Graft(_))));
}

/// Its roster is made anew at the next tick; until then a newcomer would send each neighbour all that another gave it.
#[test]
fn what_a_newcomer_is_given_it_does_not_flood() {
    let mut engine = engine(0, 300, &[1, 2]);
    engine.submit(Moment::ZERO, certificate(300)).unwrap();
    sent(&mut engine, Moment::ZERO, 2);
    assert_eq!(engine.roster.seat(&id(300)), None);
    engine.handle_message(Moment::ZERO, id(1), given(page(300, ROWS, 0, 3, vec![3])));
    assert!(!sent(&mut engine, Moment::ZERO, 2).iter().any(|message| matches!(message, Message::News(_))));
}

/// Repair brought a page from one that sends me no news of its writer: the tree's edge is where it was.
#[test]
fn who_gives_what_was_lacking_is_no_parent() {
    let grafted = |by_repair: bool| {
        let mut engine = engine(0, 100, &[1, 2, 3]);
        engine.handle_message(Moment::ZERO, id(1), news(page(5, ROWS, 0, 3, vec![3])));
        if by_repair {
            engine.handle_message(Moment::ZERO, id(2), given(page(5, ROWS, 1, 4, vec![3])));
        }
        [2, 3].into_iter().for_each(|peer| drop(sent(&mut engine, Moment::ZERO, peer)));
        engine.handle_link_down(Moment::ZERO, id(1));
        let all: Vec<Message> = [2, 3].into_iter().flat_map(|peer| sent(&mut engine, Moment::ZERO, peer)).collect();
        all.iter().any(|message| matches!(message, Message::Graft(graft) if graft.origins == [id(5).prefix()]))
    };
    assert!(grafted(false) && grafted(true));
}

/// An empty disk knows of no mesh, large or small, when its first links come up.
#[test]
fn a_newcomer_asks_its_first_links_to_feed_it_once_it_knows_how_large_the_mesh_is() {
    let mut engine = engine(0, 1, &[]);
    for peer in [1, 2, 3] {
        engine.submit(Moment::ZERO, certificate(peer)).unwrap();
        engine.handle_link_up(Moment::ZERO, id(peer));
        sent(&mut engine, Moment::ZERO, peer);
    }
    let feeds = |engine: &mut Engine, now: Moment| -> Vec<u64> {
        engine.handle_timeout(now);
        let asks = |message: &Message| matches!(message, Message::Graft(graft) if graft.all);
        [1, 2, 3].into_iter().filter(|peer| sent(engine, now, *peer).iter().any(asks)).collect()
    };
    let certificates =
        |range: std::ops::Range<u64>| Message::Given(range.map(|n| Frame::whole(certificate(n))).collect());
    engine.handle_message(Moment::ZERO, id(1), certificates(4..200));
    assert_eq!(feeds(&mut engine, Moment(200_000)), [], "a small mesh floods, and prunes");
    engine.handle_message(Moment(200_000), id(1), certificates(200..400));
    let asked = feeds(&mut engine, Moment(400_000));
    assert_eq!(asked.len(), 2);
    assert_eq!(feeds(&mut engine, Moment(600_000)), []);
    // What it is given now, it does not send to everyone.
    engine.handle_message(Moment(600_000), id(asked[0]), given(page(300, ROWS, 0, 3, vec![3])));
    let other = (1..=3).find(|peer| !asked.contains(peer)).unwrap();
    assert!(!sent(&mut engine, Moment(600_000), other).iter().any(|message| matches!(message, Message::News(_))));
}

/// Of two hundred accused 128 stand on one page. Those on the second count as well.
#[test]
fn accusations_beyond_one_page_are_read() {
    let mut engine = engine(0, 17, &[]);
    for n in 1..17 {
        engine.handle_message(Moment::ZERO, id(n), news(member(n, 1, 1)));
    }
    let rows = codec::encode(&vec![WatchRow { accused: id(1), incarnation: 1 }]);
    for n in 2..17 {
        engine.handle_message(Moment::ZERO, id(n), news(page(n, Table::WATCH, 1, 2, rows.clone())));
    }
    assert_eq!(engine.verdict(id(1)), Verdict::Dead);
    assert_eq!(engine.inconsistency(), None);
}

/// Who does not know me yet hears nothing else, and reads nothing else.
#[test]
fn the_first_word_on_a_link_is_hello() {
    let mut engine = engine(0, 100, &[]);
    engine.handle_link_up(Moment::ZERO, id(1));
    assert!(matches!(sent(&mut engine, Moment::ZERO, 1)[..], [Message::Hello { .. }, Message::Beat(_), ..]));
}

fn appointment(n: u64, appointed: bool, at: u64) -> Page {
    let appointment = Appointment { operator: id(n), name: format!("k{n}"), appointed, rights: Rights::ALL };
    appointment.sign(&operator(), at, 0)
}

fn edit(by: u64, slot: u32) -> Page {
    let at = Key { owner: Owner::Operators, table: Table(32), slot: Slot::page(slot) };
    Page::sign(&key(by), at, 1, 0, vec![1])
}

/// What came before the appointment of its signer was refused, and is asked for again as soon as that is known; an
/// appointment of which nothing came early sets nobody asking.
#[test]
fn with_an_appointment_what_was_refused_for_want_of_it_is_asked_for() {
    let asks = |early: &[Page], appointed: u64| {
        let mut engine = engine(0, 100, &[1]);
        // Between two rounds of the usual repair.
        let mut now = Moment::ZERO;
        while !pass(&mut engine, now, Duration::from_millis(50), &[1]).iter().any(|(_, message)| root(message)) {
            now = now + Duration::from_millis(50);
        }
        now = now + Duration::from_millis(50);
        early.iter().for_each(|page| engine.handle_message(now, id(1), news(page.clone())));
        assert_eq!(engine.counts().pages_refused, early.len() as u64);
        engine.handle_message(now, id(1), news(appointment(appointed, true, 1)));
        assert_eq!(engine.inconsistency(), None);
        pass(&mut engine, now, Duration::from_millis(300), &[1]).iter().filter(|(_, message)| root(message)).count()
    };
    assert_eq!(asks(&[edit(77, 0)], 77), 1);
    assert_eq!(asks(&[edit(77, 0)], 78), 0);
    assert_eq!(asks(&[], 77), 0);
}

fn root(message: &Message) -> bool {
    matches!(message, Message::Root { .. })
}

/// A chain from the root: appointment, certificate, node. Whatever else a stranger brings is not looked at.
#[test]
fn a_hello_brings_the_appointment_of_who_admitted_the_peer_and_no_other() {
    let admitted = |n: u64, by: u64| {
        let certificate =
            Certificate { node: id(n), name: format!("n{n}"), serial: n, prefixes: vec![], not_after: u64::MAX };
        certificate.sign(&key(by), 1, 0)
    };
    let hello = |certificate: Page, appointment: Option<Page>| Message::Hello {
        version: crate::message::VERSION,
        certificate: Some(certificate),
        appointment,
    };
    let heard = |hello: Message| {
        let mut engine = engine(0, 1, &[7]);
        engine.handle_message(Moment::ZERO, id(7), hello);
        assert_eq!(engine.inconsistency(), None);
        (engine.hears(id(7)), engine.replica().pages().of_operators(Table::OPERATOR).count())
    };
    assert_eq!(heard(hello(admitted(7, 77), Some(appointment(77, true, 1)))), (true, 1));
    assert_eq!(heard(hello(admitted(7, 77), None)), (false, 0));
    assert_eq!(heard(hello(admitted(7, 77), Some(appointment(78, true, 1)))), (false, 0));
    assert_eq!(heard(hello(admitted(8, 77), Some(appointment(77, true, 1)))), (false, 0), "another's certificate");
    let forged = Appointment { operator: id(77), name: "k".into(), appointed: true, rights: Rights::ALL };
    assert_eq!(heard(hello(admitted(7, 77), Some(forged.sign(&key(77), 1, 0)))), (false, 0));
    let less = Appointment { rights: Rights { catalogue: true, admissions: false }, ..forged };
    assert_eq!(heard(hello(admitted(7, 77), Some(less.sign(&operator(), 1, 0)))), (false, 1));

    // One that was dismissed comes with the word that was said before: it is old, however the certificate is dated.
    let mut knows = engine(0, 1, &[7]);
    knows.submit(Moment::ZERO, appointment(77, false, 2)).unwrap();
    knows.handle_message(Moment::ZERO, id(7), hello(admitted(7, 77), Some(appointment(77, true, 1))));
    assert!(!knows.hears(id(7)) && knows.replica().appointed().is_empty());
    assert_eq!(knows.inconsistency(), None);

    // And so it introduces itself.
    let mut newcomer = engine(7, 0, &[]);
    for page in [appointment(77, true, 1), admitted(7, 77)] {
        newcomer.submit(Moment::ZERO, page).unwrap();
    }
    newcomer.handle_link_up(Moment::ZERO, id(1));
    let first = sent(&mut newcomer, Moment::ZERO, 1).remove(0);
    assert_eq!(first, hello(admitted(7, 77), Some(appointment(77, true, 1))));
    let mut by_the_root = engine(1, 2, &[]);
    by_the_root.handle_link_up(Moment::ZERO, id(0));
    assert_eq!(sent(&mut by_the_root, Moment::ZERO, 0).remove(0), hello(certificate(1), None));
}
