//! Whether to look for work before sleeping.
//!
//! Invariants: spinning must earn its keep, so it stops when it finds nothing; and it never takes the core from others, so
//! it stops when the thread has had to wait for its core.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// The score of spinning that always finds work.
const SCORE_MAX: u32 = 256;
/// Above this score spinning pays.
const SCORE_PAYS: u32 = SCORE_MAX / 4;
/// How often the kernel is asked how long the thread waited for its core.
const SAMPLE_NANOSECONDS: u64 = 100_000_000;
/// Waiting for the core for more than one part in so many means that others want it.
const WAITING_PARTS: u64 = 50;

/// Learns whether spinning finds work and whether the core is ours alone.
pub(super) struct Idleness {
    /// Longest spin in nanoseconds.
    pub(super) spin: u64,
    /// A moving average of successes.
    score: Cell<u32>,
    contention: Contention,
}

impl Idleness {
    pub(super) fn new(spin: Duration) -> Idleness {
        let spin = spin.as_nanos().min(1_000_000) as u64;
        let contention = Contention {
            schedule: File::open("/proc/thread-self/schedstat")
                .ok()
                .filter(|_| spin > 0),
            sampled: Cell::new((0, 0)),
            contended: Cell::new(false),
        };
        Idleness {
            spin,
            score: Cell::new(SCORE_MAX / 2),
            contention,
        }
    }

    pub(super) fn spinning_pays(&self, now: u64) -> bool {
        self.spin > 0 && self.score.get() > SCORE_PAYS && !self.contention.contended(now)
    }

    /// A spin has found work or has not.
    pub(super) fn spun(&self, found: bool) {
        let score = self.score.get();
        self.score.set(if found {
            score + (SCORE_MAX - score) / 8
        } else {
            score - score.div_ceil(4)
        });
    }

    /// A sleep has lasted so long. Waking up takes about as long as a spin, and counts into it.
    pub(super) fn slept(&self, nanoseconds: u64) {
        if nanoseconds < 2 * self.spin {
            let score = self.score.get();
            self.score.set(score + (SCORE_MAX - score) / 16);
        }
    }
}

/// How long the thread waits for its core, from the kernel's books.
struct Contention {
    /// `None` where the kernel keeps no such books: the core is then taken to be free.
    schedule: Option<File>,
    /// Clock and total wait at the last look, in nanoseconds.
    sampled: Cell<(u64, u64)>,
    contended: Cell<bool>,
}

impl Contention {
    fn contended(&self, now: u64) -> bool {
        let (then, waited_then) = self.sampled.get();
        if now - then < SAMPLE_NANOSECONDS {
            return self.contended.get();
        }
        let waited = self.schedule.as_ref().and_then(total_wait).unwrap_or(0);
        self.sampled.set((now, waited));
        // The first look has nothing to compare with.
        let contended = then > 0 && is_contended(now - then, waited.saturating_sub(waited_then));
        self.contended.set(contended);
        contended
    }
}

fn is_contended(elapsed: u64, waited: u64) -> bool {
    waited > elapsed / WAITING_PARTS
}

/// Nanoseconds that the thread was ready but had no core: the second number of schedstat.
fn total_wait(schedule: &File) -> Option<u64> {
    let mut text = [0; 64];
    let length = schedule.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(spin: u64) -> Idleness {
        Idleness {
            spin,
            score: Cell::new(SCORE_MAX / 2),
            contention: Contention {
                schedule: None,
                sampled: Cell::new((0, 0)),
                contended: Cell::new(false),
            },
        }
    }

    #[test]
    fn useless_spinning_stops_and_short_sleeps_bring_it_back() {
        let idleness = alone(40_000);
        assert!(idleness.spinning_pays(1));
        let spins = (0..100).take_while(|_| {
            idleness.spun(false);
            idleness.spinning_pays(1)
        });
        assert!(spins.count() < 5);
        for _ in 0..50 {
            idleness.slept(1_000_000);
        }
        assert!(
            !idleness.spinning_pays(1),
            "long sleeps are no reason to spin"
        );
        for _ in 0..20 {
            idleness.slept(60_000);
        }
        assert!(idleness.spinning_pays(1));
        for _ in 0..100 {
            idleness.spun(true);
        }
        assert!(idleness.score.get() <= SCORE_MAX && idleness.spinning_pays(1));
    }

    #[test]
    fn a_thread_that_waits_for_its_core_does_not_spin() {
        assert!(!is_contended(100_000_000, 1_000_000));
        assert!(is_contended(100_000_000, 3_000_000));
        assert!(!alone(0).spinning_pays(1), "no spin was configured");
    }

    #[test]
    fn the_kernels_books_are_understood_where_they_exist() {
        if let Ok(schedule) = File::open("/proc/thread-self/schedstat") {
            assert!(total_wait(&schedule).is_some());
        }
    }
}
