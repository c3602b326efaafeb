//! The index of a data partition: from shard to place. All resident in this version; the pages on the device have their final
//! form, and look-ups are asynchronous already, so that only the upper levels need stay in memory later.
//!
//! Invariant: the live bytes of a segment are the record bytes of the entries that point into it, and their total is the sum
//! over all segments.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::format::align_up;
use crate::format::layout::BLOCK_BYTES;
use crate::format::page::IndexEntry;
use crate::id::ShardId;

/// Entries beyond which new shards are refused while the whole index is resident, unless the store is told otherwise.
pub(crate) const ENTRY_COUNT_MAX: usize = 10_000_000;

/// Bytes that a record takes on the device: one block of header, and the payload in whole blocks.
fn record_bytes(entry: &IndexEntry) -> u64 {
    BLOCK_BYTES as u64 + align_up(u64::from(entry.payload_bytes), BLOCK_BYTES as u64)
}

/// The resident index.
#[derive(Debug)]
pub(crate) struct Index {
    entries: BTreeMap<ShardId, IndexEntry>,
    live: BTreeMap<u64, u64>,
    live_total: u64,
    segment_bytes: u64,
    entries_max: usize,
    /// The last allocation epoch of each writer whose shards have been here.
    newest_epochs: BTreeMap<u32, u32>,
}

impl Index {
    pub(crate) fn new(segment_bytes: u64, entries_max: usize) -> Index {
        Index {
            entries: BTreeMap::new(),
            live: BTreeMap::new(),
            live_total: 0,
            segment_bytes,
            entries_max,
            newest_epochs: BTreeMap::new(),
        }
    }

    pub(crate) fn limit(&mut self, entries_max: usize) {
        self.entries_max = entries_max;
    }

    /// Entries beyond which new shards are refused.
    pub(crate) fn entries_max(&self) -> usize {
        self.entries_max
    }

    /// Whether a new shard would be one too many, with those that are under way.
    pub(crate) fn is_full(&self, under_way: usize) -> bool {
        self.entries.len() + under_way >= self.entries_max
    }

    /// Points a shard to a place, instead of an earlier one.
    pub(crate) fn insert(&mut self, id: ShardId, entry: IndexEntry) {
        self.remove(id);
        let newest = self.newest_epochs.entry(id.chunk.writer()).or_default();
        *newest = (*newest).max(id.chunk.epoch());
        let sequence = entry.position / self.segment_bytes;
        *self.live.entry(sequence).or_default() += record_bytes(&entry);
        self.live_total += record_bytes(&entry);
        self.entries.insert(id, entry);
    }

    pub(crate) fn remove(&mut self, id: ShardId) -> Option<IndexEntry> {
        let entry = self.entries.remove(&id)?;
        let sequence = entry.position / self.segment_bytes;
        self.live_total -= record_bytes(&entry);
        if let Some(live) = self.live.get_mut(&sequence) {
            *live -= record_bytes(&entry);
            if *live == 0 {
                self.live.remove(&sequence);
            }
        }
        Some(entry)
    }

    /// Where a shard lies.
    pub(crate) fn get(&self, id: ShardId) -> Option<IndexEntry> {
        self.entries.get(&id).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the records of a segment that are still referred to.
    pub(crate) fn live_bytes(&self, sequence: u64) -> u64 {
        self.live.get(&sequence).copied().unwrap_or(0)
    }

    /// The segments with records that are referred to, and how many bytes those have.
    pub(crate) fn live_segments(&self) -> impl Iterator<Item = (u64, u64)> {
        self.live.iter().map(|(sequence, live)| (*sequence, *live))
    }

    /// Bytes of the records of all segments that are still referred to.
    pub(crate) fn live_bytes_total(&self) -> u64 {
        self.live_total
    }

    /// The last allocation epoch of each writer whose shards have been here since the start.
    pub(crate) fn newest_epochs(&self) -> &BTreeMap<u32, u32> {
        &self.newest_epochs
    }

    /// The next entries in the order of their keys.
    pub(crate) fn after(&self, after: Option<ShardId>, limit: usize) -> Vec<(ShardId, IndexEntry)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries
            .range((from, Bound::Unbounded))
            .take(limit)
            .map(|(id, entry)| (*id, *entry))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChunkId;

    fn id(number: u128) -> ShardId {
        ShardId {
            chunk: ChunkId(number),
            shard: 0,
        }
    }

    #[test]
    fn live_bytes_follow_the_entries() {
        let mut index = Index::new(1 << 20, 3);
        let entry = |position| IndexEntry {
            position,
            payload_bytes: 100,
            inode: 1,
        };
        index.insert(id(1), entry(1 << 20));
        index.insert(id(2), entry(3 << 19));
        assert_eq!(index.live_bytes(1), 2 * 8192);
        index.insert(id(1), entry(5 << 20));
        assert_eq!((index.live_bytes(1), index.live_bytes(5)), (8192, 8192));
        assert_eq!(index.live_bytes_total(), 2 * 8192);
        assert!(!index.is_full(0) && index.is_full(1));
        index.remove(id(2));
        assert_eq!((index.live_bytes(1), index.len()), (0, 1));
        assert_eq!(index.live_bytes_total(), 8192);
    }
}
