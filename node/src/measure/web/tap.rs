//! A connection as hyper sees it: notes when the first byte of an answer came, and ends after [`MAX_ANSWER`].

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// All that is read of one answer; several times the health pages seen in practice.
pub const MAX_ANSWER: usize = 64 * 1024;

/// Bytes to and from a server.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What is known of the bytes of the present exchange; shared with the connection.
#[derive(Debug, Default)]
pub(super) struct Meter {
    left: AtomicUsize,
    first_byte: Mutex<Option<Instant>>,
}

impl Meter {
    /// An exchange begins.
    pub(super) fn begin(&self) {
        self.left.store(MAX_ANSWER, Ordering::Relaxed);
        *self.first_byte.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// When the first byte since then came.
    pub(super) fn first_byte(&self) -> Option<Instant> {
        *self.first_byte.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, bytes: usize) {
        self.first_byte.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(bytes), Ordering::Relaxed);
    }
}

/// The wire with its meter.
pub(super) struct Tap {
    pub(super) wire: Wire,
    pub(super) meter: Arc<Meter>,
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.meter.left.load(Ordering::Relaxed) == 0 {
            return Poll::Ready(Err(io::Error::other(format!("an answer of more than {} KiB", MAX_ANSWER / 1024))));
        }
        let before = buf.filled().len();
        let polled = match &mut this.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let read = buf.filled().len().saturating_sub(before);
        if read > 0 {
            this.meter.read(read);
        }
        polled
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
