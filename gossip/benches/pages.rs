//! What pages cost a core: written, read, put into messages, stored, and two replicas joined.
//!
//! ```text
//! cargo bench -p nigh-gossip --bench pages
//! ```
//!
//! Time is this thread's CPU time, so that others' work counts only by what it does to the caches. All is measured once,
//! then all again, [`ROUNDS`] times, so that a busy moment of the machine falls on every line. What is made ready before
//! (clones, signed pages) is outside the time; what is dropped after it too. A mesh of
//! [`WRITERS`] nodes with [`PAGES`] pages each is the one that replicas hold.
//!
//! "Ed25519 alone" is the floor of reading: the same check of a signature over bytes of the same length.
//!
//! No bound is asserted: the figures of two machines are not comparable, those of one run are.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench: it measures time, prints, and stops when something is amiss"
)]

use std::{hint::black_box, rc::Rc, time::Duration};

use crdts::CvRDT;
use ed25519_dalek::{Signer, SigningKey};
use nigh_gossip::{Accepted, Certificate, Key, Owner, Page, Replica, Slot, Table, frame::Frame, message::Message};
use nix::time::{ClockId, clock_gettime};

/// Rounds, of which the median is shown.
const ROUNDS: usize = 11;
/// 64 rows, about.
const BODY: usize = 1000;
/// Pages in a message; a link puts at most 32 KB of them into one.
const BATCH: usize = 28;
/// Pages signed or read in a round.
const SIGNED: usize = 500;
/// Nodes of the mesh, each with ...
const WRITERS: u16 = 100;
/// ... so many pages: together 10,000.
const PAGES: u32 = 100;
/// Of which every fifth is stored again in a round, all over the mesh.
const STEP: usize = 5;

fn main() {
    // `cargo test --all-targets` runs benches too, without this word: nothing to test here.
    if std::env::args().any(|argument| argument == "--bench") {
        run();
    }
}

fn run() {
    let mesh = Rc::new(Mesh::new());
    let mut lines =
        [reading(&mesh), messages(&mesh), storing(&mesh), joining(&mesh)].into_iter().flatten().collect::<Vec<_>>();
    for _ in 0..ROUNDS {
        for line in &mut lines {
            let (time, times) = (line.round)();
            line.rounds.push(time.as_secs_f64() * 1e6 / times as f64);
        }
    }
    println!("µs of CPU for each page, median of {ROUNDS} rounds (least to most); bodies of {BODY} bytes:");
    for mut line in lines {
        line.rounds.sort_by(f64::total_cmp);
        let [median, least, most] = [ROUNDS / 2, 0, ROUNDS - 1].map(|at| line.rounds[at]);
        println!("{:<52} {median:>8.2}   ({least:.2} to {most:.2})", line.what);
    }
}

/// A line of the table.
struct Line {
    what: &'static str,
    /// Does it; says how long that took, and for how many pages.
    round: Box<dyn FnMut() -> (Duration, usize)>,
    rounds: Vec<f64>,
}

/// `ready` makes the input of a round, `act` takes it and returns something; neither the making nor the dropping of what
/// was returned is in the time.
fn line<I, O>(
    what: &'static str,
    pages: usize,
    ready: impl Fn() -> I + 'static,
    act: impl Fn(I) -> O + 'static,
) -> Line {
    let round = move || {
        let input = black_box(ready());
        let start = cpu();
        let output = black_box(act(input));
        let time = cpu() - start;
        drop(output);
        (time, pages)
    };
    Line { what, round: Box::new(round), rounds: Vec::new() }
}

/// CPU time of this thread.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// What is measured with: pages of a whole mesh, and the same pages older and newer.
struct Mesh {
    older: Vec<Page>,
    pages: Vec<Page>,
    newer: Vec<Page>,
    /// The next hundred nodes'.
    others: Vec<Page>,
}

impl Mesh {
    fn new() -> Self {
        let of = |writers: std::ops::Range<u16>, minor: u64| -> Vec<Page> {
            writers.flat_map(|writer| (0..PAGES).map(move |slot| page(writer, slot, minor))).collect()
        };
        Self {
            older: of(0..WRITERS, 1),
            pages: of(0..WRITERS, 2),
            newer: of(0..WRITERS, 3),
            others: of(WRITERS..2 * WRITERS, 1),
        }
    }
}

fn signing(writer: u16) -> SigningKey {
    SigningKey::from_bytes(blake3::hash(&writer.to_be_bytes()).as_bytes())
}

fn key(writer: u16, slot: u32) -> Key {
    Key { owner: Owner::Node(signing(writer).verifying_key().into()), table: Table(16), slot: Slot::page(slot) }
}

