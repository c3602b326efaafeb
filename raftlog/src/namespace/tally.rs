//! The tally of all rows: how many there are, and a sum over a hash of each. It is kept as rows are written and compared with
//! what a walk over the rows finds, so that a row that is missing, old or foreign is noticed although every row that is there is
//! whole.
//!
//! Invariants:
//! - the tally depends on the rows alone, not on the order in which they came;
//! - a row counts with the CRC at the head of its value, a long one with its length alone: it can be counted without reading a
//!   value that lies in pages of its own.

use super::value;

/// A key and its value longer than this together, in bytes, count as a long row. LMDB 0.9.70 gives the value pages of its own
/// from the same length on (`me_nodemax` of pages of 4 KiB); of larger pages, later.
const LONG_ROW_BYTES: usize = 2030;

/// The tally of a set of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Rows.
    pub rows: u64,
    /// The sum of their hashes, modulo 2^64.
    pub sum: u64,
}

impl Tally {
    /// A row more.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.add_head(key, value, value.len());
    }

    /// A row more, of whose value the head alone is at hand; `bytes` is the length of all of it.
    pub(crate) fn add_head(&mut self, key: &[u8], head: &[u8], bytes: usize) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash(key, head, bytes));
    }

    /// A row less.
    pub(crate) fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash(key, value, value.len()));
    }
}

/// The CRC of the key and what stands for the value: the CRC at its head, which covers key and value, or its length; mixed, so
/// that sums of rows that differ in a few bits differ in all (the finalizer of SplitMix64, Steele et al., OOPSLA 2014).
fn hash(key: &[u8], head: &[u8], bytes: usize) -> u64 {
    let value = match key.len() + bytes > LONG_ROW_BYTES {
        true => bytes as u32,
        false => value::stored_crc(head),
    };
    let mut mixed = u64::from(crc32c::crc32c(key)) << 32 | u64::from(value);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_does_not_matter_and_every_row_does() {
        let rows: [(&[u8], &[u8]); 3] = [
            (b"a", b"\x01\0\0\0\x07one"),
            (b"b", b"\x01\0\0\0\x08two"),
            (b"c", b"\x01\0\0\0\x08two"),
        ];
        let tally_of = |order: &[usize]| {
            let mut tally = Tally::default();
            for at in order {
                tally.add(rows[*at].0, rows[*at].1);
            }
            tally
        };
        assert_eq!(tally_of(&[0, 1, 2]), tally_of(&[2, 0, 1]));
        let mut all = tally_of(&[0, 1, 2]);
        all.remove(rows[1].0, rows[1].1);
        assert_eq!(all, tally_of(&[0, 2]));
        assert_ne!(tally_of(&[0, 1]).sum, tally_of(&[0, 2]).sum);
    }

    #[test]
    fn a_long_row_counts_without_its_value() {
        for bytes in [LONG_ROW_BYTES - 1, LONG_ROW_BYTES, 100_000] {
            let (mut whole, mut head) = (Tally::default(), Tally::default());
            whole.add(b"key", &vec![7; bytes]);
            head.add_head(b"key", &[7; 5], bytes);
            assert_eq!(whole, head, "{bytes}");
        }
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.add_head(b"key", &[], 5_000);
        other.add_head(b"key", &[], 5_001);
        assert_ne!(one.sum, other.sum);
    }
}
