//! Leaf pages of the index: sorted entries from shard to place.
//!
//! The pages of a checkpoint lie one after the other through its index segments, in the order of their keys; the first key of
//! each is its fence, so that memory need hold no more than the fences to find any entry with one read.

use bytemuck::{Pod, Zeroable};

use super::{FormatError, Preamble, kind, read, refuse_nonzero, seal};
use crate::id::{ChunkId, ShardId};

/// Length of a page, in bytes.
pub const PAGE_BYTES: usize = 4096;

/// Entries of a full page.
pub const ENTRIES_PER_PAGE: usize = 100;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RawHeader {
    preamble: Preamble,
    generation: u64,
    number: u64,
    count: u32,
    reserved: [u8; 36],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RawEntry {
    chunk: [u8; 16],
    position: u64,
    inode: u64,
    payload_bytes: u32,
    shard: u8,
    reserved: [u8; 3],
}

const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 40;
const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES);
const _: () = assert!(size_of::<RawEntry>() == ENTRY_BYTES);
const _: () = assert!(HEADER_BYTES + ENTRIES_PER_PAGE * ENTRY_BYTES <= PAGE_BYTES);

/// Where a shard lies, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Position of the record, over the life of the partition.
    pub position: u64,
    /// Length of its payload, in bytes.
    pub payload_bytes: u32,
    /// The inode that is the chunk's home.
    pub inode: u64,
}

/// A page as it is written.
///
/// # Panics
/// When there are more entries than a page holds.
pub fn encode(generation: u64, number: u64, entries: &[(ShardId, IndexEntry)], out: &mut [u8]) {
    assert!(
        entries.len() <= ENTRIES_PER_PAGE && out.len() == PAGE_BYTES,
        "a page holds its entries"
    );
    out.fill(0);
    let header = RawHeader {
        generation,
        number,
        count: entries.len() as u32,
        ..RawHeader::zeroed()
    };
    out[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
    for (slot, (id, entry)) in out[HEADER_BYTES..]
        .chunks_exact_mut(ENTRY_BYTES)
        .zip(entries)
    {
        let raw = RawEntry {
            chunk: id.chunk.0.to_le_bytes(),
            position: entry.position,
            inode: entry.inode,
            payload_bytes: entry.payload_bytes,
            shard: id.shard,
            reserved: [0; 3],
        };
        slot.copy_from_slice(bytemuck::bytes_of(&raw));
    }
    seal(out, kind::LEAF);
}

/// The checkpoint and number that a page claims.
///
/// # Errors
/// Too few bytes.
pub fn identity(bytes: &[u8]) -> Result<(u64, u64), FormatError> {
    let header: RawHeader = read(bytes)?;
    Ok((header.generation, header.number))
}

/// Reads a page that must be this one of this checkpoint.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode(
    bytes: &[u8],
    generation: u64,
    number: u64,
) -> Result<Vec<(ShardId, IndexEntry)>, FormatError> {
    let header: RawHeader = read(bytes)?;
    let page = bytes.get(..PAGE_BYTES).ok_or(FormatError::Short {
        found: bytes.len(),
        expected: PAGE_BYTES,
    })?;
    super::check(page, kind::LEAF)?;
    refuse_nonzero(&header.reserved, "reserved bytes of the page")?;
    if (header.generation, header.number) != (generation, number) {
        return Err(FormatError::Field(
            "the page is another one or of another checkpoint",
        ));
    }
    if header.count as usize > ENTRIES_PER_PAGE {
        return Err(FormatError::Field("number of entries"));
    }
    let (rows, unused) = page
        .split_at(HEADER_BYTES)
        .1
        .split_at_checked(header.count as usize * ENTRY_BYTES)
        .ok_or(FormatError::Field("number of entries"))?;
    refuse_nonzero(unused, "unused rows of the page")?;
    rows.chunks_exact(ENTRY_BYTES)
        .map(|row| {
            let raw: RawEntry = read(row)?;
            refuse_nonzero(&raw.reserved, "reserved bytes of an entry")?;
            let id = ShardId {
                chunk: ChunkId(u128::from_le_bytes(raw.chunk)),
                shard: raw.shard,
            };
            Ok((
                id,
                IndexEntry {
                    position: raw.position,
                    payload_bytes: raw.payload_bytes,
                    inode: raw.inode,
                },
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_back_and_no_other_does() {
        let entry = |n: u64| IndexEntry {
            position: n * 4096,
            payload_bytes: 77,
            inode: n,
        };
        let entries: Vec<_> = (0..100)
            .map(|n| {
                (
                    ShardId {
                        chunk: ChunkId(u128::from(n)),
                        shard: 1,
                    },
                    entry(n),
                )
            })
            .collect();
        let mut bytes = vec![1; PAGE_BYTES];
        encode(3, 8, &entries, &mut bytes);
        assert_eq!(decode(&bytes, 3, 8), Ok(entries));
        assert!(decode(&bytes, 3, 9).is_err());
        assert!(decode(&bytes, 2, 8).is_err());
        for place in [
            PAGE_BYTES - 1,
            HEADER_BYTES + ENTRIES_PER_PAGE * ENTRY_BYTES,
        ] {
            let mut bytes = bytes.clone();
            bytes[place] = 1;
            seal(&mut bytes, kind::LEAF);
            assert!(decode(&bytes, 3, 8).is_err(), "{place}");
        }
    }
}
