//! The header of a segment.

use strata_engine::format::segment::SegmentHeader;

use super::described;
use crate::canonical::{Behind, check_sealed, seal_little};

pub(super) fn run(data: &[u8]) {
    check_sealed(data, Behind::Ignored, seal_little, |bytes| {
        described(bytes);
        SegmentHeader::decode(bytes)
            .ok()
            .map(|header| header.encode())
    });
}
