//! More questions than a core can answer: whom somebody claims goes first.
//!
//! A socket whose buffer is full loses whatever comes next, so a flood of five times the capacity takes four of five
//! questions from everybody, and the resolvers that this mesh is for are a few among them. Reading faster does not help:
//! to take a packet out of the socket is most of what an answer costs. So the kernel is told whom to let in: a filter on
//! the socket (classic BPF, which needs no rights) takes the questions of those claimed resolvers that were heard lately,
//! and of all others as large a part as can be answered.
//!
//! **When:** packets were lost, and the batches of a [`PERIOD`] were full. From then on the part of the others is halved
//! after each period that was full, and grows again after each that was not, until all are let in and the filter goes.
//!
//! **Invariant:** without loss there is no filter, and nothing is looked at per packet.
//!
//! Rejected: to know all claims in the filter (a million; it has room for some hundred, and only those who ask matter);
//! a socket of its own for claimed resolvers (the program that chooses sockets has the same limits, and would be there at
//! rest, too). Who forges the address of a claimed resolver gets past the filter, and then meets the rate limit.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use socket2::SockFilter;

/// Between two decisions: several times what a full buffer holds.
const PERIOD: Duration = Duration::from_millis(100);

/// A period in which fewer batches came decides nothing.
const FEW_BATCHES: u32 = 8;

/// Resolvers that the filter lets in. With 5 instructions each it stays below what any kernel takes for one socket.
const MOST_GUESTS: usize = 128;

/// Resolvers that are counted: so many that those who ask often are among them, whoever else asks.
const MOST_HEARD: usize = 512;

/// The least part of the others that is let in: new resolvers must be heard, and the end of a flood seen.
const LEAST: f64 = 1.0 / 64.0;

/// What is left of the others' part after a full period, and what it grows by after another.
const LESS: f64 = 0.5;
const MORE: f64 = 1.15;

/// After so many periods without a packet all are let in: [`MORE`] to this power is more than 1 by [`LEAST`].
const MOST_PERIODS: f64 = 32.0;

/// What the socket's filter is to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Order {
    /// None.
    Open,
    /// It lets in these resolvers ([`key`]), and this part of all others.
    Guard(Vec<u32>, f64),
}

/// What one socket lets in.
#[derive(Debug)]
pub(crate) struct Shed {
    /// The part of those who are not known to be claimed; `None`: there is no filter.
    others: Option<f64>,
    /// How often each claimed resolver was heard.
    heard: BTreeMap<u32, u32>,
    since: Duration,
    batches: u32,
    full: u32,
    /// What the socket had lost at the last look, if that means anything: what a filter keeps out counts as well.
    lost: Option<u32>,
}

impl Shed {
    pub(crate) fn new(now: Duration) -> Self {
        Self { others: None, heard: BTreeMap::new(), since: now, batches: 0, full: 0, lost: Some(0) }
    }

    /// Whether there is a filter: then those who are claimed are to be [heard](Self::hear).
    pub(crate) fn guards(&self) -> bool {
        self.others.is_some()
    }

    /// A claimed resolver has asked.
    pub(crate) fn hear(&mut self, client: IpAddr) {
        let key = key(client);
        if let Some(count) = self.heard.get_mut(&key) {
            *count = count.saturating_add(1);
        } else if self.heard.len() < MOST_HEARD {
            self.heard.insert(key, 1);
        } else {
            // Misra and Gries 1982: who asks more often than one of so many stays.
            self.heard.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// A batch came at that time, full or not. How many packets were lost so far is asked only where that decides.
    pub(crate) fn batch(&mut self, now: Duration, full: bool, lost: impl FnOnce() -> Option<u32>) -> Option<Order> {
        self.batches = self.batches.saturating_add(1);
        self.full += u32::from(full);
        // A clock that was set back begins a new period.
        let length = now.checked_sub(self.since).unwrap_or(PERIOD);
        if length < PERIOD {
            return None;
        }
        let crowded = self.batches >= FEW_BATCHES && u64::from(self.full) * 10 >= u64::from(self.batches) * 9;
        (self.since, self.batches, self.full) = (now, 0, 0);
        let mut loses = false;
        if crowded && self.others.is_none() {
            let now_lost = lost();
            loses = self.lost.is_some() && now_lost.is_some() && now_lost != self.lost;
            self.lost = now_lost;
        }
        // However few questions come: after a flood its end must not depend on them.
        let more = MORE.powf((length.as_secs_f64() / PERIOD.as_secs_f64()).min(MOST_PERIODS));
        match self.others {
            None if crowded && loses => self.others = Some(LESS),
            None => return None,
            Some(others) if crowded => self.others = Some((others * LESS).max(LEAST)),
            Some(others) if others * more < 1.0 => self.others = Some(others * more),
            Some(_) => {
                (self.others, self.lost) = (None, None);
                self.heard.clear();
                return Some(Order::Open);
            }
        }
        self.others.map(|others| Order::Guard(self.guests(), others))
    }

    /// Those who were heard most, sorted.
    fn guests(&self) -> Vec<u32> {
        let mut by_count: Vec<(u32, u32)> = self.heard.iter().map(|(key, count)| (*count, *key)).collect();
        by_count.sort_unstable_by(|a, b| b.cmp(a));
        let mut guests: Vec<u32> = by_count.into_iter().take(MOST_GUESTS).map(|(_, key)| key).collect();
        guests.sort_unstable();
        guests
    }
}

/// What the filter knows an address by. Two IPv6 addresses may have the same: then one is let in with the other.
pub(crate) fn key(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let address = u128::from(address);
            (0..4).fold(0, |key, word| key ^ (address >> (32 * word)) as u32)
        }
    }
}

