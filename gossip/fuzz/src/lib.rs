//! What each fuzz target does with its bytes, as plain functions.
//!
//! The binaries in `fuzz_targets/` call one each. `gossip/tests/corpus.rs` includes this file and replays the corpus, so
//! a toolchain without a fuzzer guards what was found as well. A function returns if its bytes are handled as they
//! should be, and panics if not.
//!
//! Signatures must pass, or nothing behind them would be reached: keys are fixed and few, and pages are signed here.
//!
//! Rejected: the `arbitrary` crate. Seeds are written from real messages, and for that both sides must agree on the
//! bytes; [`input::Input`] is thirty lines, and the tests need no dependency more.

mod door;
pub mod input;

use std::sync::OnceLock;

use ed25519_dalek::SigningKey;
use nigh_gossip::{
    Appointment, Certificate, Key, MAX_BODY, NodeId, Owner, Page, Rights, Slot, Table, admission, codec, fuzzing,
    member::{Member, round_trips},
    message::{MAX_MESSAGE, Message},
    operator,
    verdict::WatchRow,
};

pub use self::door::door;
use self::input::Input;

/// What is done with one input; a panic is a find.
pub type Target = fn(&[u8]);

/// All targets, by the names of their binaries and of their folders in the corpus.
pub const TARGETS: [(&str, Target); 7] = [
    ("page", page),
    ("message", message),
    ("frame", frame),
    ("body", body),
    ("stream", stream),
    ("row", row),
    ("door", door),
];

/// Key number `n`; 255 is the operator's.
#[must_use]
pub fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n.wrapping_add(1); 32])
}

/// Who has key number `n`.
#[must_use]
pub fn id(n: u8) -> NodeId {
    static IDS: OnceLock<Vec<NodeId>> = OnceLock::new();
    IDS.get_or_init(|| (0..=255).map(|n| key(n).verifying_key().into()).collect())[usize::from(n)]
}

/// The operator's key.
#[must_use]
pub fn operator() -> SigningKey {
    key(255)
}

/// Bytes that are a page stay one, and the same.
pub fn page(data: &[u8]) {
    let Ok(page) = Page::from_bytes(data) else { return };
    let again = Page::from_bytes(&page.to_bytes()).expect("a page that was read is written so that it reads");
    assert_eq!(again, page);
    assert_eq!((again.body(), again.signer()), (page.body(), page.signer()));
    assert!(page.body().len() <= MAX_BODY && page.to_bytes().len() <= page.size() + 32, "{}", page.size());
}

/// Bytes that are a message stay one, and the same.
pub fn message(data: &[u8]) {
    let Ok(message) = Message::decode(data) else { return };
    let bytes = message.encode();
    assert_eq!(Message::decode(&bytes).expect("a message that was read is written so that it reads"), message);
    // What comes shorter than it need be came in an older form; never does a message grow much by being passed on.
    assert!(bytes.len() <= data.len() + data.len() / 4 + 256, "{} became {}", data.len(), bytes.len());
}

/// A held version and its successor; then a patch from outside: it leads to the signed body, or nowhere.
pub fn frame(data: &[u8]) {
    let mut input = Input::new(data);
    let at = Key { owner: Owner::Node(id(1)), table: Table(16), slot: Slot::page(0) };
    let old = input.bytes(MAX_BODY).to_vec();
    let new = input.bytes(MAX_BODY).to_vec();
    let (old, new) = (Page::sign(&key(1), at, 1, 1, old), Page::sign(&key(1), at, 1, 2, new));
    let honest = fuzzing::written(&new, Some(&old));
    if let Some(patch) = fuzzing::patch(&honest) {
        let received = fuzzing::patched(&new, fuzzing::digest(&old), patch.to_vec());
        assert_eq!(fuzzing::complete(&received, Some(&old)).expect("an honest delta").body(), new.body());
    }
    let sent = Message::News(vec![honest]);
    assert_eq!(Message::decode(&sent.encode()).expect("what is written reads"), sent);
    let patched = fuzzing::patched(&new, fuzzing::digest(&old), input.rest().to_vec());
    if let Some(page) = fuzzing::complete(&patched, Some(&old)) {
        assert_eq!(page.body(), new.body());
    }
    assert_eq!(fuzzing::complete(&patched, None), None);
    assert_eq!(fuzzing::complete(&patched, Some(&new)), None);
}

