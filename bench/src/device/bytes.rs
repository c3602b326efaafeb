//! Memory that direct I/O takes, for drivers that bring none of their own, and noise to fill it with.

use std::ops::Range;

/// What begins and ends at a multiple of this is good enough for every device.
const ALIGNMENT: usize = 4096;

/// A block inside memory that is large enough to hold it at an aligned address.
pub(super) struct Block {
    pub(super) memory: Vec<u8>,
    /// Where the block is in it.
    pub(super) range: Range<usize>,
}

impl Block {
    /// One that holds noise.
    pub(super) fn of_noise(bytes: usize) -> Block {
        let mut memory = vec![0; bytes + ALIGNMENT];
        noise(&mut memory);
        let begin = memory.as_ptr().align_offset(ALIGNMENT);
        Block {
            memory,
            range: begin..begin + bytes,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.range.clone()]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.range.clone()]
    }
}

/// Fills memory with what no device can make smaller (xorshift, Marsaglia 2003).
pub(super) fn noise(memory: &mut [u8]) {
    let mut state: u64 = 0x2545_f491_4f6c_dd1d;
    for word in memory.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_ne_bytes()[..word.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_aligned_and_holds_noise() {
        let block = Block::of_noise(64 << 10);
        assert_eq!(block.bytes().as_ptr().addr() % ALIGNMENT, 0);
        assert_eq!(block.bytes().len(), 64 << 10);
        let zeros = block.bytes().iter().filter(|byte| **byte == 0).count();
        assert!(zeros < 512, "{zeros}");
    }
}
