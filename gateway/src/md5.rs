//! MD5, which S3's ETags and `Content-MD5` are made of; it protects nothing.
//!
//! It is most of what a PUT costs, because each of its steps waits for the one before. Bodies that come
//! at the same time are hashed side by side: see [`queue`] and [`lanes`]. What comes alone is hashed by
//! `md-5`. `aws-lc-rs` keeps its MD5 to itself, and calling `aws-lc-sys` would bring `unsafe` in here.

mod lanes;
pub mod queue;

use md5::block_api::compress;

/// Bytes that a step takes.
const BLOCK_BYTES: usize = 64;

type Block = [u8; BLOCK_BYTES];

/// What is known of the blocks so far (RFC 1321, section 3.3).
type State = [u32; 4];

/// The state before the first block.
const FIRST_STATE: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// MD5 of a stream.
pub struct Md5 {
    state: State,
    bytes: u64,
    /// The bytes since the last whole block.
    tail: Block,
}

impl Default for Md5 {
    fn default() -> Md5 {
        Md5 {
            state: FIRST_STATE,
            bytes: 0,
            tail: [0; BLOCK_BYTES],
        }
    }
}

impl Md5 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = self.complete_block(bytes).as_chunks();
        compress(&mut self.state, blocks);
        self.count_blocks(blocks.len());
        self.begin_block(rest);
    }

    /// The digest of all bytes taken.
    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.bytes.wrapping_mul(8).to_le_bytes();
        let mut padding = [0; BLOCK_BYTES];
        padding[0] = 0x80;
        let room = BLOCK_BYTES - bits.len();
        let until_length = (room + BLOCK_BYTES - 1 - self.tail_bytes()) % BLOCK_BYTES + 1;
        self.update(&padding[..until_length]);
        self.update(&bits);
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        digest
    }

    /// Bytes taken.
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn tail_bytes(&self) -> usize {
        (self.bytes % BLOCK_BYTES as u64) as usize
    }

    /// Completes the block that has begun; the bytes that are left. Where there are any, none has begun.
    fn complete_block<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let missing = (BLOCK_BYTES - self.tail_bytes()) % BLOCK_BYTES;
        let (head, rest) = bytes.split_at(bytes.len().min(missing));
        self.begin_block(head);
        if !head.is_empty() && self.tail_bytes() == 0 {
            compress(&mut self.state, &[self.tail]);
        }
        rest
    }

    /// Takes bytes up to the end of a block at most.
    fn begin_block(&mut self, bytes: &[u8]) {
        let filled = self.tail_bytes();
        self.tail[filled..filled + bytes.len()].copy_from_slice(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn count_blocks(&mut self, count: usize) {
        self.bytes += (count * BLOCK_BYTES) as u64;
    }
}

/// The digest of some bytes.
pub fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut md5 = Md5::default();
    md5.update(bytes);
    md5.finish()
}

#[cfg(test)]
mod tests {
    use md5::Digest as _;

    use super::*;

    #[test]
    fn known_digests() {
        assert_eq!(
            digest(b""),
            0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e_u128.to_be_bytes()
        );
        let mut md5 = Md5::default();
        md5.update(b"a");
        md5.update(b"bc");
        assert_eq!(
            md5.finish(),
            0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72_u128.to_be_bytes()
        );
    }

    #[test]
    fn digests_are_those_of_the_crate_for_every_length_and_cut() {
        let bytes: Vec<u8> = (0..300u32).map(|at| ((at * at) >> 3) as u8).collect();
        for length in 0..bytes.len() {
            let expected: [u8; 16] = md5::Md5::digest(&bytes[..length]).into();
            for cut in [1, 7, 63, 64, 65, 300] {
                let mut md5 = Md5::default();
                bytes[..length]
                    .chunks(cut)
                    .for_each(|piece| md5.update(piece));
                assert_eq!(md5.finish(), expected, "{length} bytes by {cut}");
            }
        }
    }
}
