//! The classes of mistakes behind known advisories of stacks like this one, one test each, against our own protocol.
//!
//! | class | seen in |
//! |---|---|
//! | durations and instants from the wire | gossipsub GHSA-gc42-3jg7-rxr2, GHSA-xqmp-fxgv-xvq5 |
//! | per-peer maps keyed by remote input | gossipsub GHSA-g3g5-x568-qvqx, GHSA-vrx6-jcp8-vm7m |
//! | control messages that amplify | RUSTSEC-2022-0084 |
//! | depth | serde_cbor RUSTSEC-2019-0025 |
//! | lengths before allocation | yamux GHSA-vxx9-2994-q338, GHSA-4w32-2493-32g7 |
//! | buffers for what comes out of order | quinn-proto RUSTSEC-2026-0185 |
//!
//! Memory is counted, not guessed: this binary has an allocator that adds up what each thread holds.
#![allow(clippy::unwrap_used, unsafe_code, missing_docs)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use ed25519_dalek::SigningKey;
use nigh_gossip::{
    Accepted, Appointment, Certificate, Key, Listed, Moment, NodeId, Owner, Page, Rights, Slot, Table, codec,
    engine::{Engine, Setup, Shared, TICK},
    frame::Frame,
    fuzzing,
    member::{Member, round_trips},
    message::{Beat, Graft, MAX_MESSAGE, Message},
    verdict::WatchRow,
};

/// Counts what this thread holds, and the most it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    HELD.set(HELD.get() + bytes);
    MOST.set(MOST.get().max(HELD.get()));
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are plain cells without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What `work` gives, how much of it stays held, and how much was held at most.
fn measured<T>(work: impl FnOnce() -> T) -> (T, isize, isize) {
    let before = HELD.get();
    MOST.set(before);
    let made = work();
    (made, HELD.get() - before, MOST.get() - before)
}

const KB: isize = 1024;
const MB: isize = 1024 * KB;

