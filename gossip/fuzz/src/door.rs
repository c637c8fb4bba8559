//! The state machine's door: events in any order, from members, strangers and the revoked.
//!
//! ```text
//!   bytes ─▶ Input ─▶ link up / down · time · messages of every kind · publish · submit · take what is to be sent
//!                              │
//!                              ▼                     after each step
//!                        Engine of node 0 ─────────▶ no page of one who may not write it, no stamp fell,
//!                              ▲                     every bound holds, sums and seats are what the pages give,
//!                              │                     the clock is not asked for at once again, and
//!                        Engine of node 1            all that is sent can be read
//! ```
//!
//! Node 0 is under test. Node 1 is another honest engine, whose link carries what both send. 0 to 5 are members from
//! the start, 6 may be admitted on the way, 7 is a stranger, 8 was a member and is revoked. The root may appoint keys 200
//! and 201, and dismiss them.
//!
//! Bounds of the run, so that a step stays quick: [`STEPS`], [`FRAMES`] in a message, [`NUMBERS`] in a list.

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use nigh_gossip::{
    Accepted, Key, Listed, MAX_BODY, Moment, NodeId, Owner, Page, Slot, Stamp, Table, admission, codec,
    engine::{Engine, Setup, Shared},
    frame::Frame,
    fuzzing,
    member::Member,
    message::{Beat, Graft, MAX_MESSAGE, Message},
    operator as operators,
    verdict::WatchRow,
};

use super::{appointment, certificate, id, input::Input, key, operator};

/// Events in one run.
const STEPS: usize = 96;
/// Pages in one message.
const FRAMES: usize = 8;
/// Digests or origins spelled out in one list; a list may repeat them up to [`HUGE`].
const NUMBERS: usize = 8;
/// Entries of the longest list: more than any queue takes.
const HUGE: usize = 5_000;
/// The number of the operator's key.
const OPERATOR: u8 = 255;
/// Keys that the root may appoint.
const APPOINTED: [u8; 2] = [200, 201];
/// Nodes that have a key.
const NODES: usize = 9;
/// Nobody lives longer: above it, a timer that is due at the end of time would be due at once, for ever.
const END: u64 = u64::MAX / 4;

/// How far the clock moves.
const SPANS: [Duration; 12] = [
    Duration::ZERO,
    Duration::from_micros(1),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(150),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(61),
    Duration::from_secs(3_600),
    Duration::from_secs(400_000_000),
    Duration::MAX,
];

/// Feeds a node a sequence of events.
pub fn door(data: &[u8]) {
    let mut mesh = Mesh::new();
    let mut input = Input::new(data);
    for _ in 0..STEPS {
        if input.is_empty() {
            return;
        }
        mesh.step(&mut input);
        mesh.check();
    }
}

struct Mesh {
    engine: Engine,
    /// Made when it is first met.
    other: Option<Engine>,
    now: Moment,
    /// Digests worth asking for: of pages that were made here.
    digests: Vec<u64>,
    /// The last pages, to be sent again and to patch against.
    pages: Vec<Page>,
    /// What was held, and who signed it.
    stamps: BTreeMap<Key, (Stamp, NodeId)>,
}

