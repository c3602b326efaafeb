//! A running hash over everything that happens in a simulation, to prove that a seed decides it.

/// The hash so far. Not cryptographic.
#[derive(Clone, Copy)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) fn new(seed: u64) -> Trace {
        let mut trace = Trace(0x5354_5241_5441_0001);
        trace.add(seed);
        trace
    }

    pub(super) fn add(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }

    pub(super) fn add_all(&mut self, values: &[u64]) {
        values.iter().for_each(|value| self.add(*value));
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }
}
