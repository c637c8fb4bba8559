//! Replays the corpus of the fuzz targets on any toolchain: what a fuzzer found once stays mended.
//!
//! After a change of the wire format, `cargo test -p nigh-gossip --test corpus -- --ignored` writes the seeds again;
//! they are what real members say to each other, and what an operator and a disk hold.
#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "the corpus is files")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use nigh_gossip::{
    Key, Moment, Owner, Page, Slot, Table, admission, codec,
    engine::{Engine, Setup, Shared, TICK},
    fuzzing,
    member::Member,
    message::Message,
    verdict::WatchRow,
};

#[path = "../fuzz/src/lib.rs"]
mod targets;

use targets::{
    appointment, certificate, id,
    input::{with_length, with_number},
    key, operator,
};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

#[test]
fn every_input_of_the_corpus_is_handled() {
    for (name, target) in targets::TARGETS {
        let folder = corpus().join(name);
        let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            let handled = std::panic::catch_unwind(|| target(&bytes));
            assert!(handled.is_ok(), "{name}: {}", file.display());
        }
    }
}

/// Else the targets would look at the outermost bytes of every input and at nothing behind them.
#[test]
fn the_seeds_are_what_the_decoders_read() {
    let read = |name: &str, reads: fn(&[u8]) -> bool| {
        let seeds: Vec<_> = seeds().into_iter().filter(|(of, _)| *of == name).collect();
        assert!(!seeds.is_empty() && seeds.iter().all(|(_, seed)| reads(seed)), "{name}");
    };
    read("page", |seed| Page::from_bytes(seed).is_ok());
    read("message", |seed| Message::decode(seed).is_ok());
    read("stream", |seed| fuzzing::read_stream(&seed[1..], 7).0.len() > 3);
}

#[test]
#[ignore = "writes files: after a change of the wire format"]
fn write_the_seeds() {
    for (number, (name, seed)) in seeds().into_iter().enumerate() {
        let folder = corpus().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("seed-{number:02}")), seed).unwrap();
    }
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    let (pages, messages) = conversation();
    for page in &pages {
        let (key, row) = fuzzing::row_of(page);
        seeds.push(("page", page.to_bytes()));
        seeds.push(("row", [with_length(&key), row].concat()));
    }
    // One of each kind, and the longest of it.
    let mut of_each_kind: Vec<&Message> = Vec::new();
    for message in &messages {
        let kind = std::mem::discriminant(message);
        match of_each_kind.iter_mut().find(|other| std::mem::discriminant(**other) == kind) {
            Some(other) if other.wire_len() < message.wire_len() && message.wire_len() < 4_000 => *other = message,
            Some(_) => {}
            None => of_each_kind.push(message),
        }
    }
    let stream = |messages: &[&Message]| {
        let framed = messages.iter().map(|message| message.encode());
        framed.flat_map(|bytes| [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat()).collect::<Vec<u8>>()
    };
    seeds.extend(of_each_kind.iter().map(|message| ("message", message.encode())));
    seeds.push(("stream", [&[3], &stream(&of_each_kind)[..]].concat()));
    seeds.push(("stream", [&[255], &stream(&messages.iter().take(5).collect::<Vec<_>>())[..]].concat()));
    seeds.extend(bodies().into_iter().map(|(kind, body)| ("body", [&[kind], &body[..]].concat())));
    let (old, new) = (rows(1), rows(2));
    for patch in [lz4(&old, &new), lz4(&new, &old), vec![], vec![0xff; 40]] {
        seeds.push(("frame", [with_length(&old), with_length(&new), patch].concat()));
    }
    seeds.extend(doors().into_iter().map(|door| ("door", door)));
    seeds
}

/// Claims, as rows of twelve bytes.
fn rows(version: u8) -> Vec<u8> {
    (0..20u8)
        .flat_map(|row| [198, 51, row, 0, 24, 7, row ^ 0x5a, 1, 9, 1, 0, if row == 7 { version } else { 0 }])
        .collect()
}