impl Mesh {
    fn new() -> Self {
        let pages = admitted();
        Self {
            engine: engine(0),
            other: None,
            now: Moment::ZERO,
            digests: pages.iter().map(fuzzing::digest).collect(),
            pages,
            stamps: BTreeMap::new(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        match input.below(12) {
            0 => self.engine.handle_link_up(now, peer(input)),
            1 => self.engine.handle_link_down(now, peer(input)),
            2 => self.pass_time(input),
            3 => self.publish(input),
            4 => {
                let page = self.page(input);
                let _: Result<Accepted, _> = self.engine.submit(now, page);
            }
            5 => {
                let peer = peer(input);
                let taken = 1 + input.below(16);
                self.take(peer, taken);
            }
            6 => self.echo(input),
            7 => self.meet_the_other(),
            8 => self.engine.handle_wall_clock(input.number()),
            9 => {
                let from = peer(input);
                if let Ok(message) = Message::decode(input.bytes(2_000)) {
                    self.engine.handle_message(now, from, message);
                }
            }
            _ => {
                let from = peer(input);
                let message = self.message(input);
                self.engine.handle_message(now, from, message);
            }
        }
    }

    /// Time passes, and the timer fires if it is due; then it may not be due again at once.
    fn pass_time(&mut self, input: &mut Input<'_>) {
        let choice = input.below(SPANS.len() + 1);
        let then = match SPANS.get(choice) {
            Some(span) => self.now + *span,
            None => self.engine.poll_timeout().max(self.now),
        };
        self.now = Moment(then.0.min(END));
        for engine in [Some(&mut self.engine), self.other.as_mut()].into_iter().flatten() {
            engine.handle_timeout(self.now);
            let next = engine.poll_timeout();
            assert!(next > self.now, "at {} the timer asks for {next} again", self.now);
        }
    }

    fn publish(&mut self, input: &mut Input<'_>) {
        // Tables below 16 are the engine's own.
        let (table, slot) = (Table(16 + u16::from(input.byte() % 2)), slot(input));
        let body = body(input);
        self.engine.publish(self.now, table, slot, body);
    }

    /// Takes some of what is to be sent to a peer: all of it can be read, and none is longer than a message.
    fn take(&mut self, peer: NodeId, most: usize) -> Vec<Message> {
        let taken: Vec<Message> = std::iter::from_fn(|| self.engine.poll_transmit(self.now, peer)).take(most).collect();
        for message in &taken {
            let bytes = message.encode();
            assert!(bytes.len() <= MAX_MESSAGE, "{} bytes to send", bytes.len());
            let read = Message::decode(&bytes).expect("what is sent can be read");
            assert_eq!(read, *message);
        }
        taken
    }

    /// A peer sends back what it was sent.
    fn echo(&mut self, input: &mut Input<'_>) {
        let peer = peer(input);
        for message in self.take(peer, 8) {
            self.engine.handle_message(self.now, peer, message);
        }
    }

    /// What node 0 and node 1 have for each other, both ways, a few rounds.
    fn meet_the_other(&mut self) {
        let mut other = self.other.take().unwrap_or_else(|| engine(1));
        // It is linked whenever it can be; what it does beyond that is no matter here.
        while other.poll_action().is_some() {}
        if other.links().next().is_none() {
            other.handle_link_up(self.now, id(0));
        }
        for _ in 0..4 {
            for message in self.take(id(1), 32) {
                other.handle_message(self.now, id(0), message);
            }
            for _ in 0..32 {
                let Some(message) = other.poll_transmit(self.now, id(0)) else { break };
                self.engine.handle_message(self.now, id(1), message);
            }
        }
        self.other = Some(other);
    }

    fn message(&mut self, input: &mut Input<'_>) -> Message {
        match input.below(12) {
            0 => Message::News(self.frames(input)),
            1 => Message::Given(self.frames(input)),
            2 => {
                let echo = (input.byte() % 2 == 1).then(|| (self.clock(input), input.number()));
                Message::Beat(Beat { clock: self.clock(input), echo, probe: input.byte() % 2 == 1 })
            }
            3 => Message::Prune(self.numbers(input)),
            4 => Message::Have(self.numbers(input)),
            5 => {
                let (digests, origins) = (self.numbers(input), self.numbers(input));
                Message::Graft(Graft { digests, origins, all: input.byte() % 2 == 1 })
            }
            6 => {
                let root = if input.byte().is_multiple_of(2) { self.engine.state_hash() } else { [input.byte(); 16] };
                Message::Root { salt: input.number(), root }
            }
            7 => {
                let length = [256, 0, 1, 255, 257, HUGE][input.below(6)];
                Message::Buckets { salt: input.number(), sums: vec![input.number(); length] }
            }
            8 => Message::Digests(self.lists(input)),
            9 => Message::Want(self.lists(input)),
            10 => Message::Hello { version: 2, certificate: None, appointment: None },
            _ => {
                let (version, certificate) = (u16::from(input.byte()), Some(self.page(input)));
                let appointment = (input.byte() % 2 == 1).then(|| self.page(input));
                Message::Hello { version, certificate, appointment }
            }
        }
    }

    fn clock(&self, input: &mut Input<'_>) -> u64 {
        if input.byte().is_multiple_of(2) { self.now.0 } else { input.number() }
    }

    fn frames(&mut self, input: &mut Input<'_>) -> Vec<Frame> {
        (0..=input.below(FRAMES)).map(|_| self.frame(input)).collect()
    }

    fn frame(&mut self, input: &mut Input<'_>) -> Frame {
        let page = self.page(input);
        match input.byte() % 4 {
            0 | 1 => page.into(),
            // An honest delta against what is held.
            2 => {
                let frame = fuzzing::written(&page, self.engine.replica().page(&page.key()));
                // Through the wire, so that the base is needed.
                let read = Message::decode(&Message::News(vec![frame]).encode());
                let Ok(Message::News(mut frames)) = read else { panic!("what is written reads") };
                frames.remove(0)
            }
            _ => fuzzing::patched(&page, self.number(input), input.bytes(64).to_vec()),
        }
    }

    /// A page with a valid signature: a new one, or one that was made before.
    fn page(&mut self, input: &mut Input<'_>) -> Page {
        let again = usize::from(input.byte());
        if let Some(page) = self.pages.get(again.wrapping_sub(1)) {
            return page.clone();
        }
        let writer = input.byte();
        let page = match writer % 4 {
            0 | 1 => self.page_of_a_node(input, writer / 4 % NODES as u8),
            _ => self.page_of_an_operator(input),
        };
        self.digests.push(fuzzing::digest(&page));
        self.pages.push(page.clone());
        page
    }

    fn page_of_a_node(&mut self, input: &mut Input<'_>, writer: u8) -> Page {
        let table = [Table(16), Table::MEMBER, Table::WATCH, Table::RTT, Table::ADMISSION][input.below(5)];
        let slot = slot(input);
        let (major, minor) = (input.number(), input.number());
        let body = match (table, input.byte() % 2) {
            (Table::MEMBER, 0) => codec::encode(&Member {
                incarnation: input.number(),
                addresses: vec![format!("192.0.2.{writer}:1"); input.below(20)],
                left: input.byte() % 2 == 1,
                boot: input.number(),
            }),
            (Table::WATCH, 0) => {
                let rows = (0..input.below(NODES)).map(|_| {
                    let accused = peer(input);
                    // Mostly the life that it is in.
                    let told = self.engine.members().find(|(member, ..)| *member == accused);
                    let incarnation = told.map_or(0, |(_, member, _)| member.incarnation);
                    let incarnation = if input.byte().is_multiple_of(4) { input.number() } else { incarnation };
                    WatchRow { accused, incarnation }
                });
                codec::encode(&rows.collect::<Vec<_>>())
            }
            (Table::RTT, 0) => codec::encode(&vec![(peer(input), u32::MAX); input.below(NODES)]),
            _ => body(input),
        };
        // By whom it says: a page with another's signature is refused where it is decoded.
        signed(writer, Key { owner: Owner::Node(id(writer)), table, slot }, major, minor, body)
    }

    fn page_of_an_operator(&mut self, input: &mut Input<'_>) -> Page {
        let whom = input.below(NODES) as u8;
        let (major, minor) = (input.number(), input.number());
        match input.byte() % 8 {
            0 => certificate(whom, input.number(), input.number()).sign(&operator(), major, minor),
            1 => admission::revoke(&operator(), id(whom), major, minor),
            2 => {
                let key = Key { owner: Owner::Operators, table: Table(32), slot: slot(input) };
                signed(OPERATOR, key, major, minor, body(input))
            }
            // A body that says nothing, in the place of an admission or a revocation.
            3 => {
                let table = if input.byte().is_multiple_of(2) { Table::ADMISSION } else { Table::REVOCATION };
                signed(OPERATOR, admission::key(table, id(whom)), major, minor, body(input))
            }
            5 => {
                let whom = APPOINTED[input.below(2)];
                appointment(whom, input.byte() % 2 == 1, input.byte()).sign(&operator(), major, minor)
            }
            6 => {
                let by = APPOINTED[input.below(2)];
                let key = Key { owner: Owner::Operators, table: Table(32), slot: slot(input) };
                signed(by, key, major, minor, body(input))
            }
            7 => {
                let by = key(APPOINTED[input.below(2)]);
                match input.byte() % 3 {
                    0 => certificate(whom, input.number(), input.number()).sign(&by, major, minor),
                    1 => admission::revoke(&by, id(whom), major, minor),
                    _ => appointment(APPOINTED[0], true, 3).sign(&by, major, minor),
                }
            }
            // By one who is no operator.
            _ => admission::revoke(&key(whom), id(0), major, minor),
        }
    }

    fn number(&self, input: &mut Input<'_>) -> u64 {
        let choice = input.byte();
        match choice % 4 {
            0 => self.digests[usize::from(choice / 4) % self.digests.len()],
            1 => self.digests[self.digests.len() - 1 - usize::from(choice / 4) % self.digests.len()],
            2 => prefix(id(choice / 4 % NODES as u8)),
            _ => input.number(),
        }
    }

    /// A few numbers, or very many.
    fn numbers(&self, input: &mut Input<'_>) -> Vec<u64> {
        let count = input.byte();
        let few: Vec<u64> = (0..usize::from(count) % NUMBERS).map(|_| self.number(input)).collect();
        if count < 0xe0 {
            return few;
        }
        let from = self.number(input);
        few.into_iter().chain((0..HUGE as u64).map(|n| from.wrapping_add(n))).collect()
    }

    fn lists(&self, input: &mut Input<'_>) -> Vec<Listed> {
        let count = input.byte();
        let mut lists: Vec<Listed> = (0..usize::from(count) % 6)
            .map(|_| {
                let choice = input.byte();
                let of = self.pages.get(usize::from(choice)).map_or(choice, fuzzing::bucket);
                Listed { bucket: of, digests: self.numbers(input) }
            })
            .collect();
        if count >= 0xe0 {
            // Every bucket, or one of them again and again.
            let (from, one) = (input.byte(), input.byte() % 2 == 1);
            let listed = |n: usize| Listed { bucket: if one { from } else { n as u8 }, digests: vec![] };
            lists.extend((0..HUGE).map(listed));
        }
        lists
    }

    fn check(&mut self) {
        // A step may close each link and dial each member, and take in as many pages as a message has.
        let actions = std::iter::from_fn(|| self.engine.poll_action()).count();
        assert!(actions <= 8 * NODES + 64, "{actions} actions after one step");
        if let Some(what) = self.engine.inconsistency() {
            panic!("{what}");
        }
        let ready: Vec<NodeId> = self.engine.ready().collect();
        assert!(ready.len() <= NODES, "{ready:?}");
        let replica = self.engine.replica();
        let held: BTreeMap<Key, (Stamp, NodeId)> =
            replica.pages().iter().map(|page| (page.key(), (page.stamp(), page.signer()))).collect();
        let moved = |at: &Key| held.get(at) != self.stamps.get(at);
        for (key, (before, signer)) in &self.stamps {
            // Or lost it and was given it anew by one message.
            let lost = moved(&operators::key(*signer)) || !replica.may_operate(*signer, key.table);
            match (held.get(key), key.owner) {
                (Some((now, _)), owner) => {
                    let may = now >= before || owner == Owner::Operators && lost;
                    assert!(may, "{key:?} fell from {before:?} to {now:?}");
                }
                (None, Owner::Node(node)) => {
                    // Or revoked and admitted anew by one message.
                    let stands = [Table::ADMISSION, Table::REVOCATION].map(|table| admission::key(table, node));
                    assert!(stands.iter().any(moved) || !replica.is_admitted(node), "{key:?} of a member is gone");
                }
                (None, Owner::Operators) => assert!(lost, "{key:?} of the operators is gone"),
            }
        }
        self.stamps = held;
    }
}

/// Node `n` at its start.
fn engine(n: u8) -> Engine {
    let setup = Setup {
        signing: key(n),
        roots: vec![id(OPERATOR)],
        certificate: None,
        appointment: None,
        epoch: 10,
        addresses: vec![format!("192.0.2.{n}:1")],
        bootstrap: vec!["192.0.2.9:1".into()],
        pages: admitted(),
        seed: u64::from(n),
        shared: Shared::default(),
    };
    Engine::new(Moment::ZERO, setup)
}

/// What all know from the start. Signed once: a fuzzer's time is better spent elsewhere.
fn admitted() -> Vec<Page> {
    static ADMITTED: OnceLock<Vec<Page>> = OnceLock::new();
    let make = || {
        let members = (0..6).map(|n| certificate(n, u64::from(n), u64::MAX).sign(&operator(), 5, 0));
        let gone = certificate(8, 8, u64::MAX).sign(&operator(), 5, 0);
        members.chain([gone, admission::revoke(&operator(), id(8), 6, 0)]).collect()
    };
    ADMITTED.get_or_init(make).clone()
}

/// A signed page, remembered: most inputs of a fuzzer differ little from the one before.
fn signed(writer: u8, key: Key, major: u64, minor: u64, body: Vec<u8>) -> Page {
    type Signed = BTreeMap<(u8, Key, u64, u64, Vec<u8>), Page>;
    static SIGNED: Mutex<Signed> = Mutex::new(BTreeMap::new());
    let mut signed = SIGNED.lock().unwrap_or_else(PoisonError::into_inner);
    if signed.len() > 2_000 {
        signed.clear();
    }
    let make = || Page::sign(&super::key(writer), key, major, minor, body.clone());
    signed.entry((writer, key, major, minor, body.clone())).or_insert_with(make).clone()
}

fn peer(input: &mut Input<'_>) -> NodeId {
    id(input.below(NODES) as u8)
}

fn prefix(id: NodeId) -> u64 {
    id.as_bytes().iter().take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
}

fn slot(input: &mut Input<'_>) -> Slot {
    match input.byte() {
        255 => Slot([255; 16]),
        other => Slot::page(u32::from(other % 4)),
    }
}

fn body(input: &mut Input<'_>) -> Vec<u8> {
    match input.byte() {
        0 => Vec::new(),
        255 => vec![input.byte(); MAX_BODY],
        // As rows are: long, and alike from version to version.
        other @ 128.. => (0..600).map(|at| if at == 300 { other } else { (at % 251) as u8 }).collect(),
        _ => input.bytes(64).to_vec(),
    }
}