/// Nothing that could be compressed, and another content for each version.
fn body(writer: u16, slot: u32, minor: u64) -> Vec<u8> {
    let mut body = vec![0; BODY];
    let mut hash = blake3::Hasher::new();
    hash.update(&writer.to_be_bytes()).update(&slot.to_be_bytes()).update(&minor.to_be_bytes());
    hash.finalize_xof().fill(&mut body);
    body
}

fn page(writer: u16, slot: u32, minor: u64) -> Page {
    Page::sign(&signing(writer), key(writer, slot), 1, minor, body(writer, slot, minor))
}

fn replica<'a>(pages: impl IntoIterator<Item = &'a Page>) -> Replica {
    let operator = signing(u16::MAX);
    let mut replica = Replica::new(operator.verifying_key().into(), [operator.verifying_key().into()]);
    for writer in 0..2 * WRITERS {
        replica.accept(certificate(&operator, writer)).unwrap();
    }
    for page in pages {
        replica.accept(page.clone()).unwrap();
    }
    replica
}

fn certificate(operator: &SigningKey, writer: u16) -> Page {
    let (node, name) = (signing(writer).verifying_key().into(), format!("n{writer}"));
    Certificate { node, name, serial: writer.into(), prefixes: vec![], not_after: u64::MAX }.sign(operator, 1, 0)
}

/// As pages travel when they are news.
fn message(pages: &[Page]) -> Message {
    Message::News(pages.iter().cloned().map(Frame::from).collect())
}

fn reading(mesh: &Mesh) -> Vec<Line> {
    let signed: Vec<u8> = mesh.pages[0].to_bytes().to_vec();
    let (writer, bytes) = (signing(0), signed.clone());
    let signature = writer.sign(&bytes);
    vec![
        line(
            "sign a page",
            SIGNED,
            || (signing(0), key(0, 0), vec![body(0, 0, 1); SIGNED]),
            |(writer, key, bodies)| {
                bodies.into_iter().map(|body| Page::sign(&writer, key, 1, 1, body)).collect::<Vec<_>>()
            },
        ),
        line(
            "read a page: decode, verify, hash",
            SIGNED,
            move || vec![signed.clone(); SIGNED],
            |all| all.iter().map(|bytes| Page::from_bytes(bytes).unwrap()).collect::<Vec<_>>(),
        ),
        line(
            "  of which Ed25519 alone",
            SIGNED,
            move || (vec![(bytes.clone(), signature); SIGNED], writer.verifying_key()),
            |(all, key)| all.iter().for_each(|(bytes, signature)| key.verify_strict(bytes, signature).unwrap()),
        ),
    ]
}

fn messages(mesh: &Mesh) -> Vec<Line> {
    let message = message(&mesh.pages[..BATCH]);
    let bytes = message.encode();
    vec![
        line("encode a message of 28 pages", BATCH, move || message.clone(), |message| message.encode()),
        line(
            "decode it, all signatures checked",
            BATCH,
            move || bytes.clone(),
            |bytes| Message::decode(&bytes).unwrap(),
        ),
    ]
}

fn storing(mesh: &Rc<Mesh>) -> Vec<Line> {
    let store = |what, expected: Accepted, of: fn(&Mesh) -> &[Page]| {
        let (full, mesh) = (replica(&mesh.pages), mesh.clone());
        let pages = of(&mesh).len().div_ceil(STEP);
        let ready = move || (full.clone(), of(&mesh).iter().step_by(STEP).cloned().collect::<Vec<_>>());
        line(what, pages, ready, move |(mut replica, pages)| {
            for page in pages {
                assert!(replica.accept(page).is_ok_and(|accepted| accepted == expected));
            }
            replica
        })
    };
    vec![
        store("store a newer page, 10,000 held", Accepted::New, |mesh| &mesh.newer),
        store("store the first page of a key, 10,000 held", Accepted::New, |mesh| &mesh.others),
        store("turn a duplicate away, 10,000 held", Accepted::Duplicate, |mesh| &mesh.pages),
        store("turn a stale page away, 10,000 held", Accepted::Stale, |mesh| &mesh.older),
    ]
}

fn joining(mesh: &Rc<Mesh>) -> Vec<Line> {
    let join = |what, theirs: Replica| {
        let (mine, pages) = (replica(&mesh.pages), mesh.pages.len());
        line(
            what,
            pages,
            move || (mine.clone(), theirs.clone()),
            |(mut mine, theirs)| {
                mine.merge(theirs);
                mine
            },
        )
    };
    let half = mesh.pages.iter().zip(&mesh.newer).enumerate();
    let half = replica(half.map(|(at, (page, newer))| if at % 2 == 0 { page } else { newer }));
    vec![
        join("merge 10,000 pages with the same", replica(&mesh.pages)),
        join("merge 10,000 pages with the same, half of them newer", half),
        join("merge 10,000 pages with 10,000 of other writers", replica(&mesh.others)),
    ]
}
