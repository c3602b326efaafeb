//! Whether to look for work before sleeping.

use std::cell::Cell;
use std::time::Duration;

/// Learns from the lengths of idle times whether spinning finds work.
pub(super) struct Idleness {
    /// Longest spin in nanoseconds.
    pub(super) spin: u64,
    /// Moving average of idle times, each capped so that one long night is forgotten soon.
    average: Cell<u64>,
}

impl Idleness {
    pub(super) fn new(spin: Duration) -> Idleness {
        let spin = spin.as_nanos().min(1_000_000) as u64;
        Idleness {
            spin,
            average: Cell::new(spin),
        }
    }

    /// Waking from sleep takes about as long as a spin, and counts into the times learned.
    pub(super) fn spinning_pays(&self) -> bool {
        self.spin > 0 && self.average.get() < 2 * self.spin
    }

    pub(super) fn learn(&self, idle: u64) {
        let capped = idle.min(8 * self.spin);
        self.average.set((self.average.get() * 7 + capped) / 8);
    }
}
