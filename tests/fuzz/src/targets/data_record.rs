//! The headers of records of a data partition: shards and tombstones.

use strata_engine::format::record::{
    Body, FIXED_BYTES, SHARD_BYTES_MAX, claim, decode_header, encode_header,
};

use super::described;
use crate::canonical::{Behind, check_sealed};

/// Where a header says how long it is, which its CRC covers.
const LENGTH_AT: usize = 24;

/// Alignments of devices.
const ALIGNMENTS: [usize; 2] = [512, 4096];

pub(super) fn run(data: &[u8]) {
    check_sealed(data, Behind::Ignored, seal, |bytes| {
        described(bytes);
        let claimed = ALIGNMENTS.map(|alignment| claim(bytes, alignment));
        let header = decode_header(bytes).ok()?;
        let length = header.header_bytes as usize;
        assert!((FIXED_BYTES..=bytes.len()).contains(&length));
        assert!(header.body.payload_bytes() <= SHARD_BYTES_MAX);
        for claim in claimed.into_iter().flatten() {
            let is = (claim.position, claim.header_bytes, claim.salt);
            let origin = header.origin;
            assert_eq!(is, (origin.position, header.header_bytes, origin.salt));
        }
        if let Body::Shard(shard) = &header.body {
            let cells = shard.payload_bytes.div_ceil(shard.cell_bytes);
            assert_eq!(shard.cell_crcs.len(), cells as usize);
        }
        let mut encoded = vec![0; length];
        encode_header(&header.body, header.origin, &mut encoded);
        Some(encoded)
    });
}

fn seal(bytes: &mut [u8]) {
    let length = bytes.get(LENGTH_AT..).and_then(|rest| rest.first_chunk());
    let length = length.map_or(0, |length| u32::from_le_bytes(*length)) as usize;
    if let Some(header) = bytes.get_mut(..length) {
        crate::canonical::seal_little(header);
    }
}
