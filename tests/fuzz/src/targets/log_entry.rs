//! Records of a log partition.

use strata_engine::format::entry::{HEADER_BYTES, claim, decode, encode};

use super::described;
use crate::canonical::{Behind, check_sealed};

/// Where an entry says how long its body is, which its CRC covers.
const LENGTH_AT: usize = 24;

pub(super) fn run(data: &[u8]) {
    check_sealed(data, Behind::Ignored, seal, |bytes| {
        described(bytes);
        let claimed = claim(bytes);
        let (header, body) = decode(bytes).ok()?;
        assert_eq!(claimed, Some(header));
        assert_eq!(header.body_bytes as usize, body.len());
        let whole = HEADER_BYTES + body.len();
        assert!((whole..whole + 16).contains(&(header.entry_bytes() as usize)));
        let mut encoded = Vec::new();
        encode(header.content, header.origin, body, |part| {
            encoded.extend_from_slice(part);
        });
        assert_eq!(encoded.len() as u64, header.entry_bytes());
        // What pads an entry lies outside of its CRC.
        encoded.truncate(whole);
        Some(encoded)
    });
}

fn seal(bytes: &mut [u8]) {
    let length = bytes.get(LENGTH_AT..).and_then(|rest| rest.first_chunk());
    let length = length.map_or(0, |length| u32::from_le_bytes(*length)) as usize;
    if let Some(entry) = bytes.get_mut(..HEADER_BYTES.saturating_add(length)) {
        crate::canonical::seal_little(entry);
    }
}
