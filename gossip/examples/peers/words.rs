//! What a node and its round say to each other: one line each, words divided by spaces.

use std::{fmt, str::FromStr};

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC: the same clock in every process of a machine.
pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
    })
}

/// From the round to a node.
#[derive(Debug)]
pub enum Order {
    /// Write this; the text has no spaces and begins with the number of the change.
    Write(String),
    /// Say how many copies came.
    Count,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(text) => write!(f, "write {text}"),
            Self::Count => write!(f, "count"),
        }
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        match line.split_once(' ') {
            Some(("write", text)) => Ok(Self::Write(text.to_owned())),
            None if line == "count" => Ok(Self::Count),
            _ => Err(format!("no order: {line}")),
        }
    }
}

/// Digits at the start of a change that number it.
pub const DIGITS: usize = 8;

/// The number of the change that this is the content of.
pub fn change(content: &[u8]) -> Option<u32> {
    std::str::from_utf8(content.get(..DIGITS)?).ok()?.parse().ok()
}

/// From a node to its round.
#[derive(Debug)]
pub enum Said {
    /// The process to measure, where it is not the one that speaks.
    Process(i32),
    /// It knows all others.
    Ready,
    /// This change was handed in.
    Wrote(u32, u64),
    /// This change was seen.
    Seen(u32, u64),
    /// That node is held to be dead.
    Dead(usize, u64),
    /// Copies of changes that were news, and that were not.
    Copies(u64, u64),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(id) => write!(f, "process {id}"),
            Self::Ready => write!(f, "ready"),
            Self::Wrote(change, at) => write!(f, "wrote {change} {at}"),
            Self::Seen(change, at) => write!(f, "seen {change} {at}"),
            Self::Dead(node, at) => write!(f, "dead {node} {at}"),
            Self::Copies(new, again) => write!(f, "copies {new} {again}"),
        }
    }
}

impl FromStr for Said {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let parse = || -> Option<Self> {
            let mut words = line.split(' ');
            Some(match words.next()? {
                "process" => Self::Process(words.next()?.parse().ok()?),
                "ready" => Self::Ready,
                "wrote" => Self::Wrote(words.next()?.parse().ok()?, words.next()?.parse().ok()?),
                "seen" => Self::Seen(words.next()?.parse().ok()?, words.next()?.parse().ok()?),
                "dead" => Self::Dead(words.next()?.parse().ok()?, words.next()?.parse().ok()?),
                "copies" => Self::Copies(words.next()?.parse().ok()?, words.next()?.parse().ok()?),
                _ => return None,
            })
        };
        parse().ok_or_else(|| format!("a node said: {line}"))
    }
}
