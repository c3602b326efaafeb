//! Deterministic mutations of a corpus: a seed gives the same inputs again.

/// Numbers at which lengths, counts and signs go wrong.
const EDGES: [u64; 12] = [
    0,
    1,
    7,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    i64::MAX.cast_unsigned(),
    u64::MAX,
];

/// Changes of one input, at most.
const CHANGES_MAX: usize = 4;

/// An input is not made longer than this, in bytes.
const INPUT_BYTES_MAX: usize = 16 << 10;

/// xorshift64*.
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, or 0.
    pub fn below(&mut self, bound: usize) -> usize {
        match bound {
            0 => 0,
            _ => (self.number() >> 16) as usize % bound,
        }
    }
}

/// An input of the corpus with a few changes; any bytes where the corpus is empty.
pub fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = corpus
        .get(random.below(corpus.len()))
        .cloned()
        .unwrap_or_default();
    for _ in 0..=random.below(CHANGES_MAX) {
        change(&mut bytes, corpus, random);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(8) {
        0 => flip(bytes, at, random),
        1 => bytes.truncate(at),
        2 => bytes.insert(at, random.number() as u8),
        3 => {
            bytes.drain(at..(at + 1 + random.below(16)).min(bytes.len()));
        }
        4 => {
            let copied: Vec<u8> = bytes.iter().copied().skip(at).take(16).collect();
            let to = random.below(bytes.len());
            bytes.splice(to..to, copied);
        }
        5 => {
            if let Some(other) = corpus.get(random.below(corpus.len())) {
                let tail = other.get(random.below(other.len())..).unwrap_or_default();
                bytes.truncate(at);
                bytes.extend_from_slice(tail);
            }
        }
        _ => set_number(bytes, at, random),
    }
}

fn flip(bytes: &mut [u8], at: usize, random: &mut Random) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

/// Writes a number near an edge, of any width and order.
fn set_number(bytes: &mut [u8], at: usize, random: &mut Random) {
    let width = 1 << random.below(4);
    let edge = EDGES[random.below(EDGES.len())];
    let number = edge.wrapping_add(random.below(3) as u64).wrapping_sub(1);
    let little = number.to_le_bytes();
    let big_endian = random.below(2) == 0;
    let slots = bytes.iter_mut().skip(at).take(width).enumerate();
    for (place, byte) in slots {
        *byte = match big_endian {
            true => little[width - 1 - place],
            false => little[place],
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_again() {
        let corpus = vec![vec![7; 40], b"another".to_vec(), Vec::new()];
        let inputs = |seed| {
            let mut random = Random::new(seed);
            let inputs: Vec<_> = (0..500).map(|_| mutated(&corpus, &mut random)).collect();
            inputs
        };
        assert_eq!(inputs(3), inputs(3));
        assert_ne!(inputs(3), inputs(4));
        mutated(&[], &mut Random::new(1));
    }
}
