//! How full a node is.

use std::sync::atomic::Ordering;

use strata_net::node::start::SHARDS_MAX;
use strata_net::node::status::PartitionStatus;

/// How full the data partitions that are there are. Each copy of an object counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes that they may grow to together.
    pub total_bytes: u64,
    /// Bytes of them that are free, or hold nothing any more and come back by compaction.
    pub free_bytes: u64,
    /// Bytes of the chunks that are stored.
    pub live_bytes: u64,
    /// Chunks that are stored.
    pub chunks: u64,
    /// Chunks that may be stored.
    pub chunks_max: u64,
}

impl Capacity {
    /// That of these partitions.
    pub fn of(partitions: &[PartitionStatus]) -> Capacity {
        let sum = |read: fn(&PartitionStatus) -> u64| partitions.iter().map(read).sum::<u64>();
        let total_bytes = sum(|of| of.partition.statistics.log.capacity_bytes());
        let live_bytes = sum(|of| of.partition.statistics.live_bytes.load(Ordering::Relaxed));
        Capacity {
            total_bytes,
            free_bytes: total_bytes.saturating_sub(live_bytes),
            live_bytes,
            chunks: sum(|of| of.partition.statistics.shards.load(Ordering::Relaxed)),
            chunks_max: SHARDS_MAX as u64,
        }
    }
}
