//! Commands: the payload of log entries.

use strata_raftlog::namespace::command::Envelope;

use crate::allocation::bounded;
use crate::canonical::seal_little;

/// Where an envelope says how long its body is, and where the body begins.
const LENGTH_AT: usize = 48;
const BODY_AT: usize = 64;

pub(super) fn run(data: &[u8]) {
    read(data);
    if let Some(sealed) = sealed(data) {
        read(&sealed);
    }
}

/// The envelope with a length and a CRC that hold.
pub(super) fn sealed(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    let length = (bytes.len().checked_sub(BODY_AT)? as u32).to_le_bytes();
    bytes
        .get_mut(LENGTH_AT..LENGTH_AT + 4)?
        .copy_from_slice(&length);
    seal_little(&mut bytes);
    Some(bytes)
}

/// An archive may have its parts in any order: what is encoded is the one form of a command, and what is decoded is the command.
fn read(bytes: &[u8]) {
    let Ok(envelope) = bounded(bytes.len(), || Envelope::decode(bytes)) else {
        return;
    };
    let command = &envelope.command;
    let _ = (command.class(), command.name(), command.map_bytes());
    let encoded = envelope.encode().expect("what was decoded can be encoded");
    assert_eq!(Envelope::decode(&encoded).as_ref(), Ok(&envelope));
    let bit = crc32c::crc32c(bytes) as usize % (bytes.len() * 8);
    let mut flipped = bytes.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    assert!(Envelope::decode(&flipped).is_err(), "bit {bit} is free");
}
