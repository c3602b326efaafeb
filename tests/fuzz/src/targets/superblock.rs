//! The superblock of a device.

use strata_engine::Superblock;
use strata_engine::format::layout::{ALIGNMENT_MAX, LOG_SEGMENTS_MAX, SegmentMap};

use super::described;
use crate::canonical::{Behind, check_sealed, seal_little};

pub(super) fn run(data: &[u8]) {
    check_sealed(data, Behind::Ignored, seal_little, |bytes| {
        described(bytes);
        let block = Superblock::decode(bytes).ok()?;
        assert!(block.alignment <= ALIGNMENT_MAX && block.log_segments <= LOG_SEGMENTS_MAX);
        for partition in &block.partitions {
            check_places(&block, partition.first_segment, partition.stride);
        }
        Some(block.encode())
    });
}

/// The segments that a start looks at have places on a device.
fn check_places(block: &Superblock, first: u32, stride: u32) {
    let map = SegmentMap {
        first,
        stride,
        limit: block.log_segments,
        count: block.log_segments,
        segment_bytes: block.segment_bytes,
    };
    let last = map.offset(block.log_segments.saturating_sub(1));
    assert!(last.checked_add(block.segment_bytes).is_some());
    map.among(u64::MAX);
}
