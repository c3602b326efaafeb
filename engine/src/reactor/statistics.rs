//! Counters of one reactor, written by it and read by anybody.
//!
//! Invariant: only the owning reactor writes (relaxed, at the end of a round), so readers on other threads see
//! values that lag by at most a round and never tear.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::class::CLASS_COUNT;
use super::clock::real_monotonic_nanoseconds;
use super::executor::with_current;

/// A number that one reactor writes and other threads read.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// The value as of the end of the reactor's last round.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn add(&self, value: u64) {
        // One writer: a plain load and store is enough and cheaper than a locked addition.
        self.set(self.get().wrapping_add(value));
    }

    pub(super) fn raise(&self, value: u64) {
        if value > self.get() {
            self.set(value);
        }
    }
}

/// Nanoseconds of the clock after which a recent maximum forgets, at the earliest; twice as long at the latest.
const RECENT_NANOSECONDS: u64 = 30_000_000_000;

/// The largest value of the last 30 to 60 seconds, which one reactor writes and any number of readers see.
#[derive(Debug, Default)]
pub struct RecentMaximum {
    /// The present and the last interval, by the parity of their numbers.
    intervals: [Interval; 2],
}

#[derive(Debug, Default)]
struct Interval {
    number: Gauge,
    largest: Gauge,
}

impl RecentMaximum {
    /// The largest value lately.
    pub fn get(&self) -> u64 {
        self.at(real_monotonic_nanoseconds())
    }

    fn at(&self, clock: u64) -> u64 {
        let present = clock / RECENT_NANOSECONDS;
        let recent = self
            .intervals
            .iter()
            .filter(|interval| interval.number.get() + 1 >= present);
        recent
            .map(|interval| interval.largest.get())
            .max()
            .unwrap_or(0)
    }

    pub(super) fn raise(&self, clock: u64, value: u64) {
        let number = clock / RECENT_NANOSECONDS;
        let interval = &self.intervals[(number % 2) as usize];
        if interval.number.get() == number {
            interval.largest.raise(value);
        } else {
            interval.largest.set(value);
            interval.number.set(number);
        }
    }
}

/// What a reactor has done and holds. Times are nanoseconds.
#[derive(Debug, Default)]
pub struct ReactorStatistics {
    /// Time spent running tasks and handling completions.
    pub busy_nanoseconds: Gauge,
    /// Time spent parked or spinning for work.
    pub idle_nanoseconds: Gauge,
    /// Rounds of the loop.
    pub rounds: Gauge,
    /// Turns given to tasks.
    pub turns: Gauge,
    /// The longest single turn of a task so far, in CPU time of the thread: a thread that was not scheduled is not counted as
    /// a task that did not yield.
    pub longest_turn_nanoseconds: Gauge,
    /// The longest turn lately, in CPU time.
    pub recent_longest_turn_nanoseconds: RecentMaximum,
    /// Turns that took more CPU time than the 200 microseconds a task may take.
    pub long_turns: Gauge,
    /// Tasks that exist.
    pub tasks: Gauge,
    /// Tasks that are ready to run.
    pub ready_tasks: Gauge,
    /// Wakes that came from other threads; in a simulation those from other reactors and from the disk.
    pub remote_wakes: Gauge,
    /// Times the reactor went to sleep in the kernel.
    pub parks: Gauge,
    /// System calls made to enter the ring.
    pub ring_enters: Gauge,
    /// Disk operations the kernel has not answered yet.
    pub disk_in_flight: Gauge,
    /// Operations whose future was dropped and whose buffers wait for the kernel's answer.
    pub orphaned_operations: Gauge,
    /// Timers that wait.
    pub timers: Gauge,
    /// Bytes of the arena that are handed out.
    pub arena_used_bytes: Gauge,
    /// Bytes of the arena.
    pub arena_total_bytes: Gauge,
    /// Run time per task class, in the order of `TaskClass::ALL`.
    pub class_nanoseconds: [Gauge; CLASS_COUNT],
}

/// The counters of the current reactor.
///
/// # Panics
/// Outside a reactor.
pub fn statistics() -> Arc<ReactorStatistics> {
    with_current(|reactor| reactor.statistics.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recent_maximum_falls_when_its_time_is_over() {
        let recent = RecentMaximum::default();
        let at = |interval: u64| interval * RECENT_NANOSECONDS + 1;
        recent.raise(at(7), 50);
        recent.raise(at(7), 40);
        assert_eq!((recent.at(at(7)), recent.at(at(8))), (50, 50));
        recent.raise(at(8), 10);
        assert_eq!((recent.at(at(8)), recent.at(at(9))), (50, 10));
        recent.raise(at(9), 5);
        assert_eq!((recent.at(at(9)), recent.at(at(11))), (10, 0));
    }
}
