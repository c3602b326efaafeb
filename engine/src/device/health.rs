//! What the handles of a device on all reactors share: whether it works (what has failed, what gets no answer, which reads fail),
//! and how far it may grow.
//!
//! Invariants: what has failed stays failed until the next start; asking takes no lock, because every operation does; time
//! without an answer is counted in ticks of a reactor that runs, so that a process that was stopped, or a machine that slept,
//! takes no disk for a failed one.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::latency::DeviceLatencies;
use crate::reactor;

/// How long a read may have no answer before another copy is asked as well. Far above what a busy disk takes, so that load
/// alone is not doubled; far below what a client waits for.
pub const READ_ELSEWHERE_AFTER: Duration = TICK;

/// The steps in which an operation's wait is counted. A device that has left one unanswered for a step is late: reads and new
/// chunks go elsewhere while they can.
const TICK: Duration = Duration::from_secs(1);

/// Ticks after which a device counts as slow, which is logged and shown.
const SLOW_TICKS: u32 = 10;

/// Ticks after which a device that does not answer has failed. Linux gives a SCSI or NVMe command 30 s before it aborts it and
/// resets the disk; S3 clients commonly wait 60 s for an answer, and are to get one.
const FAILED_TICKS: u32 = 30;

/// The same while the node stops: front ends drain for 25 s, and the stores are closed after that.
const FAILED_TICKS_STOPPING: u32 = 10;

/// Reads in a row that fail before none is expected to succeed: many more than one bad place on a disk is asked for.
const FAILED_READS_IN_A_ROW: u64 = 16;

/// Whether a device works, how long its operations take, and how far it may grow.
#[derive(Debug, Default)]
pub struct DeviceHealth {
    failure: OnceLock<Failure>,
    /// Operations that have had no answer for a tick.
    late: AtomicU32,
    /// Those among them that have had none for [`SLOW_TICKS`].
    slow: AtomicU32,
    stopping: AtomicBool,
    failed_reads: AtomicU64,
    failed_reads_in_a_row: AtomicU64,
    corruptions: AtomicU64,
    discarded_bytes: AtomicU64,
    refuses_discards: AtomicBool,
    capacity_bytes: AtomicU64,
    latencies: DeviceLatencies,
}

#[derive(Debug)]
struct Failure {
    detail: String,
    /// It has given no answer: reads are not tried either.
    silent: bool,
}

impl DeviceHealth {
    /// The first failure, if there was one: the device takes no more writes.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(|failure| failure.detail.as_str())
    }

    /// Whether the device has failed by not answering: it is not read any more either.
    pub fn is_silent(&self) -> bool {
        self.failure.get().is_some_and(|failure| failure.silent)
    }

    /// Whether an operation has had no answer for a second: what can go elsewhere does.
    pub fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed) > 0 || self.is_silent()
    }

    /// Whether an operation has had no answer for ten seconds.
    pub fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed) > 0
    }

    /// Reads that have failed since the start.
    pub fn failed_reads(&self) -> u64 {
        self.failed_reads.load(Ordering::Relaxed)
    }

    /// Whether so many reads have failed one after the other that none is expected to succeed.
    pub fn fails_all_reads(&self) -> bool {
        self.failed_reads_in_a_row.load(Ordering::Relaxed) >= FAILED_READS_IN_A_ROW
    }

    /// How often the superblock or a log partition was found to be damaged since the start. What is damaged in data partitions is
    /// counted by their stores.
    pub fn corruptions(&self) -> u64 {
        self.corruptions.load(Ordering::Relaxed)
    }

    /// Bytes that a block device was told to hold no more since the start.
    pub fn discarded_bytes(&self) -> u64 {
        self.discarded_bytes.load(Ordering::Relaxed)
    }

    /// How long its operations take.
    pub fn latencies(&self) -> &DeviceLatencies {
        &self.latencies
    }

    /// Lets the device grow to so many bytes. Its partitions notice within seconds; what they have already they keep.
    pub fn raise_capacity(&self, bytes: u64) {
        self.capacity_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Bytes that the device may grow to.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes.load(Ordering::Relaxed)
    }

    /// The node stops: from now on a device is not waited for that long.
    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Notes a failed write or flush; answers whether it is the first failure.
    pub(super) fn fail(&self, detail: &str) -> bool {
        self.set_failure(detail, false)
    }

    fn set_failure(&self, detail: &str, silent: bool) -> bool {
        let detail = detail.to_owned();
        self.failure.set(Failure { detail, silent }).is_ok()
    }

    pub(crate) fn note_corruption(&self) {
        self.corruptions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_discard(&self, bytes: u64) {
        self.discarded_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that a discard has failed; answers whether it is the first one.
    pub(super) fn note_refused_discard(&self) -> bool {
        !self.refuses_discards.swap(true, Ordering::Relaxed)
    }

    pub(super) fn refuses_discards(&self) -> bool {
        self.refuses_discards.load(Ordering::Relaxed)
    }

    pub(super) fn note_read(&self, succeeded: bool) {
        if succeeded {
            self.failed_reads_in_a_row.store(0, Ordering::Relaxed);
        } else {
            self.failed_reads.fetch_add(1, Ordering::Relaxed);
            self.failed_reads_in_a_row.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Runs an operation until it has an answer, or until the device has given none for so long that it has failed. The
    /// operation is then given up; what the kernel may still write to stays its own.
    ///
    /// # Errors
    /// The operation's own, and [`io::ErrorKind::TimedOut`] on a device that does not answer.
    pub(super) async fn answered<T>(
        &self,
        path: &Path,
        operation: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let mut operation = pin!(operation);
        let mut wait = Wait {
            health: self,
            ticks: 0,
        };
        loop {
            match reactor::timeout(TICK, operation.as_mut()).await {
                Ok(outcome) => return outcome,
                Err(reactor::Elapsed) => wait.tick(path)?,
            }
        }
    }

    fn ticks_max(&self) -> u32 {
        if self.stopping.load(Ordering::Relaxed) {
            FAILED_TICKS_STOPPING
        } else {
            FAILED_TICKS
        }
    }
}

/// An operation that waits for its answer.
struct Wait<'a> {
    health: &'a DeviceHealth,
    ticks: u32,
}

impl Wait<'_> {
    fn tick(&mut self, path: &Path) -> io::Result<()> {
        let health = self.health;
        self.ticks += 1;
        if self.ticks == 1 {
            health.late.fetch_add(1, Ordering::Relaxed);
        }
        if self.ticks == SLOW_TICKS && health.slow.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                path = %path.display(),
                seconds = SLOW_TICKS,
                "the device has left an operation without an answer; it fails if that goes on"
            );
        }
        if self.ticks >= health.ticks_max() {
            let detail = format!("no answer for {} s", self.ticks);
            if health.set_failure(&detail, true) {
                tracing::error!(path = %path.display(), detail, "the device has failed; it is neither read nor written any more");
            }
        }
        if health.is_silent() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.ticks >= 1 {
            self.health.late.fetch_sub(1, Ordering::Relaxed);
        }
        if self.ticks >= SLOW_TICKS {
            self.health.slow.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
