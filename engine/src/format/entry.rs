//! Records of a log partition: opaque bodies, many to a batch, each beginning at a multiple of 16 bytes.
//!
//! A batch is padded with zeros to the device's alignment, so a preamble of zeros means: go on at the next alignment unit.

use bytemuck::{Pod, Zeroable};

use super::record::Origin;
use super::{FormatError, Preamble, align_up, kind, read, seal_parts};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Raw {
    preamble: Preamble,
    position: u64,
    durable_before: u64,
    body_bytes: u32,
    content: u8,
    reserved: [u8; 3],
    salt: u64,
    run: u32,
    reserved_later: [u8; 4],
}

/// Length of the header, in bytes.
pub const HEADER_BYTES: usize = 48;
const _: () = assert!(size_of::<Raw>() == HEADER_BYTES);

/// Entries begin at multiples of this, in bytes.
pub const ENTRY_ALIGNMENT: u64 = 16;

/// The header of an entry whose CRC has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHeader {
    /// Where and when it was written.
    pub origin: Origin,
    /// What the body is, in the words of the writer.
    pub content: u8,
    /// Length of the body, in bytes.
    pub body_bytes: u32,
}

impl EntryHeader {
    /// Bytes to the next entry of the batch.
    pub fn entry_bytes(&self) -> u64 {
        entry_bytes(self.body_bytes as usize)
    }
}

/// Length of an entry with its padding, in bytes.
pub fn entry_bytes(body_bytes: usize) -> u64 {
    align_up((HEADER_BYTES + body_bytes) as u64, ENTRY_ALIGNMENT)
}

/// Gives an entry with its padding to `put`, piece by piece: the body is copied nowhere else.
pub fn encode(content: u8, origin: Origin, body: &[u8], mut put: impl FnMut(&[u8])) {
    let mut raw = Raw::zeroed();
    (raw.position, raw.durable_before) = (origin.position, origin.durable_before);
    (raw.salt, raw.run) = (origin.salt, origin.run);
    (raw.content, raw.body_bytes) = (content, body.len() as u32);
    let header = bytemuck::bytes_of_mut(&mut raw);
    seal_parts(header, body, kind::ENTRY);
    put(header);
    put(body);
    let padding = entry_bytes(body.len()) as usize - HEADER_BYTES - body.len();
    put(&[0; ENTRY_ALIGNMENT as usize][..padding]);
}

/// The header that some bytes claim to have, before the CRC is looked at; `None` for padding and anything else.
pub fn claim(bytes: &[u8]) -> Option<EntryHeader> {
    let raw: Raw = read(bytes).ok()?;
    (raw.preamble.kind == kind::ENTRY).then_some(header(&raw))
}

/// Reads an entry: its header and its body.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<(EntryHeader, &[u8]), FormatError> {
    let raw: Raw = read(bytes)?;
    let expected = HEADER_BYTES + raw.body_bytes as usize;
    let whole = bytes.get(..expected).ok_or(FormatError::Short {
        found: bytes.len(),
        expected,
    })?;
    super::check(whole, kind::ENTRY)?;
    if raw.reserved != [0; 3] || raw.reserved_later != [0; 4] {
        return Err(FormatError::Field("reserved bytes of the entry"));
    }
    Ok((header(&raw), &whole[HEADER_BYTES..]))
}

fn header(raw: &Raw) -> EntryHeader {
    EntryHeader {
        origin: Origin {
            position: raw.position,
            durable_before: raw.durable_before,
            salt: raw.salt,
            run: raw.run,
        },
        content: raw.content,
        body_bytes: raw.body_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_one_after_the_other() {
        let mut bytes = Vec::new();
        let origin = Origin {
            position: 4096,
            durable_before: 0,
            salt: 1,
            run: 2,
        };
        encode(1, origin, b"first", |part| bytes.extend_from_slice(part));
        let second = bytes.len();
        let origin = Origin {
            position: 4096 + second as u64,
            durable_before: 4096,
            ..origin
        };
        encode(2, origin, b"", |part| bytes.extend_from_slice(part));
        let (header, body) = decode(&bytes).unwrap();
        assert_eq!((header.content, body), (1, &b"first"[..]));
        assert_eq!(header.entry_bytes(), second as u64);
        assert_eq!(decode(&bytes[second..]).unwrap().0.origin, origin);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let _ = decode(&bytes);
            let _ = claim(&bytes);
        }
    }
}
