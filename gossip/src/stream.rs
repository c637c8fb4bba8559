//! Messages on a stream: a four-byte length, then the message.
//!
//! Each side opens one stream to the other and only writes on it, so two nodes that dial each other at the same moment
//! need no agreement about whose stream counts.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::message::{MAX_HELLO, MAX_MESSAGE, Message, MessageError};

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a message of {0} bytes is longer than any")]
    TooLong(u32),
    #[error(transparent)]
    Message(#[from] MessageError),
}

#[cfg_attr(not(feature = "shell"), expect(dead_code, reason = "the shell writes, and fuzzing reads"))]
pub(crate) async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &Message) -> Result<(), StreamError> {
    let body = message.encode();
    let length = u32::try_from(body.len()).map_err(|_| StreamError::TooLong(u32::MAX))?;
    let mut bytes = Vec::with_capacity(4 + body.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads the first message of a peer that may be a stranger: a hello, or nothing.
pub(crate) async fn read_hello(stream: &mut (impl AsyncRead + Unpin)) -> Result<Message, StreamError> {
    let mut buffer = Vec::new();
    read_bytes(stream, &mut buffer, MAX_HELLO).await?;
    Ok(Message::decode_hello(&buffer)?)
}

/// Reads one message into `buffer`.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<Message, StreamError> {
    read_bytes(stream, buffer, MAX_MESSAGE).await?;
    Ok(Message::decode(buffer)?)
}

/// The length is checked before a byte is reserved.
async fn read_bytes(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    longest: usize,
) -> Result<(), StreamError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length);
    if length as usize > longest {
        return Err(StreamError::TooLong(length));
    }
    buffer.resize(length as usize, 0);
    stream.read_exact(buffer).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::io::Cursor;

    use super::*;
    use crate::message::Beat;

    #[tokio::test]
    async fn messages_follow_each_other() {
        let messages =
            [Message::Beat(Beat { clock: 7, echo: None, probe: false }), Message::Root { salt: 1, root: [3; 16] }];
        let mut wire = Cursor::new(Vec::new());
        for message in &messages {
            write(&mut wire, message).await.unwrap();
        }
        wire.set_position(0);
        let mut buffer = Vec::new();
        for message in &messages {
            assert_eq!(read(&mut wire, &mut buffer).await.unwrap(), *message);
        }
        assert!(matches!(read(&mut wire, &mut buffer).await, Err(StreamError::Io(_))));
    }

    /// A stranger's pages cost it nothing to repeat, and us a signature each.
    #[tokio::test]
    async fn a_stranger_is_read_no_further_than_its_hello() {
        let hello = Message::Hello { version: 2, certificate: None, appointment: None };
        for message in [Message::News(vec![]), Message::Have(vec![1]), hello] {
            let mut wire = Cursor::new(Vec::new());
            write(&mut wire, &message).await.unwrap();
            wire.set_position(0);
            let read = read_hello(&mut wire).await;
            match message {
                Message::Hello { .. } => assert_eq!(read.unwrap(), message),
                _ => assert!(matches!(read, Err(StreamError::Message(MessageError::NotHello)))),
            }
        }
        let mut wire = Cursor::new(u32::to_be_bytes(MAX_HELLO as u32 + 1).to_vec());
        assert!(matches!(read_hello(&mut wire).await, Err(StreamError::TooLong(_))));
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_reserves_nothing() {
        let mut wire = Cursor::new(u32::MAX.to_be_bytes().to_vec());
        let mut buffer = Vec::new();
        assert!(matches!(read(&mut wire, &mut buffer).await, Err(StreamError::TooLong(u32::MAX))));
        assert_eq!(buffer.capacity(), 0);
    }
}
