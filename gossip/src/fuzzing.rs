//! What the fuzz targets and the tests of hostile input reach of the inside; no part of the interface.
//!
//! The targets stand in `gossip/fuzz/`, a crate of its own, and only public items are seen from there. These few are
//! better than making the parts behind them public.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, FutureExt};

use crate::{
    frame::{Delta, Frame, Of},
    message::Message,
    page::{Key, Page},
    stream,
};

/// A frame as a reader leaves it: the verified header of `page`, and a patch against the version of this digest.
#[must_use]
pub fn patched(page: &Page, base: u64, patch: Vec<u8>) -> Frame {
    let delta = Delta { base, patch: patch.into() };
    Frame { of: Of::Header(std::sync::Arc::new(page.header().again())), delta: Some(delta) }
}

/// The frame that a writer makes of a new version and the one before: a delta, if that is worth it.
#[must_use]
pub fn written(page: &Page, before: Option<&Page>) -> Frame {
    Frame { delta: before.and_then(|before| Delta::between(before, page)), of: Of::Page(page.clone()) }
}

/// The page in a frame, given what is held of its key.
#[must_use]
pub fn complete(frame: &Frame, held: Option<&Page>) -> Option<Page> {
    frame.complete(held)
}

/// The patch of a frame that travels as a delta.
#[must_use]
pub fn patch(frame: &Frame) -> Option<&[u8]> {
    frame.delta.as_ref().map(|delta| &delta.patch[..])
}

/// What names this version in repair and notices.
#[must_use]
pub fn digest(page: &Page) -> u64 {
    page.digest()
}

/// The bucket of repair that the page is in.
#[must_use]
pub fn bucket(page: &Page) -> u8 {
    page.header().bucket
}

/// Reads what stands under a key in the replica's file.
#[must_use]
pub fn row(key: &[u8], page: &[u8]) -> Option<Page> {
    Page::from_row(key, page)
}

/// A row as it is written to the replica's file.
#[must_use]
pub fn row_of(page: &Page) -> (Vec<u8>, Vec<u8>) {
    let key: Key = page.key();
    (crate::codec::encode(&key), page.to_bytes())
}

/// All messages of a stream up to where it ends or breaks; its bytes come at most `at_once` at a time. Also the most
/// bytes that were reserved for one message.
#[must_use]
pub fn read_stream(bytes: &[u8], at_once: usize) -> (Vec<Message>, usize) {
    let mut stream = Trickle { bytes, at_once: at_once.max(1) };
    let (mut messages, mut buffer) = (Vec::new(), Vec::new());
    // A trickle is always ready, so one poll reads a message or the end.
    while let Some(Ok(message)) = stream::read(&mut stream, &mut buffer).now_or_never() {
        messages.push(message);
    }
    (messages, buffer.capacity())
}

/// The hello at the head of a stranger's stream, read as one from a stranger is.
#[must_use]
pub fn read_hello(bytes: &[u8], at_once: usize) -> Option<Message> {
    let mut stream = Trickle { bytes, at_once: at_once.max(1) };
    stream::read_hello(&mut stream).now_or_never()?.ok()
}

struct Trickle<'a> {
    bytes: &'a [u8],
    at_once: usize,
}

impl AsyncRead for Trickle<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let length = self.at_once.min(into.len()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(length);
        into[..length].copy_from_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(length))
    }
}
