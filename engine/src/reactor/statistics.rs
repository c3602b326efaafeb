//! Counters of one reactor, written by it and read by anybody.
//!
//! Invariant: only the owning reactor writes (relaxed, at the end of a round), so readers on other threads see
//! values that lag by at most a round and never tear.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::class::CLASS_COUNT;
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
    /// The longest single turn of a task so far.
    pub longest_turn_nanoseconds: Gauge,
    /// Turns that lasted longer than the 200 microseconds a task may take.
    pub long_turns: Gauge,
    /// Tasks that exist.
    pub tasks: Gauge,
    /// Tasks that are ready to run.
    pub ready_tasks: Gauge,
    /// Wakes that came from other threads.
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
