//! The member table at the end of a pack.

use strata_net::fuzzing;

use crate::canonical::{Behind, check_sealed};

/// Bytes of a member, and of what stands behind all of them: CRC, version, members, reserved, magic.
const MEMBER_BYTES: usize = 32;
const TRAILER_BYTES: usize = 24;
const COUNT_AT: usize = 8;

pub(super) fn run(data: &[u8]) {
    check_sealed(data, Behind::Refused, seal, |bytes| {
        // What lies in front of a table is not its own.
        fuzzing::member_table(bytes).filter(|table| table.len() == bytes.len())
    });
}

/// Puts a CRC into a table that holds for as many members as it says.
fn seal(bytes: &mut [u8]) {
    let Some((before, trailer)) = bytes.split_last_chunk_mut::<TRAILER_BYTES>() else {
        return;
    };
    let (crc, rest) = trailer.split_at_mut(4);
    let count = rest[COUNT_AT - 4..].first_chunk().copied();
    let count = u32::from_le_bytes(count.unwrap_or_default()) as usize;
    let members = count.saturating_mul(MEMBER_BYTES).min(before.len());
    let found = crc32c::crc32c(&before[before.len() - members..]);
    crc.copy_from_slice(&crc32c::crc32c_append(found, rest).to_le_bytes());
}