fn key(n: u64) -> SigningKey {
    let mut seed = [0x3c; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    SigningKey::from_bytes(&seed)
}

fn id(n: u64) -> NodeId {
    key(n).verifying_key().into()
}

fn page(writer: u64, slot: u32, version: u64, body: Vec<u8>) -> Page {
    let at = Key { owner: Owner::Node(id(writer)), table: Table(16), slot: Slot::page(slot) };
    Page::sign(&key(writer), at, 1, version, body)
}

/// Node 0, a member beside 1 to 9, linked to 1.
fn engine() -> Engine {
    let operator = key(u64::MAX);
    let admitted = (0..10).map(|n| {
        let certificate =
            Certificate { node: id(n), name: format!("n{n}"), serial: n, prefixes: vec![], not_after: u64::MAX };
        certificate.sign(&operator, 1, 0)
    });
    let setup = Setup {
        signing: key(0),
        roots: vec![operator.verifying_key().into()],
        certificate: None,
        appointment: None,
        epoch: 1,
        addresses: vec![],
        bootstrap: vec![],
        pages: admitted.collect(),
        seed: 0,
        shared: Shared::default(),
    };
    let mut engine = Engine::new(Moment::ZERO, setup);
    engine.handle_link_up(Moment::ZERO, id(1));
    while engine.poll_transmit(Moment::ZERO, id(1)).is_some() {}
    engine
}

/// Bytes that the engine has to say to node 1.
fn said(engine: &mut Engine, now: Moment) -> usize {
    std::iter::from_fn(|| engine.poll_transmit(now, id(1))).map(|message| message.wire_len()).sum()
}

/// Brings the engine to where it looks at what node 1 lists, or wants.
fn invite(engine: &mut Engine, now: Moment, wanted: bool) {
    if !wanted {
        engine.handle_message(now, id(1), Message::Root { salt: 0, root: [1; 16] });
        return;
    }
    // It asks node 1, its only peer, once a second.
    for tick in 1..=10 {
        engine.handle_timeout(now + TICK * tick);
    }
    let asked = std::iter::from_fn(|| engine.poll_transmit(now, id(1))).find_map(|message| match message {
        Message::Root { salt, .. } => Some(salt),
        _ => None,
    });
    engine.handle_message(now, id(1), Message::Buckets { salt: asked.unwrap(), sums: vec![1; 256] });
}

#[test]
fn clocks_from_the_wire_break_no_arithmetic_and_are_no_round_trip() {
    const EDGES: [u64; 6] = [0, 1, 1 << 32, i64::MAX as u64, u64::MAX - 1, u64::MAX];
    let mut engine = engine();
    for now in [0, 1, 10_000_000, i64::MAX as u64, u64::MAX - 1, u64::MAX].map(Moment) {
        for clock in EDGES {
            for echo in EDGES.iter().flat_map(|mine| EDGES.map(|held| (*mine, held))) {
                // What it says of the past few seconds could be true.
                let true_enough = now.0.checked_sub(echo.0).and_then(|back| back.checked_sub(echo.1));
                let beat = Beat { clock, echo: Some(echo), probe: true };
                engine.handle_message(now, id(1), Message::Beat(beat));
                let rtt = engine.links().next().unwrap().1;
                assert!(rtt.is_none_or(|rtt| rtt <= Duration::from_secs(2)), "{rtt:?} of {echo:?} ({true_enough:?})");
                let answer = engine.poll_transmit(now, id(1));
                assert!(matches!(answer, Some(Message::Beat(Beat { echo: Some((back, 0)), .. })) if back == clock));
            }
        }
        engine.handle_timeout(now);
        said(&mut engine, now);
        assert_eq!(engine.inconsistency(), None);
    }
}

/// A member names a million origins and versions that nobody has.
#[test]
fn what_a_peer_makes_up_is_not_remembered_without_bound() {
    let mut engine = engine();
    let ((), kept, _) = measured(|| {
        for round in 0..20u64 {
            let now = Moment(round * 50_000);
            let numbers = |salt: u64| -> Vec<u64> { (0..50_000).map(|n| (round * 50_000 + n) ^ salt << 40).collect() };
            engine.handle_message(now, id(1), Message::Have(numbers(1)));
            engine.handle_message(now, id(1), Message::Prune(numbers(2)));
            let graft = Graft { digests: numbers(3), origins: numbers(4), all: true };
            engine.handle_message(now, id(1), Message::Graft(graft));
            engine.handle_timeout(now);
            assert_eq!(engine.inconsistency(), None);
        }
    });
    assert!(kept < MB, "{kept} bytes remembered of a million names");
    // And it is gone once nobody tells of it any more.
    for tick in 0..200 {
        let now = Moment(2_000_000) + TICK * tick;
        engine.handle_timeout(now);
        said(&mut engine, now);
    }
    assert_eq!(engine.poll_timeout().since(Moment(2_000_000) + TICK * 199), TICK, "nothing is waited for but the tick");
}

/// What one second of each small message is answered with: a member asks a thousand times and takes all it gets.
#[test]
fn no_small_message_is_answered_without_bound() {
    let asked = |message: &dyn Fn(u64, &[u64]) -> Message| {
        let mut engine = engine();
        let pages: Vec<Page> = (0..1000).map(|slot| page(2, slot, 1, vec![7; 1500])).collect();
        let digests: Vec<u64> = pages.iter().map(fuzzing::digest).collect();
        for some in pages.chunks(20) {
            let frames = some.iter().cloned().map(Frame::from).collect();
            engine.handle_message(Moment::ZERO, id(3), Message::News(frames));
        }
        // Old enough that repair gives it, young enough to be news.
        let begin = Moment(3_000_000);
        engine.handle_timeout(begin);
        said(&mut engine, begin);
        let mut answered = 0;
        for n in 0..1000 {
            let now = begin + Duration::from_micros(n);
            engine.handle_message(now, id(1), message(n, &digests));
            answered += said(&mut engine, now);
        }
        answered
    };
    // A queue of pages is a megabyte, and repair is answered twenty times.
    let bound = 1 << 20;
    let beat = Beat { clock: 0, echo: None, probe: true };
    assert!(asked(&|_, _| Message::Beat(beat)) <= 1000 * 40, "probes");
    assert!(asked(&|n, _| Message::Root { salt: n, root: [1; 16] }) <= 20 * 2100, "roots");
    assert!(asked(&|_, _| Message::Buckets { salt: 0, sums: vec![1; 256] }) <= 20 * 10_000, "buckets");
    let lists = |n: u64| (0..=255).map(|bucket| Listed { bucket, digests: vec![n] }).collect();
    assert!(asked(&|n, _| Message::Digests(lists(n))) <= 20 * (bound + 8192), "digests");
    let bucket = fuzzing::bucket(&page(2, 0, 1, vec![]));
    let want = |digests: &[u64]| Message::Want(vec![Listed { bucket, digests: digests.to_vec() }]);
    assert!(asked(&|_, digests| want(digests)) <= 20 * bound, "wants");
    let graft = |digests: &[u64]| Graft { digests: digests.to_vec(), ..Graft::default() };
    let grafted = asked(&|_, digests| Message::Graft(graft(digests)));
    assert!(grafted <= bound, "{grafted} bytes for grafts");
    let lengths = 1000 * 4;
    // The smallest: one digest of eight bytes for a page of 1,500.
    let grafted = asked(&|n, digests| Message::Graft(graft(&digests[n as usize % 8..][..1])));
    assert!(grafted <= bound + lengths, "{grafted} bytes for small grafts");
}

/// One bucket with a thousand pages, listed twenty thousand times in a message of 80 KB: that was 400 MB.
#[test]
fn a_bucket_that_is_listed_again_and_again_is_looked_at_once() {
    let mut engine = engine();
    let pages: Vec<Page> = (0..1000).map(|slot| page(2, slot, 1, vec![])).collect();
    let (digest, bucket) = (fuzzing::digest(&pages[0]), fuzzing::bucket(&pages[0]));
    engine.handle_message(Moment::ZERO, id(3), Message::News(pages.into_iter().map(Frame::from).collect()));
    let now = Moment(10_000_000);
    engine.handle_timeout(now);
    said(&mut engine, now);
    for wanted in [false, true] {
        let digests = if wanted { vec![digest] } else { vec![] };
        let lists = vec![Listed { bucket, digests }; 20_000];
        let message = if wanted { Message::Want(lists) } else { Message::Digests(lists) };
        invite(&mut engine, now, wanted);
        let ((), _, most) = measured(|| engine.handle_message(now, id(1), message));
        assert!(most < 4 * MB, "{most} bytes");
        said(&mut engine, now);
    }
}

/// A writer fills a slow peer's queue with small pages, and then writes each of them again, large.
#[test]
fn a_queue_does_not_grow_beyond_its_bound_while_its_pages_grow() {
    let mut engine = engine();
    for (version, size) in [(1, 10), (2, 1_700)] {
        for (n, writer) in (2..8).enumerate() {
            for from in (0..1000).step_by(20) {
                let pages = (from..from + 20).map(|slot| page(writer, slot, version, vec![7; size]));
                // Slowly enough to be passed on.
                let now = Moment((version * 10 + n as u64) * 100_000_000 + u64::from(from) * 1_000_000 / 8);
                engine.handle_message(now, id(9), Message::News(pages.map(Frame::from).collect()));
            }
            assert_eq!(engine.inconsistency(), None);
        }
    }
}

/// A member, an appointed key and one that was dismissed appoint keys, ten thousand of them, over and over; the member hands
/// on as well what the dismissed key signed, dated as far ahead as there are dates.
#[test]
fn who_may_not_appoint_leaves_nothing_behind() {
    let root = key(u64::MAX);
    let word = |n: u64, by: &SigningKey, appointed: bool, at: u64| {
        let appointment = Appointment { operator: id(n), name: format!("k{n}"), appointed, rights: Rights::ALL };
        appointment.sign(by, at, 0)
    };
    let mut engine = engine();
    for page in [word(70, &root, true, 1), word(71, &root, true, 1), word(71, &root, false, 2)] {
        engine.handle_message(Moment::ZERO, id(9), Message::News(vec![Frame::from(page)]));
    }
    let refused = engine.counts().pages_refused;
    let held = engine.replica().pages().len();
    let old = word(71, &root, true, 1);
    let edit = |n: u64| {
        let at = Key { owner: Owner::Operators, table: Table(32), slot: Slot::page(n as u32) };
        Page::sign(&key(71), at, u64::MAX, u64::MAX, b"mine".to_vec())
    };
    let flood: Vec<Vec<Page>> = (0..500u64)
        .map(|round| {
            let some = (0..20).map(|n| round * 20 + n);
            some.map(|n| {
                if n % 4 == 3 { edit(n) } else { word(1_000 + n, &key([1, 70, 71][n as usize % 3]), true, u64::MAX) }
            })
            .collect()
        })
        .collect();
    let ((), kept, _) = measured(|| {
        for (round, pages) in flood.iter().enumerate() {
            let now = Moment(round as u64 * 1_000);
            engine.handle_message(now, id(1), Message::News(pages.iter().cloned().map(Frame::from).collect()));
            engine.handle_message(now, id(1), Message::News(vec![Frame::from(old.clone())]));
        }
    });
    assert!(kept < MB / 4, "{kept} bytes remembered of ten thousand pages");
    assert_eq!(engine.counts().pages_refused, refused + 10_000);
    assert_eq!(engine.replica().pages().len(), held);
    assert_eq!(engine.replica().appointed().keys().collect::<Vec<_>>(), [&id(70)]);
    assert_eq!(engine.inconsistency(), None);
    // What the stolen key dated ahead is in nobody's way.
    let at = Key { owner: Owner::Operators, table: Table(32), slot: Slot::page(3) };
    let ours = Page::sign(&key(70), at, 5, 0, b"ours".to_vec());
    assert_eq!(engine.submit(Moment(600_000_000), ours), Ok(Accepted::New));
}

/// Nested arrays, maps, tags and indefinite lengths, alone and in the place of a field that is skipped unread.
#[test]
fn depth_ends_in_an_error_and_not_on_the_stack() {
    let deep = |opener: &[u8]| opener.iter().copied().cycle().take(200_000).collect::<Vec<u8>>();
    // A map with a field number that nobody knows, and `deep` as its value.
    let skipped = |deep: &[u8]| [&[0xa1, 0x18, 0x63], deep].concat();
    // Half of what a thread of the runtime has; unoptimised, 128 levels take more than a quarter of a megabyte.
    let small_stack = std::thread::Builder::new().stack_size(1024 * 1024);
    let tried = small_stack.spawn(move || {
        for opener in [&[0x81][..], &[0xa1, 0x00], &[0xc0], &[0x9f], &[0xbf, 0x00], &[0x82, 0x00]] {
            for bytes in [deep(opener), skipped(&deep(opener))] {
                assert!(Message::decode(&bytes).is_err());
                assert!(Page::from_bytes(&bytes[..4_000]).is_err());
                assert!(codec::decode::<Member>(&bytes).is_err());
                assert!(codec::decode::<Vec<WatchRow>>(&bytes).is_err());
                assert!(round_trips(&bytes).is_none());
            }
        }
    });
    tried.unwrap().join().unwrap();
}

/// Headers that promise 2^60 elements or bytes, and nothing behind them.
#[test]
fn a_length_is_believed_only_as_far_as_there_are_bytes() {
    const MANY: [u8; 8] = (1u64 << 60).to_be_bytes();
    let promise = |major: u8| [&[major << 5 | 27][..], &MANY].concat();
    let mut inputs: Vec<Vec<u8>> = (2..=5).map(promise).collect();
    // Each kind of message with such a thing for its content; of a pair, for its second half.
    for variant in 0..11u8 {
        for major in 2..=5 {
            inputs.push([&[0xa1, variant][..], &promise(major)].concat());
            inputs.push([&[0x82, variant][..], &promise(major)].concat());
            inputs.push([&[0xa1, variant, 0x82, 0x00][..], &promise(major)].concat());
            inputs.push([&[0x82, variant, 0x81, 0x82, 0x00][..], &promise(major)].concat());
            inputs.push([&[0x82, variant, 0xa1, 0x00][..], &promise(major)].concat());
        }
    }
    // A page whose fields do, and a member's addresses.
    for field in 0..7u8 {
        inputs.extend((2..=5).map(|major| [&[0xa1, field][..], &promise(major)].concat()));
    }
    for bytes in &inputs {
        let ((), _, most) = measured(|| {
            assert!(Message::decode(bytes).is_err());
            assert!(Page::from_bytes(bytes).is_err());
            assert!(codec::decode::<Member>(bytes).is_err());
            assert!(codec::decode::<Vec<WatchRow>>(bytes).is_err());
            assert!(round_trips(bytes).is_none());
        });
        // A vector reserves at most a megabyte ahead of its elements.
        assert!(most <= MB + 64 * KB, "{most} bytes for {bytes:02x?}");
    }
    for length in [u32::MAX, 1 << 31, MAX_MESSAGE as u32 + 1, MAX_MESSAGE as u32] {
        let stream = [&length.to_be_bytes()[..], &[0; 9]].concat();
        let ((messages, _), _, most) = measured(|| fuzzing::read_stream(&stream, 1));
        assert!(messages.is_empty());
        let allowed = if length as usize > MAX_MESSAGE { 0 } else { length as isize };
        assert!(most <= allowed + KB, "{most} bytes for a length of {length}");
    }
}

/// Deltas whose bases never came, newest first; then the pages whole, in any order, on two streams at once.
#[test]
fn what_comes_out_of_order_is_not_kept_for_later() {
    let body = |version: u64| (0..600u32).map(|at| if at == 300 { version as u8 } else { at as u8 }).collect();
    let versions: Vec<Page> = (1..=2_000).map(|version| page(2, 0, version, body(version))).collect();
    let deltas: Vec<Message> = versions
        .windows(2)
        .rev()
        .map(|two| {
            let bytes = Message::News(vec![fuzzing::written(&two[1], Some(&two[0]))]).encode();
            Message::decode(&bytes).unwrap()
        })
        .collect();
    let mut engine = engine();
    let ((), kept, _) = measured(|| {
        for delta in deltas {
            engine.handle_message(Moment::ZERO, id(1), delta);
        }
    });
    // Eight bytes for each that is asked for, in a queue with a bound; none of the 1.3 MB of frames.
    assert!(kept < 64 * KB, "{kept} bytes kept");
    assert!(engine.counts().deltas_missed >= 1_999);
    assert_eq!(engine.inconsistency(), None);

    // A peer's old stream and its new one: whatever the order in which their messages are read, the newest stays.
    let whole = |page: &Page| Message::News(vec![Frame::from(page.clone())]);
    let mut hashes = Vec::new();
    for (old, new) in [(1, 1), (1, 3), (5, 1)] {
        let mut engine = self::engine();
        let (mut a, mut b) = (versions[..100].iter().rev(), versions[100..200].iter());
        for _ in 0..200 {
            a.by_ref().take(old).for_each(|page| engine.handle_message(Moment::ZERO, id(1), whole(page)));
            engine.handle_link_up(Moment::ZERO, id(1));
            b.by_ref().take(new).for_each(|page| engine.handle_message(Moment::ZERO, id(1), whole(page)));
        }
        assert_eq!(engine.replica().page(&versions[0].key()), Some(&versions[199]));
        hashes.push(engine.state_hash());
    }
    assert!(hashes.windows(2).all(|two| two[0] == two[1]));
}

/// A relay gets two versions as deltas while the peer behind it takes nothing: that one never sees the version between,
/// so it is sent the second one whole. It was sent a header without a body, which ends the stream.
#[test]
fn what_a_relay_holds_back_for_a_slow_peer_can_be_read() {
    let mut engine = engine();
    let rows = |version: u8| (0..200).map(|at| if at == 50 { version } else { at }).collect::<Vec<u8>>();
    let versions: Vec<Page> = (1..=3).map(|version| page(2, 0, u64::from(version), rows(version))).collect();
    engine.handle_message(Moment::ZERO, id(3), Message::News(vec![versions[0].clone().into()]));
    said(&mut engine, Moment::ZERO);
    for two in versions.windows(2) {
        let bytes = Message::News(vec![fuzzing::written(&two[1], Some(&two[0]))]).encode();
        engine.handle_message(Moment::ZERO, id(3), Message::decode(&bytes).unwrap());
    }
    let sent = std::iter::from_fn(|| engine.poll_transmit(Moment::ZERO, id(1)));
    let sent: Vec<Message> = sent.map(|message| Message::decode(&message.encode()).unwrap()).collect();
    assert_eq!(sent, [Message::News(vec![versions[2].clone().into()])]);
}

/// An operator's tool of another version, or a slip: admissions and revocations that nobody can read, and a member page
/// that was withdrawn. What follows from them is the same for one that held more before.
#[test]
fn what_cannot_be_read_in_the_place_of_a_certificate_admits_nobody() {
    let operator = key(u64::MAX);
    for table in [Table::ADMISSION, Table::REVOCATION] {
        let mut engine = engine();
        engine.handle_message(Moment::ZERO, id(1), Message::News(vec![page(2, 0, 1, vec![1]).into()]));
        let unreadable = Page::sign(&operator, nigh_gossip::admission::key(table, id(2)), 9, 0, vec![0xff]);
        engine.submit(Moment::ZERO, unreadable).unwrap();
        assert!(!engine.replica().is_admitted(id(2)));
        assert_eq!(engine.inconsistency(), None);
    }
    let mut engine = engine();
    let at = Key { owner: Owner::Node(id(2)), table: Table::MEMBER, slot: Slot::page(0) };
    let member = codec::encode(&Member { incarnation: 1, addresses: vec![], left: false, boot: 1 });
    for (version, body) in [(1, member), (2, vec![])] {
        let page = Page::sign(&key(2), at, 1, version, body);
        engine.handle_message(Moment::ZERO, id(1), Message::News(vec![page.into()]));
        assert_eq!(engine.inconsistency(), None);
    }
}
