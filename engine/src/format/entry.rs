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

/// The CRC at the beginning of a header, which covers all that follows it.
const CRC_BYTES: usize = 4;

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

/// Notes in an entry that more was durable when it was written than when it was encoded, and seals it anew. The entry begins
/// with `first` and goes on in `rest`.
pub(crate) fn note_durable<'a>(
    first: &'a mut [u8],
    rest: impl Iterator<Item = &'a [u8]>,
    durable: u64,
) {
    let Some((head, begins)) = first.split_at_mut_checked(HEADER_BYTES) else {
        return;
    };
    let Ok(mut raw) = read::<Raw>(head) else {
        return;
    };
    if raw.durable_before == durable {
        return;
    }
    raw.durable_before = durable;
    head.copy_from_slice(bytemuck::bytes_of(&raw));
    let mut left = raw.body_bytes as usize;
    let mut crc = crc32c::crc32c(&head[CRC_BYTES..]);
    for part in std::iter::once(&*begins).chain(rest) {
        let part = &part[..part.len().min(left)];
        crc = crc32c::crc32c_append(crc, part);
        left -= part.len();
    }
    head[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
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

    #[test]
    fn an_entry_that_is_sealed_anew_is_the_one_encoded_so_at_first() {
        let body: Vec<u8> = (0..1000).map(|at| at as u8).collect();
        let origin = Origin {
            position: 4096,
            durable_before: 1000,
            salt: 1,
            run: 2,
        };
        let encoded = |durable_before| {
            let (mut bytes, origin) = (
                Vec::new(),
                Origin {
                    durable_before,
                    ..origin
                },
            );
            encode(7, origin, &body, |part| bytes.extend_from_slice(part));
            encode(8, origin, b"behind it", |part| {
                bytes.extend_from_slice(part)
            });
            bytes
        };
        for cut in [HEADER_BYTES, 500, 1040, 1060] {
            let mut bytes = encoded(1000);
            let (first, rest) = bytes.split_at_mut(cut);
            note_durable(first, rest.chunks(300), 4096);
            let whole = HEADER_BYTES + body.len();
            assert!(bytes[..whole] == encoded(4096)[..whole], "{cut}");
            assert!(bytes[whole..] == encoded(1000)[whole..], "{cut}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let _ = decode(&bytes);
            let _ = claim(&bytes);
        }
    }
}