fn lz4(old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = Key { owner: Owner::Node(id(1)), table: Table(16), slot: Slot::page(0) };
    let page = |version, body: &[u8]| Page::sign(&key(1), at, 1, version, body.to_vec());
    fuzzing::patch(&fuzzing::written(&page(2, new), Some(&page(1, old)))).unwrap().to_vec()
}

fn bodies() -> Vec<(u8, Vec<u8>)> {
    let member = Member { incarnation: 1 << 40, addresses: vec!["[2001:db8::1]:4433".into()], left: false, boot: 9 };
    let watch = [2, 3].map(|n| WatchRow { accused: id(n), incarnation: 1 << 40 });
    let mut admitted = certificate(1, 7, 2_000_000_000);
    admitted.prefixes = vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    vec![
        (0, codec::encode(&member)),
        (1, codec::encode(&watch)),
        (2, admitted.sign(&operator(), 1, 1).body().to_vec()),
        (3, admission::revoke(&operator(), id(1), 1, 1).body().to_vec()),
        (5, appointment(200, true, 3).sign(&operator(), 1, 1).body().to_vec()),
        (4, codec::encode(&[(id(2), 1_500u32), (id(3), 250_000)])),
    ]
}

/// Two members that meet, each with pages the other lacks, and all that they say for some seconds.
fn conversation() -> (Vec<Page>, Vec<Message>) {
    let admitted: Vec<Page> = (0..3).map(|n| certificate(n, u64::from(n), u64::MAX).sign(&operator(), 5, 0)).collect();
    let mut engines: Vec<Engine> = (0..2u8)
        .map(|n| {
            let mut pages = admitted.clone();
            // One that only it knows, so that repair has work.
            let at = Key { owner: Owner::Node(id(2)), table: Table(16), slot: Slot::page(u32::from(n)) };
            pages.push(Page::sign(&key(2), at, 1, u64::from(n), rows(n)));
            let setup = Setup {
                signing: key(n),
                roots: vec![operator().verifying_key().into()],
                certificate: None,
                appointment: None,
                epoch: 10,
                addresses: vec![format!("192.0.2.{n}:1")],
                bootstrap: vec![],
                pages,
                seed: u64::from(n),
                shared: Shared::default(),
            };
            Engine::new(Moment::ZERO, setup)
        })
        .collect();
    let mut messages = Vec::new();
    let mut now = Moment::ZERO;
    engines[0].handle_link_up(now, id(1));
    engines[1].handle_link_up(now, id(0));
    for tick in 0..60u8 {
        now = now + TICK;
        for n in 0..2 {
            engines[n].handle_timeout(now);
            if tick % 4 == 0 {
                engines[n].publish(now, Table(16), Slot::page(0), rows(tick));
            }
            while let Some(message) = engines[n].poll_transmit(now, id(1 - n as u8)) {
                engines[1 - n].handle_message(now, id(n as u8), message.clone());
                messages.push(message);
            }
        }
    }
    // What two that agree on everything have no need to say.
    let graft = nigh_gossip::message::Graft { digests: vec![1, 2], origins: vec![3], all: true };
    messages.extend([Message::Graft(graft), Message::Prune(vec![1, u64::MAX]), Message::Have(vec![2; 20])]);
    messages.push(Message::Given(vec![admitted[0].clone().into()]));
    let pages = engines[0].replica().pages().iter().take(8).cloned().collect();
    (pages, messages)
}

