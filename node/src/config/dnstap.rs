//! `[dnstap]`: to whom this node shows what it is asked and what it says.

use std::num::NonZeroU32;
use std::path::Path;

use nigh_dns::TapTarget;

use super::document::{Section, optional};
use super::value;

/// The keys of the section.
pub(super) const KEYS: [&str; 3] = ["socket", "file", "sample"];

/// Of a million messages one is a picture of nothing.
const MAX_SAMPLE: u64 = 1_000_000;

/// Where messages go, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnstapConfig {
    /// A socket or a file.
    pub target: TapTarget,
    /// One query in so many, with its reply.
    pub sample: NonZeroU32,
}

impl DnstapConfig {
    /// Of the socket, or of the file.
    pub fn path(&self) -> &Path {
        let (TapTarget::Socket(path) | TapTarget::File(path)) = &self.target;
        path
    }
}

/// Reads the section; nothing where there is none.
pub(super) fn read(section: &Section<'_>) -> Option<Option<DnstapConfig>> {
    let socket = optional(section.get("socket"), None, |item| item.text(value::socket_path).map(Some));
    let file = optional(section.get("file"), None, |item| item.text(value::absolute_path).map(Some));
    let sample = optional(section.get("sample"), NonZeroU32::MIN, |item| {
        item.integer(1..=MAX_SAMPLE).and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new)
    });
    let (socket, file) = (socket?, file?);
    let target = match (socket, file) {
        (Some(socket), None) => TapTarget::Socket(socket),
        (None, Some(file)) => TapTarget::File(file),
        (Some(_), Some(_)) => {
            section.fault("socket and file are both there; messages go to one of them");
            return None;
        }
        (None, None) => {
            if let Some(item) = section.get("sample") {
                item.fault("a sample of what goes nowhere; add socket or file");
                return None;
            }
            return Some(None);
        }
    };
    Some(Some(DnstapConfig { target, sample: sample? }))
}
