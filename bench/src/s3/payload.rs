//! Bodies of objects: different from key to key, known from the key alone, cheap to make and to check.

use super::sign::{hex, sha256};

/// How far apart the bodies of neighbours begin. Odd and larger than a cell, so that neighbours share no block.
const STRIDE: u64 = 4_099;
/// Distance after which bodies begin to repeat.
const SPREAD: usize = 1 << 20;

/// A pool of pseudo-random bytes that every body is a slice of.
pub struct Payloads {
    pool: Vec<u8>,
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
        Payloads { pool, size }
    }

    /// The body of an object by its number.
    pub fn body(&self, number: u64) -> &[u8] {
        let begin = usize::try_from(number.wrapping_mul(STRIDE) % SPREAD as u64).unwrap_or(0);
        &self.pool[begin..begin + self.size]
    }
}

/// A body's hash as signatures carry it.
pub fn hash(body: &[u8]) -> String {
    hex(sha256(body).as_ref())
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

    /// Whether all bytes came and none differed.
    pub fn is_equal(&self) -> bool {
        self.equal && self.at == self.expected.len()
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
            comparison.is_equal()
        };
        let mut changed = body.to_vec();
        changed[60] ^= 1;
        assert!(check(&[&body[..30], &body[30..]]));
        assert!(!check(&[&body[..30], &changed[30..]]));
        assert!(!check(&[&body[..99]]));
        assert!(!check(&[body, b"x"]));
        assert_ne!(body, payloads.body(8));
    }
}