/// Every body that this crate reads: what is read can be written, and reads as the same.
pub fn body(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let Some(body) = body.get(..body.len().min(MAX_BODY)) else { return };
    let sign = |signing: &SigningKey, key: Key| Page::sign(signing, key, 1, 1, body.to_vec());
    let own = |table| Key { owner: Owner::Node(id(1)), table, slot: Slot::page(0) };
    match kind % 6 {
        0 => {
            let Some((node, member)) = Member::read(&sign(&key(1), own(Table::MEMBER))) else { return };
            assert_eq!(node, id(1));
            let page = Page::sign(&key(1), own(Table::MEMBER), 1, 2, codec::encode(&member));
            assert_eq!(Member::read(&page), Some((node, member)));
        }
        1 => {
            let Ok(rows) = codec::decode::<Vec<WatchRow>>(body) else { return };
            assert_eq!(codec::decode::<Vec<WatchRow>>(&codec::encode(&rows)).expect("rows"), rows);
        }
        2 => {
            let page = sign(&operator(), admission::key(Table::ADMISSION, id(1)));
            let Some(certificate) = page.certificate() else { return };
            // The slot is half of the key; two keys of one half take 2^64 work.
            assert_eq!(certificate.node.as_bytes()[..16], id(1).as_bytes()[..16]);
            assert_eq!(certificate.sign(&operator(), 1, 2).certificate(), Some(certificate));
        }
        3 => {
            let page = sign(&operator(), admission::key(Table::REVOCATION, id(1)));
            let Some(node) = admission::read_revocation(&page) else { return };
            assert_eq!(node.as_bytes()[..16], id(1).as_bytes()[..16]);
        }
        5 => {
            let page = sign(&operator(), operator::key(id(1)));
            let Some(appointment) = page.appointment() else { return };
            assert_eq!(appointment.operator.as_bytes()[..16], id(1).as_bytes()[..16]);
            assert_eq!(appointment.sign(&operator(), 1, 2).appointment(), Some(appointment));
        }
        _ => {
            let Some(rows) = round_trips(body) else { return };
            assert!(rows.len() * 32 <= body.len());
        }
    }
}

/// However the bytes of a stream fall into reads, the same messages come out, and no length makes it reserve more
/// than a message may have.
pub fn stream(data: &[u8]) {
    let Some((at_once, data)) = data.split_first() else { return };
    let (whole, reserved) = fuzzing::read_stream(data, usize::MAX);
    assert!(reserved <= 2 * MAX_MESSAGE, "{reserved} bytes for a message");
    assert_eq!(fuzzing::read_stream(data, usize::from(*at_once)).0, whole);
    // A stranger is read no further than its hello, which reads as any message does.
    if let Some(hello) = fuzzing::read_hello(data, usize::from(*at_once)) {
        assert!(matches!(hello, Message::Hello { .. }) && whole.first() == Some(&hello));
    }
}

/// A row of the replica's file is a page under its own key, or nothing.
pub fn row(data: &[u8]) {
    let mut input = Input::new(data);
    let key = input.bytes(256);
    let Some(page) = fuzzing::row(key, input.rest()) else { return };
    assert_eq!(fuzzing::row_of(&page).0, key);
    let (key, bytes) = fuzzing::row_of(&page);
    assert_eq!(fuzzing::row(&key, &bytes), Some(page));
}

/// What the root says of key number `n`; of the rights bit 0 is the catalogue, bit 1 admissions.
#[must_use]
pub fn appointment(n: u8, appointed: bool, rights: u8) -> Appointment {
    let rights = Rights { catalogue: rights & 1 != 0, admissions: rights & 2 != 0 };
    Appointment { operator: id(n), name: format!("k{n}"), appointed, rights }
}

/// A certificate of key number `n`.
#[must_use]
pub fn certificate(n: u8, serial: u64, not_after: u64) -> Certificate {
    Certificate { node: id(n), name: format!("n{n}"), serial, prefixes: vec![], not_after }
}
