//! MD5 of several streams at once: one stream to a lane of a SIMD register.
//!
//! A step of MD5 waits for the step before, so one stream leaves most of a core idle. Four streams in the lanes of 128-bit
//! registers take 1.7 times as long as one, eight in two registers 2.5 times as long (measured on an AMD EPYC).
//! The steps are those of RFC 1321, section 3.4.

use wide::u32x4;

use super::{Block, State};

/// Streams that are hashed at once, at most.
pub const LANES_MAX: usize = 8;

/// Lanes of a register.
const WIDTH: usize = 4;

/// `floor(2^32 * abs(sin(i + 1)))`, i from 0 to 63.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// Takes the next blocks of every stream: as many of each as the shortest has.
///
/// # Panics
/// With more than [`LANES_MAX`] streams.
pub fn compress(streams: &mut [(&mut State, &[Block])]) {
    assert!(streams.len() <= LANES_MAX, "{} streams", streams.len());
    match streams.len() {
        0 => {}
        1..=WIDTH => compress_by::<1>(streams),
        _ => compress_by::<{ LANES_MAX / WIDTH }>(streams),
    }
}

fn compress_by<const REGISTERS: usize>(streams: &mut [(&mut State, &[Block])]) {
    // A lane without a stream does what the first one does.
    let of = |register: usize, lane: usize| match register * WIDTH + lane {
        stream if stream < streams.len() => stream,
        _ => 0,
    };
    let mut states: [[u32x4; 4]; REGISTERS] = std::array::from_fn(|register| {
        let word = |word| std::array::from_fn(|lane| streams[of(register, lane)].0[word]);
        std::array::from_fn(|index| u32x4::new(word(index)))
    });
    let count = streams.iter().map(|(_, blocks)| blocks.len()).min();
    for at in 0..count.unwrap_or(0) {
        let words = std::array::from_fn(|register| {
            words_of(std::array::from_fn(|lane| {
                &streams[of(register, lane)].1[at]
            }))
        });
        take_block(&mut states, &words);
    }
    for (number, (state, _)) in streams.iter_mut().enumerate() {
        let register = states[number / WIDTH];
        **state = register.map(|words| words.to_array()[number % WIDTH]);
    }
}

/// The words of a block of every lane.
#[inline(always)]
fn words_of(blocks: [&Block; WIDTH]) -> [u32x4; 16] {
    let words = blocks.map(|block| block.as_chunks().0);
    std::array::from_fn(|index| u32x4::new(words.map(|words| u32::from_le_bytes(words[index]))))
}

/// One operation: `$a = $b + ((...) <<< $shift)`, in every register.
macro_rules! operation {
    ($states:ident, $words:ident, $mix:ident, $a:tt $b:tt $c:tt $d:tt, $word:expr, $sine:expr, $shift:literal) => {
        for (state, words) in $states.iter_mut().zip($words) {
            let mixed = $mix(state[$b], state[$c], state[$d]);
            let constant = words[$word % 16] + u32x4::splat(SINES[$sine]);
            let sum = state[$a] + constant + mixed;
            state[$a] = state[$b] + ((sum << $shift) | (sum >> (32 - $shift)));
        }
    };
}

/// A round: 16 operations. The word that an operation takes is `$factor * i + $first`, modulo 16.
macro_rules! round {
    ($states:ident, $words:ident, $mix:ident, $from:literal, $factor:literal, $first:literal, [$s0:literal, $s1:literal, $s2:literal, $s3:literal]) => {
        round!(@four $states, $words, $mix, $from, $factor, $first, 0, [$s0, $s1, $s2, $s3]);
        round!(@four $states, $words, $mix, $from, $factor, $first, 4, [$s0, $s1, $s2, $s3]);
        round!(@four $states, $words, $mix, $from, $factor, $first, 8, [$s0, $s1, $s2, $s3]);
        round!(@four $states, $words, $mix, $from, $factor, $first, 12, [$s0, $s1, $s2, $s3]);
    };
    (@four $states:ident, $words:ident, $mix:ident, $from:literal, $factor:literal, $first:literal, $i:literal, [$s0:literal, $s1:literal, $s2:literal, $s3:literal]) => {
        operation!($states, $words, $mix, 0 1 2 3, $factor * $i + $first, $from + $i, $s0);
        operation!($states, $words, $mix, 3 0 1 2, $factor * ($i + 1) + $first, $from + $i + 1, $s1);
        operation!($states, $words, $mix, 2 3 0 1, $factor * ($i + 2) + $first, $from + $i + 2, $s2);
        operation!($states, $words, $mix, 1 2 3 0, $factor * ($i + 3) + $first, $from + $i + 3, $s3);
    };
}

/// Takes one block of every lane.
#[inline(always)]
fn take_block<const REGISTERS: usize>(
    states: &mut [[u32x4; 4]; REGISTERS],
    words: &[[u32x4; 16]; REGISTERS],
) {
    let f = |x: u32x4, y: u32x4, z: u32x4| z ^ (x & (y ^ z));
    let g = |x: u32x4, y: u32x4, z: u32x4| y ^ (z & (x ^ y));
    let h = |x: u32x4, y: u32x4, z: u32x4| x ^ y ^ z;
    let i = |x: u32x4, y: u32x4, z: u32x4| y ^ (x | !z);
    let before = *states;
    round!(states, words, f, 0, 1, 0, [7, 12, 17, 22]);
    round!(states, words, g, 16, 5, 1, [5, 9, 14, 20]);
    round!(states, words, h, 32, 3, 5, [4, 11, 16, 23]);
    round!(states, words, i, 48, 7, 0, [6, 10, 15, 21]);
    for (state, before) in states.iter_mut().zip(before) {
        for (word, before) in state.iter_mut().zip(before) {
            *word += before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FIRST_STATE;
    use super::*;

    #[test]
    fn every_lane_does_what_one_stream_does() {
        let blocks: Vec<Block> = (0..40u32)
            .map(|number| std::array::from_fn(|at| ((number * 77 + at as u32 * 13) >> 1) as u8))
            .collect();
        for count in 1..=LANES_MAX {
            let mut states = [FIRST_STATE; LANES_MAX];
            let mut streams: Vec<_> = states[..count]
                .iter_mut()
                .enumerate()
                .map(|(lane, state)| (state, &blocks[3 * lane..][..10 + lane]))
                .collect();
            compress(&mut streams);
            for (lane, state) in states[..count].iter().enumerate() {
                let mut expected = FIRST_STATE;
                md5::block_api::compress(&mut expected, &blocks[3 * lane..][..10]);
                assert_eq!(*state, expected, "lane {lane} of {count}");
            }
        }
    }
}
