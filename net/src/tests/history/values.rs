//! Random numbers that a seed gives back, and the bytes of objects, of which a history remembers a number and a length.

use bytes::Bytes;
use strata_raftlog::namespace::{ETag, Object};

use super::super::world::content;

/// A small generator (SplitMix64): the same seed, the same numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// That of a part of a history: other parts draw other numbers.
    pub fn of(seed: u64, part: u64) -> Random {
        let mut random = Random(seed ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93));
        random.next();
        random
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound that is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Whether something happens that does so often in a hundred times.
    pub fn percent(&mut self, often: usize) -> bool {
        self.below(100) < often
    }

    /// One of the items; `None` of none.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        (!items.is_empty()).then(|| items[self.below(items.len())])
    }
}

/// What an object holds: every write that brings bytes has a number of its own, and a copy has that of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value {
    pub number: u32,
    pub bytes: u32,
}

impl Value {
    /// The bytes.
    pub fn content(self) -> Bytes {
        content(u64::from(self.number), self.bytes as usize)
    }

    /// The tag of an object that holds it and was put in so many parts, 0 for one that was put whole.
    pub fn tag(self, part_count: u32) -> ETag {
        let mut digest = [0; 16];
        digest[..4].copy_from_slice(&self.number.to_le_bytes());
        digest[4..8].copy_from_slice(&self.bytes.to_le_bytes());
        ETag { digest, part_count }
    }

    /// What a tag stands for.
    pub fn of_tag(tag: &ETag) -> Value {
        let word = |at: usize| {
            let bytes: [u8; 4] = std::array::from_fn(|byte| tag.digest[at + byte]);
            u32::from_le_bytes(bytes)
        };
        Value {
            number: word(0),
            bytes: word(4),
        }
    }

    /// What an object is said to hold.
    pub fn of(object: &Object) -> Value {
        Value::of_tag(&object.etag)
    }
}
