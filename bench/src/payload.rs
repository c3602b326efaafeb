//! Bodies of objects: different from key to key, known from the key alone, cheap to make and to check.

use anyhow::ensure;
use bytes::Bytes;

/// How far apart the bodies of neighbours begin. Odd and larger than a cell, so that neighbours share no block.
const STRIDE: u64 = 4_099;
/// Distance after which bodies begin to repeat.
const SPREAD: usize = 1 << 20;

/// A pool of pseudo-random bytes that every body is a slice of.
pub struct Payloads {
    pool: Bytes,
    size: usize,
}

impl Payloads {
    /// Bodies of `size` bytes each.
    pub fn new(size: usize) -> Payloads {
        // xorshift64*: the bytes need to be incompressible, nothing more.
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut pool = Vec::with_capacity(size + SPREAD + 8);
        while pool.len() < size + SPREAD {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            pool.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        Payloads {
            pool: pool.into(),
            size,
        }
    }

    /// The body of an object by its number.
    pub fn body(&self, number: u64) -> &[u8] {
        &self.pool[self.range(number)]
    }

    /// The same, for whoever keeps it.
    pub fn bytes(&self, number: u64) -> Bytes {
        self.pool.slice(self.range(number))
    }

    fn range(&self, number: u64) -> std::ops::Range<usize> {
        let begin = usize::try_from(number.wrapping_mul(STRIDE) % SPREAD as u64).unwrap_or(0);
        begin..begin + self.size
    }
}

/// Compares a body that comes in pieces with the one that was stored.
pub struct Comparison<'a> {
    expected: &'a [u8],
    at: usize,
    equal: bool,
}

impl<'a> Comparison<'a> {
    /// Begins before the first byte.
    pub fn new(expected: &'a [u8]) -> Comparison<'a> {
        Comparison {
            expected,
            at: 0,
            equal: true,
        }
    }

    /// Takes the next piece.
    pub fn take(&mut self, piece: &[u8]) {
        let end = self.at.saturating_add(piece.len());
        self.equal &= self.expected.get(self.at..end) == Some(piece);
        self.at = end;
    }

    /// Fails unless all bytes came and none differed.
    ///
    /// # Errors
    /// Says whether it is the length that differs: then the object was most likely stored by a run of another size.
    pub fn finish(&self) -> anyhow::Result<()> {
        ensure!(
            self.at == self.expected.len(),
            "an object came back with {} bytes and {} were expected: read it with the --size with which it was put",
            self.at,
            self.expected.len()
        );
        ensure!(
            self.equal,
            "an object came back with other bytes than were stored"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_missing_byte_is_found() {
        let payloads = Payloads::new(100);
        let body = payloads.body(7);
        let check = |pieces: &[&[u8]]| {
            let mut comparison = Comparison::new(body);
            pieces.iter().for_each(|piece| comparison.take(piece));
            comparison.finish().map_err(|error| error.to_string())
        };
        let mut changed = body.to_vec();
        changed[60] ^= 1;
        assert_eq!(check(&[&body[..30], &body[30..]]), Ok(()));
        let why = check(&[&body[..30], &changed[30..]]).unwrap_err();
        assert!(why.contains("other bytes"), "{why}");
        let why = check(&[&body[..99]]).unwrap_err();
        assert!(why.contains("99 bytes and 100"), "{why}");
        let why = check(&[body, b"x"]).unwrap_err();
        assert!(why.contains("101 bytes and 100"), "{why}");
        assert_ne!(body, payloads.body(8));
    }
}
