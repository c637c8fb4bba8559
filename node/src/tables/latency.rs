//! What a node measured of each server: rows of [`super::LATENCY`].
//!
//! A row names its server by a hash of (service, id): 8 bytes where names would be a hundred. Readers know the names
//! from the catalogue; a row of a server that the catalogue has lost finds no reader, which is what should happen.
//! Rows stand in pages by the leading bits of the hash, so that a server added or removed touches one page.

use std::{collections::BTreeMap, time::Duration};

use nigh_dns::RowState;
use nigh_gossip::{Slot, codec};
use serde::{Deserialize, Serialize};

use super::{MAX_ROWS, ROWS_PER_PAGE};
use crate::measure::isolation::HELD;

/// The longest reason that is sent or taken, in bytes.
const MAX_WHY: usize = 80;

/// What stands beside a reading of its node's last run.
const LAST_RUN: &str = "as the last run had it: not measured yet";

/// Ten times a server's capacity: beyond, a figure makes no sense.
const MAX_LOAD: u16 = 10_000;

/// Names a server of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerKey(pub u64);

impl ServerKey {
    /// The key of a server, by the service's name in lower case without the root's dot, and the server's id.
    pub fn new(service: &str, server: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("nigh latency row 1");
        hasher.update(service.as_bytes());
        hasher.update(&[0]);
        hasher.update(server.as_bytes());
        let mut key = [0; 8];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_be_bytes(key))
    }
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Whose.
    pub server: ServerKey,
    /// Does it answer?
    pub state: Health,
    /// The RTT that steers, in microseconds; the last good one of a server that is down.
    pub rtt_us: Option<u32>,
    /// Probes lost, in thousandths.
    pub loss_permille: u16,
    /// Why it is down; empty when it is not.
    pub why: String,
    /// Thousandths of its capacity in use, as it reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_permille: Option<u16>,
    /// It is an earlier reading: no probe of its node is answered any more, or its node has started again and not measured
    /// it yet (`LAST_RUN`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

impl Row {
    /// As the next run tells it until it has measured for itself.
    pub fn of_last_run(self) -> Self {
        Self { held: true, why: LAST_RUN.into(), ..self }
    }

    /// Why it is down, or not fresh; empty when all is well.
    pub fn why(&self) -> &str {
        if self.is_unanswered() { HELD } else { &self.why }
    }

    /// Whether no probe of its node is answered.
    pub fn is_unanswered(&self) -> bool {
        self.held && self.why != LAST_RUN
    }
}

/// A server's state as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Not known yet.
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl From<Health> for RowState {
    fn from(health: Health) -> Self {
        match health {
            Health::Unknown => Self::Unknown,
            Health::Up => Self::Up,
            Health::Down => Self::Down,
        }
    }
}

impl Row {
    /// The RTT.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt_us.map(|us| Duration::from_micros(us.into()))
    }
}

/// Sorts rows into pages; a power of two of them, half full on average.
pub fn paged(rows: Vec<Row>) -> BTreeMap<u32, Vec<Row>> {
    let bits = rows.len().div_ceil(ROWS_PER_PAGE / 2).next_power_of_two().trailing_zeros();
    let mut pages: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
    for row in rows {
        let page = if bits == 0 { 0 } else { row.server.0 >> (64 - bits) };
        pages.entry(u32::try_from(page).unwrap_or(0)).or_default().push(row);
    }
    pages
}

/// The slot of a page, and its body.
pub fn encode(page: u32, rows: &[Row]) -> (Slot, Vec<u8>) {
    (Slot::page(page), codec::encode(&rows.to_vec()))
}

/// A reason as it is sent.
pub fn reason(why: &str) -> String {
    let end = (0..=MAX_WHY.min(why.len())).rev().find(|end| why.is_char_boundary(*end)).unwrap_or(0);
    why[..end].chars().filter(|c| !c.is_control()).collect()
}

/// Reads a body.
pub fn decode(body: &[u8]) -> Option<Vec<Row>> {
    let mut rows: Vec<Row> = codec::decode(body).ok()?;
    rows.truncate(MAX_ROWS);
    for row in &mut rows {
        row.why = reason(&row.why);
        row.loss_permille = row.loss_permille.min(1000);
        row.load_permille = row.load_permille.map(|load| load.min(MAX_LOAD));
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn row(n: u32) -> Row {
        Row {
            server: ServerKey::new("www.lb.example.com", &n.to_string()),
            state: if n.is_multiple_of(3) { Health::Down } else { Health::Up },
            rtt_us: Some(n),
            loss_permille: 10,
            why: if n.is_multiple_of(3) { "connect: refused".into() } else { String::new() },
            load_permille: n.is_multiple_of(2).then_some(310),
            held: n.is_multiple_of(5),
        }
    }

    #[test]
    fn rows_survive_the_wire_and_pages_stay_small() {
        for count in [0, 1, 32, 33, 1000, 20_000] {
            let rows: Vec<Row> = (0..count).map(row).collect();
            let pages = paged(rows.clone());
            let mut read = Vec::new();
            for (page, rows) in pages {
                let (_, body) = encode(page, &rows);
                assert!(rows.len() <= 2 * ROWS_PER_PAGE && body.len() <= nigh_gossip::MAX_BODY, "{}", rows.len());
                read.extend(decode(&body).unwrap());
            }
            read.sort_by_key(|row| row.rtt_us);
            assert_eq!(read, rows);
        }
    }

    /// A row as the first version wrote and read it.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct First {
        server: ServerKey,
        state: Health,
        rtt_us: Option<u32>,
        loss_permille: u16,
        why: String,
    }

    #[test]
    fn rows_are_read_by_versions_that_know_less_and_the_other_way_round() {
        let first =
            First { server: ServerKey(7), state: Health::Up, rtt_us: Some(9), loss_permille: 1, why: "".into() };
        let row = Row {
            server: ServerKey(7),
            state: Health::Up,
            rtt_us: Some(9),
            loss_permille: 1,
            why: String::new(),
            load_permille: None,
            held: false,
        };
        assert_eq!(codec::encode(&[&row]), codec::encode(&[&first]));
        assert_eq!(decode(&codec::encode(&[&first])).unwrap(), std::slice::from_ref(&row));
        let newer = Row { load_permille: Some(500), held: true, ..row };
        assert_eq!(newer.why(), HELD);
        let read: Vec<First> = codec::decode(&codec::encode(&[&newer])).unwrap();
        assert_eq!(read, [first]);
    }

    #[test]
    fn a_reason_is_cut_at_a_character_and_cleaned() {
        assert_eq!(reason(&"ü".repeat(60)).len(), 80);
        assert_eq!(reason("tls: \u{7}bad\n"), "tls: bad");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
