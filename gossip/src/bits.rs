//! One bit for each origin: which of them a link is lazy for.

/// A set of small numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn contains(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    pub(crate) fn set(&mut self, at: usize, to: bool) {
        let (word, bit) = (at / 64, 1 << (at % 64));
        if self.0.len() <= word {
            if !to {
                return;
            }
            self.0.resize(word + 1, 0);
        }
        if to {
            self.0[word] |= bit;
        } else {
            self.0[word] &= !bit;
        }
    }

    /// None of them, or all below `len`.
    pub(crate) fn fill(&mut self, len: usize, to: bool) {
        self.0 = if to { vec![u64::MAX; len.div_ceil(64)] } else { Vec::new() };
    }

    /// The same after everyone has got another number: `from[new]` is the old one, if there was one.
    pub(crate) fn renumbered(&self, from: &[Option<usize>]) -> Self {
        let mut renumbered = Self::default();
        for (new, old) in from.iter().enumerate() {
            renumbered.set(new, old.is_some_and(|old| self.contains(old)));
        }
        renumbered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set() {
        let mut bits = Bits::default();
        for at in [0, 63, 64, 9_999] {
            assert!(!bits.contains(at));
            bits.set(at, true);
            assert!(bits.contains(at));
        }
        bits.set(64, false);
        bits.set(1_000_000, false);
        assert!(!bits.contains(64) && bits.contains(63) && !bits.contains(1_000_000));
        let renumbered = bits.renumbered(&[Some(63), None, Some(64), Some(9_999)]);
        assert_eq!([0, 1, 2, 3].map(|at| renumbered.contains(at)), [true, false, false, true]);
        bits.fill(65, true);
        assert!(bits.contains(0) && bits.contains(64));
        bits.fill(65, false);
        assert!(!bits.contains(0));
    }
}
