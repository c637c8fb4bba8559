//! Members that lie: a real engine, behind a hand that changes what it sends or adds to it.
//!
//! Whatever they make travels as bytes and is decoded and verified at the other end, as it would be by the shell.
//! A message that cannot be read ends the connection, as there.

use ed25519_dalek::SigningKey;
use rand::{Rng, RngExt};

use super::{
    network::stream::Load,
    traffic::{frames, kind},
};
use crate::{
    codec,
    engine::Engine,
    frame::{Frame, Of},
    id::NodeId,
    message::{Graft, Message},
    page::{Key, MAX_BODY, Owner, Page, Slot, Table},
    repair::Listed,
    verdict::{MAX_ACCUSED, WatchRow},
};

/// Old pages that a replaying relay keeps.
const MAX_KEPT: usize = 256;
/// Pages that a flooder writes at each of its timers, of up to 2,000 different keys.
const FLOOD_PAGES: u32 = 50;
const FLOOD_KEYS: u32 = 2000;
/// Junk repair messages that it sends each peer at each of its timers.
const FLOOD_JUNK: usize = 20;

/// How a member lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Flips a bit of every other message with pages that it hands on.
    Mutate,
    /// Writes two pages with one stamp, and tells one half of its peers this and the other half that.
    Equivocate,
    /// Accuses live nodes, all that fit its watch page.
    FalseWatch,
    /// Writes pages as fast as it can and sends junk repair messages.
    Flood,
    /// Sends old versions of everything it ever handed on.
    Replay,
}

pub(super) struct Liar {
    lie: Lie,
    turn: u64,
    kept: Vec<Page>,
}

/// Something that a liar says of its own accord.
pub(super) struct Said {
    pub(super) to: NodeId,
    pub(super) load: Load,
}

impl Liar {
    pub(super) fn new(lie: Lie) -> Self {
        Self { lie, turn: 0, kept: Vec::new() }
    }

    /// A message on its way out: this is what leaves.
    pub(super) fn tamper(&mut self, me: NodeId, message: Message, rng: &mut impl Rng) -> Load {
        match self.lie {
            Lie::Mutate if !frames(&message).is_empty() && rng.random_bool(0.5) => {
                let mut bytes = message.encode();
                let at = rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << rng.random_range(0..8);
                return Load::Bytes(bytes);
            }
            Lie::FalseWatch => {
                return Load::Message(without_watch(me, message)); // Its own engine's honest opinion stays at home.
            }
            Lie::Replay => {
                for frame in frames(&message) {
                    let Of::Page(page) = &frame.of else { continue };
                    if self.kept.len() < MAX_KEPT {
                        self.kept.push(page.clone());
                    } else if !self.kept.iter().any(|kept| kept.key() == page.key()) {
                        // The oldest version of a key is the best lie.
                        self.kept[rng.random_range(0..MAX_KEPT)] = page.clone();
                    }
                }
            }
            _ => {}
        }
        Load::Message(message)
    }

    /// A message on its way in: what the engine gets to see.
    pub(super) fn overhear(&self, me: NodeId, message: Message) -> Message {
        // Its engine would fight over its own watch page if it met the lies.
        if self.lie == Lie::FalseWatch { without_watch(me, message) } else { message }
    }

    /// What else it says, at a timer of its engine.
    pub(super) fn speak(&mut self, signing: &SigningKey, engine: &Engine, rng: &mut impl Rng) -> Vec<Said> {
        self.turn += 1;
        let peers: Vec<NodeId> = engine.links().map(|(peer, _)| peer).collect();
        let said = |to: &NodeId, message: &Message| Said { to: *to, load: Load::Bytes(message.encode()) };
        let own = Owner::Node(engine.id());
        match self.lie {
            Lie::Equivocate if self.turn.is_multiple_of(10) => {
                let key = Key { owner: own, table: Table(20), slot: Slot::page(0) };
                let major = engine.replica().pages().of(own).map(|page| page.stamp().major).max().unwrap_or(1);
                let sides =
                    [1u8, 2].map(|side| news([Page::sign(signing, key, major, self.turn << 32, vec![side; 40])]));
                peers.iter().zip(0..).map(|(peer, n): (_, usize)| said(peer, &sides[n % 2])).collect()
            }
            Lie::FalseWatch if self.turn.is_multiple_of(10) => {
                let rows: Vec<WatchRow> = engine
                    .members()
                    .filter(|(id, member, _)| *id != engine.id() && !member.left)
                    .take(MAX_ACCUSED)
                    .map(|(accused, member, _)| WatchRow { accused, incarnation: member.incarnation })
                    .collect();
                let key = Key { owner: own, table: Table::WATCH, slot: Slot::page(0) };
                let major = engine.replica().stamp(&key).map_or(1, |stamp| stamp.major);
                let page = Page::sign(signing, key, major, self.turn << 32, codec::encode(&rows));
                peers.iter().map(|peer| said(peer, &news([page.clone()]))).collect()
            }
            Lie::Flood => {
                let mut all = Vec::new();
                for _ in 0..FLOOD_PAGES {
                    let slot = Slot::page(rng.random_range(0..FLOOD_KEYS));
                    let key = Key { owner: own, table: Table(21), slot };
                    let major = engine.replica().pages().of(own).map(|page| page.stamp().major).max().unwrap_or(1);
                    let body = vec![rng.random(); MAX_BODY / 4];
                    all.push(Page::sign(signing, key, major, self.turn << 32, body));
                }
                let junk = |rng: &mut dyn Rng| {
                    let listed = Listed { bucket: rng.random(), digests: vec![rng.random(); 100] };
                    match rng.random_range(0..7) {
                        0 => Message::Root { salt: rng.random(), root: rng.random() },
                        1 => Message::Buckets { salt: rng.random(), sums: vec![rng.random(); 256] },
                        2 => Message::Digests(vec![listed]),
                        3 => Message::Want(vec![listed]),
                        4 => Message::Have(vec![rng.random(); 100]),
                        5 => Message::Prune(vec![rng.random(); 100]),
                        _ => Message::Graft(Graft { digests: vec![rng.random(); 100], origins: vec![], all: true }),
                    }
                };
                let pages = news(all);
                let mut out = Vec::new();
                for peer in &peers {
                    out.push(said(peer, &pages));
                    out.extend((0..FLOOD_JUNK).map(|_| said(peer, &junk(rng))));
                }
                out
            }
            Lie::Replay if !self.kept.is_empty() => {
                let old = self.kept[rng.random_range(0..self.kept.len())].clone();
                peers.iter().map(|peer| said(peer, &news([old.clone()]))).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// What the receiver makes of bytes; `None` ends the connection.
pub(super) fn receive(load: Load) -> Option<(Message, usize)> {
    let message = match load {
        Load::Message(message) => message,
        Load::Bytes(bytes) => Message::decode(&bytes).ok()?,
    };
    let kind = kind(&message);
    Some((message, kind))
}

fn news(pages: impl IntoIterator<Item = Page>) -> Message {
    Message::News(pages.into_iter().map(Frame::whole).collect())
}

fn without_watch(me: NodeId, message: Message) -> Message {
    let others = |frame: &Frame| {
        let key = frame.header().key;
        key.owner != Owner::Node(me) || key.table != Table::WATCH
    };
    let only = |frames: Vec<Frame>| frames.into_iter().filter(others).collect();
    match message {
        Message::News(frames) => Message::News(only(frames)),
        Message::Given(frames) => Message::Given(only(frames)),
        other => other,
    }
}
