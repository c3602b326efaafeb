//! Random numbers and bodies that a seed gives back, so that a test remembers eight bytes per object.

/// A small generator (SplitMix64): the same seed, the same numbers.
pub struct Random(u64);

impl Random {
    /// From a seed; every seed is good.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From `STRATA_TEST_SEED`, else from the clock; says which, so that a failure can be run again.
    pub fn announced(what: &str) -> Self {
        let given = std::env::var("STRATA_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(0, |since| since.subsec_nanos().into())
        });
        println!("{what}: STRATA_TEST_SEED={seed}");
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound as u64) as usize
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// A body of which only seed and length need to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// What the bytes come from.
    pub seed: u64,
    /// Length in bytes.
    pub bytes: usize,
}

impl Content {
    /// The bytes.
    pub fn make(&self) -> Vec<u8> {
        let mut random = Random::new(self.seed);
        let mut bytes = Vec::with_capacity(self.bytes + 8);
        while bytes.len() < self.bytes {
            bytes.extend_from_slice(&random.next_u64().to_le_bytes());
        }
        bytes.truncate(self.bytes);
        bytes
    }

    /// Whether these are the bytes.
    pub fn is(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.bytes && self.make() == bytes
    }
}

/// The bytes of a seed.
pub fn body(seed: u64, bytes: usize) -> Vec<u8> {
    Content { seed, bytes }.make()
}
