//! Frame Streams, as far as a writer needs it (<https://farsightsec.github.io/fstrm/>).
//!
//! ```text
//!   socket   writer: READY(type)   reader: ACCEPT(type)   writer: START(type), data …, STOP   reader: FINISH
//!   file     START(type), data …, STOP
//! ```
//!
//! A data frame is its length in four octets, and its octets. A control frame is escaped by a length of zero; then come its
//! own length, its kind, and fields of kind, length and octets. All numbers are big-endian.

use std::io::{self, Read};

pub(super) const ACCEPT: u32 = 1;
pub(super) const START: u32 = 2;
pub(super) const STOP: u32 = 3;
pub(super) const READY: u32 = 4;
pub(super) const FINISH: u32 = 5;
/// The only kind of field.
const FIELD_CONTENT_TYPE: u32 = 1;
/// The longest control frame, by the specification.
const LONGEST_CONTROL: u32 = 512;

/// A control frame, with a content type or without.
pub(super) fn control(kind: u32, content_type: Option<&[u8]>) -> Vec<u8> {
    let mut frame = kind.to_be_bytes().to_vec();
    if let Some(content_type) = content_type {
        frame.extend(FIELD_CONTENT_TYPE.to_be_bytes());
        frame.extend(length(content_type));
        frame.extend(content_type);
    }
    [&[0; 4], &length(&frame)[..], &frame].concat()
}

/// The length of a data frame, which comes before it.
pub(super) fn length(octets: &[u8]) -> [u8; 4] {
    // What is written here is far below 4 GiB.
    u32::try_from(octets.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Reads a control frame, which must be of this kind, and if it lists content types, have this one among them.
pub(super) fn expect(from: &mut impl Read, kind: u32, content_type: &[u8]) -> io::Result<()> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the reader of dnstap {what}"));
    if number(from)? != 0 {
        return Err(wrong("sent data, where it should only read"));
    }
    let length = number(from)?;
    if !(4..=LONGEST_CONTROL).contains(&length) {
        return Err(wrong("sent a control frame of a size that there is not"));
    }
    let mut frame = vec![0; length as usize];
    from.read_exact(&mut frame)?;
    let mut frame = &frame[..];
    let came = number(&mut frame)?;
    if came != kind {
        return Err(wrong(&format!("sent control frame {came}, where {kind} was due")));
    }
    let (mut listed, mut ours) = (false, false);
    while !frame.is_empty() {
        let field = number(&mut frame)?;
        let length = number(&mut frame)? as usize;
        let (value, rest) = frame.split_at_checked(length).ok_or_else(|| wrong("sent a field that is cut off"))?;
        listed |= field == FIELD_CONTENT_TYPE;
        ours |= field == FIELD_CONTENT_TYPE && value == content_type;
        frame = rest;
    }
    if listed && !ours { Err(wrong("wants another kind of messages than dnstap")) } else { Ok(()) }
}

fn number(from: &mut impl Read) -> io::Result<u32> {
    let mut octets = [0; 4];
    from.read_exact(&mut octets)?;
    Ok(u32::from_be_bytes(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let ready = control(READY, Some(b"a:b"));
        assert_eq!(ready, b"\0\0\0\0\0\0\0\x0f\0\0\0\x04\0\0\0\x01\0\0\0\x03a:b");
        assert!(expect(&mut &ready[..], READY, b"a:b").is_ok());
        assert!(expect(&mut &control(FINISH, None)[..], FINISH, b"a:b").is_ok());
    }

    #[test]
    fn a_hostile_reader_gets_an_error_and_no_more() {
        let says = |octets: &[u8]| expect(&mut &octets[..], ACCEPT, b"a:b").err().map(|error| error.to_string());
        let cases: [(&[u8], &str); 6] = [
            (b"\0\0\0\x01x", "sent data"),
            (b"\0\0\0\0\xff\xff\xff\xff", "of a size that there is not"),
            (b"\0\0\0\0\0\0\0\x04\0\0\0\x05", "sent control frame 5"),
            (b"\0\0\0\0\0\0\0\x0d\0\0\0\x01\0\0\0\x01\xff\xff\xff\xffx", "cut off"),
            (&control(ACCEPT, Some(b"c:d")), "another kind of messages"),
            (b"\0\0\0\0\0\0\0\x04\0\0", "failed to fill"),
        ];
        for (octets, part) in cases {
            assert!(says(octets).is_some_and(|said| said.contains(part)), "{octets:?}: {:?}", says(octets));
        }
    }
}
