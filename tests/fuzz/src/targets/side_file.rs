//! The side file of a checkpoint of the namespace, whose CRC stands at its end.

use strata_raftlog::fuzzing;
use strata_raftlog::namespace::store::describe_checkpoint;

use crate::canonical::{Behind, check_sealed};

pub(super) fn run(data: &[u8]) {
    check_sealed(data, Behind::Refused, seal, |bytes| {
        let described = describe_checkpoint(bytes);
        let read = fuzzing::side_file(bytes);
        assert_eq!(described.error.is_none(), read.is_some());
        read
    });
}

fn seal(bytes: &mut [u8]) {
    if let Some((rest, crc)) = bytes.split_last_chunk_mut() {
        *crc = crc32c::crc32c(rest).to_be_bytes();
    }
}