/// Sequences for the state machine; the numbers are those of `door.rs`.
fn doors() -> Vec<Vec<u8>> {
    const UP: u8 = 0;
    const DOWN: u8 = 1;
    const TIME: u8 = 2;
    const PUBLISH: u8 = 3;
    const SUBMIT: u8 = 4;
    const TAKE: u8 = 5;
    const ECHO: u8 = 6;
    const OTHER: u8 = 7;
    const RAW: u8 = 9;
    const MESSAGE: u8 = 10;
    // A new page of node `n` in table 16, with a body that has rows.
    let page = |n: u8, version: u8| vec![0, n * 4, 0, 1, 10, 14, 0, 0, 0, 0, 0, 0, 0, version, 1, 128 + version];
    let news = |from: u8, page: Vec<u8>, delta: u8| [vec![MESSAGE, from, 0, 0], page, vec![delta]].concat();
    let meets = vec![UP, 1, OTHER, TIME, 4, OTHER, TIME, 6, OTHER, PUBLISH, 0, 0, 200, OTHER, TIME, 6, OTHER];
    let trees: Vec<u8> = [
        vec![UP, 1, UP, 2, UP, 3],
        news(1, page(4, 1), 0),
        news(2, page(4, 2), 2),
        // The same again, from elsewhere.
        vec![MESSAGE, 3, 0, 0, 8, 0],
        vec![MESSAGE, 2, 3, 1, 18],
        vec![MESSAGE, 2, 4, 0xe1, 3, 7, TIME, 5, TAKE, 2, 15],
        vec![MESSAGE, 3, 5, 1, 1, 1, 18, 1, ECHO, 2],
    ]
    .concat();
    let repair = [
        vec![UP, 1, TIME, 7],
        vec![MESSAGE, 1, 6, 1, 9, 0, MESSAGE, 1, 6, 0, 1],
        vec![MESSAGE, 1, 7, 0, 0, 5, MESSAGE, 1, 8, 0xe4, 0, 0, MESSAGE, 1, 9, 2, 0, 0, 1, 0, TAKE, 1, 15],
    ]
    .concat();
    let admissions = [
        vec![UP, 6, UP, 7, UP, 8],
        // 6 is admitted, says something, and is revoked.
        [&[SUBMIT, 0, 2, 6][..], &with_number(50), &with_number(1), &[0], &with_number(9), &with_number(u64::MAX)]
            .concat(),
        news(6, page(6, 1), 0),
        [&[SUBMIT, 0, 2, 6][..], &with_number(60), &with_number(1), &[1]].concat(),
        // An admission that says nothing.
        [&[SUBMIT, 0, 2, 3][..], &with_number(70), &with_number(1), &[3, 0, 0]].concat(),
        vec![TIME, 6, TIME, 8, DOWN, 6],
    ]
    .concat();
    let alone =
        vec![UP, 1, UP, 2, TIME, 7, TIME, 12, TIME, 12, TIME, 12, TIME, 12, TIME, 8, TIME, 9, TIME, 10, TIME, 11];
    let beats = vec![UP, 1, MESSAGE, 1, 2, 1, 13, 1, 13, 1, MESSAGE, 1, 2, 0, 1, 0, TAKE, 1, 3, TIME, 7, TIME, 4];
    let certified = |by| Some(certificate(6, 6, 9).sign(&by, 9, 0));
    let hello = Message::Hello { version: 2, certificate: certified(operator()), appointment: None };
    let appointment = Some(appointment(200, true, 3).sign(&operator(), 8, 0));
    let chain = Message::Hello { version: 2, certificate: certified(key(200)), appointment };
    let chain = [vec![UP, 6, RAW, 6], with_length(&chain.encode()), vec![TAKE, 6, 9]].concat();
    // 200 is appointed, edits, admits 6, who says something; and is dismissed.
    let number = |n: u64| with_number(n);
    let appointed = [
        vec![UP, 6, UP, 7],
        [&[SUBMIT, 0, 2, 0][..], &number(50), &number(1), &[5, 0, 1, 3]].concat(),
        [&[SUBMIT, 0, 2, 1][..], &number(60), &number(1), &[6, 0, 0, 0]].concat(),
        [&[SUBMIT, 0, 2, 6][..], &number(70), &number(1), &[7, 0, 0], &number(9), &number(u64::MAX)].concat(),
        news(6, page(6, 1), 0),
        [&[SUBMIT, 0, 2, 0][..], &number(80), &number(1), &[5, 0, 0, 3]].concat(),
        vec![TIME, 6, TIME, 8, DOWN, 6],
    ]
    .concat();
    let raw = [vec![UP, 6, RAW, 6], with_length(&hello.encode()), vec![TAKE, 6, 9]].concat();
    vec![meets, trees, repair, admissions, alone, beats, raw, chain, appointed]
}
