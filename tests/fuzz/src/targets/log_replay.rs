//! Records of a mirror, replayed one after the other. An input is a row of records: length of the body (2 bytes, little endian),
//! kind (1 byte), body.

use strata_raftlog::fuzzing;

use crate::allocation::bounded;

pub(super) fn run(data: &[u8]) {
    let mut rest = data;
    let records = std::iter::from_fn(|| {
        let (head, tail) = rest.split_first_chunk::<3>()?;
        let [low, high, kind] = *head;
        let length = usize::from(u16::from_le_bytes([low, high]));
        let (body, tail) = tail.split_at(length.min(tail.len()));
        rest = tail;
        Some((kind, body))
    });
    if let Some(agrees) = bounded(data.len(), || fuzzing::log_replay(records)) {
        assert!(agrees, "an entry of the log has no place");
    }
}
