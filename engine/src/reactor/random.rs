//! Randomness: the kernel's in the real world, a seeded generator in the simulated one.
//!
//! Invariant: nothing else in the deterministic crates draws random numbers, so a simulated run is a function of
//! its seed.

use super::executor::with_current;

/// 64 random bits.
///
/// # Panics
/// Outside a reactor.
pub fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    random_bytes(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Fills the slice with random bytes.
///
/// # Panics
/// Outside a reactor; when the kernel has no randomness to give.
pub fn random_bytes(bytes: &mut [u8]) {
    with_current(|reactor| reactor.fill_random(bytes));
}

/// Bytes fetched from the kernel at a time, so that drawing an id is not a system call.
const POOL_BYTES: usize = 256;

/// A small pool of the kernel's randomness.
pub(super) struct KernelRandom {
    pool: [u8; POOL_BYTES],
    used: usize,
}

impl KernelRandom {
    pub(super) fn new() -> KernelRandom {
        KernelRandom {
            pool: [0; POOL_BYTES],
            used: POOL_BYTES,
        }
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        if bytes.len() > POOL_BYTES {
            return fill_from_kernel(bytes);
        }
        if self.used + bytes.len() > POOL_BYTES {
            fill_from_kernel(&mut self.pool);
            self.used = 0;
        }
        let taken = &mut self.pool[self.used..self.used + bytes.len()];
        bytes.copy_from_slice(taken);
        taken.fill(0);
        self.used += bytes.len();
    }
}

fn fill_from_kernel(mut bytes: &mut [u8]) {
    while !bytes.is_empty() {
        // SAFETY: the pointer and length describe a writable slice.
        let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if filled < 0 {
            let error = std::io::Error::last_os_error();
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::Interrupted,
                "getrandom: {error}"
            );
            continue;
        }
        bytes = &mut bytes[filled as usize..];
    }
}

/// xoshiro256** seeded through splitmix64 (Blackman and Vigna, public domain algorithms): small, fast, and the same
/// on every machine. Not for secrets.
#[derive(Clone)]
pub(super) struct SeededRandom {
    state: [u64; 4],
}

impl SeededRandom {
    pub(super) fn new(seed: u64) -> SeededRandom {
        let mut mixer = seed;
        let state = std::array::from_fn(|_| {
            mixer = mixer.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = mixer;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        });
        SeededRandom { state }
    }

    pub(super) fn next(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let result = s1.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        result
    }

    /// A number below `bound`, which is not zero. The bias of the multiplication is below 2^-32 for the bounds used.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "an empty range has no member");
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_sequence() {
        let draw = |seed| {
            let mut random = SeededRandom::new(seed);
            (0..16).map(|_| random.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut random = SeededRandom::new(1);
        let mut seen = [false; 7];
        for _ in 0..1_000 {
            seen[random.below(7) as usize] = true;
        }
        assert_eq!(seen, [true; 7]);
    }

    #[test]
    fn kernel_random_fills_any_length() {
        let mut random = KernelRandom::new();
        for length in [0, 1, 8, 255, 256, 257, 5_000] {
            let mut bytes = vec![0; length];
            random.fill(&mut bytes);
            assert!(length < 16 || bytes.iter().any(|&byte| byte != 0));
        }
    }
}
