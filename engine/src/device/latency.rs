//! How long the operations of a device take: a histogram for each kind, counted by every handle, read by any thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bound of the first bucket; each further one is twice as long.
const FIRST_BOUND: Duration = Duration::from_micros(16);

/// Buckets with a bound: the last one ends at 16 µs x 2^19, 8.4 s. One more takes what was slower.
const BOUND_COUNT: usize = 20;

/// Latencies of one kind of operation.
#[derive(Debug, Default)]
pub struct Latencies {
    nanoseconds: AtomicU64,
    buckets: [AtomicU64; BOUND_COUNT + 1],
}

impl Latencies {
    pub(super) fn note(&self, took: Duration) {
        let bucket = (0..BOUND_COUNT)
            .find(|bucket| took <= bound_of(*bucket))
            .unwrap_or(BOUND_COUNT);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds
            .fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The sum of all, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// Each bucket's upper bound in seconds, `f64::MAX` for the last, and how many operations fell between it and the one below.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        self.buckets
            .iter()
            .enumerate()
            .map(|(bucket, count)| {
                let bound = match bucket {
                    BOUND_COUNT => f64::MAX,
                    _ => bound_of(bucket).as_secs_f64(),
                };
                (bound, count.load(Ordering::Relaxed))
            })
            .collect()
    }
}

fn bound_of(bucket: usize) -> Duration {
    FIRST_BOUND * (1 << bucket)
}

/// Latencies of a device, from the submission of an operation to its completion.
#[derive(Debug, Default)]
pub struct DeviceLatencies {
    /// Reads.
    pub reads: Latencies,
    /// Writes without a barrier: index pages, space that is prepared.
    pub writes: Latencies,
    /// Writes with their barrier, each for all records that waited.
    pub durable_writes: Latencies,
    /// Barriers alone.
    pub flushes: Latencies,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_below_whose_bound_it_is() {
        let latencies = Latencies::default();
        for microseconds in [1, 16, 17, 1_000_000, 60_000_000] {
            latencies.note(Duration::from_micros(microseconds));
        }
        let buckets = latencies.buckets();
        assert_eq!(buckets[0], (16e-6, 2));
        assert_eq!(buckets[1].1, 1);
        assert_eq!(buckets[16].1, 1, "one second lies below 1.05 s");
        assert_eq!(buckets[BOUND_COUNT], (f64::MAX, 1));
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 5);
        assert!((latencies.sum_seconds() - 61.000034).abs() < 1e-9);
    }
}
