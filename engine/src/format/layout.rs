//! Where things lie on a device.
//!
//! | offset | what |
//! |---|---|
//! | 0 and 64 KiB | the two superblocks |
//! | 128 KiB + 8 KiB x p | the two anchors of partition p, 4 KiB each |
//! | 1 MiB | segment 0 |
//!
//! Log partitions own the first segments; the others are dealt out to the data partitions in turn. So every partition knows its
//! segments without asking another, and the file grows by segment.

/// Length of a superblock or anchor, in bytes.
pub const BLOCK_BYTES: usize = 4096;

/// Offsets of the two superblocks.
pub const SUPERBLOCK_OFFSETS: [u64; 2] = [0, 64 << 10];

/// Where the anchors begin.
pub const ANCHORS_OFFSET: u64 = 128 << 10;

/// Partitions that a device may have.
pub const PARTITION_COUNT_MAX: usize = 64;

/// The largest alignment that a device may have, in bytes.
pub const ALIGNMENT_MAX: u32 = 1 << 20;

/// The longest segment that a device may have, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 32;

/// Segments that the log partition of a device may have. A start looks at each.
pub const LOG_SEGMENTS_MAX: u32 = 1 << 20;

/// Positions, generations and sequence numbers of a partition stay below this, so that they can be counted on.
pub const COUNT_MAX: u64 = 1 << 62;

/// Where segment 0 begins.
pub const SEGMENTS_OFFSET: u64 = 1 << 20;

const _: () =
    assert!(ANCHORS_OFFSET + (PARTITION_COUNT_MAX * 2 * BLOCK_BYTES) as u64 <= SEGMENTS_OFFSET);

/// The offset of one of the two anchors of a partition.
pub fn anchor_offset(partition: u16, slot: usize) -> u64 {
    ANCHORS_OFFSET + (usize::from(partition) * 2 + slot % 2) as u64 * BLOCK_BYTES as u64
}

/// Which segments of a device belong to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentMap {
    /// The first one.
    pub first: u32,
    /// From one to the next.
    pub stride: u32,
    /// How many the capacity allows at the start.
    pub limit: u32,
    /// How many there may be at the start: those, and what the file has grown to under a larger capacity.
    pub count: u32,
    /// Length of a segment, in bytes.
    pub segment_bytes: u64,
}

impl SegmentMap {
    /// How many of the device's first segments belong to the partition.
    pub fn among(&self, segments: u64) -> u32 {
        let beyond = segments.saturating_sub(u64::from(self.first));
        let owned = beyond.div_ceil(u64::from(self.stride));
        owned.min(u64::from(u32::MAX)) as u32
    }

    /// Where the partition's segment of this number lies on the device.
    pub fn offset(&self, slot: u32) -> u64 {
        SEGMENTS_OFFSET
            + (u64::from(self.first) + u64::from(slot) * u64::from(self.stride))
                * self.segment_bytes
    }
}
