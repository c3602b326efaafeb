//! Rows of the namespace. An input is the length of the key (1 byte), the key, and the value.

use strata_raftlog::fuzzing;
use strata_raftlog::namespace::{describe, describe_key};

use crate::allocation::bounded;
use crate::canonical::{Behind, check_sealed};

/// Bytes of a value in front of its payload: version, CRC.
const HEADER_BYTES: usize = 5;

/// How the keys of answers begin, whose values are archives.
const ANSWER: &[u8] = &[b'R', 2];

pub(super) fn run(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else {
        return;
    };
    let (key, value) = rest.split_at(rest.len().min((*length).into()));
    describe_key(key);
    let seal = |value: &mut [u8]| {
        if let Some((head, payload)) = value.split_first_chunk_mut::<HEADER_BYTES>() {
            let crc = crc32c::crc32c_append(crc32c::crc32c(key), &head[..1]);
            let crc = crc32c::crc32c_append(crc, payload);
            head[1..].copy_from_slice(&crc.to_be_bytes());
        }
    };
    let again = |value: &[u8]| {
        let described = describe(key, value);
        let read = fuzzing::row(key, value)?;
        assert_eq!(described.error, None);
        Some(read)
    };
    if !key.starts_with(ANSWER) {
        return check_sealed(value, Behind::Refused, seal, again);
    }
    // An archive may have its parts in any order: what is written again is the one form of an answer.
    let mut sealed = value.to_vec();
    seal(&mut sealed);
    if let Some(written) = bounded(value.len(), || again(&sealed)) {
        assert_eq!(again(&written), Some(written));
    }
}
