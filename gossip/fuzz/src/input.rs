//! Choices out of bytes, and bytes out of choices: what a fuzzer hands a target, and how seeds are written.
//!
//! Numbers that matter to a decoder or a timer are few, so most come from a list; any other can be spelled out.

/// Reads choices; where the bytes have run out, the first of each.
pub struct Input<'a>(&'a [u8]);

/// Numbers on which arithmetic breaks, if it does.
pub const EDGES: [u64; 14] =
    [0, 1, 2, 3, 16, 255, 1_000, 65_535, 150_000, 1_000_000, u32::MAX as u64, i64::MAX as u64, u64::MAX - 1, u64::MAX];

impl<'a> Input<'a> {
    /// From the beginning.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    /// One of the [`EDGES`], or eight bytes spelled out.
    pub fn number(&mut self) -> u64 {
        match EDGES.get(usize::from(self.byte())) {
            Some(edge) => *edge,
            None => (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    /// Two bytes of length, and that many bytes; at most `limit` and what there is.
    pub fn bytes(&mut self, limit: usize) -> &'a [u8] {
        let length = usize::from(u16::from_be_bytes([self.byte(), self.byte()]));
        let (bytes, rest) = self.0.split_at(length.min(limit).min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// The other way: what [`Input::bytes`] reads.
#[must_use]
pub fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("seeds are short");
    [&length.to_be_bytes(), bytes].concat()
}

/// What [`Input::number`] reads.
#[must_use]
pub fn with_number(number: u64) -> Vec<u8> {
    [&[u8::MAX][..], &number.to_be_bytes()].concat()
}
