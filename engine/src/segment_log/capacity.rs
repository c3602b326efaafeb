//! How many segments a partition has and how many are free, for itself and for others to read.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::SegmentLog;

/// What a partition has done; read by other threads.
#[derive(Debug, Default)]
pub struct LogStatistics {
    /// Batches written.
    pub batches: AtomicU64,
    /// Bytes written, with headers and padding.
    pub bytes_written: AtomicU64,
    /// Segments that are free.
    pub free_segments: AtomicU64,
    /// Segments in all: those that the capacity allows, and those beyond it that the file has already.
    pub total_segments: AtomicU64,
    /// Length of a segment, in bytes.
    pub segment_bytes: AtomicU64,
    /// Why nothing is written any more.
    pub(super) closed: OnceLock<String>,
}

impl LogStatistics {
    /// Why the partition takes no more writes, if it has closed.
    pub fn closed(&self) -> Option<&str> {
        self.closed.get().map(String::as_str)
    }

    /// Bytes of all segments of the partition.
    pub fn capacity_bytes(&self) -> u64 {
        self.total_segments.load(Ordering::Relaxed) * self.segment_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the segments in use.
    pub fn used_bytes(&self) -> u64 {
        let free =
            self.free_segments.load(Ordering::Relaxed) * self.segment_bytes.load(Ordering::Relaxed);
        self.capacity_bytes().saturating_sub(free)
    }
}

impl SegmentLog {
    /// Segments that can be had: all free ones, or those that are prepared once the file system has refused space.
    pub(crate) fn free_segments(&self) -> usize {
        let state = self.state.borrow();
        if state.refused {
            state.prepared()
        } else {
            state.free.len()
        }
    }

    /// How many segments the capacity allows.
    pub(crate) fn limit(&self) -> u32 {
        self.state.borrow().limit
    }

    /// Takes the segments into use that a capacity allows which has grown since the start. One that has shrunk counts at the
    /// next start: until then the file system refuses what it has no space for.
    pub(crate) fn follow_capacity(&self) {
        let allowed = self.device.data_segments_max(&self.map);
        let mut state = self.state.borrow_mut();
        if allowed <= state.limit {
            return;
        }
        let mut taken: BTreeSet<u32> = state.in_use.values().map(|segment| segment.slot).collect();
        taken.extend(&state.withheld);
        let grown = (state.limit..allowed).filter(|slot| !taken.contains(slot));
        state.free.extend(grown.collect::<Vec<u32>>());
        state.limit = allowed;
        drop(state);
        self.count_segments();
    }

    pub(super) fn count_segments(&self) {
        let statistics = &self.statistics;
        statistics
            .free_segments
            .store(self.free_segments() as u64, Ordering::Relaxed);
        let limit = self.limit();
        let beyond = self.state.borrow().written.range(limit..).count() as u64;
        statistics
            .total_segments
            .store(u64::from(limit) + beyond, Ordering::Relaxed);
        statistics
            .segment_bytes
            .store(self.map.segment_bytes, Ordering::Relaxed);
    }
}
