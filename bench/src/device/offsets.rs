//! Where in the file the operations of a run go.
//!
//! Invariants: every offset is that of a whole block inside the file; the n-th operation of a run goes to the same place whatever
//! the driver, with the same seed.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::own_file::HEADER_BYTES;

/// The increment and the multipliers of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): the n-th number needs no state but n.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX: [u64; 2] = [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];

/// Gives out offsets.
pub(super) struct Offsets {
    block: u64,
    blocks: u64,
    /// Of random ones; otherwise from the first block to the last, over and over.
    seed: Option<u64>,
    taken: AtomicU64,
}

impl Offsets {
    pub(super) fn new(block: u64, blocks: u64, seed: Option<u64>) -> Offsets {
        Offsets {
            block,
            blocks,
            seed,
            taken: AtomicU64::new(0),
        }
    }

    /// The next one, in bytes from the beginning of the file.
    pub(super) fn next(&self) -> u64 {
        let turn = self.taken.fetch_add(1, Ordering::Relaxed);
        let at = match self.seed {
            Some(seed) => mix(seed.wrapping_add(turn.wrapping_mul(GAMMA))) % self.blocks,
            None => turn % self.blocks,
        };
        HEADER_BYTES + at * self.block
    }
}

fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(MIX[0]);
    number = (number ^ (number >> 27)).wrapping_mul(MIX[1]);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_in_order_begin_again_and_random_ones_reach_every_block() {
        let in_order = Offsets::new(512, 3, None);
        let offsets: Vec<u64> = (0..4)
            .map(|_| (in_order.next() - HEADER_BYTES) / 512)
            .collect();
        assert_eq!(offsets, [0, 1, 2, 0]);
        let random = Offsets::new(4096, 16, Some(7));
        let mut seen = [0; 16];
        for _ in 0..1600 {
            let at = random.next() - HEADER_BYTES;
            assert_eq!(at % 4096, 0);
            seen[usize::try_from(at / 4096).unwrap()] += 1;
        }
        assert!(
            seen.iter().all(|count| (50..200).contains(count)),
            "{seen:?}"
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_offsets() {
        let offsets = |seed| {
            let offsets = Offsets::new(4096, 1 << 20, Some(seed));
            (0..32).map(|_| offsets.next()).collect::<Vec<_>>()
        };
        assert_eq!(offsets(1), offsets(1));
        assert_ne!(offsets(1), offsets(2));
    }
}