/// Instructions of classic BPF (`linux/filter.h`, `linux/bpf_common.h`).
mod code {
    pub(super) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    pub(super) const TO_X: u16 = 0x07; // BPF_MISC | BPF_TAX
    pub(super) const XOR_X: u16 = 0xac; // BPF_ALU | BPF_XOR | BPF_X
    pub(super) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
    pub(super) const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    pub(super) const IF_NOT_LESS: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    pub(super) const RETURN: u16 = 0x06; // BPF_RET | BPF_K
}
/// `SKF_NET_OFF`: from here on offsets are from the IP header.
const NETWORK_HEADER: u32 = (-0x10_0000_i32).cast_unsigned();
/// `SKF_AD_OFF + SKF_AD_RANDOM`: a random number.
const RANDOM: u32 = (-0x1000_i32).cast_unsigned() + 56;
/// Where the source address is in an IP header, in words.
const SOURCE_V4: [u32; 1] = [12];
const SOURCE_V6: [u32; 4] = [8, 12, 16, 20];

/// The filter of a socket of that family. `guests` are sorted.
pub(crate) fn filter(ipv6: bool, guests: &[u32], others: f64) -> Vec<SockFilter> {
    program(ipv6, guests, others)
        .into_iter()
        .map(|[code, yes, no, k]| SockFilter::new(code as u16, yes as u8, no as u8, k))
        .collect()
}

/// The same as numbers: code, jump if so, jump if not, operand.
fn program(ipv6: bool, guests: &[u32], others: f64) -> Vec<[u32; 4]> {
    let plain = |code: u16, k: u32| [code.into(), 0, 0, k];
    let words: &[u32] = if ipv6 { &SOURCE_V6 } else { &SOURCE_V4 };
    let mut program = Vec::new();
    for (number, word) in words.iter().enumerate() {
        if number > 0 {
            program.push(plain(code::TO_X, 0));
        }
        program.push(plain(code::LOAD, NETWORK_HEADER.wrapping_add(*word)));
        if number > 0 {
            program.push(plain(code::XOR_X, 0));
        }
    }
    let known = search(guests);
    program.extend(&known);
    program.push(plain(code::LOAD, RANDOM));
    // Whoever draws less than this is let in.
    let bound = (others.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
    program.push([code::IF_NOT_LESS.into(), 0, 1, bound]);
    program.push(plain(code::RETURN, 0));
    program.push(plain(code::RETURN, u32::MAX));
    program
}

/// A binary search for the number at hand among sorted ones. It ends with letting in, or falls out at its end.
fn search(guests: &[u32]) -> Vec<[u32; 4]> {
    let mut program = search_of(guests);
    // Those who are nobody's fall from wherever they are to the end.
    let end = program.len();
    for (at, [code, _, _, k]) in program.iter_mut().enumerate() {
        if *code == u32::from(code::JUMP) && *k == u32::MAX {
            *k = (end - at - 1) as u32;
        }
    }
    program
}

fn search_of(guests: &[u32]) -> Vec<[u32; 4]> {
    match guests {
        [] => Vec::new(),
        [only] => vec![
            [code::IF_EQUAL.into(), 0, 1, *only],
            [code::RETURN.into(), 0, 0, u32::MAX],
            [code::JUMP.into(), 0, 0, u32::MAX],
        ],
        many => {
            let (low, high) = many.split_at(many.len() / 2);
            let (left, right) = (search_of(low), search_of(high));
            // Conditional jumps reach 255 instructions, plain ones any number.
            let mut program = vec![
                [code::IF_NOT_LESS.into(), 0, 1, high.first().copied().unwrap_or_default()],
                [code::JUMP.into(), 0, 0, left.len() as u32],
            ];
            program.extend(left);
            program.extend(right);
            program
        }
    }
}

#[cfg(test)]
mod tests;
